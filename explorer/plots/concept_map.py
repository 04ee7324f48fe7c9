"""The concept map: sentences in a plane that moves through the states, and what that plane leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.plots import look as looks
from explorer.plots.look import STATE, Drawn, Theme
from probe.languages import LANGUAGES, label

COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A6FD0", "#8C6D31", "#A8A032",
    "#7F7F7F",
)  # fmt: skip
CHANCE = "between concepts, by chance"


@dataclass(frozen=True)
class Setting:
    """groups: what the colours stand for, in their order. named: concept id -> its name; followed: one of
    them, or none. stem: of a saved file."""

    look: Theme
    state: int
    groups: list[str]
    named: Mapping[str, str]
    followed: str
    stem: str

    def colour(self, group: str) -> str:
        return COLOURS[self.groups.index(group) % len(COLOURS)]


def plane(setting: Setting, points: pd.DataFrame, in_plane: Mapping[int, float]) -> Drawn:
    """points: state, concept_id, language, x, y, group. in_plane: state -> the share of variance seen."""
    look, first = setting.look, points.loc[points.state == points.state.min()]
    followed = points.concept_id == setting.followed
    traces = [_dots(setting, first, group, 0.5 if followed.any() else 0.85) for group in setting.groups]
    if followed.any():
        traces += _follow(setting, first.loc[first.concept_id == setting.followed])
    frames = []
    for state, here in points.groupby("state"):
        held = f"{100 * in_plane[int(str(state))]:.0f} % of the variance"
        title = f"<b>State {state}</b> · {held if look.narrow else f'this plane holds {held}'}"
        frames.append({"data": _places(setting, here), "layout": {"title": {"text": title}}})
    figure = go.Figure(traces)
    bare = {"showticklabels": False, "ticks": "", "showgrid": False}
    bare |= {"linecolor": look.grid, "zerolinecolor": look.grid}
    right, up = 1.08 * points[["x", "y"]].abs().max().to_numpy()
    figure.update_xaxes(bare, range=[-right, right])
    figure.update_yaxes(bare, range=[-up, up], scaleanchor="x", scaleratio=1)
    top = looks.legend_height([trace["name"] for trace in traces if "name" in trace], look)
    legend = {"orientation": "h", "x": 0, "xref": "paper", "y": 1, "yref": "paper", "yanchor": "bottom"}
    height = (400 if look.narrow else 560) + top
    looks.dress(figure, look, height, (10, 10, top + 14, 12), hovermode="closest", legend=legend)
    return Drawn(figure, f"{setting.stem}_concept_map", frames).at(setting.state)


def _dots(setting: Setting, points: pd.DataFrame, group: str, opacity: float) -> dict[str, Any]:
    """One trace per colour; where its points are, the frames say."""
    own = points.loc[points.group == group]
    cells = zip(own.concept_id, own.language, strict=True)
    text = [f"{setting.named.get(concept, concept)}, {label(lang)}" for concept, lang in cells]
    trace = {"type": "scatter", "mode": "markers", "name": label(group) if group in LANGUAGES else group}
    dots = {"size": 8, "color": setting.colour(group), "opacity": opacity}
    return trace | {"marker": dots, "text": text, "hovertemplate": "%{text}<extra></extra>"}


def _follow(setting: Setting, followed: pd.DataFrame) -> list[dict]:
    """Spokes from the concept's middle to its sentences, and these with the code of their language."""
    ink, by_language = setting.look.ink, set(setting.groups) <= set(LANGUAGES)
    dots = {"size": 12, "line": {"color": ink, "width": 1.5}}
    dots["color"] = [setting.colour(lang) for lang in followed.language] if by_language else ink
    spokes = {"type": "scatter", "mode": "lines", "line": {"color": setting.look.muted, "width": 1}}
    sentences = {"type": "scatter", "mode": "markers+text", "text": followed.language.tolist()}
    sentences |= {"marker": dots, "textposition": "top center", "textfont": {"size": 13, "color": ink}}
    name = setting.named.get(setting.followed, setting.followed)
    sentences["hovertemplate"] = f"{name}, %{{text}}<extra></extra>"
    return [spokes | {"hoverinfo": "skip", "showlegend": False}, sentences | {"showlegend": False}]


def _places(setting: Setting, points: pd.DataFrame) -> list[dict]:
    """Where the points of each trace are at one state."""
    groups = [points.loc[points.group == group] for group in setting.groups]
    places = [{"x": own.x.tolist(), "y": own.y.tolist()} for own in groups]
    followed = points.loc[points.concept_id == setting.followed]
    if followed.empty:
        return places
    own = {axis: followed[axis].tolist() for axis in ("x", "y")}
    middle = {axis: round(float(followed[axis].mean()), 4) for axis in own}
    spokes = {a: [v for each in values for v in (middle[a], each, None)] for a, values in own.items()}
    return [*places, spokes, own]


def variance(
    look: Theme, table: pd.DataFrame, shares: Mapping[str, pd.Series], unit: str, state: int, stem: str
) -> Drawn:
    """Shares of variance in all dimensions, over the states. shares: name -> (n_states,)"""
    figure, n_states = go.Figure(), int(table.state.max()) + 1
    for name, share in shares.items():
        line = {"color": look.muted if name == "between languages" else "#0072B2", "width": 2}
        line |= {"dash": "dot"} if name == CHANCE else {}
        places = {"x": table.state.tolist(), "y": share.tolist()}
        figure.add_scatter(mode="lines+markers", name=name, line=line, hovertemplate="%{y:.1%}", **places)
    top = 1.12 * max(float(share.max()) for share in shares.values())
    here = {"color": look.muted, "width": 1.5, "dash": "dot"}
    figure.add_scatter(mode="lines", y=[0, top], line=here, hoverinfo="skip", showlegend=False)
    frames = [{"data": [{} for _ in shares] + [{"x": [s, s]}]} for s in range(n_states)]
    looks.over_states(figure, look, n_states).update_xaxes(title_text=STATE)
    figure.update_yaxes(range=[0, top], tickformat=".0%", title_text=unit)
    sides = (64, 16, looks.legend_height(shares, look), 50)
    looks.dress(figure, look, 300, sides, hovermode="x unified")
    return Drawn(figure, f"{stem}_variance", frames).at(state)
