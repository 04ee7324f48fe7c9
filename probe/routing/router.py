"""From a text to a variant: what is in order, which languages it is in, what makes it hard.

Categories are looked for in the order in which one hides the next: code points, formal register, mixture of
languages, another script, dialect. The first that is found is the category; the variant follows from the
language alone.
"""

import threading
from collections import Counter
from dataclasses import dataclass
from functools import cache

from probe.languages import PIVOT, label
from probe.paths import Paths
from probe.routing import reading
from probe.routing.decision import (
    CODE_SWITCHING,
    FORMAL_REGISTER,
    LOW_RESOURCE_VARIANT,
    TRANSLITERATION,
    UNICODE_EDGE,
    Decision,
    Span,
)
from probe.routing.identify import Identifier
from probe.routing.policy import Policy, load_policy
from probe.routing.reading import Reading
from probe.routing.registers import Finding as Cued
from probe.routing.registers import Registers
from probe.routing.unicode_text import MIXED_FORMS, UnicodeText, inspect

LONGEST = 100_000  # characters that are looked at


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
        ordered = inspect(text[:LONGEST])
        note = (f"only the first {LONGEST} characters were looked at",) if len(text) > LONGEST else ()
        places, words = reading.words_of(ordered.repaired)
        if not words:
            return self._wordless(ordered, note)
        read = Reading(places, words, self._identifier.segment(words))
        language, dialect = self._language(read)
        finding = self._finding(read, language, dialect, ordered.findings)
        variant = self.policy.variant(language)
        reasons = (*finding.reasons, f"{label(language)} goes to {variant}, by {self.policy.source}", *note)
        confidence = reading.confidence(read, language)
        return Decision(
            variant, language, finding.category, reasons, ordered.normal, confidence, finding.spans
        )

    def _wordless(self, ordered: UnicodeText, note: tuple[str, ...]) -> Decision:
        found = _Finding(UNICODE_EDGE, ordered.findings) if ordered.findings else _Finding()
        baseline = self.policy.baseline
        reasons = (
            *found.reasons,
            f"no word to tell a language by, so it goes to the baseline {baseline}",
            *note,
        )
        return Decision(baseline, PIVOT, found.category, reasons, ordered.normal, 0.0, found.spans)

    def _language(self, read: Reading) -> tuple[str, Cued | None]:
        """The main language, and the cues of a dialect of it.

        The words of a dialect may look like another language. Where each of those that do has a cue of the
        dialect in it, the text is no mixture, and the language is the one that the dialect is of.
        """
        main = reading.language(read)
        for code, _ in read.counts().most_common():
            foreign = reading.mixture(read, code)
            cues = self._registers.dialect(read.words, code) if foreign or code == main else None
            if cues and _within(foreign, cues, read):
                return code, cues
        return main, None

    def _finding(
        self, read: Reading, language: str, dialect: Cued | None, in_code_points: tuple[Span, ...]
    ) -> _Finding:
        """The first category that fits."""
        # Yoruba is commonly typed with some letters composed and others not, whatever its topic or register.
        usual = MIXED_FORMS if language == "yo" else None
        if odd := tuple(span for span in in_code_points if span.what != usual):
            return _Finding(UNICODE_EDGE, odd)
        if formal := self._registers.formal(read.words, language):
            return _cued(FORMAL_REGISTER, formal, read)
        if not dialect and (mixed := reading.mixture(read, language)):
            return _Finding(CODE_SWITCHING, mixed)
        if romanised := reading.other_script(read, language):
            return _Finding(TRANSLITERATION, romanised)
        if dialect:
            return _cued(LOW_RESOURCE_VARIANT, dialect, read)
        if variety := reading.creole(read) or reading.unmarked(read):
            return _Finding(LOW_RESOURCE_VARIANT, variety)
        return _Finding()


def _cued(category: str, cues: Cued, read: Reading) -> _Finding:
    spans = [
        read.span(first, last, f"{cues.variety}: {cue}")
        for cue, (first, last) in zip(cues.cues, cues.places, strict=True)
    ]
    return _Finding(category, tuple(spans))


def _within(mixed: tuple[Span, ...], dialect: Cued, read: Reading) -> bool:
    """Whether each run in another language has a cue of the dialect in it, which is what looks foreign."""
    cues = [read.span(first, last, "") for first, last in dialect.places]
    return all(any(cue.start < run.end and run.start < cue.end for cue in cues) for run in mixed)


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
