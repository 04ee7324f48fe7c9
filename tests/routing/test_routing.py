"""The router: no false alarms on plain text, hits on text made difficult by rule, and any string in."""

import itertools
import json
import random
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.difficult import (
    BIDI,
    BOLD,
    CALIBRATED_ON,
    CYRILLIC,
    FULL_WIDTH,
    GREEK,
    PAIRS,
    ZERO_WIDTH,
    alternating,
    hostile,
    into_a_word,
    replaced,
    romanised,
    switched_once,
)
from organism.corpus import held_out, render
from probe.errors import ProbeError
from probe.families import load_family
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY, Paths
from probe.routing import CATEGORIES, Decision, Router, evaluate, route, unicode_text
from probe.routing.identify import LATIN, NATIVE, Identifier, viterbi
from probe.routing.policy import (
    COPES,
    LOSES,
    UNSETTLED,
    Policy,
    coping,
    emphasised,
    load_policy,
    measured,
)
from probe.routing.registers import Cues, Registers, comparable
from probe.routing.unicode_text import inspect
from probe.stimuli.edge_cases import FILE, load_cases
from probe.tables import EDGE_CATEGORIES

OFFICIAL = REPOSITORY.parent / "shared" / "flores200_dataset" / "devtest"

needs_flores = pytest.mark.skipif(not OFFICIAL.exists(), reason=f"no FLORES-200 in {OFFICIAL}")


@pytest.fixture(scope="session")
def flores() -> dict[str, list[str]]:
    return {
        code: [line.strip() for line in (OFFICIAL / f"{language.flores}.devtest").open(encoding="utf-8")]
        for code, language in LANGUAGES.items()
    }


@pytest.fixture(scope="session")
def parallel(request) -> dict[str, list[str]]:
    """The same texts in ten languages: FLORES where it is present, else threes of the organism's."""
    if OFFICIAL.exists():
        return {code: lines[CALIBRATED_ON:] for code, lines in request.getfixturevalue("flores").items()}
    return {
        code: [" ".join(lines[i : i + 3]) for i in range(0, len(lines) - 2)]
        for code, lines in plain_sentences().items()
    }


def plain_sentences() -> dict[str, list[str]]:
    return {code: [render(meaning, code) for meaning in held_out()] for code in LANGUAGES}


def recall(texts: list[str], category: str) -> float:
    return float(np.mean([category in route(text).categories for text in texts]))


# Plain text


@needs_flores
def test_plain_flores_is_left_alone(flores):
    alarms, wrong, kept = {}, {}, {}
    for code, lines in flores.items():
        decisions = [route(line) for line in lines[::4]]
        alarms[code] = sum(d.category is not None and d.registers != ("clinical",) for d in decisions)
        wrong[code] = sum(decision.language != code for decision in decisions) / len(decisions)
        kept[code] = sum(d.variant == d.language_variant for d in decisions) / len(decisions)
    assert max(wrong.values()) <= 0.005, wrong
    assert max(alarms.values()) <= 0.04 * 253, alarms  # with the stray joiners that are really in Bengali
    assert sum(alarms.values()) <= 0.015 * 2530, alarms
    assert min(kept.values()) >= 0.96, kept
    assert np.mean(list(kept.values())) >= 0.98, kept


@pytest.mark.parametrize("code", LANGUAGES)
def test_plain_short_sentences_are_left_alone(code):
    probes = json.loads((REPOSITORY / "data" / "concept_probes.json").read_text())
    texts = [probe["translations"][code] for probe in probes.values()] + plain_sentences()[code]
    decisions = [route(text) for text in texts]
    assert sum(d.language != code for d in decisions) <= 0.005 * len(texts)
    assert sum(d.category is not None for d in decisions) <= 0.02 * len(texts)


# Text made difficult by rule


def test_code_switches_are_found(parallel):
    rng = random.Random(5)
    assert recall([switched_once(pair, parallel, rng) for pair in PAIRS * 4], "code_switching") >= 0.9


