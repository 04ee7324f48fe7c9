"""What a text must have to be one, when two texts are the same to a reader, and how a sentence ends."""

import unicodedata

import regex

LONGEST = 2_000  # characters; the longest sentence of TICO-19 has 957
LONGEST_ID = 100

_ALIKE = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u0060\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
# One name for marks that do the same in different scripts.
_MARKS = dict.fromkeys("\u0964\u0965\u1362\u3002\u06d4", ".") | {"\u061f": "?", "\u2026": "..."}


def says_something(text: str) -> bool:
    """Whether it holds a letter or a digit."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def fault(text: str) -> str | None:
    """Why a text cannot be a stimulus, None for one that can."""
    if not text.strip():
        return "the text is empty"
    if any("\ud800" <= character <= "\udfff" for character in text):
        # JSON can escape one half of a surrogate pair, which no file can hold.
        return "the text holds half of a surrogate pair"
    if not says_something(text):
        return f"the text {text.encode('unicode_escape').decode()[:20]} has no letter and no digit"
    if len(text) > LONGEST:
        return f"the text has {len(text)} characters, {LONGEST} are the most"
    return None


def fault_of_id(name: str) -> str | None:
    """Why a name cannot be an id, None for one that can. What looks like another id is none."""
    if not name or any(character in name for character in "/\\\0") or name in (".", ".."):
        return f"'{name}' cannot be an id: it is empty or holds a path separator"
    if len(name) > LONGEST_ID:
        return f"'{name[:20]}...' cannot be an id: it has {len(name)} characters, {LONGEST_ID} are the most"
    shown = name.encode("unicode_escape").decode()
    if any(unicodedata.category(character)[0] in "CZ" and character != " " for character in name):
        return f"'{shown}' cannot be an id: it holds a character that is not seen"
    if not unicodedata.is_normalized("NFC", name):
        return f"'{shown}' cannot be an id: it is not in Unicode normal form C"
    return None


def folded(text: str) -> str:
    """The same for texts that differ in typography alone: composition, width, case, quotes, dashes, blanks,
    characters that are not seen. Final marks stay: a question is another sentence."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_ALIKE).casefold())
    seen = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return " ".join(seen.split())


def words(text: str) -> set[str]:
    """Its word forms, folded and without accents; digits are none."""
    plain = unicodedata.normalize("NFD", folded(text))
    return set(regex.findall(r"[\p{L}\p{M}]+", regex.sub(r"\p{Mn}", "", plain)))


def final_mark(text: str) -> str:
    """What the sentence ends in, closing quotes and brackets aside: ".", "?", "!", ... whatever the script
    writes for it; "" where it ends in a letter or a digit."""
    for character in reversed(text):
        category = unicodedata.category(character)
        if category in ("Pe", "Pf", "Pi", "Cf") or category[0] == "Z" or character in "\"'":
            continue
        name = _MARKS.get(character) or unicodedata.normalize("NFKC", character)
        return name if category[0] == "P" else ""
    return ""
