"""Every language at one state, with its interval and its null; a frame for each state."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.data import claimable
from explorer.plots import look as looks
from explorer.plots.look import Drawn, Theme
from explorer.plots.states import Series, Setting, limits
from probe.languages import LANGUAGES


def forest(setting: Setting, series: Sequence[Series], languages: Sequence[str], state: int) -> Drawn:
    look, n_states = setting.look, setting.n_states
    traces, frames = [], [{"data": [], "layout": _title(at)} for at in range(n_states)]
    for s, offset in zip(series, looks.dodge(len(series)), strict=True):
        traces += _traces(s, [-i - float(offset) for i in range(len(languages))], look)
        for frame, changes in zip(frames, _frames(s, languages, n_states), strict=True):
            frame["data"] += changes
    names = [LANGUAGES[lang].name if look.narrow else setting.titles[lang] for lang in languages]
    figure = go.Figure(traces)
    figure.update_xaxes(range=limits(series, (), languages), nticks=6, title_text=setting.unit)
    rows = {"tickvals": [-i for i in range(len(languages))], "ticktext": names, "showgrid": False}
    figure.update_yaxes(rows | {"range": [-len(languages) + 0.4, 0.6], "zeroline": False})
    height = max(330, 60 + len(languages) * (16 + 9 * len(series)))
    looks.dress(figure, look, height, (8, 14, 40, 50), showlegend=False, hovermode="closest")
    return Drawn(figure, f"{setting.name}_languages", frames).at(state)


def _title(state: int) -> dict[str, Any]:
    return {"title": {"text": f"<b>State {state}</b>: all languages"}}


def _traces(s: Series, y: list[float], look: Theme) -> list[dict]:
    null = {"type": "scatter", "mode": "lines", "y": [v for each in y for v in (each, each, None)]}
    null |= {"line": {"width": 5, "color": look.null}, "hoverinfo": "skip"}
    points = {"type": "scatter", "mode": "markers", "name": s.mark.label, "y": y}
    points |= {"marker": {"size": 9, "color": s.mark.colour}}
    points |= {"error_x": {"type": "data", "symmetric": False, "color": s.mark.colour, "thickness": 1.6}}
    points["error_x"]["width"] = 0
    return [null, points | {"hovertemplate": f"{s.mark.label}: %{{customdata}}<extra></extra>"}]


def _frames(s: Series, languages: Sequence[str], n_states: int) -> list[list[dict]]:
    """Per state what changes in the two traces of a series: its null, and its points."""
    place = {language: i for i, language in enumerate(languages)}
    at = (s.rows.state.to_numpy(int), np.array([place[language] for language in s.rows.language], int))

    def cells(values: Any, empty: Any) -> np.ndarray:
        filled = np.full((n_states, len(languages)), empty, float if empty is np.nan else object)
        filled[at] = np.asarray(values)
        return filled

    value, low, high, null_low, null_high = (
        cells(s.rows.get(column, np.nan), np.nan)
        for column in ("value", "ci_low", "ci_high", "null_low", "null_high")
    )
    hover, symbols = (
        cells(s.rows.hover, "not measured"),
        cells(looks.symbols(s.mark.symbol, claimable(s.rows)), "circle-open"),
    )
    null = np.stack([null_low, null_high, np.full_like(null_low, np.nan)], axis=-1).reshape(n_states, -1)
    above, below = (high - value).round(6), (value - low).round(6)
    return [
        [
            {"x": null[state].tolist()},
            {
                "x": value[state].tolist(),
                "error_x": {"array": above[state].tolist(), "arrayminus": below[state].tolist()},
                "marker": {"symbol": symbols[state].tolist()},
                "customdata": hover[state].tolist(),
            },
        ]
        for state in range(n_states)
    ]
