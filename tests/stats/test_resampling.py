"""Nulls and intervals: slow references, properties, and error rates that are what they claim to be."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, permutation_test

from probe.stats import resampling


def correlated(rng, shape, carry=0.9):
    """Standard normal rows whose neighbouring columns (states) are alike."""
    values = rng.normal(size=shape)
    for state in range(1, shape[-1]):
        values[..., state] = carry * values[..., state - 1] + np.sqrt(1 - carry**2) * values[..., state]
    return values


def slow_max_statistic(observed, null):
    standard = (observed - null.mean(axis=0)) / null.std(axis=0, ddof=1)
    maxima = [max((row - null.mean(axis=0)) / null.std(axis=0, ddof=1)) for row in null]
    return [(1 + sum(m >= z - 1e-9 for m in maxima)) / (1 + len(null)) for z in standard]


def test_max_statistic_equals_a_loop_and_never_undercuts_the_pointwise_p():
    rng = np.random.default_rng(0)
    null = correlated(rng, (300, 7)) * np.arange(1, 8)
    observed = null[0] + np.arange(7)
    adjusted, somewhere = resampling.max_statistic_p(observed, null)
    np.testing.assert_allclose(adjusted, slow_max_statistic(observed, null), atol=1e-12)
    assert somewhere == adjusted.min()
    assert (adjusted >= resampling.p_value(observed, null) - 1e-12).all()


def test_max_statistic_does_not_depend_on_the_states_units():
    rng = np.random.default_rng(1)
    null, observed, scale = (
        rng.normal(size=(200, 4)),
        np.array([0.5, 1.5, 2.5, 3.5]),
        np.array([1e-4, 1, 30, 7]),
    )
    one, _ = resampling.max_statistic_p(observed, null)
    other, _ = resampling.max_statistic_p(3 + observed * scale, 3 + null * scale)
    np.testing.assert_array_equal(one, other)


def test_a_state_whose_null_does_not_vary_claims_nothing_and_costs_nothing():
    rng = np.random.default_rng(2)
    null, observed = rng.normal(size=(500, 3)), np.array([1.0, 2.5, 0.0])
    constant = 1 + 1e-16 * rng.normal(size=(500, 1))
    with_constant, somewhere = resampling.max_statistic_p(
        np.append(observed, 1.0), np.hstack([null, constant])
    )
    without, _ = resampling.max_statistic_p(observed, null)
    np.testing.assert_array_equal(with_constant, [*without, 1.0])
    assert somewhere == without.min()
    assert resampling.max_statistic_p(np.ones(2), np.ones((50, 2)))[1] == 1.0


def test_under_the_null_somewhere_is_claimed_in_about_5_per_cent():
    """200 data sets of 20 pairings that say nothing, over 12 dependent states; pointwise, 'somewhere' would
    be claimed far more often."""
    rng = np.random.default_rng(3)
    together = pointwise = 0
    for _ in range(200):
        scores = np.moveaxis(correlated(rng, (20, 20, 12), carry=0.5), -1, 0)
        observed = np.diagonal(scores, axis1=1, axis2=2).mean(axis=1)
        null = resampling.permuted_matched(scores)
        together += resampling.max_statistic_p(observed, null)[1] < 0.05
        pointwise += resampling.p_value(observed, null).min() < 0.05
    assert 2 <= together <= 20
    assert pointwise > 40


def test_tests_refuse_what_is_not_finite():
    null = np.zeros((10, 2))
    for test in (resampling.p_value, resampling.max_statistic_p):
        with pytest.raises(ValueError, match="not finite"):
            test(np.array([0.1, np.nan]), null)
    with pytest.raises(ValueError, match="not finite"):
        resampling.sign_flip(np.array([[0.1], [np.inf]]))
    with pytest.raises(ValueError, match="two resamples"):
        resampling.max_statistic_p(np.zeros(2), np.zeros((1, 2)))


def test_sign_flip_enumerates_where_it_can_and_agrees_with_scipy():
    differences = np.random.default_rng(4).normal(0.5, 1, size=(8, 3))
    p, _ = resampling.sign_flip(differences)
    for column, mine in zip(differences.T, p, strict=True):
        reference = permutation_test((column,), np.mean, permutation_type="samples", n_resamples=256)
        assert mine == pytest.approx(reference.pvalue, abs=1e-12)


def test_sign_flips_are_shared_by_all_columns():
    differences = np.random.default_rng(5).normal(0.4, 1, size=(7, 3)) * [1, 10, 0.1]
    standard = differences / np.sqrt((differences**2).sum(axis=0))
    maxima = [np.abs(signs @ standard).max() for signs in np.array(list(product((-1, 1), repeat=7)))]
    slow = [np.mean([m >= value - 1e-9 for m in maxima]) for value in np.abs(standard.sum(axis=0))]
    np.testing.assert_allclose(resampling.sign_flip(differences)[1], slow, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([6, 25]))
def test_sign_flip_is_two_sided_and_copies_of_a_state_cost_nothing(seed, n):
    differences = np.random.default_rng(seed).normal(0.3, 1, size=(n, 2))
    p, together = resampling.sign_flip(differences)
    np.testing.assert_array_equal(resampling.sign_flip(-differences)[0], p)
    assert (together >= p).all()
    alone, copied = resampling.sign_flip(differences[:, [0, 0, 0]])
    np.testing.assert_array_equal(alone, copied)


def test_sign_flip_of_no_difference_and_of_few_meanings():
    p, together = resampling.sign_flip(np.array([[0.0, 1.0]] * 6))
    np.testing.assert_array_equal(p, [1, 2 / 64])
    np.testing.assert_array_equal(together, [1, 2 / 64])
    assert resampling.sign_flip(np.ones((5, 1)))[0][0] > 0.05
    assert resampling.sign_flip(np.ones((30, 1)))[0][0] == 1 / (1 + resampling.N_RESAMPLES)


def test_sign_flip_keeps_the_family_wise_error():
    rng = np.random.default_rng(6)
    found = sum(resampling.sign_flip(correlated(rng, (20, 12)))[1].min() < 0.05 for _ in range(200))
    assert 2 <= found <= 20


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_its_step_down_by_hand(p):
    p = np.array(p)
    adjusted = resampling.holm(p)
    for alpha in (0.01, 0.05, 0.2):
        rejected = np.zeros(len(p), dtype=bool)
        for rank, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - rank) > alpha:
                break
            rejected[index] = True
        np.testing.assert_array_equal(adjusted <= alpha, rejected)
    assert (adjusted <= np.minimum(p * len(p), 1)).all()  # never worse than Bonferroni
    assert (adjusted >= false_discovery_control(p) - 1e-12).all()


def test_adjustments_refuse_nan():
    for adjust in (resampling.holm, resampling.benjamini_hochberg):
        with pytest.raises(ValueError):  # noqa: PT011  scipy's wording is not ours to fix
            adjust(np.array([0.2, np.nan]))


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0, np.inf]), min_size=1), st.floats(0.01, 1))
def test_an_attained_quantile_is_the_least_value_that_enough_do_not_exceed(values, share):
    values = np.array(values)
    quantile = resampling.attained_quantile(values, share)
    assert quantile in values
    assert np.mean(values <= quantile) >= share - 1e-6
    assert np.mean(values < quantile) < share


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_bca_intervals_cover_the_mean(draw):
    rng = np.random.default_rng(7)
    truth = {"normal": 0.0, "exponential": 1.0}[draw]
    sets = getattr(rng, draw)(size=(30, 1000))  # 1000 data sets of 30, a column each
    _, low, high = resampling.interval(lambda w: w @ sets / w.sum(axis=1, keepdims=True), 30)
    assert 0.90 <= ((low <= truth) & (truth <= high)).mean() <= 0.99
