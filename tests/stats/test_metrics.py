"""Metrics: properties, slow references from the papers' formulas, planted truth, chance and refusals."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from probe.stats import metrics, resampling
from probe.stats.groups import multinomial


def pairs(n=12, n_states=3, d_model=16, shared=0.6, offset=2.0, apart=0.0, seed=0):
    """pivot and target (n, n_states, d_model): a shared part per meaning, noise of its own on each side, an
    offset common to all sentences, which makes any two alike (anisotropy), and one per language (apart)."""
    rng = np.random.default_rng(seed)
    meaning, *noise = rng.normal(size=(3, n, n_states, d_model))
    common, *own = rng.normal(size=(3, d_model))
    return tuple(
        offset * common + apart * place + np.sqrt(shared) * meaning + np.sqrt(1 - shared) * part
        for place, part in zip(own, noise, strict=True)
    )


def similarity(pivot, target):
    return np.stack([metrics.cosine_matrix(pivot[:, s], target[:, s]) for s in range(pivot.shape[1])])


def values(metric, grams):
    """(n_states,) of any metric."""
    if metric in metrics.WHOLE:
        return metrics.WHOLE[metric](grams)
    return metrics.matched(metrics.ITEMWISE[metric](grams))


EVERY = [*metrics.ITEMWISE, *metrics.WHOLE]


@pytest.fixture
def vectors():
    return pairs(apart=1.0)


@pytest.fixture
def grams(vectors):
    return metrics.grams(*vectors)


@pytest.fixture
def sims():
    return similarity(*pairs())


# Grams


def test_grams_are_the_inner_products(vectors, grams):
    pivot, target = vectors
    np.testing.assert_allclose(grams.cross[1], pivot[:, 1] @ target[:, 1].T, atol=1e-12)
    np.testing.assert_allclose(grams.pivot[2], pivot[:, 2] @ pivot[:, 2].T, atol=1e-12)
    np.testing.assert_allclose(grams.target[0], target[:, 0] @ target[:, 0].T, atol=1e-12)
    expected = 1 - cdist(pivot[:, 1], target[:, 1], "cosine")
    np.testing.assert_allclose(grams.similarity[1], expected, atol=1e-12)
    np.testing.assert_allclose(metrics.cosine_matrix(pivot[:, 1], target[:, 1]), expected, atol=1e-12)


def test_half_precision_is_summed_in_float64():
    sides = [300 * side.astype(np.float16) for side in pairs()]  # squares overflow float16
    assert sides[0].dtype == np.float16
    grams = metrics.grams(*sides)
    assert grams.cross.dtype == np.float64
    exact = np.einsum("id,jd->ij", *(side[:, 0].astype(np.float64) for side in sides))
    np.testing.assert_allclose(grams.cross[0], exact, rtol=1e-12)


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_vectors_without_direction_are_refused_by_row_and_state(vectors, wrong):
    pivot, target = vectors
    target[4, 2] = wrong
    with pytest.raises(ValueError, match="row 4 of the target at state 2"):
        metrics.grams(pivot, target)
    with pytest.raises(ValueError, match="row 4"):
        metrics.cosine_matrix(pivot[:, 2], target[:, 2])
    with pytest.raises(ValueError, match="not matched"):
        metrics.grams(pivot[1:], pivot)


# Agreement with slow formulas


def cosine(a, b):
    return sum(a * b) / (sum(a * a) ** 0.5 * sum(b * b) ** 0.5)


def slow_excess(x, y, i, j):
    n = len(x)
    row = np.mean([cosine(x[i], y[t]) for t in range(n)])
    column = np.mean([cosine(x[p], y[j]) for p in range(n)])
    everything = np.mean([cosine(a, b) for a in x for b in y])
    return (cosine(x[i], y[j]) - row - column + everything) * n / (n - 1)


def slow_centred(x, y, i, j):
    mean_x = np.mean([x[p] for p in range(len(x)) if p != i], axis=0)
    mean_y = np.mean([y[t] for t in range(len(y)) if t != j], axis=0)
    return cosine(x[i] - mean_x, y[j] - mean_y)


def slow_rank(x, y, i, j):
    return sum(cosine(x[i], y[t]) >= cosine(x[i], y[j]) for t in range(len(y)))


def slow_mexa(x, y, i, j):
    rivals = [cosine(x[i], y[t]) for t in range(len(y)) if t != j]
    rivals += [cosine(x[p], y[j]) for p in range(len(x)) if p != i]
    return float(cosine(x[i], y[j]) > max(rivals))


def nearest(x, y, i):
    """The indices of the four sentences of y that are closest to x[i]."""
    return sorted(range(len(y)), key=lambda t: -cosine(x[i], y[t]))[:4]


def slow_margin(x, y, i, j):
    towards = sum(cosine(x[i], y[t]) / (2 * 4) for t in nearest(x, y, i))
    back = sum(cosine(y[j], x[p]) / (2 * 4) for p in nearest(y, x, j))
    return cosine(x[i], y[j]) / (towards + back)


def slow_xsim(x, y, i, j):
    forward = max(nearest(x, y, i), key=lambda t: slow_margin(x, y, i, t))
    backward = max(nearest(y, x, j), key=lambda p: slow_margin(x, y, p, j))
    return ((forward == j) + (backward == i)) / 2


def slow_bits(x, y, i, j):
    """By centred cosine, among the others of the sample alone."""
    to_target = sum(slow_centred(x, y, i, t) >= slow_centred(x, y, i, j) for t in range(len(y)))
    to_pivot = sum(slow_centred(x, y, p, j) >= slow_centred(x, y, i, j) for p in range(len(x)))
    return (np.log2(len(y) / to_target) + np.log2(len(x) / to_pivot)) / 2


SLOW = {
    "cosine": lambda x, y, i, j: cosine(x[i], y[j]),
    "excess": slow_excess,
    "centred_cosine": slow_centred,
    "p1_to_target": lambda x, y, i, j: float(slow_rank(x, y, i, j) == 1),
    "p1_to_pivot": lambda x, y, i, j: float(slow_rank(y, x, j, i) == 1),
    "rank": slow_bits,
    "mrr_to_target": lambda x, y, i, j: 1 / slow_rank(x, y, i, j),
    "mrr_to_pivot": lambda x, y, i, j: 1 / slow_rank(y, x, j, i),
    "mrr": lambda x, y, i, j: (1 / slow_rank(x, y, i, j) + 1 / slow_rank(y, x, j, i)) / 2,
    "mexa": slow_mexa,
    "margin": slow_margin,
    "xsim": slow_xsim,
}


@pytest.mark.parametrize("metric", SLOW)
def test_itemwise_metrics_equal_their_formula_at_every_cell(metric):
    pivot, target = pairs(n=8, n_states=2, d_model=6, shared=0.4, offset=1.0, apart=0.7, seed=3)
    fast = metrics.ITEMWISE[metric](metrics.grams(pivot, target))
    for state in range(2):
        x, y = pivot[:, state], target[:, state]
        slow = [[SLOW[metric](x, y, i, j) for j in range(8)] for i in range(8)]
        np.testing.assert_allclose(fast[state], slow, atol=1e-9)


def test_xsim_takes_its_candidates_by_cosine_as_laser_does():
    """The best margin of all can lie outside the four nearest; over many draws the two rules must differ."""
    differ = 0
    for seed in range(40):
        pivot, target = pairs(n=9, n_states=1, d_model=4, shared=0.2, offset=2.0, seed=seed)
        grams = metrics.grams(pivot, target)
        fast = np.diagonal(metrics.xsim(grams)[0])
        slow = [slow_xsim(pivot[:, 0], target[:, 0], i, i) for i in range(9)]
        np.testing.assert_array_equal(fast, slow)
        everywhere = metrics.margin(grams)[0]
        of_all = ((everywhere.argmax(1) == range(9)).astype(float) + (everywhere.argmax(0) == range(9))) / 2
        differ += (fast != of_all).any()
    assert differ > 0


def slow_hsic(a, b):
    """Song et al. 2007: the mean over all ordered quadruples of different sentences."""
    terms = [a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in permutations(range(len(a)), 4)]
    return np.mean(terms)


def slow_cka(x, y):
    a, b = x @ x.T, y @ y.T
    return slow_hsic(a, b) / np.sqrt(slow_hsic(a, a) * slow_hsic(b, b))


@pytest.mark.parametrize("n", [4, 5, 8])
def test_debiased_cka_equals_the_u_statistic(n):
    pivot, target = pairs(n=n, n_states=2, shared=0.5, apart=1.0)
    slow = [slow_cka(pivot[:, s], target[:, s]) for s in range(2)]
    np.testing.assert_allclose(metrics.cka(metrics.grams(pivot, target)), slow, atol=1e-9)


def test_cka_without_a_sentence_is_that_of_the_others(vectors, grams):
    fast = metrics._cka_without_each(grams)
    for i in range(12):
        rest = metrics.grams(*(np.delete(side, i, axis=0) for side in vectors))
        np.testing.assert_allclose(fast[:, i], metrics.cka(rest), atol=1e-9)


def slow_neighbours(x, i, k):
    return set(sorted((p for p in range(len(x)) if p != i), key=lambda p: -cosine(x[i], x[p]))[:k])


@pytest.mark.parametrize("n", [5, 12, 44])
def test_mutual_knn_equals_counting_common_neighbours(n):
    pivot, target = pairs(n=n, n_states=2, apart=1.0)
    fast, k = metrics.mutual_knn_items(metrics.grams(pivot, target)), metrics.neighbours(n)
    for state in range(2):
        for i in range(n):
            sides = (slow_neighbours(side[:, state], i, k) for side in (pivot, target))
            assert fast[i, state] == pytest.approx(len(set.intersection(*sides)) / k, abs=1e-9)


# Properties


@pytest.mark.parametrize("metric", EVERY)
def test_rotations_scale_and_a_common_order_change_nothing(metric, vectors, grams):
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    order = rng.permutation(12)
    moved = metrics.grams(*(3.7 * side[order] @ turn for side in vectors))
    np.testing.assert_allclose(values(metric, moved), values(metric, grams), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 14), st.integers(0, 1000))
def test_metrics_keep_their_range(n, seed):
    grams = metrics.grams(*pairs(n=n, shared=(seed % 11) / 10, seed=seed))
    low = {"excess": -8, "cosine": -1, "centred_cosine": -1, "cka": -1}
    high = {"excess": 8, "rank": np.log2(n)}
    for metric in EVERY:
        if metric != "margin":
            score = (metrics.ITEMWISE | metrics.WHOLE)[metric](grams)
            assert low.get(metric, 0) <= score.min()
            assert score.max() <= high.get(metric, 1) + 1e-12


@pytest.mark.parametrize("metric", EVERY)
def test_the_same_vectors_on_both_sides_score_the_maximum(metric):
    side = pairs()[0]
    grams = metrics.grams(side, side)
    if metric in ("excess", "margin"):
        assert (values(metric, grams) > metrics.null(metric, grams).max(axis=0)).all()
    else:
        np.testing.assert_allclose(values(metric, grams), np.log2(12) if metric == "rank" else 1, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 4), st.integers(1, 4), st.integers(0, 1000))
def test_mid_ranks_are_scipys_average_ranks(n, others, levels, seed):
    rng = np.random.default_rng(seed)
    score, rivals = (rng.integers(-levels, levels + 1, (3, size)) / 7 for size in (n, others))
    pool = np.concatenate([score, rivals], axis=1)
    expected = rankdata(-pool, axis=1)[:, :n]
    np.testing.assert_array_equal(metrics.mid_ranks(score, rivals if others else None), expected)
    dust = 1e-7 * rng.random(pool.shape)  # what another processor adds
    moved = metrics.mid_ranks(score + dust[:, :n], rivals + dust[:, n:] if others else None)
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("metric", ["centred_cosine", "rank"])
def test_offset_of_a_language_and_scale_of_the_space_move_neither_primary_measure_nor_ranks(metric, vectors):
    pivot, target = vectors
    before = metrics.ITEMWISE[metric](metrics.grams(pivot, target))
    away = np.random.default_rng(2).normal(size=16)
    offset = (pivot + 9 * away, target - 4 * away)
    for moved in ((5.0 * pivot, 5.0 * target), offset, (pivot, 0.01 * target)):
        np.testing.assert_allclose(metrics.ITEMWISE[metric](metrics.grams(*moved)), before, atol=1e-9)
    raw, of_moved = (values("excess", metrics.grams(*sides)) for sides in (vectors, offset))
    assert np.abs(raw - of_moved).min() > 0.05


def test_rivals_compete_for_the_partner_and_get_no_row():
    pivot, target = pairs(n=10, shared=0.9)
    other_pivots, other_targets = pairs(n=30, shared=0.9, seed=7)
    sides = (metrics.side(v, "-", 0, o) for v, o in ((pivot, other_pivots), (target, other_targets)))
    grams = metrics.paired(*sides)
    assert metrics.candidates(grams) == 40
    bits = metrics.rank(grams)
    centred = [side - side.mean(axis=0) for side in (pivot, target, other_pivots, other_targets)]
    for state in range(3):
        x, y, more_x, more_y = (side[:, state] for side in centred)
        for i in range(10):
            own = cosine(x[i], y[i])
            forward = 1 + sum(cosine(x[i], t) > own for t in [*np.delete(y, i, 0), *more_y])
            backward = 1 + sum(cosine(p, y[i]) > own for p in [*np.delete(x, i, 0), *more_x])
            assert bits[state, i, i] == pytest.approx((np.log2(40 / forward) + np.log2(40 / backward)) / 2)


# Nulls and chance


@pytest.mark.parametrize("at_once", [1, 7, 10**6])
def test_a_relabelled_null_equals_a_loop_over_pairs(monkeypatch, at_once):
    monkeypatch.setattr(metrics, "CACHED", at_once)
    pivot, target = np.random.default_rng(0).normal(size=(2, 2, 6, 6))
    pivot[np.abs(pivot) < 0.5] = 0
    null = metrics.relabelled_null(pivot, target)
    for row, p in zip(null[:20], metrics._relabellings(6), strict=False):
        cells = [(i, j) for i in range(6) for j in range(6) if i != j]
        slow = [sum(a[i, j] * b[p[i], p[j]] for i, j in cells) for a, b in zip(pivot, target, strict=True)]
        np.testing.assert_allclose(row, slow, atol=1e-12)


@pytest.mark.parametrize("metric", EVERY)
def test_the_null_is_the_metric_of_relabelled_data(metric, vectors, grams):
    """What makes the test exact: a permuted value is what the permuted sentences would have scored."""
    pivot, target = vectors
    null = metrics.null(metric, grams)
    rng = np.random.default_rng(resampling.SEED)
    orders = rng.permuted(np.tile(np.arange(12), (resampling.N_RESAMPLES, 1)), axis=1)
    for row in range(30):
        relabelled = metrics.grams(pivot, target[orders[row]])
        np.testing.assert_allclose(null[row], values(metric, relabelled), atol=1e-9)


def test_chance_is_what_theory_says_where_it_says_anything():
    n = 12
    grams = metrics.grams(*pairs(n=n, shared=0.8, apart=1.0))
    harmonic = sum(1 / rank for rank in range(1, n + 1)) / n
    expected = {
        "excess": 0,
        "cka": 0,
        "mutual_knn": 3 / 11,
        "p1": 1 / n,
        "rank": np.mean(np.log2(n / np.arange(1, n + 1))),
        "mrr": harmonic,
    }
    chance = {metric: metrics.null(metric, grams).mean(axis=0) for metric in EVERY}
    for metric, level in expected.items():
        assert chance[metric] == pytest.approx(level, abs=0.02), metric
    assert chance["cosine"] == pytest.approx(grams.similarity.mean(axis=(1, 2)), abs=0.01)
    assert chance["cosine"].min() > 0.6
    assert chance["mexa"].max() <= 1 / n + 0.01
    assert chance["margin"].max() < 1


@pytest.mark.parametrize("metric", ["centred_cosine", "mexa", "cka", "mutual_knn"])
def test_unrelated_sentences_are_significant_as_often_as_promised(metric):
    """120 data sets at the 10 % level, where 12 are expected."""
    found = 0
    for seed in range(40):
        grams = metrics.grams(*pairs(n=9, d_model=24, shared=0.0, apart=1.0, seed=seed))
        found += (resampling.p_value(values(metric, grams), metrics.null(metric, grams)) <= 0.1).sum()
    assert found <= 24
    assert found >= (3 if metric.startswith("c") else 0)  # scores of few levels make a test conservative


def test_whole_geometries_take_fewer_relabellings_than_pairings(grams):
    assert metrics.null("cka", grams).shape == (metrics.RELABELLINGS, 3)
    assert metrics.null("rank", grams).shape == (resampling.N_RESAMPLES, 3)


@pytest.mark.parametrize("constant", ["both", "target"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_state_is_no_alignment_to_any_metric_but_the_raw_cosine(constant, dtype):
    """The full stop: every sentence of a language has the same vector, or the same up to float32 rounding."""
    pivot, target = (side.astype(dtype) for side in pairs(n=20, d_model=300, offset=30.0, seed=5))
    target[:] = target[0, 0]
    if constant == "both":
        jitter = np.random.default_rng(0).choice((-6e-8, 0, 6e-8), size=(2, *pivot.shape))
        pivot, target = (target * (1 + each) for each in jitter.astype(dtype))
    grams = metrics.grams(pivot, target)
    for metric in EVERY:
        value, null = values(metric, grams), metrics.null(metric, grams)
        assert (resampling.p_value(value, null) == 1).all(), metric
    for metric in ("centred_cosine", "p1_to_target", "mexa", "cka", "excess"):
        np.testing.assert_allclose(values(metric, grams), 0, atol=1e-12)
    assert metrics.mutual_knn(grams) == pytest.approx(5 / 19)
    assert np.abs(metrics.cka_interval(grams)).max() == 0
    if constant == "both":
        np.testing.assert_allclose(values("cosine", grams), 1, atol=1e-12)
        np.testing.assert_allclose(values("margin", grams), 1, atol=1e-12)
        np.testing.assert_allclose(values("mrr", grams), 2 / 21, atol=1e-12)


# Planted truth


@pytest.mark.parametrize(("shared", "offset", "apart"), [(0.0, 1.0, 0.0), (0.3, 1.0, 1.0), (0.7, 2.0, 0.5)])
def test_analytic_values_are_recovered(shared, offset, apart):
    """Unit variance around offsets that are orthogonal up to O(1/sqrt(d))."""
    grams = metrics.grams(*pairs(n=200, n_states=2, d_model=3000, shared=shared, offset=offset, apart=apart))
    length = 1 + offset**2 + apart**2
    expected = {
        "cosine": (offset**2 + shared) / length,
        "excess": shared / length,
        "centred_cosine": shared,
        "cka": shared**2,
    }
    for metric, truth in expected.items():
        assert values(metric, grams) == pytest.approx(truth, abs=0.02), metric


def test_a_common_offset_raises_cosine_but_not_excess_of_unrelated_sentences():
    sims = similarity(*pairs(n=300, shared=0.0, offset=4.0))
    assert metrics.matched(sims).min() > 0.85
    assert np.abs(metrics.excess(sims)).max() < 0.01


def test_anisotropy_does_not_unsettle_the_interval_of_cka():
    near, far = (metrics.cka_interval(metrics.grams(*pairs(n=20, offset=offset))) for offset in (0.0, 50.0))
    np.testing.assert_allclose(near, far, atol=1e-6)


@pytest.mark.parametrize(("shared", "decay"), [(0.0, 1), (0.6, 1), (0.6, 2), (0.9, 1)])
def test_intervals_of_cka_cover_the_truth(shared, decay):
    """120 data sets of 20 meanings; meaning and noise have one spectrum, so the truth is shared**2."""
    spectrum = np.arange(1, 65) ** (-decay / 2)
    scaled = (side * spectrum for side in pairs(n=20, n_states=120, d_model=64, shared=shared, offset=0.0))
    value, low, high = metrics.cka_interval(metrics.grams(*scaled))
    assert ((low <= value) & (value <= high)).all()
    assert ((low <= shared**2) & (shared**2 <= high)).mean() >= 0.9
    assert (high - low).mean() < 0.8


# Refusals


@pytest.mark.parametrize(
    ("metric", "n", "reason"),
    [
        ("excess", 1, "no mismatched pair"),
        ("centred_cosine", 2, "opposite directions"),
        ("rank", 2, "opposite directions"),
        ("p1", 1, "single candidate"),
        ("mrr", 1, "single candidate"),
        ("mexa", 1, "single candidate"),
        ("margin", 4, "4 nearest"),
        ("xsim", 4, "4 nearest"),
        ("cka", 3, "n - 3"),
        ("mutual_knn", 3, "would be empty"),
    ],
)
def test_too_few_sentences_are_refused_with_the_reason(metric, n, reason):
    grams = metrics.grams(*pairs(n=n))
    with pytest.raises(metrics.Refused, match=reason):
        values(metric, grams)
    values(metric, metrics.grams(*pairs(n=n + 1, offset=4.0)))


def test_what_a_metric_cannot_say_is_refused():
    sides = pairs(n=9, offset=9.0)
    for metric in ("margin", "xsim"):
        with pytest.raises(metrics.Refused, match="state 0: the nearest sentences have no positive cosine"):
            values(metric, metrics.grams(sides[0], -sides[1]))
    with pytest.raises(metrics.Refused, match="needs 5"):
        metrics.cka_interval(metrics.grams(*pairs(n=4)))


# Similarity matrices with weights, and the resampling of them


def slow_weighted_excess(matrix, drawn):
    """Over the list of drawn indices, a pair at a time."""
    matched = [matrix[i, i] for i in drawn]
    mismatched = [matrix[i, j] for i in drawn for j in drawn if i != j]
    return np.mean(matched) - np.mean(mismatched)


def test_weighted_excess_equals_a_loop_over_the_drawn_pairs(sims):
    weights = multinomial(12)[:40]
    fast = metrics.excess(sims, weights)
    for row, drawn in enumerate(weights):
        indices = np.repeat(np.arange(12), drawn.astype(int))
        for state in range(3):
            assert fast[row, state] == pytest.approx(slow_weighted_excess(sims[state], indices), abs=1e-12)
    np.testing.assert_allclose(metrics.excess(sims, np.ones((1, 12)))[0], metrics.excess(sims), atol=1e-12)


def test_a_single_sentence_has_no_mismatched_pair():
    with pytest.raises(ValueError, match="one sentence"):
        metrics.excess(np.ones((2, 1, 1)))
