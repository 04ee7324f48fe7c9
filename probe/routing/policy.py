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

# A variant copes with a category where it makes something of such texts, and no less than the baseline: their
# closeness to what they mean is above 0, and below that in the baseline by at most this share of what the
# baseline's clean forms have. A fifth is far less than what is feared of the categories; a margin in the
# measure's own units would mean another thing in each family. Losses are not compared: who aligns a language
# better than the baseline has more to lose, and may still be the better one after it.
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
    variant emphasises, for those are what it would be given. COPES: the closeness of the inputs is clear of
    0, and the whole interval of what it is beyond the baseline's is above minus MARGIN of the closeness of
    the baseline's clean forms. LOSES: that interval is below 0 otherwise. UNSETTLED: neither.
    """
    keys = ["variant", "contrast", "failure_category", "source", "languages"]
    rows = categories.set_index(keys)
    found = {}
    for place in categories.groupby(["variant", "failure_category"], sort=False).groups.values():
        of_category = categories.loc[place]
        variant, category = of_category.iloc[0][["variant", "failure_category"]]
        if variant != family.baseline and variant in family.variants:
            cases = (category, *_most_telling(of_category, " ".join(family.variants[variant].emphasises)))
            own, beyond, clean = (
                rows.loc[(name, contrast, *cases)]
                for name, contrast in (
                    (variant, "input"), (variant, f"input - {family.baseline}"), (family.baseline, "clean"),
                )
            )  # fmt: skip
            said = f"{beyond.n:.0f} {' cases, languages '.join(cases[1:])}"
            found[variant, category] = _coping(own, beyond, MARGIN * max(0.0, clean.value), said)
    return found


def _most_telling(rows: pd.DataFrame, own: str) -> tuple[str, str]:
    """(source, languages)"""
    among = rows.loc[rows.languages.isin([own, EVERY])]
    best = ((among.source == GENERATED) * 2 + (among.languages == own)).idxmax()
    return str(among.source[best]), str(among.languages[best])


def _coping(own: pd.Series, beyond: pd.Series, margin: float, cases: str) -> Coping:
    closeness = f"{own.value:+.3f} [{own.ci_low:+.3f}, {own.ci_high:+.3f}]"
    interval = f"{beyond.value:+.3f} [{beyond.ci_low:+.3f}, {beyond.ci_high:+.3f}]"
    figures = f"closeness {closeness}, to the baseline's {interval}, margin {margin:.3f}; {cases}"
    if own.ci_low > 0 and beyond.ci_low > -margin:
        return Coping(COPES, f"no worse than the baseline ({figures})")
    if beyond.ci_high < 0:
        return Coping(LOSES, f"worse than the baseline ({figures})")
    return Coping(UNSETTLED, f"neither shown to be as good as the baseline nor to be worse ({figures})")


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
