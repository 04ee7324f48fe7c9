"""The power analysis: its formula against simulation, its spread against the differences themselves."""

import numpy as np
import pandas as pd
import pytest

from bench import power
from probe.paths import REPOSITORY
from probe.stats import resampling


def test_at_the_smallest_effect_the_sign_flip_test_finds_four_in_five():
    rng = np.random.default_rng(1)
    effect = power.smallest_effect(20, 0.05)
    found = [resampling.sign_flip(rng.normal(effect, 1, (20, 1)))[0][0] < 0.05 for _ in range(400)]
    assert np.mean(found) == pytest.approx(power.POWER, abs=0.07)  # three and a half standard errors


def test_power_is_the_level_where_there_is_nothing_and_grows_with_meanings():
    assert power.power(1e-3, 20, 0.05) == pytest.approx(0.05, abs=1e-4)
    smallest = [power.smallest_effect(n, 0.05) for n in power.MEANINGS]
    assert smallest == sorted(smallest, reverse=True)


def test_the_spread_is_read_back_from_an_interval():
    differences = np.random.default_rng(2).normal(0.1, 0.03, (50, 1))
    _, low, high = resampling.interval(lambda w: w @ differences / w.sum(axis=1, keepdims=True), 50)
    table = pd.DataFrame({"ci_low": low, "ci_high": high, "n": [50]})
    assert power.spread(table)[0] == pytest.approx(differences.std(ddof=1), rel=0.1)


def test_the_committed_table_is_what_the_command_makes():
    committed = pd.read_csv(REPOSITORY / "bench" / "power.csv")
    pd.testing.assert_frame_equal(power.run(), committed, rtol=1e-3)
