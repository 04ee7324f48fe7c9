"""How small a difference between variants a run can see, by the number of meanings measured.

Reads   results/tiny-aya-published/variant_effects.csv, results/nano-aya/variant_effects.csv
Writes  bench/power.csv
Run     uv run bench/power.py

The spread of a difference over meanings is read back from the committed intervals: with n meanings half a
95 % interval is t(n - 1) * sd / sqrt(n). From it, the smallest mean difference that a paired two-sided test
finds in 80 % of runs: at one state chosen beforehand (alpha 0.05), and at any of 37 states (alpha 0.05 / 37,
which is more than the max statistic asks for, since states move together). Normal differences are assumed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import ncf
from scipy.stats import t as student_t

from probe.files import write_bytes
from probe.paths import REPOSITORY
from probe.stats.resampling import CONFIDENCE

HERE = Path(__file__).parent
ALPHA, POWER, N_STATES = 0.05, 0.8, 37
MEANINGS = (20, 50, 200)
CONTRASTS = {
    "Tiny Aya, published cosine, fire - base": (
        "tiny-aya-published",
        "variant_a == 'fire' and variant_b == 'base' and state == 20",
    ),
    "Tiny Aya, published cosine, earth - fire": (
        "tiny-aya-published",
        "variant_a == 'earth' and variant_b == 'fire' and state == 20",
    ),
    "nano-aya, excess, regional difference in differences": (
        "nano-aya",
        "stimuli == 'parallel' and position == 'mean' and metric == 'excess' and state == 5 and "
        "reference == 'control:global, placebo languages'",
    ),
}


def spread(table: pd.DataFrame) -> np.ndarray:
    """Of each row's difference, the standard deviation over meanings. table: ci_low, ci_high, n."""
    half = (table["ci_high"] - table["ci_low"]).to_numpy() / 2
    n = table["n"].to_numpy()
    return half * np.sqrt(n) / student_t.ppf((1 + CONFIDENCE) / 2, n - 1)


def power(effect: float, n: int, alpha: float) -> float:
    """Of a two-sided one-sample t test. effect: mean difference in standard deviations of one meaning's."""
    critical = student_t.ppf(1 - alpha / 2, n - 1)
    return float(ncf.sf(critical**2, 1, n - 1, n * effect**2))  # the square of t is an F


def smallest_effect(n: int, alpha: float) -> float:
    """The effect, in standard deviations, that is found in POWER of runs."""
    return brentq(lambda effect: power(effect, n, alpha) - POWER, 0.01, 10)


def run() -> pd.DataFrame:
    """One row per contrast and number of meanings; sd and effects are those of the median language."""
    rows = []
    for name, (folder, query) in CONTRASTS.items():
        table = pd.read_csv(REPOSITORY / "results" / folder / "variant_effects.csv").query(query)
        sd = float(np.median(spread(table)))
        rows += [
            {
                "contrast": name,
                "meanings": n,
                "sd": sd,
                "one_state": sd * smallest_effect(n, ALPHA),
                "any_state": sd * smallest_effect(n, ALPHA / N_STATES),
            }
            for n in MEANINGS
        ]
    return pd.DataFrame(rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(argv)
    table = run()
    path = write_bytes(args.out / "power.csv", table.to_csv(index=False, float_format="%.4g").encode())
    print(table.to_string(index=False))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
