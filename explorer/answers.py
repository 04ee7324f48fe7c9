"""From tables to what an agent is given: the rows asked for, few enough, with what blocks them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.results import Curves
from probe.alignment.commitment import (
    censored_median,
    commitment_layer,
    commitment_states,
    committed,
    held_level,
)
from probe.audit import findings
from probe.audit.findings import Finding
from probe.errors import ProbeError

MAX_ROWS = 200  # of a list in an answer; its `left_out` counts the rest
SHOWN = 60  # characters of a wrong argument that an error repeats


def unknown(what: str, value: object, valid: Sequence[str]) -> ProbeError:
    """A wrong argument. Its repr, since it may hold control characters."""
    return ProbeError(f"no {what} {str(value)[:SHOWN]!r}, only {', '.join(map(str, valid)) or 'none at all'}")


def chosen(what: str, value: str | None, valid: list[str]) -> list[str]:
    """[value], or all that are valid for None."""
    if value is not None and value not in valid:
        raise unknown(what, value, valid)
    return valid if value is None else [value]


def distinct(values: Iterable) -> list:
    """In the order in which they come first."""
    return list(dict.fromkeys(values))


def narrowed(table: pd.DataFrame, asked: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a column's value, column after column. Raises ProbeError that lists the values which a
    column has in the rows left by the ones before."""
    for column, value in asked.items():
        left = table.loc[table[column] == value]
        if left.empty:
            raise unknown(column, value, distinct(table[column]))
        table = left
    return table


def records(table: pd.DataFrame, without: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Rows as JSON holds them, an empty cell as None; without some of the columns."""
    table = table.drop(columns=list(without))
    return table.astype(object).where(table.notna(), None).to_dict("records")


def bounded(name: str, rows: list[dict]) -> dict[str, Any]:
    """{name: the first MAX_ROWS, "left_out": how many more there are}"""
    return {name: rows[:MAX_ROWS], "left_out": max(0, len(rows) - MAX_ROWS)}


def in_short(finding: Finding) -> dict[str, Any]:
    """A finding without its numbers and without the rows it blocks, but for what these are in words."""
    return {
        "id": finding.id,
        "severity": finding.severity,
        "languages": finding.languages,
        "variants": finding.variants,
        "evidence": finding.evidence.get("sentence"),
        "must_not_be_claimed": list(dict.fromkeys(claim.text for claim in finding.blocks)),
    }


def measured(summary: pd.DataFrame) -> dict[str, Any]:
    """What alignment_summary.csv holds. meanings: the distinct n; each position is of one kind of stimuli."""
    kinds = {
        kind: {
            "meanings": sorted(distinct(rows["n"])),
            "positions": distinct(rows["position"]),
            "metrics": distinct(rows["metric"]),
        }
        for kind, rows in summary.groupby("stimuli", sort=False)
    }
    named = {f"{name}s": distinct(summary[name]) for name in ("variant", "language")}
    return named | {"states": sorted(distinct(summary["state"])), "stimuli": kinds}


def highest(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each variant's row of the largest value that no finding blocks; none for a variant without. rows: of
    one metric and position, with blocked_by."""
    free = rows.loc[rows["blocked_by"].isna()]
    return records(free.loc[free.groupby("variant", sort=False)["value"].idxmax()])


def commitments(
    curves: Curves, variants: list[str], languages: list[str], threshold: float, consecutive: int, start: int
) -> pd.DataFrame:
    """One row per variant, language and concept: variant, language, concept_id, state (inf for never), and
    held, the highest threshold that would do (NaN where fewer states are left than must hold it)."""
    rows = []
    for variant in variants:
        for language in languages:
            values = curves.values[variant][language]
            states = commitment_states(values, threshold, consecutive, start)
            for concept, state, curve in zip(curves.concepts, states, values, strict=True):
                held = held_level(curve[start:], consecutive)
                rows.append((variant, language, concept, state, np.nan if held is None else held))
    return pd.DataFrame(rows, columns=["variant", "language", "concept_id", "state", "held"])


def blocked_commitments(cells: pd.DataFrame, cosine: pd.DataFrame, found: Iterable[Finding]) -> pd.Series:
    """Per row of `commitments` what blocks it, None for never. A commitment claims the probes' cosine at its
    state. cosine: that part of the summary."""
    made = cells.loc[np.isfinite(cells["state"]), ["variant", "language", "state"]]
    claims = made.merge(cosine, how="left").set_index(made.index)
    return findings.blocking(claims, found).reindex(cells.index).astype(object)


def committed_by_language(cells: pd.DataFrame, cosine: pd.DataFrame, rule: tuple) -> list[dict[str, Any]]:
    """Per variant and language of `commitments` with blocked_by: how many commit, and whether the mean of
    mismatched pairs does. rule: threshold, consecutive, start."""
    nulls = cosine.set_index(["variant", "language", "state"])["null"].sort_index()
    rows = []
    for variant, language in distinct(zip(cells["variant"], cells["language"], strict=True)):
        part = cells.loc[(cells["variant"] == variant) & (cells["language"] == language)]
        states = part["state"].to_numpy()
        _, low, high = censored_median(states)
        rows.append(
            {
                "variant": variant,
                "language": language,
                **committed(states),
                "median_ci_low": low,
                "median_ci_high": high,
                "null_state": commitment_layer(nulls[variant, language], *rule),
                "blocked": len(part["blocked_by"].dropna()),
            }
        )
    return rows
