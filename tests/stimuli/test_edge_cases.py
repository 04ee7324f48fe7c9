"""p1_edge_cases.json and p2_edge_cases.json: complete, in their scripts, each case what its category says."""

import json
import unicodedata
from collections import Counter
from difflib import SequenceMatcher
from types import SimpleNamespace

import py3langid.langid as langid
import pytest
import regex
import uroman

from probe.errors import ProbeError
from probe.families import load_family
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY, Paths
from probe.stimuli import edge_cases
from probe.stimuli.edge_cases import load_cases, load_labelled

PATH = REPOSITORY / edge_cases.FILE
COUNTS = {
    "code_switching": 7, "transliteration": 7, "formal_register": 6, "low_resource_variant": 6,
    "unicode_edge": 6,
}  # fmt: skip
CASES = load_cases(PATH)
FURTHER = load_cases(REPOSITORY / edge_cases.FURTHER)


def of(category: str) -> list[edge_cases.RouterCase]:
    return [case for case in CASES if case.failure_category == category]


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.test_id)


def test_thirty_two_cases_in_five_categories_and_ten_languages():
    assert [case.test_id for case in CASES] == [f"P1-{number:03d}" for number in range(1, 33)]
    assert Counter(case.failure_category for case in CASES) == COUNTS
    languages = Counter(case.language_ground_truth for case in CASES)
    assert languages.keys() == LANGUAGES.keys()
    assert min(languages.values()) >= 2


def test_further_cases_fill_the_gaps():
    assert [case.test_id for case in FURTHER] == [f"P2-{number:03d}" for number in range(1, len(FURTHER) + 1)]
    covered = {(case.failure_category, case.language_ground_truth) for case in (*CASES, *FURTHER)}
    dialects, formal = (
        {language for of, language in covered if of == category}
        for category in ("low_resource_variant", "formal_register")
    )
    assert dialects == formal == LANGUAGES.keys()
    texts = [text for case in (*CASES, *FURTHER) for text in (case.input, case.clean)]
    assert len(set(texts)) == len(texts)


@each([*CASES, *FURTHER])
def test_expected_are_base_and_by_language_the_variant_that_emphasises_it(case):
    family = load_family("tiny-aya", Paths())
    meant = [
        v for v in family.default_variants if case.language_ground_truth in family.variants[v].emphasises
    ]
    assert case.expected_variant == family.baseline
    assert [case.expected_language_variant] == (meant or [family.baseline])


@each([*CASES, *FURTHER])
def test_the_assertion_holds_for_the_right_answer_and_for_no_other(case):
    right, others = case.expected_language_variant, {"base", "fire", "earth"} - {case.expected_variant}

    def asserted(variant=case.expected_variant, own=right, category=case.failure_category, of_clean=None):
        def route(text):
            if text == case.clean:
                return SimpleNamespace(variant=right, category=of_clean)
            return SimpleNamespace(variant=variant, language_variant=own, category=category)

        names = {"route": route, "input": case.input, "clean": case.clean, "__builtins__": {}}
        return eval(case.p1_test_assertion, names)

    assert asserted()
    assert not any(asserted(variant=other) for other in others)
    assert not any(asserted(own=other) for other in {"base", "fire", "earth"} - {right})
    assert not any(asserted(category=other) for other in (None, *COUNTS.keys() - {case.failure_category}))
    assert not asserted(of_clean=case.failure_category)


@each([*CASES, *FURTHER])
def test_the_clean_form_is_of_its_language_and_script_and_ends_as_a_sentence_does(case):
    language = LANGUAGES[case.language_ground_truth]
    foreign = rf"[^\p{{Script={language.script}}}\p{{Common}}\p{{Inherited}}]"
    assert not regex.findall(foreign, case.clean)
    assert not regex.search(r"\p{Cf}|\s\s", case.clean)
    assert case.clean.endswith((language.final_mark, "?", "؟"))
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    assert identifier.classify(case.clean)[0] == case.language_ground_truth
    assert identifier.classify(case.reference_en)[0] == "en"


def test_no_sentence_comes_twice_in_a_language():
    stimuli = edge_cases.stimuli(CASES)
    assert len({(s.language, s.text) for s in stimuli}) == len(stimuli) == 5 * 32
    assert len({s.stimulus_id for s in stimuli}) == len(stimuli)


@each(CASES)
def test_two_references_are_of_their_languages_and_share_no_word_with_the_case(case):
    assert len(case.references) == 2
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    said = set(
        regex.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", f"{case.input} {case.clean}").lower())
    )
    for language, text in case.references.items():
        script = LANGUAGES[language].script
        assert language not in (case.language_ground_truth, "en")
        assert identifier.classify(text)[0] == language
        assert not regex.findall(rf"[^\p{{Script={script}}}\p{{Common}}\p{{Inherited}}]", text)
        assert unicodedata.is_normalized("NFC", text)
        assert text.endswith((LANGUAGES[language].final_mark, "?", "؟"))
        assert not said & set(regex.findall(r"[^\W\d_]+", text.lower()))


def test_every_reference_has_others_of_its_language_to_be_held_against():
    assert min(Counter(language for case in CASES for language in case.references).values()) >= 10


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ({"hi": "कुछ और।"}, "the reference in 'hi' is in a language of the input"),
        ({"en": "Something else."}, "of the published form"),
        ({"fr": "Il va au Dóctor demain."}, "the reference in 'fr' shares the word 'doctor'"),
        ({"fr": "C'est un contrôle."}, None),  # another word than control
        ({"ar": "250 3"}, None),
    ],
)
def test_a_reference_that_flatters_is_refused(tmp_path, references, said):
    path = written(tmp_path, [entry(references=references)])
    if said:
        with pytest.raises(ProbeError, match=said):
            load_cases(path)
    else:
        assert load_cases(path)[0].references == references


