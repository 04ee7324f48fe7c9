"""The two figures that curves and effects share: panels over the states, and all languages at one state.

Both take a table of rows with language, state, value, ci_low, ci_high, `blocked` (a reason, or None) and `hover`;
where null_low and null_high are there too, the null band is drawn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from explorer import figures
from explorer.figures import Mark, Theme, numbers
from probe.families import Family
from probe.languages import LANGUAGES, label
from viz.style import emphasising

NULL = "null: 95 % of permuted pairings"
BLOCKED = "open: blocked by the auditor"


@dataclass(frozen=True)
class Series:
    """One variant, or one difference of two: how it is drawn, and its rows of all languages and states."""

    mark: Mark
    rows: pd.DataFrame

    def of(self, language: str) -> pd.DataFrame:
        return self.rows.loc[self.rows.language == language]


@dataclass(frozen=True)
class Extra:
    """A mark beside the curves: a peak, a commitment, the value after the norm. rows: language, x, y, hover."""

    label: str
    symbol: str
    mark: Mark
    rows: pd.DataFrame
    size: int = 12


def panels(
    look: Theme,
    series: Sequence[Series],
    languages: Sequence[str],
    n_states: int,
    name: str,
    y_title: str,
    titles: Mapping[str, str],
    follow: str,
    extras: Sequence[Extra] = (),
    after_norm: bool = False,
) -> figures.Figure:
    """One panel per language, value over states. titles: language -> what stands above its panel."""
    columns = 1 if look.narrow else min(3, max(len(languages), 1))
    lines = -(-len(languages) // columns)
    panel = 200 if lines > 1 or look.narrow else 330
    legend = _legend(series, extras)
    top = figures.legend_height(legend, look) + 14
    height = top + 56 + lines * panel
    gap = 0.3 / lines if lines > 1 else 0
    places = figures.grid(len(languages), columns, 0.05, gap)
    low, high = _limits([s.rows.loc[s.rows.language.isin(languages)] for s in series], extras, languages)
    traces, layout, words = _keys(series, extras, look), {}, []
    for i, (language, (x, y)) in enumerate(zip(languages, places, strict=True)):
        n = "" if i == 0 else str(i + 1)
        axes = {"xaxis": f"x{n}", "yaxis": f"y{n}"}
        bottom_row = i + columns >= len(languages)
        traces += [t | axes for t in _panel(series, language, i == 0)]
        traces += [_extra(extra, language) | axes for extra in extras]
        layout[f"xaxis{n}"] = _states(look, n_states, after_norm) | {
            "domain": x,
            "anchor": f"y{n}",
            "matches": "x" if i else None,
        }
        if bottom_row:
            layout[f"xaxis{n}"]["title"]["text"] = "residual state"
        layout[f"yaxis{n}"] = figures.axis(look, domain=y, anchor=f"x{n}", range=[low, high], nticks=6)
        if i % columns == 0:
            layout[f"yaxis{n}"]["title"]["text"] = y_title
        words.append(figures.note(f"<b>{titles[language]}</b>", look, x=x[0], y=y[1], yshift=3))
    return figures.figure(
        traces,
        look,
        name,
        height=height,
        follow=follow,
        hovermode="x unified",
        annotations=words,
        margin={"l": 60, "r": 14, "t": top, "b": 50},
        **layout,
    )


def _states(look: Theme, n_states: int, after_norm: bool) -> dict[str, Any]:
    axis = figures.states_axis(look, n_states)
    if not after_norm:
        return axis
    ticks = list(range(0, n_states, axis.pop("dtick")))
    axis.pop("tick0")
    return axis | {
        "range": [-0.4, n_states + 0.9],
        "tickvals": [*ticks, n_states + 0.3],
        "ticktext": [*map(str, ticks), "norm"],
    }


def _limits(tables: Sequence[pd.DataFrame], extras: Sequence[Extra], languages) -> tuple[float, float]:
    seen = [t[c] for t in tables for c in ("value", "ci_low", "ci_high", "null_low", "null_high") if c in t]
    seen += [extra.rows.loc[extra.rows.language.isin(languages), "y"] for extra in extras]
    everything = pd.concat(seen).dropna() if seen else pd.Series(dtype=float)
    if everything.empty:
        return 0, 1
    low, high = float(everything.min()), float(everything.max())
    air = 0.06 * ((high - low) or 1)
    return round(low - air, 6), round(high + air, 6)


def _legend(series: Sequence[Series], extras: Sequence[Extra]) -> list[str]:
    labels = [s.mark.label for s in series] + list(dict.fromkeys(extra.label for extra in extras))
    return labels + [NULL] * _has_null(series) + [BLOCKED] * _has_blocked(series)


def _has_null(series: Sequence[Series]) -> bool:
    return any("null_low" in s.rows and s.rows.null_low.notna().any() for s in series)


def _has_blocked(series: Sequence[Series]) -> bool:
    return any(s.rows.blocked.notna().any() for s in series)


def _keys(series: Sequence[Series], extras: Sequence[Extra], look: Theme) -> list[dict]:
    """Entries of the legend for what is no variant's own."""
    keys = {extra.label: {"symbol": extra.symbol, "size": 10} for extra in extras}
    if _has_null(series):
        keys[NULL] = {"symbol": "square", "size": 12, "color": look.null}
    if _has_blocked(series):
        keys[BLOCKED] = {"symbol": "circle-open", "size": 9}
    edge = {"color": look.muted, "line": {"color": look.muted, "width": 1}}
    return [
        {"type": "scatter", "x": [None], "y": [None], "mode": "markers", "name": name, "hoverinfo": "skip"}
        | {"marker": edge | marker, "legendrank": 2000}
        for name, marker in keys.items()
    ]


