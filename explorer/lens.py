"""Lens: what each state of a model would say next, in which language and script."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from explorer import controls, figures, rows, words
from explorer.controls import Control
from explorer.figures import Theme, View, numbers
from explorer.tables import Results
from probe.errors import ProbeError
from probe.languages import LANGUAGES, label

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
UNTYPED = "used where no sentence is typed"
FILE = "logit_lens_examples"
PIVOT_COLOUR, OWN_COLOUR = "#0072B2", "#D55E00"
COLUMN = 62  # pixels for a token


def settings(results: Results, name: str) -> list[Control]:
    family = results.family(name)
    examples = _examples(results, name)
    variants = rows.in_order(
        [e["variant"] for e in examples] if examples else family.default_variants, family.variants
    )
    ids = list(dict.fromkeys(e["id"] for e in examples))
    asked = {e["id"]: f"{_name(e['language'])}, {e['kind']}: …{_tail(e['text'])}" for e in examples}
    preferred = next((e["id"] for e in examples if e["kind"] == "translation"), None)
    n_states = len(examples[0]["entropy_bits"]) if examples else _live(results).n_states(name)
    typed = [Control("text", "Sentence (Enter reads it)", "text")] if results.live else []
    return [
        controls.one("variant", "Variant", variants, labels=rows.labels(family)),
        *typed,
        controls.one("example", "Example", ids, preferred, labels=asked, info=UNTYPED if typed else None),
        controls.state(n_states),
    ]


def _live(results: Results) -> "OneModel":
    if results.live is None:
        raise ProbeError("no sentence can be read in the demo; run: uv run app.py")
    return results.live


def _tail(text: str) -> str:
    line = text.replace("\n", " / ")
    return line[-48:]


def _examples(results: Results, name: str) -> list[dict]:
    """The precomputed readings; none where live mode can do without. Raises ProbeError else."""
    if results.live and not results.has(name, f"{FILE}.json"):
        return []
    found = results.json(name, FILE).get("examples")
    needed = {"id", "variant", "text", "language", "kind", "p_lang", "entropy_bits", "top"}
    if not isinstance(found, list) or not all(isinstance(e, dict) and needed <= e.keys() for e in found):
        raise ProbeError(
            f"{results.file(name, FILE)}.json is damaged; run: uv run logit_lens.py --family {name}"
        )
    return found


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    reading, source = _reading(results, name, chosen)
    if reading is None:
        return View({}, {}, source)
    title = results.family(name).label(chosen["variant"])
    table = _table(reading)
    stem = f"{name}_lens_{chosen['variant']}"
    drawn = {
        "by_state": _lines(reading, look, stem),
        "languages": _bars(reading, chosen["state"], look, stem),
        "tokens": _tokens(reading, look, stem),
    }
    tokens = pd.DataFrame(
        [
            {"state": state, "rank": rank + 1, "token": token, "probability": p}
            for state, top in enumerate(reading["top"])
            for rank, (token, p) in enumerate(top)
        ]
    )
    text = (
        f'<div class="explorer-text" dir="auto">{words.visible(reading["text"][: words.LONGEST_SHOWN])}</div>'
    )
    note = f"{text}<p>{title}, read at the last token of this text. {source}</p>"
    return View(drawn, {"by_state": table, "languages": table, "tokens": tokens}, note)


def _reading(results: Results, name: str, chosen: dict[str, Any]) -> tuple[dict | None, str]:
    """A reading and where it comes from, or None and why there is none."""
    if results.live and (text := chosen.get("text", "").strip()):
        return _live(results).reading(
            name, chosen["variant"], text
        ), "Computed just now, by the model itself."
    for example in _examples(results, name):
        if (example["id"], example["variant"]) == (chosen["example"], chosen["variant"]):
            return example, rows.source(results, name, f"{FILE}.json")
    return (
        None,
        "No example of this variant; type a sentence." if results.live else "No example of this variant.",
    )


def _table(reading: dict) -> pd.DataFrame:
    table = pd.DataFrame(reading["p_lang"]).rename_axis("state").reset_index()
    long = table.melt("state", var_name="language", value_name="p_lang")
    return long.assign(entropy_bits=[reading["entropy_bits"][state] for state in long.state])


def _colours(reading: dict, look: Theme) -> dict[str, str]:
    plain = figures.faint(look.muted, 0.75)
    own = {reading.get("language"): OWN_COLOUR}
    return {language: {"en": PIVOT_COLOUR, **own}.get(language, plain) for language in reading["p_lang"]}


def _top(reading: dict) -> float:
    return 1.08 * max(max(values) for values in reading["p_lang"].values()) or 1.0


def _name(language: str) -> str:
    return label(language) if language in LANGUAGES else language


def _lines(reading: dict, look: Theme, stem: str) -> figures.Figure:
    colours = _colours(reading, look)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": _name(language),
            "x": list(range(len(values))),
            "y": numbers(values),
            "line": {"color": colours[language], "width": 2.5 if colours[language].startswith("#") else 1},
            "hovertemplate": "%{y:.3f}",
        }
        for language, values in reading["p_lang"].items()
    ]
    return figures.figure(
        traces,
        look,
        f"{stem}_by_state",
        height=360,
        hovermode="x unified",
        showlegend=False,
        annotations=_ends(reading, colours),
        xaxis=figures.states_axis(look, len(reading["entropy_bits"]), title={"text": "residual state"}),
        yaxis=figures.axis(look, range=[0, _top(reading)], title={"text": "probability of the language"}),
        margin={"l": 64, "r": 96, "t": 24, "b": 50},
    )


def _ends(reading: dict, colours: dict[str, str]) -> list[dict]:
    """The names of English and of the sentence's own language, at the ends of their curves."""
    named = [language for language in reading["p_lang"] if colours[language].startswith("#")]
    last = {language: reading["p_lang"][language][-1] for language in named}
    apart = 0.07 * _top(reading)
    last = {language: max(p, apart / 2) for language, p in last.items()}  # clear of the axis
    if len(last) == 2 and abs(last[named[0]] - last[named[1]]) < apart:
        low, high = sorted(named, key=last.__getitem__)
        last[high] = last[low] + apart
    font = {"size": 12}
    place = {"x": len(reading["entropy_bits"]) - 0.9, "xanchor": "left", "showarrow": False}
    return [place | {"y": last[n], "text": _name(n), "font": font | {"color": colours[n]}} for n in named]


