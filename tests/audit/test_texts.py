"""What is wrong with the texts themselves: each world is planted, and what is right stays unblocked."""

import numpy as np
import pytest

from probe.audit.advice import advice
from probe.audit.checks import Evidence, audit
from probe.audit.findings import blocked
from probe.audit.texts import Offset, audit_texts, gainsaid, line_offset, shifted_lines
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY, Paths
from probe.stimuli import tico
from probe.stimuli.manifest import load_concepts, load_manifest, probe_sentences

SHARED = REPOSITORY.parent / "shared"

NEAR = {
    "es": """A criança está com febre desde ontem à noite.
        A minha mãe precisa de um médico hoje.
        Você deve beber água limpa todos os dias.
        O hospital fica muito longe da nossa aldeia.
        O bebê não consegue respirar bem.
        Ela tomou o remédio depois da refeição.
        A infecção pode ser perigosa para os idosos.
        Não durmo bem há duas semanas.
        O menino tosse muito durante a noite.
        As pessoas saudáveis também podem adoecer.""",
    "hi": """मुलाला काल रात्रीपासून ताप आहे.
        माझ्या आईला आज डॉक्टरांची गरज आहे.
        तुम्ही दररोज स्वच्छ पाणी प्यायला हवे.
        रुग्णालय आमच्या गावापासून खूप दूर आहे.
        बाळाला नीट श्वास घेता येत नाही.
        तिने जेवणानंतर औषध घेतले.
        हा संसर्ग वृद्ध लोकांसाठी धोकादायक असू शकतो.
        मला दोन आठवड्यांपासून नीट झोप लागत नाही.
        मुलगा रात्री खूप खोकतो.
        निरोगी लोकही आजारी पडू शकतात.""",
    "ar": """بچے کو کل رات سے بخار ہے۔
        میری ماں کو آج ڈاکٹر کی ضرورت ہے۔
        آپ کو ہر روز صاف پانی پینا چاہیے۔
        ہسپتال ہمارے گاؤں سے بہت دور ہے۔
        بچہ ٹھیک سے سانس نہیں لے پا رہا ہے۔
        اس نے کھانے کے بعد دوا لی۔
        یہ انفیکشن بوڑھے لوگوں کے لیے خطرناک ہو سکتا ہے۔
        مجھے دو ہفتوں سے اچھی نیند نہیں آتی۔
        لڑکا رات کو بہت کھانستا ہے۔
        صحت مند لوگ بھی بیمار ہو سکتے ہیں۔""",
    "am": """እቲ ቆልዓ ካብ ትማሊ ለይቲ ጀሚሩ ረስኒ ኣለዎ።
        ኣደይ ሎሚ ሓኪም የድልያ ኣሎ።
        ኩሉ መዓልቲ ጽሩይ ማይ ክትሰቲ ኣለካ።
        እቲ ሆስፒታል ካብ ዓድና ኣዝዩ ርሑቕ እዩ።
        እቲ ህጻን ብግቡእ ከተንፍስ ኣይክእልን እዩ።
        ድሕሪ መግቢ መድሃኒት ወሲዳ።
        እዚ ረኽሲ ንዓበይቲ ሰባት ሓደገኛ ክኸውን ይኽእል እዩ።
        ክልተ ሰሙን ኮይኑኒ ብደንቢ ኣይድቅስን ኣለኹ።
        እቲ ወዲ ለይቲ ብዙሕ ይስዕል።
        ጥዑያት ሰባት እውን ክሓሙ ይኽእሉ እዮም።""",
}
NAMES = {"es": "pt", "hi": "mr", "ar": "ur", "am": "ti"}


@pytest.fixture(scope="module")
def probes():
    concepts = load_concepts(Paths().concept_probes)
    return [("probes", s.stimulus_id, s.language, s.text) for s in probe_sentences(concepts)]


def high(sentences) -> dict:
    return {finding.id: finding for finding in audit_texts(sentences) if finding.severity == "high"}


# Another language


