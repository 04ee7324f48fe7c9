"""What is unusual in the code points of a text, by properties that Unicode gives every character.

Characters are not listed: what counts as invisible, as a presentation form, as another script's letter or as
another digit system follows from the Unicode Character Database (UAX 44), through `regex` and `unicodedata`.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import regex
from confusable_homoglyphs import confusables

from probe.languages import LANGUAGES
from probe.routing.decision import Span

INVISIBLE, BIDI = "invisible character", "bidirectional control"
BROKEN = "control, private or unassigned character"
COMPATIBILITY = "full-width, styled or presentation form of a letter"
LOOK_ALIKE = "letter of another script inside a word"
SINGLETON = "character that Unicode holds equal to another"
DECOMPOSED, MIXED_FORMS = "letters decomposed (not NFC)", "some letters decomposed, others not (not NFC)"
DIGITS = "digits of another system"
UNIT = "number in the digits of one script, its unit in the letters of another"
TURNED = "number and Latin word whose order on screen is turned round after Arabic letters"
STACKED = "stacked combining marks"
MOJIBAKE = "UTF-8 read as Windows-1252"
STRETCHED = "stretched by joiners"
TOO_SLOW = "not looked through to its end, as that took too long"

_OURS = sorted({language.script for language in LANGUAGES.values()})
_UNCASED = "".join(rf"\p{{Script={script}}}" for script in _OURS if script != "Latin")

_MARKS = r"\p{M}{0,8}"  # of one letter; bounded, so that no look-behind runs back over a text of marks

# A joiner is ordinary spelling beside a virama, and a non-joiner between letters that would join (UAX 31).
_SPELLING = (
    r"(?<=\p{InSC=Virama})\p{Join_Control}|(?<=\p{L})\p{Join_Control}(?=\p{InSC=Virama})|"
    r"(?<=[\p{jt=D}\p{jt=L}]\p{jt=T}{0,8})\u200c(?=\p{jt=T}{0,8}[\p{jt=D}\p{jt=R}])"
)
_EMOJI = (
    r"\p{Regional_Indicator}{2}|[\p{Emoji}]\ufe0f?\u20e3|\p{Emoji}\ufe0f|"
    r"\p{Extended_Pictographic}[\p{Emoji_Modifier}\ufe0f]*"
    r"(?:\u200d\p{Extended_Pictographic}[\p{Emoji_Modifier}\ufe0f]*)*[\U000e0020-\U000e007f]*"
)
ORDINARY = regex.compile(rf"{_SPELLING}|{_EMOJI}", regex.V1)
HIDDEN = regex.compile(
    r"[[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\p{Co}\p{Cn}\p{Cs}\ufffd]--\s--\p{Prepended_Concatenation_Mark}]",
    regex.V1,
)
NOT_ORDINARY = regex.compile(rf"(?:{ORDINARY.pattern})(*SKIP)(*FAIL)|{HIDDEN.pattern}+", regex.V1)
WORD_RUN = regex.compile(r"[\p{L}\p{M}\p{Nd}\p{Cf}]+")
FOREIGN = regex.compile(r"[[\p{Cased}&&\p{L}]--\p{Script=Latin}--\p{Script=Common}]", regex.V1)
WEDGED = regex.compile(
    rf"(?<=\p{{Script=Latin}}{_MARKS})[{_UNCASED}]++(?=\p{{Script=Latin}})"
    rf"|(?<=[{_UNCASED}])(?=\p{{Ll}})\p{{Script=Latin}}(?=[{_UNCASED}])"
)
NEIGHBOURS = regex.compile(
    "|".join(
        rf"(?<=\p{{Script={script}}}{_MARKS})(?!\p{{Script={script}}})(?=\p{{L}})[{_UNCASED}]"
        for script in _OURS
        if script != "Latin"
    )
)
# UAX 9, W2: after an Arabic letter a European number becomes an Arabic one, right of the Latin word after it.
TURNED_ROUND = regex.compile(r"(?<=\p{bc=AL}[^\p{L}\p{Nd}\n]{1,8})[0-9]+ ?\p{Script=Latin}{2,}+")
STACK = regex.compile(r"\p{Mn}{4,}")
CLUSTER = regex.compile(r"\P{M}\p{M}+")
STRETCH = regex.compile(rf"(?<=\p{{jt=D}}{_MARKS})[\p{{jt=C}}--\p{{Join_Control}}]++(?=\p{{L}})", regex.V1)
LATIN_1_RUN = regex.compile(r"[\u0080-\u00ff\u0152-\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}")
PLAUSIBLE = regex.compile(rf"[\u00a0-\u024f\u1e00-\u1eff\u2000-\u206f{_UNCASED}\p{{M}}]+")
GREEK_SYMBOL = 3  # letters: what mixes Greek and Latin and is no longer is a unit or a symbol, such as kΩ
MOST = 50  # oddities of a kind
TIME_LIMIT = 5.0  # seconds by the clock for one pattern; all are linear, so that only a fault could need them
STYLES = {"font", "wide", "narrow", "circle", "square", "isolated", "initial", "medial", "final"}


@dataclass(frozen=True)
class UnicodeText:
    """A text in order (`normal`), and what had to be put in order, with places in the text as given.

    repaired: the text with what was read in a wrong encoding put right, and letters that only look Latin made
    Latin; the text itself where nothing was.
    """

    normal: str
    repaired: str
    oddities: tuple[Span, ...]


@lru_cache(maxsize=4096)
def _style(character: str) -> bool:
    """Whether a character stands for plain ones: full-width, mathematical, ligature, presentation form."""
    tag, _, _ = unicodedata.decomposition(character).partition(">")
    plain = unicodedata.normalize("NFKC", character)
    if character < "\u0100" or not tag.startswith("<"):
        return False
    if tag[1:] in ("compat", "super"):
        return unicodedata.category(character) in ("Lu", "Ll", "Lm", "Lo", "Nl") and plain.isalpha()
    return tag[1:] in STYLES and (tag[1:] in ("wide", "narrow") or plain.isalnum() or not plain.isascii())


def _singleton(character: str) -> bool:
    """Whether NFC replaces the character by a single other one, as it does the Kelvin sign by K."""
    composed = unicodedata.normalize("NFC", character)
    return composed != character and len(composed) == 1


def _zero(digit: str) -> int:
    return ord(digit) - unicodedata.decimal(digit)


def inspect(text: str) -> UnicodeText:
    """The text in NFC without what does not belong, and the oddities in order of place. Never raises."""
    repaired = _unmasked(LATIN_1_RUN.sub(lambda run: _as_utf8(run[0]) or run[0], text))
    kinds = (_hidden, _letters, _look_alikes, _digits, _composition, _marks)
    oddities = sorted(
        (span for kind in kinds for span in islice(kind(text), MOST)), key=lambda span: span.start
    )
    return UnicodeText(in_order(repaired).strip(), repaired, tuple(oddities[:MOST]))


def in_order(text: str) -> str:
    """NFC, without hidden characters, styled letters made plain."""
    with suppress(TimeoutError):
        text = NOT_ORDINARY.sub("", text, timeout=TIME_LIMIT)
    styled = {ord(c): unicodedata.normalize("NFKC", c) for c in set(text) if c > "\u00ff" and _style(c)}
    return unicodedata.normalize("NFC", text.translate(styled))


@lru_cache(maxsize=4096)
def _latin(character: str) -> str:
    """The Latin letter that Unicode's table of confusables (UTS 39) gives for it, or the character itself."""
    found = confusables.is_confusable(character, greedy=True, preferred_aliases=["latin"]) or []
    alike = [other["c"] for entry in found for other in entry["homoglyphs"] if len(other["c"]) == 1]
    return min((c for c in alike if regex.match(r"\p{Script=Latin}", c)), default=character)


