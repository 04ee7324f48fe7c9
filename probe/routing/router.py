"""From a text to a variant: what is in order, which languages it is in, what makes it hard.

Categories stand in the order in which one hides the next: code points, formal register, mixture of languages,
dialect, another script. The variant is the language's own, unless a category stands against it (policy.py).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from probe.languages import PIVOT
from probe.paths import Paths
from probe.routing import reading
from probe.routing.decision import (
    CLINICAL,
    CODE_SWITCHING,
    FORMAL_REGISTER,
    LOW_RESOURCE_VARIANT,
    OFFICIAL,
    TRANSLITERATION,
    UNICODE_EDGE,
    Decision,
    Span,
)
from probe.routing.identify import Identifier
from probe.routing.policy import Policy, load_policy
from probe.routing.reading import Reading
from probe.routing.registers import Cued, Registers
from probe.routing.unicode_text import MIXED_FORMS, UnicodeText, inspect

LONGEST = 100_000  # characters that are looked at


@dataclass(frozen=True)
class _Seen:
    """One category, where it was seen, and which register it is where it is one."""

    category: str
    spans: tuple[Span, ...]
    register: str | None = None


def _reasons(seen: tuple[_Seen, ...]) -> tuple[str, ...]:
    """Each kind of thing seen once, with how often it was."""
    kinds = Counter(span.what for one in seen for span in one.spans)
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
        read = Reading(
            places, words, self._identifier.segment(words, reading.asides(ordered.repaired, places))
        )
        language, dialect = self._language(read)
        seen = tuple(self._seen(read, language, dialect, ordered.oddities))
        categories = tuple(dict.fromkeys(one.category for one in seen))
        variant, why = self.policy.choose(language, categories)
        return Decision(
            variant=variant,
            language_variant=self.policy.variant(language),
            language=language,
            category=categories[0] if categories else None,
            categories=categories,
            registers=tuple(one.register for one in seen if one.register),
            reasons=(*_reasons(seen), *why, *note),
            text=ordered.normal,
            confidence=reading.confidence(read, language),
            spans=tuple(span for one in seen for span in one.spans),
        )

    def _wordless(self, ordered: UnicodeText, note: tuple[str, ...]) -> Decision:
        seen = (_Seen(UNICODE_EDGE, ordered.oddities),) if ordered.oddities else ()
        categories = tuple(one.category for one in seen)
        baseline = self.policy.baseline
        why = f"no word to tell a language by, so it goes to the baseline {baseline}"
        return Decision(
            variant=baseline,
            language_variant=baseline,
            language=PIVOT,
            category=categories[0] if categories else None,
            categories=categories,
            registers=(),
            reasons=(*_reasons(seen), why, *note),
            text=ordered.normal,
            confidence=0.0,
            spans=ordered.oddities,
        )

    def _language(self, read: Reading) -> tuple[str, Cued | None]:
        """The main language, and the cues of a dialect of it.

        The words of a dialect may look like another language. Where each of those that do has a cue of the
        dialect in it, the language is the one that the dialect is of.
        """
        main = reading.language(read)
        for code, _ in read.counts().most_common():
            foreign = reading.mixture(read, code)
            cues = self._registers.dialect(read.words, code) if foreign or code == main else None
            if cues and _within(foreign, cues, read):
                return code, cues
        return main, self._registers.dialect(read.words, main)

    def _seen(
        self, read: Reading, language: str, dialect: Cued | None, oddities: tuple[Span, ...]
    ) -> Iterator[_Seen]:
        # Yoruba is commonly typed with some letters composed and others not, whatever its topic or register.
        usual = MIXED_FORMS if language == "yo" else None
        if odd := tuple(span for span in oddities if span.what != usual):
            yield _Seen(UNICODE_EDGE, odd)
        if official := self._registers.official(read.words, language):
            yield _Seen(FORMAL_REGISTER, _spans(official, read), OFFICIAL)
        if clinical := self._registers.clinical(read.words, language):
            terms = tuple(span for one in clinical for span in _spans(one, read))
            yield _Seen(FORMAL_REGISTER, terms, CLINICAL)
        mixed = reading.mixture(read, language)
        if mixed and not (dialect and _within(mixed, dialect, read)):
            yield _Seen(CODE_SWITCHING, mixed)
        if dialect:
            yield _Seen(LOW_RESOURCE_VARIANT, _spans(dialect, read))
        if romanised := reading.other_script(read, language):
            yield _Seen(TRANSLITERATION, romanised)
        elif not dialect and (variety := reading.creole(read) or reading.unmarked(read)):
            yield _Seen(LOW_RESOURCE_VARIANT, variety)


def _spans(cued: Cued, read: Reading) -> tuple[Span, ...]:
    return tuple(
        read.span(first, last, f"{cued.variety}: {cue}")
        for cue, (first, last) in zip(cued.cues, cued.places, strict=True)
    )


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
