"""Rows of a table, with what a reader needs beside each value: whether it is blocked, and words for it."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from explorer.tables import Results
from probe.audit import findings
from probe.audit.findings import Finding
from probe.families import Family
from probe.paths import Paths
from viz.blocked import Audit

LARGE_SETS = ("parallel", "flores")  # many meanings: shown before the few probes
METRICS = {
    "excess": "excess cosine",
    "cosine": "raw cosine",
    "centred_cosine": "cosine, centred",
    "centred_excess": "excess, centred",
    "p1": "retrieval P@1",
    "p1_to_target": "P@1, English to target",
    "p1_to_pivot": "P@1, target to English",
    "mrr": "mean reciprocal rank",
    "mrr_to_target": "MRR, English to target",
    "mrr_to_pivot": "MRR, target to English",
    "mexa": "MEXA",
    "margin": "margin",
    "xsim": "xsim error",
    "cka": "debiased CKA",
    "mutual_knn": "mutual k-NN",
}


def kinds(table: pd.DataFrame) -> list[str]:
    """The kinds of stimuli in it, the larger sets first."""
    return sorted(table.stimuli.dropna().unique(), key=lambda kind: (kind not in LARGE_SETS, kind))


def in_order(values: Iterable[Any], order: Iterable[Any]) -> list[str]:
    """The distinct values, those of `order` first and as there."""
    there = [str(value) for value in dict.fromkeys(values)]
    known = [value for value in order if value in there]
    return known + [value for value in there if value not in known]


def with_blocks(rows: pd.DataFrame, audit: Audit, **fixed: str) -> pd.DataFrame:
    """The rows and `blocked`: the finding that takes the claim away, in words, or None.

    fixed: columns with one value in all rows. Claims of another value are left aside first, which is what
    makes this quick enough for a page.
    """
    near = [_claims_near(finding, fixed) for finding in audit.findings or []]
    near = [finding for finding in near if finding.blocks]
    ids = findings.blocking(rows, near)
    words = {f.id: f"{f.id}: {f.blocks[0].text}" for f in near}
    return rows.assign(blocked=[words.get(found) for found in ids])


def _claims_near(finding: Finding, fixed: dict[str, str]) -> Finding:
    claims = [
        claim
        for claim in finding.blocks
        if all(value in claim.where.get(column, [value]) for column, value in fixed.items())
    ]
    return finding.model_copy(update={"blocks": claims})


def with_hover(rows: pd.DataFrame, name: str = "value") -> pd.DataFrame:
    """The rows and `hover`: value, interval, null, p and q as far as there are any, and what is blocked."""
    parts = [rows[name].map("<b>{:.3f}</b>".format)]
    if "ci_low" in rows:
        ends = zip(rows.ci_low, rows.ci_high, strict=True)
        parts.append([f" [{low:.3f}, {high:.3f}]" if low == low else "" for low, high in ends])
    if "null_low" in rows:
        ends = zip(rows.null_low, rows.null_high, strict=True)
        parts.append([f"; null [{low:.3f}, {high:.3f}]" if low == low else "" for low, high in ends])
    for column in ("p_value", "q_value"):
        if column in rows:
            letter = column[0]
            parts.append([f"; {letter} {value:.2g}" if value == value else "" for value in rows[column]])
    parts.append([f"<br>blocked: {reason}" if isinstance(reason, str) else "" for reason in rows.blocked])
    return rows.assign(hover=["".join(words) for words in zip(*parts, strict=True)])


def records(table: pd.DataFrame) -> Iterable[Any]:
    """Row by row, a column an attribute."""
    return table.itertuples(index=False)


def blocked_note(rows: pd.DataFrame, audit: Audit, what: str) -> str:
    if audit.findings is None:
        return "Not audited: these results come without an artifact_audit.json."
    reasons = rows.blocked.dropna()
    if reasons.empty:
        return f"The auditor blocks none of these {len(rows)} {what}."
    counted = "; ".join(f"{count} by {reason}" for reason, count in reasons.value_counts().items())
    return f"Of {len(rows)} {what} the auditor blocks {len(reasons)}: {counted}."


def source(results: Results, family: str, *names: str) -> str:
    """Where what is shown was read, relative to the root."""
    paths: Paths = results.paths
    return "Data: " + ", ".join(paths.name(results.file(family, name)) for name in names) + "."


def labels(family: Family) -> dict[str, str]:
    return {variant: family.label(variant) for variant in family.variants}


def concepts(results: Results, name: str) -> dict[str, str]:
    """Concept id -> ``C01 fever``; nothing where the files that it takes are not there."""
    if not (results.has(name, "alignment_curves.json") and results.has(name, "commitment_matrix.csv")):
        return {}
    table = results.table(name, "commitment_matrix")
    return {c: f"{c} {word}" for c, word in zip(table.concept_id, table.concept, strict=True)}
