"""Router: which variant of the family shown a text goes to, and why."""

import html
from typing import Any

from explorer import controls, words
from explorer.controls import Control
from explorer.data import Results
from explorer.plots.look import Theme, View
from probe.languages import LANGUAGES, label

KEY, TITLE = "router", "Router"
HOW = (
    "Type a text: the router names its language, anything unusual about it, the variant it would go to, and "
    "what that rests on. Marked words are the evidence; point at one to read it."
)
PLOTS = ()
NOTE = "below"
EXAMPLES = {
    "plain Hindi": "बच्चे को दो दिन से तेज़ बुखार है।",
    "English within Swahili": "Mtoto wangu ana homa, so we took him to the clinic this morning.",
    "Hindi in Latin letters": "mujhe kal se bukhar hai aur sir mein dard ho raha hai",
    "a formal French letter": "Je vous prie d'agréer, Madame, l'expression de mes salutations distinguées.",
    "Yoruba without its marks": "Omo naa ni iba lati ana",
    "a zero-width space and an override": "The med\u200bicine is \u202eelbaliava\u202c here.",
}


def settings(results: Results, name: str) -> list[Control]:
    return [
        Control("text", "Text (Enter routes it)", "text"),
        controls.one("example", "Or an example", list(EXAMPLES), info="used where no text is typed"),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    text = chosen["text"] or EXAMPLES[chosen["example"]]
    decision, family = results.router(name).route(text), results.family(name)
    variant = family.label(decision.variant) if decision.variant in family.variants else decision.variant
    language = label(decision.language) if decision.language in LANGUAGES else decision.language
    reasons = "".join(f"<li>{words.visible(reason)}</li>" for reason in decision.reasons)
    rows = [
        ("Variant", f"<b>{html.escape(variant)}</b>"),
        ("Language", f"{html.escape(language)}, confidence {decision.confidence:.2f}"),
        ("Unusual", html.escape(", ".join(decision.categories).replace("_", " ")) or "nothing"),
        ("Because", f'<ul dir="auto">{reasons}</ul>'),
    ]
    if decision.text != text:
        rows.append(
            ("Read as", f'<bdi dir="auto">{words.visible(decision.text[: words.LONGEST_SHOWN])}</bdi>')
        )
    shown = words.highlighted(text, [(span.start, span.end, span.what) for span in decision.spans])
    if len(text) > words.LONGEST_SHOWN:
        shown += f"<p>The first {words.LONGEST_SHOWN:,} of {len(text):,} characters.</p>"
    return View({}, {}, f"{shown}{words.table(('', 'decision'), rows)}")
