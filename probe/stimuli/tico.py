"""TICO-19, medical sentences translated by professionals: what a model may be trained on, what is held out,
and which of the latter are stimuli.

Held out are whole documents, those of HELD_OUT lines: no sentence of training stands beside one that is
measured. Of their lines `chosen` takes, by a written rule,

    those that parallel.keep leaves (in French, 242 lines have the text of another, half of them wrongly);
    those with a sentence's final mark, and without a character that is not seen, in every language;
    from the documents in turn, each giving its shortest English sentence (words; of equals the first) not
    yet given.

Source: Anastasopoulos et al. 2020, "TICO-19: the Translation Initiative for Covid-19", arXiv 2007.01788; CC0.
English and eight of the nine targets; Yoruba is not among them.
"""

import bz2
import json
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, zip_longest
from pathlib import Path

from probe.errors import ProbeError
from probe.files import digest
from probe.languages import LANGUAGES, PIVOT
from probe.paths import REPOSITORY
from probe.stimuli import parallel
from probe.stimuli.manifest import TicoSentence
from probe.stimuli.texts import final_mark

FILE = "data/tico19.json.bz2"
LICENCE = "CC0-1.0"
CITATION = "Anastasopoulos et al. 2020, TICO-19: the Translation Initiative for Covid-19, arXiv 2007.01788"
HELD_OUT = range(15, 56)  # lines of a document that is kept from training
N_DEFAULT, N_EMBEDDED = 100, 200  # meanings that are measured; of the family that was trained on the rest
SENTENCE_MARKS = (".", "?", "!")  # what a heading or an item of a list ends in is none
UNMARKED, UNSEEN = "no final mark", "unseen character"  # why `chosen` drops a line, beside parallel.keep


@dataclass(frozen=True)
class Tico:
    """ids: of each line, "document:number"; lines: language -> its texts; kept: which can be used; sha256: of
    the file."""

    ids: list[str]
    lines: dict[str, list[str]]
    kept: parallel.Kept
    sha256: str

    @property
    def documents(self) -> list[str]:
        """Of each line."""
        return [parallel.document(name) for name in self.ids]

    @property
    def contradictory(self) -> dict[str, list[str]]:
        """Language -> the ids whose text in it is another's, too."""
        return {code: [self.ids[line] for line in of] for code, of in self.kept.contradictory.items()}


@dataclass(frozen=True)
class HeldOut:
    """The lines of held-out documents. n: all; lines: those that can be stimuli; dropped: why -> how many."""

    n: int
    lines: list[int]
    dropped: dict[str, int]


@cache
def read(path: Path = REPOSITORY / FILE) -> Tico:
    """The embedded file. Raises ProbeError where it is missing or damaged."""
    cure = f"it is part of the project: git checkout {FILE}"
    try:
        content = path.read_bytes()
        columns = json.loads(bz2.decompress(content))
        ids = columns.pop("ids")
        lines = {code: columns[code] for code in LANGUAGES if code in columns}
        return Tico(ids, lines, parallel.keep(lines), digest(content))
    except FileNotFoundError as error:
        raise ProbeError(f"{path} is missing; {cure}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProbeError(f"{path} is damaged ({error}); {cure}") from error


def held_out_documents(corpus: Tico | None = None) -> list[str]:
    """Those that nothing may be trained on, in the order of the file."""
    return [name for name, n in Counter((corpus or read()).documents).items() if n in HELD_OUT]


def training(corpus: Tico | None = None) -> list[dict[str, str]]:
    """Language -> text of each kept line of the other documents, in the order of the file."""
    corpus = corpus or read()
    apart, documents = set(held_out_documents(corpus)), corpus.documents
    return [
        {code: own[line] for code, own in corpus.lines.items()}
        for line in corpus.kept.lines
        if documents[line] not in apart
    ]


def held_out(corpus: Tico | None = None) -> HeldOut:
    """What the rule leaves of the held-out documents."""
    corpus = corpus or read()
    documents, apart = corpus.documents, set(held_out_documents(corpus))
    reason = {line: why for why, of in corpus.kept.dropped.items() for line in of}
    own = [line for line, name in enumerate(documents) if name in apart]
    why = {line: reason.get(line) or _fault([of[line] for of in corpus.lines.values()]) for line in own}
    counts = Counter(why.values())
    dropped = {name: counts[name] for name in (*corpus.kept.dropped, UNMARKED, UNSEEN)}
    return HeldOut(len(own), [line for line in own if why[line] is None], dropped)


def _fault(texts: list[str]) -> str | None:
    """Why a line is no stimulus, None for one that is."""
    if not all(final_mark(text) in SENTENCE_MARKS for text in texts):
        return UNMARKED
    return UNSEEN if any(unicodedata.category(each) == "Cf" for text in texts for each in text) else None


def chosen(n: int = N_DEFAULT, corpus: Tico | None = None) -> list[TicoSentence]:
    """The first n meanings of the rule, each in every language. Raises ProbeError where it leaves fewer."""
    corpus = corpus or read()
    left = held_out(corpus).lines
    if n > len(left):
        raise ProbeError(f"{n} TICO-19 meanings asked for, the rule leaves {len(left)}: --tico")
    documents, english = corpus.documents, corpus.lines[PIVOT]
    of: dict[str, list[int]] = defaultdict(list)
    for line in left:
        of[documents[line]].append(line)
    queues = [sorted(own, key=lambda line: len(english[line].split())) for own in of.values()]
    in_turn = (line for line in chain.from_iterable(zip_longest(*queues)) if line is not None)
    return [
        TicoSentence(
            stimulus_id=f"tico_{code}_{line + 1:04d}",
            language=code,
            text=own[line],
            meaning_id=corpus.ids[line].replace(":", "-"),
            groups={"document": documents[line]},
        )
        for line in islice(in_turn, n)
        for code, own in corpus.lines.items()
    ]
