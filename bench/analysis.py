"""What the analysis costs at Tiny Aya's size, and what the plain ways to do it would.

Writes  bench/analysis.csv
Run     uv run bench/analysis.py                     (20 concepts x 10 languages, 3 variants; 20 s)
        uv run bench/analysis.py --meanings 1000     (and 10,000 sentences, 2 variants; 11 GB of disk)

All at 37 states x 2048. First every metric, with 2,000 bootstrap and 2,000 permutation resamples, of one read
position; the reference resamples the vectors of one language and one metric, and is scaled up. With
--meanings, reading one state against one .npy per sentence, with all files in the page cache, and the whole
of stage 3.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from probe.activations.store import SHARD_SIZE, Activations, ActivationStore
from probe.alignment import cells as alignment
from probe.alignment import measure as measurement
from probe.conventions import POSITIONS
from probe.families import Family, Variant
from probe.files import write_bytes
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.stats import metrics, resampling
from probe.stimuli.manifest import Manifest, ParallelSentence

HERE = Path(__file__).parent
VARIANTS, N, N_STATES, D_MODEL = 3, 20, 37, 2048
POSITION = "mean"
REFERENCE_RESAMPLES = 20
STREAMED = ("base", "fire")
TOKENS = 12  # of a sentence

Row = tuple[str, float, str]


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
    for each in stores:
        pivot = metrics.side(each.resid(POSITION, ids(PIVOT)), "pivot")
        for language in TARGETS:
            target = metrics.side(each.resid(POSITION, ids(language)), "target")
            alignment.summary(alignment.measured(metrics.paired(pivot, target), whole=True))


def by_vectors(pivot: np.ndarray, target: np.ndarray) -> float:
    """Seconds for one bootstrap resample of the excess that goes back to the vectors."""
    drawn = resampling.bootstrap_weights(N)[:REFERENCE_RESAMPLES]
    started = time.perf_counter()
    for weights in drawn:
        chosen = np.repeat(np.arange(N), weights.astype(int))
        metrics.excess(metrics.grams(pivot[chosen], target[chosen]).similarity)
    return (time.perf_counter() - started) / len(drawn)


def median_time(work: Callable[[], object], runs: int = 5) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def of_the_probes() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        stores = [store(Path(folder) / str(variant), variant) for variant in range(VARIANTS)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        measure(stores)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        every = [name for language in LANGUAGES for name in ids(language)]
        one, whole = (
            median_time(lambda s=state: stores[0].resid(POSITION, every, s)) for state in (18, slice(None))
        )
        pivot, target = (stores[0].resid(POSITION, ids(language)) for language in (PIVOT, "hi"))
        reference = by_vectors(pivot, target) * 2 * resampling.N_RESAMPLES * VARIANTS * len(TARGETS)
    return [
        ("all metrics, 2,000 + 2,000 resamples, one position", seconds, "s"),
        ("the excess alone, by resampling vectors (scaled up from 20 resamples)", reference, "s"),
        ("ratio", reference / seconds, "x"),
        ("peak memory of the process", peak, "GiB"),
        ("of which before measuring", before / 1024**2, "GiB"),
        ("read one state of 200 stimuli", one, "s"),
        ("read all 37 states of 200 stimuli", whole, "s"),
    ]


# Many sentences


def sentences(meanings: int) -> list[ParallelSentence]:
    """Meaning after meaning, each in all languages: those of one language lie in every shard."""
    return [
        ParallelSentence(
            stimulus_id=f"parallel_{meaning:04d}_{language}",
            language=language,
            text=f"{language} {meaning}",
            meaning_id=f"{meaning:04d}",
        )
        for meaning in range(meanings)
        for language in LANGUAGES
    ]


def large_store(folder: Path, stimuli: list[ParallelSentence], seed: int) -> ActivationStore:
    """Random values around a vector per meaning, all read positions alike."""
    rng = np.random.default_rng(seed)
    made = ActivationStore(folder)
    with made.writing({"model": "random", "revision": "none"}, {}):
        for shard, start in enumerate(range(0, len(stimuli), SHARD_SIZE)):
            own = stimuli[start : start + SHARD_SIZE]
            resid = rng.standard_normal((len(own), N_STATES, D_MODEL), np.float32)
            for row, stimulus in enumerate(own):
                resid[row] += np.random.default_rng(int(stimulus.meaning)).normal(size=D_MODEL)
            positions: dict[str, np.ndarray] = dict.fromkeys(POSITIONS[:-1], resid)
            normed: dict[str, np.ndarray] = dict.fromkeys(POSITIONS[:-1], resid[:, -1])
            tokens = rng.integers(10, 9000, (len(own), TOKENS)).tolist()
            read = {"last": TOKENS - 1, "content": TOKENS - 2, "mean": list(range(1, TOKENS - 1))}
            names = [stimulus.stimulus_id for stimulus in own]
            made.write_shard(
                f"shard-{shard:05d}", names, Activations(positions, normed, tokens, [read] * len(own))
            )
    return made


def reading(each: ActivationStore, folder: Path) -> list[Row]:
    """One state of every stimulus, from the store and from one float16 .npy per sentence, to float32."""
    every = [name for record in each.index.shards.values() for name in record.stimulus_ids]
    folder.mkdir()
    for name in every:
        np.save(folder / f"{name}.npy", each.resid(POSITION, [name])[0].astype(np.float16))

    def one_by_one() -> np.ndarray:
        states = np.empty((len(every), D_MODEL), np.float32)
        for row, name in enumerate(every):
            states[row] = np.load(folder / f"{name}.npy")[18]
        return states

    fresh = ActivationStore(each.folder)
    started = time.perf_counter()
    fresh.require(every)
    checking = time.perf_counter() - started
    np.testing.assert_allclose(fresh.resid(POSITION, every, 18), one_by_one(), atol=0.01)
    ours, theirs = median_time(lambda: fresh.resid(POSITION, every, 18), 9), median_time(one_by_one)
    return [
        (f"read one state of {len(every)} stimuli", ours, "s"),
        (f"from {len(every)} .npy files", theirs, "s"),
        ("ratio of reading", theirs / ours, "x"),
        ("sha256 of every shard, once per process", checking, "s"),
    ]


def analyse(folders: dict[str, Path], manifest: Manifest) -> tuple[float, float]:
    """(seconds, peak GiB) of stage 3; the peak is that of this process and, at most, that of its workers."""
    family = Family(
        name="random",
        description="random values",
        default_variants=list(folders),
        variants={name: Variant(path="none") for name in folders},
    )
    started = time.perf_counter()
    measurement.measure({name: ActivationStore(path) for name, path in folders.items()}, manifest, family)
    seconds = time.perf_counter() - started
    own, largest = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return seconds, (own + len(folders) * largest) / 1024**2


def of_many(meanings: int) -> list[Row]:
    stimuli = sentences(meanings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = [large_store(folder / each, stimuli, seed) for seed, each in enumerate(STREAMED)]
        rows = reading(stores[0], folder / "npy")
        # In a process of its own, whose peak has seen no store being written.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            manifest = Manifest(metadata={}, parallel=stimuli)
            seconds, peak = pool.submit(
                analyse, {each: folder / each for each in STREAMED}, manifest
            ).result()
    what = f"stage 3 on {len(stimuli)} stimuli, {len(STREAMED)} variants, 3 positions"
    return [*rows, (what, seconds, "s"), (f"{what}: peak memory of all processes", peak, "GiB")]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--meanings", type=int, default=0, help="in ten languages each (%(default)s: none)")
    args = parser.parse_args(argv)
    rows = of_the_probes() + (of_many(args.meanings) if args.meanings else [])
    table = pd.DataFrame(rows, columns=["what", "value", "unit"])
    path = write_bytes(args.out / "analysis.csv", table.to_csv(index=False, float_format="%.3g").encode())
    print(table.to_string(index=False))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
