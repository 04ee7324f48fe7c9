"""What a row must have beside a value clear of chance, before it may be said: one rule, one mask of rows.

Each table of claims is set beside what speaks for or against its rows: the rank of the partner, what is left
at nothing shared, within a topic, without a few directions, and in untrained networks. A mask is True where
the rule is *not* met. `LEVEL`, `EFFECT` and the rest give the rules in the order in which a reason is named.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from probe.conventions import ALPHA, PRIMARY_METRIC

MIN_MEANINGS, MIN_GROUPS = 10, 8
HALF = 0.5  # of a level, that a few directions, or what the pairs share on the surface, may carry
SATURATED = 0.98  # of the bits that there are: ranks this good cannot get better

CELL = ["variant", "language", "stimuli", "position", "state"]
Rule = Callable[[pd.DataFrame], pd.Series]


def _clear(low: pd.Series, high: pd.Series, chance: pd.Series | float = 0.0) -> pd.Series:
    return (low > chance) | (high < chance)


def few_groups(table: pd.DataFrame) -> pd.Series:
    few = (table["n"] < MIN_MEANINGS).to_numpy() | (table["n_groups"] < MIN_GROUPS).to_numpy()
    return pd.Series(few, table.index)


# Levels: rows of the primary metric in alignment_summary


def levels_beside(summary: pd.DataFrame, few: pd.DataFrame, untrained: pd.DataFrame | None) -> pd.DataFrame:
    """The primary rows of `summary`, in its order and index, with columns for what is held against them:
    {rank, partial, stratified}_{value, low, null, n}, without (a few directions), untrained (the largest of
    the untrained networks), bits (that a rank can reach). What was not measured is NaN."""
    table = summary.loc[summary.metric == PRIMARY_METRIC].copy()
    kept = table.index
    for metric in ("rank", "partial", "stratified"):
        other = summary.loc[summary.metric == metric].set_index(CELL).loc[:, ["value", "ci_low", "null", "n"]]
        other.columns = [f"{metric}_{name}" for name in ("value", "low", "null", "n")]
        table = table.join(other, on=CELL)
    table = table.join(few.set_index(CELL).loc[:, ["without", "bits"]], on=CELL)
    table = _with_untrained(table, untrained, "highest")
    return table.loc[kept]


def untrained_limits(untrained: pd.DataFrame) -> pd.DataFrame:
    """By language, stimuli, position and state: the highest value of any seed, and the range over the
    seeds."""
    limits = untrained.groupby(CELL[1:])["value"].agg(highest="max", lowest="min")
    return limits.assign(range=limits["highest"] - limits["lowest"])


def _with_untrained(table: pd.DataFrame, untrained: pd.DataFrame | None, which: str) -> pd.DataFrame:
    """With the column `untrained`, NaN where the networks were not measured."""
    if untrained is None:
        return table.assign(untrained=np.nan)
    return table.join(
        untrained_limits(untrained).loc[:, [which]].set_axis(["untrained"], axis=1), on=CELL[1:]
    )


LEVEL: Mapping[str, Rule] = {
    "too_few_groups": few_groups,
    "not_significant": lambda t: ~((t.p_holm < ALPHA) & (t.ci_low > t.null)),
    "nothing_without_shared": lambda t: ~(t.partial_low > t.partial_null),
    "mostly_shared": lambda t: ~(t.partial_value > HALF * t.value),
    "retrieval_at_chance": lambda t: ~(t.rank_low > t.rank_null),
    "few_directions": lambda t: ~(t.without > HALF * t.value),
    "topic_only": lambda t: t.stratified_low.notna() & ~(t.stratified_low > t.stratified_null),
    "not_beyond_untrained": lambda t: t.value <= t.untrained,
}


# Effects: rows of the primary metric in variant_effects

EFFECT_KEYS = ["variant_a", "variant_b", "contrast", "reference", "language", "stimuli", "position", "state"]


def effects_beside(
    effects: pd.DataFrame, levels: pd.DataFrame, regional: pd.DataFrame, untrained: pd.DataFrame | None
) -> pd.DataFrame:
    """The primary rows of variant_effects with: rank_{diff, low, high} of the same contrast; saturated,
    whether the ranks of both variants are at their ceiling or at chance; of the placebo languages of the
    same contrast and state the largest |diff| (placebo_reach, NaN without any); the range of the untrained
    networks; and whether its variant has a regional effect against variant_b (regional)."""
    table = effects.loc[effects.metric == PRIMARY_METRIC].copy()
    kept = table.index
    ranks = effects.loc[effects.metric == "rank"].set_index(EFFECT_KEYS).loc[:, ["diff", "ci_low", "ci_high"]]
    ranks.columns = ["rank_diff", "rank_low", "rank_high"]
    table = table.join(ranks, on=EFFECT_KEYS)
    same = [key for key in EFFECT_KEYS if key != "language"]
    sizes = table.loc[table.placebo, same].assign(placebo_reach=table["diff"].abs())
    table = table.merge(
        sizes.groupby(same, dropna=False, as_index=False).max(), on=same, how="left"
    ).set_axis(kept)
    table["saturated"] = saturated_both(table, levels)
    table = _with_untrained(table, untrained, "range")
    passed = set()
    if len(regional):
        good = regional.loc[regional.verdict == "regional"]
        passed = set(zip(good.variant, good.against, good.stimuli, good.position, strict=True))
    keys = zip(table.variant_a, table.variant_b, table.stimuli, table.position, strict=True)
    table["regional"] = [key in passed for key in keys]
    return table.loc[kept]


def saturated_both(table: pd.DataFrame, levels: pd.DataFrame) -> np.ndarray:
    """Whether, for each row, the ranks of both variants can tell nothing: both at the ceiling, or both at
    chance."""
    ceiling = levels.rank_value >= SATURATED * levels.bits
    by_cell = levels.assign(ceiling=ceiling, chance=~(levels.rank_low > levels.rank_null)).set_index(CELL)
    flags = []
    for variant in ("variant_a", "variant_b"):
        keys = pd.MultiIndex.from_frame(table.loc[:, [variant, *CELL[1:]]])
        flags.append(by_cell.loc[:, ["ceiling", "chance"]].reindex(keys).fillna(False).to_numpy(bool))
    return (flags[0] & flags[1]).any(axis=1)


def _opposed(t: pd.DataFrame) -> pd.Series:
    """Ranks move the other way, or not at all; where they cannot move the claim rests on one measure."""
    return ~t.saturated & ~(np.sign(t.rank_diff) == np.sign(t["diff"]))


EFFECT: Mapping[str, Rule] = {
    "too_few_groups": few_groups,
    "not_significant": lambda t: ~((t.p_holm < ALPHA) & _clear(t.ci_low, t.ci_high)),
    "not_corroborated": _opposed,
    "not_beyond_untrained": lambda t: t["diff"].abs() <= t.untrained,
    "placebo_language": lambda t: (t.contrast == "did") & t.placebo,
    "not_beyond_placebos": lambda t: (t.contrast == "did") & (t["diff"].abs() <= t.placebo_reach),
    "not_regional": lambda t: (t.contrast == "did") & ~t.regional,
}


# Regional effects, peaks, and effects under other ways of measuring

REGIONAL_KEYS = ["variant", "against", "stimuli", "position"]


def regional_beside(regional: pd.DataFrame) -> pd.DataFrame:
    """The primary rows of regional.csv with the value and interval of the same by ranks."""
    table = regional.loc[regional.metric == PRIMARY_METRIC].copy()
    ranks = (
        regional.loc[regional.metric == "rank"]
        .set_index(REGIONAL_KEYS)
        .loc[:, ["value", "ci_low", "ci_high"]]
    )
    ranks.columns = ["rank_value", "rank_low", "rank_high"]
    return table.join(ranks, on=REGIONAL_KEYS)


REGIONAL: Mapping[str, Rule] = {
    "too_few_groups": few_groups,
    "not_significant": lambda t: ~((t.p_holm < ALPHA) & (t.ci_low > 0)),
    "depends_on_one_placebo": lambda t: t.low_without_one <= 0,
    "not_corroborated": lambda t: ~(t.rank_value > 0),
}


def peaks_beside(peaks: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The primary rows of peaks.csv with the verdict of the level at the peak."""
    table = peaks.loc[peaks.metric == PRIMARY_METRIC].rename(columns={"peak_state": "state"})
    own = summary.loc[summary.metric == PRIMARY_METRIC].set_index(CELL).loc[:, ["verdict"]]
    return table.join(own.set_axis(["level"], axis=1), on=CELL)


