"""Curves: alignment with English, state by state."""

from typing import Any

import numpy as np
import pandas as pd

from explorer import controls
from explorer.commitments import calibrated, rates
from explorer.controls import Control
from explorer.data import CURVES, PEAKS, SENSITIVITY, SUMMARY, Results, each, subset
from explorer.plots import look as looks
from explorer.plots import states
from explorer.plots.forest import forest
from explorer.plots.look import Drawn, Theme, View
from explorer.plots.states import Extra, Series
from explorer.tabs import rows
from probe.alignment.commitment import CONSECUTIVE, COSINE, SHARE, THRESHOLD, commitment_layer, of_probes
from probe.audit import door
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION, metric_label
from probe.errors import ProbeError
from probe.languages import TARGETS
from probe.stats import resampling
from probe.tables import SUMMARY as LEVELS

KEY, TITLE = "curves", "Curves"
HOW = (
    "How alike English and each language are at every state of the residual stream. A line is a variant, "
    "its band the 95 % interval, grey is what unrelated sentences score: a curve inside the grey says "
    "nothing. Point at a state, or move the slider, to compare all languages there."
)
PLOTS = ("by_state", "at_state")
NOTE = "below"
AVERAGE = "average"
SHOWN = ("sw", "hi", "am")  # the languages of the original study's figure
STORED = {"stimuli": "probes", "position": PRIMARY_POSITION, "metric": "cosine"}  # of single sentences
PEAK, NORMED = "peak, with interval", "after the final norm"
AGAINST = f"commits: beats {SHARE:.0%} of its rivals"
COMMITMENT = f"commits: {THRESHOLD:g} for {CONSECUTIVE} states"
# None: the variant's own
SYMBOLS = {PEAK: ("star", 12), AGAINST: ("line-ns", 20), COMMITMENT: ("line-ne", 12), NORMED: (None, 9)}


