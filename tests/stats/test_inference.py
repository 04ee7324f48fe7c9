"""The mean of meanings in groups: slow references, and error rates that are what they claim to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from probe.stats import inference
from probe.stats.groups import Groups, multinomial
from probe.stats.inference import holm, infer_mean, mean_variance

CROSSED = Groups(24, {"frame": np.arange(24) // 4, "filler": np.arange(24) % 5})


def slow_left_out(values, codes):
    """CR3: the mean without each group in turn."""
    without = np.array([values[codes != code].mean() for code in np.unique(codes)])
    return (len(without) - 1) / len(without) * ((without - values.mean()) ** 2).sum()


def slow_variance(values, groups):
    a, b = (groups.factors[name] for name in ("frame", "filler"))
    both = np.unique(100 * a + b, return_inverse=True)[1]
    parts = [slow_left_out(values, codes) for codes in (a, b)]
    return max(
        sum(parts) - slow_left_out(values, both), *parts, slow_left_out(values, np.arange(len(values)))
    )


def test_the_variance_is_that_of_leaving_groups_out_with_inclusion_and_exclusion():
    items = np.random.default_rng(0).normal(size=(24, 5)) + CROSSED.factors["frame"][:, None]
    variance, df, codes = mean_variance(items, CROSSED)
    np.testing.assert_allclose(variance, [slow_variance(column, CROSSED) for column in items.T], rtol=1e-9)
    np.testing.assert_array_equal(codes, CROSSED.factors["frame"])  # it adds most
    assert ((df >= 1) & (df <= 5 + 1e-9)).all()


def slow_studentised(values, codes):
    """A drawn list of groups at a time: its mean less the sample's, over its own CR0 standard error."""
    parts = [values[codes == code] - values.mean() for code in range(codes.max() + 1)]
    own = sum(part.sum() ** 2 for part in parts) / len(values) ** 2
    t = []
    for weights in multinomial(len(parts)):
        drawn = [parts[i] for i in np.repeat(np.arange(len(parts)), weights.astype(int))]
        size = sum(map(len, drawn))
        mean = np.concatenate(drawn).mean()
        squares = sum((part - mean).sum() ** 2 for part in drawn) / size**2
        variance = max(squares, inference.LEAST_VARIANCE * own) * len(parts) / (len(parts) - 1)
        t.append(mean / np.sqrt(variance))
    return np.array(t)


@pytest.mark.parametrize("codes", [np.arange(11), np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6])])
def test_interval_and_p_equal_a_loop_over_drawn_groups(codes):
    values = np.random.default_rng(1).lognormal(size=11) - 0.6
    groups = Groups(11, {"document": codes} if codes.max() < 10 else {})
    found = infer_mean(values[:, None], groups)
    resampled = slow_studentised(values, codes)
    variance, df, _ = mean_variance(values[:, None], groups)
    error, reach = np.sqrt(variance[0]), student_t.ppf(0.975, df[0])
    below, above = np.sort(resampled)[[50, -51]]  # 50 of 2,000 on either side
    assert found.low[0] == pytest.approx(values.mean() - max(reach, above) * error)
    assert found.high[0] == pytest.approx(values.mean() + max(reach, -below) * error)
    t = values.mean() / error
    beyond = (1 + (resampled >= t).sum()) / (1 + len(resampled))
    assert found.p_value[0] == pytest.approx(max(2 * beyond, 2 * student_t.sf(t, df[0]), 2.0 ** -codes.max()))
    one_sided = infer_mean(-values[:, None], groups, one_sided=True)
    assert one_sided.p_value[0] > 0.5  # below 0 is no evidence of being above it
    np.testing.assert_allclose(infer_mean(-values[:, None], groups).p_value, found.p_value, atol=0.02)


def test_p_max_is_over_the_columns_of_its_own_family():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.3, 1, (25, 4)), 5 * rng.normal(0.3, 1, (25, 4))
    together = infer_mean(np.hstack([first, second]), Groups.independent(25), families=2)
    for place, alone in enumerate((first, second)):
        expected = infer_mean(alone, Groups.independent(25))
        for name in ("low", "p_value", "p_max"):
            own = getattr(together, name)[4 * place : 4 * place + 4]
            np.testing.assert_allclose(own, getattr(expected, name), atol=1e-12)
    assert (together.p_max >= together.p_value).all()
    copied = infer_mean(first[:, [0, 0, 0]], Groups.independent(25))
    np.testing.assert_array_equal(copied.p_max, copied.p_value)  # copies of a state cost nothing


