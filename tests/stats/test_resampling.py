"""Nulls and intervals: slow references, properties, and error rates that are what they claim to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm, t

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
    with pytest.raises(ValueError, match="two resamples"):
        resampling.max_statistic_p(np.zeros(2), np.zeros((1, 2)))


def test_a_discovery_rate_of_nan_is_refused():
    with pytest.raises(ValueError):  # noqa: PT011  scipy's wording is not ours to fix
        resampling.benjamini_hochberg(np.array([0.2, np.nan]))


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


def test_permutations_equal_a_loop_and_are_the_same_for_all_states():
    sims = np.random.default_rng(0).normal(size=(1, 12, 12))
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
    sample = np.random.default_rng(3).exponential(size=25)
    _, low, high = resampling.interval(lambda w: w @ sample[:, None] / w.sum(1, keepdims=True), 25)
    # SciPy's has no expanded quantile: it is asked for the confidence at which its own is as wide.
    level = 2 * norm.cdf(t.ppf(0.975, 24) * np.sqrt(25 / 24)) - 1
    reference = bootstrap(
        (sample,), np.mean, confidence_level=level, n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    spread = reference.high - reference.low
    assert low[0] == pytest.approx(reference.low, abs=0.05 * spread)
    assert high[0] == pytest.approx(reference.high, abs=0.05 * spread)


def test_within_strata_targets_change_places_only_there():
    """A cell of two strata would show: it holds 10,000."""
    strata = np.array([0, 1, 0, 1, 2, 0])
    scores = np.random.default_rng(8).random((1, 6, 6)) + 1e4 * ~np.equal.outer(strata, strata)
    null = resampling.permuted_matched(scores, 300, strata)
    assert null.max() < 1
    assert len(np.unique(null.round(9))) == 6 * 2  # every order within a stratum occurs
    assert resampling.permuted_matched(scores, 300).max() > 1
