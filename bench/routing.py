"""How often the router is wrong: on plain text, on text that a program made difficult, on dialect sentences.

Writes  bench/routing.csv
Run     uv run bench/routing.py --flores-dir flores200_dataset --tico-dir tico19     (about four minutes)

Plain text: the second half of FLORES-200 devtest, as thresholds were set on the first, and all of TICO-19.
What is not clean there is an alarm, and a false one unless bench/judged_alarms.csv has it: those that are
right about their sentence, each looked at. Recall is counted among all categories given, and "as the first".
The dialect sentences (bench/dialects.toml) were written before the cue lists were revised. Intervals are
Wilson's, 95 %.
"""

import argparse
import csv
import random
import statistics
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from bench import difficult
from probe import cli
from probe.errors import ProbeError
from probe.files import write_bytes
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY
from probe.routing import CATEGORIES, Decision, route
from probe.routing.decision import CLINICAL, CODE_SWITCHING, FORMAL_REGISTER, LOW_RESOURCE_VARIANT

HERE = REPOSITORY / "bench"
FLORES, TICO = "FLORES-200", "TICO-19"
RANDOM_STRINGS = 20_000
LONG = 100_000  # characters


def sentences(folder: Path, names: Mapping[str, str]) -> dict[str, list[str]]:
    paths = {code: folder / name for code, name in names.items()}
    if missing := [path for path in paths.values() if not path.exists()]:
        raise ProbeError(f"{missing[0]} is missing; give FLORES-200 and TICO-19 as the README says")
    return {code: path.read_text(encoding="utf-8").splitlines() for code, path in paths.items()}


def row(check: str, of: str, hits: int, n: int) -> dict:
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    return {"check": check, "of": of, "rate": hits / n, "ci_low": low, "ci_high": high, "n": n}


def judged() -> set[tuple[str, str, int, str]]:
    """(corpus, language, line from 0, category) of the alarms that are right."""
    with (HERE / "judged_alarms.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["corpus"], row["language"], int(row["line"]), row["category"]) for row in rows}


def plain(corpus: str, lines: Mapping[str, list[str]], first: int) -> Iterator[dict]:
    """first: the number of the first line that is counted."""
    right = judged()
    decided = {code: [route(line) for line in texts[first:]] for code, texts in lines.items()}
    wrong = {
        code: [
            [c for c in _of_concern(decision) if (corpus, code, first + i, c) not in right]
            for i, decision in enumerate(decisions)
        ]
        for code, decisions in decided.items()
    }
    prefix = "" if corpus == FLORES else f"{corpus}: "
    for code, decisions in decided.items():
        hits = sum(decision.language == code for decision in decisions)
        yield row(f"{prefix}language right", code, hits, len(decisions))
    decided["all"] = [decision for decisions in decided.values() for decision in decisions]
    wrong["all"] = [categories for of_one in wrong.values() for categories in of_one]
    for code, decisions in decided.items():
        for check, hits in _alarms(decisions, wrong[code]):
            yield row(f"{prefix}{check}", code, hits, len(decisions))
        if code == "all":
            for category in CATEGORIES:
                hits = sum(category in d.categories for d in decisions)
                yield row(f"{prefix}alarm", category, hits, len(decisions))
                hits = sum(category in false for false in wrong[code])
                yield row(f"{prefix}false alarm", category, hits, len(decisions))
        regional = [d for d in decisions if d.language_variant != "base"]
        if regional:
            kept = sum(d.variant == d.language_variant for d in regional)
            yield row(f"{prefix}regional variant kept", code, kept, len(regional))


def _of_concern(decision: Decision) -> list[str]:
    """Its categories; not the formal one where it is clinical alone, which in TICO-19 many sentences are."""
    return [c for c in decision.categories if c != FORMAL_REGISTER or decision.registers != (CLINICAL,)]


def _alarms(decisions: Sequence[Decision], wrong: Sequence[list[str]]) -> Iterator[tuple[str, int]]:
    yield "alarm", sum(bool(d.categories) for d in decisions)
    yield "alarm, clinical register", sum(CLINICAL in d.registers for d in decisions)
    yield "alarm, code-switching", sum(CODE_SWITCHING in d.categories for d in decisions)
    yield "false alarm, clinical register apart", sum(map(bool, wrong))
    yield "false alarm, formal register apart", sum(bool(set(false) - {FORMAL_REGISTER}) for false in wrong)
    yield "false alarm, formal register", sum(FORMAL_REGISTER in false for false in wrong)


def recall(category: str, name: str, texts: Sequence[str]) -> Iterator[dict]:
    decisions = [route(text) for text in texts]
    hits = sum(category in decision.categories for decision in decisions)
    yield row(f"recall of {category}", name, hits, len(texts))
    hits = sum(decision.category == category for decision in decisions)
    yield row(f"recall of {category} as the first", f"{name}, as the first", hits, len(texts))


def made_difficult(flores: dict[str, list[str]]) -> Iterator[dict]:
    for name, category, texts in difficult.beds(flores, random.Random(11)):
        yield from recall(category, name, texts)
    dialects = tomllib.loads((HERE / "dialects.toml").read_text(encoding="utf-8"))
    lines = [line for block in dialects.values() for line in block.strip().splitlines()]
    yield from recall(LOW_RESOURCE_VARIANT, "sentences in dialects", lines)


def any_string() -> Iterator[dict]:
    """Strings of characters of all planes; then the worst of the hostile texts."""
    rng, raised = random.Random(3), 0
    for _ in range(RANDOM_STRINGS):
        text = "".join(
            chr(rng.choice((rng.randrange(0x250), rng.randrange(0x110000)))) for _ in range(rng.randrange(40))
        )
        try:
            route(text)
        except Exception:  # counting them is the point
            raised += 1
    yield row("exceptions", "random strings", raised, RANDOM_STRINGS)
    texts = difficult.hostile(LONG)
    worst = max(milliseconds(text) for text in texts)
    yield {"check": "milliseconds a call", "of": "hostile, the worst", "rate": worst, "n": len(texts)}


def milliseconds(text: str) -> float:
    """Of the processor, so that what else runs beside does not count."""
    started = time.process_time()
    route(text)
    return 1000 * (time.process_time() - started)


def latency(flores: dict[str, list[str]]) -> Iterator[dict]:
    times = [milliseconds(line) for lines in flores.values() for line in lines[:200]]
    for of, rate in (
        ("median", statistics.median(times)),
        ("99th of 100", statistics.quantiles(times, n=100)[98]),
    ):
        yield {"check": "milliseconds a call", "of": of, "rate": rate, "n": len(times)}


def work(args: argparse.Namespace) -> None:
    flores = sentences(
        args.flores_dir, {code: f"devtest/{one.flores}.devtest" for code, one in LANGUAGES.items()}
    )
    tico = sentences(args.tico_dir, {code: f"{code}.txt" for code in LANGUAGES if code != "yo"})
    route("warm up")
    rows = [
        *plain(FLORES, flores, difficult.CALIBRATED_ON),
        *plain(TICO, tico, 0),
        *made_difficult(flores),
        *any_string(),
        *latency(flores),
    ]
    table = pd.DataFrame(rows)
    path = write_bytes(HERE / "routing.csv", table.round(5).to_csv(index=False).encode())
    print(table.to_string(index=False))
    print(path)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flores-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tico-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--verbose", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
