"""What a concept is, by kind of stimuli: a word that several sentences hold, or what one sentence means.

Where the sentences of a kind share several things that cross (a person in one, a person and a medicine in the
next), each value of such a factor is a concept, in whatever place it stands: `person2` is a person. The frame
of a sentence is no concept. Everywhere else each meaning is one, so that it is told by one sentence.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe.stats.groups import Groups, Own
from probe.stimuli.manifest import Manifest, ProbeSentence

FRAME = "frame"
MIN_SENTENCES = 5  # that hold a word; with fewer, one odd sentence is the word
PLACES = "0123456789"

Word = tuple[str, str]  # (factor, value)


@dataclass(frozen=True)
class Concepts:
    """names: concept id -> what a reader is shown; meanings: concept id -> those that it is told by, in the
    pivot's order. words: meaning -> the words of its sentence, rare ones included, and frames: meaning -> its
    frame; both empty where each meaning is a concept."""

    names: Mapping[str, str]
    meanings: Mapping[str, list[str]]
    words: Mapping[str, frozenset[Word]]
    frames: Mapping[str, str]


def concepts(manifest: Manifest, kind: str) -> Concepts:
    """Those of one kind; of words, those that at least MIN_SENTENCES meanings hold."""
    told = {meaning: next(iter(of.values())) for meaning, of in manifest.by_meaning(kind).items()}
    shared = {meaning: _without_frame(stimulus.groups) for meaning, stimulus in told.items()}
    if not crossing(list(shared.values())):
        names = {m: s.concept if isinstance(s, ProbeSentence) else m for m, s in told.items()}
        return Concepts(names, {meaning: [meaning] for meaning in told}, {}, {})
    words = {meaning: _words(own) for meaning, own in shared.items()}
    frames = {meaning: str(stimulus.groups.get(FRAME, "")) for meaning, stimulus in told.items()}
    holding = {
        word: [meaning for meaning, own in words.items() if word in own]
        for word in sorted(set().union(*words.values()))
    }
    often = {word: holds for word, holds in holding.items() if len(holds) >= MIN_SENTENCES}
    names = {concept_id(word): word[1] for word in often}
    return Concepts(names, {concept_id(word): holds for word, holds in often.items()}, words, frames)


def concept_id(word: Word) -> str:
    return ":".join(word)


def crossing(shared: Sequence[Own]) -> bool:
    """Whether two of the factors cross: neither is a coarser form of the other, as a topic is of articles."""
    factors = Groups.of(shared).factors.values()
    return any(not _nested(a, b) for a, b in itertools.combinations(factors, 2))


def _nested(one: np.ndarray, other: np.ndarray) -> bool:
    both = len(np.unique(np.stack([one, other]), axis=1).T)
    return both in (len(np.unique(one)), len(np.unique(other)))


def _without_frame(groups: Own) -> Own:
    return {factor: values for factor, values in groups.items() if factor != FRAME}


def _words(own: Own) -> frozenset[Word]:
    return frozenset(
        (factor.rstrip(PLACES), value)
        for factor, values in own.items()
        for value in ([values] if isinstance(values, str) else values)
    )