def _unmasked(text: str) -> str:
    """The text in letters of one script, where one word of it mixes Latin with letters that look Latin."""
    if FOREIGN.search(text) and any(
        FOREIGN.search(word[0]) and regex.search(r"\p{Script=Latin}", word[0])
        for word in WORD_RUN.finditer(text)
    ):
        return text.translate({ord(c): _latin(c) for c in set(FOREIGN.findall(text))})
    return text


def _spans(pattern: regex.Pattern, text: str, what: str) -> Iterator[Span]:
    try:
        for match in pattern.finditer(text, timeout=TIME_LIMIT):
            yield Span(match.start(), match.end(), what)
    except TimeoutError:
        yield Span(0, len(text), TOO_SLOW)


def _hidden(text: str) -> Iterator[Span]:
    for span in _spans(NOT_ORDINARY, text, ""):
        hidden = text[span.start : span.end]
        if regex.match(r"\p{Bidi_Control}", hidden):
            what = BIDI
        else:
            what = INVISIBLE if regex.match(r"\p{Default_Ignorable_Code_Point}|\p{Cf}", hidden) else BROKEN
        points = " ".join(f"U+{ord(c):04X}" for c in hidden[:3])
        yield span if span.what else Span(span.start, span.end, f"{what} {points}")


def _letters(text: str) -> Iterator[Span]:
    """Styled letters and singletons. One or two raised letters, as in 1er, are typography."""
    rare = {c for c in set(text) if c > "\u00ff"}
    raised = {c for c in rare if unicodedata.decomposition(c).startswith("<super>")}
    styled = {c for c in rare - raised if _style(c)}
    for found, times, what in (
        (styled, "+", COMPATIBILITY),
        (raised, "{3,}", COMPATIBILITY),
        ({c for c in rare if _singleton(c)}, "+", SINGLETON),
    ):
        if found:
            pattern = regex.compile(f"[{''.join(map(regex.escape, sorted(found)))}]{times}")
            yield from _spans(pattern, text, what)


