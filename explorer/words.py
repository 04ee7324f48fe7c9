"""Text of any kind made safe to show: as HTML, and as words on a figure."""

import html
import itertools
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST_SHOWN = 5000  # characters
LAID_OUT = "\n\t"  # control characters that a text may keep
NAMED = {"\n": "↵", "\t": "⇥", " ": "␣"}


def unseen(character: str) -> bool:
    """Whether it is a control, a bidirectional override, half of a pair and the like: it would change how
    other text is shown, or not be seen at all. The joiners of Indic and Arabic scripts may do their work.
    """
    return unicodedata.category(character).startswith("C") and character not in "\u200c\u200d"


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def visible(text: str) -> str:
    """As HTML: markup escaped, what cannot be seen replaced by its code point, its name on pointing."""
    return "".join(
        f'<span class="unseen" title="{html.escape(unicodedata.name(c, "unnamed"))}">{code_point(c)}</span>'
        if unseen(c) and c not in LAID_OUT
        else html.escape(c)
        for c in text
    )


def on_figure(token: str) -> str:
    """A token as a label of a figure, which knows some HTML: blanks and invisible characters are named."""
    shown = "".join(NAMED.get(c, code_point(c) if unseen(c) else c) for c in token)
    return html.escape(shown, quote=False)


def highlighted(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text as HTML with its spans marked, what was seen there on pointing. Spans may overlap, or be none.

    Only the first LONGEST_SHOWN characters; whoever shows it says so.
    """
    text = text[:LONGEST_SHOWN]
    spans = [(max(0, start), min(end, len(text)), what) for start, end, what in spans]
    edges = sorted({0, len(text), *(edge for start, end, _ in spans if start < end for edge in (start, end))})
    parts = []
    for start, end in itertools.pairwise(edges):
        over = [what for low, high, what in spans if low <= start and end <= high]
        piece = visible(text[start:end])
        title = html.escape("; ".join(dict.fromkeys(over)))
        parts.append(f'<mark title="{title}">{piece}</mark>' if over else piece)
    return f'<div class="explorer-text" dir="auto">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; the cells are HTML already."""
    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="explorer-scroll" tabindex="0"><table class="explorer-table">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
