"""Which concepts a variant fails in which language, and whether the evidence says so.

A failure is a concept and a language that the variant commits to later than the baseline by more than the
tolerated delay, or never where the baseline does. Of a word that several sentences hold, the state that
counts is the one by which half of them have committed. It is significant where the concept also lost
closeness to its own meaning, more than its language as a whole did, and not together with most other
languages, for then it is the English that moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore
from probe.alignment.commitment import CALIBRATED, COSINE, ENDING
from probe.audit.door import Judge, claimable
from probe.conventions import ALPHA
from probe.failures import evidence, losses
from probe.failures.concepts import MIN_SENTENCES, Concepts, concepts
from probe.families import Family
from probe.languages import PIVOT, TARGETS
from probe.stats.resampling import attained_quantile
from probe.stimuli.manifest import Manifest, Stimulus

TOLERATED = 4 / 36  # of the blocks: 4 of Tiny Aya's 36
LATE, NEVER = "late_commitment", "no_commitment"
PREVIEW = 60  # characters
SHARED = 0.5  # of the languages; in which a concept's loss is not one of theirs, but of the English sentence
TESTED = ["effect", "ci_low", "ci_high", "p_value"]
TOLD = ["concept_id", "language", "variant", "concept", "stimulus_id", "text_preview", "n"]
CELL = ["concept_id", "language"]


@dataclass(frozen=True)
class Examined:
    """One kind of stimuli: tested, a row per concept, language and variant in which the baseline commits,
    `failure_category` None where nothing failed; why_none, the reason where there is no such row."""

    kind: str
    tested: pd.DataFrame = field(default_factory=pd.DataFrame)
    why_none: str = ""


def tolerated_delay(n_states: int) -> int:
    """The states that a variant may commit later: TOLERATED of the blocks, 4 of 36 and 1 of 8; at least 1."""
    return max(1, round(TOLERATED * (n_states - 1)))


def failure(variant: int | None, baseline: int | None, tolerated: int) -> str | None:
    """LATE, NEVER, or None where the variant does no worse. None for a layer is 'never commits'."""
    if baseline is None:
        return None
    if variant is None:
        return NEVER
    return LATE if variant - baseline > tolerated else None


def compared(family: Family, variants: Sequence[str]) -> list[str]:
    """Those that can fail: all but the baseline and the untrained controls."""
    return [v for v in variants if v != family.baseline and v not in family.untrained]


# Evidence


def concept_evidence(
    stores: Mapping[str, ActivationStore],
    manifest: Manifest,
    kind: str,
    baseline: str,
    variants: Sequence[str],
) -> pd.DataFrame:
    """What each concept lost in a variant against the baseline, beyond what its language did.

    One row per concept, target language and variant: TOLD (stimulus_id and text_preview of the first of its n
    sentences), effect (negative is a loss), ci_low, ci_high, p_value, change (of its sentences' closeness as
    it is), and shared: whether it falls in more than SHARED of the languages, at p < ALPHA each. A language
    in which fewer than evidence.MIN_CASES concepts can be told from each other is left out.
    """
    known = concepts(manifest, kind)
    parts = []
    for language in TARGETS:
        pairs = manifest.matched(kind, language, PIVOT)
        if len(pairs) >= evidence.MIN_CASES:
            parts += _of_language(stores, known, pairs, baseline, variants)
    if not parts:
        return pd.DataFrame(columns=[*TOLD, *TESTED, "change", "shared"])
    table = pd.concat(parts, ignore_index=True).rename(columns={"value": "effect"})
    falls = (table.effect < 0) & (table.p_value < ALPHA)
    shared = falls.groupby([table.concept_id, table.variant]).transform("mean") > SHARED
    return table.assign(shared=shared).reindex(columns=[*TOLD, *TESTED, "change", "shared"])


def _of_language(
    stores: Mapping[str, ActivationStore],
    known: Concepts,
    pairs: Sequence[tuple[Stimulus, Stimulus]],
    baseline: str,
    variants: Sequence[str],
) -> list[pd.DataFrame]:
    pivots, sentences = zip(*pairs, strict=True)
    meanings = [stimulus.meaning for stimulus in pivots]
    rows = {meaning: row for row, meaning in enumerate(meanings)}
    told = {name: [rows[m] for m in of if m in rows] for name, of in known.meanings.items()}
    least = MIN_SENTENCES if known.words else 1
    ids = [name for name, own in told.items() if len(own) >= least]
    design = losses.Design.of(meanings, known, ids) if known.words else None
    if design and design.df < 1:
        return []
    before = evidence.closeness(stores[baseline], sentences, pivots)
    had, _ = evidence.beyond_expected(before)
    parts = []
    for variant in variants:
        after = evidence.closeness(stores[variant], sentences, pivots)
        lost = losses.lost(before, after)
        of = design.losses(lost[0]) if design else losses.Losses(meanings, *lost)
        if len(of.concept_ids) < evidence.MIN_CASES:
            continue
        changed = evidence.beyond_expected(after)[0] - had
        own = [told[name] for name in of.concept_ids]
        first = [sentences[each[0]] for each in own]
        columns = {
            "concept_id": of.concept_ids,
            "language": sentences[0].language,
            "variant": variant,
            "concept": [known.names[name] for name in of.concept_ids],
            "stimulus_id": [stimulus.stimulus_id for stimulus in first],
            "text_preview": [stimulus.text[:PREVIEW] for stimulus in first],
            "n": [len(each) for each in own],
            "change": [changed[each].mean() for each in own],
        }
        parts.append(pd.DataFrame(columns | dict(losses.beyond_others(of))))
    return parts


# Commitments


def criterion(commitments: pd.DataFrame, baseline: str) -> str:
    """The ending of the columns that count: calibrated where that was measured, else the cosine."""
    return ENDING[CALIBRATED if f"{baseline}{ENDING[CALIBRATED]}" in commitments else COSINE]


def measured(commitments: pd.DataFrame, family: Family) -> list[str]:
    """The variants of which the criterion that counts was measured, in the table's order."""
    ending = criterion(commitments, family.baseline)
    return [str(name).removesuffix(ending) for name in commitments if str(name).endswith(ending)]


