"""The power analysis: against a textbook formula where there is one, its spread against the data."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ncf
from scipy.stats import t as student_t

from bench import power
from probe.conventions import ALPHA
from probe.paths import REPOSITORY


def test_at_one_known_state_it_is_the_power_of_a_t_test():
    effect = power.smallest_effect(20, 1, True)
    critical = student_t.ppf(1 - ALPHA / 2, 19)
    # the square of t is an F; a rate of 0.8 in 2,000 runs has a standard error of 0.009, the quantile its own
    assert ncf.sf(critical**2, 1, 19, 20 * effect**2) == pytest.approx(power.POWER, abs=0.05)


@pytest.mark.parametrize("where", power.WHERE.values())
def test_power_is_the_level_where_there_is_nothing_and_grows_with_meanings(where):
    assert power.power(0.0, 20, *where) == pytest.approx(ALPHA, abs=1e-3)
    smallest = [power.smallest_effect(n, *where) for n in (20, 100)]
    assert smallest == sorted(smallest, reverse=True)


def test_one_of_37_states_is_harder_to_find_than_all_of_nine():
    assert power.power(0.6, 20, 37, False) < power.power(0.6, 20, 9, True) - 0.1


def test_the_spread_is_read_back_from_an_interval():
    differences = np.random.default_rng(2).normal(0.1, 0.03, 50)
    reach = student_t.ppf(0.975, 49) * differences.std(ddof=1) / np.sqrt(50)
    table = pd.DataFrame({"ci_low": [0.1 - reach], "ci_high": [0.1 + reach], "n": [50]})
    assert power.spread(table)[0] == pytest.approx(differences.std(ddof=1))


def test_the_committed_table_is_what_the_command_makes():
    committed = pd.read_csv(REPOSITORY / "bench" / "power.csv")
    pd.testing.assert_frame_equal(power.run(), committed, rtol=1e-3)