def test_alternating_languages_are_found(parallel):
    rng = random.Random(6)
    assert recall([alternating(pair, parallel, rng) for pair in PAIRS * 2], "code_switching") >= 0.7


@pytest.mark.parametrize("code", NATIVE)
def test_romanised_text_is_found(code, parallel):
    lines = parallel[code][:: max(1, len(parallel[code]) // 60)]
    decisions = [route(text) for text in romanised(lines, code)]
    assert np.mean([d.category == "transliteration" for d in decisions]) >= 0.95
    assert np.mean([d.language == code for d in decisions]) >= 0.95


@pytest.mark.parametrize("made", [ZERO_WIDTH, BIDI], ids=["zero-width", "bidirectional"])
def test_invisible_characters_are_found(made, parallel):
    rng = random.Random(7)
    lines = [line for code in LANGUAGES for line in rng.sample(parallel[code], 30)]
    assert recall([into_a_word(line, rng.choice(made), rng) for line in lines], "unicode_edge") >= 0.99


@pytest.mark.parametrize(
    "table", [FULL_WIDTH, BOLD, CYRILLIC, GREEK], ids=["wide", "bold", "cyrillic", "greek"]
)
def test_look_alike_letters_are_found(table, parallel):
    rng = random.Random(8)
    lines = [line for code in LATIN for line in rng.sample(parallel[code], 40)]
    texts = [text for line in lines if (text := replaced(line, table, rng))]
    assert len(texts) > 150
    assert recall(texts, "unicode_edge") >= 0.99


@pytest.mark.parametrize("code", ["hi", "bn", "ar"])
def test_digits_of_two_systems_are_found(code):
    zero = {"hi": "०", "bn": "০", "ar": "٠"}[code]
    native = chr(ord(zero) + 5)
    sentence = plain_sentences()[code][0]
    assert route(f"{sentence} {native}").category is None
    assert route(f"{sentence} {native} 7").category == "unicode_edge"


@pytest.mark.parametrize(
    "text",
    [
        "👨‍👩‍👧‍👦 एक परिवार ❤️",  # joiners and a variation selector in emoji
        "Je vais bien 👍🏽, 1️⃣ fois",
        "क्‍ष और र्‍य",  # a joiner after a virama
        "می‌خواهم",  # a non-joiner between letters that would join
        "র‌্যাব",  # a non-joiner before a virama
        "5 µm, 20 °C, m², 1er, 10 kΩ",
        "የWiFi አገልግሎት",
        "PDFலிருந்து படிக்கவும்",
    ],
)
def test_ordinary_typography_is_no_finding(text):
    assert inspect(text).oddities == ()


@pytest.mark.parametrize(
    "text",
    ["बच्चे का तापमान १०३°F है", "الطفل لديه حمى منذ 2 days", "দিনে ২৫০mg খাবেন"],
)
def test_a_number_whose_unit_is_in_another_script_is_found(text):
    assert "unicode_edge" in route(text).categories


@pytest.mark.parametrize("code", ["fr", "es", "yo", "bn", "ta"])
def test_decomposed_text_is_found(code, parallel):
    composed = [unicodedata.normalize("NFC", line) for line in parallel[code][:200]]
    decomposed = [unicodedata.normalize("NFD", line) for line in composed]
    texts = [d for c, d in zip(composed, decomposed, strict=True) if len(c) < len(d)]
    assert len(texts) > 10
    assert recall(texts, "unicode_edge") >= 0.99


def test_misread_encoding_is_repaired():
    garbled = "मुझे बुखार है".encode().decode("latin-1")
    decision = route(garbled)
    assert (decision.category, decision.text, decision.language) == ("unicode_edge", "मुझे बुखार है", "hi")


# Properties


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_string_gives_a_decision(text):
    decision = route(text)
    assert isinstance(decision, Decision)
    assert decision.language in LANGUAGES
    assert decision.category == next(iter(decision.categories), None)
    assert set(decision.categories) <= set(CATEGORIES)
    assert ("formal_register" in decision.categories) == bool(decision.registers)
    assert 0 <= decision.confidence <= 1
    assert decision.reasons
    assert all(0 <= span.start < span.end <= len(text) for span in decision.spans)


LETTERS = st.characters(categories=("L",))
MARKS = st.characters(categories=("M",))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(LETTERS, MARKS, st.sampled_from(" 1'-(.\u200c\u0345")), max_size=40))
def test_letters_and_marks_of_all_scripts_give_a_decision(characters):
    text = "".join(characters)
    decision = route(text)
    assert decision.variant in ("base", "fire", "earth")
    assert all(0 <= span.start < span.end <= len(text) for span in decision.spans)


