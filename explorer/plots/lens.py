"""The lens: languages over the states, languages at one state, and the likeliest tokens."""

from typing import Any

import plotly.graph_objects as go

from explorer import words
from explorer.plots import look as looks
from explorer.plots.look import STATE, Drawn, Theme
from probe.languages import LANGUAGES, label

PIVOT_COLOUR, OWN_COLOUR = "#0072B2", "#D55E00"
COLUMN = 62  # pixels for a token
UNIT = "probability of the language"
Reading = dict[str, Any]  # as `probe.lens.text.TextLens.payload` gives it


def name(language: str) -> str:
    return label(language) if language in LANGUAGES else language


def _colours(reading: Reading, look: Theme) -> dict[str, str]:
    named = {"en": PIVOT_COLOUR, reading.get("language"): OWN_COLOUR}
    return {language: named.get(language, looks.faint(look.muted, 0.75)) for language in reading["p_lang"]}


def _top(reading: Reading) -> float:
    return 1.08 * max(max(values) for values in reading["p_lang"].values()) or 1.0


def by_state(reading: Reading, look: Theme, stem: str) -> Drawn:
    colours, figure = _colours(reading, look), go.Figure()
    for language, values in reading["p_lang"].items():
        colour = colours[language]
        line = {"color": colour, "width": 2.5 if colour.startswith("#") else 1}
        places = {"x": list(range(len(values))), "y": values, "hovertemplate": "%{y:.3f}"}
        figure.add_scatter(mode="lines", name=name(language), line=line, **places)
    looks.over_states(figure, look, len(reading["entropy_bits"])).update_xaxes(title_text=STATE)
    figure.update_yaxes(range=[0, _top(reading)], title_text=UNIT)
    shown = {"hovermode": "x unified", "showlegend": False, "annotations": _ends(reading, colours)}
    looks.dress(figure, look, 360, (64, 96, 24, 50), **shown)
    return Drawn(figure, f"{stem}_by_state")


def _ends(reading: Reading, colours: dict[str, str]) -> list[dict]:
    """The names of English and of the sentence's own language, at the ends of their curves."""
    apart = 0.07 * _top(reading)
    named = [language for language in reading["p_lang"] if colours[language].startswith("#")]
    last = {language: max(reading["p_lang"][language][-1], apart / 2) for language in named}  # off the axis
    if len(last) == 2 and abs(last[named[0]] - last[named[1]]) < apart:
        low, high = sorted(named, key=last.__getitem__)
        last[high] = last[low] + apart
    place = {"x": len(reading["entropy_bits"]) - 0.9, "yanchor": "middle"}
    return [
        place | {"y": y, "text": name(language), "font": {"size": 12, "color": colours[language]}}
        for language, y in last.items()
    ]


def languages(reading: Reading, state: int, look: Theme, stem: str) -> Drawn:
    """Bars at one state; a frame for each."""
    shown, colours = list(reading["p_lang"])[::-1], _colours(reading, look)
    bars = {"orientation": "h", "y": [name(language) for language in shown]}
    figure = go.Figure(go.Bar(bars, marker_color=[colours[language] for language in shown]))
    figure.update_traces(hovertemplate="%{y}: %{x:.4f}<extra></extra>")
    frames = [
        {
            "data": [{"x": [reading["p_lang"][language][at] for language in shown]}],
            "layout": {"title": {"text": f"<b>State {at}</b> · entropy {bits:.1f} bits"}},
        }
        for at, bits in enumerate(reading["entropy_bits"])
    ]
    figure.update_xaxes(range=[0, _top(reading)], title_text=UNIT)
    figure.update_yaxes(ticks="", showgrid=False)
    looks.dress(figure, look, 110 + 27 * len(shown), (8, 16, 40, 50))
    return Drawn(figure, f"{stem}_languages", frames).at(state)


def tokens(reading: Reading, look: Theme, stem: str) -> Drawn:
    top = reading["top"]
    ranks = range(min(len(state) for state in top))
    figure = go.Figure(
        go.Heatmap(
            x=list(range(len(top))),
            y=[rank + 1 for rank in ranks],
            z=[[state[rank][1] for state in top] for rank in ranks],
            text=[[words.on_figure(state[rank][0]) for state in top] for rank in ranks],
            texttemplate="%{text}",
            textfont_size=12,
            hovertemplate="state %{x}, rank %{y}: %{text}, probability %{z:.4f}<extra></extra>",
            zmin=0,
            zmax=1,
            colorbar_title={"text": "probability", "side": "right", "font": {"size": 13}},
        )
    )
    figure.update_xaxes(title_text=STATE, showgrid=False, dtick=1, ticks="")
    figure.update_yaxes(title_text="rank", autorange="reversed", showgrid=False, dtick=1, ticks="")
    width = 70 + COLUMN * len(top)
    looks.dress(figure, look, 90 + 28 * len(ranks), (56, 8, 16, 50))
    figure.update_layout(width=width if width > (360 if look.narrow else 1150) else None)  # else the page's
    return Drawn(figure, f"{stem}_tokens")
