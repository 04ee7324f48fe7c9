"""Concept map: every concept in every language, in a plane, state by state."""

from typing import Any

import pandas as pd

from explorer import controls
from explorer.controls import Control
from explorer.data import Results, subset
from explorer.plots import concept_map as plots
from explorer.plots.look import Theme, View
from explorer.tabs import rows
from probe.alignment import concept_map
from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.stimuli.manifest import load_concepts

KEY, TITLE = "map", "Concept map"
HOW = (
    "Each dot is one sentence, a concept in one language, in the plane that holds most of the variance at a "
    "state. Play moves through the states: where meaning is shared, the languages of one concept draw "
    "together. A plane shows a part only, so the lower figure gives shares of variance in all dimensions."
)
PLOTS = ("plane", "variance")
NOTE = "below"
POINTS, VARIANCE = f"{concept_map.POINTS}.csv", f"{concept_map.VARIANCE}.csv"
VIEWS = {"centred": "language means removed", "as_is": "as they are"}
COLOURED = {"language": "language", "category": "category of the concept"}
NONE = "none"
CAPTION = (
    "Probes at mean. Lengths are in units of the root mean square distance from the middle, and each state's "
    "plane is turned to move the points as little as possible. Axes have no meaning of their own."
)


def settings(results: Results, name: str) -> list[Control]:
    table, family = results.table(name, POINTS), results.family(name)
    variants = rows.in_order(table.variant.unique(), family.variants)
    preferred = next((v for v in variants if family.variants[v].emphasises), None)
    concepts = rows.concepts(results, name)
    first = next(iter(concepts), NONE)
    return [
        controls.one("variant", "Variant", variants, preferred, labels=rows.labels(family)),
        controls.one("plane", "Vectors", list(VIEWS), labels=VIEWS),
        controls.one("colour", "Colour", list(COLOURED), labels=COLOURED),
        controls.one("concept", "Follow a concept", [NONE, *concepts], first, labels=concepts),
        controls.state(int(table.state.max()) + 1, 0),
    ]


def view(results: Results, name: str, chosen: dict[str, Any], look: Theme) -> View:
    points = subset(results.table(name, POINTS), variant=chosen["variant"])
    variance = subset(results.table(name, VARIANCE), variant=chosen["variant"])
    if points.empty or variance.empty or set(points.state) != set(variance.state):
        command = f"uv run concept_alignment.py --family {name}"
        raise ProbeError(f"{POINTS} and {VARIANCE} do not fit together; run: {command}")
    suffix = concept_map.VIEWS[chosen["plane"]]
    text = dict.fromkeys(("variant", "concept_id", "language"), str)
    points = points.astype(text).sort_values(["state", "concept_id", "language"])
    places = {axis: points[f"{axis}{suffix}"] for axis in "xy"}
    points = points[["variant", "state", "concept_id", "language"]].assign(**places)
    grouped = points.assign(group=_groups(results, points, chosen["colour"]))
    named, stem = rows.concepts(results, name), f"{name}_{chosen['variant']}"
    groups = rows.in_order(grouped.group, LANGUAGES)
    setting = plots.Setting(look, chosen["state"], groups, named, chosen["concept"], stem)
    seen = dict(zip(variance.state, variance[f"in_plane{suffix}"], strict=True))
    shares, unit = _shares(variance, chosen["plane"])
    drawn = {
        "plane": plots.plane(setting, grouped, seen),
        "variance": plots.variance(look, variance, shares, unit, chosen["state"], stem),
    }
    note = f"{CAPTION} {rows.source(results, name, POINTS, VARIANCE)}"
    return View(drawn, {"plane": points, "variance": variance}, note)


def _groups(results: Results, points: pd.DataFrame, by: str) -> list[str]:
    """What a point's colour stands for."""
    if by == "language":
        return points.language.tolist()
    concepts = load_concepts(results.paths.concept_probes)
    category = {concept_id: concept.category for concept_id, concept in concepts.items()}
    return [category.get(concept_id, "unknown") for concept_id in points.concept_id]


def _shares(variance: pd.DataFrame, plane: str) -> tuple[dict[str, pd.Series], str]:
    """In all dimensions: between languages, between concepts, and what chance would give for these."""
    rest = 1 - variance.between_languages if plane == "centred" else 1
    shares = {"between concepts": variance.between_concepts / rest}
    shares[plots.CHANCE] = variance.concepts_chance / rest
    if plane == "centred":
        return shares, "share of variance left"
    return shares | {"between languages": variance.between_languages}, "share of variance"
