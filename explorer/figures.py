"""Figures for the page: plotly's JSON as plain dicts, one look in light and dark, on a desk and on a phone.

A figure that follows the slider of states carries its frames: one per state, each a list of what changes in
each trace, and layout settings. explorer/page.js moves between them, without asking the server.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probe.families import Family
from viz import style

Figure = dict[str, Any]
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"
MARKERS = {  # matplotlib's names -> plotly's
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "X": "x",
    "P": "cross", "*": "star", "h": "hexagon",
}  # fmt: skip
SEQUENTIAL = "Viridis"
LEGEND = {
    "orientation": "h",
    "x": 0,
    "xref": "container",
    "xanchor": "left",
    "y": 1,
    "yref": "container",
    "yanchor": "top",
}


@dataclass(frozen=True)
class Theme:
    """The colours of one look, and whether the window is narrow."""

    paper: str
    ink: str
    muted: str
    grid: str
    null: str
    narrow: bool = False


LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c2733",
    "muted": "#5a6672",
    "grid": "#e6e9ec",
    "null": "rgba(120,130,140,0.22)",
}
DARK = {
    "paper": "#14191f",
    "ink": "#e8ecf0",
    "muted": "#a3afba",
    "grid": "#2a323b",
    "null": "rgba(160,172,184,0.22)",
}


def theme(look: Any) -> Theme:
    """look: "light wide", "dark narrow" and so on, as explorer/page.js sends it."""
    words = str(look).split()
    return Theme(**(DARK if "dark" in words else LIGHT), narrow="narrow" in words)


@dataclass(frozen=True)
class Mark:
    """How one variant is drawn: its colour and marker are those of the printed figures."""

    label: str
    colour: str
    symbol: str


def marks(family: Family, look: Theme) -> dict[str, Mark]:
    """One per variant. Black is drawn in the ink of the theme, or it could not be seen on a dark page."""
    return {
        name: Mark(
            family.label(name),
            look.ink if of.colour == "#000000" else of.colour,
            MARKERS[of.marker],
        )
        for name, of in style.looks(family).items()
        if name in family.variants
    }


def faint(colour: str, alpha: float) -> str:
    """#rrggbb with an alpha in [0, 1], as CSS has it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def numbers(values: Iterable[Any]) -> list[float | int | None]:
    """For JSON, which knows no NaN: what is not a finite number is None, which plotly leaves out."""
    listed = values.tolist() if isinstance(values, np.ndarray | pd.Series) else list(values)
    return [v if isinstance(v, int | float) and math.isfinite(v) else None for v in listed]


def axis(look: Theme, **more: Any) -> dict[str, Any]:
    return {
        "gridcolor": look.grid,
        "zerolinecolor": look.muted,
        "linecolor": look.muted,
        "ticks": "outside",
        "tickcolor": look.grid,
        "ticklen": 4,
        "automargin": True,
        "title": {"font": {"size": 13, "color": look.muted}, "standoff": 8} | more.pop("title", {}),
    } | more


def states_axis(look: Theme, n_states: int, **more: Any) -> dict[str, Any]:
    """At most about nine ticks, always whole states."""
    step = max(1, math.ceil((n_states - 1) / (4 if look.narrow else 9)))
    return axis(look, range=[-0.4, n_states - 0.6], dtick=step, tick0=0, zeroline=False, **more)


def figure(
    traces: Sequence[dict],
    look: Theme,
    name: str,
    frames: Sequence[dict] | None = None,
    state: int = 0,
    height: int = 420,
    follow: str | None = None,
    **layout: Any,
) -> Figure:
    """One of plotly's figures, in the look.

    name: of a saved file, without its ending. frames: one per state, {"data": [per trace what changes],
    "layout": {...}}; the figure is drawn at `state`. follow: the tab whose slider of states moves with the
    pointer over this figure.
    """
    base = {
        "paper_bgcolor": look.paper,
        "plot_bgcolor": look.paper,
        "font": {"family": FONT, "size": 13, "color": look.ink},
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 40, "b": 48},
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "namelength": -1},
        "legend": LEGEND,
    }
    data = list(traces)
    if frames:
        now = frames[min(max(state, 0), len(frames) - 1)]
        data = [merged(trace, change) for trace, change in zip(data, now["data"], strict=True)]
        layout |= now.get("layout", {})
    return {
        "name": name,
        "follow": follow,
        "frames": list(frames or []),
        "data": data,
        "layout": base | layout,
        "config": {"displaylogo": False, "displayModeBar": False, "responsive": True, "scrollZoom": False},
    }


def merged(trace: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The trace with the change, which may be of a part of one of its parts."""
    parts = {
        name: merged(trace[name], value)
        if isinstance(value, dict) and isinstance(trace.get(name), dict)
        else value
        for name, value in change.items()
    }
    return {**trace, **parts}


def legend_height(labels: Iterable[str], look: Theme) -> int:
    """Pixels above the panels for a horizontal legend of these labels, as many in a line as fit."""
    room, lines, used = (300 if look.narrow else 1060), 1, 0.0
    for label in labels:
        width = 7.2 * len(label) + 48
        lines, used = (lines + 1, width) if used and used + width > room else (lines, used + width)
    return 34 + 20 * lines


def heading(text: str) -> dict[str, Any]:
    """A title at the upper left of a figure."""
    place = {"x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
    return place | {"text": text, "font": {"size": 14}, "pad": {"t": 8, "l": 8}}


def note(text: str, look: Theme, **place: Any) -> dict[str, Any]:
    """An annotation: words on a figure, at paper coordinates unless told."""
    return {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "font": {"size": 13, "color": look.ink},
        "xanchor": "left",
        "yanchor": "bottom",
        "align": "left",
    } | place


def grid(n: int, columns: int, gap_x: float, gap_y: float = 0) -> list[tuple[list[float], list[float]]]:
    """The (x, y) domains of n panels in reading order, in fractions of the figure."""
    rows = math.ceil(n / columns)
    width = (1 - gap_x * (columns - 1)) / columns
    height = (1 - gap_y * (rows - 1)) / rows
    places = []
    for i in range(n):
        left, top = (i % columns) * (width + gap_x), 1 - (i // columns) * (height + gap_y)
        places.append(
            ([round(left, 5), round(left + width, 5)], [round(max(top - height, 0), 5), round(top, 5)])
        )
    return places


def band(x: Sequence, low: Sequence, high: Sequence, colour: str, **more: Any) -> dict[str, Any]:
    """The area between two curves, as one closed line without an edge."""
    ends = zip(numbers(x), numbers(low), numbers(high), strict=True)
    points = [(a, b, c) for a, b, c in ends if b is not None and c is not None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [a for a, _, _ in points] + [a for a, _, _ in reversed(points)],
        "y": [b for _, b, _ in points] + [c for _, _, c in reversed(points)],
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    } | more


def dodge(n: int, width: float = 0.72) -> np.ndarray:
    """(n,) offsets from the middle of a row for n marks side by side."""
    return (np.arange(n) - (n - 1) / 2) * (width / max(n, 1))


@dataclass(frozen=True)
class View:
    """What a tab shows. figures: plot -> figure; tables: plot -> the very rows that it draws; note: HTML."""

    figures: Mapping[str, Figure]
    tables: Mapping[str, pd.DataFrame]
    note: str = ""


def to_json(drawn: Figure) -> str:
    """Raises ValueError for a NaN: it would break the page silently."""
    return json.dumps(drawn, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
