"""Generated edge cases: held-out meanings as they are typed, beside how the corpus writes them.

Each category takes every held-out meaning once, dealt evenly to its languages, so that no two cases of a
category say the same. Clean form and references are the sentences of stage 1 that say the meaning as it is.
"""

import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import regex

from organism import corpus, disturb
from probe.languages import PIVOT, TARGETS
from probe.stimuli import texts
from probe.stimuli.manifest import CODE_SWITCHING, GENERATED, EdgeCase, ParallelSentence, fault_of_reference

REFERENCES = ("fr", "es", "ar")  # the languages that `base` has aligned, so that there is closeness to lose
DRAWS = 8  # of words to switch; with two thirds of them switched, a sentence of two gets both in most
ZERO_WIDTH, TURNED, POP = "\u200b", "\u202e", "\u202c"
FULL_WIDTH = {ord(letter): ord(letter) + 0xFEE0 for letter in map(chr, range(0x21, 0x7F)) if letter.isalpha()}
LOOK_ALIKE = str.maketrans("aeo", "\u0430\u0435\u043e")  # Latin letters to Cyrillic ones


def _romanised(meaning: corpus.Meaning, language: str, _: random.Random) -> list[str]:
    return [disturb.romanised(corpus.render(meaning, language), language)]


def _switched(meaning: corpus.Meaning, language: str, rng: random.Random) -> list[str]:
    """With two English words or more, as one may be a loan, and a word of its own; none if none is drawn."""
    clean = corpus.render(meaning, language)
    drawn = (disturb.switched(meaning, language, rng) for _ in range(DRAWS))
    mixed = (form for form in drawn if texts.words(form) & texts.words(clean))
    return [form for form in mixed if len(_english(form) - _english(clean)) >= 2][:1]


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset().union(*map(texts.words, corpus.lexicon(PIVOT).word_pairs().values()))


def _english(text: str) -> set[str]:
    """The words of the English lexicon in it, also where a prefix of another script is written on to one."""
    return set(regex.findall(r"\p{Latin}+", texts.folded(text))) & _vocabulary()


def _odd(meaning: corpus.Meaning, language: str, rng: random.Random) -> list[str]:
    return unicode_forms(corpus.render(meaning, language), rng)


def unicode_forms(text: str, rng: random.Random) -> list[str]:
    """The text in other characters, in every way that changes it: zero-width spaces inside words, a word
    between bidirectional controls, full-width letters, letters of another script that look alike, letters
    decomposed. (No sentence of the corpus has a digit.)"""
    words = text.split()
    turned = rng.randrange(len(words))
    forms = (
        " ".join(map(_opened, words)),
        " ".join(f"{TURNED}{word}{POP}" if i == turned else word for i, word in enumerate(words)),
        text.translate(FULL_WIDTH),
        text.translate(LOOK_ALIKE),
        unicodedata.normalize("NFD", text),
    )
    return [form for form in forms if form != text]


def _opened(word: str) -> str:
    """With a zero-width space in its middle, between what a reader takes for letters."""
    letters = regex.findall(r"\X", word)
    middle = len(letters) // 2
    return "".join([*letters[:middle], *([ZERO_WIDTH] if middle > 1 else []), *letters[middle:]])


Disturbance = Callable[[corpus.Meaning, str, random.Random], Sequence[str]]
CATEGORIES: Mapping[str, tuple[Sequence[str], Disturbance]] = {
    CODE_SWITCHING: (TARGETS, _switched),
    "transliteration": (disturb.ROMANISED, _romanised),
    "unicode_edge": (TARGETS, _odd),
}


def cases(sentences: Sequence[ParallelSentence]) -> list[EdgeCase]:
    """The inputs, each with the ids of its clean form and its references.

    sentences: the held-out meanings in every language; where there is none, no case. A meaning is passed over
    where nothing changes, or where every reference shares a word with what is said.
    """
    told = {(sentence.meaning, sentence.language): sentence for sentence in sentences}
    return [case for category in CATEGORIES for case in _of_category(category, told)] if told else []


def _of_category(category: str, told: Mapping[tuple[str, str], ParallelSentence]) -> Iterator[EdgeCase]:
    languages, disturbance = CATEGORIES[category]
    rng = random.Random(f"{corpus.SEED} {category}")
    meanings = list(corpus.held_out())
    rng.shuffle(meanings)
    for place, meaning in enumerate(meanings):
        number, language = place // len(languages), languages[place % len(languages)]
        clean = told[meaning.id, language]
        forms = [form for form in disturbance(meaning, language, rng) if form != clean.text]
        text = forms[number % len(forms)] if forms else clean.text
        references = [
            reference.stimulus_id
            for code in REFERENCES
            if (reference := told[meaning.id, code])
            and not fault_of_reference((text, clean.text), language, category, code, reference.text)
        ]
        if forms and references:
            yield EdgeCase(
                stimulus_id=f"edge_{category}_{language}_{number:03d}",
                language=language,
                text=text,
                groups={"meaning": meaning.id, **clean.groups},
                reference_id=f"{category}-{language}-{number:03d}",
                failure_category=category,
                role="input",
                source=GENERATED,
                clean_id=clean.stimulus_id,
                reference_ids=references,
            )
