"""Commitment: which cells commit, where, and how many: against chance, or by threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explorer.plots import look as looks
from explorer.plots.look import Drawn, Theme
from probe.families import Family
from probe.languages import label

MISMATCHED, PERMUTED = "mismatched", "permuted pairs"  # rows below the concepts
BAR = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "len": 0.6}
BAR |= {
    "thickness": 10,
    "outlinewidth": 0,
}


def cells(
    table: pd.DataFrame, below: Mapping[str, Mapping[str, np.ndarray]], family: Family, look: Theme
) -> Drawn:
    """A panel per variant: concepts down, languages across.

    table: variant, concept, language, state, colour in [0, 1], claimable, reason, and by which of two
    criteria: `held` is the cosine's, `by_cosine` what that says of a cell of the other. below: of the rows
    under the concepts label -> variant -> (n_languages,) colours, NaN where not measured.
    """
    variants = list(dict.fromkeys(table.variant))
    columns = min(2 if look.narrow else 5, len(variants))
    lines = -(-len(variants) // columns)
    height, between = (
        24 * (table.concept.nunique() + 1 + len(below)),
        70,
    )  # pixels; between: for titles and languages
    titles = [_title(table.loc[table.variant == v], family.label(v), look) for v in variants]
    gap = between / (lines * height + between * (lines - 1)) if lines > 1 else 0
    figure = looks.subplots(
        titles, columns, shared_yaxes=True, horizontal_spacing=0.015, vertical_spacing=gap
    )
    for i, variant in enumerate(variants):
        under = {label: of[variant] for label, of in below.items()}
        trace = _heatmap(table.loc[table.variant == variant], under)
        figure.add_trace(trace, row=i // columns + 1, col=i % columns + 1)
    figure.update_xaxes(showgrid=False, ticks="", tickangle=0, tickfont_size=10)
    figure.update_yaxes(showgrid=False, ticks="", autorange="reversed", tickfont_size=12)
    height = lines * height + between * (lines - 1) + 150
    colours = {"colorscale": "Viridis", "cmin": 0, "cmax": 1, "colorbar": BAR | _unit(table)}
    looks.dress(figure, look, height, (90, 10, 54, 96), coloraxis=colours)
    return Drawn(figure, f"{family.name}_commitment")


def _title(own: pd.DataFrame, variant: str, look: Theme) -> str:
    return f"<b>{variant}</b><br>{own.state.count()} of {len(own)}{'' if look.narrow else ' commit'}"


def _unit(table: pd.DataFrame) -> dict[str, Any]:
    words = "highest cosine held" if "held" in table else "share that commits"
    return {"title": {"text": words, "side": "top", "font": {"size": 13}}}


def _heatmap(own: pd.DataFrame, below: Mapping[str, np.ndarray]) -> go.Heatmap:
    """One variant's cells, and below them what was measured of others."""
    concepts, languages = (list(dict.fromkeys(own[column])) for column in ("concept", "language"))
    own = own.set_index(["concept", "language"]).reindex(pd.MultiIndex.from_product([concepts, languages]))
    own = own.rename_axis(["concept", "language"]).reset_index()
    shape = (len(concepts), len(languages))
    z = own.colour.to_numpy().reshape(shape).tolist()
    text = np.array([_word(row) for row in own.itertuples()]).reshape(shape).tolist()
    hover = np.array([_hover(row) for row in own.itertuples()]).reshape(shape).tolist()
    what = "hold" if "held" in own else "commit:"
    for name, colours in below.items():
        concepts.append(name)
        z.append([None if np.isnan(value) else float(value) for value in colours])
        text.append([""] * len(languages))
        hover.append(["not measured" if np.isnan(v) else f"{name} {what} {v:.3f}" for v in colours])
    shown = {"texttemplate": "%{text}", "textfont": {"size": 11}, "coloraxis": "coloraxis"}
    shown["hovertemplate"] = "%{customdata}<extra></extra>"
    return go.Heatmap(x=languages, y=concepts, z=z, text=text, customdata=hover, **shown)


def _word(row: Any) -> str:
    """Bold where it may be claimed."""
    if pd.isna(row.colour):
        return ""
    if pd.isna(row.state):
        return "–"
    return f"<b>{row.state}</b>" if row.claimable else str(row.state)


def _hover(row: Any) -> str:
    never = pd.isna(row.state)
    if pd.isna(row.colour):
        return f"{row.concept}, {label(row.language)}: not measured"
    state = "never commits" if never else f"commits at state {row.state}"
    reason = "" if never or row.claimable else f"<br>must not be claimed: {row.reason}"
    if "held" in row._fields:
        other = f"highest cosine held {row.held:.3f}"
    else:
        other = f"by cosine: {'never' if pd.isna(row.by_cosine) else f'state {row.by_cosine}'}"
    return f"{row.concept}, {label(row.language)}: {state}<br>{other}{reason}"


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


def rates(
    table: pd.DataFrame, family: Family, look: Theme, variants: Sequence[str], languages: Sequence[str]
) -> Drawn:
    """A panel per kind of stimuli, in it per language the share of meanings that commit in each variant, with
    its interval, and that of permuted pairs in grey.

    table: variant, language, stimuli, fraction, ci_low, ci_high, chance, committed, n.
    """
    kinds, marks = list(dict.fromkeys(table.stimuli)), looks.marks(family, look)
    columns = 1 if look.narrow else min(2, len(kinds))
    titles = [f"<b>{kind}</b>, n = {table.loc[table.stimuli == kind, 'n'].max()}" for kind in kinds]
    figure = looks.subplots(titles, columns, horizontal_spacing=0.07)
    ticks = {"tickvals": list(range(len(languages))), "ticktext": list(languages), "zeroline": False}
    for i, kind in enumerate(kinds):
        at = {"row": i // columns + 1, "col": i % columns + 1}
        for variant, offset in zip(variants, looks.dodge(len(variants)), strict=True):
            own = table.loc[(table.stimuli == kind) & (table.variant == variant)]
            x = [languages.index(language) + float(offset) for language in own.language]
            ends = {"array": (own.ci_high - own.fraction).tolist(), "color": marks[variant].colour}
            ends |= {"arrayminus": (own.fraction - own.ci_low).tolist(), "symmetric": False, "width": 0}
            chance = {"symbol": "line-ew", "size": 9, "line": {"width": 2.5, "color": look.muted}}
            hover = "permuted pairs: %{y:.1%}<extra></extra>"
            figure.add_scatter(x=x, y=own.chance.tolist(), mode="markers", marker=chance, showlegend=False,
                               hovertemplate=hover, **at)  # fmt: skip
            hover = [f"{row.language}: {row.committed} of {row.n}" for row in own.itertuples()]
            figure.add_scatter(x=x, y=own.fraction.tolist(), error_y=ends, mode="markers", showlegend=i == 0,
                               name=marks[variant].label, legendgroup=variant, customdata=hover,
                               marker={"color": marks[variant].colour, "symbol": marks[variant].symbol},
                               hovertemplate="%{customdata}", **at)  # fmt: skip
    figure.update_xaxes(showgrid=False, range=[-0.6, len(languages) - 0.4], **ticks)
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    top = looks.legend_height([marks[v].label for v in variants], look) + 20
    lines = -(-len(kinds) // columns)
    looks.dress(figure, look, 60 + top + 250 * lines, (56, 16, top, 40), showlegend=True)
    return Drawn(figure, f"{family.name}_commitment_by_kind")
