"""Formal register and dialects, by the cues listed in data/registers.toml.

A text is in a register where the cues found in it weigh at least 1, a strong one weighing 1 and a weak one
1/2, each counted once; in a long text 1 for every 50 words, so that a stray cue in a report is no register.
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
from probe.languages import LANGUAGES
from probe.paths import Paths

CUES = "data/registers.toml"
FOLDED = ("Latin", "Arabic")  # scripts whose marks are often left out in writing
WORDS_PER_CUE = 50
STRONG, WEAK = 1.0, 0.5


def comparable(word: str, language: str) -> str:
    """A word as it is compared: in scripts that fold without case and marks; one kind of apostrophe."""
    word = word.replace("’", "'").replace("‘", "'").replace("ʼ", "'")
    if LANGUAGES[language].script not in FOLDED:
        return unicodedata.normalize("NFC", word)
    kept = (c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", "".join(kept))


@dataclass(frozen=True)
class Finding:
    """Which variety, the weight of its cues, and the cues, each with its first word and the one after."""

    variety: str
    weight: float
    cues: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


class Cues:
    """The cues of one variety. Immutable, so that threads may share it."""

    def __init__(self, variety: str, cues: str, language: str):
        self.variety = variety
        listed = [cue.strip() for cue in cues.replace("\n", ",").split(",") if cue.strip()]
        strong = {comparable(cue, language) for cue in listed if not cue.endswith("?")}
        weak = {comparable(cue.rstrip("?"), language) for cue in listed if cue.endswith("?")}
        self._patterns = [(STRONG, _pattern(sorted(strong))), (WEAK, _pattern(sorted(weak - strong)))]

    def weigh(self, words: Sequence[str]) -> Finding:
        """words: as `comparable` gives them."""
        starts = [0, *accumulate(len(word) + 1 for word in words)]
        found: dict[str, tuple[float, tuple[int, int]]] = {}
        for weight, pattern in self._patterns:
            for match in pattern.finditer(" ".join(words)):
                place = bisect_right(starts, match.start()) - 1, bisect_left(starts, match.end())
                found.setdefault(match[0], (weight, place))
        weights, places = zip(*found.values(), strict=True) if found else ((), ())
        return Finding(self.variety, sum(weights), tuple(found), places)


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
        self._cues = {kind: dict(_compiled(tables.get(kind, {}), source)) for kind in ("formal", "dialect")}

    def formal(self, words: Sequence[str], language: str) -> Finding | None:
        return self._strongest("formal", words, language)

    def dialect(self, words: Sequence[str], language: str) -> Finding | None:
        return self._strongest("dialect", words, language)

    def _strongest(self, kind: str, words: Sequence[str], language: str) -> Finding | None:
        """The variety whose cues weigh most, None where they do not suffice for the number of words."""
        words = [comparable(word, language) for word in words]
        findings = [cues.weigh(words) for cues in self._cues[kind].get(language, ())]
        best = max(findings, key=lambda finding: finding.weight, default=None)
        return best if best and best.weight >= max(STRONG, len(words) / WORDS_PER_CUE) else None


def _compiled(table: Mapping[str, Mapping[str, str]], source: Path) -> Iterator[tuple[str, list[Cues]]]:
    for language, varieties in table.items():
        if language not in LANGUAGES:
            raise ProbeError(f"{source}: '{language}' is none of {', '.join(LANGUAGES)}")
        yield language, [Cues(variety, cues, language) for variety, cues in varieties.items()]
