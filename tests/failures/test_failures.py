"""The evidence behind failures: single cases, categories, and effects that were planted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from probe.audit.door import Judge, claimable
from probe.failures import cases, evidence
from probe.families import load_family
from probe.paths import Paths
from probe.stimuli.manifest import Manifest, load_concepts, probe_sentences

N_STATES, D_MODEL = 9, 256


@pytest.mark.parametrize(("n_states", "first", "last"), [(37, 9, 27), (9, 2, 6), (5, 1, 3), (2, 0, 1)])
def test_the_middle_states_lie_alike_from_both_ends(n_states, first, last):
    states = range(n_states)[evidence.middle_states(n_states)]
    assert (states[0], states[-1]) == (first, last)
    assert states[0] == n_states - 1 - states[-1]


def fitted(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By least squares over the mismatched pairs: matched minus predicted, and the standard error of that by
    the scatter of the pairs in the row and the column."""
    n = len(change)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    row = np.eye(n)
    design = np.array([np.concatenate([row[i], row[j]]) for i, j in pairs])
    observed = np.array([change[pair] for pair in pairs])
    effects = np.linalg.lstsq(design, observed, rcond=None)[0]
    residual = observed - design @ effects
    values, errors = [], []
    for i in range(n):
        own = np.concatenate([row[i], row[i]])
        near = [r for r, pair in zip(residual, pairs, strict=True) if i in pair]
        spread = np.sum(np.square(near)) / (len(near) * (len(pairs) - 2 * n + 1) / len(pairs))
        values.append(change[i, i] - own @ effects)
        errors.append(np.sqrt(spread * (1 + own @ np.linalg.pinv(design.T @ design) @ own)))
    return np.array(values), np.array(errors)


@pytest.mark.parametrize("n", [4, 7, 20])
def test_a_single_case_is_held_against_a_least_squares_fit_of_the_others(n):
    change = np.random.default_rng(n).normal(size=(n, n))
    value, error = fitted(change)
    scored = evidence.single_cases(change)
    np.testing.assert_allclose(scored.value, value)
    df = 2 * (n * (n - 1) - (2 * n - 1)) / n  # the pairs near a case are 2 / n of all
    np.testing.assert_allclose(scored.p_value, 2 * student_t.sf(np.abs(value) / error, df))
    np.testing.assert_allclose(scored.ci_high - scored.value, student_t.ppf(0.975, df) * error)
    rows, columns = np.random.default_rng(0).normal(size=(2, n))
    moved = evidence.single_cases(change + rows[:, None] + columns)
    np.testing.assert_allclose(moved, scored, rtol=1e-6)


def test_where_nothing_changes_nothing_is_found():
    found = evidence.single_cases(np.zeros((6, 6)))
    assert (found.p_value == 1).all()
    assert (found[["value", "ci_low", "ci_high"]] == 0).all(axis=None)
    with pytest.raises(ValueError, match="three others"):
        evidence.single_cases(np.zeros((3, 3)))


def test_single_cases_without_an_effect_are_found_as_often_as_promised():
    p = np.concatenate(
        [
            evidence.single_cases(np.random.default_rng(seed).normal(size=(32, 32))).p_value
            for seed in range(60)
        ]
    )
    assert 0.03 < (p < 0.05).mean() < 0.07


# Planted


@dataclass
class Planted:
    """Stands in for a store: vectors by stimulus id, the same at every state."""

    vectors: dict[str, np.ndarray]
    n_states: int = N_STATES

    def resid(self, position, ids, state=slice(None)):
        assert position == "mean"
        rows = np.array([self.vectors[name] for name in ids], dtype=np.float32)
        return np.repeat(rows[:, None], self.n_states, axis=1)[:, state]


@pytest.fixture(scope="module")
def probes():
    return Manifest(metadata={}, probes=probe_sentences(load_concepts(Paths().concept_probes)))


def lost(manifest: Manifest, **moved: str) -> pd.DataFrame:
    """What is found where stimuli of `fire` moved: "elsewhere", where their meaning is gone, or "apart",
    where they keep it, and have a part of their own instead of what all sentences have in common."""
    rng = np.random.default_rng(5)
    common = rng.normal(size=D_MODEL)
    meanings = {s.concept_id: rng.normal(size=D_MODEL) for s in manifest.probes}
    base = {s.stimulus_id: common + meanings[s.concept_id] + 0.5 * rng.normal(size=D_MODEL)
            for s in manifest.probes}  # fmt: skip
    fire = {name: vector + 0.1 * rng.normal(size=D_MODEL) for name, vector in base.items()}
    for name, where in moved.items():
        instead = rng.normal(size=D_MODEL)
        fire[name] = instead if where == "elsewhere" else fire[name] - common + instead
    stores = {"base": Planted(base), "fire": Planted(fire)}
    found = cases.concept_evidence(stores, manifest, "probes", "base", ["fire"])
    assert len(found) == 20 * 9
    return evidence.with_q_values(found)


def test_a_concept_that_a_variant_lost_is_found_and_only_that(probes):
    found = lost(probes, probe_C03_hi="elsewhere")
    worst = found.loc[found.p_value.idxmin()]
    assert (worst.concept_id, worst.language, worst.variant) == ("C03", "hi", "fire")
    assert worst.ci_high < -0.3
    assert found.significant.sum() == 1
    assert not found.shared.any()


@pytest.mark.parametrize("where", ["apart", "elsewhere"])
def test_an_english_sentence_that_moved_is_no_loss_of_the_nine_languages(probes, where):
    """Once away from everything, its own translations included; once it is no sentence of that meaning."""
    found = lost(probes, probe_C03_en=where)
    assert found.significant.sum() == (9 if where == "elsewhere" else 0)
    assert set(found[found.shared].concept_id) <= {"C03"}
    never = found.assign(stimuli="probes", base_commit=3, fire_commit=None, failure_category=cases.NEVER)
    family = load_family("nano-aya", Paths())
    judge = Judge([], family.untrained)
    table = cases.cases([cases.Examined("probes", never)], family, ["base", "fire"], judge, N_STATES)
    assert len(table) == 20 * 9
    assert not claimable(table).any()
    assert not table.significant.any()
    moved = table.reason == "english_moved/failure"
    assert table.notes[moved].str.endswith("so the English moved").all()
    assert moved.sum() == found.significant.sum()


def test_languages_without_concepts_enough_give_no_evidence(probes):
    few = Manifest(metadata={}, probes=[s for s in probes.probes if s.concept_id < "C05"])
    assert cases.concept_evidence({}, few, "probes", "base", ["fire"]).empty
