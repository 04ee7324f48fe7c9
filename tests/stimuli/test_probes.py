"""The 200 probe sentences: complete, in their language and its script, and what the design says of them."""

import unicodedata

import py3langid.langid as langid
import pytest
import regex

from probe.languages import LANGUAGES
from probe.paths import Paths
from probe.stimuli.manifest import load_concepts, probe_sentences

CONCEPTS = """
    fever cough diarrhea pain child mother doctor medicine hospital water breathing eating sleeping dangerous
    sick healthy newborn malaria infection dehydration
""".split()
CATEGORIES = {"symptom", "entity", "action", "severity", "state", "disease"}


@pytest.fixture(scope="module")
def concepts():
    return load_concepts(Paths().concept_probes)


@pytest.fixture(scope="module")
def sentences(concepts):
    return probe_sentences(concepts)


def test_twenty_concepts_in_order_in_ten_languages(concepts):
    assert list(concepts) == [f"C{number:02d}" for number in range(1, 21)]
    assert [concept.concept for concept in concepts.values()] == CONCEPTS
    assert {concept.category for concept in concepts.values()} == CATEGORIES
    for concept in concepts.values():
        assert set(concept.translations) == set(concept.focus) == set(LANGUAGES)


def test_every_focus_is_an_exact_part_of_its_sentence(sentences):
    for s in sentences:
        assert s.focus in s.text
        assert len(s.focus) < len(s.text) / 2, f"{s.stimulus_id}: the focus is most of the sentence"


def test_every_letter_is_of_the_languages_script(sentences):
    for s in sentences:
        script = LANGUAGES[s.language].script
        assert not regex.findall(rf"[^\p{{Script={script}}}\p{{Common}}\p{{Inherited}}]", s.text), (
            s.stimulus_id
        )
        assert regex.search(rf"\p{{Script={script}}}", s.text)


def test_every_sentence_is_identified_as_its_language(sentences):
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    wrong = [(s.stimulus_id, identifier.classify(s.text)) for s in sentences]
    assert not [found for found in wrong if found[1][0] != found[0].rsplit("_", 1)[1]]


def test_sentences_are_distinct_nfc_and_end_in_their_mark(sentences):
    assert len({s.text for s in sentences}) == 200
    for s in sentences:
        assert unicodedata.is_normalized("NFC", s.text)
        assert s.text.endswith(LANGUAGES[s.language].final_mark)
        assert s.text == s.text.strip()
        assert not regex.search(r"\s\s|\p{Cf}|\p{Co}|\p{Cn}", s.text), s.stimulus_id


def test_lengths_are_those_of_sentences(sentences):
    for s in sentences:
        assert 4 <= len(s.text.split()) <= 20 or s.language in ("am", "ta"), s.stimulus_id
        assert len(s.text.split()) >= 3, s.stimulus_id
        assert 15 <= len(s.text) <= 120, s.stimulus_id


def test_yoruba_carries_its_tones_and_underdots(sentences):
    for s in (s for s in sentences if s.language == "yo"):
        marks = {c for c in unicodedata.normalize("NFD", s.text) if unicodedata.combining(c)}
        assert marks & {"\u0300", "\u0301"}, s.text
    text = "".join(s.text for s in sentences if s.language == "yo")
    assert "\u0323" in unicodedata.normalize("NFD", text)


def test_arabic_is_unvocalised(sentences):
    for s in (s for s in sentences if s.language == "ar"):
        assert not regex.search(r"[\u064B-\u0652\u0670]", s.text), s.text