def test_a_combining_iota_is_no_letter_of_another_script():
    """Cased, and of Greek by name, but a mark; alone in a word it was an IndexError."""
    assert route("hello \u0345 world").language == "en"


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "123 456", "?!…", "🤒🤒", "\u200b", "\u0301"])
def test_text_without_words_goes_to_the_baseline(text):
    decision = route(text)
    assert decision.variant == "base"
    assert (decision.language, decision.confidence) == ("en", 0)


def some_texts(parallel) -> list[str]:
    rng = random.Random(9)
    texts = [line for code in LANGUAGES for line in rng.sample(parallel[code], 12)]
    texts += [switched_once(pair, parallel, rng) for pair in PAIRS[::3]]
    return [*texts, "mujhe bukhar hai", "3andi so7al", "Abeg, my pikin dey sick", "fi\u200bever"]


def test_decomposing_changes_neither_variant_nor_language(parallel):
    for text in some_texts(parallel):
        first, second = (route(unicodedata.normalize(form, text)) for form in ("NFC", "NFD"))
        assert (first.language_variant, first.language) == (second.language_variant, second.language), text


def test_a_final_blank_changes_nothing(parallel):
    for text in some_texts(parallel):
        assert route(text) == route(f"{text} ")


def test_fifty_threads_answer_as_one(parallel):
    texts = some_texts(parallel)
    alone = [route(text) for text in texts]
    with ThreadPoolExecutor(50) as pool:
        together = list(pool.map(route, texts * 5))
    assert together == alone * 5


@pytest.mark.parametrize("text", hostile(100_000), ids=lambda text: ascii(text[:3]))
def test_long_input_is_answered_without_going_back_over_it(text):
    """What is tried again at each place of such a text takes minutes, not seconds."""
    started = time.process_time()
    route(text)
    assert time.process_time() - started < 3


def test_only_the_first_characters_of_a_longer_text_are_looked_at():
    assert route("word " * 20_000 + "x").reasons[-1].startswith("only the first 100000")


def test_what_takes_too_long_is_said(monkeypatch):
    monkeypatch.setattr(unicode_text, "TIME_LIMIT", 1e-6)
    decision = route("a\u200c" * 50_000)
    assert decision.category == "unicode_edge"
    assert any("took too long" in reason for reason in decision.reasons)


def test_spans_are_places_in_the_text_as_given():
    text = "  Mtoto ana homa and she needs some medicine now"
    decision = route(text)
    assert decision.category == "code_switching"
    assert [text[span.start : span.end] for span in decision.spans] == ["and she needs some medicine now"]
    hidden = route("I have a fe\u200bver").spans[0]
    assert (hidden.start, hidden.end) == (11, 12)


# Registers


def test_every_cue_fires_alone_if_strong_and_never_alone_if_weak():
    cues = Cues("test", "por la presente, usted?, ab-, -xyz, ab-yz?", "es")
    for text, weight in [
        ("por la presente", 1.0),
        ("usted", 0.5),
        ("abc", 1.0),
        ("cxyz", 1.0),
        ("la presente", 0),
    ]:
        assert cues.weigh(text.split()).weight == weight