def _panel(series: Sequence[Series], language: str, first: bool) -> list[dict]:
    """Bands first, so that no line is hidden by another's interval."""
    nulls, intervals, lines = [], [], []
    for s in series:
        rows = s.of(language)
        if "null_low" in rows:
            nulls.append(figures.band(rows.state, rows.null_low, rows.null_high, "rgba(130,140,150,0.13)"))
        if "ci_low" in rows:
            colour = figures.faint(s.mark.colour, 0.18)
            intervals.append(figures.band(rows.state, rows.ci_low, rows.ci_high, colour))
        lines.append(_line(s, rows, first))
    return nulls + intervals + lines


def _line(s: Series, rows: pd.DataFrame, first: bool) -> dict:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": s.mark.label,
        "legendgroup": s.mark.label,
        "showlegend": first,
        "x": numbers(rows.state),
        "y": numbers(rows.value),
        "line": {"color": s.mark.colour, "width": 2},
        "marker": {
            "symbol": _symbols(s.mark, rows.blocked),
            "size": 7 if len(rows) <= 14 else 5,
            "color": s.mark.colour,
        },
        "customdata": rows.hover.tolist(),
        "hovertemplate": "%{customdata}",
    }


def _symbols(mark: Mark, blocked: Iterable) -> list[str]:
    return [f"{mark.symbol}-open" if isinstance(reason, str) else mark.symbol for reason in blocked]


def _extra(extra: Extra, language: str) -> dict:
    rows = extra.rows.loc[extra.rows.language == language]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": extra.label,
        "showlegend": False,
        "x": numbers(rows.x),
        "y": numbers(rows.y),
        "marker": {
            "symbol": extra.symbol,
            "size": extra.size,
            "color": extra.mark.colour,
            "line": {"width": 2, "color": extra.mark.colour},
        },
        "text": rows.hover.tolist(),
        "hovertemplate": "%{text}<extra></extra>",
    }
    for end, array in (("high", "array"), ("low", "arrayminus")):
        if f"x_{end}" in rows:
            trace.setdefault("error_x", {"type": "data", "symmetric": False, "thickness": 1.2, "width": 4})
            trace["error_x"][array] = numbers((rows[f"x_{end}"] - rows.x).abs())
    return trace


