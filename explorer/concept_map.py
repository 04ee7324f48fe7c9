"""Concept map: every concept in every language, in a plane, state by state."""

from typing import Any

import pandas as pd

from explorer import controls, figures, rows
from explorer.controls import Control
from explorer.figures import Theme, View, numbers
from explorer.tables import Results, subset
from probe.alignment import concept_map
from probe.errors import ProbeError
from probe.languages import LANGUAGES, label
from probe.stimuli.manifest import load_concepts

KEY, TITLE = "map", "Concept map"
HOW = (
    "Each dot is one sentence, a concept in one language, in the plane that holds most of the variance at a "
    "state. Play moves through the states: where meaning is shared, the languages of one concept draw "
    "together. A plane shows a part only, so the lower figure gives shares of variance in all dimensions."
)
PLOTS = ("plane", "variance")
NOTE = "below"
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#7A6FD0",
    "#8C6D31",
    "#A8A032",
    "#7F7F7F",
)
VIEWS = {"centred": "language means removed", "as_is": "as they are"}
COLOURED = {"language": "language", "category": "category of the concept"}
NONE = "none"
CHANCE = "between concepts, by chance"


def settings(results: Results, name: str) -> list[Control]:
    table, family = results.table(name, concept_map.POINTS), results.family(name)
    variants = rows.in_order(table.variant.unique(), family.variants)
    preferred = next((v for v in variants if family.variants[v].emphasises), None)
    concepts = rows.concepts(results, name)
    return [
        controls.one("variant", "Variant", variants, preferred, labels=rows.labels(family)),
        controls.one("plane", "Vectors", list(VIEWS), labels=VIEWS),
        controls.one("colour", "Colour", list(COLOURED), labels=COLOURED),
        controls.one(
            "concept", "Follow a concept", [NONE, *concepts], next(iter(concepts), NONE), labels=concepts
        ),
        controls.state(int(table.state.max()) + 1, 0),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    points = subset(results.table(name, concept_map.POINTS), variant=chosen["variant"])
    variance = subset(results.table(name, concept_map.VARIANCE), variant=chosen["variant"])
    if points.empty or variance.empty or set(points.state) != set(variance.state):
        raise ProbeError(
            f"{results.file(name, concept_map.POINTS)}.csv and its variance do not fit together; run: "
            f"uv run concept_alignment.py --family {name}"
        )
    suffix = concept_map.VIEWS[chosen["plane"]]
    columns = ["variant", "state", "concept_id", "language"]
    ordered = points.sort_values(columns[1:])
    points = ordered[columns].assign(x=ordered[f"x{suffix}"], y=ordered[f"y{suffix}"])
    named = rows.concepts(results, name)
    stem = f"{name}_{chosen['variant']}"
    seen = dict(zip(variance.state, variance[f"in_plane{suffix}"], strict=True))
    grouped = points.assign(group=_groups(results, points, chosen["colour"]))
    drawn = {
        "plane": _plane(grouped, seen, named, chosen, look, stem),
        "variance": _variance(variance, chosen, look, stem),
    }
    note = (
        "Probes at mean. Lengths are in units of the root mean square distance from the middle, and each "
        "state's plane is turned to move the points as little as possible. Axes have no meaning of their "
        "own."
    )
    sources = (f"{concept_map.POINTS}.csv", f"{concept_map.VARIANCE}.csv")
    return View(
        drawn, {"plane": points, "variance": variance}, f"{note} {rows.source(results, name, *sources)}"
    )


def _groups(results: Results, points: pd.DataFrame, by: str) -> list[str]:
    """What a point's colour stands for."""
    if by == "language":
        return points.language.tolist()
    concepts = load_concepts(results.paths.concept_probes)
    category = {concept_id: concept.category for concept_id, concept in concepts.items()}
    return [category.get(concept_id, "unknown") for concept_id in points.concept_id]


def _plane(
    points: pd.DataFrame,
    in_plane: dict[int, float],
    named: dict[str, str],
    chosen: dict[str, Any],
    look: Theme,
    stem: str,
) -> figures.Figure:
    """points: with `group`, what a colour stands for. in_plane: by state, the share of variance seen."""
    groups = rows.in_order(points.group, LANGUAGES)
    followed = points.loc[points.concept_id == chosen["concept"]]
    traces = _dots(points, groups, named, 0.85 if followed.empty else 0.5)
    if len(followed):
        traces += _follow(followed, named, groups, chosen["colour"], look)
    frames = []
    for state in sorted(points.state.unique()):
        here, there = points.loc[points.state == state], followed.loc[followed.state == state]
        title = f"<b>State {state}</b> · this plane holds {100 * in_plane[state]:.0f} % of the variance"
        frames.append(
            {"data": _frame(here, there, groups, len(traces)), "layout": {"title": figures.heading(title)}}
        )
    bare = {"showticklabels": False, "ticks": "", "showgrid": False}
    bare |= {"linecolor": look.grid, "zerolinecolor": look.grid}
    right, up = 1.08 * points[["x", "y"]].abs().max().to_numpy()
    legend = figures.legend_height([trace["name"] for trace in traces[: len(groups)]], look)
    return figures.figure(
        traces,
        look,
        f"{stem}_concept_map",
        frames=frames,
        state=chosen["state"],
        height=(400 if look.narrow else 560) + legend,
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        xaxis=figures.axis(look, range=[-right, right], **bare),
        yaxis=figures.axis(look, range=[-up, up], **bare, scaleanchor="x", scaleratio=1),
        margin={"l": 10, "r": 10, "t": legend + 14, "b": 12},
    )


def _dots(points: pd.DataFrame, groups: list[str], named: dict[str, str], opacity: float) -> list[dict]:
    """One trace per colour; where its points are, the frames say."""
    traces = []
    for i, group in enumerate(groups):
        first = points.loc[(points.group == group) & (points.state == points.state.min())]
        cells = zip(first.concept_id, first.language, strict=True)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label(group) if group in LANGUAGES else group,
                "marker": {"size": 8, "color": COLOURS[i % len(COLOURS)], "opacity": opacity},
                "text": [f"{named.get(concept, concept)}, {label(lang)}" for concept, lang in cells],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return traces


def _follow(
    followed: pd.DataFrame, named: dict[str, str], groups: list[str], colour: str, look: Theme
) -> list[dict]:
    """Spokes from the concept's middle to its sentences, and these with the code of their language."""
    first = followed.loc[followed.state == followed.state.min()]
    by_language = {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(groups)}
    own = [by_language.get(language, look.ink) for language in first.language]
    spokes = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    dots = {
        "type": "scatter",
        "mode": "markers+text",
        "showlegend": False,
        "marker": {
            "size": 12,
            "color": own if colour == "language" else look.ink,
            "line": {"color": look.ink, "width": 1.5},
        },
        "text": first.language.astype(str).tolist(),
        "textposition": "top center",
        "textfont": {"size": 13, "color": look.ink},
        "hovertemplate": f"{named.get(first.concept_id.iloc[0], '')}, %{{text}}<extra></extra>",
    }
    return [spokes | {"line": {"color": look.muted, "width": 1}}, dots]


def _frame(points: pd.DataFrame, followed: pd.DataFrame, groups: list[str], n_traces: int) -> list[dict]:
    own = [points.loc[points.group == group] for group in groups]
    data = [{"x": numbers(part.x), "y": numbers(part.y)} for part in own]
    if n_traces > len(groups):
        x, y = numbers(followed.x), numbers(followed.y)
        middle = (round(float(followed.x.mean()), 4), round(float(followed.y.mean()), 4))
        spokes = [
            [v for each in values for v in (m, each, None)] for values, m in zip((x, y), middle, strict=True)
        ]
        data += [{"x": spokes[0], "y": spokes[1]}, {"x": x, "y": y}]
    return data


def _variance(variance: pd.DataFrame, chosen: dict[str, Any], look: Theme, stem: str) -> figures.Figure:
    """Shares in all dimensions: between languages, between concepts, and what chance would give for these."""
    rest = 1 - variance.between_languages if chosen["plane"] == "centred" else 1
    shares = {"between concepts": variance.between_concepts / rest, CHANCE: variance.concepts_chance / rest}
    if chosen["plane"] == "as_is":
        shares["between languages"] = variance.between_languages
    n_states = int(variance.state.max()) + 1
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": numbers(variance.state),
            "y": numbers(share),
            "line": {"color": look.muted if name == "between languages" else "#0072B2", "width": 2}
            | ({"dash": "dot"} if name == CHANCE else {}),
            "hovertemplate": "%{y:.1%}",
        }
        for name, share in shares.items()
    ]
    top = 1.12 * max(float(share.max()) for share in shares.values())
    here = {"type": "scatter", "mode": "lines", "y": [0, top], "hoverinfo": "skip", "showlegend": False}
    here |= {"line": {"color": look.muted, "width": 1.5, "dash": "dot"}}
    frames = [{"data": [{} for _ in shares] + [{"x": [s, s]}]} for s in range(n_states)]
    return figures.figure(
        [*traces, here],
        look,
        f"{stem}_variance",
        frames=frames,
        state=chosen["state"],
        height=300,
        hovermode="x unified",
        xaxis=figures.states_axis(look, n_states, title={"text": "residual state"}),
        yaxis=figures.axis(
            look,
            range=[0, top],
            tickformat=".0%",
            title={"text": "share of variance left" if chosen["plane"] == "centred" else "share of variance"},
        ),
        margin={"l": 64, "r": 16, "t": figures.legend_height(shares, look), "b": 50},
    )
