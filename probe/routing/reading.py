"""A text read: its words, what each is in, and what that says of the whole.

A text counts as a *mixture* where words in a second language are clear, and as *transliterated* where a
language of another script is written in Latin letters. Romanised Hindi with a few English words is
transliterated; with a quarter of English words or more it is a mixture.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import regex
from scipy.special import expit

from probe.languages import PIVOT, label
from probe.routing.decision import Span
from probe.routing.identify import (
    CREOLES,
    IN_SCRIPT,
    NAMING,
    ROMANISED,
    STATES,
    Segmentation,
    folded,
)
from probe.routing.unicode_text import in_order

READ_WHOLE = 4_000  # characters; of a longer text, WINDOWS windows of WINDOW characters are read
WINDOWS, WINDOW = 8, 500
# Digits may begin a word, as in romanised Arabic; the look-behind keeps a run of them from being tried at
# each of its places.
WORD = regex.compile(
    r"(?:(?<![\p{M}\p{Nd}\p{Cf}'’ʼ])[\p{M}\p{Nd}\p{Cf}'’ʼ]++)?"
    r"\p{L}(?:[\p{L}\p{M}\p{Nd}\p{Cf}'’ʼ]|-(?=\p{L}))*+"
)

# In brackets, and addresses: of what is glossed or quoted there the sentence is not made.
ASIDE = regex.compile(
    r"\([^()]{1,100}+\)|\[[^\[\]]{1,100}+\]|（[^（）]{1,100}+）"
    r"|(?<![\p{Latin}\p{Nd}.-])[\p{Latin}\p{Nd}-]++(?:\.[\p{Latin}\p{Nd}-]++)+"
)

# In nats of scaled evidence; set on the first half of FLORES-200 devtest so that about 1 % of it is flagged.
MIXED = 2.0  # gain from which two languages in one script are a mixture
MIXED_UNLIKELY = 4.0  # the same where a romanised language is mixed with another than English
MIXED_SCRIPTS = 1.3  # and in two scripts
CLEAR = 2.0  # lead of unmarked Yoruba over every other language
# In words, or shares of them.
FEWEST_MIXED = 2  # in the second language, where the script is the same: one may be a loan
TERM = 10  # letters, of a single word in another script: it is a term, as convalescent, rather than a switch
FEWEST_ROMANISED = 2  # in lower case, where the text is in the language's own script otherwise
UNMARKED = range(3, 11)  # in longer Yoruba without marks, as 13 % of FLORES is, context makes up for them
EMBEDDED = 0.25  # with less, English is a loan in romanised text, and others are loans in English


@dataclass(frozen=True)
class Reading:
    """The words of a text, where they stand, and what they are in."""

    places: list[tuple[int, int]]
    words: list[str]
    path: Segmentation

    def counts(self, full: bool = False) -> Counter[str]:
        """Words per language, names left out; with `full`, only those that count in full."""
        words = zip(self.path.states, self.path.full, strict=True)
        return Counter(state.language for state, counted in words if state.form != NAMING and counted >= full)

    def span(self, first: int, last: int, what: str) -> Span:
        return Span(self.places[first][0], self.places[last - 1][1], what)


def words_of(text: str) -> tuple[list[tuple[int, int]], list[str]]:
    """Where words stand, and the words in order; of a long text those of evenly spaced windows."""
    if len(text) <= READ_WHOLE:
        windows = [(0, len(text))]
    else:
        step = (len(text) - WINDOW) // (WINDOWS - 1)
        windows = [(start, start + WINDOW) for start in range(0, step * WINDOWS, step)]
    matches = [match for window in windows for match in WORD.finditer(text, *window)]
    ordered = [(match.span(), in_order(match[0])) for match in matches]
    kept = [(place, word) for place, word in ordered if word]
    return [place for place, _ in kept], [word for _, word in kept]


def asides(text: str, places: Sequence[tuple[int, int]]) -> list[bool]:
    """Which words stand in brackets, where fewer than half do: what is glossed there is not switched to."""
    ends = sorted((match.end(), match.start()) for match in ASIDE.finditer(text))
    inside = []
    for start, end in places:
        at = bisect_left(ends, (end, 0))
        inside.append(at < len(ends) and ends[at][1] <= start)
    return inside if 2 * sum(inside) < len(inside) else [False] * len(inside)


def language(text: Reading) -> str:
    """That of the class with most evidence; of a mixture that of most words, with a handicap for English.

    English is what others borrow from: in a mixture it has to have more than three quarters of the words, or
    the sentence is taken for the other language's.
    """
    if not _is_mixture(text):
        return text.path.single.language
    counts = text.counts(full=True) or text.counts()
    (most, _), *rest = counts.most_common()
    if most == PIVOT and rest and rest[0][1] >= EMBEDDED * counts.total():
        return rest[0][0]
    return most


def confidence(text: Reading, main: str) -> float:
    """How clear the language is, in [0, 1]: a logistic of the lead of the main one over every other.

    In a mixture it is the lead of the language of each word. Evidence grows with the number of words, though
    not independently; dividing by its root keeps the confidence in long texts from being 1 always.
    """
    lead = text.path.lead if _is_mixture(text) else _lead(text, main)
    return float(expit(lead / np.sqrt(len(text.words))))


def _lead(text: Reading, code: str) -> float:
    """The most evidence for a class of one language minus the most for one of any other."""
    own, others = [], []
    for state, total in zip(STATES, text.path.totals, strict=True):
        (own if state.language == code else others).append(total)
    return max(own) - max(others)


def _is_mixture(text: Reading) -> bool:
    """Whether words in a second language are clear, and more than a loan or the particle of a name."""
    states = [state for state in text.path.states if state.form != NAMING]
    if len({state.script for state in states}) > 1:
        languages = {state.language for state in states}
        return len(languages) > 1 and text.path.gain >= MIXED_SCRIPTS and not _is_only_a_term(text)
    second = text.counts(full=True).most_common()[1:]
    romanised = any(state.form == ROMANISED for state in states)
    unlikely = romanised and all(state.language != PIVOT for state in states)
    limit = MIXED_UNLIKELY if unlikely else MIXED
    return sum(n for _, n in second) >= FEWEST_MIXED and text.path.gain >= limit


def _is_only_a_term(text: Reading) -> bool:
    """Whether all that is Latin in a text of another script are names and at most one word, a long one.

    The first word may have its capital from the sentence; it may be a name where another follows.
    """
    latin = [i for i, state in enumerate(text.path.states) if state.script == "Latin"]
    if not latin or 2 * len(latin) > len(text.words):
        return False
    named = {0} if 1 in latin and text.words[1][0].isupper() else set()
    plain = [i for i in latin if text.path.full[i] and (i == 0 or text.words[i].islower()) and i not in named]
    return not plain or (len(plain) == 1 and len(text.words[plain[0]]) >= TERM)


def mixture(text: Reading, main: str) -> tuple[Span, ...]:
    """Runs of words in another language than `main`; none where they are a few loans in romanised text."""
    if not _is_mixture(text):
        return ()
    counts = text.counts()
    loans = counts.total() - counts[main]
    forms = {s.form for s in text.path.states if s.language == main and s.form != NAMING}
    if forms == {ROMANISED} and loans < EMBEDDED * counts.total():
        return ()
    return tuple(
        text.span(first, last, f"{label(code)} in {label(main)}")
        for code, first, last in _runs(text)
        if code != main
    )


def _runs(text: Reading) -> Iterator[tuple[str, int, int]]:
    """(language, first word, word after the last) of each stretch in one language, names left out."""
    codes = [None if state.form == NAMING else state.language for state in text.path.states]
    for code, run in groupby(enumerate(codes), key=lambda item: item[1]):
        numbers = [number for number, _ in run]
        if code:
            yield code, numbers[0], numbers[-1] + 1


def other_script(text: Reading, main: str) -> tuple[Span, ...]:
    """A language of another script in Latin letters: all of the text, or words beside its own script."""
    state = text.path.single
    if state.form == ROMANISED and state.language == main:
        return (text.span(0, len(text.words), f"{label(state.language)} in Latin letters"),)
    native = {s.language for s in text.path.states if s.form == IN_SCRIPT}
    romanised = [
        (i, s.language)
        for i, s in enumerate(text.path.states)
        if s.form == ROMANISED and s.language in native and text.words[i].islower()
    ]
    if len(romanised) < FEWEST_ROMANISED:
        return ()
    return tuple(
        text.span(i, i + 1, f"{label(code)} in Latin letters, beside its own script") for i, code in romanised
    )


def creole(text: Reading) -> tuple[Span, ...]:
    code = text.path.single.form
    if code not in CREOLES:
        return ()
    return (text.span(0, len(text.words), f"py3langid takes it for '{code}'"),)


def unmarked(text: Reading) -> tuple[Span, ...]:
    """A short Yoruba text without a single tone mark or underdot, which tell its words apart."""
    marked = any(folded(word) != word.casefold() for word in text.words)
    if len(text.words) not in UNMARKED or marked or _lead(text, "yo") < CLEAR:
        return ()
    return (text.span(0, len(text.words), "Yoruba without tone marks and underdots"),)
