"""How small a difference between variants a run can see, by the number of meanings measured.

Reads   results/tiny-aya-published/variant_effects.csv, results/nano-aya/variant_effects.csv
Writes  bench/power.csv
Run     uv run bench/power.py

The spread of a difference over meanings is read back from the committed intervals: with n meanings half a
95 % interval is t(n - 1) * sd / sqrt(n). From it, the smallest mean difference that is found in 80 % of runs,
at level 0.05 over all the states tested, and this in three cases: it is at one state that was chosen
beforehand; it is at all of nine states; it is at one of 37, and nobody knows at which. An effect that is
easily seen at all states may be missed at one. Normal differences are assumed, neighbouring states correlated
by NEIGHBOURS.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import t as student_t

from probe.conventions import ALPHA, PRIMARY_METRIC
from probe.files import write_bytes
from probe.paths import REPOSITORY
from probe.stats.resampling import CONFIDENCE

HERE = Path(__file__).parent
POWER, RUNS, SEED = 0.8, 2000, 20
NEIGHBOURS = 0.9  # correlation of two states that follow each other; it falls with their distance
MEANINGS = (20, 100, 200)
WHERE = {"at_one_known": (1, True), "at_all_of_9": (9, True), "at_one_of_37": (37, False)}
CONTRASTS = {
    "Tiny Aya, published cosine, fire - base": (
        "tiny-aya-published",
        "variant_a == 'fire' and variant_b == 'base' and state == 20",
    ),
    "Tiny Aya, published cosine, earth - fire": (
        "tiny-aya-published",
        "variant_a == 'earth' and variant_b == 'fire' and state == 20",
    ),
    "nano-aya, regional difference in differences": (
        "nano-aya",
        f"stimuli == 'parallel' and position == 'mean' and metric == '{PRIMARY_METRIC}' and state == 5 and "
        "reference == 'control:global, placebo languages'",
    ),
}


def spread(table: pd.DataFrame) -> np.ndarray:
    """Of each row's difference, the standard deviation over meanings. table: ci_low, ci_high, n."""
    half = (table["ci_high"] - table["ci_low"]).to_numpy() / 2
    n = table["n"].to_numpy()
    return half * np.sqrt(n) / student_t.ppf((1 + CONFIDENCE) / 2, n - 1)


@cache
def t_statistics(n: int, n_states: int) -> tuple[np.ndarray, np.ndarray]:
    """Of RUNS samples of n differences without effect: (t, 1 / standard error), each (RUNS, n_states)."""
    rng = np.random.default_rng(SEED)
    noise = rng.normal(size=(RUNS, n, n_states))
    for state in range(1, n_states):
        noise[..., state] *= np.sqrt(1 - NEIGHBOURS**2)
        noise[..., state] += NEIGHBOURS * noise[..., state - 1]
    per_error = np.sqrt(n) / noise.std(axis=1, ddof=1)
    return noise.mean(axis=1) * per_error, per_error


def power(effect: float, n: int, n_states: int, everywhere: bool) -> float:
    """Share of runs in which the largest |t| over the states is beyond the 95 % of those without effect.

    effect: mean difference in standard deviations of one meaning's, at all states or at the middle one.
    """
    t, per_error = t_statistics(n, n_states)
    critical = np.quantile(np.abs(t).max(axis=1), 1 - ALPHA)
    there = np.full(n_states, effect) if everywhere else effect * (np.arange(n_states) == n_states // 2)
    return float((np.abs(t + there * per_error).max(axis=1) > critical).mean())


def smallest_effect(n: int, n_states: int, everywhere: bool) -> float:
    """The effect, in standard deviations, that is found in POWER of runs."""
    return brentq(lambda effect: power(effect, n, n_states, everywhere) - POWER, 0.01, 10, xtol=1e-3)


def run() -> pd.DataFrame:
    """One row per contrast and number of meanings; sd and effects are those of the median language."""
    rows = []
    for name, (folder, query) in CONTRASTS.items():
        table = pd.read_csv(REPOSITORY / "results" / folder / "variant_effects.csv").query(query)
        sd = float(np.median(spread(table)))
        for n in MEANINGS:
            found = {column: sd * smallest_effect(n, *where) for column, where in WHERE.items()}
            rows.append({"contrast": name, "meanings": n, "sd": sd} | found)
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
