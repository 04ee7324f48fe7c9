"""From a text to a variant: what is in order, which languages it is in, what makes it hard.

Categories are looked for in the order in which one hides the next: code points, formal register, mixture of
languages, another script, dialect. The first that is found is the category; the variant follows from the
language alone.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
import regex

from probe.languages import LANGUAGES, PIVOT, label
from probe.paths import Paths
from probe.routing.decision import (
    CODE_SWITCHING,
    FORMAL_REGISTER,
    LOW_RESOURCE_VARIANT,
    TRANSLITERATION,
    UNICODE_EDGE,
    Decision,
    Span,
)
from probe.routing.identify import (
    CREOLES,
    IN_SCRIPT,
    NAMING,
    ROMANISED,
    STATES,
    Identifier,
    Segmentation,
    State,
    folded,
)
from probe.routing.policy import Policy, load_policy
from probe.routing.registers import Finding as Cued
from probe.routing.registers import Registers
from probe.routing.unicode_text import MIXED_FORMS, UnicodeText, in_order, inspect

LONGEST = 100_000  # characters that are looked at
READ_WHOLE = 4_000  # characters; of a longer text, WINDOWS windows of WINDOW characters are identified
WINDOWS, WINDOW = 8, 500
WORD = regex.compile(r"[\p{L}\p{M}\p{Nd}\p{Cf}'’ʼ]*\p{L}(?:[\p{L}\p{M}\p{Nd}\p{Cf}'’ʼ]|-(?=\p{L}))*")

# In nats of scaled evidence; set on the first half of FLORES-200 devtest so that under 1 % of it is flagged.
MIXED = 2.0  # gain from which two languages in one script are a mixture
MIXED_UNLIKELY = 4.0  # the same where a romanised language is mixed with another than English
MIXED_SCRIPTS = 1.3  # and in two scripts
FEWEST_MIXED = 2  # words in the second language, where the script is the same: one may be a loan
CLEAR = 2.0  # lead of unmarked Yoruba over every other language
FEWEST_ROMANISED = 2  # words in lower case, in a text that is in the language's own script otherwise
UNMARKED = range(3, 11)  # words; in longer Yoruba without marks, as 13 % of FLORES is, context makes up for them
EMBEDDED = 0.25  # share of words: with less, a language is a loan in romanised text, or not the matrix language


@dataclass(frozen=True)
class _Reading:
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


@dataclass(frozen=True)
class _Finding:
    category: str | None = None
    spans: tuple[Span, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each kind of finding once, with how often it was seen."""
        kinds = Counter(span.what for span in self.spans)
        return tuple(what if n == 1 else f"{what} ({n} times)" for what, n in kinds.items())


class Router:
    """Built once for a family; `route` may then be called from any number of threads."""

    def __init__(self, family: str = "tiny-aya", paths: Paths | None = None, policy: Policy | None = None):
        """policy: instead of the family's measured or emphasised one."""
        self.policy = policy or load_policy(family, paths)
        self._identifier, self._registers = _shared()

    def route(self, text: str) -> Decision:
        """The decision for any string; it never raises on one. Blanks at the ends change nothing."""
        looked_at = text[:LONGEST]
        ordered = inspect(looked_at)
        places, words = _words(looked_at)
        if not words:
            return self._wordless(ordered)
        reading = _Reading(places, words, self._identifier.segment(words))
        language = _language(reading)
        finding = self._finding(reading, language, ordered.findings)
        variant = self.policy.variant(language)
        reasons = [*finding.reasons, f"{label(language)} goes to {variant}, by {self.policy.source}"]
        if len(text) > LONGEST:
            reasons.append(f"only the first {LONGEST} characters were looked at")
        confidence = _posterior(reading, language)
        return Decision(
            variant, language, finding.category, tuple(reasons), ordered.normal, confidence, finding.spans
        )

    def _wordless(self, ordered: UnicodeText) -> Decision:
        found = _Finding(UNICODE_EDGE, ordered.findings) if ordered.findings else _Finding()
        baseline = self.policy.baseline
        reasons = (*found.reasons, f"no letter to tell a language by, so it goes to the baseline {baseline}")
        return Decision(baseline, PIVOT, found.category, reasons, ordered.normal, 0.0, found.spans)

    def _finding(self, reading: _Reading, language: str, in_code_points: tuple[Span, ...]) -> _Finding:
        """The first category that fits."""
        # Yoruba is commonly typed with some letters composed and others not, whatever its topic or register.
        usual = MIXED_FORMS if language == "yo" else None
        if odd := tuple(span for span in in_code_points if span.what != usual):
            return _Finding(UNICODE_EDGE, odd)
        if formal := self._registers.formal(reading.words, language):
            return _cued(FORMAL_REGISTER, formal, reading)
        dialect = self._registers.dialect(reading.words, language)
        if (mixed := _mixture(reading, language)) and not (dialect and _within(mixed, dialect, reading)):
            return _Finding(CODE_SWITCHING, mixed)
        if romanised := _other_script(reading):
            return _Finding(TRANSLITERATION, romanised)
        if dialect:
            return _cued(LOW_RESOURCE_VARIANT, dialect, reading)
        if variety := _creole(reading) or _unmarked(reading, language):
            return _Finding(LOW_RESOURCE_VARIANT, variety)
        return _Finding()


def _cued(category: str, cues: Cued, reading: _Reading) -> _Finding:
    spans = [
        reading.span(first, last, f"{cues.variety}: {cue}")
        for cue, (first, last) in zip(cues.cues, cues.places, strict=True)
    ]
    return _Finding(category, tuple(spans))


