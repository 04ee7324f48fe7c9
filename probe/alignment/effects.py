"""What fine-tuning changed: variant against variant, regional languages against the rest, dose and response.

Everything starts from item scores: items[variant, language] is float64 (n, n_states), row i the same meaning
in every table. A contrast is a signed mean of such tables, so it is itself (n, n_states), one number per
meaning, and one bootstrap and one set of sign flips serve all its languages and states at once.

With d(v, w, l) = items[v, l] - items[w, l], base the family's baseline, and P the languages that v does not
emphasise (its placebo languages), without l itself:

    simple                                  d(v, w, l), for every pair, the later of the family's order first
    did, control                            d(v, base, l) - d(control, base, l)  =  d(v, control, l)
    did, placebo languages                  d(v, base, l) - mean over m in P of d(v, base, m)
    did, control and placebo languages      d(v, control, l) - mean over m in P of d(v, control, m)

The first did removes what any fine-tuning does to language l, but not what v does to every language (its own
placebo rows show that); the second removes what v does to every language, but not what any fine-tuning does
to l; the third removes both, and what is left there is regional. Without the control only the second can be
had. Each contrast of a placebo language is reported too, marked `placebo`: where it differs from 0, the form
does not remove what it is meant to.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from probe.families import Family
from probe.stats import resampling

Items = Mapping[tuple[str, str], np.ndarray]  # (variant, language) -> float64 (n, n_states)

PLACEBO = "placebo languages"
Q_VALUE = (
    "Benjamini-Hochberg over variants, languages and states of one contrast, stimuli, position and metric"
)
P_VALUE = "sign flips of the meanings' differences, two-sided; p_max: of the largest over the states"
COLUMNS = (
    "variant_a",
    "variant_b",
    "language",
    "stimuli",
    "position",
    "metric",
    "state",
    "diff",
    "ci_low",
    "ci_high",
    "p_value",
    "q_value",
    "n",
    "contrast",
    "reference",
    "placebo",
    "p_max",
)


@dataclass(frozen=True)
class Contrast:
    """Variant a against variant b. differences: language -> (n, n_states); placebo: those of its languages
    that a is not meant for."""

    a: str
    b: str
    kind: str  # "simple" or "did"
    reference: str  # what a did was taken against; empty for a simple difference
    differences: dict[str, np.ndarray]
    placebo: frozenset[str] = frozenset()


def _checked(items: Items, family: Family) -> list[str]:
    """The measured variants in the family's order. Raises ValueError where two tables cannot be paired."""
    shape = next(iter(items.values())).shape if items else ()
    for (variant, language), scores in items.items():
        if variant not in family.variants:
            raise ValueError(f"{variant} is no variant of {family.name}")
        if scores.shape != shape or scores.ndim != 2 or len(scores) < 2:
            raise ValueError(f"{variant}, {language}: item scores {scores.shape}, elsewhere {shape}")
        if not np.isfinite(scores).all():
            raise ValueError(f"{variant}, {language}: an item score is not finite")
    measured = {variant for variant, _ in items}
    return [variant for variant in family.variants if variant in measured]


def _changes(items: Items, a: str, b: str) -> dict[str, np.ndarray]:
    """Language -> a minus b, where both were measured."""
    languages = [language for variant, language in items if variant == a and (b, language) in items]
    return {language: items[a, language] - items[b, language] for language in languages}


def simple_contrasts(items: Items, family: Family) -> Iterator[Contrast]:
    """Every pair of variants, the one that comes later in the family's order minus the earlier one."""
    variants = _checked(items, family)
    for place, a in enumerate(variants):
        for b in variants[:place]:
            yield Contrast(a, b, "simple", "", _changes(items, a, b))


