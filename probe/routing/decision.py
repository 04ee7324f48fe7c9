"""What the router answers, and the words it answers in."""

from dataclasses import dataclass

UNICODE_EDGE = "unicode_edge"
FORMAL_REGISTER = "formal_register"
CODE_SWITCHING = "code_switching"
TRANSLITERATION = "transliteration"
LOW_RESOURCE_VARIANT = "low_resource_variant"
CATEGORIES = (CODE_SWITCHING, TRANSLITERATION, FORMAL_REGISTER, LOW_RESOURCE_VARIANT, UNICODE_EDGE)


@dataclass(frozen=True)
class Span:
    """Characters start to end (exclusive) of the text as it was given, and what was seen there."""

    start: int
    end: int
    what: str


@dataclass(frozen=True)
class Decision:
    """Where a text should go, and why.

    variant: of the router's family. language: one of the ten; of a mixed text its main one. category: one of
    CATEGORIES, None for ordinary text. reasons: at least one, in words. text: the input in NFC, without
    invisible characters, styled letters made plain, outer blanks removed. confidence: in [0, 1], how
    clearly the words are in the languages they were taken for; 0 where there is none. spans: where the
    category was seen.
    """

    variant: str
    language: str
    category: str | None
    reasons: tuple[str, ...]
    text: str
    confidence: float
    spans: tuple[Span, ...] = ()
