"""Commitment: from which state on a concept's alignment holds, for any threshold and run."""

from typing import Any

import numpy as np
import pandas as pd

from explorer.commitments import Rule, commitments, nulls
from explorer.controls import Control
from explorer.data import CURVES, SUMMARY, Results, claimable
from explorer.plots import commitment as plots
from explorer.plots.look import Theme, View
from explorer.tabs import rows
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD

KEY, TITLE = "commitment", "Commitment"
HOW = (
    "A number is the state from which a concept's cosine with English stays at the threshold or above for "
    "the run of states asked for; a dash: never; bold: may be claimed. Colour is the highest "
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
    variants, languages = list(chosen["variants"]), family.by_region(curves.languages)
    rule = Rule(chosen["threshold"], int(chosen["run"]), int(chosen["start"]))
    if (left := curves.n_states - rule.start) < rule.consecutive:
        left = f"Only {left} states are left from state {rule.start} on"
        return View({}, {}, f"{left}: no run of {rule.consecutive} fits.")
    cells = commitments(results, name, variants, languages, rule).round({"held": 6})
    mismatched = {}
    if results.has(name, SUMMARY):
        null = rule.held(nulls(results, name, variants, languages))
        mismatched = dict(zip(variants, null, strict=True))
    shares = _shares(cells)
    drawn = {
        "cells": plots.cells(cells.assign(claimable=claimable(cells)), mismatched, family, look),
        "share": plots.shares(shares, family, look, variants, rule.threshold, rule.consecutive),
    }
    made = cells.loc[cells.state.notna()]
    note = [
        f"{len(made)} of {len(cells)} concepts in a language commit, {len(cells) - len(made)} never do. "
        f"Probes read at {curves.position}; the bottom row is the same measure of mismatched pairs, their "
        "cosines averaged: a threshold that unrelated sentences hold, too, says nothing."
    ]
    note += [rows.unclaimable(results, name, made, "commitments")] if len(made) else []
    note.append(rows.source(results, name, CURVES))
    return View(drawn, {"cells": cells, "share": shares}, " ".join(note))


def _shares(cells: pd.DataFrame) -> pd.DataFrame:
    """Of every threshold the share of concepts and languages that commit: those that hold it."""
    counts = [
        (variant, threshold, int((own >= threshold).sum()), len(own))
        for variant, own in cells.groupby("variant", sort=False).held
        for threshold in GRID
    ]
    table = pd.DataFrame(counts, columns=["variant", "threshold", "committed", "n"])
    return table.assign(share=table.committed / table.n)