PEAK: Mapping[str, Rule] = {
    "level_not_claimed": lambda t: ~t.level.isin(("meaning", "matched")),
    "no_rise": lambda t: ~(t.rise_ci_low > 0),
}


def stands_beside(robustness: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """With `effect`: whether of the same contrast any effect may be said, in one language at least."""
    names = ["contrast", "reference", "stimuli"]
    said = effects.loc[effects.verdict == "effect", ["variant_a", "variant_b", *names]].fillna("")
    keys = pd.MultiIndex.from_frame(robustness.loc[:, ["variant", "against", *names]].fillna(""))
    return robustness.assign(effect=keys.isin(pd.MultiIndex.from_frame(said)))


STANDS: Mapping[str, Rule] = {
    "effect_not_claimed": lambda t: ~t.effect,
    "too_few_groups": few_groups,
    "not_significant": lambda t: ~((t.p_holm < ALPHA) & _clear(t.ci_low, t.ci_high)),
}


# Failures of concepts: what each lost beyond its language, whether it lost anything, and whether it was alone

FAILURE: Mapping[str, Rule] = {
    "not_significant": lambda t: ~((t.q_value < ALPHA) & (t.effect < 0)),
    "not_lost": lambda t: ~(t.change < 0),
    "english_moved": lambda t: t.shared.astype(bool),
}
