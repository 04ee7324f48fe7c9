"""Which variant serves which language, and which kinds of text it may have: as measured, or else as meant."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from probe.alignment.effects import PLACEBO
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family, load_family
from probe.languages import LANGUAGES, label
from probe.paths import Paths
from probe.tables import EDGE_CATEGORIES, EFFECTS

METRIC = "excess"
LEVEL = 0.05
# A variant copes with a category where it may lose, beyond the baseline, at most this share of what the
# baseline has to lose: of the closeness of the clean forms to their meaning. A fifth is far less than what is
# feared of the categories; a margin in the measure's own units would mean another thing in each family.
MARGIN = 0.2
COPES, LOSES, UNSETTLED, UNMEASURED = "copes", "loses", "unsettled", "not measured"


@dataclass(frozen=True)
class Coping:
    """What a measurement says of one variant and category: COPES, LOSES or UNSETTLED, and the figures."""

    verdict: str
    evidence: str


@dataclass(frozen=True)
class Policy:
    """variants: language -> variant, for those that have one of their own; source: where that comes from.
    coping: (variant, category) -> what was measured."""

    family: str
    baseline: str
    variants: dict[str, str]
    source: str
    coping: dict[tuple[str, str], Coping] = field(default_factory=dict)

    def variant(self, language: str) -> str:
        """By the language alone."""
        return self.variants.get(language, self.baseline)

    def choose(self, language: str, categories: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """The variant, and why: the language's own where it copes with all of the categories, else the
        baseline."""
        own = self.variant(language)
        by_language = f"{label(language)} goes to {own}, by {self.source}"
        if own == self.baseline or not categories:
            return own, (by_language,)
        coping = {c: self.coping.get((own, c), Coping(UNMEASURED, UNMEASURED)) for c in categories}
        verdicts = (f"{c.replace('_', ' ')} in {own}: {one.evidence}" for c, one in coping.items())
        if all(one.verdict == COPES for one in coping.values()):
            return own, (*verdicts, by_language)
        return self.baseline, (*verdicts, f"so it falls back to {self.baseline}; otherwise {by_language}")


def emphasised(family: Family) -> Policy:
    """The first of the family's default variants that emphasises a language, the baseline where none does;
    nothing measured."""
    variants = {
        language: variant
        for variant in reversed(family.default_variants)
        for language in family.variants[variant].emphasises
    }
    return Policy(family.name, family.baseline, variants, f"the languages that {family.name} emphasises")


def measured(family: Family, effects: pd.DataFrame, source: str) -> tuple[dict[str, str], str]:
    """The emphasised variants that demonstrably help by language, and the source with what was read of it.

    effects: variant_effects.csv. What is read is the difference in differences of excess alignment at the
    mean position, against the strictest reference there is (control and placebo languages, else one of them),
    on the kind of stimuli with most meanings, at the state where it is largest. A variant helps a language
    where that is positive with its interval clear of 0, q < 0.05, p < 0.05 for the largest of all states (the
    state was chosen), and where it is larger than what any of the variant's placebo languages shows: that is
    how far the contrast can be wrong, so a placebo language is never given the variant.
    """
    regional = [variant for variant in family.default_variants if family.variants[variant].emphasises]
    measure = (effects.position == PRIMARY_POSITION) & (effects.metric == METRIC)
    did = effects.loc[(effects.contrast == "did") & measure & effects.variant_a.isin(regional)]
    if did.empty:
        return {}, f"{source}, which has no difference in differences"
    reference = max(did.reference.unique(), key=lambda name: (PLACEBO in name, "control" in name))
    did = did.query("reference == @reference")
    stimuli = did.loc[did.n.idxmax(), "stimuli"]
    did = did.query("stimuli == @stimuli")
    peaks = did.loc[did.groupby(["variant_a", "language"])["diff"].idxmax()]
    limit = peaks[peaks.placebo].groupby("variant_a")["diff"].max()
    shown = (peaks.ci_low > 0) & (peaks.q_value < LEVEL) & (peaks.p_max < LEVEL)
    above = peaks["diff"] > peaks.variant_a.map(limit).fillna(0.0)
    helpful = peaks[~peaks.placebo & shown & above & peaks.language.isin(LANGUAGES)].sort_values("diff")
    variants = dict(zip(helpful.language, helpful.variant_a, strict=True))
    return variants, f"{source} ({stimuli}, did against {reference})"


def coping(categories: pd.DataFrame, baseline: str) -> dict[tuple[str, str], Coping]:
    """What edge_categories.csv shows of each variant and category.

    COPES: the whole interval of the loss beyond the baseline's is below MARGIN of the closeness of the
    baseline's clean forms, where there is any (its interval is clear of 0). LOSES: that interval is above 0
    otherwise. UNSETTLED: neither, as where the clean forms have nothing to lose.
    """
    clean = categories.query("variant == @baseline and contrast == 'clean'").set_index("failure_category")
    beyond = categories[categories.contrast == f"loss - {baseline}"]
    return {
        (row.variant, row.failure_category): _coping(row, clean.loc[row.failure_category])
        for row in beyond.itertuples()
        if row.failure_category in clean.index
    }


def _coping(beyond, clean: pd.Series) -> Coping:
    margin = MARGIN * clean.value
    figures = f"{beyond.value:+.3f} [{beyond.ci_low:+.3f}, {beyond.ci_high:+.3f}], margin {margin:.3f}"
    if clean.ci_low > 0 and beyond.ci_high < margin:
        return Coping(COPES, f"loses no more than the baseline ({figures})")
    if beyond.ci_low > 0:
        return Coping(LOSES, f"loses more than the baseline ({figures})")
    why = figures if clean.ci_low > 0 else "the clean forms show nothing that could be lost"
    return Coping(UNSETTLED, f"measured, but neither coping nor a loss is shown ({why})")


def load_policy(family_name: str, paths: Paths | None = None) -> Policy:
    """Raises ProbeError where the family is unknown or its results cannot be read."""
    paths = paths or Paths()
    family = load_family(family_name, paths)
    policy = emphasised(family)
    if (source := EFFECTS.path(paths, family.name)).exists():
        effects = EFFECTS.read(paths, family.name, needs=("reference", "placebo"))
        if effects.empty:
            raise ProbeError(f"{source} is empty; run: {EFFECTS.command(family.name)}")
        variants, name = measured(family, effects, paths.name(source))
        policy = replace(policy, variants=variants, source=name)
    if EDGE_CATEGORIES.path(paths, family.name).exists():
        shown = coping(EDGE_CATEGORIES.read(paths, family.name), family.baseline)
        policy = replace(policy, coping=shown)
    return policy
