"""Variant effects: slow references, planted truth (regional against global), p-values that are calibrated."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, false_discovery_control, linregress, norm, permutation_test, spearmanr, t

from probe.alignment import effects
from probe.families import Family, load_family
from probe.languages import TARGETS
from probe.paths import Paths
from probe.stats import resampling

FAMILY = Family.model_validate(
    {
        "name": "planted",
        "description": "for tests",
        "control": "global",
        "default_variants": ["base"],
        "variants": {
            "base": {"path": "b"},
            "global": {"path": "g"},
            "fire": {"path": "f", "emphasises": ["hi", "bn", "ta"]},
            "earth": {"path": "e", "emphasises": ["sw", "am", "yo"]},
        },
    }
)
HI, FR = "hi", "fr"
CONTROL, PLACEBO = "control:global", effects.PLACEBO
BOTH = f"{CONTROL}, {PLACEBO}"


def planted(n=20, n_states=5, shifts=None, noise=0.05, seed=0, variants=tuple(FAMILY.variants)):
    """Item scores: what a meaning scores in a language in any variant, noise, and shifts[variant, language]
    or shifts[variant, None] (every language) added at the middle state."""
    rng = np.random.default_rng(seed)
    shared = {language: rng.normal(0.3, 0.2, (n, n_states)) for language in TARGETS}
    items = {}
    for variant in variants:
        for language in TARGETS:
            scores = shared[language] + noise * rng.normal(size=(n, n_states))
            for key in ((variant, language), (variant, None)):
                scores[:, n_states // 2] += (shifts or {}).get(key, 0.0)
            items[variant, language] = scores
    return items


def table(items, family=FAMILY):
    return effects.variant_effects(items, family, "probes", "mean", "excess")


def row(rows, **where):
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, where
    return rows.iloc[0]


@pytest.fixture(scope="module")
def regional():
    return planted(shifts={("fire", "hi"): 0.2, ("fire", "bn"): 0.2, ("fire", "ta"): 0.2})


@pytest.fixture(scope="module")
def found(regional):
    return table(regional)


def test_has_the_columns_of_the_design_and_every_pair(found):
    assert list(found.columns[:14]) == [
        "variant_a", "variant_b", "language", "stimuli", "position", "metric", "state", "diff", "ci_low",
        "ci_high", "p_value", "q_value", "n", "contrast",
    ]  # fmt: skip
    simple = found[found.contrast == "simple"]
    assert set(zip(simple.variant_a, simple.variant_b, strict=True)) == {
        ("global", "base"), ("fire", "base"), ("fire", "global"),
        ("earth", "base"), ("earth", "global"), ("earth", "fire"),
    }  # fmt: skip
    assert len(simple) == 6 * 9 * 5
    assert len(found[found.contrast == "did"]) == 2 * 3 * 9 * 5
    assert (found.q_value >= found.p_value - 1e-12).all()
    assert (found.p_max >= found.p_value - 1e-12).all()
    assert set(found.n) == {20}


def test_q_values_are_over_all_that_one_contrast_shows(found):
    for contrast in ("simple", "did"):
        shown = found[found.contrast == contrast]
        np.testing.assert_allclose(shown.q_value, false_discovery_control(shown.p_value), atol=1e-9)


def test_a_simple_difference_is_scipys(regional, found):
    differences = (regional["fire", HI] - regional["base", HI])[:, 2]
    mine = row(found, contrast="simple", variant_a="fire", variant_b="base", language=HI, state=2)
    assert mine["diff"] == pytest.approx(differences.mean(), abs=1e-9)
    n = len(differences)
    level = 2 * norm.cdf(t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))) - 1  # as wide as the expanded quantile
    theirs = bootstrap(
        (differences,), np.mean, confidence_level=level, n_resamples=9999, rng=np.random.default_rng(1)
    )
    ends = theirs.confidence_interval
    assert mine.ci_low == pytest.approx(ends.low, abs=0.06 * (ends.high - ends.low))
    assert mine.ci_high == pytest.approx(ends.high, abs=0.06 * (ends.high - ends.low))


def test_p_values_are_scipys_sign_flips():
    items = planted(n=9, shifts={("fire", "hi"): 0.03}, noise=0.03)
    mine = table(items)
    for state in range(5):
        difference = (items["fire", HI] - items["base", HI])[:, state]
        theirs = permutation_test(
            (difference,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        at = row(mine, contrast="simple", variant_a="fire", variant_b="base", language=HI, state=state)
        assert at.p_value == pytest.approx(theirs.pvalue, abs=1e-9)


def slow_did(items, a, against, language, emphasised, state):
    """The formula of the docstring, a meaning at a time."""
    per_meaning = []
    others = [m for m in TARGETS if m not in emphasised and m != language]
    for i in range(len(items[a, language])):
        own = items[a, language][i, state] - items[against, language][i, state]
        rest = [items[a, m][i, state] - items[against, m][i, state] for m in others]
        per_meaning.append(own - sum(rest) / len(rest))
    return np.array(per_meaning)


@pytest.mark.parametrize(("reference", "against"), [(PLACEBO, "base"), (BOTH, "global")])
@pytest.mark.parametrize("language", [HI, FR])
def test_differences_in_differences_equal_a_loop(regional, found, reference, against, language):
    expected = slow_did(regional, "fire", against, language, ("hi", "bn", "ta"), 2)
    mine = row(found, reference=reference, variant_a="fire", language=language, state=2)
    assert (mine.variant_b, mine.placebo) == (against, language == FR)
    assert mine["diff"] == pytest.approx(expected.mean(), abs=1e-9)
    assert mine.p_value == pytest.approx(resampling.sign_flip(expected[:, None])[0][0], abs=1e-9)


def test_against_the_control_the_baseline_cancels(regional, found):
    moved = {key: scores + 7.0 * (key[0] == "base") for key, scores in regional.items()}
    control = [t[t.reference == CONTROL].drop(columns="q_value") for t in (found, table(moved))]
    pd.testing.assert_frame_equal(*control)
    simple = found.query("contrast == 'simple' and variant_a == 'fire' and variant_b == 'global'")
    did = control[0].query("variant_a == 'fire'")
    np.testing.assert_array_equal(simple["diff"], did["diff"])


def test_a_regional_effect_is_found_in_its_languages_and_state_only(found):
    for reference in (CONTROL, PLACEBO, BOTH):
        fire = found[(found.reference == reference) & (found.variant_a == "fire")]
        hit = fire[(fire.state == 2) & ~fire.placebo]
        assert set(hit.language) == {"hi", "bn", "ta"}
        assert (hit.ci_low > 0.1).all()
        assert (hit.ci_high < 0.3).all()
        assert (hit.q_value < 0.05).all()
        assert (hit.p_max < 0.01).all()
        assert fire.drop(hit.index)["diff"].abs().max() < 0.06
    did = found[found.contrast == "did"]
    false = did[(did.q_value < 0.05) & ((did.variant_a == "earth") | did.placebo | (did.state != 2))]
    # For earth, fire's languages are no reference of its own: none of its contrasts may show an effect.
    assert len(false) <= 0.05 * (did.q_value < 0.05).sum() + 1


def test_a_global_shift_is_an_effect_but_no_regional_one():
    """Fire alone rises, by the same in every language: it beats base and control, and is not regional."""
    found = table(planted(shifts={("fire", None): 0.2})).query("variant_a == 'fire' and state == 2")
    assert (found.query("contrast == 'simple'").ci_low > 0.1).all()
    # Against the control alone it would pass for regional, were the placebo rows not there to tell.
    assert (found[found.reference == CONTROL].ci_low > 0.1).all()
    assert found[(found.reference == CONTROL) & found.placebo].shape[0] == 6
    for reference in (PLACEBO, BOTH):
        regional = found[found.reference == reference]
        assert regional["diff"].abs().max() < 0.06
        assert regional.q_value.min() > 0.05


def test_what_any_fine_tuning_does_to_a_language_is_no_regional_effect():
    """Hindi gains from any fine-tuning, the control's too: only the placebo languages alone are fooled."""
    gains = {(variant, HI): 0.2 for variant in ("global", "fire", "earth")}
    found = table(planted(shifts=gains)).query("variant_a == 'fire' and language == 'hi' and state == 2")
    assert row(found, reference=PLACEBO).ci_low > 0.1
    for reference in (CONTROL, BOTH):
        assert abs(row(found, reference=reference)["diff"]) < 0.06


