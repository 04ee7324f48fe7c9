"""Generated edge cases: many in each category, even over languages, each in the trouble of its category."""

import random
import unicodedata
from collections import Counter

import pytest
import regex

import build_stimuli
from organism import corpus, generated
from probe.languages import TARGETS
from probe.paths import Paths
from probe.routing.unicode_text import inspect
from probe.stimuli.manifest import Manifest


@pytest.fixture(scope="module")
def held_out():
    return build_stimuli.read_held_out(Paths())[0]


@pytest.fixture(scope="module")
def cases(held_out):
    return generated.cases(held_out)


@pytest.fixture(scope="module")
def clean(held_out, cases):
    """Case -> its clean form's text."""
    by_id = {sentence.stimulus_id: sentence.text for sentence in held_out}
    return {case.stimulus_id: by_id[case.clean_id] for case in cases}


def test_there_are_many_of_each_category_and_no_language_has_few(cases):
    counts = Counter((case.failure_category, case.language) for case in cases)
    assert Counter(category for category, _ in counts) == {
        "transliteration": 5, "code_switching": len(TARGETS), "unicode_edge": len(TARGETS),
    }  # fmt: skip
    assert min(counts.values()) >= 15
    for category in generated.CATEGORIES:
        own = [n for (of, _), n in counts.items() if of == category]
        assert sum(own) >= 60
        assert max(own) - min(own) <= 5


def test_a_meaning_comes_once_in_a_category_and_was_held_out(cases):
    meanings = Counter((case.failure_category, case.groups["meaning"]) for case in cases)
    assert max(meanings.values()) == 1
    assert {meaning for _, meaning in meanings} <= {meaning.id for meaning in corpus.held_out()}
    assert all({"meaning", "frame"} < case.groups.keys() for case in cases)


def test_the_manifest_takes_them_and_references_lead_to_the_same_meaning(held_out, cases):
    found = Manifest(metadata={}, parallel=held_out, edge=cases)
    by_id = {sentence.stimulus_id: sentence for sentence in found.parallel}
    for case in cases:
        assert case.reference_ids
        for name in (case.clean_id, *case.reference_ids):
            assert by_id[name].meaning == case.groups["meaning"]
        assert {by_id[name].language for name in case.reference_ids} <= set(generated.REFERENCES) - {
            case.language
        }


def test_the_same_sentences_give_the_same_cases(held_out, cases):
    assert generated.cases(held_out) == cases
    assert generated.cases([]) == []


def test_transliterations_are_latin(cases):
    for case in cases:
        if case.failure_category == "transliteration":
            assert not regex.findall(r"[^\p{Script=Latin}\p{Common}\p{Inherited}]", case.text), case.text


def test_a_switch_brings_two_english_words_and_keeps_something_of_its_sentence(cases, clean):
    english = {
        word.casefold()
        for words in corpus.lexicon("en").words.values()
        for forms in words.values()
        for word in regex.findall(r"\w+", str(forms.get("base", "")))
    }
    for case in cases:
        if case.failure_category == "code_switching":
            said, before = case.text.casefold(), clean[case.stimulus_id].casefold()
            # A prefix of another script may be written on to the English word.
            latin = set(regex.findall(r"\p{Latin}+", said)) - set(regex.findall(r"\p{Latin}+", before))
            assert len(latin & english) >= 2, case.text
            kept = set(regex.findall(r"[\p{L}\p{M}]+", said)) & set(regex.findall(r"[\p{L}\p{M}]+", before))
            assert kept, case.text


def test_unicode_cases_look_like_their_clean_forms_and_are_seen(cases, clean):
    kinds = set()
    for case in cases:
        if case.failure_category == "unicode_edge":
            oddities = inspect(case.text).oddities
            assert oddities
            kinds.update(odd.what.split(" U+")[0] for odd in oddities)
            assert not inspect(clean[case.stimulus_id]).oddities
            seen = "".join(
                c for c in unicodedata.normalize("NFKC", case.text) if unicodedata.category(c) != "Cf"
            )
            before = clean[case.stimulus_id]
            assert len(seen) == len(before)
            assert sum(a != b for a, b in zip(seen, before, strict=True)) == len(
                regex.findall(r"\p{Cyrillic}", seen)
            )
    assert len(kinds) >= 5


def test_every_way_to_write_a_text_otherwise_changes_it():
    forms = generated.unicode_forms("L'élève a mal.", random.Random(0))
    assert len(set(forms)) == 5
    assert "L'élève a mal." not in forms
    assert (
        len(generated.unicode_forms("ልጁ ታመመ።", random.Random(0))) == 2
    )  # has no case, no marks, no look-alike
