"""What fine-tuning changed: variant against variant, regional languages against the rest, dose and response.

Everything starts from item scores: items[variant, language] is float64 (n, n_states), row i the same meaning
in every table. A contrast is a signed mean of such tables, so it is itself (n, n_states), one number per
meaning, and one set of resamples of the meanings' groups serves all its languages and states at once.

With d(v, w, l) = items[v, l] - items[w, l], base the family's baseline, and P the languages that v does not
emphasise (its placebo languages), without l itself:

    simple                                  d(v, w, l), for every pair, the later of the family's order first
    did, control                            d(v, base, l) - d(control, base, l)  =  d(v, control, l)
    did, placebo languages                  d(v, base, l) - median over m in P of d(v, base, m)
    did, control and placebo languages      d(v, control, l) - median over m in P of d(v, control, m)

The first did removes what any fine-tuning does to language l, but not what v does to every language (its own
placebo rows show that); the second removes what v does to every language, but not what any fine-tuning does
to l; the third removes both. The median, meaning by meaning, since one placebo language that v has forgotten
would lift all the others against a mean. Without the control only the second can be had.

That what is left is *regional* is a statement about a variant, not about one of its languages:
`regional_effects` asks whether its languages stand above its placebo languages, by their ranks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from probe.alignment.multiplicity import over_languages
from probe.families import Family
from probe.stats import resampling
from probe.stats.groups import SEED, Groups
from probe.stats.inference import ROUNDING, holm, infer_mean, mean_variance

Items = Mapping[tuple[str, str], np.ndarray]  # (variant, language) -> float64 (n, n_states)

PLACEBO = "placebo languages"
P_VALUE = (
    "the mean difference over meanings in their groups, two-sided; p_max: of the largest over the states"
)
Q_VALUE = (
    "Benjamini-Hochberg over languages and states of one contrast and reference (p_holm: Holm, of p_max)"
)
CONTRAST = ["variant_a", "variant_b", "contrast", "reference"]  # a family of tests: its languages
MOST_ORDERS = 5040  # of doses over languages: all of seven, and random ones of more


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
    """Each language's change minus the median change of the placebo languages other than itself."""
    beyond = {}
    for language, change in changes.items():
        others = [changes[other] for other in changes if other in placebo and other != language]
        if others:
            beyond[language] = change - np.median(others, axis=0)
    return beyond


def assess_contrast(contrast: Contrast, groups: Groups) -> pd.DataFrame:
    """One row per language and state: mean difference, 95 % interval over meanings in their groups, p for
    that state (`p_value`) and for the largest of the language's states (`p_max`), two-sided."""
    stacked = np.concatenate(list(contrast.differences.values()), axis=1)
    mean = infer_mean(stacked, groups, families=len(contrast.differences))
    n_states = stacked.shape[1] // len(contrast.differences)
    languages = np.repeat(list(contrast.differences), n_states)
    return pd.DataFrame(
        {
            "variant_a": contrast.a,
            "variant_b": contrast.b,
            "language": languages,
            "state": np.tile(np.arange(n_states), len(contrast.differences)),
            "diff": mean.value,
            "ci_low": mean.low,
            "ci_high": mean.high,
            "p_value": mean.p_value,
            "n": groups.n,
            "n_groups": groups.effective,
            "contrast": contrast.kind,
            "reference": contrast.reference,
            "placebo": [language in contrast.placebo for language in languages],
            "p_max": mean.p_max,
        }
    )


def variant_effects(items: Items, family: Family, groups: Groups) -> pd.DataFrame:
    """All contrasts of one kind of stimuli, read position and metric: rows of variant_effects.csv.

    `diff` is in the metric's unit, `reference` and `placebo` as the module describes; q_value and p_holm are
    over the languages of one contrast. Empty where fewer than two variants were measured. Raises ValueError
    where the tables of two variants or languages differ in shape, or a score is not finite.
    """
    contrasts = [*simple_contrasts(items, family), *did_contrasts(items, family)]
    tables = [assess_contrast(contrast, groups) for contrast in contrasts if contrast.differences]
    if not tables:
        return pd.DataFrame()
    # below that is the noise of the summation order
    return over_languages(pd.concat(tables, ignore_index=True).round(9), CONTRAST)


# Whether an effect is regional


def regional_effects(items: Items, family: Family, groups: Groups) -> pd.DataFrame:
    """Whether the languages that a variant emphasises changed more than its placebo languages: one row per
    variant and what it is set against (the control, the baseline).

    `p_value` is the exact rank test over languages, one-sided: of all choices of as many languages, how many
    have a sum of ranks at least as high, without any one placebo language (3 above 5: 1 / 56). It takes
    languages, and not meanings, as what might have turned out otherwise, which a claim about a region needs.
    The state is where the languages together changed most; which of them are emphasised has no say in it, so
    that the test stays exact. `value` is the mean of the emphasised minus the median of the placebo
    languages, with its interval over meanings, and `low_without_one`, `high_without_one` its range when each
    placebo language in turn is left out. `p_holm` is over variants.
    """
    rows = []
    for a, b in _regional_pairs(items, family):
        changes = _changes(items, a, b)
        own = [language for language in changes if language in family.variants[a].emphasises]
        placebo = [language for language in changes if language not in own]
        if own and len(placebo) > 1:
            rows.append({"variant": a, "against": b} | _regional_row(changes, own, placebo, groups))
    table = pd.DataFrame(rows)
    return table if table.empty else over_variants(table)