def concept_commitments(commitments: pd.DataFrame, known: Concepts, ending: str) -> pd.DataFrame:
    """One row per concept and language, {variant}_commit: the first state by which at least half of its
    sentences have committed, empty where fewer ever do.

    commitments: the rows of one kind, a row per meaning and language.
    """
    members = pd.DataFrame(
        [(name, meaning) for name, of in known.meanings.items() for meaning in of],
        columns=["concept_id", "meaning"],
    )
    columns = [str(column) for column in commitments if str(column).endswith(ending)]
    states = commitments[columns].astype(float).fillna(np.inf)
    own = states.assign(meaning=commitments.concept_id, language=commitments.language)
    rows = [
        [*group[CELL].iloc[0], *attained_quantile(group[columns].to_numpy(), 0.5)]
        for _, group in members.merge(own, on="meaning").groupby(CELL, sort=False)
    ]
    table = pd.DataFrame(rows, columns=pd.Index([*CELL, *columns])).replace(np.inf, np.nan)
    table = table.astype(dict.fromkeys(columns, "Int64"))
    return table.rename(columns={column: f"{column.removesuffix(ending)}_commit" for column in columns})


def with_failures(
    commitments: pd.DataFrame, evidence_: pd.DataFrame, baseline: str, tolerated: int
) -> pd.DataFrame:
    """All that could have failed, the baseline committing: the evidence with q_value, the commitments, and
    failure_category, None where nothing failed.

    q-values are over all of it, for what did fail was picked by the very scores that are tested.
    commitments: as `concept_commitments` gives them.
    """
    base = f"{baseline}_commit"
    could = commitments[commitments[base].notna()]
    table = could.merge(evidence_, on=CELL, validate="one_to_many")
    states = [column for column in could if str(column).endswith("_commit")]
    commits = table[states].astype(object).where(table[states].notna(), None)
    category = [
        failure(commits.at[row, f"{variant}_commit"], commits.at[row, base], tolerated)
        for row, variant in table.variant.items()
    ]
    return evidence.with_q_values(table).assign(failure_category=pd.Series(category, table.index, object))


