"""The level that a curve holds: the best of its runs' minima, the highest at which it still commits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.alignment.commitment import commitment_layer, held_level


def slow_held_level(curve, consecutive: int) -> float | None:
    best = None
    for start in range(len(curve) - consecutive + 1):
        lowest = min(curve[start : start + consecutive])
        best = lowest if best is None or lowest > best else best
    return best


CURVE = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


@given(CURVE, st.integers(1, 6))
def test_held_level_is_the_best_of_the_runs_minima(curve, consecutive):
    assert held_level(curve, consecutive) == slow_held_level(curve, consecutive)


@given(CURVE, st.floats(-1, 1), st.integers(1, 6))
def test_a_curve_commits_exactly_where_it_holds_the_threshold(curve, threshold, consecutive):
    level = held_level(curve, consecutive)
    commits = commitment_layer(curve, threshold, consecutive) is not None
    assert commits == (level is not None and level >= threshold)
    if level is not None:
        assert commitment_layer(curve, level, consecutive) is not None


@given(CURVE, st.integers(1, 5))
def test_held_level_falls_with_a_longer_run(curve, consecutive):
    level, longer = held_level(curve, consecutive), held_level(curve, consecutive + 1)
    assert longer is None or (level is not None and level >= longer)
    assert held_level(np.negative(curve), 1) == -min(curve)
    assert held_level(curve, 1) == max(curve)


def test_held_level_refuses_what_commitment_layer_refuses():
    for refused in ([0.1, np.nan], [np.inf]):
        with pytest.raises(ValueError, match="not finite"):
            held_level(refused, 1)
    with pytest.raises(ValueError, match="at least 1"):
        held_level([0.5], 0)
