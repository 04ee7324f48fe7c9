"""Stage 4: where a variant does worse than Base, what troublesome input costs, and a router for it.

Reads   results/{family}/commitment_matrix.csv, artifact_audit.json   activations/{family}/{variant}/
        the family's stimulus manifest
Writes  results/{family}/failure_cases.csv, edge_effects.csv, edge_categories.csv
Run     uv run failure_classifier.py --family nano-aya
        uv run failure_classifier.py --route "mujhe kal raat se bukhar hai"            (no results needed)
        uv run failure_classifier.py --evaluate p1_edge_cases.json --json

A failure is a concept and a language that a variant commits to later than Base by more than 4 of 36 blocks,
or never where Base does; it is significant where the concept also lost closeness to its own meaning, more
than the language as a whole did. A concept is what a probe means, a word that several sentences of a kind
hold, or what one sentence means (probe/failures/concepts.py). Edge cases are those of p1_edge_cases.json, and
the ones generated for nano-aya: what closeness the input loses against its clean form.
"""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from probe import cli
from probe.activations.opening import open_stores, provenance
from probe.activations.store import ActivationStore
from probe.alignment.cells import KINDS
from probe.alignment.commitment import COSINE, ENDING
from probe.audit import findings
from probe.audit.door import Judge
from probe.errors import ProbeError
from probe.failures import cases, edge, evidence
from probe.families import Family
from probe.paths import Paths
from probe.routing import Decision, evaluate, route
from probe.stimuli import edge_cases
from probe.stimuli.manifest import Manifest, load_manifest
from probe.tables import COMMITMENT, EDGE_CATEGORIES, EDGE_EFFECTS, FAILURE_CASES

__all__ = ["Decision", "main", "route"]

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--route", metavar="TEXT", help="say which variant should have this text, and why")
    instead.add_argument("--evaluate", type=Path, metavar="FILE", help="route the cases of a file, and count")
    parser.add_argument(
        "--json", action="store_true", help="with --route or --evaluate: for a program to read"
    )
    return parser


def read_commitments(paths: Paths, family: Family, manifest: Manifest) -> tuple[Path, pd.DataFrame]:
    """Raises ProbeError where the table is missing, damaged, or of other concepts than the manifest's."""
    source, command = COMMITMENT.path(paths, family.name), COMMITMENT.command(family.name)
    commitments = COMMITMENT.read(paths, family.name, needs=["stimuli", f"{family.baseline}{ENDING[COSINE]}"])
    keys = zip(commitments.stimuli, commitments.concept_id, commitments.language, strict=True)
    known = {(kind, s.meaning, s.language) for kind in KINDS for s in manifest.of_kind(kind)}
    if unknown := set(keys) - known:
        raise ProbeError(f"{source} has concepts that the manifest lacks ({min(unknown)}); run: {command}")
    return source, commitments


def measure(args: argparse.Namespace) -> None:
    paths, family, variants = cli.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    source, commitments = read_commitments(paths, family, manifest)
    out = paths.results(family.name)
    audit = out / findings.JSON
    judge = Judge(findings.read(audit, COMMITMENT.command(family.name)), family.untrained)
    measured = dict.fromkeys([family.baseline, *variants])
    stores = open_stores(paths, family, measured, manifest)
    n_states = stores[family.baseline].n_states
    params = {"tolerated_delay": cases.tolerated_delay(n_states)}
    metadata = provenance(paths, family, stores, params, [source, audit], **evidence.CONVENTIONS)
    write_edge(out, stores, manifest, family, metadata)
    with threadpool_limits(1):  # as in stage 3
        examined = [
            cases.examine(stores, manifest, kind, commitments, family, cases.compared(family, variants))
            for kind in KINDS
        ]
    table = cases.cases(examined, family, cases.measured(commitments, family), judge, n_states)
    told = {each.kind: cases.summary(each, table, family) for each in examined}
    counted = {each.kind: cases.counts(each, table) for each in examined}
    path = FAILURE_CASES.write(out, table, metadata | {"summary": told, "counts": counted})
    for kind, line in told.items():
        print(f"{kind}: {line}")
    print(f"{path}: {cases.headline(table)}")


def write_edge(
    out: Path, stores: dict[str, ActivationStore], manifest: Manifest, family: Family, metadata: dict
) -> None:
    if not manifest.edge:
        log.info("the manifest has no edge cases; build it again with: uv run build_stimuli.py")
        return
    by_case, by_category = edge.edge_tables(stores, manifest, family.baseline, family.emphasised)
    EDGE_EFFECTS.write(out, by_case, metadata)
    path = EDGE_CATEGORIES.write(out, by_category, metadata)
    print(f"{path}: {edge.summary(by_category)}")


def print_route(text: str, family: str, as_json: bool) -> None:
    decision = route(text, family)
    if as_json:
        print(json.dumps(dataclasses.asdict(decision), ensure_ascii=False))
        return
    print(f"{decision.variant}: {decision.language}, {', '.join(decision.categories) or 'clean'}")
    print(f"confidence {decision.confidence:.2f}")
    for reason in decision.reasons:
        print(f"- {reason}")


def print_evaluation(path: Path, family: str, as_json: bool) -> None:
    evaluation = evaluate([case.model_dump() for case in edge_cases.load_labelled(path)], family)
    if as_json:
        print(json.dumps(evaluation.summary(), ensure_ascii=False))
        return
    print(pd.DataFrame(evaluation.confusion).T.to_string())
    print(f"rows: expected; columns: decided. {evaluation.policy}")
    print(f"false alarms on clean forms: {len(evaluation.false_alarms)} of {evaluation.clean}")
    right = ", ".join(f"{what} {n}" for what, n in evaluation.right.items())
    print(f"right of {evaluation.n}: {right}; {evaluation.categories_given:.2f} categories a case")


def work(args: argparse.Namespace) -> None:
    if args.route is not None:
        print_route(args.route, args.family, args.json)
    elif args.evaluate is not None:
        print_evaluation(args.evaluate, args.family, args.json)
    elif args.json:
        raise ProbeError("--json goes with --route TEXT or --evaluate FILE")
    else:
        measure(args)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
