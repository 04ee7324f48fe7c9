"""Confounders: slow references, and planted causes of alignment that have nothing to do with meaning."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import linregress

from probe.alignment import confounders, controls
from probe.alignment.confounders import Counts
from probe.stats import metrics
from probe.stats.groups import Groups

LANGUAGES = ("hi", "am", "fr")
BOS, EOS, STOP = 2, 3, 9


def value(rows: pd.DataFrame, language="", state=None, **where) -> pd.Series:
    """The one row that is asked for."""
    rows = rows[rows.language == language]
    rows = rows[rows.state.isna()] if state is None else rows[rows.state == state]
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, (language, state, where)
    return rows.iloc[0]


# Tokens, words, fertility


def test_special_ids_are_those_around_every_text():
    texts = [[BOS, 5, 6, STOP, EOS], [BOS, 7, STOP, EOS], [BOS, 5, 8, 4, EOS]]
    assert confounders.special_ids(texts) == {BOS, EOS}
    assert confounders.special_ids([ids[:-1] for ids in texts]) == {BOS}
    # All of one script, one full stop: why the docstring asks for several.
    assert confounders.special_ids(texts[:2]) == {BOS, STOP, EOS}


def test_counts_leave_special_tokens_out_and_refuse_empty_texts():
    counted = confounders.counts(
        ["two words", "three\u00a0more  words"], [[2, 5, 6, 7, 3], [2, 5, 3]], {2, 3}
    )
    np.testing.assert_array_equal(counted.tokens, [3, 1])
    np.testing.assert_array_equal(counted.words, [2, 3])
    np.testing.assert_array_equal(counted.fertility, [1.5, 1 / 3])
    for texts, ids in ((["a", " "], [[5], [5]]), (["a", "b"], [[5], [2, 3]])):
        with pytest.raises(ValueError, match="text 1 has no"):
            confounders.counts(texts, ids, frozenset({2, 3}))


@pytest.fixture
def counted():
    rng = np.random.default_rng(0)
    words = rng.integers(4, 12, 30).astype(float)
    return {
        "en": Counts(words + rng.integers(0, 3, 30), words),
        "hi": Counts(3 * words + rng.integers(0, 3, 30), words),
        "fr": Counts(words + rng.integers(0, 5, 30), words + 1),
    }


def test_fertility_is_of_all_sentences_together(counted):
    rows = confounders.token_rows(counted, "en", Groups.independent(30))
    english, hindi = counted["en"], counted["hi"]
    fertility = value(rows, "hi", quantity="fertility")
    assert fertility.value == pytest.approx(hindi.tokens.sum() / hindi.words.sum())
    assert fertility.ci_low < fertility.value < fertility.ci_high
    ratio = value(rows, "hi", quantity="tokens_ratio")
    assert ratio.value == pytest.approx(hindi.tokens.sum() / english.tokens.sum())
    parity = value(rows, "hi", quantity="fertility_ratio").value
    assert parity == pytest.approx(fertility.value / value(rows, "en", quantity="fertility").value)
    assert value(rows, "fr", quantity="tokens").value == pytest.approx(counted["fr"].tokens.mean())
    assert set(rows[rows.language == "en"].quantity) == {"tokens", "words", "fertility"}


def test_covariates_are_differences_to_the_pivot(counted):
    both = confounders.covariates(counted, "en")
    assert both["length"].keys() == {"hi", "fr"}
    np.testing.assert_allclose(np.exp(both["length"]["hi"]), counted["hi"].tokens / counted["en"].tokens)
    equal = confounders.covariates({"en": counted["en"], "hi": counted["en"]}, "en")
    assert all((column["hi"] == 0).all() for column in equal.values())


# Regression


def regression_rows(items, covariate, name):
    return confounders.regression_rows(
        items, covariate, name, Groups.independent(len(covariate[LANGUAGES[0]]))
    )


def planted(n=40, n_states=3, slope=-0.5, between=0.0, noise=0.02, seed=0):
    """(items, covariate): longer languages and sentences score less, by `slope`; `between` is added per
    language, in the order of the languages, and has nothing to do with the covariate."""
    rng = np.random.default_rng(seed)
    items, covariate = {}, {}
    for place, language in enumerate(LANGUAGES):
        covariate[language] = 0.4 * place + 0.3 * rng.normal(size=n)
        line = 0.6 + slope * covariate[language][:, None] + between * place
        items[language] = line + noise * rng.normal(size=(n, n_states))
    return items, covariate


def test_slopes_and_r2_are_scipys():
    items, covariate = planted(between=0.2)
    rows = regression_rows(items, covariate, "length")
    x = np.concatenate([covariate[language] for language in LANGUAGES])
    y = np.concatenate([items[language][:, 1] for language in LANGUAGES])
    line = linregress(x, y)
    assert value(rows, state=1, quantity="length_slope").value == pytest.approx(line.slope, abs=1e-10)
    assert value(rows, state=1, quantity="length_r2").value == pytest.approx(line.rvalue**2, abs=1e-10)
    x, y = (
        np.concatenate([column[language] - column[language].mean(axis=0) for language in LANGUAGES])
        for column in (covariate, {language: items[language][:, 1] for language in LANGUAGES})
    )
    within = linregress(x, y)
    assert value(rows, state=1, quantity="length_slope_within").value == pytest.approx(
        within.slope, abs=1e-10
    )
    own = linregress(covariate["am"], items["am"][:, 1])
    assert value(rows, "am", 1, quantity="length_r2").value == pytest.approx(own.rvalue**2, abs=1e-10)


def test_intervals_are_of_meanings_with_all_their_languages():
    """Against a slow bootstrap that draws whole meanings."""
    items, covariate = planted(n=25, slope=-5.0, noise=0.3, n_states=1)
    slow = []
    rng = np.random.default_rng(5)
    for _ in range(1500):
        drawn = rng.integers(0, 25, 25)
        x = np.concatenate([covariate[language][drawn] for language in LANGUAGES])
        slow.append(np.polyfit(x, np.concatenate([items[lang][drawn, 0] for lang in LANGUAGES]), 1)[0])
    rows = regression_rows(items, covariate, "length")
    mine = value(rows, state=0, quantity="length_slope")
    low, high = np.quantile(slow, [0.025, 0.975])
    assert mine.ci_low == pytest.approx(low, abs=0.15 * (high - low))
    assert mine.ci_high == pytest.approx(high, abs=0.15 * (high - low))


def test_alignment_made_by_length_is_explained():
    items, covariate = planted()
    raw = [items[language].mean() for language in LANGUAGES]
    assert np.ptp(raw) > 0.3
    rows = regression_rows(items, covariate, "length")
    explained = rows[(rows.quantity == "length_r2") & (rows.language == "")]
    assert (explained.value > 0.95).all()
    slope = rows[rows.quantity == "length_slope"]
    assert ((slope.ci_low < -0.5) & (slope.ci_high > -0.5) & (slope.ci_high < 0)).all()


def test_a_difference_between_languages_is_not_mistaken_within_them():
    """Languages differ for another reason, which happens to run with length: the pooled slope takes it for
    length, the slope within languages does not."""
    items, covariate = planted(slope=0.0, between=0.3)
    rows = regression_rows(items, covariate, "length")
    assert value(rows, state=0, quantity="length_slope").ci_low > 0.2
    within = value(rows, state=0, quantity="length_slope_within")
    assert within.ci_low < 0 < within.ci_high


@given(st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_the_unit_and_origin_of_a_covariate_do_not_matter(scale, origin):
    items, covariate = planted(n=12, n_states=2)
    moved = {language: scale * column + origin for language, column in covariate.items()}
    base, other = (regression_rows(items, column, "length") for column in (covariate, moved))
    slopes = base.quantity.isin(["length_slope", "length_slope_within"])
    np.testing.assert_allclose(other[slopes].value * scale, base[slopes].value, rtol=1e-6)
    np.testing.assert_allclose(other[~slopes].value, base[~slopes].value, rtol=1e-6)


def test_slope_intervals_are_calibrated():
    """120 data sets without any slope, whose meanings are easy or hard in all languages at once: that
    dependence is what resampling meanings, not cells, is for."""
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        hard, long = rng.normal(size=(2, 30))
        items = {lang: (hard + 0.3 * rng.normal(size=30))[:, None] for lang in LANGUAGES}
        covariate = {lang: long + 0.3 * rng.normal(size=30) for lang in LANGUAGES}
        slope = value(regression_rows(items, covariate, "x"), state=0, quantity="x_slope")
        covered += slope.ci_low <= 0 <= slope.ci_high
    assert 104 <= covered <= 119


def test_a_covariate_or_alignment_that_does_not_vary_explains_nothing():
    items, covariate = planted(n=10)
    constant = {language: np.full(10, 0.1) for language in LANGUAGES}
    rows = regression_rows(items, constant, "overlap")
    assert rows.empty
    flat = {language: np.ones((10, 2)) for language in LANGUAGES}
    rows = regression_rows(flat, covariate, "length")
    assert "length_r2" not in set(rows.quantity)
    slopes = rows[rows.quantity == "length_slope"]
    np.testing.assert_allclose(slopes[["value", "ci_low", "ci_high"]].astype(float), 0, atol=1e-12)
    one = {**constant, "hi": covariate["hi"]}  # of one language it can be told, of the others not
    rows = regression_rows(items, one, "overlap")
    assert set(rows[rows.quantity == "overlap_r2"].language) == {"", "hi"}
    assert np.isfinite(rows[["value", "ci_low", "ci_high"]].astype(float)).all(axis=None)


def test_a_resample_that_misses_the_one_sentence_with_overlap_is_no_hole():
    items, _ = planted(n=6, n_states=2)
    one = {language: np.eye(6)[0] for language in LANGUAGES}
    rows = regression_rows(items, one, "overlap")
    assert len(rows) == 2 * (3 + 3)
    assert np.isfinite(rows[["value", "ci_low", "ci_high"]].astype(float)).all(axis=None)


# Shared tokens


def sentences(n=30, shared=0.0, seed=0, stop=True):
    """Token ids of two languages: of the eight words of a meaning, `shared` are the same tokens in both."""
    rng = np.random.default_rng(seed)
    pivot, target = [], []
    for _ in range(n):
        words = rng.choice(1000, 8, replace=False) + 100
        other = np.where(rng.random(8) < shared, words, words + 5000)
        pivot.append([BOS, *words.tolist(), *[STOP] * stop])
        target.append([BOS, *other.tolist(), *[STOP] * stop])
    return pivot, target


def shared(pivot, target):
    return controls.shared(*([ids[1:] for ids in side] for side in (pivot, target)))  # without BOS


def test_a_full_stop_is_shared_by_all_pairs_words_by_the_matched_only():
    nothing = confounders.overlap_rows("fr", shared(*sentences()), Groups.independent(30))
    excess = value(nothing, "fr", quantity="overlap_excess")
    assert value(nothing, "fr", quantity="overlap_matched").value == pytest.approx(1 / 9)  # the stop alone
    assert excess.value == pytest.approx(0, abs=0.005)
    words = confounders.overlap_rows("fr", shared(*sentences(shared=0.4)), Groups.independent(30))
    assert value(words, "fr", quantity="overlap_excess").ci_low > 0.1
    assert value(words, "fr", quantity="overlap_mismatched").value < 0.15
    duplicates = confounders.overlap_rows("fr", np.ones((30, 30)), Groups.independent(30))
    assert value(duplicates, "fr", quantity="overlap_matched").value == 1
    assert value(duplicates, "fr", quantity="overlap_excess").value == 0


# The space


def crowded(n=30, n_states=2, d_model=24, offset=0.0, rogue=1.0, seed=0):
    """Vectors (n, n_states, d_model) around a common offset, with one coordinate that varies more."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, n_states, d_model))
    vectors[..., 7] *= rogue
    return vectors + offset * rng.normal(size=d_model)