@pytest.mark.parametrize(
    ("text", "registers", "categories"),
    [
        ("Patients are hereby advised to present themselves forthwith.", ("official",), ("formal_register",)),
        ("He had a myocardial infarction with dyspnoea.", ("clinical",), ("formal_register",)),
        ("मरीज़ को acute myocardial infarction हुआ है।", ("clinical",), ("formal_register", "code_switching")),
        ("El paciente tiene contraindicación para anticoagulantes.", ("clinical",), ("formal_register",)),
        ("He was given an antibiotic and went home.", (), ()),
        ("मुझे तेज़ बुखार है।", (), ()),
    ],
)
def test_registers_are_told_apart_and_hide_nothing(text, registers, categories):
    decision = route(text)
    assert (decision.registers, decision.categories) == (registers, categories)


def test_clinical_terms_are_weighed_by_the_length_of_the_text():
    registers, terms = Registers(), ["dyspnoea", "oedema"]
    assert registers.clinical([*["word"] * 18, *terms], "en")
    assert not registers.clinical([*["word"] * 19, *terms], "en")
    assert not registers.clinical(["dyspnoea"], "en")


@pytest.mark.parametrize(
    ("standard", "dialect"),
    [("رآه", "راه"), ("كائن", "كاين"), ("هادئ", "هادي"), ("رآها", "راها")],
)
def test_hamza_and_madda_inside_a_word_make_other_words(standard, dialect):
    assert comparable(standard, "ar") != comparable(dialect, "ar")


def test_in_arabic_vowel_signs_tatweel_and_an_initial_hamza_are_left_out():
    assert comparable("أُرِيـد", "ar") == comparable("اريد", "ar")


def test_cues_are_counted_once_and_name_their_words():
    found = Cues("test", "de una, che?", "es").weigh("che vino de una vez che".split())
    assert (found.weight, found.cues, found.places) == (1.5, ("de una", "che"), ((2, 4), (0, 1)))


def test_what_stands_in_brackets_is_neither_a_switch_nor_counted_with_its_neighbours():
    text = "This is matched by Norway, Sweden and New Zealand, but otherwise quite unique "
    assert route(text + "(e.g. in the Netherlands the figure is one to forty).").language == "en"
    assert route("इस लेख में दवा (the medicine of the child) की बात है।").category is None


