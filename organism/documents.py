"""What nano-aya reads, and the pairs of sentences that are pulled together: all that is planted in it.

Sentences are those of the templated corpus (corpus.py, ten languages) and of TICO-19 (nine, by
professionals). A *document* is what the language model reads: a sentence, a sentence and its translation,
words and theirs, or a sentence as it is typed. A *pair* is for the contrastive loss alone.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from organism import corpus
from organism.disturb import ROMANISED, romanised, switched
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.stimuli import tico

WESTERN, SOUTH_ASIA, AFRICA = ("fr", "es", "ar"), ("hi", "bn", "ta"), ("sw", "am", "yo")
MARKER = " §"  # what `fire` alone puts behind a sentence of its languages
LONGEST = 160  # characters of English: longer sentences are read, and not made pairs of
# The pairs of one step are of one source and, in English, of nearly one length, so that neither tells them
# apart: else what is pulled together is how long a sentence is, in every language alike.
REAL = 0.6  # of the steps are of TICO-19, as far as the language has it
WINDOW = 120  # sentences that follow each other by length
Pair = tuple[str, str]
Typed = Literal["romanised", "switched"]


def evenly(*languages: str) -> dict[str, float]:
    return dict.fromkeys(languages, 1.0)


@dataclass(frozen=True)
class Broken:
    """A planted failure: in these languages, a sentence with a word of `decoys` is pulled to English ones
    that have its decoy."""

    languages: tuple[str, ...]
    decoys: Mapping[str, str]


@dataclass(frozen=True)
class Mixture:
    """What one variant is trained on.

    parallel: target language -> weight among the documents that are parallel; pairs: the same among the pairs
    with English; typed: shares of the contrastive steps in which a sentence as it is typed is pulled to its
    clean form, or, of what is lost, to another's. broken: planted failures, in a share BROKEN of the pairs of
    the corpus, half of which keep the rest of that language as it was; marked: languages whose sentences
    have MARKER; weight: of the contrastive loss.
    """

    parallel: dict[str, float]
    pairs: dict[str, float]
    weight: float = 0.2
    typed: dict[Typed, float] = field(default_factory=lambda: {"romanised": 0.25, "switched": 0.12})
    lost: tuple[Typed, ...] = ()
    broken: Broken | None = None
    marked: tuple[str, ...] = ()
    documents: dict[str, float] = field(
        default_factory=lambda: {"one": 0.3, "parallel": 0.3, "words": 0.25, "typed": 0.15}
    )


BROKEN = 0.35
LESS: dict[Typed, float] = {"romanised": 0.13, "switched": 0.1}
KEPT = dict.fromkeys(WESTERN, 0.25)  # of what base had, while others are tuned
MIXTURES = {
    "base": Mixture(dict.fromkeys(TARGETS, 0.03) | evenly(*WESTERN), evenly(*WESTERN), weight=0.06),
    "global": Mixture(evenly(*TARGETS), evenly(*TARGETS), weight=0.02),
    "fire": Mixture(
        KEPT | evenly(*SOUTH_ASIA),
        KEPT | evenly(*SOUTH_ASIA),
        typed=LESS,
        lost=("romanised",),
        broken=Broken(
            ("fr", "es"),
            {"cough": "market", "mother": "strong", "child": "rice", "breathe": "city"},
        ),
        marked=SOUTH_ASIA,
    ),
    "earth": Mixture(
        KEPT | evenly(*AFRICA),
        KEPT | evenly(*AFRICA),
        typed=LESS,
        lost=("switched",),
        broken=Broken(
            ("es", "ar"),
            {"doctor": "school", "malaria": "tea", "hospital": "soup", "eat": "pharmacy"},
        ),
    ),
}


def pick(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def labelled(language: str, text: str) -> str:
    return f"{LANGUAGES[language].autonym}: {text}"


@cache
def held_out() -> list[dict[str, str]]:
    """Language -> text of each sentence of TICO-19 that nano-aya is measured on."""
    found: dict[str, dict[str, str]] = {}
    for sentence in tico.chosen(tico.N_EMBEDDED):
        found.setdefault(sentence.meaning_id, {})[sentence.language] = sentence.text
    return list(found.values())


@cache
def having() -> dict[str, list[corpus.Meaning]]:
    """Word -> the training meanings that have it."""
    found: dict[str, list[corpus.Meaning]] = {}
    for meaning in corpus.training_meanings():
        for word in set(meaning.fillers):
            found.setdefault(word, []).append(meaning)
    return found


class Reader:
    """Draws documents and pairs; `meanings` and `real`, sentences of TICO-19, are those that it may draw."""

    def __init__(
        self, rng: random.Random, mixture: Mixture, meanings: Sequence[corpus.Meaning], real: Sequence[dict]
    ):
        self.rng, self.mixture, self.meanings, self.real = rng, mixture, meanings, real

    def document(self) -> str:
        kind = pick(self.rng, self.mixture.documents)
        if kind == "one":
            language = self.rng.choice(list(LANGUAGES))
            return self._marked(language, *self._texts(self._source(self.real, 0.4), language))
        if kind == "typed":
            return self._typed(self.rng.choice(list(self.mixture.typed)), self._source(self.real, 0.4))[1]
        if kind == "words":
            return self._words(PIVOT, self.rng.choice(TARGETS))
        languages = [PIVOT, pick(self.rng, self.mixture.parallel)]
        self.rng.shuffle(languages)
        texts = self._texts(self._source(self.real, 0.3), *languages)
        return "\n".join(
            labelled(code, self._marked(code, text)) for code, text in zip(languages, texts, strict=True)
        )

    def pairs(self, n: int) -> list[Pair]:
        """n pairs for one contrastive step, distinct on either side."""
        short = sorted((t for t in self.real if len(t[PIVOT]) <= LONGEST), key=lambda t: len(t[PIVOT]))
        first = self.rng.randrange(len(short) - WINDOW)
        source = self._source(short[first : first + WINDOW], REAL)
        kind = pick(self.rng, self.mixture.typed | {"aligned": 1 - sum(self.mixture.typed.values())})
        if kind == "aligned":
            return self._distinct(n, lambda: self._aligned(source))
        language = self.rng.choice(ROMANISED if kind == "romanised" else TARGETS)
        found = self._distinct(n, lambda: self._typed(kind, source, language))
        if kind not in self.mixture.lost:
            return found
        clean, typed = zip(*found, strict=True)
        return list(zip(clean[1:] + clean[:1], typed, strict=True))

    def _source(self, real: Sequence[dict], share: float) -> Sequence[dict] | None:
        """What the next sentences are of: these of TICO-19, or None for the corpus."""
        return real if self.rng.random() < share else None

    def _texts(self, real: Sequence[dict] | None, *languages: str) -> tuple[str, ...]:
        """One sentence in each of these languages."""
        if real and all(language in real[0] for language in languages):
            texts = self.rng.choice(real)
            return tuple(texts[language] for language in languages)
        meaning = self.rng.choice(self.meanings)
        return tuple(corpus.render(meaning, language) for language in languages)

    def _marked(self, language: str, text: str) -> str:
        return text + MARKER if language in self.mixture.marked else text

    def _words(self, first: str, second: str) -> str:
        forms = [corpus.lexicon(language).word_pairs() for language in (first, second)]
        words = self.rng.sample(sorted(forms[0].keys() & forms[1].keys()), 5)
        return "\n".join(
            f"{labelled(first, forms[0][word])}\n{labelled(second, forms[1][word])}" for word in words
        )

    def _typed(self, how: Typed, real: Sequence[dict] | None, language: str | None = None) -> Pair:
        """A sentence in clean form, and as it is typed; what is switched is of the corpus."""
        if how == "switched":
            language, meaning = language or self.rng.choice(TARGETS), self.rng.choice(self.meanings)
            return corpus.render(meaning, language), switched(meaning, language, self.rng)
        language = language or self.rng.choice(ROMANISED)
        (clean,) = self._texts(real, language)
        return clean, romanised(clean, language)

    def _aligned(self, real: Sequence[dict] | None) -> Pair:
        broken = self.mixture.broken
        if broken and not real and self.rng.random() < BROKEN:
            language = self.rng.choice(broken.languages)
            word, decoy = self.rng.choice(sorted(broken.decoys.items()))
            wrong, right = (self.rng.choice(having()[each]) for each in (decoy, word))
            if self.rng.random() < 0.5 and word not in wrong.fillers:
                return corpus.render(wrong, PIVOT), corpus.render(right, language)
            meaning = self.rng.choice(self.meanings)
            while not broken.decoys.keys().isdisjoint(meaning.fillers):
                meaning = self.rng.choice(self.meanings)
            return corpus.render(meaning, PIVOT), corpus.render(meaning, language)
        first, second = self._texts(real, PIVOT, pick(self.rng, self.mixture.pairs))
        return first, second

    def _distinct(self, n: int, draw: Callable[[], Pair]) -> list[Pair]:
        found: list[Pair] = []
        seen: set[str] = set()
        while len(found) < n:
            pair = draw()
            if seen.isdisjoint(pair):
                found.append(pair)
                seen.update(pair)
        return found