def examine(
    stores: Mapping[str, ActivationStore],
    manifest: Manifest,
    kind: str,
    commitments: pd.DataFrame,
    family: Family,
    variants: Sequence[str],
) -> Examined:
    """One kind of stimuli. commitments: all of commitment_matrix.csv; variants: those that can fail."""
    baseline = family.baseline
    own = commitments.loc[commitments.stimuli == kind]
    there = [variant for variant in variants if variant in measured(commitments, family)]
    if not manifest.of_kind(kind):
        return Examined(kind, why_none="the manifest has no such sentences")
    if not there:
        return Examined(kind, why_none="no variant was measured beside the baseline and untrained controls")
    if own.empty:
        return Examined(kind, why_none="commitment_matrix.csv has no row of them")
    states = concept_commitments(own, concepts(manifest, kind), criterion(commitments, baseline))
    if not states[f"{baseline}_commit"].notna().to_numpy().any():
        never = "commits to no concept in any language, so none could be lost"
        return Examined(kind, why_none=f"{family.label(baseline)} {never}")
    found = concept_evidence(stores, manifest, kind, baseline, there)
    tested = with_failures(states, found, baseline, tolerated_delay(stores[baseline].n_states))
    few = f"where {family.label(baseline)} commits there are not {evidence.MIN_CASES} concepts to compare"
    return Examined(kind, tested.assign(stimuli=kind), "" if len(tested) else few)


# What is said


def cases(
    examined: Sequence[Examined], family: Family, shown: Sequence[str], judge: Judge, n_states: int
) -> pd.DataFrame:
    """failure_cases.csv: the rows that fail, with what may be said of them. `significant` is for a loss, not
    a gain, of the concept alone. shown: the variants whose commitments are."""
    parts = [each.tested.loc[each.tested.failure_category.notna()] for each in examined if len(each.tested)]
    what = ["stimuli", "stimulus_id", "concept", "language", "text_preview"]
    states = [f"{variant}_commit" for variant in shown]
    told = ["n", "failure_category", "notes", "variant", *TESTED, "q_value", "significant"]
    named = ["verdict", "reason"]
    failed = pd.concat([pd.DataFrame(), *parts], ignore_index=True)
    if failed.empty:
        return pd.DataFrame(columns=[*what, *states, *told, *named])
    judged = judge.failures(failed, family.baseline, n_states // 2)
    notes = [_note(row, family) for _, row in judged.iterrows()]
    return judged.assign(notes=notes).reindex(columns=[*what, *states, *told, *named])


def _note(row: pd.Series, family: Family) -> str:
    meant = family.variants[row.variant].emphasises
    told = "a language it emphasises" if row.language in meant else "not a language it emphasises"
    place = f"{row.variant} ({told if meant else 'emphasises no language'})"
    if row.significant:
        return place
    if row.effect >= 0 or row.q_value >= ALPHA:
        return f"{place}; not significant: its loss is not told from that of the language's other concepts"
    if row.change >= 0:
        return f"{place}; not significant: it gained closeness, less than the language's other concepts did"
    return f"{place}; not significant: most languages lose it, so the English moved"


def counts(examined: Examined, table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """variant -> how many cells could fail, did, and did significantly. table: as `cases` gives it."""
    if examined.tested.empty:
        return {}
    own = table[table.stimuli == examined.kind]
    return {
        str(variant): {
            "examined": int((examined.tested.variant == variant).sum()),
            "failures": int((own.variant == variant).sum()),
            "significant": int(own.significant[own.variant == variant].astype(bool).sum()),
        }
        for variant in examined.tested.variant.unique()
    }


def summary(examined: Examined, table: pd.DataFrame, family: Family) -> str:
    """One line on one kind: how many failures, and where there are none, why."""
    by_variant = counts(examined, table)
    if not by_variant:
        return f"no failures: {examined.why_none}"
    if sum(each["failures"] for each in by_variant.values()):
        told = (
            f"{family.label(variant)} {n['failures']} of {n['examined']}, {n['significant']} significant"
            for variant, n in by_variant.items()
        )
        return f"failures: {'; '.join(told)}"
    names = ", ".join(family.label(variant) for variant in by_variant)
    return (
        f"no failures: {names} commit in time in all of the {len(examined.tested)} cases in which "
        f"{family.label(family.baseline)} commits"
    )


def headline(table: pd.DataFrame) -> str:
    return f"{len(table)} failures, {int(claimable(table).sum())} of them may be said"
