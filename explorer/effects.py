"""Effects: what one variant changes against another."""

from typing import Any

import pandas as pd

from explorer import controls, figures, lines, rows
from explorer.controls import Control
from explorer.figures import Mark, Theme, View
from explorer.lines import Series
from explorer.tables import Results, subset
from probe.conventions import POSITIONS, PRIMARY_POSITION
from probe.families import Family
from probe.languages import TARGETS, label

KEY, TITLE = "effects", "Effects"
HOW = (
    "What a variant changes: its score minus another variant's, paired by meaning, with the 95 % interval; "
    "above 0 it aligns the language better. A difference in differences also takes away what happens to a "
    "control variant or to languages that the variant does not emphasise."
)
PLOTS = ("by_state", "at_state", "dose")
NOTE = "below"
SIMPLE = "simple"
KEYS = ("stimuli", "position", "metric")


def settings(results: Results, name: str) -> list[Control]:
    table, family = results.table(name, "variant_effects"), results.family(name)
    pairs = _pairs(table, family)
    contrasts = _offered(table)
    return [
        controls.one("pair", "Difference", list(pairs), labels=pairs),
        controls.one("contrast", "Contrast", contrasts, labels={SIMPLE: "simple difference"}),
        controls.many("languages", "Languages", rows.in_order(table.language.unique(), TARGETS), TARGETS),
        controls.one(
            "metric", "Metric", rows.in_order(table.metric.unique(), rows.METRICS), labels=rows.METRICS
        ),
        controls.one(
            "position",
            "Position read",
            rows.in_order(table.position.unique(), (PRIMARY_POSITION, *POSITIONS)),
        ),
        controls.one("stimuli", "Stimuli", rows.kinds(table)),
        controls.state(int(table.state.max()) + 1, _largest(table, next(iter(pairs), ""))),
    ]


def _pairs(table: pd.DataFrame, family: Family) -> dict[str, str]:
    """``fire-base`` -> ``Fire − Base``; the variants meant for some languages against the baseline first."""
    named = rows.labels(family)
    found = table[["variant_a", "variant_b"]].drop_duplicates().itertuples(index=False, name=None)

    def rank(pair: tuple[str, str]) -> tuple[bool, bool]:
        emphasises = pair[0] in family.variants and family.variants[pair[0]].emphasises
        return not emphasises, pair[1] != family.baseline

    return {f"{a}-{b}": f"{named.get(a, a)} − {named.get(b, b)}" for a, b in sorted(found, key=rank)}


def _contrasts(table: pd.DataFrame) -> pd.Series:
    """One name per contrast: simple, or the difference in differences with what it was taken against."""
    if "reference" not in table:
        return table.contrast.astype(str)
    return table.contrast.astype(str).where(table.contrast == SIMPLE, "did: " + table.reference.astype(str))


def _offered(table: pd.DataFrame) -> list[str]:
    columns = [column for column in ("contrast", "reference") if column in table]
    distinct: pd.DataFrame = table.loc[:, columns].drop_duplicates()
    return list(dict.fromkeys(_contrasts(distinct)))


def _largest(table: pd.DataFrame, pair: str) -> int:
    """Where the page opens: the state at which the pair differs most, over languages."""
    first, _, second = pair.partition("-")
    own = subset(table, variant_a=first, variant_b=second, contrast=SIMPLE, position=PRIMARY_POSITION)
    means = [(abs(part["diff"].mean()), int(str(state))) for state, part in own.groupby("state")]
    return max(means)[1] if means else 0


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family, audit = results.family(name), results.audit(name)
    table = results.table(name, "variant_effects")
    fixed = {key: chosen[key] for key in KEYS}
    first, _, second = chosen["pair"].partition("-")
    found = subset(table, variant_a=first, variant_b=second, **fixed)
    offered = _offered(found)
    found = found.loc[_contrasts(found) == chosen["contrast"]].assign(value=lambda rows_: rows_["diff"])
    if found.empty:
        pair = _pairs(table, family)[chosen["pair"]]
        return View(
            {}, {}, f"Not measured: {pair} as {chosen['contrast']}; there is: {', '.join(offered) or 'none'}."
        )
    found = rows.with_blocks(found.sort_values(["language", "state"]), audit, **fixed)
    drawn = _draw(family, table, rows.with_hover(found), chosen, look)
    tables = {"by_state": found.loc[found.language.isin(chosen["languages"])], "at_state": found}
    sources = ["variant_effects.csv"]
    note = [f"{fixed['stimuli'].capitalize()} read at {fixed['position']}, n = {found.n.min()} meanings."]
    note.append(_placebo(found))
    if (dose := _dose(results, name, fixed, look)) is not None:
        drawn["dose"], tables["dose"] = dose
        sources.append("dose_response.csv")
        note.append("Dose: the published share of a language in the fine-tuning mix.")
    else:
        note.append(
            "Dose-response: not measured, no share of the languages in the fine-tuning mix is published."
        )
    note += [rows.blocked_note(tables["by_state"], audit, "points"), rows.source(results, name, *sources)]
    return View(drawn, tables, " ".join(part for part in note if part))


