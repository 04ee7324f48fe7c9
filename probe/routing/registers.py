"""Formal register, official and clinical, and dialects, by the cues listed in data/registers.toml.

A strong cue weighs 1 and a weak one 1/2, each counted once. A text is official, or in a dialect, where its
cues weigh at least 1, in a long text 1 for every 50 words, so that a stray cue in a report is no register. It
is clinical where they weigh at least 2, and 1 for every 10 words: a single term is a topic.
"""

import tomllib
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import regex

from probe.errors import ProbeError
from probe.languages import LANGUAGES, PIVOT
from probe.paths import Paths
from probe.routing.decision import CLINICAL, OFFICIAL

CUES = "data/registers.toml"
DIALECT = "dialect"
STRONG, WEAK = 1.0, 0.5
FEWEST = {OFFICIAL: STRONG, DIALECT: STRONG, CLINICAL: 2 * STRONG}
WORDS_PER_CUE = {OFFICIAL: 50, DIALECT: 50, CLINICAL: 10}
COGNATES = ("fr", "es")  # their own terms look like the English ones, so those are not looked for
VOWEL_SIGNS = regex.compile(r"[\u064b-\u0652\u0670\u0640]")  # and tatweel; hamza and madda make other letters
INITIAL_ALIF = regex.compile(r"(?<!\S)[أإ]")


def comparable(word: str, language: str) -> str:
    """A word, or some, as compared: without case and the marks that writers omit, one kind of apostrophe."""
    word = word.replace("’", "'").replace("‘", "'").replace("ʼ", "'").casefold()
    script = LANGUAGES[language].script
    if script == "Latin":
        word = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    elif script == "Arabic":
        word = INITIAL_ALIF.sub("ا", VOWEL_SIGNS.sub("", unicodedata.normalize("NFC", word)))
    return unicodedata.normalize("NFC", word)


@dataclass(frozen=True)
class Cued:
    """Which variety, the weight of its cues, and the cues, each with its first word and the one after."""

    variety: str
    weight: float
    cues: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


class Cues:
    """The cues of one variety. Immutable, so that threads may share it."""

    def __init__(self, variety: str, cues: str, language: str):
        self.variety = variety
        self._language = language
        listed = [cue.strip() for cue in cues.replace("\n", ",").split(",") if cue.strip()]
        strong = {comparable(cue, language) for cue in listed if not cue.endswith("?")}
        weak = {comparable(cue.rstrip("?"), language) for cue in listed if cue.endswith("?")}
        self._patterns = [(STRONG, _pattern(sorted(strong))), (WEAK, _pattern(sorted(weak - strong)))]

    def weigh(self, words: Sequence[str]) -> Cued:
        words = [comparable(word, self._language) for word in words]
        starts = [0, *accumulate(len(word) + 1 for word in words)]
        found: dict[str, tuple[float, tuple[int, int]]] = {}
        for weight, pattern in self._patterns:
            for match in pattern.finditer(" ".join(words)):
                place = bisect_right(starts, match.start()) - 1, bisect_left(starts, match.end())
                found.setdefault(match[0], (weight, place))
        weights, places = zip(*found.values(), strict=True) if found else ((), ())
        return Cued(self.variety, sum(weights), tuple(found), places)


def _pattern(cues: Sequence[str]) -> regex.Pattern:
    """One pattern for whole words and phrases, beginnings (ab-), endings (-yz) and both (ab-yz)."""
    affixes = [cue for cue in cues if _is_affix(cue)]
    whole = [cue for cue in cues if cue not in affixes] or ["\0"]
    shapes = [r"\L<whole>"]
    for affix in affixes:
        head, _, tail = affix.partition("-")
        shapes.append(rf"{regex.escape(head)}[\p{{L}}\p{{M}}]+{regex.escape(tail)}")
    return regex.compile(rf"(?<!\S)(?:{'|'.join(shapes)})(?!\S)", whole=whole)


def _is_affix(cue: str) -> bool:
    """A hyphen at an end, or in a word of a script that has none: `ci-joint` is a word."""
    return cue.startswith("-") or cue.endswith("-") or ("-" in cue and not cue.isascii())


class Registers:
    """All cues of all languages. Raises ProbeError where the file is malformed or a language is unknown."""

    def __init__(self, paths: Paths | None = None):
        source = (paths or Paths()).source(CUES)
        try:
            tables = tomllib.loads(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ProbeError(f"{source}: {error}") from error
        self._cues = {kind: dict(_compiled(tables.get(kind, {}), source)) for kind in FEWEST}

    def dialect(self, words: Sequence[str], language: str) -> Cued | None:
        return self._strongest(DIALECT, words, language)

    def official(self, words: Sequence[str], language: str) -> Cued | None:
        return self._strongest(OFFICIAL, words, language)

    def clinical(self, words: Sequence[str], language: str) -> tuple[Cued, ...]:
        """Terms of the language and, as that is how they are used in most others, English ones."""
        languages = {language} if language in COGNATES else {language, PIVOT}
        cued = [cues.weigh(words) for code in languages for cues in self._cues[CLINICAL].get(code, ())]
        enough = sum(one.weight for one in cued) >= _least(CLINICAL, words)
        return tuple(sorted((one for one in cued if one.cues), key=lambda one: one.variety)) if enough else ()

    def _strongest(self, kind: str, words: Sequence[str], language: str) -> Cued | None:
        """The variety whose cues weigh most, None where they do not suffice for the number of words."""
        cued = [cues.weigh(words) for cues in self._cues[kind].get(language, ())]
        best = max(cued, key=lambda one: one.weight, default=None)
        return best if best and best.weight >= _least(kind, words) else None


def _least(kind: str, words: Sequence[str]) -> float:
    return max(FEWEST[kind], len(words) / WORDS_PER_CUE[kind])


def _compiled(table: Mapping[str, Mapping[str, str]], source: Path) -> Iterator[tuple[str, list[Cues]]]:
    for language, varieties in table.items():
        if language not in LANGUAGES:
            raise ProbeError(f"{source}: '{language}' is none of {', '.join(LANGUAGES)}")
        yield language, [Cues(variety, cues, language) for variety, cues in varieties.items()]