@pytest.mark.parametrize("language", NEAR)
def test_a_near_language_in_place_of_another_is_found_and_blocked(language, probes):
    """Portuguese for Spanish, Marathi for Hindi, Urdu for Arabic, Tigrinya for Amharic."""
    texts = iter(line.strip() for line in NEAR[language].splitlines())
    sentences = [
        (kind, name, of, next(texts, text) if of == language else text) for kind, name, of, text in probes
    ]
    (finding,) = high(sentences).values()
    assert finding.id == f"foreign_sentences/probes/{language}"
    taken_for = list(finding.evidence["first"].values())
    assert max(set(taken_for), key=taken_for.count) == NAMES[language]
    assert blocked({"stimuli": "probes", "language": language}, [finding]) == finding
    assert blocked({"stimuli": "probes", "language": "sw"}, [finding]) is None
    assert blocked({"stimuli": "flores", "language": language}, [finding]) is None


def test_a_foreign_pivot_blocks_every_language_and_single_sentences_are_named_only(probes):
    of = {(name.split("_")[1], language): text for _, name, language, text in probes}
    french = [
        (kind, name, language, of[name.split("_")[1], "fr"] if language == "en" else text)
        for kind, name, language, text in probes
        if language != "fr"
    ]
    finding = high(french)["foreign_sentences/probes/en"]
    assert blocked({"stimuli": "probes", "language": "sw"}, [finding]) == finding
    few = [*probes, ("probes", "x", "en", "Le chat dort sous la table de la cuisine.")]
    assert not high(few)
    assert "x" in next(f for f in audit_texts(few) if f.id.endswith("/en")).evidence["first"]


def test_the_probes_and_the_corpus_are_what_they_say(probes):
    manifest = load_manifest(REPOSITORY / "organism" / "stimulus_manifest.json", "nano-aya")
    corpus = [("parallel", s.stimulus_id, s.language, s.text) for s in manifest.parallel]
    assert not high([*probes, *corpus])


def lines(path) -> list[str]:
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def of_folder(kind: str, files: dict, part=slice(None)) -> list[tuple]:
    return [
        (kind, f"{kind}_{code}_{number}", code, text)
        for code, path in files.items()
        for number, text in list(enumerate(lines(path)))[part]
    ]


DEVTEST = SHARED / "flores200_dataset" / "devtest"


@pytest.mark.skipif(not DEVTEST.exists(), reason="not beside the repository")
def test_true_sentences_are_not_blocked():
    """The half of FLORES-200 that no threshold has seen."""
    files = {code: DEVTEST / f"{language.flores}.devtest" for code, language in LANGUAGES.items()}
    assert not high(of_folder("flores", files, slice(506, None)))


@pytest.fixture(scope="module")
def of_tico():
    """What is found in all lines of TICO-19, as it was published."""
    lines = tico.read().lines
    texts = [(code, i, text) for code, own in lines.items() for i, text in enumerate(own)]
    return audit_texts(("tico", f"tico_{code}_{i}", code, text) for code, i, text in texts)


def test_of_tico_french_alone_is_blocked_for_its_copies(of_tico):
    (finding,) = (finding for finding in of_tico if finding.severity == "high")
    assert finding.id == "repeated/tico/fr"
    assert max(f.evidence["share"] for f in of_tico if f.id.startswith("foreign")) < 0.02
    assert finding.evidence["share"] * 2600 == pytest.approx(2 * 122, abs=0.5)
    assert blocked({"stimuli": "tico", "language": "fr"}, [finding]) == finding


def test_what_the_rule_chooses_of_tico_is_not_blocked():
    chosen = [("tico", s.stimulus_id, s.language, s.text) for s in tico.chosen(200)]
    assert not high(chosen)
    assert {f.id.split("/")[0] for f in audit_texts(chosen)} <= {"foreign_sentences"}


def test_lines_that_stage_1_dropped_are_named_and_block_nothing():
    sources = {
        "probes": {"file": "probes.json"},
        "flores": None,
        "parallel": {"lines": 80, "contradictory": {"fr": [3, 4, 9, 12]}},
    }
    (finding,) = gainsaid(sources)
    assert (finding.id, finding.severity, finding.blocks) == ("contradictory/parallel/fr", "low", [])
    assert "4 of 80 fr lines (parallel)" in finding.evidence["sentence"]
    assert (finding.evidence["share"], finding.evidence["first"]) == (0.05, [3, 4, 9, 12])
    assert audit(Evidence(sources=sources)) == [finding]
    assert advice(finding.id)


# No translation, and copies