def _draw(
    family: Family, table: pd.DataFrame, found: pd.DataFrame, chosen: dict[str, Any], look: Theme
) -> dict[str, figures.Figure]:
    first = chosen["pair"].partition("-")[0]
    of = figures.marks(family, look).get(first)
    pair = _pairs(table, family)[chosen["pair"]]
    mark = Mark(pair, of.colour if of else look.ink, of.symbol if of else "circle")
    series, n_states = [Series(mark, found)], int(table.state.max()) + 1
    languages = rows.in_order(found.language.unique(), TARGETS)
    titles = lines.titles(family, languages)
    shown = [language for language in languages if language in chosen["languages"]]
    unit = f"difference in {rows.METRICS.get(chosen['metric'], chosen['metric'])}"
    stem = f"{family.name}_effects_{chosen['pair']}"
    setting = lines.Setting(look, n_states, stem, unit, titles, KEY)
    return {
        "by_state": lines.panels(setting, series, shown),
        "at_state": lines.forest(setting, series, languages, chosen["state"]),
    }


def _placebo(found: pd.DataFrame) -> str:
    if "placebo" not in found or not found.placebo.any():
        return ""
    names = ", ".join(label(language) for language in found.loc[found.placebo.astype(bool)].language.unique())
    return f"Placebo, languages that the variant does not emphasise: {names}."


def _dose(
    results: Results, name: str, fixed: dict[str, str], look: Theme
) -> tuple[figures.Figure, pd.DataFrame] | None:
    """Effect against dose, a point per variant and language; None where no share was published."""
    if not results.has(name, "dose_response.csv"):
        return None
    table = subset(results.table(name, "dose_response"), **fixed)
    points = subset(table, quantity="effect")
    if points.empty:
        return None
    marks = figures.marks(results.family(name), look)
    traces = [
        _points(marks[str(variant)], part)
        for variant, part in points.groupby("variant", observed=True)
        if len(part)
    ]
    words = "   ".join(
        f"{row.quantity} {row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]"
        for row in rows.records(table.loc[table.quantity != "effect"])
    )
    drawn = figures.figure(
        traces,
        look,
        f"{name}_dose_response",
        height=380,
        xaxis=figures.axis(
            look, title={"text": "dose: share in the fine-tuning mix beyond the reference's, % points"}
        ),
        yaxis=figures.axis(look, title={"text": f"effect at state {points.state.iloc[0]}"}),
        annotations=[figures.note(words, look, x=0, y=1.0, yshift=4)],
        margin={"l": 60, "r": 16, "t": 76, "b": 56},
    )
    return drawn, table


def _points(mark: Mark, part: pd.DataFrame) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": mark.label,
        "x": figures.numbers(part.dose),
        "y": figures.numbers(part.value),
        "text": part.language.astype(str).tolist(),
        "textposition": "middle right",
        "marker": {"color": mark.colour, "symbol": mark.symbol, "size": 9},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": figures.numbers(part.ci_high - part.value),
            "arrayminus": figures.numbers(part.value - part.ci_low),
            "thickness": 1.4,
            "width": 0,
        },
        "hovertemplate": "%{text}: %{y:.3f} at a dose of %{x} points<extra></extra>",
    }
