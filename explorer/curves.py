"""Curves: alignment with English, state by state."""

from typing import Any

import numpy as np
import pandas as pd

from explorer import controls, figures, lines, rows
from explorer.controls import Control
from explorer.figures import Theme, View
from explorer.lines import Extra, Series
from explorer.tables import Results, subset
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD, commitment_layer
from probe.conventions import POSITIONS, PRIMARY_METRIC, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import TARGETS
from probe.stats import resampling

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
COMMITMENT = f"commits: {THRESHOLD:g} for {CONSECUTIVE} states"


def settings(results: Results, name: str) -> list[Control]:
    table, family = results.table(name, "alignment_summary"), results.family(name)
    variants = rows.in_order(table.variant.unique(), family.variants)
    positions = rows.in_order(table.position.unique(), (PRIMARY_POSITION, *POSITIONS))
    concepts = rows.concepts(results, name)
    primary = subset(table, metric=PRIMARY_METRIC, position=PRIMARY_POSITION)
    highest = primary.groupby("state").value.mean().idxmax() if len(primary) else 0
    return [
        controls.many(
            "variants", "Variants", variants, results.variants or variants, labels=rows.labels(family)
        ),
        controls.many("languages", "Languages", rows.in_order(table.language.unique(), TARGETS), SHOWN),
        controls.one(
            "metric", "Metric", rows.in_order(table.metric.unique(), rows.METRICS), labels=rows.METRICS
        ),
        controls.one("position", "Position read", positions),
        controls.one("stimuli", "Stimuli", rows.kinds(table)),
        controls.one(
            "concept", "Concept", [AVERAGE, *concepts], labels={AVERAGE: "average over all"} | concepts
        ),
        controls.state(int(table.state.max()) + 1, int(highest)),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    audit, concept = results.audit(name), chosen["concept"]
    fixed = {key: chosen[key] for key in STORED} if concept == AVERAGE else STORED
    table = results.table(name, "alignment_summary")
    found = subset(table, variant=chosen["variants"], **fixed)
    if found.empty:
        return View({}, {}, f"Not measured: {fixed['metric']} of {fixed['stimuli']} at {fixed['position']}.")
    if concept != AVERAGE:
        found = _of_concept(results.curves(name), concept, found)
    found = rows.with_blocks(found.sort_values(["variant", "language", "state"]), audit, **fixed)
    marked = _marked(results, name, concept, fixed, found)
    n_states = int(table.state.max()) + 1
    drawn = _draw(
        results.family(name), rows.with_hover(found), marked, chosen, look, fixed["metric"], n_states
    )
    shown = found.loc[found.language.isin(chosen["languages"])]
    apart = [table.assign(mark=mark).drop(columns="hover") for mark, table in marked.items()]
    apart = [table.loc[table.language.isin(chosen["languages"])] for table in apart]
    tables = {"by_state": pd.concat([shown.assign(mark="curve"), *apart]), "at_state": found}
    note = [_caption(fixed, shown, concept), _said(marked, fixed, chosen)]
    note += [rows.blocked_note(shown, audit, "points"), rows.source(results, name, "alignment_summary.csv")]
    return View(drawn, tables, " ".join(part for part in note if part))


def _of_concept(curves: dict, concept: str, averages: pd.DataFrame) -> pd.DataFrame:
    """One sentence's curve in place of the average; its null is that of the probes, which all share."""
    found = averages[
        ["variant", "language", "stimuli", "position", "metric", "state", "null_low", "null_high"]
    ]
    try:
        values = [
            curves[variant][concept][language][state]
            for variant, language, state in zip(found.variant, found.language, found.state, strict=True)
        ]
    except (KeyError, IndexError) as error:
        raise ProbeError(
            f"alignment_curves.json and alignment_summary.csv do not fit together: {error}"
        ) from error
    return found.assign(concept_id=concept, value=values, n=1)


def _marked(
    results: Results, name: str, concept: str, fixed: dict[str, str], found: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """What stands beside the curves: mark -> rows of variant, language, x, y, hover."""
    at = found.set_index(["variant", "language", "state"]).value
    marked = {}
    if concept == AVERAGE and results.has(name, "peaks.csv"):
        marked["peak, with interval"] = _peaks(subset(results.table(name, "peaks"), **fixed), at)
    marked[COMMITMENT] = _commitments(results, name, concept, fixed, found, at)
    if fixed == STORED:
        marked["after the final norm"] = _after_norm(results, name, concept, found)
    return {mark: table for mark, table in marked.items() if len(table)}


def _cells(found: pd.DataFrame) -> list[tuple[str, str]]:
    """The variants and languages in it."""
    return list(dict.fromkeys(zip(found.variant, found.language, strict=True)))


def _peaks(peaks: pd.DataFrame, at: pd.Series) -> pd.DataFrame:
    cells = [
        {
            "variant": row.variant,
            "language": row.language,
            "x": row.peak_state,
            "x_low": row.peak_state_ci_low,
            "x_high": row.peak_state_ci_high,
            "y": at[row.variant, row.language, row.peak_state],
            "hover": f"peak at state {row.peak_state} [{row.peak_state_ci_low}, {row.peak_state_ci_high}]; "
            f"cross-fitted {row.peak:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]",
        }
        for row in rows.records(peaks)
        if (row.variant, row.language, row.peak_state) in at.index
    ]
    return pd.DataFrame(cells)


def _commitments(
    results: Results, name: str, concept: str, fixed: dict[str, str], found: pd.DataFrame, at: pd.Series
) -> pd.DataFrame:
    """Of a concept the state at which it commits, of the average the median over concepts."""
    cells = []
    if concept != AVERAGE:
        for variant, language in _cells(found):
            own = found.loc[(found.variant == variant) & (found.language == language)]
            cells.append((variant, language, commitment_layer(own.value.to_numpy()), "commits at state"))
    elif fixed["stimuli"] == "probes" and results.has(name, "commitment_sensitivity.csv"):
        table = results.table(name, "commitment_sensitivity")
        table = subset(table, threshold=THRESHOLD, consecutive=CONSECUTIVE)
        for row in rows.records(subset(table, position=fixed["position"], metric=fixed["metric"])):
            state = None if np.isnan(row.censored_median) else int(row.censored_median)
            cells.append(
                (row.variant, row.language, state, f"{row.committed} of {row.n} concepts commit; median")
            )
    return pd.DataFrame(
        [
            {"variant": v, "language": lang, "x": state, "y": at[v, lang, state], "hover": f"{words} {state}"}
            for v, lang, state, words in cells
            if state is not None and (v, lang, state) in at.index
        ]
    )


def _after_norm(results: Results, name: str, concept: str, found: pd.DataFrame) -> pd.DataFrame:
    """The cosine after the model's final norm: of the concept, or the mean and its interval."""
    normed = results.json(name, "alignment_curves").get("post_norm", {})
    cells = []
    for variant, language in _cells(found):
        of = {c: by[language] for c, by in normed.get(variant, {}).items() if language in by}
        if concept in of:
            cells.append((variant, language, of[concept], ""))
        elif concept == AVERAGE and len(of) > 1:
            items = np.array(list(of.values()))[:, None]
            mean, low, high = resampling.interval(
                lambda w, x=items: w @ x / w.sum(1, keepdims=True), len(items)
            )
            cells.append((variant, language, mean[0], f" [{low[0]:.3f}, {high[0]:.3f}]"))
    x = int(found.state.max()) + 1.3
    return pd.DataFrame(
        [
            {
                "variant": v,
                "language": lang,
                "x": x,
                "y": y,
                "hover": f"after the final norm: {y:.3f}{interval}",
            }
            for v, lang, y, interval in cells
        ]
    )


SYMBOLS = {
    "peak, with interval": ("star", 12),
    COMMITMENT: ("line-ns-open", 20),
    "after the final norm": (None, 9),
}


def _draw(
    family: Family,
    found: pd.DataFrame,
    marked: dict[str, pd.DataFrame],
    chosen: dict[str, Any],
    look: Theme,
    metric: str,
    n_states: int,
) -> dict[str, figures.Figure]:
    marks = figures.marks(family, look)
    series = [Series(marks[v], found.loc[found.variant == v]) for v in chosen["variants"]]
    languages = rows.in_order(found.language.unique(), TARGETS)
    titles = lines.titles(family, languages)
    extras = [
        Extra(
            label,
            SYMBOLS[label][0] or marks[v].symbol,
            marks[v],
            table.loc[table.variant == v],
            SYMBOLS[label][1],
        )
        for label, table in marked.items()
        for v in chosen["variants"]
    ]
    shown = [language for language in languages if language in chosen["languages"]]
    setting = lines.Setting(
        look, n_states, f"{family.name}_curves", rows.METRICS.get(metric, metric), titles, KEY
    )
    return {
        "by_state": lines.panels(setting, series, shown, extras, "after the final norm" in marked),
        "at_state": lines.forest(setting, series, languages, chosen["state"]),
    }


def _caption(fixed: dict[str, str], shown: pd.DataFrame, concept: str) -> str:
    n = f"{shown.n.min()}" if shown.n.nunique() == 1 else f"{shown.n.min()} to {shown.n.max()}"
    if concept == AVERAGE:
        return f"{fixed['stimuli'].capitalize()} read at {fixed['position']}, n = {n} meanings."
    return (
        "One sentence has no interval; the grey is the null of the average over the probes. Single concepts "
        "are stored as raw cosine, at mean."
    )


def _said(marked: dict[str, pd.DataFrame], fixed: dict[str, str], chosen: dict[str, Any]) -> str:
    """How many of the curves shown commit: never is a result, too."""
    if fixed["stimuli"] != "probes" or fixed["metric"] not in ("cosine", PRIMARY_METRIC):
        return ""
    cells = len(chosen["variants"]) * len(chosen["languages"])
    committed = marked.get(COMMITMENT)
    shown = 0 if committed is None else int(committed.language.isin(chosen["languages"]).sum())
    return f"{shown} of {cells} curves commit ({THRESHOLD:g} for {CONSECUTIVE} states), the others never."