@pytest.mark.parametrize("count", [4, 8])
def test_no_p_is_smaller_than_the_number_of_groups_allows(count):
    codes = np.repeat(np.arange(count), 6)
    sure = 1 + 1e-3 * np.random.default_rng(3).normal(size=(len(codes), 1))
    found = infer_mean(sure, Groups(len(codes), {"document": codes}))
    assert found.p_value[0] >= 2.0 ** (1 - count)
    assert found.p_max[0] >= 2.0 ** (1 - count)
    assert infer_mean(sure, Groups.independent(len(codes))).p_value[0] < 2.0 ** (1 - count)


def test_a_column_that_does_not_vary_is_its_own_interval():
    items = np.column_stack([np.zeros(12), np.full(12, 0.4), np.full(12, 1e-14)])
    found = infer_mean(items, Groups.independent(12))
    np.testing.assert_allclose(found.low, [0, 0.4, 0], atol=1e-12)
    np.testing.assert_allclose(found.high, [0, 0.4, 0], atol=1e-12)
    np.testing.assert_array_equal(found.p_value == 1, [True, False, True])
    np.testing.assert_array_equal(found.p_max == 1, [True, False, True])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (np.ones(5), "of 5 meanings"),
        (np.ones((4, 2)), "of 5 meanings"),
        (np.full((5, 1), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_tested_is_refused(items, message):
    with pytest.raises(ValueError, match=message):
        infer_mean(items, Groups.independent(5))


def clustered(rng, sets, codes, carry=0.7):
    """(n, sets): the meanings of a group are alike."""
    own = rng.normal(size=(codes.max() + 1, sets))
    return np.sqrt(carry) * own[codes] + np.sqrt(1 - carry) * rng.normal(size=(len(codes), sets))


TWELVE, FEW = np.repeat(np.arange(12), 6), np.arange(60) % 10
WORLDS = {
    "independent": (Groups.independent(20), lambda rng, sets: rng.normal(size=(20, sets))),
    "skewed": (Groups.independent(20), lambda rng, sets: rng.lognormal(size=(20, sets)) - np.exp(0.5)),
    "twelve clusters": (Groups(72, {"a": TWELVE}), lambda rng, sets: clustered(rng, sets, TWELVE)),
    "crossed": (
        Groups(60, {"a": np.arange(60) // 5, "b": FEW}),
        lambda rng, sets: clustered(rng, sets, np.arange(60) // 5) + clustered(rng, sets, FEW),
    ),
}


@pytest.mark.parametrize("world", WORLDS)
def test_tests_and_intervals_keep_their_promise_where_the_mean_is_0(world):
    """400 data sets, a column each: at 5 % within three standard errors (0.033), and not idle."""
    groups, draw = WORLDS[world]
    found = infer_mean(draw(np.random.default_rng(4), 400), groups, families=400)
    limit = 0.13 if world == "skewed" else 0.083  # Student's t alone rejects 0.16 of the skewed
    assert 0.005 <= (found.p_value < 0.05).mean() <= limit
    covered = (found.low <= 0) & (found.high >= 0)
    assert 1 - limit <= covered.mean() < 1
    if groups.factors:  # taken for independent they would be far too sure of themselves
        alone = infer_mean(draw(np.random.default_rng(4), 400), Groups.independent(groups.n), families=400)
        assert (alone.p_value < 0.05).mean() > 0.2


def test_over_many_states_somewhere_is_claimed_as_often_as_promised():
    """300 data sets of 12 clusters and eight states that move together; single states would find far more."""
    rng, somewhere, single = np.random.default_rng(5), 0, 0
    for _ in range(300):
        walk = clustered(rng, 8, TWELVE).cumsum(axis=1) * np.array([1, -1, 1, -1, 1, -1, 1, -1])
        found = infer_mean(walk, Groups(72, {"a": TWELVE}))
        somewhere += found.p_max.min() < 0.05
        single += found.p_value.min() < 0.05
    assert 2 <= somewhere <= 27
    assert single > somewhere


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_its_step_down_by_hand(p):
    p = np.array(p)
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2):
        rejected = np.zeros(len(p), dtype=bool)
        for place, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - place) > alpha:
                break
            rejected[index] = True
        np.testing.assert_array_equal(adjusted <= alpha, rejected)
    assert (adjusted <= np.minimum(p * len(p), 1)).all()  # never worse than Bonferroni
    assert (adjusted >= false_discovery_control(p) - 1e-12).all()


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.2])
def test_holm_refuses_what_is_no_p(wrong):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        holm(np.array([0.2, wrong]))
