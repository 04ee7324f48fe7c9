"""Variant effects: slow references, planted truth (regional against global), p-values that are calibrated."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, linregress, mannwhitneyu, spearmanr

from probe.alignment import effects
from probe.families import Family
from probe.languages import TARGETS
from probe.stats.groups import Groups
from probe.stats.inference import holm, infer_mean

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


def of(items):
    return Groups.independent(len(next(iter(items.values()))))


def table(items, family=FAMILY):
    return effects.variant_effects(items, family, of(items))


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
    assert set(found) == {
        "variant_a", "variant_b", "language", "state", "diff", "ci_low", "ci_high", "p_value", "q_value", "n",
        "n_groups", "contrast", "reference", "placebo", "p_max", "p_holm",
    }  # fmt: skip
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


def test_corrections_are_over_the_languages_of_one_contrast(found):
    for _, family in found.groupby(effects.CONTRAST):
        np.testing.assert_allclose(family.q_value, false_discovery_control(family.p_value), atol=1e-9)
        for _, at_state in family.groupby("state"):
            np.testing.assert_allclose(at_state.p_holm, holm(at_state.p_max.to_numpy()), atol=1e-9)
            assert len(at_state) == 9


def test_a_difference_is_the_mean_of_its_meanings_in_their_groups(regional):
    groups = Groups(20, {"frame": np.arange(20) // 2})
    found = effects.variant_effects(regional, FAMILY, groups)
    expected = infer_mean(regional["fire", HI] - regional["base", HI], groups)
    mine = found.query("contrast == 'simple' and variant_a == 'fire' and variant_b == 'base'")
    mine = mine[mine.language == HI]
    for column, name in {"diff": "value", "ci_low": "low", "ci_high": "high", "p_value": "p_value"}.items():
        np.testing.assert_allclose(mine[column], getattr(expected, name), atol=1e-8)
    np.testing.assert_allclose(mine.p_max, expected.p_max, atol=1e-8)  # over the states of Hindi alone
    assert set(found.n_groups) == {10}


def slow_did(items, a, against, language, emphasised, state):
    """The formula of the docstring, a meaning at a time."""
    per_meaning = []
    others = [m for m in TARGETS if m not in emphasised and m != language]
    for i in range(len(items[a, language])):
        own = items[a, language][i, state] - items[against, language][i, state]
        rest = [items[a, m][i, state] - items[against, m][i, state] for m in others]
        per_meaning.append(own - np.median(rest))
    return np.array(per_meaning)


@pytest.mark.parametrize(("reference", "against"), [(PLACEBO, "base"), (BOTH, "global")])
@pytest.mark.parametrize("language", [HI, FR])
def test_differences_in_differences_equal_a_loop(regional, found, reference, against, language):
    expected = slow_did(regional, "fire", against, language, ("hi", "bn", "ta"), 2)
    mine = row(found, reference=reference, variant_a="fire", language=language, state=2)
    assert (mine.variant_b, mine.placebo) == (against, language == FR)
    assert mine["diff"] == pytest.approx(expected.mean(), abs=1e-9)
    single = infer_mean(expected[:, None], Groups.independent(20))
    assert mine.p_value == pytest.approx(single.p_value[0], abs=1e-8)


def test_against_the_control_the_baseline_cancels(regional, found):
    moved = {key: scores + 7.0 * (key[0] == "base") for key, scores in regional.items()}
    control = [t[t.reference == CONTROL].drop(columns=["q_value", "p_holm"]) for t in (found, table(moved))]
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


def test_equal_variants_differ_by_nothing(regional):
    same = {(v, lang): regional["base", lang] for v, lang in regional}
    found = table(same)
    assert (found[["diff", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (found[["p_value", "p_max", "q_value", "p_holm"]] == 1).all(axis=None)


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


# Regional effects

REGION, PLACEBOS = ("hi", "bn", "ta"), ("am", "sw", "yo", "fr", "es", "ar")
UP = {("fire", lang): 0.2 for lang in REGION}


def regional_row(items, family=FAMILY, variant="fire", against="global"):
    return row(effects.regional_effects(items, family, of(items)), variant=variant, against=against)


@given(st.lists(st.integers(0, 6), min_size=9, max_size=9))
@settings(max_examples=30, deadline=None)
def test_the_rank_test_over_languages_is_exact(values):
    changes = dict(zip((*REGION, *PLACEBOS), map(float, values), strict=True))
    p = effects.rank_p(changes, REGION)
    if len(set(values)) == 9:
        own, placebo = ([changes[lang] for lang in names] for names in (REGION, PLACEBOS))
        assert p == pytest.approx(mannwhitneyu(own, placebo, alternative="greater", method="exact").pvalue)
    assert 1 / 84 - 1e-12 <= p <= 1
    assert effects.rank_p({lang: 10.0 * (lang in REGION) for lang in changes}, REGION) == pytest.approx(
        1 / 84
    )
    assert effects.rank_p(dict.fromkeys(changes, 0.3), REGION) == 1, "all alike is no region"


def test_a_planted_region_is_found_and_its_like_in_all_languages_is_not(regional):
    found = effects.regional_effects(regional, FAMILY, of(regional))
    assert set(zip(found.variant, found.against, strict=True)) == {
        (variant, against) for variant in ("fire", "earth") for against in ("global", "base")
    }
    fire, earth = row(found, variant="fire", against="global"), row(found, variant="earth", against="global")
    assert (fire.state, fire.languages, fire.p_value) == (2, "hi bn ta", pytest.approx(1 / 56))
    assert fire.p_holm == pytest.approx(2 / 56)
    assert fire.ci_low > 0.12
    assert fire.low_without_one > 0.12
    assert earth.p_value > 0.05
    everywhere = regional_row(planted(shifts={("fire", None): 0.2}))
    assert everywhere.ci_low < 0.03 < 0.05 < everywhere.p_holm


def test_one_forgotten_language_makes_no_region():
    """A mean of the placebo languages would be moved by 0.5 / 6; their median is not."""
    row = regional_row(planted(shifts={("fire", "yo"): -0.5}, noise=0.02))
    assert abs(row.value) < 0.03
    assert row.p_holm > 0.05
    did = table(planted(shifts={("fire", "yo"): -0.5}, noise=0.02)).query(
        "variant_a == 'fire' and state == 2"
    )
    beyond = did[(did.reference == BOTH) & (did.language != "yo")]
    assert beyond["diff"].abs().max() < 0.05


def test_which_languages_are_emphasised_has_no_say_in_the_state():
    for seed in range(5):
        items = planted(shifts={("fire", "fr"): 0.1}, seed=seed)
        changes = effects._changes(items, "fire", "global")
        state = effects.most_changed(changes, of(items))
        for own in (REGION, ("fr", "es", "ar"), ("yo",)):
            fire = FAMILY.variants["fire"].model_copy(update={"emphasises": list(own)})
            family = FAMILY.model_copy(update={"variants": FAMILY.variants | {"fire": fire}})
            assert regional_row(items, family).state == state
        assert effects.most_changed({lang: -change for lang, change in changes.items()}, of(items)) == state
        assert state > 0


def test_the_range_is_that_of_each_placebo_language_left_out(regional):
    found = regional_row(regional)
    at = {lang: (regional["fire", lang] - regional["global", lang])[:, 2] for lang in TARGETS}
    own = np.mean([at[lang] for lang in REGION], axis=0)
    without = [
        (own - np.median([at[lang] for lang in PLACEBOS if lang != out], axis=0)).mean() for out in PLACEBOS
    ]
    assert (found.low_without_one, found.high_without_one) == pytest.approx((min(without), max(without)))
    assert found.value == pytest.approx((own - np.median([at[lang] for lang in PLACEBOS], axis=0)).mean())


def test_regions_of_noise_are_found_as_seldom_as_promised():
    """100 data sets in which every language changes by an amount of its own, whatever its region."""
    p = []
    for seed in range(100):
        own = np.random.default_rng(seed).normal(0, 0.2, 9)
        shifts = {("fire", lang): by for lang, by in zip(TARGETS, own, strict=True)}
        items = {
            k: x for k, x in planted(n=8, n_states=3, shifts=shifts, seed=seed).items() if k[0] != "base"
        }
        p.append(regional_row(items).p_value)
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.05) <= 0.12


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


def dose(items, family, **where):
    return effects.dose_response(items, family, of(items), **where)


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
    found = dose(dosed, DOSED)
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
    found = dose(dosed, DOSED, state=2)
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
    found = dose({k: s for k, s in dosed.items() if k[0] != "global"}, DOSED)
    assert found is not None
    assert set(found.reference) == {"base"}
    slope, placebo = row(found, quantity="slope"), row(found, quantity="placebo")
    assert slope.ci_low < SLOPE < slope.ci_high
    assert placebo.ci_low < 0 < placebo.ci_high
    points = found[found.quantity == "effect"]
    np.testing.assert_array_equal(points["dose"].astype(float), points["share"].astype(float))


def test_a_global_shift_has_no_dose_and_shows_in_the_placebo():
    found = dose(planted(shifts={("fire", None): 0.2, ("earth", None): 0.2}), DOSED, state=2)
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


def test_the_p_of_a_slope_deals_doses_to_the_points_anew():
    rng = np.random.default_rng(0)
    for n_points in (5, 12):
        dose, response = rng.normal(size=n_points), rng.normal(size=n_points)
        slope, rank, *placebo = effects._dose_p(response, dose, 3)
        slow = [linregress(dose, rng.permutation(response)).slope for _ in range(3000)]
        expected = np.mean(np.array(slow) >= linregress(dose, response).slope - 1e-12)
        assert slope == pytest.approx(expected, abs=0.04)
        assert np.isnan(placebo).all()
        assert effects._dose_p(dose, dose, 2)[0] == pytest.approx(1 / 120 if n_points == 5 else 1 / 5040)
        assert 0 < rank <= 1


def test_ties_have_no_rank_correlation(dosed):
    same = {(v, lang): dosed["base", lang] + 0.1 * (v != "base") for v, lang in dosed}
    found = dose(same, DOSED)
    assert found is not None
    assert (found[["value", "ci_low", "ci_high"]] == 0).all(axis=None)
    # All points the same but for the noise of summation, which must not be ranked.
    found = dose({k: s for k, s in same.items() if k[0] != "global"}, DOSED)
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
    assert dose(dosed, FAMILY) is None
    assert dose({k: s for k, s in dosed.items() if k[1] == "hi"}, DOSED) is None
