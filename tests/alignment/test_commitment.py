"""Commitment of many curves: censored medians, Wilson intervals, and the sensitivity table."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probe.alignment.commitment import (
    RUNS,
    THRESHOLDS,
    censored_median,
    commitment_layer,
    commitment_sensitivity,
    commitment_states,
)
from probe.stats.groups import multinomial

STATES = st.lists(st.sampled_from([0.0, 1.0, 4.0, 7.0, np.inf]), min_size=2, max_size=25)


@given(arrays(np.float64, (6, 9), elements=st.floats(-1, 1)), st.integers(1, 12), st.integers(0, 10))
def test_commitment_states_are_the_commitment_layers(curves, consecutive, start):
    states = commitment_states(curves, 0.3, consecutive, start)
    for curve, state in zip(curves, states, strict=True):
        layer = commitment_layer(curve, 0.3, consecutive, start)
        assert state == (np.inf if layer is None else layer)


@given(STATES)
def test_the_median_is_none_exactly_where_fewer_than_half_commit(states):
    states = np.array(states)
    median, low, high = censored_median(states)
    assert (median is None) == (np.isfinite(states).mean() < 0.5)
    ends = [np.inf if end is None else end for end in (low, median, high)]
    assert ends == sorted(ends)
    if median is not None:
        assert np.mean(states <= median) >= 0.5 > np.mean(states < median)


def test_never_is_censored_and_not_dropped():
    states = np.array([2.0] * 8 + [np.inf] * 12)
    assert censored_median(states) == (None, 2, None)
    assert censored_median(states[:9]) == (2, 2, 2)
    assert censored_median(np.full(20, np.inf)) == (None, None, None)


def slow_median_interval(states, weights):
    medians = []
    for row in weights:
        cells = sorted(
            cell for times, concept in zip(row, states, strict=True) for cell in list(concept) * int(times)
        )
        medians.append(cells[(len(cells) - 1) // 2])
    medians.sort()
    return medians[int(0.025 * len(medians)) - 1], medians[int(0.975 * len(medians)) - 1]


def test_a_concept_is_resampled_with_all_its_languages():
    rng = np.random.default_rng(0)
    of_concept = rng.integers(0, 20, size=(12, 1)).astype(float)
    states = np.repeat(of_concept, 9, axis=1)  # nine languages that say the same as one
    _, low, high = censored_median(states)
    assert (low, high) == slow_median_interval(states, multinomial(12))
    assert censored_median(states) == censored_median(of_concept)
    mistaken = np.ptp(np.array(censored_median(states.ravel())[1:], float))  # cells as if independent
    assert mistaken < np.ptp(np.array([low, high], float))


def test_a_nan_is_not_never():
    with pytest.raises(ValueError, match="NaN"):
        censored_median(np.array([1.0, np.nan, 3.0]))


def wilson(committed, n, z=1.959963984540054):
    """Wilson 1927, solved by hand."""
    share, centre = committed / n, committed / n + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    items = {
        language: np.clip(rng.normal(level, 0.1, (20, 10)), -1, 1)
        for language, level in (("hi", 0.85), ("fr", 0.95))
    }
    return commitment_sensitivity({"base": items, "fire": {"hi": items["fr"]}}, "mean", "cosine")


def test_the_sensitivity_table_has_every_combination_and_wilsons_interval(table):
    assert list(table.columns) == [
        "criterion", "variant", "language", "position", "metric", "threshold", "consecutive", "committed",
        "n", "fraction", "ci_low", "ci_high", "censored_median",
    ]  # fmt: skip
    assert len(table) == 3 * len(THRESHOLDS) * len(RUNS)
    for row in table.to_dict("records"):
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(wilson(row["committed"], 20), abs=1e-9)
        assert row["fraction"] == row["committed"] / row["n"]
        assert pd.isna(row["censored_median"]) == (row["fraction"] < 0.5)


def test_stricter_never_commits_more(table):
    for _, group in table.groupby(["variant", "language"]):
        grid = group.pivot(index="threshold", columns="consecutive", values="committed").to_numpy()
        assert (np.diff(grid, axis=0) <= 0).all()
        assert (np.diff(grid, axis=1) <= 0).all()
        assert grid.max() > grid.min()


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 9))
def test_start_sets_the_artifact_of_state_0_aside(start):
    items = np.zeros((10, 12))
    items[:, :3] = 1
    table = commitment_sensitivity({"base": {"sw": items}}, "last", "cosine", start=start)
    held = table.consecutive <= 3 - start
    np.testing.assert_array_equal(table.committed, np.where(held, 10, 0))