def over_variants(table: pd.DataFrame) -> pd.DataFrame:
    p = table.groupby("against")["p_value"].transform(lambda p: holm(p.to_numpy()))
    return table.assign(p_holm=p).round(9)


def _regional_pairs(items: Items, family: Family) -> Iterator[tuple[str, str]]:
    variants = _checked(items, family)
    references = [name for name in (family.control, family.baseline) if name in variants]
    for a in variants:
        if family.variants[a].emphasises and a not in references:
            yield from ((a, b) for b in references)


def _regional_row(changes: dict[str, np.ndarray], own: list[str], placebo: list[str], groups: Groups) -> dict:
    state = most_changed(changes, groups)
    at_state = {language: change[:, state] for language, change in changes.items()}
    of_own = np.mean([at_state[language] for language in own], axis=0)
    centres = [
        np.median([at_state[other] for other in placebo if other != left_out], axis=0)
        for left_out in (None, *placebo)
    ]
    mean = infer_mean((of_own - centres[0])[:, None], groups)
    ranges = [float((of_own - centre).mean()) for centre in centres[1:]]
    return {
        "state": state,
        "languages": " ".join(own),
        "value": mean.value[0],
        "ci_low": mean.low[0],
        "ci_high": mean.high[0],
        "low_without_one": min(ranges),
        "high_without_one": max(ranges),
        "p_value": regional_p(
            {language: change.mean() for language, change in at_state.items()}, own, placebo
        ),
        "n": groups.n,
        "n_groups": groups.effective,
    }


def most_changed(changes: Mapping[str, np.ndarray], groups: Groups) -> int:
    """The state, the embedding set aside, with the largest sum over languages of squared mean over
    variance."""
    squares = np.zeros(next(iter(changes.values())).shape[1])
    for change in changes.values():
        variance, _, _ = mean_variance(change, groups)
        squares += change.mean(axis=0) ** 2 / np.maximum(variance, ROUNDING)
    return int(squares[1:].argmax()) + 1 if len(squares) > 1 else 0


def regional_p(effects: Mapping[str, float], own: Sequence[str], placebo: Sequence[str]) -> float:
    """`rank_p` of `own` among all, or without one of the placebo languages, whichever is largest: where one
    of these was forgotten, or treated too, its rank is settled, and the others are fewer than they look."""
    kept = [effects, *({lang: at for lang, at in effects.items() if lang != left} for left in placebo)]
    return max(rank_p(each, own) for each in kept)


def rank_p(effects: Mapping[str, float], own: Sequence[str]) -> float:
    """Of all choices of as many languages, the share whose ranks sum to at least those of `own`: exact, in
    (0, 1].
    Source: Wilcoxon 1945, "Individual Comparisons by Ranking Methods"."""
    ranks = dict(zip(effects, rankdata(np.round(list(effects.values()), 9)), strict=True))
    observed = sum(ranks[language] for language in own)
    sums = [sum(choice) for choice in combinations(ranks.values(), len(own))]
    return float(np.mean(np.array(sums) >= observed - 1e-9))


# Dose and response


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


def _dose_p(effects: np.ndarray, dose: np.ndarray, quantities: int) -> list[float]:
    """p of the slope and of the rank correlation, were doses dealt to the points at random; none for a
    placebo."""
    if math.factorial(len(dose)) <= MOST_ORDERS:
        orders = np.array(list(permutations(range(len(dose)))))
    else:
        rng = np.random.default_rng(SEED)
        drawn = rng.permuted(np.tile(np.arange(len(dose)), (MOST_ORDERS - 1, 1)), axis=1)
        orders = np.concatenate([np.arange(len(dose))[None], drawn])
    dealt = effects[orders]
    scores = (dealt @ (dose - dose.mean()), _rank_correlation(dealt.round(12), dose))
    return [float((score >= score[0] - 1e-9).mean()) for score in scores] + [np.nan] * (quantities - 2)


def _rank_correlation(effects: np.ndarray, dose: np.ndarray) -> np.ndarray:
    """Spearman's rho of every row of effects (m, k) with dose (k,); 0 where a row does not vary."""
    ranks, of_dose = rankdata(effects, axis=1), rankdata(dose)
    ranks, of_dose = ranks - ranks.mean(axis=1, keepdims=True), of_dose - of_dose.mean()
    spread = np.sqrt((ranks**2).sum(axis=1) * (of_dose**2).sum())
    return np.divide(ranks @ of_dose, spread, out=np.zeros(len(ranks)), where=spread > 0)


def dose_response(
    items: Items, family: Family, groups: Groups | int, state: int | None = None
) -> pd.DataFrame | None:
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
    meanings: uncertainty for these languages, not for languages at large), `p_value` of slope and rank
    correlation (doses dealt to the points anew, one-sided: for languages at large), n meanings and `points`
    that entered. Against a control that has a share of its own, a language at 0.0 % has a negative dose: a
    placebo above 0 is then an effect that the dose cannot have made.
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

    value, low, high = resampling.interval(statistics, groups)
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
        p_value=[np.nan] * n_points + _dose_p(value[:n_points], dose, len(summaries)),
        n=n,
        points=[1] * n_points + [entered[name] for name in summaries],
    ).round(9)