def test_words_of_the_clean_form_are_as_little_allowed_as_those_of_the_input(tmp_path):
    texts = {"clean": "Le docteur a dit.", "input": "Doctor said.", "references": {"es": "El docteur."}}
    path = written(tmp_path, [entry(language_ground_truth="fr", **texts)])
    with pytest.raises(ProbeError, match="shares the word 'docteur'"):
        load_cases(path)


def test_a_case_that_has_no_reference_can_be_routed_and_is_no_stimulus():
    with pytest.raises(ProbeError, match="P2-001: no `references`"):
        edge_cases.stimuli(FURTHER)


@each([*CASES, *FURTHER])
def test_inputs_have_the_length_of_sentences(case):
    assert 5 <= len(case.input.split()) <= 16


@each(of("code_switching"))
def test_a_code_switch_keeps_words_of_its_clean_form_and_adds_english_ones(case):
    words, clean, english = (
        set(regex.findall(r"\w+", text.lower())) for text in (case.input, case.clean, case.reference_en)
    )
    assert len(words & clean) >= 3
    assert len((words & english) - clean) >= 2


@each(of("transliteration"))
def test_a_transliteration_is_latin_and_sounds_like_its_clean_form(case):
    assert case.input.isascii()
    romanised = uroman.Uroman().romanize_string(case.clean).lower()
    # Unrelated sentences of these lengths score below 0.5; informal spelling is no standard's.
    assert SequenceMatcher(None, case.input, romanised, autojunk=False).ratio() > 0.6


@each([case for case in CASES if case.failure_category in ("formal_register", "low_resource_variant")])
def test_registers_and_varieties_are_a_matter_of_words_alone(case):
    assert unicodedata.is_normalized("NFC", case.input)
    script = LANGUAGES[case.language_ground_truth].script
    assert not regex.findall(rf"[^\p{{Script={script}}}\p{{Common}}\p{{Inherited}}]", case.input)


def plain(text: str) -> str:
    """The text without its Unicode trouble, by properties and names of characters alone."""
    characters = []
    for character in unicodedata.normalize("NFKC", text):
        if unicodedata.category(character) == "Nd":
            character = str(unicodedata.decimal(character))
        elif unicodedata.name(character, "").startswith("CYRILLIC"):
            character = unicodedata.lookup(unicodedata.name(character).replace("CYRILLIC", "LATIN"))
        if unicodedata.category(character) != "Cf":
            characters.append(character)
    return "".join(characters)


@each(of("unicode_edge"))
def test_a_unicode_case_says_what_its_clean_form_says_in_other_characters(case):
    assert case.input != case.clean
    assert plain(case.input) == plain(case.clean)


def test_every_unicode_case_is_another_trouble():
    troubles = [{unicodedata.name(c, "") for c in case.input} for case in of("unicode_edge")]
    kinds = ("CYRILLIC", "COMBINING DOT BELOW", "ZERO WIDTH", "FULLWIDTH", "DIGIT FIVE", "RIGHT-TO-LEFT")
    for kind in kinds:
        assert any(name.startswith(kind) for names in troubles for name in names), kind


# Reading


def entry(**changes) -> dict:
    return CASES[0].model_dump() | changes


def written(tmp_path, content) -> object:
    path = tmp_path / "cases.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([entry(clean=CASES[0].input)], "case 1: the clean form is the input itself"),
        ([entry(clean=unicodedata.normalize("NFD", "é"))], "normal form C"),
        ([entry(), entry()], "P1-001 comes twice"),
        ([entry(failure_category="slang")], "failure_category"),
        ([entry(language_ground_truth="xx")], "unknown language 'xx'"),
        ([{k: v for k, v in entry().items() if k != "reference_en"}], "reference_en"),
        ([entry(more=1)], "more"),
        ([entry(test_id="1")], "test_id"),
        ("[", "not valid JSON"),
        ([], "expected a list of cases"),
        ({"cases": 3}, "expected a list of cases"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_case(tmp_path, content, said):
    with pytest.raises(ProbeError, match=said.replace("(", r"\(")):
        load_cases(written(tmp_path, content))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ProbeError, match=r"none\.json is no file"):
        load_cases(tmp_path / "none.json")


def test_labelled_inputs_of_others_may_be_clean_and_may_say_more(tmp_path):
    rows = [
        {
            "input": "", "expected_variant": "base", "failure_category": None, "language_ground_truth": "en",
            "author": "someone",
        },
        {
            "input": "x", "expected_variant": "fire", "failure_category": "Code-Switching",
            "language_ground_truth": "hi-en", "test_id": "mine",
        },
        {
            "input": "y", "expected_variant": "base", "failure_category": "CODE_SWITCH",
            "language_ground_truth": "sw", "p1_test_assertion": "router should return 'base' for this input",
        },
    ]  # fmt: skip
    for content in (rows, {"version": "1.0", "categories": {"CODE_SWITCH": "mixed"}, "cases": rows}):
        first, second, third = load_labelled(written(tmp_path, content))
        assert (first.test_id, first.input, first.failure_category) == ("1", "", None)
        assert (second.test_id, second.failure_category) == ("mine", "code_switching")
        assert (third.test_id, third.failure_category) == ("3", "code_switching")
    with pytest.raises(ProbeError, match="case 1: language_ground_truth"):
        load_labelled(written(tmp_path, [{k: v for k, v in rows[0].items() if k != "language_ground_truth"}]))
    with pytest.raises(ProbeError, match="expected a list of cases"):
        load_labelled(written(tmp_path, ["text"]))
