"""What the analysis costs at Tiny Aya's size, and what resampling vectors instead would.

Writes  bench/analysis.csv
Run     uv run bench/analysis.py     (3 variants x 20 concepts x 10 languages x 37 states x 2048; 20 s)

Every metric, with 2,000 bootstrap and 2,000 permutation resamples, of one read position, from float16 shards
on disk. The reference resamples the vectors of one language and one metric, and is scaled up.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from probe import alignment, metrics, resampling
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.results import write_bytes
from probe.store import Activations, ActivationStore

HERE = Path(__file__).parent
VARIANTS, N, N_STATES, D_MODEL = 3, 20, 37, 2048
POSITION = "mean"
REFERENCE_RESAMPLES = 20


def ids(language: str) -> list[str]:
    return [f"probe_C{concept:02d}_{language}" for concept in range(1, N + 1)]


def store(folder: Path, seed: int) -> ActivationStore:
    """A store of the size of one variant's probes, with random values."""
    rng = np.random.default_rng(seed)
    every = [name for language in LANGUAGES for name in ids(language)]
    resid = rng.normal(size=(len(every), N_STATES, D_MODEL)).astype(np.float32)
    activations = Activations(
        {POSITION: resid}, {POSITION: resid[:, -1]}, [[2]] * len(every), [{"last": 0}] * len(every)
    )
    made = ActivationStore(folder)
    with made.writing({"model": "random"}, {}):
        made.write_shard("shard-00000", every, activations)
    return made


def measure(stores: list[ActivationStore]) -> None:
    """What stage 3 does with one position."""
    for number, each in enumerate(stores):
        pivot = each.resid(POSITION, ids(PIVOT))
        for language in TARGETS:
            grams = metrics.grams(pivot, each.resid(POSITION, ids(language)))
            alignment.measured(grams, str(number), "probes", POSITION, language, ids(language))


def by_vectors(pivot: np.ndarray, target: np.ndarray) -> float:
    """Seconds for one bootstrap resample of the excess that goes back to the vectors."""
    drawn = resampling.bootstrap_weights(N)[:REFERENCE_RESAMPLES]
    started = time.perf_counter()
    for weights in drawn:
        chosen = np.repeat(np.arange(N), weights.astype(int))
        metrics.excess(metrics.grams(pivot[chosen], target[chosen]).similarity)
    return (time.perf_counter() - started) / len(drawn)


def read_times(each: ActivationStore) -> tuple[float, float]:
    """Seconds to read one state, and all states, of every stimulus."""
    every = [name for language in LANGUAGES for name in ids(language)]
    times = []
    for state in (18, slice(None)):
        runs = []
        for _ in range(5):
            started = time.perf_counter()
            each.resid(POSITION, every, state)
            runs.append(time.perf_counter() - started)
        times.append(float(np.median(runs)))
    return times[0], times[1]


def run() -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        stores = [store(Path(folder) / str(variant), variant) for variant in range(VARIANTS)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        measure(stores)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        one, every = read_times(stores[0])
        pivot, target = (stores[0].resid(POSITION, ids(language)) for language in (PIVOT, "hi"))
        reference = by_vectors(pivot, target) * 2 * resampling.N_RESAMPLES * VARIANTS * len(TARGETS)
    rows = [
        ("all metrics, 2,000 + 2,000 resamples, one position", seconds, "s"),
        ("the excess alone, by resampling vectors (scaled up from 20 resamples)", reference, "s"),
        ("ratio", reference / seconds, "x"),
        ("peak memory of the process", peak, "GiB"),
        ("of which before measuring", before / 1024**2, "GiB"),
        ("read one state of 200 stimuli", one, "s"),
        ("read all 37 states of 200 stimuli", every, "s"),
    ]
    return pd.DataFrame(rows, columns=["what", "value", "unit"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(argv)
    table = run()
    path = write_bytes(args.out / "analysis.csv", table.to_csv(index=False, float_format="%.3g").encode())
    print(table.to_string(index=False))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