def test_without_the_control_only_the_placebo_form_is_left(regional):
    without = {key: scores for key, scores in regional.items() if key[0] != "global"}
    did = table(without).query("contrast == 'did'")
    assert set(did.reference) == {PLACEBO}
    assert set(did.variant_b) == {"base"}


def test_the_control_is_no_variant_to_be_tested(regional):
    everywhere = FAMILY.variants["global"].model_copy(update={"emphasises": ["hi"]})
    family = FAMILY.model_copy(update={"variants": FAMILY.variants | {"global": everywhere}})
    assert set(table(regional, family).query("contrast == 'did'").variant_a) == {"fire", "earth"}


def test_a_variant_that_emphasises_nothing_or_everything_has_no_reference():
    """Where no language is left as placebo, nothing is compared with nothing."""
    only = {(v, lang): s for (v, lang), s in planted().items() if lang == HI and v != "global"}
    assert table(only).query("contrast == 'did' and variant_a == 'fire'").empty
    one = {key: scores for key, scores in planted().items() if key[0] == "base"}
    assert table(one).empty
    assert list(table(one).columns) == list(effects.COLUMNS)


def test_equal_variants_differ_by_nothing(regional):
    same = {(v, lang): regional["base", lang] for v, lang in regional}
    found = table(same)
    assert (found[["diff", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (found[["p_value", "p_max", "q_value"]] == 1).all(axis=None)


def test_the_order_of_meanings_does_not_matter_beyond_the_draws(regional, found):
    order = np.random.default_rng(3).permutation(20)
    moved = table({key: scores[order] for key, scores in regional.items()})
    np.testing.assert_allclose(moved["diff"], found["diff"], atol=1e-9)
    assert (moved.ci_low - found.ci_low).abs().max() < 0.02


def test_runs_twice_alike(regional, found):
    pd.testing.assert_frame_equal(found, table(regional))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda items: items | {("fire", HI): items["fire", HI][:-1]}, "fire, hi: item scores"),
        (lambda items: items | {("fire", HI): items["fire", HI] * np.nan}, "fire, hi: .* not finite"),
        (lambda items: items | {("water", HI): items["fire", HI]}, "water is no variant"),
    ],
)
def test_tables_that_cannot_be_paired_are_refused(regional, break_it, message):
    with pytest.raises(ValueError, match=message):
        table(break_it(regional))


