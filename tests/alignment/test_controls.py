"""What matched sentences share beside their meaning: slow references, and worlds where it is all there is."""

import numpy as np
import pytest

from probe.alignment import controls
from probe.stats import metrics


def bags(n=60, shared=0, length=12, meaning=0.0, d_model=400, seed=0):
    """Sentences as means of token vectors, the first `shared` tokens the pivot's own, and a part of their
    meaning: ((n, 1, d) vectors and token ids of both sides)."""
    rng = np.random.default_rng(seed)
    table, of_meaning = rng.normal(size=(4000, d_model)), rng.normal(size=(n, d_model))
    pivot = [rng.choice(2000, length, replace=False) for _ in range(n)]
    target = [np.append(own[:shared], rng.choice(np.arange(2000, 4000), length - shared)) for own in pivot]
    vectors = [
        np.stack([table[ids].sum(axis=0) for ids in side]) / length**0.5 + meaning * of_meaning
        for side in (pivot, target)
    ]
    return [each[:, None] for each in vectors], (pivot, target)


def partial(vectors, tokens):
    texts = (["a b."] * len(tokens[0]), ["c d."] * len(tokens[0]))
    score = metrics.centred_cosine(metrics.grams(*vectors))
    left = controls.without_shared(score, controls.pair_covariates(texts, tokens))
    return metrics.excess(score)[0], metrics.excess(left)[0]


@pytest.mark.parametrize("shared", [1, 2, 5])
def test_alignment_that_shared_tokens_make_is_gone_at_none(shared):
    before, after = partial(*bags(shared=shared))
    assert before == pytest.approx(shared / 12, abs=0.04)
    assert abs(after) < 0.04


def test_where_nothing_is_shared_nothing_is_taken_away():
    before, after = partial(*bags(meaning=0.8))
    assert before > 0.3
    assert after == pytest.approx(before, abs=0.03)
    both, left = partial(*bags(meaning=0.8, shared=3))
    assert both > before
    assert 0.5 * before < left < both, "what a meaning adds to its tokens stays"


def test_without_covariates_the_score_is_itself():
    score = np.random.default_rng(0).normal(size=(2, 8, 8))
    assert controls.without_shared(score, {}) is score


def test_slopes_are_least_squares_over_mismatched_pairs():
    rng = np.random.default_rng(1)
    n, x, z = 9, rng.normal(size=(9, 9)), rng.normal(size=(9, 9))
    score = rng.normal(size=(1, 9, 9))
    left = controls.without_shared(score, {"numbers": x, "names": z})
    cells = [(i, j) for i in range(n) for j in range(n) if i != j]
    rows = [[x[c], z[c], *np.eye(n)[c[0]], *np.eye(n)[c[1]]] for c in cells]
    slopes = np.linalg.lstsq(np.array(rows), [score[0][c] for c in cells], rcond=None)[0][:2]
    np.testing.assert_allclose(left[0], score[0] - slopes[0] * x - slopes[1] * z, atol=1e-9)


def test_shared_is_the_cosine_of_counts_and_empty_sides_share_nothing():
    pivot, target = [[1, 2, 2, 3], [4], []], [[2, 3], [5, 4, 6, 7], [1]]
    expected = [[2 / np.sqrt(3 * 2), 0, 1 / np.sqrt(3)], [0, 1 / 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(controls.shared(pivot, target), expected)
    assert controls.shared([[], []], [[], []]).tolist() == [[0, 0], [0, 0]]


def test_covariates_are_read_from_the_texts_whatever_their_script():
    texts = (["In 2019, WHO said so?", "No."], ["२०१९ में WHO ने कहा, सच?", "नहीं।"])
    tokens = ([[1, 2, 3], [4]], [[1, 5], [6]])
    found = controls.pair_covariates(texts, tokens, ([3, 4], [3, 9]))
    for name in ("numbers", "names", "punctuation"):
        assert found[name][0, 0] > 0, name
        assert found[name][1].max() == 0, name
    np.testing.assert_array_equal(found["final_mark"], np.eye(2))  # "।" is a statement's mark, as "." is
    np.testing.assert_array_equal(found["same_token_read"], [[1, 0], [0, 0]])
    np.testing.assert_allclose(found["length_difference"][0], [-np.log(1.5), -np.log(3)])
    same = controls.pair_covariates((["a."] * 2, ["b."] * 2), ([[1], [1]], [[1], [1]]))
    assert same == {}, "what never varies explains nothing"


def test_within_strata_equals_matched_less_mismatched_of_the_stratum():
    strata = np.array([0] * 5 + [1] * 6)
    score = np.random.default_rng(2).normal(size=(2, 11, 11))
    inside = controls.within_strata(score, strata)
    pairs = [(i, j) for i in range(11) for j in range(11) if i != j and strata[i] == strata[j]]
    for state in range(2):
        of_stratum = [
            np.mean([score[state][c] for c in pairs if strata[c[0]] == stratum]) for stratum in strata
        ]
        expected = np.mean(np.diagonal(score[state]) - of_stratum)
        assert np.diagonal(inside[state]).mean() == pytest.approx(expected)
    assert (inside[:, strata[:, None] != strata] == 0).all()


def test_topics_alone_leave_nothing_within_a_topic():
    rng = np.random.default_rng(3)
    strata = np.repeat(np.arange(10), 8)
    topic = rng.normal(size=(10, 64))
    sides = [(topic[strata] + 0.5 * rng.normal(size=(80, 64)))[:, None] for _ in range(2)]
    score = metrics.centred_cosine(metrics.grams(*sides))
    assert metrics.excess(score)[0] > 0.4
    assert abs(np.diagonal(controls.within_strata(score, strata)[0]).mean()) < 0.03


def test_strata_below_five_meanings_are_no_comparison():
    rows, strata = controls.large_strata(["a"] * 5 + ["b"] * 4 + [None] * 6)
    np.testing.assert_array_equal(rows, range(5))
    assert set(strata) == {0}
    assert len(controls.large_strata(["a"] * 4)[0]) == 0


@pytest.mark.parametrize("rotated", [False, True])
def test_without_its_few_directions_a_length_code_is_gone_and_a_meaning_is_not(rotated):
    rng = np.random.default_rng(4)
    meaning, length = rng.normal(size=(50, 1, 200)), rng.normal(size=(50, 1))
    coded = rng.normal(size=(2, 50, 1, 200))
    told = rng.normal(size=(2, 50, 1, 200)) + meaning
    coded[..., 17] += 12 * length
    turn = np.linalg.qr(rng.normal(size=(200, 200)))[0] if rotated else np.eye(200)
    kept = []
    for sides in (coded, told):
        unit = [metrics.directions((side @ turn).swapaxes(0, 1)) for side in sides]
        whole = (unit[0] * unit[1]).sum(axis=-1).mean()
        assert whole > 0.25
        kept.append(controls.without_top_directions(*unit)[0] / whole)
    assert kept[0] < 0.25
    assert kept[1] > 0.7


def test_the_directions_are_the_leading_eigenvectors_of_what_agrees():
    rng = np.random.default_rng(5)
    spectrum = np.array([9.0, 6, 4] + [0.5] * 27)
    meaning = rng.normal(size=(40, 30)) * spectrum
    pivot, target = meaning + rng.normal(size=(2, 40, 30))
    found = controls.agreeing_directions(pivot, target, 3)
    _, vectors = np.linalg.eigh(pivot.T @ target + target.T @ pivot)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.abs(found.T @ vectors[:, ::-1][:, :3]), np.eye(3), atol=1e-3)
