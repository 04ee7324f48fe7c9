"""How often the router is wrong: on plain FLORES-200, and on text that a program made difficult.

Writes  bench/routing.csv
Run     uv run bench/routing.py --flores-dir flores200_dataset     (about three minutes)

Plain text is all 1,012 devtest sentences of each language; what is not clean there is a false alarm. The
made texts are of the half of FLORES that no threshold was set on: switches at a random word and every 2 to
4 words in all 90 ordered pairs of languages, uroman's romanisation, and characters put into words.
Intervals are Wilson's, 95 %.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from bench import difficult
from probe import cli
from probe.errors import ProbeError
from probe.files import write_bytes
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY
from probe.routing import CATEGORIES, route

FORMAL = "formal_register"


def sentences(folder: Path) -> dict[str, list[str]]:
    paths = {code: folder / "devtest" / f"{language.flores}.devtest" for code, language in LANGUAGES.items()}
    if missing := [path for path in paths.values() if not path.exists()]:
        raise ProbeError(f"{missing[0]} is missing; give FLORES-200 in the layout of its archive")
    return {code: path.read_text(encoding="utf-8").splitlines() for code, path in paths.items()}


def row(check: str, of: str, hits: int, n: int) -> dict:
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return {
        "check": check,
        "of": of,
        "rate": hits / n,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n": n,
    }


def plain(flores: dict[str, list[str]]) -> Iterator[dict]:
    found = {code: [route(line) for line in lines] for code, lines in flores.items()}
    found["all"] = [decision for decisions in found.values() for decision in decisions]
    for code, decisions in found.items():
        n = len(decisions)
        if code != "all":
            yield row("language right", code, sum(d.language == code for d in decisions), n)
        alarms = [d.category for d in decisions if d.category]
        yield row("false alarm, formal register apart", code, sum(c != FORMAL for c in alarms), n)
        yield row("false alarm, formal register", code, alarms.count(FORMAL), n)
        if code == "all":
            for category in CATEGORIES:
                yield row("false alarm", category, alarms.count(category), n)


def made_difficult(flores: dict[str, list[str]]) -> Iterator[dict]:
    for name, category, texts in difficult.beds(flores, random.Random(11)):
        yield row(
            f"recall of {category}", name, sum(route(text).category == category for text in texts), len(texts)
        )


def latency(flores: dict[str, list[str]]) -> Iterator[dict]:
    times = []
    for lines in flores.values():
        for line in lines[:200]:
            started = time.perf_counter()
            route(line)
            times.append(1000 * (time.perf_counter() - started))
    for of, rate in (
        ("median", statistics.median(times)),
        ("99th of 100", statistics.quantiles(times, n=100)[98]),
    ):
        yield {"check": "milliseconds a call", "of": of, "rate": rate, "n": len(times)}


def work(args: argparse.Namespace) -> None:
    flores = sentences(args.flores_dir)
    route("warm up")
    table = pd.DataFrame([*plain(flores), *made_difficult(flores), *latency(flores)])
    path = REPOSITORY / "bench" / "routing.csv"
    write_bytes(path, table.round(5).to_csv(index=False).encode())
    print(table.to_string(index=False))
    print(path)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flores-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--verbose", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
