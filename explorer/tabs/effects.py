"""Effects: what one variant changes against another."""

from typing import Any

import pandas as pd

from explorer import controls
from explorer.controls import Control
from explorer.data import DOSE, EFFECTS, Results, subset
from explorer.plots import look as looks
from explorer.plots import states
from explorer.plots.dose import dose
from explorer.plots.forest import forest
from explorer.plots.look import Drawn, Mark, Theme, View
from explorer.plots.states import Series
from explorer.tabs import rows
from probe.conventions import PRIMARY_POSITION, metric_label
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
    table, family = results.table(name, EFFECTS), results.family(name)
    pairs, contrasts = _pairs(table, family), _offered(table)
    return [
        controls.one("pair", "Difference", list(pairs), labels=pairs),
        controls.one("contrast", "Contrast", contrasts, labels={SIMPLE: "simple difference"}),
        controls.many("languages", "Languages", rows.in_order(table.language.unique(), TARGETS), TARGETS),
        *rows.measures(table),
        controls.state(int(table.state.max()) + 1, _largest(table, next(iter(pairs), ""))),
    ]


def _pairs(table: pd.DataFrame, family: Family) -> dict[str, str]:
    """``fire-base`` -> ``Fire − Base``; the variants meant for some languages against the baseline first."""
    named = rows.labels(family)
    there = table[["variant_a", "variant_b"]].drop_duplicates().itertuples(index=False, name=None)

    def rank(pair: tuple[str, str]) -> tuple[bool, bool]:
        emphasises = pair[0] in family.variants and family.variants[pair[0]].emphasises
        return not emphasises, pair[1] != family.baseline

    return {f"{a}-{b}": f"{named.get(a, a)} − {named.get(b, b)}" for a, b in sorted(there, key=rank)}


def _contrasts(table: pd.DataFrame) -> pd.Series:
    """One name per contrast: simple, or the difference in differences with what it was taken against."""
    contrast = table.contrast.astype(str)
    reference = table.reference.astype(str) if "reference" in table else ""  # published curves know of none
    return contrast.where(contrast == SIMPLE, "did: " + reference)


def _offered(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(_contrasts(table)))


def _largest(table: pd.DataFrame, pair: str) -> int:
    """Where the page opens: the state at which the pair differs most, over languages."""
    first, _, second = pair.partition("-")
    own = subset(table, variant_a=first, variant_b=second, contrast=SIMPLE, position=PRIMARY_POSITION)
    means = [(abs(part["diff"].mean()), int(str(state))) for state, part in own.groupby("state")]
    return max(means, default=(0, 0))[1]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    family, table = results.family(name), results.table(name, EFFECTS)
    measure = {key: chosen[key] for key in KEYS}
    first, _, second = chosen["pair"].partition("-")
    compared = subset(table, variant_a=first, variant_b=second, **measure)
    offered = ", ".join(_offered(compared)) or "none"
    effects = compared.loc[_contrasts(compared) == chosen["contrast"]].sort_values(["language", "state"])
    if effects.empty:
        pair = _pairs(table, family)[chosen["pair"]]
        return View({}, {}, f"Not measured: {pair} as {chosen['contrast']}; there is: {offered}.")
    if absent := rows.untold(effects, measure["stimuli"], chosen["languages"]):
        return View({}, {}, absent)
    effects = effects.assign(value=effects["diff"])
    drawn = _draw(family, table, rows.with_hover(effects), chosen, look)
    tables = {"by_state": subset(effects, language=chosen["languages"]), "at_state": effects}
    sources, doses = [EFFECTS], _doses(results, name, measure)
    note = [
        f"{measure['stimuli'].capitalize()} read at {measure['position']}, n = {effects.n.min()} meanings."
    ]
    note.append(_placebo(effects))
    if len(doses):
        drawn["dose"], tables["dose"] = dose(doses, family, look), doses
        sources.append(DOSE)
        note.append("Dose: the published share of a language in the fine-tuning mix.")
    else:
        note.append("Dose-response: not measured, no share of the languages in the mix is published.")
    note.append(rows.unclaimable(results, name, tables["by_state"], "points"))
    note.append(rows.source(results, name, *sources))
    return View(drawn, tables, " ".join(part for part in note if part))


def _draw(
    family: Family, table: pd.DataFrame, effects: pd.DataFrame, chosen: dict[str, Any], look: Theme
) -> dict[str, Drawn]:
    of = looks.marks(family, look).get(chosen["pair"].partition("-")[0], Mark("", look.ink, "circle"))
    pair, n_states = _pairs(table, family)[chosen["pair"]], int(table.state.max()) + 1
    series = [Series(Mark(pair, of.colour, of.symbol), effects)]
    languages = rows.in_order(effects.language.unique(), TARGETS)
    unit, stem = f"difference in {metric_label(chosen['metric'])}", f"{family.name}_effects_{chosen['pair']}"
    setting = states.Setting(look, n_states, stem, unit, states.titles(family, languages), KEY)
    shown = [language for language in languages if language in chosen["languages"]]
    return {
        "by_state": states.panels(setting, series, shown),
        "at_state": forest(setting, series, languages, chosen["state"]),
    }


def _placebo(effects: pd.DataFrame) -> str:
    if "placebo" not in effects or not effects.placebo.any():
        return ""
    codes = effects.loc[effects.placebo.astype(bool)].language.unique()
    return f"Placebo, languages that the variant does not emphasise: {', '.join(map(label, codes))}."


def _doses(results: Results, name: str, measure: dict[str, str]) -> pd.DataFrame:
    """Effects against dose; none where no share was published."""
    if not results.has(name, DOSE):
        return pd.DataFrame()
    table = subset(results.table(name, DOSE), **measure)
    return table if (table.quantity == "effect").any() else pd.DataFrame()
