"""How often does a false claim get past the door, and a true one? On worlds of known truth (bench/worlds.py).

Reads   bench/calibration_before.csv   the same rates for the first edition of the measurement
Writes  bench/calibration.csv, bench/calibration.png
Run     uv run bench/calibration.py                        (500 data sets a world; about an hour on 2 cores)
        uv run bench/calibration.py --only "ten topics" --data-sets 60 --out DIR

A world whose row is there is not run again unless the measurement, the worlds or --data-sets changed. Every
data set goes through what stage 3 (for failures, stage 4) calls, and a claim is a row that the door lets out.
"""

import argparse
import ast
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import threadpoolctl
from tqdm import tqdm

from bench.memory import Data
from bench.worlds import WORLDS, World
from probe import dependencies
from probe.alignment import measure
from probe.audit import rules
from probe.audit.door import claimable
from probe.audit.judge import Judged, measure_and_judge
from probe.conventions import ALPHA, PRIMARY_METRIC, PRIMARY_POSITION
from probe.failures import cases, evidence
from probe.files import digest, write_bytes

HERE = Path(__file__).parent
ROOMS = ("stats", "alignment", "audit", "failures", "bench")
FALSE_CLAIMS, COVERAGE = (0.0, 0.07), (0.92, 0.98)
COLUMNS = (
    "world about n data_sets false_claims wilson_low wilson_high coverage power effect before code".split()
)


@dataclass(frozen=True)
class Outcome:
    """Of one data set: whether the claim got out, and the share of intervals that hold the truth."""

    said: bool
    covered: float = np.nan


def of_primary(table: pd.DataFrame, rows: str) -> pd.DataFrame:
    """The rows of the primary measure (and position, unless the query names one) that the query picks."""
    if "metric" in table and "metric" not in rows:
        table = table[table["metric"] == PRIMARY_METRIC]
    if "position" in table and "position" not in rows:
        table = table[table["position"] == PRIMARY_POSITION]
    return table.query(rows)


def judged(data: Data, comparisons: bool = False) -> Judged:
    """What stage 3 makes of it; by default without what is measured for comparison alone."""
    positions = data.positions
    return measure_and_judge(data.stores, data.manifest, data.family, data.untrained, positions, comparisons)


def failed(data: Data) -> pd.DataFrame:
    """What stage 4 would call a significant loss of fire, whatever either variant commits to."""
    found = cases.concept_evidence(data.stores, data.manifest, "probes", "base", ["fire"])
    tested = evidence.with_q_values(found)
    return tested[~np.logical_or.reduce([rule(tested) for rule in rules.FAILURE.values()])]


def outcome(world: World, effect: float, n: int, seed: int) -> Outcome:
    """One data set, drawn, measured and judged."""
    data = world.make(np.random.default_rng([seed, n, int(digest(world.name.encode())[:8], 16)]), n, effect)
    claim = world.right if effect else world.wrong
    if claim and claim.table == "failure_cases":
        return Outcome(len(failed(data).query(claim.rows)) > 0)
    tables = judged(data).tables
    said = claim is not None and bool(claimable(of_primary(tables[claim.table], claim.rows)).any())
    if effect or world.truth is None:
        return Outcome(said)
    known, truth = world.truth
    intervals = of_primary(tables[known.table], known.rows)
    return Outcome(said, float(((intervals.ci_low <= truth) & (truth <= intervals.ci_high)).mean()))