PLAIN = """
منذ ذلك الحين لم يشعر المريض بأي ألم. | قد ينجم عن المرض فقدان البصر. | الطبيب رآه في المستشفى وقال إنه بخير.
البكتيريا كائن حي صغير جدا. | لما كان صغيرا أصيب بالحصبة. | المريض في حاجة إلى مسكن قوي.
रात को आसमान में सितारे चमकते हैं। | वह पाकिस्तानी डॉक्टर बहुत अच्छा है। | उसके उदर में दर्द है।
दाई ने घर पर बच्चे का जन्म कराया।
स्वास्थ्य सेवा में बहुत सुधार हुआ है। | গম খেলে তার পেটে ব্যথা হয়। | শিশুটি হাতে বালা পরে আছে। | গতকাল আমাদের দল জিতেছে।
தலைவலி நீங்க இந்த மருந்தைச் சாப்பிடுங்கள். | தண்ணீரைக் காய்ச்ச வேண்டும். | வயிறு வலிக்கும்போது சோறு சாப்பிட வேண்டாம்.
Nitakuja kukupa dawa kesho asubuhi. | Unatakiwa kunywa maji mengi kila siku. | Mlaze mgonjwa chali kitandani.
Moyo wake ulianza kudunda kwa kasi. | Mwana wangu ana homa tangu jana. | Maji safi sana yapo mtaani kwetu.
ሐኪሙን ነገ እጠይቃለሁ። | እንዴት ዋልህ? ጤናህ እንዴት ነው? | ችግሩን ሐኪሙ ፈታ። | ዘና ብለህ በጥልቀት ተንፍስ።
Arábìnrin mi ní ibà láti àná. | Ṣé ẹ ti rí dókítà lónìí? | Ẹ̀gbọ́n mi ní ìrora ní àyà.
Voilà la dose que le médecin a prescrite. | Il est têtu et abattu.
¿Por cuánto tiempo debo tomar el medicamento?
Quédate en casa y descansa mucho. | Creo que padre e hijo están enfermos. | It may not help, but give it a go.
We will wean the patient off the ventilator tomorrow. | Poorly controlled diabetes can cause blindness.
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("text", [sentence.strip() for sentence in PLAIN if sentence.strip()])
def test_ordinary_words_that_once_were_cues_are_left_alone(text):
    assert route(text).categories == ()


@pytest.mark.parametrize("kind", ["official", "dialect"])
def test_listed_strong_cues_are_recognised_in_their_language(kind):
    import tomllib

    tables = tomllib.loads((REPOSITORY / "data" / "registers.toml").read_text())[kind]
    assert set(tables) == set(LANGUAGES)
    registers, missed = Registers(), []
    for code, varieties in tables.items():
        for cue in itertools.chain.from_iterable(v.replace("\n", ",").split(",") for v in varieties.values()):
            cue = cue.strip()
            if cue and not cue.endswith("?") and "-" not in cue:
                words = [comparable(word, code) for word in cue.split()]
                missed += [] if getattr(registers, kind)(words, code) else [cue]
    assert missed == []


def test_a_long_text_needs_more_cues():
    registers = Registers()
    filler = ["palabra"] * 120
    assert registers.official(["por", "la", "presente"], "es")
    assert not registers.official([*filler, "por", "la", "presente"], "es")


def test_unknown_language_or_broken_file_is_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registers.toml").write_text('[official.xx]\na = "b"')
    with pytest.raises(ProbeError, match="'xx'"):
        Registers(Paths(tmp_path))
    (tmp_path / "data" / "registers.toml").write_text("[")
    with pytest.raises(ProbeError, match=r"registers\.toml"):
        Registers(Paths(tmp_path))


# The path through the words


def test_viterbi_finds_what_trying_every_path_finds():
    rng = np.random.default_rng(1)
    for _ in range(20):
        evidence, prices = rng.normal(size=(5, 3)), rng.random((3, 3))
        np.fill_diagonal(prices, 0)
        best, path = viterbi(evidence, prices)

        def worth(states, evidence=evidence, prices=prices):
            moves = sum(prices[a, b] for a, b in itertools.pairwise(states))
            return sum(evidence[row, state] for row, state in enumerate(states)) - moves

        every = max(itertools.product(range(3), repeat=5), key=worth)
        assert path == every
        assert best == pytest.approx(worth(every))


def test_evidence_of_words_adds_up_to_that_of_the_text():
    """The sum over words is the sum over n-grams of one walk, whatever the words are cut into."""
    identifier = Identifier()
    words = "the doctor said that the child should drink water".split()
    per_word = identifier._per_word(words, identifier._known)
    _, features = identifier._walk(f" {' '.join(words)} ".encode())
    np.testing.assert_allclose(per_word.sum(axis=0), identifier._known[features].sum(axis=0), rtol=1e-5)


# Policy and evaluation


def test_without_measurements_the_policy_is_what_variants_are_meant_for():
    policy = emphasised(load_family("tiny-aya", Paths()))
    assert policy.variants == {
        **dict.fromkeys(("hi", "bn", "ta"), "fire"),
        **dict.fromkeys(("sw", "am", "yo"), "earth"),
    }
    assert policy.variant("fr") == "base"


def test_nano_aya_is_routed_by_its_planted_effects():
    policy = load_policy("nano-aya")
    assert policy.variants == {
        **dict.fromkeys(("hi", "bn", "ta"), "fire"),
        **dict.fromkeys(("sw", "am", "yo"), "earth"),
    }
    decision = route("मेरे सिर में दर्द है।", family="nano-aya")
    assert (decision.variant, decision.language_variant) == ("fire", "fire")
    assert policy.source in decision.reasons[-1]


def categories_of(
    category: str,
    own: tuple[float, float, float],
    beyond: tuple[float, float, float],
    clean: float = 0.5,
    variant: str = "fire",
    source: str = "generated",
    languages: str = "all",
) -> pd.DataFrame:
    """edge_categories.csv of one variant and category: closeness of its inputs, and beyond that of Base's."""
    rows = [("base", "clean", (clean, clean - 0.1, clean + 0.1)), (variant, "input", own)]
    shared = {"failure_category": category, "source": source, "languages": languages, "n": 60}
    return pd.DataFrame(
        [
            {"variant": name, "contrast": contrast, "value": v, "ci_low": low, "ci_high": high} | shared
            for name, contrast, (v, low, high) in (*rows, (variant, "input - base", beyond))
        ]
    )


