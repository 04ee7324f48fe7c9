"""What the tabs share: the order of choices, and words for a row and for where it is from."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from explorer import controls
from explorer.commitments import names
from explorer.controls import Control
from explorer.data import UNAUDITED, Results, claimable
from probe.conventions import (
    LARGE_SETS,
    METRIC_LABELS,
    POSITIONS,
    PRIMARY_METRIC,
    PRIMARY_POSITION,
    metric_label,
)
from probe.families import Family
from probe.languages import LANGUAGES, label


def in_order(values: Iterable[Any], order: Iterable[Any]) -> list[str]:
    """The distinct values, those of `order` first and as there."""
    there = [str(value) for value in dict.fromkeys(values)]
    known = [value for value in dict.fromkeys(order) if value in there]
    return known + [value for value in there if value not in known]


def measures(table: pd.DataFrame) -> list[Control]:
    """The controls of what a table may be looked at by: metric, position and stimuli, the primary first."""
    metrics = in_order(table.metric.unique(), (PRIMARY_METRIC, *METRIC_LABELS))
    positions = in_order(table.position.unique(), (PRIMARY_POSITION, *POSITIONS))
    return [
        controls.one(
            "metric", "Metric", metrics, labels={metric: metric_label(metric) for metric in metrics}
        ),
        controls.one("position", "Position read", positions),
        controls.one("stimuli", "Stimuli", in_order(table.stimuli.dropna().unique(), LARGE_SETS)),
    ]


def untold(rows: pd.DataFrame, stimuli: str, languages: Sequence[str]) -> str:
    """Why there is nothing to draw: the stimuli are in none of the languages chosen; "" where in some."""
    if rows.language.isin(languages).any():
        return ""
    there = ", ".join(map(label, in_order(rows.language.unique(), LANGUAGES)))
    return f"Not measured: {stimuli} in {', '.join(map(label, languages))}; there is {there}."


def with_hover(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows and `hover`: value, interval, null, p, q where there are any, and why not to claim it."""
    parts = [rows.value.map("<b>{:.3f}</b>".format)]
    for before, low, high in (("", "ci_low", "ci_high"), ("; null", "null_low", "null_high")):
        if low in rows:
            ends = zip(rows[low], rows[high], strict=True)
            parts.append([f"{before} [{a:.3f}, {b:.3f}]" if a == a else "" for a, b in ends])
    for column in ("p_value", "q_value"):
        if column in rows:
            parts.append([f"; {column[0]} {value:.2g}" if value == value else "" for value in rows[column]])
    reasons = zip(rows.reason, claimable(rows), strict=True)
    parts.append(["" if may else f"<br>must not be claimed: {reason}" for reason, may in reasons])
    return rows.assign(hover=["".join(words) for words in zip(*parts, strict=True)])


def unclaimable(results: Results, family: str, rows: pd.DataFrame, what: str) -> str:
    """The sentence on which of the rows shown must not be claimed, and why."""
    refused = rows.loc[~claimable(rows)]
    if refused.empty:
        return f"All of these {len(rows)} {what} may be claimed."
    if set(refused.reason) == {UNAUDITED}:
        return "Not audited: these results have no verdicts, and nothing in them may be claimed."
    words = {f.id: f": {f.blocks[0].text}" for f in results.findings(family) or [] if f.blocks}
    counts = refused.reason.astype(str).value_counts().items()
    counted = "; ".join(f"{count} by {reason}{words.get(str(reason), '')}" for reason, count in counts)
    return f"Of {len(rows)} {what}, {len(refused)} must not be claimed: {counted}."


def source(results: Results, family: str, *names: str) -> str:
    """Where what is shown was read, relative to the root."""
    return "Data: " + ", ".join(results.paths.name(results.file(family, name)) for name in names) + "."


def labels(family: Family) -> dict[str, str]:
    return {variant: family.label(variant) for variant in family.variants}


def variants(results: Results, family: Family, there: Sequence[str]) -> Control:
    """The control of which variants are shown."""
    ordered = in_order(there, family.variants)
    return controls.many("variants", "Variants", ordered, results.variants or ordered, labels=labels(family))


def concepts(results: Results, family: str) -> dict[str, str]:
    """Concept id -> ``C01 fever``; nothing where the file that it takes is not there."""
    return {concept: f"{concept} {name}" for concept, name in names(results, family).items()}
