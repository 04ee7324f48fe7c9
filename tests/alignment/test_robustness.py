"""Effects under other measures: the state is chosen without the meanings that are read at it."""

import numpy as np
import pytest

from probe.alignment import robustness as of_effects
from probe.alignment.robustness import FOLDS, claimed_contrasts, robustness, states_of
from probe.stats.groups import Groups
from probe.stats.inference import holm
from tests.alignment.test_effects import FAMILY, REGION, UP, planted

PRIMARY, OTHER = ("mean", "centred_cosine"), ("last", "cosine")


def simple_of(items):
    return claimed_contrasts(items, FAMILY)["fire", "simple"]


def test_each_meaning_is_read_where_the_others_score_highest():
    items = planted(n=23, n_states=6)
    folds, contrast = Groups.independent(23).folds(FOLDS), simple_of(items)
    mean = np.mean([items[variant, lang] for variant in ("fire", "base") for lang in REGION], axis=0)
    for i, state in enumerate(states_of(items, FAMILY, contrast, folds)):
        others = [row for j, row in enumerate(mean) if folds[j] != folds[i]]
        assert state == 1 + int(np.mean(others, axis=0)[1:].argmax())


def test_the_rows_are_means_over_the_emphasised_languages_at_those_states():
    items, groups = planted(shifts=UP), Groups.independent(20)
    table = robustness({PRIMARY: items, OTHER: {k: 2 * x for k, x in items.items()}}, PRIMARY, FAMILY, groups)
    assert len(table) == 2 * 2 * 2  # ways of measuring, variants, contrasts
    states = states_of(items, FAMILY, simple_of(items), groups.folds(FOLDS))
    change = np.mean([items["fire", lang] - items["base", lang] for lang in REGION], axis=0)
    fire = table[(table.variant == "fire") & (table.contrast == "simple")].set_index("metric")
    assert fire.value["centred_cosine"] == pytest.approx(change[np.arange(20), states].mean(), abs=1e-8)
    assert fire.value["cosine"] == pytest.approx(2 * fire.value["centred_cosine"], abs=1e-8)
    for _, of_measure in table.groupby(["position", "metric"]):
        np.testing.assert_allclose(of_measure.p_holm, holm(of_measure.p_value.to_numpy()), atol=1e-8)
    with pytest.raises(KeyError):
        robustness({OTHER: items}, PRIMARY, FAMILY, groups)


def test_under_the_null_no_more_stand_than_promised(monkeypatch):
    """200 data sets of 12 flat states; chosen and read on the same meanings, one in five would stand."""

    def share_above(seeds):
        found = 0
        for seed in seeds:
            rng = np.random.default_rng(seed)
            items = {(v, lang): rng.normal(size=(20, 12)) for v in ("base", "fire") for lang in REGION}
            table = robustness({PRIMARY: items}, PRIMARY, FAMILY, Groups.independent(20))
            (simple,) = table[table.contrast == "simple"].to_dict("records")
            found += simple["ci_low"] > 0
        return found

    assert share_above(range(200)) <= 12  # 5 expected

    def where_fire_is_high(items, family, contrast, folds):
        mean = np.mean([items["fire", lang] for lang in REGION], axis=(0, 1))
        return np.full(20, 1 + mean[1:].argmax())

    monkeypatch.setattr(of_effects, "states_of", where_fire_is_high)
    assert share_above(range(200)) > 24