def did_contrasts(items: Items, family: Family) -> Iterator[Contrast]:
    """Every variant that emphasises languages, in the three forms that the module describes."""
    variants = _checked(items, family)
    for a in variants:
        emphasised = family.variants[a].emphasises
        if not emphasised or a in (family.baseline, family.control):
            continue
        if family.control in variants:
            changes = _changes(items, a, family.control)
            placebo = frozenset(changes) - frozenset(emphasised)
            name = f"control:{family.control}"
            yield Contrast(a, family.control, "did", name, changes, placebo)
            yield Contrast(a, family.control, "did", f"{name}, {PLACEBO}", _beyond(changes, placebo), placebo)
        if family.baseline in variants:
            changes = _changes(items, a, family.baseline)
            placebo = frozenset(changes) - frozenset(emphasised)
            yield Contrast(a, family.baseline, "did", PLACEBO, _beyond(changes, placebo), placebo)


def _beyond(changes: dict[str, np.ndarray], placebo: frozenset[str]) -> dict[str, np.ndarray]:
    """Each language's change minus the mean change of the placebo languages other than itself."""
    beyond = {}
    for language, change in changes.items():
        others = [changes[other] for other in changes if other in placebo and other != language]
        if others:
            beyond[language] = change - np.mean(others, axis=0)
    return beyond


def tested(contrast: Contrast) -> pd.DataFrame:
    """One row per language and state: mean difference, 95 % BCa interval over meanings, sign-flip p for that
    state (`p_value`) and for the largest of the language's states (`p_max`)."""
    stacked = np.stack(list(contrast.differences.values()), axis=1)  # (n, n_languages, n_states)
    n, n_languages, n_states = stacked.shape
    flat = stacked.reshape(n, -1)
    diff, low, high = resampling.interval(lambda w: w @ flat / w.sum(axis=1, keepdims=True), n)
    tests = [resampling.sign_flip(differences) for differences in contrast.differences.values()]
    languages = np.repeat(list(contrast.differences), n_states)
    return pd.DataFrame(
        {
            "variant_a": contrast.a,
            "variant_b": contrast.b,
            "language": languages,
            "state": np.tile(np.arange(n_states), n_languages),
            "diff": diff,
            "ci_low": low,
            "ci_high": high,
            "p_value": np.concatenate([pointwise for pointwise, _ in tests]),
            "n": n,
            "contrast": contrast.kind,
            "reference": contrast.reference,
            "placebo": [language in contrast.placebo for language in languages],
            "p_max": np.concatenate([adjusted for _, adjusted in tests]),
        }
    )


def variant_effects(items: Items, family: Family, stimuli: str, position: str, metric: str) -> pd.DataFrame:
    """All contrasts of one kind of stimuli, read position and metric: the rows of variant_effects.csv.

    Columns are COLUMNS; `diff` is in the metric's unit, `reference` and `placebo` as the module describes.
    Returns no row where fewer than two variants were measured. Raises ValueError where the tables of two
    variants or languages differ in shape, or a score is not finite.
    """
    contrasts = [*simple_contrasts(items, family), *did_contrasts(items, family)]
    tables = [tested(contrast) for contrast in contrasts if contrast.differences]
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.concat(tables, ignore_index=True).round(9)  # below that is the noise of the summation order
    table["q_value"] = table.groupby("contrast")["p_value"].transform(
        lambda p: resampling.benjamini_hochberg(p.to_numpy())
    )
    return table.assign(stimuli=stimuli, position=position, metric=metric).reindex(columns=list(COLUMNS))


@dataclass(frozen=True)
class Point:
    """One variant and language whose share of the fine-tuning mix is published."""

    variant: str
    language: str
    reference: str  # the variant that the effect and the dose are taken against
    share: float  # per cent of the mix
    dose: float  # share, less the reference's own where that is published


def dosed_points(items: Items, family: Family) -> list[Point]:
    """Where the control was measured and publishes a share, doses and effects are taken against it, and it is
    no point itself; else against the baseline, which has seen no fine-tuning at all."""
    variants = _checked(items, family)
    control = family.control if family.control in variants else None
    against = family.variants[control].share if control else {}
    reference = control if control and against else family.baseline
    return [
        Point(variant, language, reference, share, share - against.get(language, 0.0))
        for variant in variants
        if variant not in (reference, family.baseline)
        for language, share in family.variants[variant].share.items()
        if {(variant, language), (reference, language)} <= items.keys()
        and (not against or language in against)
    ]