def _words(text: str) -> tuple[list[tuple[int, int]], list[str]]:
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


def _language(reading: _Reading) -> str:
    """The language of most words. English is what others borrow from: it has to have more than 3/4 of them."""
    counts = reading.counts(full=True) or reading.counts()
    if not counts:
        return reading.path.single.language
    (most, _), *rest = counts.most_common()
    if most == PIVOT and rest and rest[0][1] >= EMBEDDED * counts.total() and _is_mixture(reading):
        return rest[0][0]
    return most


def _posterior(reading: _Reading, language: str) -> float:
    """P(language | words): a softmax over the languages' best classes, of the evidence per root of a word.

    Evidence grows with the number of words, though not independently; dividing by its root keeps the
    posterior of long texts from being 1 always, as py3langid does.
    """
    totals = reading.path.totals / np.sqrt(len(reading.words))
    best = {code: max(t for s, t in zip(STATES, totals, strict=True) if s.language == code) for code in LANGUAGES}
    top = max(best.values())
    return float(np.exp(best[language] - top) / sum(np.exp(value - top) for value in best.values()))


def _is_mixture(reading: _Reading) -> bool:
    """Whether words in a second language are clear, and more than a loan or the particle of a name."""
    states = [state for state in reading.path.states if state.form != NAMING]
    if len({state.script for state in states}) > 1:
        return len({state.language for state in states}) > 1 and reading.path.gain >= MIXED_SCRIPTS
    second = reading.counts(full=True).most_common()[1:]
    romanised = any(state.form == ROMANISED for state in states)
    unlikely = romanised and all(state.language != PIVOT for state in states)
    limit = MIXED_UNLIKELY if unlikely else MIXED
    return sum(n for _, n in second) >= FEWEST_MIXED and reading.path.gain >= limit


def _mixture(reading: _Reading, language: str) -> tuple[Span, ...]:
    """Runs of words in another language; none where it is a few loans in romanised text."""
    if not _is_mixture(reading):
        return ()
    counts = reading.counts()
    loans = counts.total() - counts[language]
    if _forms(reading, language) == {ROMANISED} and loans < EMBEDDED * counts.total():
        return ()
    return tuple(
        reading.span(first, last, f"{label(code)} in {label(language)}")
        for code, first, last in _runs(reading)
        if code != language
    )


def _forms(reading: _Reading, language: str) -> set[str]:
    """How the words of a language are written in the text, names left out."""
    return {s.form for s in reading.path.states if s.language == language and s.form != NAMING}


def _runs(reading: _Reading) -> Iterator[tuple[str, int, int]]:
    """(language, first word, word after the last) of each stretch in one language, names left out."""
    states = list(enumerate(reading.path.states))
    for (language, naming), run in groupby(states, key=lambda item: (item[1].language, item[1].form == NAMING)):
        numbers = [number for number, _ in run]
        if not naming:
            yield language, numbers[0], numbers[-1] + 1


def _within(mixed: tuple[Span, ...], dialect: Cued, reading: _Reading) -> bool:
    """Whether each run in another language has a cue of the dialect in it: then it is the dialect that is foreign."""
    cues = [reading.span(first, last, "") for first, last in dialect.places]
    return all(any(cue.start < run.end and run.start < cue.end for cue in cues) for run in mixed)


def _other_script(reading: _Reading) -> tuple[Span, ...]:
    """A language of another script in Latin letters: the whole text, or words beside others in its own script."""
    state = reading.path.single
    if state.form == ROMANISED:
        return (reading.span(0, len(reading.words), f"{label(state.language)} in Latin letters"),)
    native = {s.language for s in reading.path.states if s.form == IN_SCRIPT}
    romanised = [
        (i, s.language)
        for i, s in enumerate(reading.path.states)
        if s.form == ROMANISED and s.language in native and reading.words[i].islower()
    ]
    if len(romanised) < FEWEST_ROMANISED:
        return ()
    return tuple(
        reading.span(i, i + 1, f"{label(code)} in Latin letters, beside its own script") for i, code in romanised
    )


def _creole(reading: _Reading) -> tuple[Span, ...]:
    code = reading.path.single.form
    if code not in CREOLES:
        return ()
    return (reading.span(0, len(reading.words), f"py3langid takes it for '{code}'"),)


def _unmarked(reading: _Reading, language: str) -> tuple[Span, ...]:
    """A short Yoruba text without a single tone mark or underdot, which tell its words apart."""
    marked = any(folded(word) != word.casefold() for word in reading.words)
    others = max(t for s, t in zip(STATES, reading.path.totals, strict=True) if s.language != "yo")
    lead = reading.path.totals[STATES.index(State("yo", IN_SCRIPT))] - others
    if language != "yo" or len(reading.words) not in UNMARKED or marked or lead < CLEAR:
        return ()
    return (reading.span(0, len(reading.words), "Yoruba without tone marks and underdots"),)


_building = threading.Lock()


@cache
def _shared() -> tuple[Identifier, Registers]:
    return Identifier(), Registers()


@cache
def _router(family: str) -> Router:
    return Router(family)


def default_router(family: str = "tiny-aya") -> Router:
    """The one router of a family, built on the first call, by one thread."""
    with _building:
        return _router(family)


def route(text: str, family: str = "tiny-aya") -> Decision:
    """Where a text should go, by the family's policy: see `Router.route`."""
    return default_router(family).route(text)
