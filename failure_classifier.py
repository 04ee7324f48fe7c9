"""Stage 4: where a regional variant does worse than Base.

Reads   results/{family}/commitment_matrix.csv   the family's stimulus manifest
Writes  results/{family}/failure_cases.csv
Run     uv run failure_classifier.py --family nano-aya

A case is a concept and a language that a regional variant commits to more than 4 states later than Base, or
never where Base does commit.
"""

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from probe import results, stage
from probe.errors import ProbeError
from probe.families import Family
from probe.stimuli import Manifest, load_manifest

TOLERATED_DELAY = 4  # states
LATE, NEVER = "late_commitment", "no_commitment"
PREVIEW = 60  # characters


def parser() -> argparse.ArgumentParser:
    return stage.parser(__doc__)


def failure(regional: int | None, baseline: int | None) -> str | None:
    """LATE, NEVER, or None where the regional variant does no worse. None for a layer is 'never commits'."""
    if baseline is None:
        return None
    if regional is None:
        return NEVER
    return LATE if regional - baseline > TOLERATED_DELAY else None


def cases(commitments: pd.DataFrame, family: Family, manifest: Manifest) -> pd.DataFrame:
    """One row per concept and language in which at least one regional variant fails, per category."""
    measured = [column.removesuffix("_layer") for column in commitments.columns if column.endswith("_layer")]
    regional = [variant for variant in measured if family.variants[variant].emphasises]
    texts = {(s.concept_id, s.language): s for s in manifest.probes}
    rows = []
    for cell in commitments.to_dict("records"):
        layers = {v: None if pd.isna(cell[f"{v}_layer"]) else int(cell[f"{v}_layer"]) for v in measured}
        stimulus = texts[cell["concept_id"], cell["language"]]
        for category in (LATE, NEVER):
            failing = [v for v in regional if failure(layers[v], layers[family.baseline]) == category]
            if failing:
                rows.append(
                    {
                        "stimulus_id": stimulus.stimulus_id,
                        "concept": cell["concept"],
                        "language": cell["language"],
                        "text_preview": stimulus.text[:PREVIEW],
                        **{f"{v}_commit": layers[v] for v in measured},
                        "failure_category": category,
                        "notes": "; ".join(_note(v, cell["language"], family) for v in failing),
                    }
                )
    columns = ["stimulus_id", "concept", "language", "text_preview", *(f"{v}_commit" for v in measured)]
    table = pd.DataFrame(rows, columns=[*columns, "failure_category", "notes"])
    return table.astype({f"{v}_commit": "Int64" for v in measured})


def _note(variant: str, language: str, family: Family) -> str:
    meant = language in family.variants[variant].emphasises
    return f"{variant} ({'a language it emphasises' if meant else 'not a language it emphasises'})"


def work(args: argparse.Namespace) -> None:
    paths, family, _ = stage.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    source = paths.results(family.name) / "commitment_matrix.csv"
    command = f"uv run concept_alignment.py --family {family.name}"
    commitments = results.read_csv(source, command, {"concept_id", "language", f"{family.baseline}_layer"})
    if unknown := set(zip(commitments.concept_id, commitments.language, strict=True)) - {
        (s.concept_id, s.language) for s in manifest.probes
    }:
        raise ProbeError(f"{source} has concepts that the manifest lacks ({min(unknown)}); run: {command}")
    table = cases(commitments, family, manifest)
    metadata = results.provenance(
        params={"family": family.name, "tolerated_delay": TOLERATED_DELAY},
        inputs={paths.name(source): results.sha256(source)},
    )
    path = results.write_csv(paths.results(family.name) / "failure_cases.csv", table, metadata)
    print(f"{path}: {len(table)} cases among {len(commitments)} concepts in a language")


def main(argv: Sequence[str] | None = None) -> int:
    return stage.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