def test_p_values_are_calibrated_where_nothing_differs():
    """250 data sets without effect, skewed and dependent between states: the max over the states rejects as
    often as it says, the single state too, and intervals cover 0 as often as they say."""
    rng = np.random.default_rng(11)
    rejected, somewhere, covered = [], [], []
    for _ in range(250):
        walk = np.cumsum(rng.normal(size=(25, 8)), axis=1) * rng.exponential(size=(25, 1))
        contrast = effects.Contrast("fire", "base", "simple", "", {HI: walk})
        tested = effects.tested(contrast)
        rejected.append(tested.p_value[4] < 0.05)
        somewhere.append(tested.p_max.min() < 0.05)
        covered.append(tested.ci_low[4] <= 0 <= tested.ci_high[4])
    # Three standard errors of 250 draws at 5 %: 0.041. BCa is known to be narrow at n = 25 and heavy tails.
    assert 0.009 <= np.mean(rejected) <= 0.091
    assert 0.009 <= np.mean(somewhere) <= 0.091
    assert 0.86 <= np.mean(covered) <= 0.98


def test_ten_pairs_of_variants_take_seconds():
    """Not a stopwatch for this machine: a bound that only a loop over cells would break."""
    import time

    family = FAMILY.model_copy(update={"variants": FAMILY.variants | {"random": FAMILY.variants["base"]}})
    for n, n_states in ((20, 37), (200, 9)):
        items = planted(n, n_states, variants=tuple(family.variants))
        start = time.process_time()
        assert len(table(items, family)) == (10 + 6) * 9 * n_states
        assert time.process_time() - start < 8


# Dose and response

SHARES = {
    "global": {"hi": 2.0, "bn": 1.0, "ta": 1.0, "am": 1.0, "sw": 1.0, "yo": 1.0},
    "fire": {"hi": 6.0, "bn": 4.0, "ta": 3.0, "am": 0.0, "sw": 0.0, "yo": 0.0},
    "earth": {"hi": 0.0, "bn": 0.0, "ta": 0.0, "am": 1.5, "sw": 1.5, "yo": 1.0},
}
DOSED = FAMILY.model_copy(
    update={
        "variants": {
            name: variant.model_copy(update={"share": SHARES.get(name, {})})
            for name, variant in FAMILY.variants.items()
        }
    }
)
SLOPE = 0.04


@pytest.fixture(scope="module")
def dosed():
    """Every percentage point adds SLOPE at state 2, where alignment also peaks."""
    shifts = {(v, lang): SLOPE * share for v, shares in SHARES.items() for lang, share in shares.items()}
    items = planted(shifts=shifts, noise=0.02)
    for scores in items.values():
        scores[:, 2] += 1.0
        scores[:, 0] += 2.0  # the embedding is higher still, and no place to look for an effect of training
    return items


def test_the_planted_slope_and_peak_are_found(dosed):
    found = effects.dose_response(dosed, DOSED)
    assert found is not None
    assert set(found.state) == {2}
    assert set(found.reference) == {"global"}
    slope = row(found, quantity="slope")
    assert slope.ci_low < SLOPE < slope.ci_high
    assert slope.points == 12
    assert slope.ci_high - slope.ci_low < 0.01
    assert row(found, quantity="spearman").ci_low > 0.8
    # Against global, a language at 0.0 % is under-dosed: by 1 point, 2 for Hindi in earth.
    placebo = row(found, quantity="placebo")
    assert placebo.points == 6
    assert placebo.value == pytest.approx(-SLOPE * 7 / 6, abs=0.01)


