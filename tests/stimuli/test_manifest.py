"""The manifest: what it refuses, and meanings that are found whatever the order of the sentences."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.stimuli.manifest import EdgeCase, Manifest, ParallelSentence, load_manifest
from probe.stimuli.texts import LONGEST, LONGEST_ID, final_mark, folded, words

CODES = ("en", "hi", "sw")
NAMES = {"en": "Sentence", "hi": "वाक्य", "sw": "Sentensi"}


def sentence(number: int, language: str, **more) -> ParallelSentence:
    given = {
        "stimulus_id": f"parallel_{language}_{number}",
        "language": language,
        "text": f"{NAMES[language]} {number}.",
        "meaning_id": str(number),
        "groups": {"document": f"d{number // 2}"},
    }
    return ParallelSentence(**(given | more))


def manifest(sentences) -> Manifest:
    return Manifest(metadata={}, parallel=list(sentences))


def whole(n: int = 6) -> list[ParallelSentence]:
    return [sentence(number, language) for number in range(n) for language in CODES]


# Meanings


def test_the_order_of_a_language_changes_nothing():
    """In the order of the file a Hindi sentence would stand beside another meaning's English."""
    shuffled = whole()
    random.Random(3).shuffle(shuffled)
    english = iter([s for s in whole() if s.language == "en"])
    shuffled = [next(english) if s.language == "en" else s for s in shuffled]
    for language in ("hi", "sw"):
        expected = manifest(whole()).matched("parallel", language)
        assert manifest(shuffled).matched("parallel", language) == expected
        assert [a.meaning for a, _ in expected] == [b.meaning for _, b in expected] == list("012345")
    assert manifest(shuffled).meanings("parallel") == manifest(whole()).meanings("parallel")


def test_a_missing_sentence_leaves_its_meaning_out_and_says_whose_it_is():
    lacking = [s for s in whole() if s.stimulus_id not in ("parallel_hi_2", "parallel_en_4")]
    found = manifest(lacking).meanings("parallel")
    assert found.told == ["0", "1", "3", "5"]
    assert found.left_out == {"2": ["hi"], "4": ["en"]}
    assert [a.meaning for a, _ in manifest(lacking).matched("parallel", "sw")] == ["0", "1", "2", "3", "5"]


def test_a_language_that_nobody_speaks_is_not_asked_for():
    found = manifest(whole())
    assert found.meanings("parallel").told == list("012345")
    assert found.meanings("flores").told == []
    assert found.matched("parallel", "ta") == []


@given(st.sets(st.tuples(st.integers(0, 5), st.sampled_from(CODES))), st.randoms())
def test_meanings_are_the_intersection_of_the_languages_present(kept, rng):
    sentences = [sentence(*cell) for cell in sorted(kept)]
    rng.shuffle(sentences)
    found = manifest(sentences).meanings("parallel")
    by_language = {code: {str(n) for n, language in kept if language == code} for code in CODES}
    present = [of for of in by_language.values() if of]
    assert set(found.told) == (set.intersection(*present) if present else set())
    assert set(found.told) | set(found.left_out) == set().union(*present)


# What is refused


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"meaning_id": "1"}, "parallel_hi_0: same meaning as parallel_hi_1"),
        (
            {"groups": {"document": "d7"}},
            "parallel_hi_0: other groups than parallel_en_0, of the same meaning",
        ),
        ({"groups": {}}, "parallel_hi_0: other groups than parallel_en_0"),
        ({"text": f"{NAMES['hi']}\u00a0 1."}, "parallel_hi_0: same text as parallel_hi_1"),
    ],
)
def test_what_cannot_be_told_apart_or_differs_between_languages(more, said):
    others = [s for s in whole() if s.stimulus_id != "parallel_hi_0"]
    with pytest.raises(ValidationError, match=said):
        manifest([*others, sentence(0, "hi", **more)])


