"""Which variant serves which language, and which kinds of text it may have: as measured, or else as meant."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from probe.audit.door import claimable
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.families import Family, load_family
from probe.languages import label
from probe.paths import Paths
from probe.stimuli.manifest import GENERATED
from probe.tables import EDGE_CATEGORIES, EVERY, REGIONAL

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


def measured(family: Family, regional: pd.DataFrame) -> dict[str, str]:
    """Language -> variant: those that a variant emphasises, where it may be said of it that it changed them
    more than the others. The rest goes to the baseline.

    regional: regional.csv, judged. It speaks of a variant, not of one of its languages.
    """
    primary = (regional.metric == PRIMARY_METRIC) & (regional.position == PRIMARY_POSITION)
    shown = set(regional.loc[primary & claimable(regional), "variant"])
    meant = emphasised(family).variants
    return {language: variant for language, variant in meant.items() if variant in shown}


def coping(categories: pd.DataFrame, family: Family) -> dict[tuple[str, str], Coping]:
    """What edge_categories.csv shows of each variant and category.

    It is read off the generated cases where there are some, for they are many, and off the languages that the
    variant emphasises, for those are what it would be given. COPES: the whole interval of the loss beyond the
    baseline's is below MARGIN of the closeness of the baseline's clean forms, where there is any (its
    interval is clear of 0). LOSES: that interval is above 0 otherwise. UNSETTLED: neither, as where the clean
    forms have nothing to lose.
    """
    keys = ["failure_category", "source", "languages"]
    clean = categories.query("variant == @family.baseline and contrast == 'clean'").set_index(keys)
    beyond = categories.loc[categories.contrast == f"loss - {family.baseline}"]
    found = {}
    for key, rows in beyond.groupby(["variant", "failure_category"], sort=False):
        variant, category = map(str, key)
        row = _most_telling(rows, " ".join(family.variants[variant].emphasises))
        found[variant, category] = _coping(row, clean.loc[tuple(row[keys])])
    return found


def _most_telling(rows: pd.DataFrame, own: str) -> pd.Series:
    among = rows.loc[rows.languages.isin([own, EVERY])]
    return among.loc[((among.source == GENERATED) * 2 + (among.languages == own)).idxmax()]


def _coping(beyond: pd.Series, clean: pd.Series) -> Coping:
    margin = MARGIN * clean.value
    interval = f"{beyond.value:+.3f} [{beyond.ci_low:+.3f}, {beyond.ci_high:+.3f}], margin {margin:.3f}"
    figures = f"{interval}, {beyond.n} {beyond.source} cases, languages {beyond.languages}"
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
    if (source := REGIONAL.path(paths, family.name)).exists():
        variants = measured(family, REGIONAL.read(paths, family.name, needs=["verdict"]))
        policy = replace(policy, variants=variants, source=paths.name(source))
    if EDGE_CATEGORIES.path(paths, family.name).exists():
        shown = coping(EDGE_CATEGORIES.read(paths, family.name), family)
        policy = replace(policy, coping=shown)
    return policy
