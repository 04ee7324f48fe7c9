"""Stage 8: which concepts commit in which languages, and how far from it the others are.

Reads   results/{family}/alignment_curves.json, commitment_matrix.csv, alignment_summary.csv,
        artifact_audit.json
Writes  assets/{family}/concept_alignment_heatmap (.png, .svg)
Run     uv run viz/heatmap.py --family nano-aya

A cell's colour is the held level: the highest threshold that the concept's cosine holds for the states in a
row that commitment asks for. So the figure informs where nothing commits, too. The raw cosine of unrelated
sentences may be high: the row below the concepts is the same measure of mismatched pairs.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from probe import cli
from probe.families import Family
from probe.languages import label
from viz import grid, style
from viz import held as held_levels
from viz.held import Held

SCRIPT = "heatmap"
NAME = "concept_alignment_heatmap"
# Ever lighter: reads in greyscale and for colour-blind readers. One scale for all families, to compare them.
COLOURS = {"cmap": "viridis", "vmin": 0, "vmax": 1}
MISMATCHED = "mismatched"


@style.look
def draw(held: Held, family: Family) -> Figure:
    rows = len(held.concepts) + 2 * bool(held.mismatched)
    # Six variants and more need the width, or two-digit states would touch each other.
    width = max(style.WIDTH, 1.25 + 1.65 * len(held.variants))
    figure = style.canvas(height=3.7 + 0.2 * rows, width=width)
    axes = figure.subplots(1, len(held.variants), sharey=True, squeeze=False)[0]
    for ax, variant in zip(axes, held.variants, strict=True):
        mesh = _panel(ax, held, family, variant)
    below = "min" if (held.cells.level < COLOURS["vmin"]).any() else "neither"
    bar = figure.colorbar(mesh, ax=axes, location="bottom", fraction=0.03, aspect=60, pad=0.02, extend=below)
    bar.outline.set_visible(False)
    bar.ax.axvline(held.threshold, color="black", linewidth=1.5)
    bar.set_label(
        f"highest cosine held for {held.consecutive} states in a row (line: threshold {held.threshold:g})"
    )
    title = "The cosine with English that each concept holds"
    style.frame(figure, title, family, caption(held, family))
    return figure


def _panel(ax: Axes, held: Held, family: Family, variant: str) -> QuadMesh:
    """The cells of one variant; the concepts that commit carry the state at which they do."""
    names, level = list(held.concepts.values()), held.grid(variant, "level").astype(float)
    state = held.grid(variant, "state").astype(float)
    struck = pd.notna(held.grid(variant, "blocked"))
    if held.mismatched:
        below = [held.mismatched[variant][language] for language in held.languages]
        level = np.vstack([level, np.full(len(below), np.nan), below])
        state = np.vstack([state, np.full((2, len(below)), np.nan)])
        names += ["", MISMATCHED]
    texts = np.array([["" if np.isnan(cell) else f"{cell:.0f}" for cell in row] for row in state])
    mesh = grid.draw(ax, level, texts, struck, names, [label(x) for x in held.languages], **COLOURS)
    for language, tick in zip(held.languages, ax.get_xticklabels(), strict=True):
        tick.set_rotation(90)
        if language in family.variants[variant].emphasises:
            tick.set(fontweight="bold", color=style.looks(family)[variant].colour)
    committed, taken, cells = held.counts(variant)
    lost = f"\n({taken} blocked)" if held.audit.findings is not None else ""
    ax.set_title(f"{family.label(variant)}\ncommitted {committed}{lost} of {cells}", loc="left", fontsize=9.5)
    return mesh


def caption(held: Held, family: Family) -> list[str]:
    below = (
        f"Row '{MISMATCHED}': the same measure of mismatched pairs, their cosines averaged first."
        if held.mismatched
        else "Mismatched pairs: not measured."
    )
    note = held.audit.note(held.cells.blocked[held.cells.state.notna()], "commitments", "Struck through")
    return [
        "A number is the state at which a concept commits: the first from which its cosine with English "
        f"stays at {held.threshold:g} or above for {held.consecutive} states. No number: never. {below} "
        f"Bold: a language that the variant emphasises. {note}",
        f"Stimuli: probes, n = {len(held.concepts)} concepts. Position read: {held.position}. "
        f"Made by: {style.command(SCRIPT, family, held.variants)}",
    ]


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    held = held_levels.load(args, paths, family)
    png, _ = style.save(draw(held, family), paths.assets(family.name), NAME)
    told = []
    for variant in held.variants:
        committed, taken, cells = held.counts(variant)
        told.append(f"{family.label(variant)} {committed} ({taken} blocked)")
    print(f"{png}: committed of {cells}: {', '.join(told)}")


def parser() -> argparse.ArgumentParser:
    return cli.parser(__doc__)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
