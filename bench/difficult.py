"""Text that a program makes difficult, for measuring the router: no rule of it was written for these."""

import itertools
import random
import unicodedata
from collections.abc import Iterator, Sequence

from probe.languages import LANGUAGES
from probe.routing.identify import LATIN, NATIVE

CALIBRATED_ON = (
    506  # thresholds were set on the sentences of FLORES before this one; made texts are of the rest
)
PAIRS = list(itertools.permutations(LANGUAGES, 2))
ZERO_WIDTH = "\u200b\u2060\ufeff\u00ad\u180e\u2063"
BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
FULL_WIDTH = {chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)}
BOLD = {chr(ord("a") + i): chr(0x1D41A + i) for i in range(26)}
CYRILLIC = dict(zip("aceopxyijs", "асеорхуіјѕ", strict=True))
GREEK = dict(zip("aiouvkp", "αιουνκρ", strict=True))


def switched_once(pair: tuple[str, str], parallel: dict[str, list[str]], rng: random.Random) -> str:
    """The beginning of a sentence in one language and the rest of it, in proportion, in another."""
    i = rng.randrange(len(parallel["en"]))
    first, second = (parallel[code][i].split() for code in pair)
    cut = rng.randrange(1, len(first))
    return " ".join(first[:cut] + second[min(len(second) - 1, round(cut / len(first) * len(second))) :])


def alternating(pair: tuple[str, str], parallel: dict[str, list[str]], rng: random.Random) -> str:
    """Every 2 to 4 words from the other language."""
    i = rng.randrange(len(parallel["en"]))
    sentences = [parallel[code][i].split() for code in pair]
    words, at, turn = [], 0, 0
    while at < min(map(len, sentences)):
        n = rng.randrange(2, 5)
        words += sentences[turn][at : at + n]
        at, turn = at + n, 1 - turn
    return " ".join(words)


def hostile(length: int) -> list[str]:
    """Texts of about so many characters that a careless pattern goes over again at each of their places."""
    units = [
        *(
            "word ",
            "é",
            "e\u0301",
            "а",
            "\u200b",
            "Ã©",
            "बुखार ",
            "👨\u200d",
            "٣",
            "no-",
            "''",
            "\u0902",
            "\u0345",
        ),
        *("بـ", "a\u200c", "(a", "[x", "a.", "1 a", "ا 1a", "A", "𝐚", "ﬁ", "क्\u200d", "\U0001f1e6", "\u064b"),
        *("aа ", "(a) ", "ﷺ", "a\u0301\u0301\u0301\u0301", "â€", "ß"),
    ]
    once = [
        *(
            "a" + "\u0902" * length,
            "ब" + "\u0301" * length,
            "ب" + "ـ" * length,
            "ا" + " " * length + "2 days",
        ),
        *("ب" + "\u064b" * length + "\u200c", "a" * length + "ш", "(" + "a " * (length // 2), "1" * length),
    ]
    return [text[:length] for text in (*(unit * (length // len(unit) + 1) for unit in units), *once)]


def into_a_word(text: str, made: str, rng: random.Random) -> str:
    """`made` put into a word, after a letter and before a letter or a mark."""
    letter_or_mark = [unicodedata.category(character)[0] in "LM" for character in text]
    at = rng.choice([i for i in range(1, len(text)) if text[i - 1].isalpha() and letter_or_mark[i]])
    return text[:at] + made + text[at:]


def replaced(text: str, table: dict[str, str], rng: random.Random) -> str:
    """One letter between two others replaced by the one that looks or means the same, or ""."""
    inside = [
        i
        for i in range(1, len(text) - 1)
        if text[i] in table and text[i - 1].isalpha() and text[i + 1].isalpha()
    ]
    if not inside:
        return ""
    at = rng.choice(inside)
    return text[:at] + table[text[at]] + text[at + 1 :]


def romanised(lines: Sequence[str], code: str) -> list[str]:
    """By uroman, the usual romaniser of all scripts. Raises ImportError where it is not installed."""
    from uroman import Uroman

    romaniser = Uroman()
    return [str(romaniser.romanize_string(line, lcode=LANGUAGES[code].flores[:3])) for line in lines]


def beds(flores: dict[str, list[str]], rng: random.Random) -> Iterator[tuple[str, str, list[str]]]:
    """(name, category, texts) of every kind, made of the sentences that no threshold was set on."""
    parallel = {code: lines[CALIBRATED_ON:] for code, lines in flores.items()}
    scripts = {code: language.script for code, language in LANGUAGES.items()}
    for name, same in (("two scripts", False), ("Latin and Latin", True)):
        pairs = [pair for pair in PAIRS if (scripts[pair[0]] == scripts[pair[1]]) == same]
        for kind, make in (("one switch", switched_once), ("every 2 to 4 words", alternating)):
            yield f"{kind}, {name}", "code_switching", [make(pair, parallel, rng) for pair in pairs * 8]
    for code in NATIVE:
        yield f"uroman, {code}", "transliteration", romanised(parallel[code], code)
    lines = [line for code in LANGUAGES for line in rng.sample(parallel[code], 60)]
    for name, made in (("zero-width", ZERO_WIDTH), ("bidirectional", BIDI)):
        yield name, "unicode_edge", [into_a_word(line, rng.choice(made), rng) for line in lines]
    lines = [line for code in LATIN for line in rng.sample(parallel[code], 120)]
    for name, table in (("full-width", FULL_WIDTH), ("bold", BOLD), ("Cyrillic", CYRILLIC), ("Greek", GREEK)):
        yield f"{name} look-alike", "unicode_edge", [t for line in lines if (t := replaced(line, table, rng))]
