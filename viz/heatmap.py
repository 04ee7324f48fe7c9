"""Stage 8: which concepts commit in which languages, and how much of that chance would give.

Reads   results/{family}/alignment_curves.json, commitment_matrix.csv, commitment_sensitivity.csv,
        alignment_summary.csv, artifact_audit.json
Writes  assets/{family}/concept_alignment_heatmap (.png, .svg)
Run     uv run viz/heatmap.py --family nano-aya

A cell is lit where the concept commits by the calibrated criterion, its number is the state; a dot says that
it commits by the original's, too. Below stands which share of the meanings of the other stimuli commits, and
of permuted pairs. Where that was not measured (published curves know no rivals) the original's criterion
leads: a cell's colour is then the highest cosine that is held, and the row below the concepts is the same
measure of mismatched pairs, for the raw cosine of unrelated sentences may be high.
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
from probe.alignment.commitment import CALIBRATED, COSINE, SHARE
from probe.conventions import ALPHA
from probe.families import Family
from probe.languages import label
from viz import grid, style
from viz import held as held_levels
from viz.held import Held

SCRIPT = "heatmap"
NAME = "concept_alignment_heatmap"
# Ever lighter: reads in greyscale and for colour-blind readers. One scale for all families, to compare them.
COLOURS = {"cmap": "viridis", "vmin": 0, "vmax": 1}
DOT = {"color": "white", "edgecolor": "black", "linewidth": 0.6, "zorder": 3}


@style.look
def draw(held: Held, family: Family) -> Figure:
    rows = len(held.concepts) + (1 + len(held.below) if held.below else 0)
    # Six variants and more need the width, or two-digit states would touch each other.
    width = max(style.WIDTH, 1.25 + 1.65 * len(held.variants))
    figure = style.canvas(height=3.9 + 0.2 * rows, width=width)
    axes = figure.subplots(1, len(held.variants), sharey=True, squeeze=False)[0]
    for ax, variant in zip(axes, held.variants, strict=True):
        mesh = _panel(ax, held, family, variant)
    below = "min" if (held.cells.level < COLOURS["vmin"]).any() else "neither"
    bar = figure.colorbar(mesh, ax=axes, location="bottom", fraction=0.03, aspect=60, pad=0.02, extend=below)
    bar.outline.set_visible(False)
    if held.criterion == CALIBRATED:
        bar.set_label("share that commits (a concept: all or nothing)")
        title = "Where each concept commits, against its rivals"
    else:
        bar.ax.axvline(held.threshold, color="black", linewidth=1.5)
        states = f"{held.consecutive} states in a row"
        bar.set_label(f"highest cosine held for {states} (line: threshold {held.threshold:g})")
        title = "The cosine with English that each concept holds"
    style.frame(figure, title, family, caption(held, family))
    return figure


def _panel(ax: Axes, held: Held, family: Family, variant: str) -> QuadMesh:
    """The cells of one variant; the concepts that commit carry the state at which they do."""
    names, level = list(held.concepts.values()), held.grid(variant, "level").astype(float)
    state = held.grid(variant, "state").astype(float)
    struck = pd.notna(held.grid(variant, "blocked"))
    if held.below:
        below = [[of[variant].get(code, np.nan) for code in held.languages] for of in held.below.values()]
        level = np.vstack([level, np.full(len(held.languages), np.nan), below])
        state = np.vstack([state, np.full((1 + len(below), len(held.languages)), np.nan)])
        names += ["", *held.below]
    texts = np.array([["" if np.isnan(cell) else f"{cell:.0f}" for cell in row] for row in state])
    mesh = grid.draw(ax, level, texts, struck, names, [label(x) for x in held.languages], **COLOURS)
    if held.criterion == CALIBRATED:
        row, column = np.nonzero(pd.notna(held.grid(variant, "by_cosine")))
        ax.scatter(column + 0.86, row + 0.16, s=7, label=COSINE, **DOT)
    for language, tick in zip(held.languages, ax.get_xticklabels(), strict=True):
        tick.set_rotation(90)
        if language in family.variants[variant].emphasises:
            tick.set(fontweight="bold", color=style.looks(family)[variant].colour)
    committed, taken, cells = held.counts(variant)
    lost = f"\n({taken} blocked)" if held.audit.findings is not None else ""
    other = f"\nby cosine {held.by_cosine(variant)}" if held.criterion == CALIBRATED else ""
    ax.set_title(
        f"{family.label(variant)}\ncommitted {committed}{lost} of {cells}{other}", loc="left", fontsize=9.5
    )
    return mesh


def caption(held: Held, family: Family) -> list[str]:
    told = _calibrated(held) if held.criterion == CALIBRATED else _by_cosine(held)
    note = held.audit.note(held.cells.blocked[held.cells.state.notna()], "commitments", "Struck through")
    return [
        f"{told} Bold: a language that the variant emphasises. {note}",
        f"Stimuli: probes, n = {len(held.concepts)} concepts. Position read: {held.position}. "
        f"Made by: {style.command(SCRIPT, family, held.variants)}",
    ]


def _calibrated(held: Held) -> str:
    return (
        "A number is the state at which a concept commits: the first from which its sentence pair beats "
        f"{SHARE:.0%} of its rivals, all other sentences of either language, for {held.consecutive} states; "
        f"more than {SHARE:.0%} where over {ALPHA:.0%} of permuted pairs would. No number: never; white: not "
        f"measured. Dot: its raw cosine with English stays at {held.threshold:g} or above, the original's "
        "criterion. Bottom rows: the share of the meanings of other stimuli that commit, and of the probes' "
        "permuted pairs, chance."
    )


def _by_cosine(held: Held) -> str:
    below = (
        "Row 'mismatched': the same measure of mismatched pairs, their cosines averaged first."
        if held.below
        else "Mismatched pairs: not measured."
    )
    return (
        "A number is the state at which a concept commits by the original's criterion: the first from which "
        f"its cosine with English stays at {held.threshold:g} or above for {held.consecutive} states. No "
        f"number: never. {below} Calibrated commitment: not measured."
    )


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    held = held_levels.load(args, paths, family)
    png, _ = style.save(draw(held, family), paths.assets(family.name), NAME)
    told = []
    for variant in held.variants:
        committed, taken, cells = held.counts(variant)
        told.append(f"{family.label(variant)} {committed} ({taken} blocked)")
    print(f"{png}: committed ({held.criterion}) of {cells}: {', '.join(told)}")


def parser() -> argparse.ArgumentParser:
    return cli.parser(__doc__)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
