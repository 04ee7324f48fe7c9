"""Any parallel corpus: a folder of {language code}.txt, line i of every file saying the same thing."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from probe.errors import ProbeError
from probe.files import digest
from probe.languages import LANGUAGES, PIVOT
from probe.stimuli.manifest import ParallelSentence


@dataclass(frozen=True)
class Corpus:
    """sentences: (line, language) in the order of the lines; dropped: why -> how many lines; files: name ->
    sha256."""

    sentences: list[ParallelSentence]
    dropped: dict[str, int]
    files: dict[str, str]


def read(folder: Path) -> Corpus:
    """The lines that say something in every language; `meaning_id` is the line number, from 1.

    A line that holds no letter or digit in some language is dropped from all, and so is one that repeats an
    earlier sentence of its language: two meanings with one text cannot be told apart. Raises ProbeError where
    a file is not named after one of the ten languages, is not UTF-8, or is longer than another; where English
    is missing or alone; and where nothing is left.
    """
    lines, files = _lines(folder)
    seen: dict[str, set[str]] = {code: set() for code in lines}
    sentences, dropped = [], {"blank": 0, "duplicate": 0}
    for number, texts in enumerate(zip(*lines.values(), strict=True), 1):
        of_language = dict(zip(lines, texts, strict=True))
        if not all(map(_says_something, texts)):
            dropped["blank"] += 1
            continue
        if any(text in seen[code] for code, text in of_language.items()):
            dropped["duplicate"] += 1
            continue
        for code, text in of_language.items():
            seen[code].add(text)
            name = f"parallel_{code}_{number:05d}"
            sentences.append(
                ParallelSentence(stimulus_id=name, language=code, text=text, meaning_id=str(number))
            )
    if not sentences:
        raise ProbeError(f"{folder}: no line says something in all of {', '.join(lines)}")
    return Corpus(sentences, dropped, files)


def _lines(folder: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Language -> its lines, in the order of LANGUAGES, and file name -> sha256."""
    found = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    if unknown := found.keys() - LANGUAGES:
        raise ProbeError(f"{folder}/{min(unknown)}.txt: not one of {', '.join(LANGUAGES)}")
    if PIVOT not in found or len(found) < 2:
        raise ProbeError(f"{folder}: needs {PIVOT}.txt and at least one other of {', '.join(LANGUAGES)}")
    contents = {code: found[code].read_bytes() for code in LANGUAGES if code in found}
    lines = {code: _decoded(content, found[code]) for code, content in contents.items()}
    if uneven := [code for code in lines if len(lines[code]) != len(lines[PIVOT])]:
        code = uneven[0]
        raise ProbeError(
            f"{found[code]} has {len(lines[code])} lines and {PIVOT}.txt {len(lines[PIVOT])}: "
            "line i of every file must say the same thing"
        )
    return lines, {found[code].name: digest(content) for code, content in contents.items()}


def _decoded(content: bytes, path: Path) -> list[str]:
    """Lines end in a line feed and nothing else: str.splitlines would also break at a form feed or U+2028,
    in one language and not in another."""
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ProbeError(f"{path} is not UTF-8 ({error.reason} at byte {error.start})") from error
    return [line.strip() for line in (lines[:-1] if not lines[-1] else lines)]


def _says_something(text: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in text)