def grams(left, right):
    return np.einsum("isd,jsd->sij", left, right)


def space_rows(english, hindi):
    both = metrics.grams(english, hindi)
    groups = Groups.independent(len(english))
    found = confounders.own_space("en", both.pivot, groups) | confounders.space("hi", both, groups)
    return confounders.space_rows(found, len(english))


def test_anisotropy_equals_a_loop_over_pairs():
    english, hindi = (crowded(offset=1.0, seed=seed) for seed in (0, 1))
    rows = space_rows(english, hindi)
    for quantity, language, sides in (
        ("cosine_within", "en", (english, english)),
        ("cosine_within", "hi", (hindi, hindi)),
        ("cosine_across", "hi", (english, hindi)),
    ):
        for state in range(2):
            pairs = 1 - cdist(*(side[:, state] for side in sides), metric="cosine")
            expected = np.mean([pairs[i, j] for i in range(30) for j in range(30) if i != j])
            found = value(rows, language, state, quantity=quantity)
            assert found.value == pytest.approx(expected, abs=1e-12)
            assert found.ci_low < found.value < found.ci_high
    components = confounders.component_shares(grams(hindi, hindi))
    assert value(rows, "hi", 1, quantity="pcs_top3").value == pytest.approx(components[1, 1])
    assert len(rows) == 2 * (3 + 2 * len(confounders.TOP))


