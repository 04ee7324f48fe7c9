"""What the router answers, and the words it answers in."""

from dataclasses import dataclass

UNICODE_EDGE = "unicode_edge"
FORMAL_REGISTER = "formal_register"
CODE_SWITCHING = "code_switching"
TRANSLITERATION = "transliteration"
LOW_RESOURCE_VARIANT = "low_resource_variant"
CATEGORIES = (CODE_SWITCHING, TRANSLITERATION, FORMAL_REGISTER, LOW_RESOURCE_VARIANT, UNICODE_EDGE)
OFFICIAL, CLINICAL = REGISTERS = ("official", "clinical")  # the kinds of FORMAL_REGISTER


@dataclass(frozen=True)
class Span:
    """Characters start to end (exclusive) of the text as it was given, and what was seen there."""

    start: int
    end: int
    what: str


@dataclass(frozen=True)
class Decision:
    """Where a text should go, and why.

    variant: of the router's family; the baseline where a category stands against the language's own.
    language_variant: by the language alone. language: one of the ten; of a mixed text its main one. category:
    the first of categories, None for ordinary text. categories: all that apply, what hides another before
    it. registers: of REGISTERS, where FORMAL_REGISTER is among them. reasons: at least one, in words. text:
    the input in NFC, without invisible characters, styled letters made plain, outer blanks removed.
    confidence: in [0, 1], how clearly the words are in the languages they were taken for; 0 where there is
    none. spans: where the categories were seen, in their order.
    """

    variant: str
    language_variant: str
    language: str
    category: str | None
    categories: tuple[str, ...]
    registers: tuple[str, ...]
    reasons: tuple[str, ...]
    text: str
    confidence: float
    spans: tuple[Span, ...] = ()
