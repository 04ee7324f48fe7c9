"""What the auditor found: its findings, the claims they take away, and the two files that hold them.

A claim is a row of a table: of alignment_summary.csv, variant_effects.csv or peaks.csv, or for a commitment
the row {variant, language, stimuli, position, metric, state} of the state it commits at. `Claim.where` lists
for some columns the values that are covered:

    {"position": ["last"], "state": [0], "language": ["hi", "sw"]}      whatever the variant and the metric

A row that lacks a column speaks of all its values, the covered ones included, and is blocked: an average over
languages holds the artifact of each. Some keys are derived instead of looked up:

    variant    any of the row's variant, variant_a, variant_b
    state      state or peak_state
    claim      effect, peak or level, by the columns that the table has (or its own column `claim`)
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from probe import files
from probe.audit.advice import advice
from probe.errors import ProbeError

JSON, TABLE = "artifact_audit.json", "artifact_audit.md"
SEVERITIES = ("high", "medium", "low")
SYNONYMS = {"variant": ("variant", "variant_a", "variant_b"), "state": ("state", "peak_state")}

Cell = tuple[str, str]  # variant, language


class Claim(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    where: dict[str, list]
    text: str


class Finding(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str  # check[/what it is about], one finding each
    severity: Literal["high", "medium", "low"]
    languages: list[str]  # empty: not about single languages
    variants: list[str]
    evidence: dict[str, Any]  # "sentence", and the numbers it rests on
    blocks: list[Claim]


def _covered(table: pd.DataFrame, where: Mapping[str, list]) -> pd.Series:
    """Which rows a claim covers, keys as the module describes."""
    covered = pd.Series(True, index=table.index)
    for key, values in where.items():
        if key == "claim" and "claim" not in table:
            of_two = "variant_a" in table or "against" in table
            kind = "effect" if of_two else "peak" if "peak_state" in table else "level"
            covered &= kind in values
        elif columns := [table[name] for name in SYNONYMS.get(key, (key,)) if name in table]:
            covered &= np.logical_or.reduce([column.isin(values) | column.isna() for column in columns])
    return covered


def blocking(table: pd.DataFrame, findings: Iterable[Finding]) -> pd.Series:
    """For every row the id of the most severe finding that blocks it, None where none does."""
    by = pd.Series([None] * len(table), index=table.index, dtype=object)
    for finding in sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)):
        for claim in finding.blocks:
            by[by.isna() & _covered(table, claim.where)] = finding.id
    return by


def blocked(row: Mapping[str, Any] | pd.Series, findings: Sequence[Finding]) -> Finding | None:
    """The most severe finding that takes this row's claim away. For many rows, use `blocking`."""
    found = blocking(pd.DataFrame([dict(row)]), findings).iloc[0]
    return next((finding for finding in findings if finding.id == found), None)


def grouped(cells: Mapping[Cell, Sequence]) -> Iterator[tuple[dict[str, list], list]]:
    """Filters on variant and language that cover the cells exactly, and are few: the languages of a variant
    whose x is the same, then the variants whose languages and x agree. cells: (variant, language) -> x."""
    languages: dict[tuple[str, tuple], list[str]] = defaultdict(list)
    for (variant, language), value in cells.items():
        languages[variant, tuple(value)].append(language)
    variants: dict[tuple[tuple[str, ...], tuple], list[str]] = defaultdict(list)
    for (variant, value), members in languages.items():
        variants[tuple(members), value].append(variant)
    for (members, value), names in variants.items():
        yield {"variant": names, "language": list(members)}, list(value)


def write(out: Path, findings: Sequence[Finding], metadata: dict) -> Path:
    """artifact_audit.json, and the same as a table to read. Returns the path of the first."""
    files.write_bytes(out / TABLE, as_table(findings).encode())
    payload = {"findings": [finding.model_dump() for finding in findings]}
    return files.write_json(out / JSON, payload, metadata)


def read(path: Path, made_by: str) -> list[Finding]:
    """Raises ProbeError with the command that makes the file where it is missing or damaged."""
    content = files.read_json(path, made_by)
    try:
        return [Finding.model_validate(finding) for finding in content["findings"]]
    except (KeyError, TypeError, ValidationError) as error:
        raise ProbeError(f"{path} is damaged: these are no findings; run: {made_by}") from error


def as_table(findings: Sequence[Finding]) -> str:
    """Markdown, one row per finding."""
    rows = [
        (
            finding.severity,
            finding.id,
            ", ".join(finding.variants) or "-",
            ", ".join(finding.languages) or "-",
            finding.evidence["sentence"],
            "; ".join(dict.fromkeys(claim.text for claim in finding.blocks)) or "nothing",
            advice(finding.id),
        )
        for finding in findings
    ]
    head = (
        "severity",
        "finding",
        "variants",
        "languages",
        "evidence",
        "what must not be claimed",
        "what to do",
    )
    cells = [head, ("---",) * len(head), *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([f"Findings of the auditor: {counted(findings)}. Provenance: {JSON}.", "", *lines, ""])


def counted(findings: Sequence[Finding]) -> str:
    """``2 high, 1 medium, 0 low``"""
    return ", ".join(f"{sum(finding.severity == s for finding in findings)} {s}" for s in SEVERITIES)
