"""One look for every figure of the page: in light and dark, on a desk and on a phone.

A figure that follows the slider of states carries its frames: one per state, each what changes in each trace
and in the layout. explorer/page.js moves between them, without asking the server.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.subplots import make_subplots

from probe.families import Family
from viz import style

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"
MARKERS = {  # matplotlib's names -> plotly's
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "X": "x",
    "P": "cross", "*": "star", "h": "hexagon",
}  # fmt: skip
UPPER_LEFT = {"x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
CONFIG = {"displaylogo": False, "displayModeBar": False, "responsive": True, "scrollZoom": False}
STATE = "residual state"


@dataclass(frozen=True)
class Theme:
    """The colours of one look, and whether the window is narrow."""

    paper: str
    ink: str
    muted: str
    grid: str
    null: str
    narrow: bool = False


LIGHT = Theme("#ffffff", "#1c2733", "#5a6672", "#e6e9ec", "rgba(120,130,140,0.22)")
DARK = Theme("#14191f", "#e8ecf0", "#a3afba", "#2a323b", "rgba(160,172,184,0.22)")


def theme(look: Any) -> Theme:
    """look: "light wide", "dark narrow" and so on, as explorer/page.js sends it."""
    words = str(look).split()
    return dataclasses.replace(DARK if "dark" in words else LIGHT, narrow="narrow" in words)


@dataclass(frozen=True)
class Mark:
    """How one variant is drawn: its colour and marker are those of the printed figures."""

    label: str
    colour: str
    symbol: str


def marks(family: Family, look: Theme) -> dict[str, Mark]:
    """One per variant. Black is drawn in the ink of the theme, or it could not be seen on a dark page."""
    looks = {name: of for name, of in style.looks(family).items() if name in family.variants}
    ink = {"#000000": look.ink}
    return {
        name: Mark(family.label(name), ink.get(of.colour, of.colour), MARKERS[of.marker])
        for name, of in looks.items()
    }


def symbols(symbol: str, claimable: Iterable[bool]) -> list[str]:
    """What may not be claimed is never a solid mark."""
    return [symbol if may else f"{symbol}-open" for may in claimable]


@dataclass(frozen=True)
class Drawn:
    """A figure, and what explorer/page.js needs beside it.

    name: of a saved file, without its ending. frames: one per state, {"data": [per trace what changes],
    "layout": {...}}. follow: the tab whose slider of states moves with the pointer over this figure.
    """

    figure: go.Figure
    name: str
    frames: Sequence[dict[str, Any]] = ()
    follow: str | None = None

    def at(self, state: int) -> "Drawn":
        """The same, as it is at that state."""
        now = self.frames[min(max(state, 0), len(self.frames) - 1)]
        for i, change in enumerate(now["data"]):
            self.figure.update_traces(change, selector=i)
        self.figure.update_layout(now.get("layout", {}))
        return self

    def to_json(self) -> str:
        """A number that is not finite is null, which plotly leaves out."""
        more = {"name": self.name, "follow": self.follow, "frames": self.frames, "config": CONFIG}
        return str(to_json_plotly({**self.figure.to_plotly_json(), **more}))


@dataclass(frozen=True)
class View:
    """What a tab shows. figures: plot -> figure; tables: plot -> the very rows that it draws; note: HTML."""

    figures: Mapping[str, Drawn]
    tables: Mapping[str, pd.DataFrame]
    note: str = ""


@cache
def template(look: Theme) -> go.layout.Template:
    title = {"font": {"size": 13, "color": look.muted}, "standoff": 8}
    axis = {"gridcolor": look.grid, "zerolinecolor": look.muted, "linecolor": look.muted, "ticks": "outside"}
    axis |= {"tickcolor": look.grid, "ticklen": 4, "automargin": True, "title": title}
    note = {"showarrow": False, "font": {"size": 13}, "xanchor": "left", "yanchor": "bottom", "align": "left"}
    layout = {
        "paper_bgcolor": look.paper,
        "plot_bgcolor": look.paper,
        "font": {"family": FONT, "size": 13, "color": look.ink},
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "namelength": -1},
        "legend": UPPER_LEFT | {"orientation": "h"},
        "title": UPPER_LEFT | {"font": {"size": 14}, "pad": {"t": 8, "l": 8}},
        "annotationdefaults": note,
        "xaxis": axis,
        "yaxis": axis,
    }
    heatmap = {
        "xgap": 1,
        "ygap": 1,
        "colorscale": "Viridis",
        "colorbar": {"outlinewidth": 0, "thickness": 10},
    }
    return go.layout.Template(layout=layout, data={"heatmap": [heatmap]})


def dress(
    figure: go.Figure, look: Theme, height: int, sides: tuple[int, int, int, int], **layout: Any
) -> go.Figure:
    """The figure in the look. sides: its margins to the left, the right, above and below."""
    margin = dict(zip("lrtb", sides, strict=True))
    return figure.update_layout(template=template(look), height=height, margin=margin, **layout)


def subplots(titles: Sequence[str], columns: int, **spacing: Any) -> go.Figure:
    """A panel per title, that stands above it to the left, so many in a line."""
    n, across = len(titles), range(columns)
    places = [[{} if line + column < n else None for column in across] for line in range(0, n, columns)]
    shape = {"rows": len(places), "cols": columns, "specs": places, "subplot_titles": titles}
    figure = make_subplots(**shape, **spacing)
    for title, axis in zip(figure.select_annotations(), figure.select_xaxes(), strict=True):
        title.update(x=axis.domain[0], xanchor="left", yshift=3, font_size=13)
    return figure


def over_states(figure: go.Figure, look: Theme, n_states: int, norm: bool = False) -> go.Figure:
    """Its x axes are of states: at most about nine ticks, always whole ones. norm: with a place of its own,
    beyond the states, for the value after the norm."""
    ticks = list(range(0, n_states, max(1, math.ceil((n_states - 1) / (4 if look.narrow else 9)))))
    beyond = {n_states + 0.3: "norm"} if norm else {}
    return figure.update_xaxes(
        range=[-0.4, n_states + (0.9 if norm else -0.6)],
        tickvals=[*ticks, *beyond],
        ticktext=[*map(str, ticks), *beyond.values()],
        zeroline=False,
    )


def legend_height(labels: Iterable[str], look: Theme) -> int:
    """Pixels above the panels for a horizontal legend of these labels, as many in a line as fit."""
    room, lines, used = (250 if look.narrow else 1060), 1, 0.0
    for label in labels:
        width = 7.2 * len(label) + 48
        lines, used = (lines + 1, width) if used and used + width > room else (lines, used + width)
    return 34 + 20 * lines


def faint(colour: str, alpha: float) -> str:
    """#rrggbb with an alpha in [0, 1], as CSS has it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def band(x: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    """The area between two curves, as one closed line without an edge."""
    kept = (low.notna() & high.notna()).to_numpy()
    ends = [values.to_numpy()[kept].tolist() for values in (x, low, high)]
    area = {"x": ends[0] + ends[0][::-1], "y": ends[1] + ends[2][::-1], "fill": "toself", "fillcolor": colour}
    return area | {"type": "scatter", "mode": "none", "hoverinfo": "skip", "showlegend": False}


def dodge(n: int, width: float = 0.72) -> np.ndarray:
    """(n,) offsets from the middle of a row for n marks side by side."""
    return (np.arange(n) - (n - 1) / 2) * (width / max(n, 1))
