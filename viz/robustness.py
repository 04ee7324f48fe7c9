"""Stage 8: does a finding survive another read position, another metric, another centring?

Reads   results/{family}/robustness.csv
Writes  assets/{family}/robustness (.png, .svg)
Run     uv run viz/robustness.py --family nano-aya

One grid per finding. A cell's colour is the effect in units of half its 95 % interval: beyond 1 the interval
is clear of 0. The number is the effect in the metric's own unit; it stands only where the finding survives.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from probe import results, stage
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import label
from probe.store import POSITIONS
from viz import style

NAME = "robustness"
COLUMNS = {
    "variant", "contrast", "stimuli", "position", "metric", "state", "value", "ci_low", "ci_high", "n", "survives",
}  # fmt: skip
NORM = TwoSlopeNorm(0, -6, 6)
COLOURS = "PuOr"  # diverging, safe for colour-blind readers, its middle white
CONTRASTS = {"simple": "minus {baseline}", "did": "difference in differences"}


def strength(table: pd.DataFrame) -> pd.Series:
    """Effect over half its interval, signed; 0 where the interval has no width (a degenerate metric)."""
    half = (table.ci_high - table.ci_low) / 2
    return (table.value / half.where(half > 0)).fillna(0.0)


@style.look
def draw(table: pd.DataFrame, family: Family) -> Figure:
    """table: the rows of one kind of stimuli."""
    metrics = list(dict.fromkeys(table.metric))
    positions = [position for position in POSITIONS if position in set(table.position)]
    grids = list(table.groupby(["variant", "contrast"], sort=False))
    figure = style.canvas(height=2.3 + 0.34 * len(positions) * len(grids) + 0.75 * len(grids))
    axes = figure.subplots(len(grids), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (_, rows) in zip(axes, grids, strict=True):
        mesh = _grid(ax, rows, positions, metrics, family)
    axes[-1].set_xticks(
        np.arange(len(metrics)) + 0.5, [m.replace("_", " ") for m in metrics], rotation=35, ha="right"
    )
    bar = figure.colorbar(mesh, ax=list(axes), extend="both", aspect=30, pad=0.015)
    bar.set_label("effect / half of its 95 % interval")
    bar.outline.set_visible(False)
    survive, n = int(table.survives.sum()), int(table.n.max())
    style.frame(
        figure,
        "Does the finding survive another way of measuring it?",
        style.subtitle(family),
        [
            f"A number is an effect whose interval is clear of 0 with a sign-flip p below 0.05 ({survive} of "
            f"{len(table)}); a bold frame is the primary measure. Mean over the languages that the variant "
            "emphasises, at the state where the primary measure peaks.",
            f"{family.description}.",
            f"Stimuli: {table.stimuli.iloc[0]}, n = {n} meanings. "
            f"Made by: uv run viz/robustness.py --family {family.name}",
        ],
    )
    return figure


def _grid(ax: Axes, rows: pd.DataFrame, positions: list[str], metrics: list[str], family: Family) -> QuadMesh:
    shape = (len(positions), len(metrics))
    colour = np.full(shape, np.nan)
    for row, value in zip(rows.itertuples(), strength(rows), strict=True):
        y, x = positions.index(str(row.position)), metrics.index(str(row.metric))
        colour[y, x] = np.clip(value, NORM.vmin, NORM.vmax)
        if row.survives:
            dark = abs(colour[y, x]) > 4
            ax.text(
                x + 0.5, y + 0.5, f"{row.value:+.2f}", ha="center", va="center_baseline",
                fontsize=style.SMALL, color="white" if dark else "black",
            )  # fmt: skip
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(colour), cmap=COLOURS, norm=NORM, edgecolors="white", linewidth=0.6
    )
    ax.set_ylim(len(positions), 0)
    ax.set_yticks(np.arange(len(positions)) + 0.5, positions)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    first = rows.iloc[0]
    languages = ", ".join(label(language) for language in family.variants[first.variant].emphasises)
    contrast = CONTRASTS[first.contrast].format(baseline=family.label(family.baseline))
    ax.set_title(
        f"{family.label(first.variant)}, {contrast}: {languages}, state {first.state}",
        loc="left",
        fontsize=10,
    )
    return mesh


def load(args: argparse.Namespace, path, family: Family) -> pd.DataFrame:
    """The rows of the stimuli asked for. Raises ProbeError naming what there is, or the command that helps."""
    made_by = f"uv run concept_alignment.py --family {family.name}"
    table = results.read_csv(path, made_by, COLUMNS)
    if table.empty:
        raise ProbeError(
            f"{path} has no finding: no variant that emphasises languages was measured with {family.baseline}"
        )
    there = list(dict.fromkeys(table.stimuli))
    wanted = args.stimuli or there[-1]
    if wanted not in there:
        raise ProbeError(f"{path} has no stimuli '{wanted}', only {', '.join(there)}")
    return table[table.stimuli == wanted]


def work(args: argparse.Namespace) -> None:
    paths, family, _ = stage.context(args)
    table = load(args, paths.results(family.name) / "robustness.csv", family)
    png, _ = style.save(draw(table, family), paths.assets(family.name), NAME)
    print(
        f"{png}: {int(table.survives.sum())} of {len(table)} ways of measuring agree that there is an effect"
    )


def parser() -> argparse.ArgumentParser:
    parser = stage.parser(__doc__)
    parser.add_argument("--stimuli", help="kind of stimuli (default: the largest set measured)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return stage.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