def test_an_offset_makes_a_space_anisotropic():
    """Vectors of variance 1 around an offset whose coordinates have variance 9: cosine 9 / (1 + 9)."""
    spread, narrow = (
        space_rows(vectors, vectors).query("quantity == 'cosine_within'")
        for vectors in (crowded(n=80, d_model=400), crowded(n=80, d_model=400, offset=3.0))
    )
    assert spread.value.abs().max() < 0.02
    np.testing.assert_allclose(narrow.value, 0.9, atol=0.02)


def test_shares_are_those_of_a_covariance_matrix():
    vectors = crowded(rogue=4.0)
    dims, components = (
        confounders.dimension_shares(vectors),
        confounders.component_shares(grams(vectors, vectors)),
    )
    for state in range(2):
        covariance = np.cov(vectors[:, state], rowvar=False)
        for shares, variance in (
            (dims, np.sort(np.diagonal(covariance))),
            (components, np.linalg.eigvalsh(covariance)),
        ):
            expected = [variance[-k:].sum() / variance.sum() for k in confounders.TOP]
            np.testing.assert_allclose(shares[:, state], expected, rtol=1e-9)
    assert (components >= dims - 1e-12).all()  # no coordinates hold more than the best directions


def test_a_rogue_dimension_is_seen_and_a_common_offset_is_not_taken_for_one():
    rogue, even = crowded(rogue=30.0), crowded(offset=50.0)
    assert (confounders.dimension_shares(rogue)[0] > 0.95).all()
    assert (confounders.dimension_shares(even)[0] < 0.2).all()
    np.testing.assert_allclose(confounders.dimension_shares(100 * rogue), confounders.dimension_shares(rogue))
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(24, 24)))[0]
    assert (confounders.dimension_shares(rogue @ turn)[0] < 0.5).all()  # it is one of this basis ...
    turned, straight = (confounders.component_shares(grams(v, v)) for v in (rogue @ turn, rogue))
    np.testing.assert_allclose(turned, straight, rtol=1e-9)  # ... while components know no basis


def test_one_vector_for_all_sentences_has_no_shares():
    """The embedding of a full stop, read at the last token."""
    same = np.repeat(crowded(n=1, offset=3.0).astype(np.float32), 20, axis=0)
    assert np.isnan(confounders.dimension_shares(same)).all()
    gram = grams(same.astype(np.float64), same.astype(np.float64))
    assert np.isnan(confounders.component_shares(gram)).all()
    assert confounders.share_rows("hi", "pcs", confounders.component_shares(gram), 20).empty
