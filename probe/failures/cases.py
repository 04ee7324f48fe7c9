"""Which concepts a regional variant fails in which language, and whether the evidence says so.

A failure is a concept and a language that the variant commits to more than TOLERATED_DELAY states later than
the baseline, or never where the baseline does. It is significant where the sentence also lost closeness to
its own meaning, and not together with most other languages, for then it is the English that moved.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from probe.activations.store import ActivationStore
from probe.conventions import ALPHA
from probe.failures import evidence
from probe.families import Family
from probe.languages import PIVOT, TARGETS
from probe.stimuli.manifest import Manifest

TOLERATED_DELAY = 4  # states
LATE, NEVER = "late_commitment", "no_commitment"
PREVIEW = 60  # characters
SHARED = 0.5  # of the languages; in which a concept's loss is not one of theirs, but of the English sentence
TESTED = ["effect", "ci_low", "ci_high", "p_value"]


def failure(regional: int | None, baseline: int | None) -> str | None:
    """LATE, NEVER, or None where the regional variant does no worse. None for a layer is 'never commits'."""
    if baseline is None:
        return None
    if regional is None:
        return NEVER
    return LATE if regional - baseline > TOLERATED_DELAY else None


def concept_evidence(
    stores: Mapping[str, ActivationStore], manifest: Manifest, baseline: str, variants: Sequence[str]
) -> pd.DataFrame:
    """How much closer each probe sentence is to its English in a variant than in the baseline.

    One row per concept, target language and variant: concept_id, language, variant, effect (variant minus
    baseline; negative is worse), ci_low, ci_high, p_value, and shared: whether it falls in more than SHARED
    of the languages, at p < ALPHA each. A language with fewer than evidence.MIN_CASES concepts is left out.
    """
    keys, parts = ["concept_id", "language", "variant"], []
    for language in TARGETS:
        pairs = manifest.matched("probes", language, PIVOT)
        if len(pairs) < evidence.MIN_CASES:
            continue
        pivots, sentences = zip(*pairs, strict=True)
        before = evidence.closeness(stores[baseline], sentences, pivots)
        for variant in variants:
            tested = evidence.single_cases(evidence.closeness(stores[variant], sentences, pivots) - before)
            concepts = [stimulus.meaning for stimulus in pivots]
            parts.append(tested.assign(concept_id=concepts, language=language, variant=variant))
    if not parts:
        return pd.DataFrame(columns=[*keys, *TESTED, "shared"])
    table = pd.concat(parts, ignore_index=True).rename(columns={"value": "effect"})
    falls = (table.effect < 0) & (table.p_value < ALPHA)
    shared = falls.groupby([table.concept_id, table.variant]).transform("mean") > SHARED
    return table.assign(shared=shared).reindex(columns=[*keys, *TESTED, "shared"])


def with_failures(commitments: pd.DataFrame, evidence_: pd.DataFrame, family: Family) -> pd.DataFrame:
    """All that could have failed, the baseline committing: the evidence with q_value, the commitments, and
    failure_category, None where nothing failed.

    q-values are over all of it, for what did fail was picked by the very scores that are tested.
    """
    base = f"{family.baseline}_layer"
    table = commitments[commitments[base].notna()].merge(
        evidence_, on=["concept_id", "language"], validate="one_to_many"
    )
    layers = [column for column in table if column.endswith("_layer")]
    table = table.astype(dict.fromkeys(layers, "Int64"))
    commits = table[layers].astype(object).where(table[layers].notna(), None)
    category = [
        failure(commits.at[row, f"{variant}_layer"], commits.at[row, base])
        for row, variant in table.variant.items()
    ]
    return evidence.with_q_values(table).assign(failure_category=pd.Series(category, table.index, object))


def cases(tested: pd.DataFrame, family: Family, manifest: Manifest) -> pd.DataFrame:
    """failure_cases.csv: the rows of `with_failures` that fail. `significant` is for a loss, not a gain."""
    failed = tested.loc[tested.failure_category.notna()].reset_index(drop=True)
    texts = {(s.concept_id, s.language): s for s in manifest.probes}
    stimuli = [texts[key] for key in zip(failed.concept_id, failed.language, strict=True)]
    layers = {name: name.replace("_layer", "_commit") for name in failed if name.endswith("_layer")}
    lost = (failed.significant & (failed.effect < 0)).astype(bool)
    failed = failed.rename(columns=layers).assign(
        stimulus_id=[stimulus.stimulus_id for stimulus in stimuli],
        text_preview=[stimulus.text[:PREVIEW] for stimulus in stimuli],
        significant=lost & ~failed.shared.astype(bool),
        notes=[_note(row, lost[i], family) for i, row in failed.iterrows()],
    )
    what = ["stimulus_id", "concept", "language", "text_preview"]
    told = ["failure_category", "notes", "variant", *TESTED, "q_value", "significant"]
    return failed.reindex(columns=[*what, *layers.values(), *told])


def _note(row: pd.Series, lost: bool, family: Family) -> str:
    meant = row.language in family.variants[row.variant].emphasises
    place = f"{row.variant} ({'a language it emphasises' if meant else 'not a language it emphasises'})"
    if not lost:
        return f"{place}; not significant: its loss is not told from zero"
    return f"{place}; not significant: most languages lose it, so the English moved" if row.shared else place


def summary(table: pd.DataFrame, tested: pd.DataFrame, family: Family, regional: Sequence[str]) -> str:
    """One line: how many failures, and where there are none, why.

    table: as `cases` gives it; tested: as `with_failures` does; regional: the variants that could fail.
    """
    if len(table):
        return f"{len(table)} failures, {int(table.significant.sum())} of them significant"
    if not regional:
        why = "no variant that emphasises languages was measured"
    elif tested.empty:
        why = f"{family.label(family.baseline)} commits to no concept in any language, so none could be lost"
    else:
        names = ", ".join(family.label(variant) for variant in regional)
        why = (
            f"{names} commit in time in all of the {len(tested)} cases in which "
            f"{family.label(family.baseline)} commits"
        )
    return f"no failures: {why}"
