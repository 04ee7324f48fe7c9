"""A measure over the states: a panel for each language, a line for each variant or difference of two.

Takes rows with language, state, value, `verdict` (see `explorer.data.claimable`) and `hover`; where
ci_low and ci_high, or null_low and null_high, are there too, the interval and the null band are drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from explorer.data import claimable
from explorer.plots import look as looks
from explorer.plots.look import STATE, Drawn, Mark, Theme
from probe.families import Family
from probe.languages import label
from viz.style import emphasising

NULL, OPEN = "null: 95 % of permuted pairings", "open: must not be claimed"


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
    """What the figures of curves and of effects have in common.

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
) -> Drawn:
    """after_norm: leave room for the value after the norm."""
    look, n = setting.look, len(languages)
    columns = 1 if look.narrow else min(3, n)
    lines = -(-n // columns)
    titles = [f"<b>{setting.titles[language]}</b>" for language in languages]
    spacing = {"horizontal_spacing": 0.05, "vertical_spacing": 0.3 / lines if lines > 1 else 0}
    figure = looks.subplots(titles, columns, **spacing)
    keys = _keys(series, extras, look)
    figure.add_traces(keys)
    for i, language in enumerate(languages):
        inside = _panel(series, language, i == 0) + [_extra(extra, language) for extra in extras]
        row, col = i // columns + 1, i % columns + 1
        figure.add_traces(inside, rows=row, cols=col)
        figure.update_xaxes(title_text=STATE if i + columns >= n else "", row=row, col=col)
    looks.over_states(figure, look, setting.n_states, after_norm)
    figure.update_xaxes(matches="x").update_yaxes(range=limits(series, extras, languages), nticks=6)
    figure.update_yaxes(title_text=setting.unit, col=1)
    labels = [s.mark.label for s in series] + [key["name"] for key in keys]
    top, height = looks.legend_height(labels, look) + 20, 200 if lines > 1 or look.narrow else 330
    looks.dress(figure, look, top + 56 + lines * height, (60, 14, top, 50), hovermode="x unified")
    return Drawn(figure, setting.name, follow=setting.tab)


def limits(
    series: Sequence[Series], extras: Sequence[Extra], languages: Sequence[str]
) -> tuple[float, float]:
    """Of the axis of values: all that is drawn, and some air."""
    columns = ("value", "ci_low", "ci_high", "null_low", "null_high")
    tables = [s.rows.loc[s.rows.language.isin(languages)] for s in series]
    drawn = [table[column] for table in tables for column in columns if column in table]
    drawn += [extra.rows.loc[extra.rows.language.isin(languages), "y"] for extra in extras]
    low, high = np.nanmin(np.concatenate(drawn)), np.nanmax(np.concatenate(drawn))
    air = 0.06 * ((high - low) or 1)
    return round(float(low - air), 6), round(float(high + air), 6)


def _keys(series: Sequence[Series], extras: Sequence[Extra], look: Theme) -> list[dict]:
    """Entries of the legend for what is no variant's own."""
    keys = {extra.label: {"symbol": extra.symbol, "size": 10} for extra in reversed(extras)}
    if any("null_low" in s.rows and s.rows.null_low.notna().any() for s in series):
        keys[NULL] = {"symbol": "square", "size": 12, "color": look.null}
    if not all(claimable(s.rows).all() for s in series):
        keys[OPEN] = {"symbol": "circle-open", "size": 9}
    edge = {"color": look.muted, "line": {"color": look.muted, "width": 1}}
    empty = {"type": "scatter", "x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip"}
    return [empty | {"name": name, "marker": edge | mark, "legendrank": 2000} for name, mark in keys.items()]


def _panel(series: Sequence[Series], language: str, first: bool) -> list[dict]:
    """Bands first, so that no line is hidden by another's interval."""
    nulls, intervals, lines = [], [], []
    for s in series:
        rows = s.of(language)
        if "null_low" in rows:
            nulls.append(looks.band(rows.state, rows.null_low, rows.null_high, "rgba(130,140,150,0.13)"))
        if "ci_low" in rows:
            colour = looks.faint(s.mark.colour, 0.18)
            intervals.append(looks.band(rows.state, rows.ci_low, rows.ci_high, colour))
        lines.append(_line(s.mark, rows, first))
    return nulls + intervals + lines


def _line(mark: Mark, rows: pd.DataFrame, first: bool) -> dict[str, Any]:
    symbols = looks.symbols(mark.symbol, claimable(rows))
    line = {"type": "scatter", "mode": "lines+markers", "name": mark.label, "legendgroup": mark.label}
    line |= {"x": rows.state.tolist(), "y": rows.value.tolist(), "customdata": rows.hover.tolist()}
    line |= {"line": {"color": mark.colour, "width": 2}, "hovertemplate": "%{customdata}"}
    dots = {"symbol": symbols, "size": 7 if len(rows) <= 14 else 5, "color": mark.colour}
    return line | {"marker": dots, "showlegend": first}


def _extra(extra: Extra, language: str) -> dict[str, Any]:
    rows = extra.rows.loc[extra.rows.language == language]
    dots = {"symbol": looks.symbols(extra.symbol, claimable(rows)), "size": extra.size}
    dots |= {"color": extra.mark.colour, "line": {"width": 1.5, "color": extra.mark.colour}}
    trace = {"type": "scatter", "mode": "markers", "name": extra.label, "showlegend": False, "marker": dots}
    trace |= {"x": rows.x.tolist(), "y": rows.y.tolist(), "text": rows.hover.tolist()}
    if "x_low" in rows:
        ends = {"array": (rows.x_high - rows.x).tolist(), "arrayminus": (rows.x - rows.x_low).tolist()}
        trace["error_x"] = ends | {"type": "data", "symmetric": False, "thickness": 1.2, "width": 4}
    return trace | {"hovertemplate": "%{text}<extra></extra>"}


def titles(family: Family, languages: Sequence[str]) -> dict[str, str]:
    """Language -> its name, and which variants emphasise it."""
    variants = list(family.variants)
    by = {lang: [family.label(v) for v in emphasising(family, lang, variants)] for lang in languages}
    return {lang: label(lang) + (f" · {', '.join(names)}" if names else "") for lang, names in by.items()}
