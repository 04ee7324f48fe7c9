"""Commitment: from which state on a concept's alignment holds, for any threshold and run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from explorer import controls, figures, rows
from explorer.controls import Control
from explorer.figures import Theme, View, numbers
from explorer.tables import Results, subset
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD, commitment_states
from probe.conventions import PRIMARY_POSITION
from probe.families import Family
from probe.languages import TARGETS, label

KEY, TITLE = "commitment", "Commitment"
HOW = (
    "A number is the state from which a concept's cosine with English stays at the threshold or above for "
    "the run of states asked for; a dash: never. Colour is the highest threshold that would be held. The "
    "lower figure shows how much the count depends on the threshold."
)
PLOTS = ("cells", "share")
NOTE = "below"
GRID = np.round(np.arange(0, 1.0001, 0.02), 2)  # thresholds of the lower figure
MISMATCHED = "mismatched"


def settings(results: Results, name: str) -> list[Control]:
    curves, family = results.curves(name), results.family(name)
    n_states = _stack(curves, list(curves)[:1])[3]
    variants = rows.in_order(curves, family.variants)
    return [
        controls.many(
            "variants", "Variants", variants, results.variants or variants, labels=rows.labels(family)
        ),
        Control("threshold", "Threshold (cosine)", "number", THRESHOLD, low=0, high=1, step=0.01),
        Control("run", "Run (states in a row)", "number", min(CONSECUTIVE, n_states), low=1, high=n_states),
        Control("start", "Not before state", "number", 0, low=0, high=n_states - 1),
    ]


def _stack(
    curves: Mapping[str, Any], variants: Sequence[str]
) -> tuple[np.ndarray, list[str], list[str], int]:
    """(n_variants, n_concepts, n_languages, n_states), concepts, languages, n_states."""
    concepts = list(next(iter(curves.values())))
    there = next(iter(next(iter(curves.values())).values()))
    languages = [language for language in TARGETS if language in there]
    values = np.array([[[curves[v][c][lang] for lang in languages] for c in concepts] for v in variants])
    return values.astype(np.float64), concepts, languages, values.shape[-1]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family, curves = results.family(name), results.curves(name)
    variants, run, start = list(chosen["variants"]), int(chosen["run"]), int(chosen["start"])
    values, concepts, languages, n_states = _stack(curves, variants)
    order = [languages.index(language) for language in family.by_region(languages)]
    values, languages = values[:, :, order], [languages[i] for i in order]
    if n_states - start < run:
        return View(
            {}, {}, f"Only {n_states - start} states are left from state {start} on: no run of {run} fits."
        )
    states = commitment_states(values, chosen["threshold"], run, start)
    held = _held(values, run, start)
    cells = _table(variants, concepts, rows.concepts(results, name), languages, states, held)
    audit = results.audit(name)
    fixed = {"stimuli": "probes", "position": PRIMARY_POSITION, "metric": "cosine"}
    committed = cells.loc[cells.state.notna()].assign(**fixed)
    cells["blocked"] = rows.with_blocks(committed, audit, **fixed).blocked.reindex(cells.index)
    shares = _shares(variants, held)
    mismatched = _mismatched(results, name, variants, languages, run, start)
    drawn = {
        "cells": _cells(cells, mismatched, family, look),
        "share": _curve(shares, family, look, variants, chosen["threshold"], run),
    }
    never = int(cells.state.isna().sum())
    note = [
        f"{len(cells) - never} of {len(cells)} concepts in a language commit, {never} never do. Probes read "
        f"at {PRIMARY_POSITION}; the bottom row is the same measure of mismatched pairs, their cosines "
        "averaged: a threshold that unrelated sentences hold, too, says nothing."
    ]
    if len(committed):
        note.append(rows.blocked_note(cells.loc[committed.index], audit, "commitments"))
    note.append(rows.source(results, name, "alignment_curves.json"))
    return View(drawn, {"cells": cells, "share": shares}, " ".join(note))


def _held(values: np.ndarray, run: int, start: int) -> np.ndarray:
    """`probe.commitment.held_level` of many curves: (..., n_states) -> (...)."""
    return sliding_window_view(values[..., start:], run, axis=-1).min(axis=-1).max(axis=-1)


def _table(
    variants: Sequence[str],
    concepts: Sequence[str],
    named: Mapping[str, str],
    languages: Sequence[str],
    states: np.ndarray,
    held: np.ndarray,
) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [variants, concepts, languages], names=["variant", "concept_id", "language"]
    )
    state = pd.Series(np.where(np.isfinite(states), states, np.nan).ravel()).astype("Int64")
    table = index.to_frame(index=False).assign(state=state, held=held.ravel().round(6))
    table.insert(2, "concept", [named.get(c, c) for c in table.concept_id])
    return table


def _mismatched(
    results: Results, name: str, variants: Sequence[str], languages: Sequence[str], run: int, start: int
) -> dict[str, np.ndarray]:
    """The same measure of mismatched pairs, per variant and language; nothing where it was not measured."""
    if not results.has(name, "alignment_summary.csv"):
        return {}
    table = subset(
        results.table(name, "alignment_summary"), stimuli="probes", position=PRIMARY_POSITION, metric="cosine"
    )
    null = table.pivot_table(index=["variant", "language"], columns="state", values="null", observed=True)
    return {
        v: np.array(
            [
                _held(null.loc[v, lang].to_numpy(), run, start) if (v, lang) in null.index else np.nan
                for lang in languages
            ]
        )
        for v in variants
    }


def _cells(
    cells: pd.DataFrame, mismatched: Mapping[str, np.ndarray], family: Family, look: Theme
) -> figures.Figure:
    """A panel per variant: concepts down, languages across."""
    variants, concepts = (list(dict.fromkeys(cells[column])) for column in ("variant", "concept"))
    columns = min(2 if look.narrow else 5, len(variants))
    lines = -(-len(variants) // columns)
    height, between = 24 * (len(concepts) + 2), 70 * (lines - 1)  # pixels; between: for titles and languages
    places = figures.grid(len(variants), columns, 0.015, 70 / (lines * height + between))
    traces, layout, words = [], {}, []
    for i, (variant, (x, y)) in enumerate(zip(variants, places, strict=True)):
        n = "" if i == 0 else str(i + 1)
        own = cells.loc[cells.variant == variant]
        traces.append(_heatmap(own, mismatched.get(variant)) | {"xaxis": f"x{n}", "yaxis": f"y{n}"})
        bare = figures.axis(look, showgrid=False, ticks="", tickfont={"size": 10}, tickangle=0)
        layout[f"xaxis{n}"] = bare | {"domain": x, "anchor": f"y{n}"}
        rows_ = {"autorange": "reversed", "showticklabels": i % columns == 0, "tickfont": {"size": 12}}
        layout[f"yaxis{n}"] = bare | {"domain": y, "anchor": f"x{n}"} | rows_
        count = f"{own.state.notna().sum()} of {len(own)}" + ("" if look.narrow else " commit")
        title = f"<b>{family.label(variant)}</b><br>{count}"
        words.append(figures.note(title, look, x=x[0], y=y[1], yshift=3))
    layout["coloraxis"] = {"colorscale": figures.SEQUENTIAL, "cmin": 0, "cmax": 1, "colorbar": BAR}
    return figures.figure(
        traces,
        look,
        f"{family.name}_commitment",
        height=lines * height + between + 150,
        annotations=words,
        margin={"l": 90, "r": 10, "t": 54, "b": 96},
        **layout,
    )


BAR = {
    "orientation": "h",
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "thickness": 10,
    "len": 0.6,
    "title": {"text": "highest cosine held", "side": "top", "font": {"size": 13}},
    "outlinewidth": 0,
}


def _heatmap(own: pd.DataFrame, mismatched: np.ndarray | None) -> dict[str, Any]:
    """One variant's cells, and below them those of mismatched pairs where these were measured."""
    concepts, languages = (list(dict.fromkeys(own[column])) for column in ("concept", "language"))
    shape = (len(concepts), len(languages))
    z = own.held.to_numpy().reshape(shape).tolist()
    text = np.array([_word(state) for state in own.state]).reshape(shape).tolist()
    hover = np.array([_hover(row) for row in rows.records(own)]).reshape(shape).tolist()
    if mismatched is not None:
        concepts.append(MISMATCHED)
        z.append(mismatched.round(6).tolist())
        text.append([""] * len(languages))
        hover.append([f"mismatched pairs hold {value:.3f}" for value in mismatched])
    return {
        "type": "heatmap",
        "x": languages,
        "y": concepts,
        "z": [numbers(row) for row in z],
        "text": text,
        "texttemplate": "%{text}",
        "textfont": {"size": 11},
        "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>",
        "coloraxis": "coloraxis",
        "xgap": 1,
        "ygap": 1,
    }