def _level(items: Items, points: list[Point]) -> np.ndarray:
    """(n, n_states): mean over every variant and language that points or references hold, each once.

    With equal weights the noise of this mean and that of any point's effect are uncorrelated; were the
    reference counted once for every point, the state chosen would favour negative effects.
    """
    cells = [(p.variant, p.language) for p in points] + [(p.reference, p.language) for p in points]
    return np.mean([items[cell] for cell in dict.fromkeys(cells)], axis=0)


def _peaks(level: np.ndarray) -> np.ndarray:
    """level: (m, n_states). Returns (m,): the state with the highest, the embedding left aside."""
    return level[:, 1:].argmax(axis=1) + 1 if level.shape[1] > 1 else np.zeros(len(level), int)


def _rank_correlation(effects: np.ndarray, dose: np.ndarray) -> np.ndarray:
    """Spearman's rho of every row of effects (m, k) with dose (k,); 0 where a row does not vary."""
    ranks, of_dose = rankdata(effects, axis=1), rankdata(dose)
    ranks, of_dose = ranks - ranks.mean(axis=1, keepdims=True), of_dose - of_dose.mean()
    spread = np.sqrt((ranks**2).sum(axis=1) * (of_dose**2).sum())
    return np.divide(ranks @ of_dose, spread, out=np.zeros(len(ranks)), where=spread > 0)


def dose_response(items: Items, family: Family, state: int | None = None) -> pd.DataFrame | None:
    """Effect against the published share of each language in the fine-tuning mix.

    The effects are read at `state`; without it, where the mean score of all that is compared, points and
    references alike, is highest (never state 0, the embedding). That is a choice by level, which favours
    neither sign of an effect (see `_level`), made anew inside every resample.

    Returns None where fewer than three points, each a variant and a language, have a published share, or all
    have one dose. Else one row per `quantity`:

        effect      of one variant and language, with its `share` and `dose`
        slope       least squares of effect on dose, in the metric's unit per percentage point
        spearman    rank correlation of effect and dose
        placebo     mean effect of the points whose own share is 0.0 %

    with `reference`, `state` (that of all meanings drawn once), value, ci_low, ci_high (95 % BCa over
    meanings: uncertainty for these languages, not for languages at large), n meanings and `points` that
    entered. Against a control that has a share of its own, a language at 0.0 % has a negative dose: a placebo
    above 0 is then an effect that the dose cannot have made.
    """
    points = dosed_points(items, family)
    dose = np.array([point.dose for point in points])
    if len(points) < 3 or np.ptp(dose) == 0:
        return None
    dosed = np.stack([items[point.variant, point.language] for point in points], axis=1)
    against = np.stack([items[point.reference, point.language] for point in points], axis=1)
    effects, level = dosed - against, _level(items, points)  # effects: (n, n_points, n_states)
    n, n_points, n_states = effects.shape
    untreated = np.array([point.share == 0 for point in points])

    def chosen(weights: np.ndarray) -> np.ndarray:
        return np.full(len(weights), state) if state is not None else _peaks(weights @ level)

    def statistics(weights: np.ndarray) -> np.ndarray:
        curves = (weights @ effects.reshape(n, -1)).reshape(-1, n_points, n_states)
        at_peak = np.take_along_axis(curves, chosen(weights)[:, None, None], axis=2)[:, :, 0]
        at_peak /= weights.sum(axis=1, keepdims=True)
        centred = dose - dose.mean()
        summaries = [at_peak @ centred / (centred @ centred), _rank_correlation(at_peak.round(12), dose)]
        if untreated.any():
            summaries.append(at_peak[:, untreated].mean(axis=1))
        return np.column_stack([at_peak, *summaries])

    value, low, high = resampling.interval(statistics, n)
    summaries = ("slope", "spearman", "placebo")[: len(value) - n_points]
    entered = {"slope": n_points, "spearman": n_points, "placebo": int(untreated.sum())}
    table = pd.DataFrame(
        [vars(point) for point in points] + [{"reference": points[0].reference}] * len(summaries)
    )
    return table.assign(
        state=chosen(np.ones((1, n)))[0],
        quantity=["effect"] * n_points + list(summaries),
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
        points=[1] * n_points + [entered[name] for name in summaries],
    ).round(9)