def _bars(reading: dict, state: int, look: Theme, stem: str) -> figures.Figure:
    languages = list(reading["p_lang"])[::-1]
    colours = _colours(reading, look)
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [_name(language) for language in languages],
        "marker": {"color": [colours[language] for language in languages]},
        "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
    }
    frames = [
        {
            "data": [{"x": numbers(reading["p_lang"][language][at] for language in languages)}],
            "layout": {"title": figures.heading(f"<b>State {at}</b> · entropy {bits:.1f} bits")},
        }
        for at, bits in enumerate(reading["entropy_bits"])
    ]
    return figures.figure(
        [bars],
        look,
        f"{stem}_languages",
        frames=frames,
        state=state,
        height=60 + 27 * len(languages) + 50,
        xaxis=figures.axis(look, range=[0, _top(reading)], title={"text": "probability of the language"}),
        yaxis=figures.axis(look, ticks="", showgrid=False),
        margin={"l": 8, "r": 16, "t": 40, "b": 50},
    )


def _tokens(reading: dict, look: Theme, stem: str) -> figures.Figure:
    top = reading["top"]
    depth = min(len(state) for state in top)
    ranks = list(range(depth))
    width = 70 + COLUMN * len(top)
    return figures.figure(
        [
            {
                "type": "heatmap",
                "x": list(range(len(top))),
                "y": [rank + 1 for rank in ranks],
                "z": [numbers(state[rank][1] for state in top) for rank in ranks],
                "text": [[words.on_figure(state[rank][0]) for state in top] for rank in ranks],
                "texttemplate": "%{text}",
                "textfont": {"size": 12},
                "hovertemplate": "state %{x}, rank %{y}: %{text}, probability %{z:.4f}<extra></extra>",
                "colorscale": figures.SEQUENTIAL,
                "zmin": 0,
                "zmax": 1,
                "xgap": 1,
                "ygap": 1,
                "colorbar": {
                    "title": {"text": "probability", "side": "right", "font": {"size": 13}},
                    "thickness": 10,
                    "outlinewidth": 0,
                },
            }
        ],
        look,
        f"{stem}_tokens",
        height=90 + 28 * depth,
        xaxis=figures.axis(look, title={"text": "residual state"}, showgrid=False, dtick=1, ticks=""),
        yaxis=figures.axis(
            look, title={"text": "rank"}, autorange="reversed", showgrid=False, dtick=1, ticks=""
        ),
        margin={"l": 56, "r": 8, "t": 16, "b": 50},
        width=width if width > (360 if look.narrow else 1150) else None,  # else that of the page
    )
