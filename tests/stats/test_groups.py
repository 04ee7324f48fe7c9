"""What meanings share: which factors are kept, and that resampling takes whole groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.stats.groups import N_RESAMPLES, Groups, effective_number, multinomial


def alike(codes):
    """(n, n): whether two meanings are in one group, whatever its number."""
    return np.equal.outer(codes, codes)


def test_groups_are_what_meanings_share():
    groups = Groups.of([{"frame": "a", "x": "1"}, {"frame": "b", "x": "2"}, {"frame": "a", "x": "3"}])
    assert list(groups.factors) == ["frame"]  # no two share an x
    np.testing.assert_array_equal(alike(groups.factors["frame"]), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    assert Groups.of([{}, {}, {}]).effective == 3


def test_each_place_of_a_list_is_a_factor_however_long_the_list():
    groups = Groups.of([{"filler": ["p", "q"]}, {"filler": ["r", "q"]}, {"filler": ["p"]}])
    np.testing.assert_array_equal(alike(groups.factors["filler.0"])[0], [1, 0, 1])
    np.testing.assert_array_equal(alike(groups.factors["filler.1"])[0], [1, 1, 0])


def test_a_meaning_without_a_factor_is_by_itself_in_it():
    groups = Groups.of([{"article": "a"}, {"article": "a"}, {}, {}])
    np.testing.assert_array_equal(alike(groups.factors["article"])[2:], [[0, 0, 1, 0], [0, 0, 0, 1]])
    assert groups.effective == pytest.approx(4**2 / (2**2 + 1 + 1))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_the_effective_number_is_that_of_equal_groups_as_uneven_as_these(codes):
    codes = np.unique(codes, return_inverse=True)[1]
    number = effective_number(codes)
    assert 1 - 1e-9 <= number <= codes.max() + 1 + 1e-9
    assert effective_number(np.repeat(codes, 3)) == pytest.approx(number)
    assert effective_number(np.repeat(np.arange(7), 4)) == pytest.approx(7)


def test_the_ways_to_group_are_each_by_itself_the_factors_and_where_two_cross():
    groups = Groups(
        4, {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 0, 0, 1]), "c": np.array([0, 1, 1, 1])}
    )
    ways = np.split(groups.shared.members.toarray(), groups.shared.starts[1:])
    together = [(way[:, :, None] * way[:, None]).sum(axis=0) for way in ways]
    np.testing.assert_array_equal(together[0], np.eye(4))
    for way, codes in zip(together[1:4], groups.factors.values(), strict=True):
        np.testing.assert_array_equal(way, alike(codes))
    a, b, c = (alike(codes) for codes in groups.factors.values())
    for way, both in zip(together[4:], (a * b, a * c, b * c), strict=True):
        np.testing.assert_array_equal(way, both)


def test_the_coarsest_factor_is_drawn_left_out_and_held_out_whole():
    groups = Groups(12, {"frame": np.arange(12) // 2, "document": np.arange(12) // 4})
    document = groups.factors["document"]
    for weights, rows in ((groups.bootstrap_weights, N_RESAMPLES), (groups.jackknife_weights, 3)):
        assert weights.shape == (rows, 12)
        for of_one in (weights[:, document == code] for code in range(3)):
            assert (of_one == of_one[:, :1]).all()
    assert ((groups.jackknife_weights == 0).sum(axis=1) == 4).all()
    folds = Groups(40, {"document": np.arange(40) // 5}).folds(5)
    assert set(folds) == set(range(5))
    assert (folds.reshape(8, 5) == folds[::5, None]).all()


def test_of_a_part_only_what_is_still_shared_groups_it():
    groups = Groups.of([{"frame": f} for f in "aabbcd"])
    assert groups.take(np.array([0, 2, 4, 5])).factors == {}
    np.testing.assert_array_equal(alike(groups.take(np.array([0, 1, 4])).factors["frame"])[0], [1, 1, 0])


@pytest.mark.parametrize("count", [2, 3, 9])
def test_resamples_hold_two_that_differ(count):
    weights = multinomial(count)
    assert (weights.sum(axis=1) == count).all()
    assert ((weights > 0).sum(axis=1) >= 2).all()