def _word(state: Any) -> str:
    return "–" if pd.isna(state) else str(state)


def _hover(row: Any) -> str:
    state = "never commits" if pd.isna(row.state) else f"commits at state {row.state}"
    blocked = f"<br>blocked: {row.blocked}" if isinstance(row.blocked, str) else ""
    return f"{row.concept}, {label(row.language)}: {state}<br>highest cosine held {row.held:.3f}{blocked}"


def _shares(variants: Sequence[str], held: np.ndarray) -> pd.DataFrame:
    """Of every threshold the share of concepts and languages that commit: those that hold it."""
    cells = held.reshape(len(variants), -1)
    return pd.DataFrame(
        [
            {
                "variant": v,
                "threshold": t,
                "committed": int((own >= t).sum()),
                "n": len(own),
                "share": (own >= t).mean(),
            }
            for v, own in zip(variants, cells, strict=True)
            for t in GRID
        ]
    )


def _curve(
    shares: pd.DataFrame, family: Family, look: Theme, variants: Sequence[str], threshold: float, run: int
) -> figures.Figure:
    marks = figures.marks(family, look)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": marks[str(v)].label,
            "x": numbers(own.threshold),
            "y": numbers(own.share),
            "line": {"color": marks[str(v)].colour, "width": 2, "shape": "hv"},
            "hovertemplate": "%{y:.0%}",
        }
        for v, own in shares.groupby("variant", sort=False)
    ]
    here = {"type": "line", "x0": threshold, "x1": threshold, "yref": "paper", "y0": 0, "y1": 1}
    return figures.figure(
        traces,
        look,
        f"{family.name}_commitment_by_threshold",
        height=320,
        hovermode="x unified",
        shapes=[here | {"line": {"color": look.muted, "width": 1.5, "dash": "dot"}}],
        xaxis=figures.axis(look, range=[0, 1], title={"text": f"threshold, held for {run} states"}),
        yaxis=figures.axis(
            look, range=[-0.02, 1.02], tickformat=".0%", title={"text": "concepts that commit"}
        ),
        margin={
            "l": 64,
            "r": 16,
            "t": figures.legend_height([marks[v].label for v in variants], look),
            "b": 52,
        },
    )
