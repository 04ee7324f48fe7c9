"""Metrics and resampling: properties, slow references, and intervals that cover what they claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import bootstrap

from probe import metrics, resampling
from probe.alignment import Cell, summarise, with_q_values


def pairs(n=12, n_states=3, d_model=16, shared=0.6, offset=2.0, seed=0):
    """pivot and target (n, n_states, d_model): a shared part per meaning, noise of its own on each side, and
    an offset common to all sentences, which makes any two alike (anisotropy)."""
    rng = np.random.default_rng(seed)
    meaning, *noise = rng.normal(size=(3, n, n_states, d_model))
    common = offset * rng.normal(size=d_model)
    return tuple(common + np.sqrt(shared) * meaning + np.sqrt(1 - shared) * part for part in noise)


def similarity(pivot, target):
    return np.stack([metrics.cosine_matrix(pivot[:, s], target[:, s]) for s in range(pivot.shape[1])])


@pytest.fixture
def sims():
    return similarity(*pairs())


def test_cosine_matrix_is_scipys():
    pivot, target = pairs()
    expected = 1 - cdist(pivot[:, 1], target[:, 1], "cosine")
    np.testing.assert_allclose(metrics.cosine_matrix(pivot[:, 1], target[:, 1]), expected, atol=1e-12)


@given(st.floats(1e-3, 1e3), st.integers(0, 50))
def test_length_does_not_matter_and_order_of_both_does_not(scale, seed):
    pivot, target = (side[:, 0] for side in pairs(seed=seed))
    order = np.random.default_rng(seed).permutation(len(pivot))
    base = metrics.excess(metrics.cosine_matrix(pivot, target)[None])
    np.testing.assert_allclose(
        metrics.excess(metrics.cosine_matrix(scale * pivot, target)[None]), base, atol=1e-12
    )
    moved = metrics.cosine_matrix(pivot[order], target[order])[None]
    np.testing.assert_allclose(metrics.excess(moved), base, atol=1e-12)


def slow_excess(matrix, drawn):
    """Over the list of drawn indices, a pair at a time."""
    matched = [matrix[i, i] for i in drawn]
    mismatched = [matrix[i, j] for i in drawn for j in drawn if i != j]
    return np.mean(matched) - np.mean(mismatched)


def test_weighted_excess_equals_a_loop_over_the_drawn_pairs(sims):
    weights = resampling.bootstrap_weights(12)[:40]
    fast = metrics.excess(sims, weights)
    for row, drawn in enumerate(weights):
        indices = np.repeat(np.arange(12), drawn.astype(int))
        for state in range(3):
            assert fast[row, state] == pytest.approx(slow_excess(sims[state], indices), abs=1e-12)
    np.testing.assert_allclose(metrics.excess(sims, np.ones((1, 12)))[0], metrics.excess(sims), atol=1e-12)


def test_a_common_offset_raises_cosine_but_not_excess_of_unrelated_sentences():
    sims = similarity(*pairs(n=300, shared=0.0, offset=4.0))
    assert metrics.matched(sims).min() > 0.85
    assert np.abs(metrics.excess(sims)).max() < 0.01


def test_zero_vectors_and_single_sentences_are_refused():
    pivot, target = (side[:, 0].copy() for side in pairs())
    target[4] = 0
    with pytest.raises(ValueError, match="row 4"):
        metrics.cosine_matrix(pivot, target)
    with pytest.raises(ValueError, match="one sentence"):
        metrics.excess(np.ones((2, 1, 1)))


def test_permutations_equal_a_loop_and_are_the_same_for_all_states(sims):
    same = np.stack([sims[0], sims[0]])
    shuffled = resampling.permuted_matched(same)
    np.testing.assert_array_equal(shuffled[:, 0], shuffled[:, 1])
    rng = np.random.default_rng(resampling.SEED)
    orders = rng.permuted(np.tile(np.arange(12), (resampling.N_RESAMPLES, 1)), axis=1)
    slow = [np.mean([sims[0, i, j] for i, j in enumerate(order)]) for order in orders[:50]]
    np.testing.assert_allclose(shuffled[:50, 0], slow, atol=1e-12)
    assert shuffled[:, 0].mean() == pytest.approx(sims[0].mean(), abs=0.01)


def test_p_values_count_the_observed_itself():
    null = np.arange(99.0)[:, None]
    assert resampling.p_value(np.array([1000.0]), null)[0] == 1 / 100
    assert resampling.p_value(np.array([-1.0]), null)[0] == 1
    assert resampling.p_value(np.array([50.0]), null)[0] == (49 + 1) / 100


def test_bca_interval_agrees_with_scipys():
    values = np.random.default_rng(3).exponential(size=25)
    _, low, high = resampling.interval(lambda w: w @ values[:, None] / w.sum(1, keepdims=True), 25)
    reference = bootstrap(
        (values,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    spread = reference.high - reference.low
    assert low[0] == pytest.approx(reference.low, abs=0.05 * spread)
    assert high[0] == pytest.approx(reference.high, abs=0.05 * spread)


def test_intervals_of_the_excess_cover_the_truth():
    """60 data sets of 40 meanings; the truth is the excess of 4,000."""
    truth = metrics.excess(similarity(*pairs(n=4000, n_states=1, seed=99)))[0]
    rng = np.random.default_rng(0)
    covered = 0
    pivot, target = pairs(n=4000, n_states=1, seed=99)
    for _ in range(60):
        drawn = rng.choice(4000, 40, replace=False)
        sims = similarity(pivot[drawn], target[drawn])
        _, low, high = resampling.interval(lambda w, s=sims: metrics.excess(s, w), 40)
        covered += low[0] <= truth <= high[0]
    assert 52 <= covered <= 60


@pytest.mark.parametrize("seed", range(8))
def test_summaries_find_what_is_there_and_nothing_else(seed):
    there = Cell(
        "v",
        "parallel",
        "mean",
        "hi",
        [str(i) for i in range(40)],
        similarity(*pairs(40, shared=0.7, seed=seed)),
    )
    nothing = Cell(
        "v", "parallel", "mean", "bn", there.meanings, similarity(*pairs(40, shared=0.0, seed=seed))
    )
    found, absent = (summarise(cell).query("metric == 'excess'") for cell in (there, nothing))
    np.testing.assert_allclose(found.p_value, 1 / (resampling.N_RESAMPLES + 1), atol=1e-9)
    assert (found.ci_low > 0).all()
    assert (found.value > found.null_high).all()
    assert absent.p_value.min() > 1e-3
    assert absent.null.abs().max() < 0.01
    table = with_q_values(summarise(there))
    assert (table.q_value >= table.p_value - 1e-12).all()