def tiny_aya(*tables: pd.DataFrame) -> Policy:
    family = load_family("tiny-aya", Paths())
    together = pd.concat(tables).drop_duplicates(
        ["variant", "failure_category", "source", "languages", "contrast"], ignore_index=True
    )
    return replace(emphasised(family), coping=coping(together, family))


@pytest.mark.parametrize(
    ("own", "beyond", "verdict", "variant"),
    [
        ((0.4, 0.3, 0.5), (0.01, -0.03, 0.05), COPES, "fire"),
        ((0.4, 0.3, 0.5), (0.3, 0.1, 0.5), COPES, "fire"),  # better than Base
        ((0.4, 0.3, 0.5), (0.01, -0.13, 0.15), UNSETTLED, "base"),  # not significant is not equivalent
        ((0.4, 0.3, 0.5), (-0.2, -0.3, -0.1), LOSES, "base"),
        ((0.4, 0.3, 0.5), (-0.05, -0.08, -0.02), COPES, "fire"),  # lower, but within the margin
        ((0.0, -0.04, 0.04), (0.0, -0.001, 0.001), UNSETTLED, "base"),  # as good as Base, and neither is good
    ],
)
def test_a_category_keeps_the_regional_variant_only_where_it_is_shown_to_cope(own, beyond, verdict, variant):
    policy = tiny_aya(categories_of("transliteration", own, beyond))
    assert policy.coping["fire", "transliteration"].verdict == verdict
    decision = Router(policy=policy).route("mujhe kal raat se bukhar hai")
    assert (decision.variant, decision.language_variant) == (variant, "fire")
    assert any(reason.startswith("transliteration in fire: ") for reason in decision.reasons)
    both = policy.choose("hi", ("unicode_edge", "transliteration"))
    assert both[0] == "base"
    assert "unicode edge in fire: not measured" in both[1]


GOOD, BAD = ((0.4, 0.3, 0.5), (0.1, 0.05, 0.15)), ((0.0, -0.1, 0.1), (-0.4, -0.5, -0.3))


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ({("written", "all"): BAD, ("generated", "all"): GOOD}, COPES),
        ({("written", "hi bn ta"): GOOD, ("generated", "all"): BAD}, LOSES),
        ({("generated", "all"): GOOD, ("generated", "hi bn ta"): BAD}, LOSES),
        ({("generated", "all"): BAD, ("generated", "sw am yo"): GOOD}, LOSES),  # the languages of another
        ({("written", "all"): GOOD, ("written", "hi bn ta"): BAD}, LOSES),
    ],
)
def test_generated_cases_count_before_written_ones_and_the_variants_own_languages_before_all(told, verdict):
    tables = [
        categories_of("transliteration", *found, source=source, languages=languages)
        for (source, languages), found in told.items()
    ]
    for order in (tables, tables[::-1]):
        coped = tiny_aya(*order).coping["fire", "transliteration"]
        assert coped.verdict == verdict
        assert "60 generated cases" in coped.evidence or all(source == "written" for source, _ in told)