@pytest.mark.parametrize(
    "text", ["", " ", "...", "\u200b", "\u200b.\u2060", "\ud800 x", "x" * (LONGEST + 1), "x" * 100_000]
)
def test_a_text_that_says_nothing_or_never_ends_is_refused_with_its_id(text, tmp_path):
    with pytest.raises(ValidationError, match="parallel_sw_1: the text"):
        sentence(1, "sw", text=text)
    path = tmp_path / "manifest.json"
    path.write_text(manifest(whole()).model_dump_json().replace("Sentensi 1.", "..."))
    with pytest.raises(ProbeError, match=f"{path}: .*parallel_sw_1: the text .* uv run build_stimuli.py"):
        load_manifest(path, "toy")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "..",
        "x" * (LONGEST_ID + 1),
        "e\u0301",
        "a\u202eb",
        "a\u200bb",
        "a\nb",
        "a\u00a0b",
        "a\u2066b",
    ],
)
def test_an_id_that_looks_like_another_or_is_no_name_is_refused(name):
    for field in ("stimulus_id", "meaning_id"):
        with pytest.raises(ValidationError, match="cannot be an id"):
            sentence(1, "sw", **{field: name})


# Texts


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_folding_is_settled_and_sees_no_composition(text):
    assert folded(folded(text)) == folded(text)
    assert folded(unicodedata.normalize("NFD", text)) == folded(unicodedata.normalize("NFC", text))


def test_a_question_is_another_sentence():
    assert folded("Is it so?") != folded("Is it so.")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("It is so.", "."),
        ("ऐसा है।", "."),
        ("እንዲህ ነው።", "."),
        ("Is it so?\u201d ", "?"),
        ("هل هو كذلك؟", "?"),
        ("Il dit \u00abnon\u00bb", ""),
        ("(It is so.)", "."),
        ("So\uff01", "!"),
        ("So\u2026", "..."),
        ("So", ""),
        ("12 %", "%"),
        ("", ""),
    ],
)
def test_the_final_mark_is_the_same_in_every_script(text, mark):
    assert final_mark(text) == mark


def test_every_language_ends_its_statements_alike():
    assert {final_mark(f"x{language.final_mark}") for language in LANGUAGES.values()} == {"."}


# Edge cases


def edge_case(**more) -> EdgeCase:
    given = {
        "stimulus_id": "edge_1", "language": "hi", "text": "vaaky ek.", "reference_id": "1", "role": "input",
        "failure_category": "transliteration", "clean_id": "parallel_hi_1",
        "reference_ids": ["parallel_sw_1"],
    }  # fmt: skip
    return EdgeCase(**(given | more))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, None),
        ({"clean_id": "parallel_hi_9"}, "there is no stimulus parallel_hi_9"),
        ({"reference_ids": ["parallel_xx_1"]}, "there is no stimulus parallel_xx_1"),
        ({"clean_id": "parallel_sw_1"}, "its clean form is in 'sw'"),
        ({"reference_ids": ["parallel_hi_2"]}, "the reference in 'hi' is in a language of the input"),
        ({"reference_ids": ["parallel_en_1"]}, None),
        (
            {"reference_ids": ["parallel_en_1"], "failure_category": "code_switching"},
            "'en' is in a language of",
        ),
        ({"text": "vaaky SENTENSÍ 3."}, "the reference in 'sw' shares the word 'sentensi'"),
    ],
)
def test_an_edge_case_leads_to_a_clean_form_and_to_references_that_do_not_flatter(more, said):
    if said is None:
        assert Manifest(metadata={}, parallel=whole(), edge=[edge_case(**more)]).edge[0].source == "written"
    else:
        with pytest.raises(ValidationError, match=said):
            Manifest(metadata={}, parallel=whole(), edge=[edge_case(**more)])


def test_words_are_compared_folded_and_digits_are_none():
    assert words("L\u2019\u00c9l\u00e8ve, \uff2e\uff4f 250 \u0967!") == {"l", "eleve", "no"}
    assert words("Le\u200b\u00e7on") == {"lecon"}
