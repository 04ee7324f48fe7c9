"""Commitment: which concepts commit, and from which state on: against their rivals, or by a cosine of one's
own."""

from typing import Any

import numpy as np
import pandas as pd

from explorer import controls
from explorer.commitments import Rule, calibrated, commitments, nulls, rates
from explorer.controls import Control
from explorer.data import CURVES, MATRIX, SENSITIVITY, SUMMARY, Results, claimable
from explorer.plots import commitment as plots
from explorer.plots.look import Theme, View
from explorer.tabs import rows
from probe.alignment.commitment import CALIBRATED, CONSECUTIVE, COSINE, SHARE, THRESHOLD
from probe.families import Family

KEY, TITLE = "commitment", "Commitment"
HOW = (
    "A number is the state from which a concept commits; a dash: never; bold: may be claimed. <b>Against "
    f"rivals</b>: its sentence pair beats {SHARE:.0%} of all other sentences of either language for "
    f"{CONSECUTIVE} states, more where chance would. <b>By cosine</b>, the original's criterion: its cosine "
    "with English stays at the threshold or above for the run of states asked for, which unrelated sentences "
    "may do, too; threshold, run and first state are of this one alone."
)
PLOTS = ("cells", "share")
NOTE = "below"
GRID = np.round(np.arange(0, 1.0001, 0.02), 2)  # thresholds of the lower figure
CRITERIA = {CALIBRATED: "against rivals (calibrated)", COSINE: "by cosine (the original's)"}


def settings(results: Results, name: str) -> list[Control]:
    curves = results.curves(name)
    longest = curves.n_states
    there = [CALIBRATED, COSINE] if len(rates(results, name, stimuli="probes")) else [COSINE]
    return [
        rows.variants(results, results.family(name), curves.variants),
        controls.one("criterion", "Criterion", there, labels=CRITERIA),
        Control("threshold", "Threshold (cosine)", "number", THRESHOLD, low=0, high=1, step=0.01),
        Control("run", "Run (states in a row)", "number", min(CONSECUTIVE, longest), low=1, high=longest),
        Control("start", "Not before state", "number", 0, low=0, high=longest - 1),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family, curves = results.family(name), results.curves(name)
    variants, languages = list(chosen["variants"]), family.by_region(curves.languages)
    against = calibrated(results, name, variants, languages)
    if chosen["criterion"] == CALIBRATED and len(against):
        return _against_rivals(results, name, against, family, look)
    rule = Rule(chosen["threshold"], int(chosen["run"]), int(chosen["start"]))
    if (left := curves.n_states - rule.start) < rule.consecutive:
        left = f"Only {left} states are left from state {rule.start} on"
        return View({}, {}, f"{left}: no run of {rule.consecutive} fits.")
    cells = commitments(results, name, variants, languages, rule).round({"held": 6})
    below = {}
    if results.has(name, SUMMARY):
        null = rule.held(nulls(results, name, variants, languages)).round(6)
        below[plots.MISMATCHED] = dict(zip(variants, null, strict=True))
    shares = _shares(cells)
    drawn = {
        "cells": plots.cells(
            cells.assign(claimable=claimable(cells), colour=cells.held), below, family, look
        ),
        "share": plots.shares(shares, family, look, variants, rule.threshold, rule.consecutive),
    }
    made = cells.loc[cells.state.notna()]
    note = [
        f"{_counted(made, cells)} Probes read at {curves.position}; the bottom row is the same measure of "
        "mismatched pairs, their cosines averaged: a threshold that unrelated sentences hold, too, says "
        "nothing."
    ]
    if len(against):
        note.append(f"Against their rivals, {against.state.count()} of {len(against)} commit.")
    else:
        note.append("Commitment against rivals was not measured.")
    note += [rows.unclaimable(results, name, made, "commitments")] if len(made) else []
    note.append(rows.source(results, name, CURVES))
    return View(drawn, {"cells": cells, "share": shares}, " ".join(note))


def _counted(made: pd.DataFrame, cells: pd.DataFrame) -> str:
    return f"{len(made)} of {len(cells)} concepts in a language commit, {len(cells) - len(made)} never do."


def _against_rivals(results: Results, name: str, cells: pd.DataFrame, family: Family, look: Theme) -> View:
    """The calibrated criterion, as stage 3 measured it: the probes, and how many of every other kind."""
    variants = list(dict.fromkeys(cells.variant))
    every = rates(results, name, variant=variants)
    languages = list(dict.fromkeys(cells.language))
    below = {}
    for kind, own in every.groupby("stimuli", sort=False):
        label, column = (plots.PERMUTED, "chance") if kind == "probes" else (str(kind), "fraction")
        table = own.pivot(index="variant", columns="language", values=column)
        below[label] = {v: table.reindex(columns=languages).loc[v].to_numpy() for v in variants}
    below[plots.PERMUTED] = below.pop(plots.PERMUTED)  # the last row
    shown = cells.assign(claimable=claimable(cells), colour=cells.state.notna().astype(float))
    drawn = {
        "cells": plots.cells(shown, below, family, look),
        "share": plots.rates(every, family, look, variants, languages),
    }
    made = cells.loc[cells.state.notna()]
    rivals = every.rivals.min()
    note = [
        f"{_counted(made, cells)} By the original's cosine of {THRESHOLD:g}, {cells.by_cosine.count()} do. "
        f"Each pair has at least {rivals} rivals; of the probes' permuted pairs, "
        f"{_chance(every):.1%} commit, the bottom row. Below: the same of every kind of stimuli; grey "
        "marks are permuted pairs.",
    ]
    note += [rows.unclaimable(results, name, made, "commitments")] if len(made) else []
    note.append(rows.source(results, name, MATRIX, SENSITIVITY))
    return View(drawn, {"cells": cells, "share": every}, " ".join(note))


def _chance(every: pd.DataFrame) -> float:
    """The chance of the probes, over variants and languages."""
    return float(every.loc[every.stimuli == "probes", "chance"].mean())


def _shares(cells: pd.DataFrame) -> pd.DataFrame:
    """Of every threshold the share of concepts and languages that commit: those that hold it."""
    counts = [
        (variant, threshold, int((own >= threshold).sum()), len(own))
        for variant, own in cells.groupby("variant", sort=False).held
        for threshold in GRID
    ]
    table = pd.DataFrame(counts, columns=["variant", "threshold", "committed", "n"])
    return table.assign(share=table.committed / table.n)