def forest(
    look: Theme,
    series: Sequence[Series],
    languages: Sequence[str],
    n_states: int,
    state: int,
    name: str,
    x_title: str,
    titles: Mapping[str, str],
) -> figures.Figure:
    """Every language at one state, with its interval and its null; a frame for each state."""
    offsets = figures.dodge(len(series))
    row = {language: -i for i, language in enumerate(languages)}
    traces, frames = [], [{"data": [], "layout": _at(state)} for state in range(n_states)]
    for s, offset in zip(series, offsets, strict=True):
        traces += _forest_traces(s, [row[language] - float(offset) for language in languages], look)
        for frame, data in zip(frames, _forest_frames(s, languages, n_states), strict=True):
            frame["data"] += data
    low, high = _limits([s.rows for s in series], (), languages)
    return figures.figure(
        traces,
        look,
        name,
        frames=frames,
        state=state,
        height=max(330, 60 + len(languages) * (16 + 9 * len(series))),
        showlegend=False,
        hovermode="closest",
        margin={"l": 8, "r": 14, "t": 40, "b": 50},
        xaxis=figures.axis(
            look, range=[low, high], nticks=6, title={"text": x_title}, zeroline=low < 0 < high
        ),
        yaxis=figures.axis(
            look,
            tickvals=list(row.values()),
            ticktext=[LANGUAGES[lang].name if look.narrow else titles[lang] for lang in languages],
            range=[-len(languages) + 0.4, 0.6],
            showgrid=False,
            zeroline=False,
        ),
    )


def _forest_traces(s: Series, y: list[float], look: Theme) -> list[dict]:
    null = {
        "type": "scatter",
        "mode": "lines",
        "y": [v for each in y for v in (each, each, None)],
        "line": {"width": 5, "color": look.null},
        "hoverinfo": "skip",
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": s.mark.label,
        "y": y,
        "marker": {"size": 9, "color": s.mark.colour},
        "error_x": {"type": "data", "symmetric": False, "color": s.mark.colour, "thickness": 1.6, "width": 0},
        "hovertemplate": f"{s.mark.label}: %{{customdata}}<extra></extra>",
    }
    return [null, points]


def _at(state: int) -> dict[str, Any]:
    return {"title": figures.heading(f"<b>State {state}</b>: all languages")}


def _forest_frames(s: Series, languages: Sequence[str], n_states: int) -> list[list[dict]]:
    """Per state what changes in the two traces of a series: its null, and its points."""
    place = {language: i for i, language in enumerate(languages)}
    at = (s.rows.state.to_numpy(int), np.array([place[language] for language in s.rows.language], int))

    def cells(column: str, empty: Any) -> np.ndarray:
        filled = np.full((n_states, len(languages)), empty, float if empty is np.nan else object)
        if column in s.rows:
            filled[at] = s.rows[column].to_numpy()
        return filled

    value, low, high, null_low, null_high = (
        cells(column, np.nan) for column in ("value", "ci_low", "ci_high", "null_low", "null_high")
    )
    hover, blocked = cells("hover", "not measured"), cells("blocked", None)
    null = np.stack([null_low, null_high, np.full_like(null_low, np.nan)], axis=-1).reshape(n_states, -1)
    return [
        [
            {"x": numbers(null[state])},
            {
                "x": numbers(value[state]),
                "error_x": {
                    "array": numbers((high - value)[state].round(6)),
                    "arrayminus": numbers((value - low)[state].round(6)),
                },
                "marker": {"symbol": _symbols(s.mark, blocked[state])},
                "customdata": hover[state].tolist(),
            },
        ]
        for state in range(n_states)
    ]


def titles(family: Family, languages: Sequence[str]) -> dict[str, str]:
    """Language -> its name, and which variants emphasise it."""
    by = {
        lang: [family.label(v) for v in emphasising(family, lang, list(family.variants))]
        for lang in languages
    }
    return {lang: label(lang) + (f" · {', '.join(names)}" if names else "") for lang, names in by.items()}