def settings(results: Results, name: str) -> list[Control]:
    table, family = results.table(name, SUMMARY), results.family(name)
    concepts = rows.concepts(results, name)
    primary = subset(table, metric=PRIMARY_METRIC, position=PRIMARY_POSITION)
    highest = primary.groupby("state").value.mean().idxmax() if len(primary) else 0
    labels = {AVERAGE: "average over all"} | concepts
    return [
        rows.variants(results, family, table.variant.unique()),
        controls.many("languages", "Languages", rows.in_order(table.language.unique(), TARGETS), SHOWN),
        *rows.measures(table),
        controls.one("concept", "Concept", [AVERAGE, *concepts], labels=labels),
        controls.state(int(table.state.max()) + 1, int(highest)),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    concept, table = chosen["concept"], results.table(name, SUMMARY)
    measure = {key: chosen[key] for key in STORED} if concept == AVERAGE else STORED
    levels = subset(table, variant=chosen["variants"], **measure)
    if levels.empty:
        return View({}, {}, "Not measured: {metric} of {stimuli} at {position}.".format(**measure))
    if absent := rows.untold(levels, measure["stimuli"], chosen["languages"]):
        return View({}, {}, absent)
    levels = levels.sort_values(["variant", "language", "state"])
    if concept != AVERAGE:
        levels = _of_concept(results, name, concept, levels)
    marked = _marked(results, name, concept, measure, levels)
    drawn = _draw(results, name, levels, marked, chosen, look, measure["metric"])
    shown = subset(levels, language=chosen["languages"])
    apart = [of.assign(mark=mark).drop(columns="hover") for mark, of in marked.items()]
    apart = [subset(of, language=chosen["languages"]) for of in apart]
    tables = {"by_state": pd.concat([shown.assign(mark="curve"), *apart]), "at_state": levels}
    note = [_caption(measure, shown, concept), _commits(marked, measure, chosen)]
    note += [rows.unclaimable(results, name, shown, "points"), rows.source(results, name, SUMMARY)]
    return View(drawn, tables, " ".join(part for part in note if part))


def _of_concept(results: Results, name: str, concept: str, averages: pd.DataFrame) -> pd.DataFrame:
    """One sentence's curve in place of the average; its null and what may be said of it are the probes'."""
    curves, key = results.curves(name), ["variant", "language", "state"]
    index = pd.MultiIndex.from_product([curves.variants, curves.languages, range(curves.n_states)])
    of = curves.values[:, curves.concepts.index(concept)].ravel()
    wanted = pd.MultiIndex.from_arrays([averages[column] for column in key])
    values = pd.Series(of, index).reindex(wanted).to_numpy()
    if np.isnan(values).any():
        raise ProbeError(f"{CURVES} and {SUMMARY} do not fit together; run: {LEVELS.command(name)}")
    own = ["ci_low", "ci_high", "p_value", "q_value", "p_max", "p_holm", "n_groups"]
    return averages.drop(columns=own, errors="ignore").assign(concept_id=concept, value=values, n=1)


def _marked(
    results: Results, name: str, concept: str, measure: dict[str, str], levels: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """What stands beside the curves: mark -> rows of variant, language, x, y, hover, verdict, reason."""
    marked = {COMMITMENT: _commitments(results, name, concept, measure, levels)}
    marked[AGAINST] = _against_rivals(results, name, concept, measure, levels)
    if concept == AVERAGE and results.has(name, PEAKS):
        marked[PEAK] = _peaks(subset(results.table(name, PEAKS), **measure), levels)
    if measure == STORED:
        marked[NORMED] = _after_norm(results, name, concept, levels)
    return {mark: marked[mark] for mark in SYMBOLS if len(marked.get(mark, ()))}


def _placed(marks: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """Of marks with a state in x, those on a curve shown: as high as it is there, and as claimable, unless
    they have a reason of their own."""
    own = ["variant", "language", "state", "value", *({"verdict", "reason"} - {*marks})]
    there = pd.DataFrame(levels[own]).rename(columns={"state": "x", "value": "y"})
    text = {"variant": str, "language": str}
    return marks.astype(text).merge(there.astype(text), on=["variant", "language", "x"])


def _peaks(peaks: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    state = "peak at state {0.peak_state} [{0.peak_state_ci_low}, {0.peak_state_ci_high}]"
    height = "cross-fitted {0.peak:.3f} [{0.ci_low:.3f}, {0.ci_high:.3f}]"
    marks = peaks.assign(hover=[f"{state}; {height}".format(row) for row in peaks.itertuples()])
    x = {"peak_state": "x", "peak_state_ci_low": "x_low", "peak_state_ci_high": "x_high"}
    kept = ["variant", "language", *x.values(), "hover", "verdict", "reason"]
    return _placed(pd.DataFrame(marks.rename(columns=x)[kept]), levels)


def _cells(levels: pd.DataFrame) -> list[tuple[str, str]]:
    """The variants and languages in it."""
    return list(dict.fromkeys(zip(levels.variant, levels.language, strict=True)))


def _commitments(
    results: Results, name: str, concept: str, measure: dict[str, str], levels: pd.DataFrame
) -> pd.DataFrame:
    """Of a concept the state at which it commits, of the average the median over concepts."""
    cells = []
    if concept != AVERAGE:
        for variant, language in _cells(levels):
            own = subset(levels, variant=variant, language=language)
            cells.append((variant, language, commitment_layer(own.value.to_numpy()), "commits at state"))
    elif measure["stimuli"] == "probes" and results.has(name, SENSITIVITY):
        rule = {"threshold": THRESHOLD, "consecutive": CONSECUTIVE}
        table = of_probes(subset(results.table(name, SENSITIVITY), **rule))
        table = subset(table, criterion=COSINE) if "criterion" in table else table
        for row in each(subset(table, position=measure["position"], metric=measure["metric"])):
            state = None if pd.isna(row.censored_median) else int(row.censored_median)
            cells.append((row.variant, row.language, state, f"{row.committed} of {row.n} commit; median"))
    made = [(v, k, state, f"{words} {state}") for v, k, state, words in cells if state is not None]
    return _placed(pd.DataFrame(made, columns=["variant", "language", "x", "hover"]), levels)


def _against_rivals(
    results: Results, name: str, concept: str, measure: dict[str, str], levels: pd.DataFrame
) -> pd.DataFrame:
    """The same by the calibrated criterion, which is of the primary position; may be claimed what may be of
    the primary measure there."""
    cells, at = [], {key: measure[key] for key in ("stimuli", "position")}
    if at["position"] != PRIMARY_POSITION:
        return pd.DataFrame()
    pairs = set(_cells(levels))
    if concept != AVERAGE:
        variants, languages = (list(dict.fromkeys(each)) for each in zip(*pairs, strict=True))
        table = calibrated(results, name, variants, languages)
        for row in each(table.loc[table.concept_id == concept] if len(table) else table):
            cells.append((row.variant, row.language, row.state, f"beats its rivals from state {row.state}"))
    else:
        for row in each(rates(results, name, stimuli=at["stimuli"])):
            told = f"{row.committed} of {row.n} beat their rivals (chance {row.chance:.0%}); median"
            state = row.censored_median
            cells.append((row.variant, row.language, state, f"{told} {state}"))
    made = [cell for cell in cells if not pd.isna(cell[2]) and cell[:2] in pairs]
    marks = pd.DataFrame(made, columns=["variant", "language", "x", "hover"])
    claims = subset(results.table(name, SUMMARY), **at, metric=PRIMARY_METRIC)
    judged = claims.rename(columns={"state": "x"})
    judged = judged.reindex(columns=["variant", "language", "x", "verdict", "reason"])
    text = {"variant": str, "language": str}
    marks = marks.astype(text | {"x": int}).merge(judged.astype(text), on=["variant", "language", "x"])
    return _placed(marks, levels)


def _after_norm(results: Results, name: str, concept: str, levels: pd.DataFrame) -> pd.DataFrame:
    """The cosine after the model's final norm: of the concept, or the mean and its interval."""
    normed, cells = results.curves(name).post_norm, []
    for variant, language in _cells(levels):
        of = {c: by[language] for c, by in normed.get(variant, {}).items() if language in by}
        if concept in of:
            cells.append((variant, language, of[concept], ""))
        elif concept == AVERAGE and len(of) > 1:
            items = np.array(list(of.values()))[:, None]
            mean, low, high = resampling.interval(
                lambda w, x=items: w @ x / w.sum(1, keepdims=True), len(items)
            )
            cells.append((variant, language, mean[0], f" [{low[0]:.3f}, {high[0]:.3f}]"))
    table = pd.DataFrame(cells, columns=["variant", "language", "y", "interval"])
    hover = [f"{NORMED}: {y:.3f}{interval}" for y, interval in zip(table.y, table.interval, strict=True)]
    table = table.drop(columns="interval").assign(x=int(levels.state.max()) + 1.3, hover=hover)
    return table.assign(verdict=door.DESCRIPTIVE, reason="no null was measured there")


def _draw(
    results: Results, name: str, levels: pd.DataFrame, marked: dict, chosen: dict, look: Theme, metric: str
) -> dict[str, Drawn]:
    family, n_states = results.family(name), int(results.table(name, SUMMARY).state.max()) + 1
    marks, hovering = looks.marks(family, look), rows.with_hover(levels)
    series = [Series(marks[v], subset(hovering, variant=v)) for v in chosen["variants"]]
    languages = rows.in_order(levels.language.unique(), TARGETS)
    extras = [
        Extra(label, symbol or marks[v].symbol, marks[v], subset(marked[label], variant=v), size)
        for label, (symbol, size) in SYMBOLS.items()
        for v in chosen["variants"]
        if label in marked
    ]
    titles, stem = states.titles(family, languages), f"{name}_curves"
    setting = states.Setting(look, n_states, stem, metric_label(metric), titles, KEY)
    shown = [language for language in languages if language in chosen["languages"]]
    return {
        "by_state": states.panels(setting, series, shown, extras, NORMED in marked),
        "at_state": forest(setting, series, languages, chosen["state"]),
    }


def _caption(measure: dict[str, str], shown: pd.DataFrame, concept: str) -> str:
    n = f"{shown.n.min()}" if shown.n.nunique() == 1 else f"{shown.n.min()} to {shown.n.max()}"
    if concept == AVERAGE:
        return f"{measure['stimuli'].capitalize()} read at {measure['position']}, n = {n} meanings."
    return (
        "One sentence has no interval; the grey is the null of the average over the probes. Single concepts "
        "are stored as raw cosine, at mean."
    )


def _commits(marked: dict[str, pd.DataFrame], measure: dict[str, str], chosen: dict[str, Any]) -> str:
    """How many of the curves shown commit: never is a result, too."""
    if measure["metric"] not in ("cosine", PRIMARY_METRIC):
        return ""
    cells = len(chosen["variants"]) * len(chosen["languages"])
    counts = {
        mark: int(marked[mark].language.isin(chosen["languages"]).sum())
        for mark in (AGAINST, COMMITMENT)
        if mark in marked
    }
    if AGAINST not in marked and measure["stimuli"] != "probes":
        return ""
    against = f"{counts.get(AGAINST, 0)} of {cells} curves commit against their rivals; by the original's "
    cosine = f"cosine ({THRESHOLD:g} for {CONSECUTIVE} states) {counts.get(COMMITMENT, 0)} do."
    return against + cosine
