"""Commitment: from which state on a concept's alignment holds, for any threshold and run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.controls import Control
from explorer.data import CURVES, SUMMARY, UNAUDITED, Results, claimable, subset, with_reason
from explorer.plots import commitment as plots
from explorer.plots.look import Theme, View
from explorer.tabs import rows
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD, commitment_states, held_levels

KEY, TITLE = "commitment", "Commitment"
HOW = (
    "A number is the state from which a concept's cosine with English stays at the threshold or above for "
    "the run of states asked for; a dash: never; in brackets: must not be claimed. Colour is the highest "
    "threshold that would be held. The lower figure shows how much the count depends on the threshold."
)
PLOTS = ("cells", "share")
NOTE = "below"
GRID = np.round(np.arange(0, 1.0001, 0.02), 2)  # thresholds of the lower figure


def settings(results: Results, name: str) -> list[Control]:
    curves = results.curves(name)
    longest = curves.n_states
    return [
        rows.variants(results, results.family(name), curves.variants),
        Control("threshold", "Threshold (cosine)", "number", THRESHOLD, low=0, high=1, step=0.01),
        Control("run", "Run (states in a row)", "number", min(CONSECUTIVE, longest), low=1, high=longest),
        Control("start", "Not before state", "number", 0, low=0, high=longest - 1),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family, curves = results.family(name), results.curves(name)
    variants, run, start = list(chosen["variants"]), int(chosen["run"]), int(chosen["start"])
    if (left := curves.n_states - start) < run:
        return View({}, {}, f"Only {left} states are left from state {start} on: no run of {run} fits.")
    languages = family.by_region(curves.languages)
    values = curves.of(variants, languages)
    held = held_levels(values[..., start:], run)
    states = commitment_states(values, chosen["threshold"], run, start)
    index = [variants, curves.concepts, languages]
    cells = _cells(results, name, index, states, held)
    shares = _shares(variants, held)
    mismatched = _mismatched(results, name, curves.position, variants, languages, run, start)
    drawn = {
        "cells": plots.cells(cells, mismatched, family, look),
        "share": plots.shares(shares, family, look, variants, chosen["threshold"], run),
    }
    made = cells.loc[cells.state.notna()]
    note = [
        f"{len(made)} of {len(cells)} concepts in a language commit, {len(cells) - len(made)} never do. "
        f"Probes read at {curves.position}; the bottom row is the same measure of mismatched pairs, their "
        "cosines averaged: a threshold that unrelated sentences hold, too, says nothing."
    ]
    if len(made):
        note.append(rows.unclaimable(results, name, made, "commitments"))
    note.append(rows.source(results, name, CURVES))
    return View(drawn, {"cells": cells.drop(columns="claimable"), "share": shares}, " ".join(note))


def _levels(results: Results, name: str, position: str) -> pd.DataFrame | None:
    """The rows of the summary that the curves are of; None where there is no summary."""
    if not results.has(name, SUMMARY):
        return None
    return subset(results.table(name, SUMMARY), stimuli="probes", position=position, metric="cosine")


def _cells(
    results: Results, name: str, index: list[list[str]], states: np.ndarray, held: np.ndarray
) -> pd.DataFrame:
    """One row per variant, concept and language. A commitment claims the cosine at its state."""
    names = ["variant", "concept_id", "language"]
    table = pd.MultiIndex.from_product(index, names=names).to_frame(index=False)
    state = pd.Series(np.where(np.isfinite(states), states, np.nan).ravel()).astype("Int64")
    named, levels = rows.concepts(results, name), _levels(results, name, results.curves(name).position)
    table.insert(2, "concept", [named.get(c, c) for c in table.concept_id])
    table = table.assign(state=state, held=held.ravel().round(6), reason=None)
    made = table.state.notna()
    reasons = UNAUDITED if levels is None else with_reason(table.loc[made], levels).reason
    table.loc[made, "reason"] = reasons
    return table.assign(claimable=claimable(table))


def _mismatched(
    results: Results,
    name: str,
    position: str,
    variants: Sequence[str],
    languages: Sequence[str],
    run: int,
    start: int,
) -> dict[str, np.ndarray]:
    """The same measure of mismatched pairs, per variant and language; nothing where it was not measured."""
    levels = _levels(results, name, position)
    if levels is None or levels.empty:
        return {}
    null = levels.pivot_table(index=["variant", "language"], columns="state", values="null", observed=True)
    wanted = pd.MultiIndex.from_product([variants, languages])
    held = held_levels(null.reindex(wanted).to_numpy()[:, start:], run)
    return dict(zip(variants, held.reshape(len(variants), -1), strict=True))


def _shares(variants: Sequence[str], held: np.ndarray) -> pd.DataFrame:
    """Of every threshold the share of concepts and languages that commit: those that hold it."""
    own = held.reshape(len(variants), 1, -1) >= GRID[:, None]
    index = pd.MultiIndex.from_product([variants, GRID], names=["variant", "threshold"])
    table = pd.DataFrame({"committed": own.sum(-1).ravel(), "n": own.shape[-1]}, index=index).reset_index()
    return table.assign(share=table.committed / table.n)
