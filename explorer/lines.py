"""The two figures that curves and effects share: panels over the states, and all languages at one state.

Both take rows with language, state, value, `blocked` (a reason, or None) and `hover`; where ci_low and
ci_high, or null_low and null_high, are there too, the interval and the null band are drawn.
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
    """A mark beside the curves: a peak, a commitment, the value after the norm.

    rows: language, x, y, hover, and for an interval of x, x_low and x_high.
    """

    label: str
    symbol: str
    mark: Mark
    rows: pd.DataFrame
    size: int = 12


@dataclass(frozen=True)
class Setting:
    """What the two figures have in common.

    name: of a saved file; unit: of the value; titles: language -> what stands above its panel or
    beside its row; tab: whose slider of states the panels move.
    """

    look: Theme
    n_states: int
    name: str
    unit: str
    titles: Mapping[str, str]
    tab: str


def panels(
    setting: Setting,
    series: Sequence[Series],
    languages: Sequence[str],
    extras: Sequence[Extra] = (),
    after_norm: bool = False,
) -> figures.Figure:
    """One panel per language, value over states; after_norm: leave room for the value after the norm."""
    look = setting.look
    columns = 1 if look.narrow else min(3, max(len(languages), 1))
    lines = -(-len(languages) // columns)
    panel = 200 if lines > 1 or look.narrow else 330
    top = figures.legend_height(_legend(series, extras), look) + 14
    places = figures.grid(len(languages), columns, 0.05, 0.3 / lines if lines > 1 else 0)
    limits = _limits([s.rows.loc[s.rows.language.isin(languages)] for s in series], extras, languages)
    traces, layout, words = _keys(series, extras, look), {}, []
    for i, (language, (x, y)) in enumerate(zip(languages, places, strict=True)):
        n = "" if i == 0 else str(i + 1)
        inside = _panel(series, language, i == 0) + [_extra(extra, language) for extra in extras]
        traces += [trace | {"xaxis": f"x{n}", "yaxis": f"y{n}"} for trace in inside]
        below = {"text": "residual state" if i + columns >= len(languages) else ""}
        beside = {"text": "" if i % columns else setting.unit}
        across = _states(look, setting.n_states, after_norm, below)
        layout[f"xaxis{n}"] = across | {"domain": x, "anchor": f"y{n}", "matches": "x" if i else None}
        up = figures.axis(look, range=limits, nticks=6, title=beside)
        layout[f"yaxis{n}"] = up | {"domain": y, "anchor": f"x{n}"}
        title = f"<b>{setting.titles[language]}</b>"
        words.append(figures.note(title, look, x=x[0], y=y[1], yshift=3))
    return figures.figure(
        traces,
        look,
        setting.name,
        height=top + 56 + lines * panel,
        follow=setting.tab,
        hovermode="x unified",
        annotations=words,
        margin={"l": 60, "r": 14, "t": top, "b": 50},
        **layout,
    )


def _states(look: Theme, n_states: int, after_norm: bool, title: dict) -> dict[str, Any]:
    axis = figures.states_axis(look, n_states, title=title)
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
    keys = {extra.label: {"symbol": extra.symbol, "size": 10} for extra in reversed(extras)}
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
    setting: Setting, series: Sequence[Series], languages: Sequence[str], state: int
) -> figures.Figure:
    """Every language at one state, with its interval and its null; a frame for each state."""
    look, n_states = setting.look, setting.n_states
    row = {language: -i for i, language in enumerate(languages)}
    traces, frames = [], [{"data": [], "layout": _at(at)} for at in range(n_states)]
    for s, offset in zip(series, figures.dodge(len(series)), strict=True):
        traces += _forest_traces(s, [row[language] - float(offset) for language in languages], look)
        for frame, data in zip(frames, _forest_frames(s, languages, n_states), strict=True):
            frame["data"] += data
    low, high = _limits([s.rows for s in series], (), languages)
    return figures.figure(
        traces,
        look,
        f"{setting.name}_languages",
        frames=frames,
        state=state,
        height=max(330, 60 + len(languages) * (16 + 9 * len(series))),
        showlegend=False,
        hovermode="closest",
        margin={"l": 8, "r": 14, "t": 40, "b": 50},
        xaxis=figures.axis(look, range=[low, high], nticks=6, title={"text": setting.unit}),
        yaxis=figures.axis(
            look,
            tickvals=list(row.values()),
            ticktext=[LANGUAGES[lang].name if look.narrow else setting.titles[lang] for lang in languages],
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