def test_slope_and_rank_correlation_are_scipys(dosed):
    found = effects.dose_response(dosed, DOSED, state=2)
    assert found is not None
    points = found[found.quantity == "effect"]
    expected = [
        (dosed[v, lang] - dosed["global", lang])[:, 2].mean()
        for v, lang in zip(points.variant, points.language, strict=True)
    ]
    np.testing.assert_allclose(points.value, expected, atol=1e-9)
    fire_hi = row(points, variant="fire", language="hi")
    assert (fire_hi.share, fire_hi.dose) == (6.0, 4.0)
    line = linregress(points.dose.astype(float), expected)
    assert row(found, quantity="slope").value == pytest.approx(line.slope, abs=1e-9)
    rank = spearmanr(points.dose.astype(float), expected)
    assert row(found, quantity="spearman").value == pytest.approx(rank.statistic, abs=1e-9)


def test_without_the_control_dose_and_effect_are_against_the_baseline(dosed):
    found = effects.dose_response({k: s for k, s in dosed.items() if k[0] != "global"}, DOSED)
    assert found is not None
    assert set(found.reference) == {"base"}
    slope, placebo = row(found, quantity="slope"), row(found, quantity="placebo")
    assert slope.ci_low < SLOPE < slope.ci_high
    assert placebo.ci_low < 0 < placebo.ci_high
    points = found[found.quantity == "effect"]
    np.testing.assert_array_equal(points["dose"].astype(float), points["share"].astype(float))


def test_a_global_shift_has_no_dose_and_shows_in_the_placebo():
    found = effects.dose_response(planted(shifts={("fire", None): 0.2, ("earth", None): 0.2}), DOSED, state=2)
    assert found is not None
    slope = row(found, quantity="slope")
    assert slope.ci_low < 0 < slope.ci_high
    assert row(found, quantity="placebo").ci_low > 0.1


def test_choosing_the_peak_does_not_invent_an_effect():
    """No effect, 30 flat states, 150 data sets: the mean effect at the chosen peak is centred on zero."""
    means = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        items = {(v, lang): rng.normal(size=(8, 30)) for v in FAMILY.variants for lang in ("hi", "bn", "am")}
        points = effects.dosed_points(items, DOSED)
        at = effects._peaks(effects._level(items, points).mean(axis=0)[None])[0]
        means.append(
            np.mean([(items[p.variant, p.language] - items[p.reference, p.language])[:, at] for p in points])
        )
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(150)


def test_ties_have_no_rank_correlation(dosed):
    same = {(v, lang): dosed["base", lang] + 0.1 * (v != "base") for v, lang in dosed}
    found = effects.dose_response(same, DOSED)
    assert found is not None
    assert (found[["value", "ci_low", "ci_high"]] == 0).all(axis=None)
    # All points the same but for the noise of summation, which must not be ranked.
    found = effects.dose_response({k: s for k, s in same.items() if k[0] != "global"}, DOSED)
    assert found is not None
    rank = row(found, quantity="spearman")
    assert (rank.value, rank.ci_low, rank.ci_high) == (0, 0, 0)
    assert row(found, quantity="placebo").value == pytest.approx(0.1)


def test_a_language_whose_share_the_control_does_not_publish_has_no_dose(dosed):
    published = {lang: share for lang, share in SHARES["global"].items() if lang != "hi"}
    control = DOSED.variants["global"].model_copy(update={"share": published})
    family = DOSED.model_copy(update={"variants": DOSED.variants | {"global": control}})
    assert {p.language for p in effects.dosed_points(dosed, family)} == {"bn", "ta", "am", "sw", "yo"}


def test_no_published_share_no_dose_response(dosed):
    assert effects.dose_response(dosed, FAMILY) is None
    assert effects.dose_response({k: s for k, s in dosed.items() if k[1] == "hi"}, DOSED) is None


def test_the_published_shares_of_tiny_aya_are_twelve_points():
    family = load_family("tiny-aya", Paths())
    items = {(v, lang): np.zeros((4, 3)) for v in ("base", "global", "fire", "earth") for lang in TARGETS}
    points = {(p.variant, p.language): p for p in effects.dosed_points(items, family)}
    assert len(points) == 12
    assert points["fire", "hi"].dose == pytest.approx(4.1)
    assert points["fire", "yo"].share == 0.0
    assert points["earth", "bn"].dose == pytest.approx(-1.1)