@pytest.mark.parametrize(("share", "severity"), [(0.02, "low"), (0.09, "high")])
def test_untranslated_sentences_are_found_and_block_from_a_stated_share(share, severity):
    """9 % of English left in Swahili; without its full stop and in capitals it is no translation either."""
    english = [f"The nurse on ward {i} gave the child water and medicine today." for i in range(100)]
    swahili = [f"Muuguzi wa wodi {i} alimpa mtoto maji na dawa leo." for i in range(100)]
    left = int(share * 100)
    swahili[:left] = [text.upper().replace("NURSE", "\u200bNURSE") for text in english[:left]]
    sentences = [("parallel", f"en{i}", "en", text) for i, text in enumerate(english)]
    sentences += [("parallel", f"sw{i}", "sw", text) for i, text in enumerate(swahili)]
    finding = next(f for f in audit_texts(sentences) if f.id == "untranslated/parallel/sw")
    assert (finding.severity, finding.evidence["share"]) == (severity, share)
    assert finding.evidence["first"]["sw1"] == "en1"
    assert bool(finding.blocks) == (severity == "high")


def test_a_typographic_twin_is_a_copy():
    texts = ["The child\u2019s \u201cfever\u201d rose.", 'the  child\'s "Fever" rose.', "The child slept."]
    sentences = [("parallel", f"p{i}", "en", text) for i, text in enumerate(texts)]
    (finding,) = audit_texts(sentences)
    assert (finding.id, finding.evidence["first"]) == ("repeated/parallel/en", {"p0": "p1", "p1": "p0"})


def test_the_audit_asks_these_checks(probes):
    spanish = [
        (kind, name, "fr" if of == "es" else of, text) for kind, name, of, text in probes if of != "fr"
    ]
    assert "foreign_sentences/probes/fr" in {finding.id for finding in audit(Evidence(sentences=spanish))}


# Lines that do not belong to each other


def world(rng, n: int, aligned: float, topic: float = 1.0, hub: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 32) vectors of pivot and target: documents of ten sentences, whose topic both sides carry."""
    meaning = (
        aligned * rng.normal(size=(n, 32)) + topic * np.repeat(rng.normal(size=(n // 10 + 1, 32)), 10, 0)[:n]
    )
    pivot, target = (meaning + rng.normal(size=(n, 32)) for _ in range(2))
    return pivot, target + hub * rng.normal(size=32)


def cosines(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    pivot, target = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (pivot, target))
    return pivot @ target.T


@pytest.mark.parametrize("lines", [1, -1, 3, -20])
@pytest.mark.parametrize("part", [(0, 400), (200, 400), (0, 200), (100, 300)])
def test_lines_that_are_off_are_found_in_whole_and_in_part(lines, part):
    pivot, target = world(np.random.default_rng(5), 400, 1.0)
    first, last = part
    target[first:last] = np.roll(target[first:last], lines, axis=0)
    offset = line_offset(cosines(pivot, target))
    assert offset is not None
    assert offset.lines == lines
    assert offset.other > 0.9 > offset.own
    assert first - 20 <= offset.first <= first + 60
    assert last - 80 <= offset.last <= last + 20


@pytest.mark.parametrize("n", [12, 20, 100, 400])
@pytest.mark.parametrize(
    "arguments",
    [
        {"aligned": 1.0},
        {"aligned": 0.4, "topic": 2.0},
        {"aligned": 0.0, "topic": 2.0},
        {"aligned": 0.0, "topic": 0.0, "hub": 3.0},
    ],
    ids=["aligned", "weakly", "topic alone", "nothing"],
)
def test_lines_in_their_place_are_left_alone(n, arguments):
    """The neighbours in a document may be as alike as they like, and an unaligned model is not an offset."""
    rng = np.random.default_rng(6)
    found = sum(line_offset(cosines(*world(rng, n, **arguments))) is not None for _ in range(50))
    assert found <= 1


def test_constant_similarities_are_no_offset():
    assert line_offset(np.ones((50, 50))) is None


def test_an_offset_blocks_its_language_and_says_what_is_off():
    (finding,) = shifted_lines({("parallel", "hi"): {"base": Offset(1, 199, 399, 0.5, 0.97)}})
    assert "en sentences 200 to 400 (parallel) match the hi ones +1 lines on" in finding.evidence["sentence"]
    assert blocked({"stimuli": "parallel", "language": "hi", "variant": "fire"}, [finding]) == finding
    assert blocked({"stimuli": "parallel", "language": "bn"}, [finding]) is None
