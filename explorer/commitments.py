"""Which concepts commit by a rule of one's own, for page and tools, and what of that may be said."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from explorer.data import CURVES, MATRIX, SENSITIVITY, SUMMARY, UNAUDITED, Results, subset
from probe.alignment.commitment import (
    CALIBRATED,
    CONSECUTIVE,
    COSINE,
    ENDING,
    SHARE,
    commitment_states,
    held_levels,
    of_probes,
)
from probe.audit import door
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.tables import SUMMARY as LEVELS


@dataclass(frozen=True)
class Rule:
    """A curve commits at the first state, not before `start`, from which it is at the threshold or above for
    `consecutive` states."""

    threshold: float
    consecutive: int
    start: int

    def states(self, curves: np.ndarray) -> np.ndarray:
        """(..., n_states) -> (...), inf for never."""
        return commitment_states(curves, self.threshold, self.consecutive, self.start)

    def held(self, curves: np.ndarray) -> np.ndarray:
        """(..., n_states) -> (...) of the highest threshold that would do, NaN where too few are left."""
        return held_levels(curves[..., self.start :], self.consecutive)


def names(results: Results, family: str) -> dict[str, str]:
    """Concept id -> its name; nothing where the file that it takes is not there."""
    if not results.has(family, MATRIX):
        return {}
    table = of_probes(results.table(family, MATRIX))
    return dict(zip(table.concept_id.astype(str), table.concept.astype(str), strict=True))


def nulls(results: Results, family: str, variants: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """(n_variants, n_languages, n_states) of the cosines of mismatched pairs, averaged.

    Raises ProbeError where the summary has not all of the curves.
    """
    levels, n_states = _levels(results, family), results.curves(family).n_states
    null = levels.pivot_table(index=["variant", "language"], columns="state", values="null", observed=True)
    null = null.reindex(pd.MultiIndex.from_product([variants, languages])).to_numpy()
    if null.shape[-1] != n_states or np.isnan(null).any():
        command = LEVELS.command(family)
        raise ProbeError(f"{CURVES} and {SUMMARY} do not fit together; run: {command}")
    return null.reshape(len(variants), len(languages), n_states)


def _levels(results: Results, family: str) -> pd.DataFrame:
    """The rows of the summary that the curves are of."""
    position = results.curves(family).position
    return subset(results.table(family, SUMMARY), stimuli="probes", position=position, metric="cosine")


def commitments(
    results: Results, family: str, variants: Sequence[str], languages: Sequence[str], rule: Rule
) -> pd.DataFrame:
    """One row per variant, concept and language: variant, concept_id, concept, language, state (empty for
    never), held, verdict and reason. What is claimed is the level at the state of commitment."""
    curves, named = results.curves(family), names(results, family)
    values = curves.of(variants, languages)
    index = pd.MultiIndex.from_product([variants, curves.concepts, languages])
    table = index.to_frame(index=False, name=["variant", "concept_id", "language"])
    table.insert(2, "concept", [named.get(concept, concept) for concept in table.concept_id])
    states = pd.Series(rule.states(values).ravel()).replace(np.inf, np.nan).astype("Int64")
    table = table.assign(state=states, held=rule.held(values).ravel())
    return table.assign(**_judged(results, family, table, _levels(results, family)))


def rates(results: Results, family: str, **wanted: Any) -> pd.DataFrame:
    """Rows of commitment_sensitivity.csv by the calibrated criterion, at its own share and run: how many
    meanings of each kind commit, and the chance of it. Empty where that was not measured."""
    if not results.has(family, SENSITIVITY):
        return pd.DataFrame()
    table = results.table(family, SENSITIVITY)
    if "criterion" not in table:
        return pd.DataFrame()
    rule = {"criterion": CALIBRATED, "threshold": SHARE, "consecutive": CONSECUTIVE}
    return subset(table, **rule, **wanted).astype({"variant": str, "language": str, "stimuli": str})


def calibrated(
    results: Results, family: str, variants: Sequence[str], languages: Sequence[str]
) -> pd.DataFrame:
    """As `commitments`, by the calibrated criterion; `held` is missing, and in its place stands by_cosine,
    the state by the original's. A cell that was not measured is left out; empty where none was."""
    measured = rates(results, family, stimuli="probes", variant=list(variants), language=list(languages))
    if measured.empty or not results.has(family, MATRIX):
        return pd.DataFrame()
    matrix = of_probes(results.table(family, MATRIX)).astype({"concept_id": str, "concept": str})
    parts, there = [], set(zip(measured.variant, measured.language, strict=True))
    for variant, language in (pair for pair in product(variants, languages) if pair in there):
        own = matrix.loc[matrix.language == language, ["concept_id", "concept"]]
        layers = {"state": f"{variant}{ENDING[CALIBRATED]}", "by_cosine": f"{variant}{ENDING[COSINE]}"}
        states = {name: matrix.loc[own.index, column] for name, column in layers.items()}
        parts.append(own.assign(variant=variant, language=language, **states))
    table = pd.concat(parts, ignore_index=True)
    table = table.reindex(columns=["variant", "concept_id", "concept", "language", "state", "by_cosine"])
    if not results.has(family, SUMMARY):
        return table.assign(verdict=door.BLOCKED, reason=UNAUDITED)
    where = {"stimuli": "probes", "position": PRIMARY_POSITION, "metric": PRIMARY_METRIC}
    levels = subset(results.table(family, SUMMARY), **where)
    return table.assign(**_judged(results, family, table, levels))


def _judged(results: Results, family: str, cells: pd.DataFrame, levels: pd.DataFrame) -> dict[str, Any]:
    """Verdict and reason of each cell that commits, those of the level at its state; none of one that does
    not, for it claims nothing."""
    unknown = {"verdict": door.BLOCKED, "reason": UNAUDITED}
    if not results.has(family, SUMMARY):
        return unknown
    key = ["variant", "language", "state"]
    levels = levels.astype(dict.fromkeys((*key[:2], *unknown), object)).set_index(key)
    states = cells["state"].fillna(-1).astype(int)
    wanted = pd.MultiIndex.from_arrays([cells["variant"], cells["language"], states])
    at = {name: levels[name].reindex(wanted, fill_value=value) for name, value in unknown.items()}
    return {
        name: np.array(
            [None if state < 0 else told for state, told in zip(states, column, strict=True)], object
        )
        for name, column in at.items()
    }
