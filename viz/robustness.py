"""Stage 8: does a finding survive another read position, another metric, another centring?

Reads   results/{family}/robustness.csv, alignment_summary.csv, artifact_audit.json
Writes  assets/{family}/robustness (.png, .svg)
Run     uv run viz/robustness.py --family nano-aya

One grid per finding. A cell's colour is the effect in units of half its 95 % interval: beyond 1 the interval
is clear of 0. The number is the effect in the metric's own unit; it stands only where the finding survives,
and is struck through where the auditor blocks it.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from probe import cli
from probe.conventions import POSITIONS, PRIMARY_METRIC, PRIMARY_POSITION, metric_label
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import label
from probe.paths import Paths
from probe.tables import ROBUSTNESS, SUMMARY
from viz import blocked, curves, grid, style
from viz.blocked import Audit

NAME = "robustness"
LIMIT = 6  # of the colours
NOT_SIGNIFICANT = "not_significant"  # the reason that needs no line through a number: there is none
COLOURS = {"cmap": "PuOr", "vmin": -LIMIT, "vmax": LIMIT}  # safe for colour-blind readers, its middle white


def strength(table: pd.DataFrame) -> pd.Series:
    """Effect over half its interval, signed; infinite where that has no width, 0 without an effect."""
    half = (table.ci_high - table.ci_low) / 2
    return (table.value / half).fillna(0.0)  # pandas: 0 / 0 is NaN, else infinite with the sign of the effect


@style.look
def draw(table: pd.DataFrame, family: Family, audit: Audit, command: str, languages: Sequence[str]) -> Figure:
    """table: as `load` returns it. command: the one that makes this figure. languages: those that the stimuli
    are told in."""
    metrics = list(dict.fromkeys(table.metric))
    positions = [position for position in POSITIONS if position in set(table.position)]
    grids = list(table.groupby(["variant", "contrast"], sort=False))
    figure = style.canvas(height=2.3 + 0.34 * len(positions) * len(grids) + 0.75 * len(grids))
    axes = figure.subplots(len(grids), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (_, rows) in zip(axes, grids, strict=True):
        mesh = _grid(ax, rows, positions, metrics)
        ax.set_title(_title(rows.iloc[0], family, languages), loc="left", fontsize=10)
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=False)
    bar = figure.colorbar(mesh, ax=list(axes), extend="both", aspect=40, pad=0.015, shrink=0.8)
    bar.set_ticks([-6, -4, -2, -1, 0, 1, 2, 4, 6])
    for edge in (-1, 1):
        bar.ax.axhline(edge, color="black", linewidth=1)
    bar.set_label("effect / half of its 95 % interval")
    bar.outline.set_visible(False)
    note = audit.note(table.blocked, "effects", "Struck through")
    style.frame(
        figure,
        "Does the finding survive another way of measuring it?",
        family,
        [
            f"A number is a significant effect ({int(table.significant.sum())} of {len(table)}), whose "
            "interval is clear of 0; a bold frame is the primary measure. Mean over the languages that the "
            "variant emphasises, at the state where the primary measure peaks. No colour: not measured, or "
            f"undefined there. {note}",
            f"Stimuli: {table.stimuli.iloc[0]}, n = {int(table.n.max())} meanings. Made by: {command}",
        ],
    )
    return figure


def _grid(ax: Axes, rows: pd.DataFrame, positions: list[str], metrics: list[str]) -> QuadMesh:
    """One finding: a row per position, a column per metric."""
    number = rows.value.map("{:+.2f}".format).str.replace("-", "−").where(rows.significant, "")
    cells = rows.assign(colour=strength(rows).clip(-LIMIT, LIMIT), number=number, struck=rows.blocked.notna())

    def wide(column: str, empty) -> np.ndarray:
        table = cells.pivot(index="position", columns="metric", values=column)
        table = table.reindex(index=positions, columns=metrics).astype(object)
        return table.where(table.notna(), empty).to_numpy()

    words = [textwrap.fill(metric_label(metric), 10) for metric in metrics]
    colour, struck = wide("colour", np.nan).astype(float), wide("struck", False).astype(bool)
    mesh = grid.draw(ax, colour, wide("number", ""), struck, positions, words, **COLOURS)
    ax.tick_params(axis="x", rotation=0)
    if PRIMARY_METRIC in metrics and PRIMARY_POSITION in positions:
        corner = metrics.index(PRIMARY_METRIC), positions.index(PRIMARY_POSITION)
        for width, edge in ((5, "black"), (1.8, "white")):  # stands out from any cell
            frame = {"fill": False, "clip_on": False, "zorder": 3, "linewidth": width}
            ax.add_patch(Rectangle(corner, 1, 1, label="primary", edgecolor=edge, **frame))
    return mesh


def _title(row: pd.Series, family: Family, told: Sequence[str]) -> str:
    own = family.variants[row.variant].emphasises
    languages = ", ".join(label(language) for language in own if language in told)
    difference = f"{family.label(row.variant)} minus {family.label(row.against)}"
    beyond = ", and minus what the other languages gain" if "placebo" in str(row.reference) else ""
    return f"{languages}, state {row.state}: {difference}{beyond}"


def load(
    args: argparse.Namespace, paths: Paths, family: Family, audit: Audit
) -> tuple[pd.DataFrame, str, list[str]]:
    """The rows of the variants and the stimuli asked for, with columns `significant` and `blocked` (why it
    may not be claimed although it is); the default stimuli; the languages that those asked for are told in.

    Raises ProbeError naming what there is, or the command that helps.
    """
    path, table = ROBUSTNESS.path(paths, family.name), ROBUSTNESS.read(paths, family.name)
    if table.empty:
        raise ProbeError(
            f"{path} has no finding: no variant that emphasises languages was measured with {family.baseline}"
        )
    levels = SUMMARY.read(paths, family.name)
    levels = levels.loc[levels.stimuli.isin(set(table.stimuli))]
    default = curves.default_stimuli(levels)
    stimuli = args.stimuli or default
    table = curves.only(table, "stimuli", [stimuli], path)
    there = list(dict.fromkeys(table.variant))
    wanted = family.chosen(args.variants)
    table = table.loc[table.variant.isin(wanted)]
    if table.empty:
        raise ProbeError(f"{path} has no variant '{', '.join(wanted)}', only {', '.join(there)}")
    by = audit.by(table)
    significant = ~by.astype(str).str.startswith(NOT_SIGNIFICANT)
    table = table.assign(significant=significant, blocked=by.where(significant, None))
    return table, default, curves.told(levels.loc[levels.stimuli == stimuli])


def work(args: argparse.Namespace) -> None:
    paths, family, chosen = cli.context(args)
    audit = blocked.load(paths, family)
    table, default, languages = load(args, paths, family, audit)
    stimuli = (str(table.stimuli.iloc[0]), default)
    command = style.command(NAME, family, chosen, stimuli=stimuli)
    figure = draw(table, family, audit, command, languages)
    png, _ = style.save(figure, paths.assets(family.name), NAME)
    stand = int((table.significant & table.blocked.isna()).sum())
    print(f"{png}: {stand} of {len(table)} effects are significant and may be claimed")


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--stimuli", help="kind of stimuli (default: a large set, in most languages)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
