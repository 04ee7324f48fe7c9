"""Commitment: which cells commit, where, and how much their number depends on the threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explorer.plots import look as looks
from explorer.plots.look import Drawn, Theme
from probe.families import Family
from probe.languages import label

MISMATCHED = "mismatched"
BAR = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "len": 0.6}
BAR |= {
    "thickness": 10,
    "outlinewidth": 0,
    "title": {"text": "highest cosine held", "side": "top", "font": {"size": 13}},
}


def cells(table: pd.DataFrame, mismatched: Mapping[str, np.ndarray], family: Family, look: Theme) -> Drawn:
    """A panel per variant: concepts down, languages across.

    table: variant, concept, language, state, held, claimable, reason. mismatched: variant -> (n_languages,)
    of what mismatched pairs hold, for the row below the concepts.
    """
    variants = list(dict.fromkeys(table.variant))
    columns = min(2 if look.narrow else 5, len(variants))
    lines = -(-len(variants) // columns)
    height, between = 24 * (table.concept.nunique() + 2), 70  # pixels; between: for titles and languages
    titles = [_title(table.loc[table.variant == v], family.label(v), look) for v in variants]
    gap = between / (lines * height + between * (lines - 1)) if lines > 1 else 0
    figure = looks.subplots(
        titles, columns, shared_yaxes=True, horizontal_spacing=0.015, vertical_spacing=gap
    )
    for i, variant in enumerate(variants):
        trace = _heatmap(table.loc[table.variant == variant], mismatched.get(variant))
        figure.add_trace(trace, row=i // columns + 1, col=i % columns + 1)
    figure.update_xaxes(showgrid=False, ticks="", tickangle=0, tickfont_size=10)
    figure.update_yaxes(showgrid=False, ticks="", autorange="reversed", tickfont_size=12)
    height = lines * height + between * (lines - 1) + 150
    colours = {"colorscale": "Viridis", "cmin": 0, "cmax": 1, "colorbar": BAR}
    looks.dress(figure, look, height, (90, 10, 54, 96), coloraxis=colours)
    return Drawn(figure, f"{family.name}_commitment")


def _title(own: pd.DataFrame, variant: str, look: Theme) -> str:
    return f"<b>{variant}</b><br>{own.state.count()} of {len(own)}{'' if look.narrow else ' commit'}"


def _heatmap(own: pd.DataFrame, mismatched: np.ndarray | None) -> go.Heatmap:
    """One variant's cells, and below them those of mismatched pairs where these were measured."""
    concepts, languages = (list(dict.fromkeys(own[column])) for column in ("concept", "language"))
    shape = (len(concepts), len(languages))
    z = own.held.to_numpy().reshape(shape).tolist()
    text = np.array([_word(row) for row in own.itertuples()]).reshape(shape).tolist()
    hover = np.array([_hover(row) for row in own.itertuples()]).reshape(shape).tolist()
    if mismatched is not None:
        concepts.append(MISMATCHED)
        z.append(mismatched.round(6).tolist())
        text.append([""] * len(languages))
        hover.append([f"mismatched pairs hold {value:.3f}" for value in mismatched])
    shown = {"texttemplate": "%{text}", "textfont": {"size": 11}, "coloraxis": "coloraxis"}
    shown["hovertemplate"] = "%{customdata}<extra></extra>"
    return go.Heatmap(x=languages, y=concepts, z=z, text=text, customdata=hover, **shown)


def _word(row: Any) -> str:
    """Bold where it may be claimed."""
    if pd.isna(row.state):
        return "–"
    return f"<b>{row.state}</b>" if row.claimable else str(row.state)


def _hover(row: Any) -> str:
    never = pd.isna(row.state)
    state = "never commits" if never else f"commits at state {row.state}"
    reason = "" if never or row.claimable else f"<br>must not be claimed: {row.reason}"
    return f"{row.concept}, {label(row.language)}: {state}<br>highest cosine held {row.held:.3f}{reason}"


def shares(
    table: pd.DataFrame, family: Family, look: Theme, variants: Sequence[str], threshold: float, run: int
) -> Drawn:
    """table: variant, threshold, share."""
    marks = looks.marks(family, look)
    figure = go.Figure()
    for variant in variants:
        own, mark = table.loc[table.variant == variant], marks[variant]
        line = {"color": mark.colour, "width": 2, "shape": "hv"}
        places = {"x": own.threshold.tolist(), "y": own.share.tolist()}
        figure.add_scatter(mode="lines", name=mark.label, line=line, hovertemplate="%{y:.0%}", **places)
    figure.add_vline(threshold, line={"color": look.muted, "width": 1.5, "dash": "dot"})
    figure.update_xaxes(range=[0, 1], title_text=f"threshold, held for {run} states")
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", title_text="concepts that commit")
    top = looks.legend_height([marks[v].label for v in variants], look)
    looks.dress(figure, look, 320, (64, 16, top, 52), hovermode="x unified", showlegend=True)
    return Drawn(figure, f"{family.name}_commitment_by_threshold")