def outcomes(world: World, effect: float, n: int, count: int, pool: ProcessPoolExecutor) -> list[Outcome]:
    draws = pool.map(partial(outcome, world, effect, n), range(count), chunksize=max(1, count // 50))
    label = f"{world.name}, n = {n}, effect {effect:g}"
    return list(tqdm(draws, desc=label, total=count, disable=not sys.stderr.isatty()))


def row(world: World, n: int, data_sets: int, pool: ProcessPoolExecutor) -> dict:
    """False claims and coverage where nothing is planted, power (on a fifth of the data sets) where it is."""
    from scipy.stats import binomtest

    made: dict = {"world": world.name, "about": world.about, "n": n, "data_sets": data_sets}
    if world.truth or (world.wrong and (n == world.n or not world.right)):
        nothing = outcomes(world, 0.0, n, data_sets, pool)
        if world.truth:
            made["coverage"] = float(np.mean([each.covered for each in nothing]))
        if world.wrong:
            said = sum(each.said for each in nothing)
            interval = binomtest(said, data_sets).proportion_ci(method="wilson")
            made |= {
                "false_claims": said / data_sets,
                "wilson_low": interval.low,
                "wilson_high": interval.high,
            }
    if world.right:
        planted = outcomes(world, world.effect, n, max(10, data_sets // 5), pool)
        made |= {"power": float(np.mean([each.said for each in planted])), "effect": world.effect}
    return made


def take_one_core() -> None:
    """In a worker: the processes are taken up by data sets."""
    threadpoolctl.threadpool_limits(1)
    measure.WORTH_A_PROCESS = sys.maxsize


def code() -> str:
    """What the rates depend on: the worlds and the rooms that measure and judge, comments apart."""
    sources = sorted(path for path in dependencies.code("bench.calibration") if path.parent.name in ROOMS)
    trees = [ast.dump(ast.parse(path.read_bytes())) for path in sources if path != Path(__file__)]
    return digest("".join(trees).encode())[:8]


def rows(path: Path, only: Sequence[str], data_sets: int, workers: int, keep: bool) -> Iterator[pd.DataFrame]:
    """The table, each time that it has another row."""
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS))
    now, place = code(), {name: number for number, name in enumerate(WORLDS)}
    current = table[((table.code == now) | keep) & (table.data_sets == data_sets)]
    known = set(zip(current.world, current.n, strict=True))
    with ProcessPoolExecutor(workers, initializer=take_one_core) as pool:
        for world, n in ((WORLDS[name], n) for name in only for n in (WORLDS[name].n, *WORLDS[name].at)):
            if (world.name, n) not in known:
                made = row(world, n, data_sets, pool) | {"code": now}
                table = table[(table.world != world.name) | (table.n != n)]
                table = pd.concat([table, pd.DataFrame([made])], ignore_index=True)
                logging.info("%s, n = %d: %s", world.name, n, _rates(made))
            ordered = table.sort_values(
                ["world", "n"], key=lambda c: c.map(place) if c.name == "world" else c
            )
            yield ordered.reindex(columns=list(COLUMNS))


def _rates(made: dict) -> str:
    return ", ".join(
        f"{name} {made[name]:.3f}" for name in ("false_claims", "coverage", "power") if name in made
    )


def met(table: pd.DataFrame) -> pd.Series:
    """Whether a row's false claims and coverage are what the level promises; True where it has neither."""
    few = (table.false_claims <= FALSE_CLAIMS[1]) & (table.wilson_low <= ALPHA)
    return (few | table.false_claims.isna()) & (table.coverage.between(*COVERAGE) | table.coverage.isna())


def draw(table: pd.DataFrame, path: Path) -> None:
    """An axis for each kind of rate: what the level promises in grey, the first edition open."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.22 * len(table) + 1.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(3, 2, 2))
    places = np.arange(len(table))
    kinds = (
        ("false_claims", "false claims", FALSE_CLAIMS),
        ("coverage", "95 % intervals that cover", COVERAGE),
    )
    for ax, (column, label, target) in zip(axes, (*kinds, ("power", "true claims made", None)), strict=True):
        least = 0.7 if column == "coverage" else 0.0  # an interval that covers less often has failed
        if target:
            ax.axvspan(*target, color="#DDDDDD", linewidth=0)
        if column == "false_claims":
            ax.plot(table.before, places, "o", mfc="none", color="#999999", label="first edition")
            ax.hlines(places, table.wilson_low, table.wilson_high, color="#0072B2")
        ax.plot(table[column].clip(least), places, "o", color="#0072B2", label="now")
        ax.set(xlim=(least - 0.03, 1.03), xticks=(least, (1 + least) / 2, 1), xlabel=label)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#EEEEEE")
    axes[0].set_yticks(places, table.world + ", n = " + table.n.astype(str))
    axes[0].set_ylim(len(table) - 0.5, -0.5)
    axes[0].legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-sets", type=int, default=500)
    parser.add_argument("--only", nargs="+", metavar="WORLD", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--keep", action="store_true", help="rows that other code made stay (see `code`)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("probe").setLevel(logging.WARNING)  # of each data set it would tell what it measures
    path, table = args.out / "calibration.csv", pd.DataFrame()
    before = pd.read_csv(HERE / "calibration_before.csv").set_index(["world", "n"]).false_claims
    for table in rows(path, args.only, args.data_sets, args.workers, args.keep):
        table["before"] = before.reindex(pd.MultiIndex.from_frame(table[["world", "n"]])).to_numpy()
        write_bytes(path, table.to_csv(index=False, float_format="%.4g").encode())
    draw(table, args.out / "calibration.png")
    print(f"{path}: {int(met(table).sum())} of {len(table)} rows as the level promises")
    return 0


if __name__ == "__main__":
    sys.exit(main())