def _look_alikes(text: str) -> Iterator[Span]:
    """Cased letters of a script that none of the ten languages uses, in a word with others or alone."""
    if FOREIGN.search(text):
        for word in WORD_RUN.finditer(text):
            foreign = FOREIGN.findall(word[0])
            letters = [c for c in word[0] if c.isalpha()]
            greek = bool(foreign) and all("GREEK" in unicodedata.name(c, "") for c in foreign)
            alone = len(letters) == 1
            symbol = greek and len(letters) <= GREEK_SYMBOL and foreign[0] in (letters[0], letters[-1])
            if foreign and not symbol and (alone or len(foreign) < len(letters)):
                yield Span(word.start(), word.end(), LOOK_ALIKE)
    yield from _spans(WEDGED, text, LOOK_ALIKE)
    yield from _spans(NEIGHBOURS, text, LOOK_ALIKE)


def _digits(text: str) -> Iterator[Span]:
    """Digits of two systems, or of one whose script the text is not in; numbers and units of two scripts."""
    digits = {c for c in set(text) if unicodedata.category(c) == "Nd" and not _style(c)}
    native = {c for c in digits if not c.isascii()}
    yield from _spans(TURNED_ROUND, text, TURNED)
    if not native:
        return
    own = "".join(sorted(native))
    yield from _spans(regex.compile(rf"(?<![{own}])[{own}]++°?\p{{Script=Latin}}"), text, UNIT)
    scripts = {s for s in _OURS if regex.search(rf"(?=\p{{L}})\p{{Script={s}}}", text)}
    at_home = all(any(regex.match(rf"\p{{scx={s}}}", c) for s in scripts) for c in native)
    if len({_zero(c) for c in digits}) > 1 or (scripts and not at_home):
        yield from _spans(regex.compile(f"[{own}]+"), text, DIGITS)


def _composition(text: str) -> Iterator[Span]:
    """Letters written as base and mark that have a code point of their own."""
    if unicodedata.is_normalized("NFC", text):
        return
    clusters = [m for m in CLUSTER.finditer(text) if len(unicodedata.normalize("NFC", m[0])) < len(m[0])]
    composed = any(
        unicodedata.is_normalized("NFC", c) and not unicodedata.is_normalized("NFD", c) for c in set(text)
    )
    for cluster in clusters:
        yield Span(cluster.start(), cluster.end(), MIXED_FORMS if composed else DECOMPOSED)


def _marks(text: str) -> Iterator[Span]:
    yield from _spans(STACK, text, STACKED)
    stretches = list(_spans(STRETCH, text, STRETCHED))
    if len(stretches) > 1:
        yield from stretches
    for run in LATIN_1_RUN.finditer(text):
        if _as_utf8(run[0]):
            yield Span(run.start(), run.end(), MOJIBAKE)


def _as_utf8(run: str) -> str | None:
    """What a run of characters was before its UTF-8 was read as Windows-1252; None if it was not."""
    try:
        read = b"".join(
            c.encode("latin-1") if "\x80" <= c <= "\x9f" else c.encode("cp1252") for c in run
        ).decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return None
    # Two accented letters in a row can be valid UTF-8 by chance; then they give rare letters.
    return read if PLAUSIBLE.fullmatch(read) else None
