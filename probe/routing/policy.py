"""Which variant serves which language: as measured, or else as the family says it is meant."""

from dataclasses import dataclass

import pandas as pd

from probe.alignment.effects import PLACEBO
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family, load_family
from probe.languages import LANGUAGES
from probe.paths import Paths
from probe.tables import EFFECTS

METRIC = "excess"
LEVEL = 0.05


@dataclass(frozen=True)
class Policy:
    """variants: language -> variant, for those that have one of their own. source: where that comes from."""

    family: str
    baseline: str
    variants: dict[str, str]
    source: str

    def variant(self, language: str) -> str:
        return self.variants.get(language, self.baseline)


def emphasised(family: Family) -> Policy:
    """The first of the family's default variants that emphasises a language, the baseline where none does."""
    variants = {
        language: variant
        for variant in reversed(family.default_variants)
        for language in family.variants[variant].emphasises
    }
    return Policy(family.name, family.baseline, variants, f"the languages that {family.name} emphasises")


def measured(family: Family, effects: pd.DataFrame, source: str) -> Policy:
    """The emphasised variants that demonstrably help; a language that none helps goes to the baseline.

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
        return Policy(family.name, family.baseline, {}, f"{source}, which has no difference in differences")
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
    return Policy(family.name, family.baseline, variants, f"{source} ({stimuli}, did against {reference})")


def load_policy(family_name: str, paths: Paths | None = None) -> Policy:
    """Raises ProbeError where the family is unknown or its effects cannot be read."""
    paths = paths or Paths()
    family = load_family(family_name, paths)
    source = EFFECTS.path(paths, family.name)
    if not source.exists():
        return emphasised(family)
    effects = EFFECTS.read(paths, family.name, needs=("reference", "placebo"))
    if effects.empty:
        raise ProbeError(f"{source} is empty; run: {EFFECTS.command(family.name)}")
    return measured(family, effects, paths.name(source))
