"""Any parallel corpus: a folder of {language code}.txt, line i of every file saying the same thing.

Beside them may lie groups.txt, whose line i names what line i belongs to (a document, a speaker), or ids.txt,
whose line i is "document:number", as TICO-19 has it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probe.errors import ProbeError
from probe.files import digest
from probe.languages import LANGUAGES, PIVOT
from probe.stimuli.manifest import ParallelSentence
from probe.stimuli.texts import folded, says_something

GROUPS, IDS = "groups", "ids"  # the files' stems, the first where both are there


@dataclass(frozen=True)
class Kept:
    """lines: those that can be stimuli, from 0; dropped: why -> lines; contradictory: language -> the lines
    whose text in it is another's, too."""

    lines: list[int]
    dropped: dict[str, list[int]]
    contradictory: dict[str, list[int]]


@dataclass(frozen=True)
class Corpus:
    """sentences: (line, language) in the order of the lines; dropped: why -> how many lines; contradictory:
    language -> the numbers of these, from 1; n: lines of a file; files: name -> sha256; grouped: whether
    lines have a document."""

    sentences: list[ParallelSentence]
    dropped: dict[str, int]
    contradictory: dict[str, list[int]]
    n: int
    files: dict[str, str]
    grouped: bool


def keep(lines: Mapping[str, Sequence[str]]) -> Kept:
    """The lines that say something in every language, and which no other line gainsays or says too.

    lines: language -> as many texts, English among them. Dropped in all languages are those that hold no
    letter or digit in some language ("blank"); those whose text in some language, typography aside, is that
    of another line with another English, since one of the two is no translation and which one cannot be told
    ("contradictory"); and what repeats an earlier line ("duplicate").
    """
    rows = enumerate(zip(*lines.values(), strict=True))
    told = [number for number, texts in rows if all(map(says_something, texts))]
    forms = {code: {number: folded(own[number]) for number in told} for code, own in lines.items()}
    found = {code: _contradictory(forms[PIVOT], forms[code]) for code in lines}
    doubtful = set().union(*found.values())
    seen: set[tuple[str, str]] = set()
    kept, repeated = [], []
    for number in told:
        if number in doubtful:
            continue
        said = {(code, forms[code][number]) for code in lines}
        if said & seen:
            repeated.append(number)
        else:
            kept.append(number)
            seen |= said
    blank = sorted(set(range(len(lines[PIVOT]))) - set(told))
    dropped = {"blank": blank, "contradictory": sorted(doubtful), "duplicate": repeated}
    return Kept(kept, dropped, {code: sorted(own) for code, own in found.items() if own})


def read(folder: Path) -> Corpus:
    """The lines that `keep` leaves; `meaning_id` is the line number, from 1.

    Raises ProbeError where a file is not named after one of the ten languages, is not UTF-8, or is longer
    than another; where English is missing or alone; and where nothing is left.
    """
    lines, groups, files = _lines(folder)
    kept = keep(lines)
    if not kept.lines:
        raise ProbeError(f"{folder}: no line says something in all of {', '.join(lines)}")
    sentences = [
        ParallelSentence(
            stimulus_id=f"parallel_{code}_{number + 1:05d}",
            language=code,
            text=own[number],
            meaning_id=str(number + 1),
            groups={"document": groups[number]} if groups else {},
        )
        for number in kept.lines
        for code, own in lines.items()
    ]
    dropped = {why: len(of) for why, of in kept.dropped.items()}
    contradictory = {code: [number + 1 for number in of] for code, of in kept.contradictory.items()}
    return Corpus(sentences, dropped, contradictory, len(lines[PIVOT]), files, bool(groups))


def document(name: str) -> str:
    """Of an id "document:number"; the id itself where it has no number."""
    return name.rpartition(":")[0] or name


def _contradictory(english: Mapping[int, str], forms: Mapping[int, str]) -> set[int]:
    """The lines whose text in this language is also that of a line with another English text."""
    lines: dict[str, list[int]] = defaultdict(list)
    for number, form in forms.items():
        lines[form].append(number)
    return {i for alike in lines.values() if len({english[j] for j in alike}) > 1 for i in alike}


def _lines(folder: Path) -> tuple[dict[str, list[str]], list[str] | None, dict[str, str]]:
    """Language -> its lines, in the order of LANGUAGES; the group of each line, None where none are given;
    and file name -> sha256."""
    found = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    about = [path for name in (GROUPS, IDS) if (path := found.pop(name, None))][:1]
    if unknown := found.keys() - LANGUAGES:
        raise ProbeError(f"{folder}/{min(unknown)}.txt: not one of {', '.join(LANGUAGES)}")
    if PIVOT not in found or len(found) < 2:
        raise ProbeError(f"{folder}: needs {PIVOT}.txt and at least one other of {', '.join(LANGUAGES)}")
    files = [*(found[code] for code in LANGUAGES if code in found), *about]
    contents = {path.stem: path.read_bytes() for path in files}
    lines = {path.stem: _decoded(contents[path.stem], path) for path in files}
    if uneven := [path for path in files if len(lines[path.stem]) != len(lines[PIVOT])]:
        raise ProbeError(
            f"{uneven[0]} has {len(lines[uneven[0].stem])} lines and {PIVOT}.txt {len(lines[PIVOT])}: "
            "line i of every file must say the same thing"
        )
    groups = lines.pop(about[0].stem) if about else None
    if groups and about[0].stem == IDS:
        groups = [document(name) for name in groups]
    if groups and "" in groups:
        raise ProbeError(f"{about[0]}, line {groups.index('') + 1}: empty")
    return lines, groups, {path.name: digest(contents[path.stem]) for path in files}


def _decoded(content: bytes, path: Path) -> list[str]:
    """Lines end in a line feed and nothing else: str.splitlines would also break at a form feed or U+2028,
    in one language and not in another."""
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ProbeError(f"{path} is not UTF-8 ({error.reason} at byte {error.start})") from error
    return [line.strip() for line in (lines[:-1] if not lines[-1] else lines)]
