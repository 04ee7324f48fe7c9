"""From tables to what an agent is given: the rows asked for, few enough, with what forbids to claim them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.commitments import Rule
from explorer.data import claimable, subset
from probe.alignment.commitment import censored_median, committed
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
    table = table.drop(columns=list(without)).astype(object)
    return table.where(table.notna(), None).to_dict("records")


def bounded(name: str, rows: list[dict]) -> dict[str, Any]:
    """{name: the first MAX_ROWS, "left_out": how many more there are}"""
    return {name: rows[:MAX_ROWS], "left_out": max(0, len(rows) - MAX_ROWS)}


def in_short(finding: Finding) -> dict[str, Any]:
    """A finding without its numbers and without the rows it blocks, but for what these are in words."""
    kept = finding.model_dump(include={"id", "severity", "languages", "variants"})
    blocks = distinct(claim.text for claim in finding.blocks)
    return kept | {"evidence": finding.evidence.get("sentence"), "must_not_be_claimed": blocks}


def measured(summary: pd.DataFrame) -> dict[str, Any]:
    """What alignment_summary.csv holds. meanings: the distinct n; each kind of stimuli has positions, metrics
    and languages of its own."""
    kinds = {
        kind: {"meanings": sorted(distinct(rows["n"]))}
        | {f"{name}s": distinct(rows[name]) for name in ("position", "metric", "language")}
        for kind, rows in summary.groupby("stimuli", sort=False, observed=True)
    }
    named = {f"{name}s": distinct(summary[name]) for name in ("variant", "language")}
    return named | {"states": sorted(distinct(summary["state"])), "stimuli": kinds}


def highest(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each variant's row of the largest value that may be claimed; none for a variant without. rows: of one
    metric and position."""
    free = rows.loc[claimable(rows)]
    return records(free.loc[free.groupby("variant", sort=False, observed=True)["value"].idxmax()])


def by_language(cells: pd.DataFrame, null: np.ndarray, rule: Rule) -> list[dict[str, Any]]:
    """Per variant and language of `commitments`: how many commit, and whether the mean of mismatched pairs
    does. null: as from `nulls`."""
    rows, pairs = [], cells[["variant", "language"]].drop_duplicates().itertuples(index=False, name=None)
    for (variant, language), state in zip(pairs, rule.states(null).ravel(), strict=True):
        part = subset(cells, variant=variant, language=language)
        states = part["state"].to_numpy(float, na_value=np.inf)
        _, low, high = censored_median(states)
        row = {"variant": variant, "language": language, **committed(states), "median_ci_low": low}
        row |= {"median_ci_high": high, "null_state": int(state) if np.isfinite(state) else None}
        rows.append(row | {"not_claimable": int((~claimable(part) & part["state"].notna()).sum())})
    return rows
