"""Stage 8: which concepts commit in which languages, and how far from it the others are.

Reads   results/{family}/alignment_curves.json, commitment_matrix.csv, alignment_summary.csv,
        artifact_audit.json
Writes  assets/{family}/concept_alignment_heatmap (.png, .svg)
Run     uv run viz/heatmap.py --family nano-aya

A cell's colour is `probe.commitment.held_level`: the highest threshold that the concept's cosine holds for
the states in a row that commitment asks for. So the figure informs where nothing commits, too. The raw cosine
of unrelated sentences may be high: the row below the concepts is the same measure of mismatched pairs.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from probe import cli
from probe.families import Family
from probe.languages import label
from viz import held as held_levels
from viz import style
from viz.held import Held

SCRIPT = "heatmap"
NAME = "concept_alignment_heatmap"
COLOURS = "viridis"  # ever lighter: reads in greyscale and for colour-blind readers
NORM = Normalize(0, 1)  # the same in every family, so that two figures compare
MISMATCHED = "mismatched"


@style.look
def draw(held: Held, family: Family) -> Figure:
    variants = held.variants
    rows = len(held.concepts) + 2 * bool(held.mismatched)
    # Six variants and more need the width, or two-digit states would touch each other.
    figure = style.canvas(height=3.7 + 0.2 * rows, width=max(style.WIDTH, 1.25 + 1.65 * len(variants)))
    axes = figure.subplots(1, len(variants), sharey=True, squeeze=False)[0]
    for ax, variant in zip(axes, variants, strict=True):
        mesh = _panel(ax, held, family, variant)
    below = any((held.level[v] < NORM.vmin).any() for v in variants)
    bar = figure.colorbar(
        mesh,
        ax=axes,
        location="bottom",
        fraction=0.03,
        aspect=60,
        pad=0.02,
        extend="min" if below else "neither",
    )
    bar.outline.set_visible(False)
    bar.ax.axvline(held.threshold, color="black", linewidth=1.5)
    bar.set_label(
        f"highest cosine held for {held.consecutive} states in a row (line: threshold {held.threshold:g})"
    )
    style.frame(
        figure,
        "The cosine with English that each concept holds",
        style.subtitle(family),
        caption(held, family),
    )
    return figure


def _panel(ax: Axes, held: Held, family: Family, variant: str) -> QuadMesh:
    """The cells of one variant; the concepts that commit carry the state at which they do."""
    level, committed = held.level[variant], held.committed[variant]
    names = list(held.concepts)
    if held.mismatched:
        level = np.vstack([level, np.full(len(held.languages), np.nan), held.mismatched[variant]])
        names += ["", MISMATCHED]
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(level), cmap=COLOURS, norm=NORM, edgecolors="white", linewidth=0.6
    )
    for row, column in np.argwhere(~np.isnan(committed)):
        light = NORM(level[row, column]) > 0.55
        ax.text(
            column + 0.5,
            row + 0.5,
            f"{committed[row, column]:.0f}",
            ha="center",
            va="center_baseline",
            fontsize=style.SMALL,
            color="black" if light else "white",
        )
        if held.blocked[variant][row, column]:
            across = (column + np.array([0.1, 0.9]), row + np.array([0.9, 0.1]))
            ax.plot(*across, color="black" if light else "white", linewidth=1.1, label="struck")
    ax.set_ylim(len(names), 0)
    ax.set_yticks(np.arange(len(names)) + 0.5, names)
    ax.set_xticks(np.arange(len(held.languages)) + 0.5, map(label, held.languages), rotation=90)
    for language, tick in zip(held.languages, ax.get_xticklabels(), strict=True):
        if language in family.variants[variant].emphasises:
            tick.set(fontweight="bold", color=style.looks(family)[variant].colour)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    lost = f"\n({held.count_blocked(variant)} blocked)" if held.audit.findings is not None else ""
    title = f"{family.label(variant)}\ncommitted {held.count(variant)}{lost} of {held.cells}"
    ax.set_title(title, loc="left", fontsize=9.5)
    return mesh


def caption(held: Held, family: Family) -> list[str]:
    made_by = style.command(SCRIPT, family, held.variants)
    below = (
        f"Row '{MISMATCHED}': the same measure of mismatched pairs, their cosines averaged first."
        if held.mismatched
        else "Mismatched pairs: not measured."
    )
    numbers = [held.blocked[v][~np.isnan(held.committed[v])] for v in held.variants]
    note = held.audit.note(np.concatenate(numbers), "commitments", "Struck through")
    return [
        "A number is the state at which a concept commits: the first from which its cosine with English "
        f"stays at {held.threshold:g} or above for {held.consecutive} states. No number: never. {below} "
        "Bold: a language that the variant emphasises. "
        f"{note}",
        f"{family.description}.",
        f"Stimuli: probes, n = {len(held.concepts)} concepts. Position read: {held.position}. "
        f"Made by: {made_by}",
    ]


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    held = held_levels.load(args, paths, family)
    png, _ = style.save(draw(held, family), paths.assets(family.name), NAME)
    counts = ", ".join(
        f"{family.label(v)} {held.count(v)} ({held.count_blocked(v)} blocked)" for v in held.variants
    )
    print(f"{png}: committed of {held.cells}: {counts}")


def parser() -> argparse.ArgumentParser:
    return cli.parser(__doc__)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
