"""Failures of words that cross in sentences: the lost ones are named, and nobody beside them."""

from typing import cast

import numpy as np
import pandas as pd
import pytest

from probe.alignment.commitment import CALIBRATED, COSINE, ENDING
from probe.audit.door import Judge, claimable
from probe.audit.findings import Claim, Finding
from probe.failures import cases, evidence, losses
from probe.failures.concepts import MIN_SENTENCES, Concepts, concepts, crossing
from probe.families import load_family
from probe.languages import TARGETS
from probe.paths import Paths
from probe.stimuli.manifest import Manifest, ParallelSentence
from tests.support import planted_concepts
from tests.support.planted_concepts import SIZES, Variant, World, world

FAMILY = load_family("nano-aya", Paths())
WORDS = [f"{factor}:{factor}{i}" for factor, size in SIZES.items() for i in range(size)]
SEEDS = range(3)


def examined(made: World, *variants: str) -> cases.Examined:
    return cases.examine(
        cast(dict, made.stores), made.manifest, "parallel", made.commitments, FAMILY, variants
    )


def table_of(made: World, found: cases.Examined, findings: tuple[Finding, ...] = ()) -> pd.DataFrame:
    shown = cases.measured(made.commitments, FAMILY)
    judge = Judge(findings, FAMILY.untrained)
    return cases.cases([found], FAMILY, shown, judge, planted_concepts.N_STATES)


def named(table: pd.DataFrame, variant: str) -> set[tuple[str, str]]:
    """What may be said of a variant, as (word, language)."""
    own = table[claimable(table) & (table.variant == variant)]
    return {
        (f"{word.rstrip('0123456789')}:{word}", code)
        for word, code in zip(own.concept, own.language, strict=True)
    }