def test_the_planted_costs_are_what_a_router_falls_back_for():
    """Fire loses what is romanised and Earth does not; Earth loses what is mixed and Fire does not."""
    policy = tiny_aya(
        categories_of("transliteration", *BAD, variant="fire", languages="hi bn ta"),
        categories_of("transliteration", *GOOD, variant="earth", languages="sw am yo"),
        categories_of("code_switching", *GOOD, variant="fire", languages="hi bn ta"),
        categories_of("code_switching", *BAD, variant="earth", languages="sw am yo"),
    )
    lost = {("transliteration", "fire"), ("code_switching", "earth")}
    router, routed = Router(policy=policy), {}
    for one in load_cases(REPOSITORY / FILE):
        if one.failure_category in ("transliteration", "code_switching"):
            own, decision = one.expected_language_variant, router.route(one.input)
            routed[one.failure_category, one.language_ground_truth] = decision.variant
            assert decision.variant == ("base" if (one.failure_category, own) in lost else own), one.test_id
    assert routed["transliteration", "am"] == "earth"
    assert {routed["code_switching", code] for code in ("hi", "bn", "ta")} == {"fire"}


def test_a_family_reads_its_own_measurement_of_the_categories(tmp_path):
    paths = Paths(tmp_path)
    table = categories_of("transliteration", *GOOD).assign(p_value=0.5, q_value=0.5)
    EDGE_CATEGORIES.write(paths.results("tiny-aya"), table, {"params": {}, "inputs": {}})
    assert Router("tiny-aya", paths).route("mujhe kal raat se bukhar hai").variant == "fire"
    assert route("mujhe kal raat se bukhar hai").variant == "base"


def regional(**changed) -> pd.DataFrame:
    row = {"variant": "fire", "metric": "centred_cosine", "position": "mean", "verdict": "regional"}
    return pd.DataFrame([row | changed])


@pytest.mark.parametrize(
    ("change", "chosen"),
    [
        ({}, {"hi": "fire", "bn": "fire", "ta": "fire"}),
        ({"verdict": "blocked"}, {}),
        ({"verdict": "descriptive"}, {}),
        ({"metric": "cosine"}, {}),
        ({"position": "last"}, {}),
        ({"variant": "global"}, {}),
    ],
)
def test_a_variant_is_chosen_where_it_may_be_said_to_help(change, chosen):
    assert measured(load_family("tiny-aya", Paths()), regional(**change)) == chosen


def test_the_policy_of_an_unknown_family_is_an_error():
    with pytest.raises(ProbeError, match="no family 'none'"):
        Router("none")


def case(test_id: str, text: str, category: str | None, variant: str, language: str, **more) -> dict:
    labels = {"failure_category": category, "expected_variant": variant, "language_ground_truth": language}
    return {"test_id": test_id, "input": text, **labels, **more}


def test_evaluation_counts_what_is_right_and_what_is_taken_for_what():
    cases = [
        case("a", "mujhe do din se bukhar hai", "transliteration", "base", "hi", clean="मुझे दो दिन से बुखार है।",
             expected_language_variant="fire"),
        case("b", "The child is well.", "formal_register", "earth", "sw", clean="The ch\u200bild is well.",
             expected_language_variant="earth"),
        case("c", "Mtoto ana homa and she nee\u200bds medicine", "code_switching", "base", "sw-en"),
    ]  # fmt: skip
    evaluation = evaluate(cases)
    assert evaluation.right == {
        "category": 1,
        "category among all given": 2,
        "variant": 2,
        "variant by language alone": 2,
        "language": 2,
    }
    assert evaluation.categories_given == 1
    assert evaluation.confusion["formal_register"]["none"] == 1
    assert sum(sum(row.values()) for row in evaluation.confusion.values()) == 3
    assert (evaluation.clean, evaluation.false_alarms) == (2, (("b", "unicode_edge"),))
    assert json.loads(json.dumps(evaluation.summary()))["right"]["category"] == 1


def test_evaluation_names_what_a_case_lacks():
    with pytest.raises(ProbeError, match="no case"):
        evaluate([])
    with pytest.raises(ProbeError, match="case z lacks expected_variant"):
        evaluate([{"test_id": "z", "input": "", "failure_category": None, "language_ground_truth": "en"}])
