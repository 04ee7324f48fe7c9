"""Lens: what each state of a model would say next, in which language and script."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from explorer import controls, words
from explorer.controls import Control
from explorer.data import EXAMPLES, Results
from explorer.plots import lens as plots
from explorer.plots.look import Theme, View
from explorer.tabs import rows
from probe.errors import ProbeError

if TYPE_CHECKING:
    from explorer.live import OneModel

KEY, TITLE = "lens", "Lens"
HOW = (
    "What the model would say next if it ended at a state: the state goes through the model's own last norm "
    "and its unembedding. Bars: how much of that is the start of a word of each language; the rest begins "
    "words of several languages or none. Below: the likeliest tokens."
)
PLOTS = ("by_state", "languages", "tokens")
NOTE = "above"
QUEUE = {"concurrency_id": "model", "concurrency_limit": 1}  # one model in memory, so one question at a time
NEEDED = {"id", "variant", "text", "language", "kind", "p_lang", "entropy_bits", "top"}


def settings(results: Results, name: str) -> list[Control]:
    family, examples = results.family(name), _examples(results, name)
    there = [e["variant"] for e in examples] if examples else family.default_variants
    variants = rows.in_order(there, family.variants)
    asked = {e["id"]: f"{plots.name(e['language'])}, {e['kind']}: …{_tail(e['text'])}" for e in examples}
    preferred = next((e["id"] for e in examples if e["kind"] == "translation"), None)
    n_states = len(examples[0]["entropy_bits"]) if examples else _live(results).n_states(name)
    typed = [Control("text", "Sentence (Enter reads it)", "text")] if results.live else []
    info = "used where no sentence is typed" if typed else None
    return [
        controls.one("variant", "Variant", variants, labels=rows.labels(family)),
        *typed,
        controls.one("example", "Example", list(asked), preferred, labels=asked, info=info),
        controls.state(n_states),
    ]


def _live(results: Results) -> "OneModel":
    if results.live is None:
        raise ProbeError("no sentence can be read in the demo; run: uv run app.py")
    return results.live


def _tail(text: str) -> str:
    return text.replace("\n", " / ")[-48:]


def _examples(results: Results, name: str) -> list[dict]:
    """The precomputed readings; none where live mode can do without. Raises ProbeError else."""
    if results.live and not results.has(name, EXAMPLES):
        return []
    examples = results.json(name, EXAMPLES).get("examples")
    if not isinstance(examples, list) or not all(
        isinstance(e, dict) and e.keys() >= NEEDED for e in examples
    ):
        raise ProbeError(f"{EXAMPLES} is damaged; run: uv run logit_lens.py --family {name}")
    return examples


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    reading, source = _reading(results, name, chosen)
    if reading is None:
        return View({}, {}, source)
    stem = f"{name}_lens_{chosen['variant']}"
    drawn = {
        "by_state": plots.by_state(reading, look, stem),
        "languages": plots.languages(reading, chosen["state"], look, stem),
        "tokens": plots.tokens(reading, look, stem),
    }
    languages, tokens = _languages(reading), _tokens(reading)
    text = words.highlighted(reading["text"], ())
    title = results.family(name).label(chosen["variant"])
    note = f"{text}<p>{title}, read at the last token of this text. {source}</p>"
    return View(drawn, {"by_state": languages, "languages": languages, "tokens": tokens}, note)


def _reading(results: Results, name: str, chosen: dict[str, Any]) -> tuple[dict | None, str]:
    """A reading and where it comes from, or None and why there is none."""
    if results.live and (text := chosen.get("text", "").strip()):
        reading = results.live.reading(name, chosen["variant"], text)
        return reading, "Computed just now, by the model itself."
    for example in _examples(results, name):
        if (example["id"], example["variant"]) == (chosen["example"], chosen["variant"]):
            return example, rows.source(results, name, EXAMPLES)
    return None, f"No example of this variant{'; type a sentence' if results.live else ''}."


def _languages(reading: dict) -> pd.DataFrame:
    table = pd.DataFrame(reading["p_lang"]).rename_axis("state").reset_index()
    long = table.melt("state", var_name="language", value_name="p_lang")
    return long.assign(entropy_bits=[reading["entropy_bits"][state] for state in long.state])


def _tokens(reading: dict) -> pd.DataFrame:
    cells = [
        (state, rank, token, p)
        for state, top in enumerate(reading["top"])
        for rank, (token, p) in enumerate(top, start=1)
    ]
    return pd.DataFrame(cells, columns=["state", "rank", "token", "probability"])