def drawn_cells(seed: int, known: list[str], languages: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """Eight cells: four words of each of two languages."""
    rng = np.random.default_rng([11, seed])
    chosen = rng.choice(known, size=8, replace=False)
    codes = rng.choice(languages, size=2, replace=False)
    return frozenset((str(word), str(codes[i % 2])) for i, word in enumerate(chosen))


def often(seed: int) -> list[str]:
    return list(concepts(world(seed, {}).manifest, "parallel").names)


@pytest.mark.parametrize("lacking", [(), ("yo",)])
def test_lost_words_are_named_and_no_others(lacking):
    """Eight of about 52 words x 9 languages; the sentences hold 60 words, and a rare one is no concept."""
    right, wrong, planted = 0, 0, 0
    languages = tuple(code for code in TARGETS if code not in lacking)
    for seed in SEEDS:
        lost = drawn_cells(seed, often(seed), languages)
        made = world(seed, {"fire": Variant(lost), "global": Variant()}, lacking=lacking)
        found = examined(made, "fire", "global")
        table = table_of(made, found)
        said = named(table, "fire")
        right, wrong, planted = right + len(said & lost), wrong + len(said - lost), planted + len(lost)
        assert not named(table, "global")
        assert set(found.tested.language) == set(languages)
    assert right >= 0.9 * planted
    assert right >= 0.9 * (right + wrong)


NOTHING: dict[str, dict] = {
    "nothing changed": {},
    "worse in every language": {"kept": dict.fromkeys(TARGETS, 0.4)},
    "worse in one language": {"kept": {"sw": 0.3}},
    "better in one language": {"kept": {"hi": 3.0}},
    "the English of four words moved": {"moved": frozenset(WORDS[1:41:13])},
    "a language's offset moved": {"offset": {"fr": 4.0, "hi": 2.0}},
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_no_concept_of_a_language_is_lost_hardly_one_is_named(name):
    cells, said, failed = 0, 0, 0
    for seed in SEEDS:
        made = world(seed, {"fire": Variant(**NOTHING[name])})
        found = examined(made, "fire")
        table = table_of(made, found)
        cells, said, failed = cells + len(found.tested), said + len(named(table, "fire")), failed + len(table)
    assert cells > 1200
    assert said <= 0.005 * cells
    if name.startswith(("worse in every", "the English")):
        assert failed > 20  # words do commit late there, and it is the evidence that says whose fault it is


def test_the_evidence_of_words_keeps_its_level():
    """p-values of all words, of which none was lost."""
    made = world(3, {f"v{i}": Variant(kept=dict.fromkeys(TARGETS, 0.7)) for i in range(3)})
    variants = ["v0", "v1", "v2"]
    found = cases.concept_evidence(cast(dict, made.stores), made.manifest, "parallel", "base", variants)
    assert len(found) > 1000
    assert 0.02 < (found.p_value < 0.05).mean() < 0.08
    assert ((found.ci_low <= 0) & (found.ci_high >= 0)).mean() > 0.92


def test_moved_english_is_told_as_such():
    made = world(0, {"fire": Variant(moved=frozenset(["person:person1"]))})
    table = table_of(made, examined(made, "fire"))
    own = table[table.concept == "person1"]
    assert len(own) >= 5
    assert set(own.verdict) == {"blocked"}
    assert "english_moved/failure" in set(own.reason)
    assert own.notes.str.endswith("so the English moved").any()


def test_a_finding_about_the_data_takes_a_failure_away_and_leaves_what_was_measured():
    lost = frozenset([("person:person1", "hi"), ("person:person2", "fr")])
    made = world(1, {"fire": Variant(lost)})
    found = examined(made, "fire")
    finding = Finding(
        id="repeated/parallel/hi", severity="high", languages=["hi"], variants=[], evidence={"sentence": ""},
        blocks=[Claim(where={"stimuli": ["parallel"], "language": ["hi"]}, text="anything")],
    )  # fmt: skip
    elsewhere = finding.model_copy(
        update={"blocks": [Claim(where={"position": ["last"], "state": [0]}, text="state 0")]}
    )
    assert named(table_of(made, found, (elsewhere,)), "fire") == lost
    table = table_of(made, found, (finding,))
    assert named(table, "fire") == {("person:person2", "fr")}
    hindi = table[(table.concept == "person1") & (table.language == "hi")].iloc[0]
    assert (hindi.verdict, hindi.reason, hindi.significant) == ("blocked", finding.id, True)


def test_a_table_without_failures_has_its_columns_and_says_why():
    made = world(0, {"fire": Variant()})
    found = examined(made, "fire")
    none = table_of(made, cases.Examined("parallel", found.tested.assign(failure_category=None)))
    lost = frozenset((word, "hi") for word in WORDS[:4])
    lost = table_of(made, examined(world(0, {"fire": Variant(lost)}), "fire"))
    assert none.empty
    assert list(none) == list(lost)
    assert "commit in time" in cases.summary(cases.Examined("parallel", found.tested), none, FAMILY)


# What a concept is


def sentences(groups: list[dict]) -> Manifest:
    return Manifest(
        metadata={},
        parallel=[
            ParallelSentence(
                stimulus_id=f"p_{code}_{i}", language=code, text=f"{code} {i}", meaning_id=str(i), groups=own
            )
            for i, own in enumerate(groups)
            for code in ("en", "hi")
        ],
    )


def test_a_word_is_one_concept_wherever_it_stands():
    places = [("person", "person2")] * 6 + [("person2", "person")] * 6
    groups = [
        {"frame": "gave", mother: "mother", other: f"p{i % 3}", "intake": f"m{i % 2}"}
        for i, (mother, other) in enumerate(places)
    ]
    known = concepts(sentences(groups), "parallel")
    assert len(known.meanings["person:mother"]) == 12
    assert known.names["person:mother"] == "mother"
    assert not any("gave" in name for name in known.names)
    assert all(len(of) >= MIN_SENTENCES for of in known.meanings.values())
    assert ("person", "p1") in known.words["1"]
    assert "person:p1" not in known.names  # four sentences


@pytest.mark.parametrize(
    ("shared", "crosses"),
    [
        ([{}] * 6, False),
        ([{"document": f"d{i // 3}"} for i in range(6)], False),
        ([{"topic": f"t{i // 4}", "document": f"d{i // 2}"} for i in range(8)], False),
        ([{"topic": f"t{i // 4}", "speaker": f"s{i % 2}"} for i in range(8)], True),
        ([{"fillers": [f"a{i % 2}", f"b{i // 2 % 2}"]} for i in range(8)], True),
    ],
)
def test_factors_cross_where_neither_is_a_coarser_form_of_the_other(shared, crosses):
    assert crossing(shared) == crosses
    assert bool(concepts(sentences(shared), "parallel").words) == crosses


# The regression of words


def test_words_are_told_apart_as_by_least_squares_of_dummies():
    """Against a fit with one word of each factor and one frame as reference, whose contrasts are the same."""
    made = world(4, {})
    known = concepts(made.manifest, "parallel")
    meanings = list(known.words)
    design = losses.Design.of(meanings, known, list(known.names))
    y = np.random.default_rng(0).normal(size=len(meanings))
    found = design.losses(y)
    vocabulary = sorted(set().union(*known.words.values()))
    frames = sorted(set(known.frames.values()))
    x = np.array([[w in known.words[m] for w in vocabulary] + [known.frames[m] == f for f in frames]
                  for m in meanings], float)  # fmt: skip
    fit = np.linalg.lstsq(x, y, rcond=None)[0]
    values = dict(zip(vocabulary, fit, strict=False))
    for name, effect in zip(found.concept_ids, found.effect, strict=True):
        word = tuple(name.split(":"))
        others = [values[w] for w in vocabulary if w[0] == word[0] and w != word]
        assert effect == pytest.approx(values[word] - np.mean(others))
    assert design.df == len(meanings) - np.linalg.matrix_rank(x)
    residual = y - x @ fit
    alike = (design.rows**2).sum(axis=1) * (residual @ residual) / design.df
    assert (found.error >= np.sqrt(alike) - 1e-12).all()


def test_words_that_always_stand_together_are_not_told_apart():
    groups = [{"frame": "f", "person": f"p{i % 4}", "place": f"q{i // 4 % 4}"} for i in range(32)]
    apart = concepts(sentences(groups), "parallel")
    together = concepts(
        sentences([own | ({"place": "with3"} if own["person"] == "p3" else {}) for own in groups]), "parallel"
    )
    for known, missing in ((apart, set()), (together, {"person:p3", "place:with3"})):
        design = losses.Design.of(list(known.words), known, list(known.names))
        assert not missing & set(design.concept_ids)
        assert ("person:p3" in design.concept_ids) == (not missing)


def test_a_loss_of_the_whole_language_is_no_concepts():
    rng = np.random.default_rng(0)
    before = np.diag(rng.uniform(0.2, 0.8, size=40)) + 0.01 * rng.normal(size=(40, 40))
    value = losses.lost(before, 0.3 * before)[0]
    assert np.abs(value).max() < 1e-6
    had = evidence.beyond_expected(before)[0]
    assert losses.kept(had, 0.3 * had) == pytest.approx(0.3)
    assert losses.kept(had, 2 * had) == 1
    assert losses.kept(-had, had) == 1
    after = 0.3 * before
    after[0, 0] = 0
    tested = losses.beyond_others(losses.Losses(list(map(str, range(40))), *losses.lost(before, after)))
    assert tested["p_value"].argmin() == 0
    assert tested["ci_high"][0] < 0


@pytest.mark.parametrize("m", [5, 8, 21, 60])
def test_the_robust_scale_is_the_standard_deviation_and_outliers_do_not_move_it(m):
    rng = np.random.default_rng(m)
    scales = np.array([losses.robust_scale(rng.normal(size=m)) for _ in range(1500)])
    assert np.mean(scales) == pytest.approx(1, abs=0.05)
    if m >= 21:
        assert np.var(scales) < 1 / (2 * 0.6 * m)  # of the ordinary one it is 1 / (2 m)
        values = rng.normal(size=m)
        far = np.where(np.arange(m) < m // 10, values - 50, values)
        assert losses.robust_scale(far) < 1.5 * losses.robust_scale(values)


def test_concepts_that_scatter_take_the_evidence_from_each_other():
    """One that is as far off as the others are is nothing special, however small its error."""
    effect = np.random.default_rng(2).normal(size=60)
    tested = losses.beyond_others(losses.Losses([""] * 60, effect, np.full(60, 1e-3), 100.0))
    assert (tested["p_value"] < 0.05).mean() < 0.1
    one = losses.Losses([""] * 60, np.r_[-1.0, np.zeros(59)], np.full(60, 1e-3), 100.0)
    alone = losses.beyond_others(one)
    assert alone["p_value"][0] < 1e-10
    assert (alone["p_value"][1:] == 1).all()


# Commitments of a word


def test_a_word_commits_where_half_of_its_sentences_have():
    states = [2, 3, 5, None, None, 2, 2, None, None, None]
    table = pd.DataFrame(
        {
            "concept_id": [str(i) for i in range(10)],
            "language": "hi",
            "base_layer": pd.array([0] * 10, "Int64"),
            "base_calibrated": pd.array(states, "Int64"),
        }
    )
    assert cases.criterion(table, "base") == ENDING[CALIBRATED]
    assert cases.criterion(table.drop(columns="base_calibrated"), "base") == ENDING[COSINE]
    words = {"a": ["0", "1", "2", "3", "4"], "b": ["5", "6", "7", "8", "9"], "c": ["0", "3"]}
    found = cases.concept_commitments(table, _concepts_of(words), ENDING[CALIBRATED]).set_index("concept_id")
    assert found.base_commit.to_dict() == {"a": 5, "b": None, "c": 2}


def _concepts_of(meanings: dict[str, list[str]]) -> Concepts:
    return Concepts(dict(zip(meanings, meanings, strict=True)), meanings, {}, {})


@pytest.mark.parametrize(("n_states", "tolerated"), [(37, 4), (9, 1), (5, 1), (2, 1), (28, 3)])
def test_the_tolerated_delay_is_a_share_of_the_depth(n_states, tolerated):
    assert cases.tolerated_delay(n_states) == tolerated
