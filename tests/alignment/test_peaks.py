"""Peaks, phases and increments: slow references, and planted truths that are found again."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.alignment import peaks
from probe.stats.groups import Groups, multinomial


def hump(peak, n_states=16, width=3.0, height=0.4, floor=0.1):
    return floor + height * np.exp(-0.5 * ((np.arange(n_states) - peak) / width) ** 2)


def items(mean, n=20, noise=0.1, seed=0):
    """(n, n_states): a level of its own per meaning and independent noise, as large again, per state."""
    rng = np.random.default_rng(seed)
    return mean + noise * (rng.normal(size=(n, 1)) + rng.normal(size=(n, len(mean))))


def slow_phases(curve, start):
    states = range(start, len(curve))
    top = max(curve[s] for s in states)
    ties = [s for s in states if curve[s] >= top - 1e-12]
    half_up, half_down = (top + curve[start]) / 2 - 1e-12, (top + curve[-1]) / 2 - 1e-12
    rise = ties[0]
    while rise > start and curve[rise - 1] >= half_up:
        rise -= 1
    falls = [s for s in states if s > ties[0] and curve[s] < half_down]
    rose = curve[start] < half_up
    return [ties[0], ties[-1], rise if rose else np.inf, falls[0] if falls else np.inf]


@given(st.integers(0, 10_000), st.integers(0, 8))
def test_phases_equal_a_walk_along_the_curve(seed, start):
    curves = np.random.default_rng(seed).choice([0, 0.1, 0.25, 0.5, 0.9], size=(20, 9))
    expected = [slow_phases(curve, start) for curve in curves]
    np.testing.assert_array_equal(peaks.phases(curves, start), expected)


def test_phases_of_curves_one_can_read():
    rising, falling = np.arange(5.0), np.arange(5.0)[::-1]
    plateau = np.array([0, 0.1, 0.8, 1, 1, 0.9, 0.2, 0])
    np.testing.assert_array_equal(peaks.phases(rising[None])[0], [4, 4, 2, np.inf])
    np.testing.assert_array_equal(peaks.phases(falling[None])[0], [0, 0, np.inf, 3])
    np.testing.assert_array_equal(peaks.phases(plateau[None])[0], [3, 4, 2, 6])
    early_bump = np.array([0, 0.6, 0.1, 0.7, 1, 0.8, 0.5])
    np.testing.assert_array_equal(peaks.phases(early_bump[None])[0], [4, 4, 3, 6])


def slow_cross_fitted(scores, drawn, start):
    """Over the list of drawn meanings, one at a time."""
    total = 0.0
    for i in drawn:
        others = np.mean([scores[j] for j in drawn if j % peaks.FOLDS != i % peaks.FOLDS], axis=0)
        total += scores[i, start + int(others[start:].argmax())]
    peak = total / len(drawn)
    mean = scores[drawn].mean(axis=0)
    return [peak, peak - mean[start], mean[-1] - peak]


def test_cross_fitting_equals_a_loop_over_the_drawn_meanings():
    scores = items(np.zeros(6), n=23)
    weights = multinomial(23)[:30]
    fast = peaks.cross_fitted(scores, weights, Groups.independent(23), start=1)
    for row, weight in zip(fast, weights, strict=True):
        drawn = np.repeat(np.arange(23), weight.astype(int))
        np.testing.assert_allclose(row, slow_cross_fitted(scores, drawn, 1), atol=1e-12)


def test_a_group_is_in_one_fold_and_is_drawn_whole():
    """Meanings that are copies of one another: read beside their copy, noise would pass for a peak."""
    copies = [np.repeat(items(np.full(37, 0.3), n=10, seed=seed), 4, axis=0) for seed in range(40)]
    groups = Groups(40, {"frame": np.repeat(np.arange(10), 4)})
    ones = np.ones((1, 40))
    apart = [peaks.cross_fitted(scores, ones, Groups.independent(40))[0, 0] for scores in copies]
    together = [peaks.cross_fitted(scores, ones, groups)[0, 0] for scores in copies]
    assert np.mean(apart) - 0.3 > 0.04
    assert abs(np.mean(together) - 0.3) < 3.5 * np.std(together) / np.sqrt(40)
    clear = np.repeat(items(hump(6, n_states=9), n=10), 4, axis=0)
    alone, grouped = (peaks.describe(clear, each) for each in (40, groups))
    assert grouped["ci_high"] - grouped["ci_low"] > 1.5 * (alone["ci_high"] - alone["ci_low"])


def test_where_the_peak_is_clear_cross_fitting_changes_nothing():
    scores = items(hump(6), noise=0.01)
    row = peaks.describe(scores, len(scores))
    assert row["peak"] == pytest.approx(scores.mean(axis=0)[6], abs=1e-12)
    assert row["rise"] == pytest.approx((scores[:, 6] - scores[:, 0]).mean(), abs=1e-12)
    assert row["fall"] == pytest.approx((scores[:, -1] - scores[:, 6]).mean(), abs=1e-12)
    assert row["optimism"] == pytest.approx(0, abs=1e-12)


def test_the_maximum_of_a_flat_curve_is_biased_and_the_cross_fitted_one_is_not():
    naive, fitted = [], []
    for seed in range(200):
        scores = items(np.full(37, 0.3), seed=seed)
        naive.append(scores.mean(axis=0).max() - 0.3)
        fitted.append(peaks.cross_fitted(scores, np.ones((1, 20)), Groups.independent(20))[0, 0] - 0.3)
    error = np.std(fitted) / np.sqrt(200)
    assert np.mean(naive) > 0.03
    assert abs(np.mean(fitted)) < 3.5 * error
    assert error < 0.004


def test_planted_peaks_are_found_and_their_intervals_cover():
    """150 data sets of 40 meanings: the state within one; intervals of states and values over the truth."""
    mean = hump(9)
    tables = [
        peaks.peaks_table({"base": {"hi": items(mean, n=40, seed=seed)}}, 40, "mean", "excess")
        for seed in range(150)
    ]
    found = pd.concat(tables)
    assert ((found.peak_state - 9).abs() <= 1).mean() >= 0.95
    assert ((found.peak_state_ci_low <= 9) & (found.peak_state_ci_high >= 9)).mean() >= 0.9
    for value, prefix, truth in (
        ("peak", "", mean[9]),
        ("rise", "rise_", mean[9] - mean[0]),
        ("fall", "fall_", mean[-1] - mean[9]),
    ):
        estimate, low, high = (
            found[name].to_numpy() for name in (value, f"{prefix}ci_low", f"{prefix}ci_high")
        )
        assert np.mean((low <= estimate) & (estimate <= high)) >= 0.95
        assert np.mean((low <= truth) & (truth <= high)) >= 0.87
    expected = peaks.phases(mean[None])[0]
    assert ((found.rise_start - expected[2]).abs() <= 1).mean() >= 0.9
    assert ((found.fall_start - expected[3]).abs() <= 1).mean() >= 0.9


def test_state_intervals_hold_95_per_cent_of_the_resamples():
    scores = items(hump(6, width=6), seed=3)
    row = peaks.describe(scores, len(scores))
    weights = multinomial(20)
    chosen = (weights @ scores).argmax(axis=1)
    inside = (chosen >= row["peak_state_ci_low"]) & (chosen <= row["peak_state_ci_high"])
    assert inside.mean() >= 0.95
    assert row["peak_state_ci_low"] < row["peak_state_ci_high"]


def test_states_that_tie_are_all_in_the_interval():
    scores = np.tile([0.1, 0.5, 1.0, 1.0, 1.0, 0.2], (12, 1))  # retrieval at its ceiling
    row = peaks.describe(scores, len(scores))
    assert (row["peak_state"], row["peak_state_ci_low"], row["peak_state_ci_high"]) == (2, 2, 4)
    assert (row["peak"], row["ci_low"], row["ci_high"]) == (1, 1, 1)


def test_what_never_falls_has_empty_cells():
    table = peaks.peaks_table({"base": {"hi": items(np.arange(8) / 10, noise=0.01)}}, 20, "mean", "cosine")
    assert table.fall_start.isna().all()
    assert table.fall_start_ci_high.isna().all()
    assert table.rise_start.item() == 4
    assert table.fall.item() == 0
    assert "-0.0" not in table.to_csv(float_format="%.1f")


def test_the_embedding_can_be_set_aside():
    mean = hump(6)
    mean[0] = 1.0  # the same full stop in both languages
    scores = items(mean, noise=0.02)
    assert peaks.describe(scores, len(scores))["peak_state"] == 0
    assert peaks.describe(scores, len(scores), start=1)["peak_state"] == 6


def test_the_table_has_the_columns_of_the_design():
    scores = items(hump(4, n_states=8))
    table = peaks.peaks_table(
        {"base": {"hi": scores, "fr": scores}, "fire": {"hi": scores}}, 20, "mean", "excess"
    )
    assert list(table.columns[:10]) == [
        "variant", "language", "position", "metric", "peak_state", "peak_state_ci_low", "peak_state_ci_high",
        "peak", "ci_low", "ci_high",
    ]  # fmt: skip
    assert {
        "rise",
        "rise_ci_low",
        "fall",
        "fall_ci_high",
        "rise_start",
        "fall_start",
        "optimism",
        "n",
    } <= set(table)
    assert len(table) == 3


@pytest.mark.parametrize("bad", [np.ones(5), np.ones((1, 5)), np.full((3, 5), np.nan)])
def test_what_is_no_curve_is_refused(bad):
    with pytest.raises(ValueError):  # noqa: PT011  two messages, one refusal
        peaks.describe(bad, len(bad))
    with pytest.raises(ValueError, match="from state 5"):
        peaks.describe(np.ones((3, 5)), 3, start=5)


FULL, SLIDING = "full_attention", "sliding_attention"
TYPES = [SLIDING, SLIDING, SLIDING, FULL] * 3


def planted(sliding, full, trend=0.0, n=30):
    """Each block adds what its type adds, and something that grows with depth."""
    steps = np.array([full if kind == FULL else sliding for kind in TYPES]) + trend * np.arange(12)
    return items(np.concatenate([[0.0], steps.cumsum()]), n=n, noise=0.02)


def test_increments_are_attributed_to_the_type_that_made_them():
    scores = planted(sliding=0.01, full=0.05)
    found = peaks.increments_by_layer_type(scores, TYPES, 30)
    steps = np.diff(scores.mean(axis=0))
    assert list(found) == [SLIDING, FULL]
    for kind, truth in ((SLIDING, 0.01), (FULL, 0.05)):
        estimate, low, high = found[kind]
        assert estimate == pytest.approx(np.mean([s for s, t in zip(steps, TYPES, strict=True) if t == kind]))
        assert low <= truth <= high
    estimate, low, high = peaks.increment_difference(scores, TYPES, 30, FULL, SLIDING)
    assert estimate == pytest.approx(found[FULL][0] - found[SLIDING][0])
    assert 0 < low <= 0.04 <= high


def test_increments_sum_to_the_whole_change():
    scores = planted(0.01, 0.03)
    found = peaks.increments_by_layer_type(scores, TYPES, 30)
    whole = (scores[:, -1] - scores[:, 0]).mean()
    assert 9 * found[SLIDING][0] + 3 * found[FULL][0] == pytest.approx(whole)


def test_depth_is_not_mistaken_for_layer_type():
    scores = planted(sliding=0.01, full=0.01, trend=0.01)
    plain = peaks.increment_difference(scores, TYPES, 30, FULL, SLIDING)
    adjusted = peaks.increment_difference(scores, TYPES, 30, FULL, SLIDING, trend=1)
    assert plain[1] > 0.01  # the full layers lie deeper: two blocks, on average
    assert adjusted[1] <= 0 <= adjusted[2]
    planted_too = planted(sliding=0.01, full=0.05, trend=0.01)
    _, low, high = peaks.increment_difference(planted_too, TYPES, 30, FULL, SLIDING, trend=2)
    assert 0 < low <= 0.04 <= high


def test_layer_types_that_do_not_fit_are_refused():
    scores = planted(0.01, 0.05)
    with pytest.raises(ValueError, match="11 layer types for 13 states"):
        peaks.increments_by_layer_type(scores, TYPES[1:], 30)
    with pytest.raises(ValueError, match="cannot be told"):
        peaks.increment_difference(scores, [SLIDING] * 12, 30, FULL, SLIDING)
    with pytest.raises(ValueError, match="cannot be told"):
        peaks.increment_difference(scores, [SLIDING] * 11 + [FULL], 30, FULL, SLIDING, trend=11)


@settings(max_examples=10, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 10))
def test_shift_and_scale_of_the_score_move_values_and_no_state(shift, scale):
    scores = items(hump(5), seed=4)
    one, other = peaks.describe(scores, len(scores)), peaks.describe(shift + scale * scores, 20)
    for name in ("peak_state", "peak_state_ci_high", "rise_start", "fall_start", "fall_start_ci_low"):
        assert one[name] == other[name]
    assert other["peak"] == pytest.approx(shift + scale * one["peak"])
    assert other["rise_ci_low"] == pytest.approx(scale * one["rise_ci_low"])
