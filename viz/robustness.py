"""Stage 8: does a finding survive another read position, another metric, another centring?

Reads   results/{family}/robustness.csv, artifact_audit.json
Writes  assets/{family}/robustness (.png, .svg)
Run     uv run viz/robustness.py --family nano-aya

One grid per finding. A cell's colour is the effect in units of half its 95 % interval: beyond 1 the interval
is clear of 0. The number is the effect in the metric's own unit; it stands only where the finding survives,
and is struck through where the auditor blocks it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from probe import cli, files
from probe.conventions import POSITIONS, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import label
from viz import blocked, style
from viz.blocked import Audit
from viz.phases import METRIC

NAME = "robustness"
NUMBERS = ["state", "value", "ci_low", "ci_high", "n"]
COLUMNS = {
    "variant",
    "against",
    "contrast",
    "reference",
    "stimuli",
    "position",
    "metric",
    "survives",
    *NUMBERS,
}
NORM = Normalize(-6, 6)
PRIMARY = (PRIMARY_POSITION, METRIC)  # its peak is the state of all the others
COLOURS = "PuOr"  # diverging, safe for colour-blind readers, its middle white
CONTRASTS = ("simple", "did")
LABELS = {
    "cosine": "raw\ncosine", "centred_cosine": "centred\ncosine", "centred_excess": "centred\nexcess",
    "p1_to_target": "P@1 from\nEnglish", "p1_to_pivot": "P@1 to\nEnglish",
    "p1": "P@1", "mrr_to_target": "MRR from\nEnglish", "mrr_to_pivot": "MRR to\nEnglish", "mrr": "MRR",
    "mexa": "MEXA", "margin": "margin", "xsim": "xsim", "cka": "CKA", "mutual_knn": "mutual\nkNN",
}  # fmt: skip


def strength(table: pd.DataFrame) -> pd.Series:
    """Effect over half its interval, signed; infinite where that has no width, 0 without an effect."""
    half = (table.ci_high - table.ci_low) / 2
    return (table.value / half).fillna(0.0)  # pandas: 0 / 0 is NaN, else infinite with the sign of the effect


@style.look
def draw(table: pd.DataFrame, family: Family, audit: Audit, command: str) -> Figure:
    """table: as `load` returns it. command: the one that makes this figure."""
    metrics = list(dict.fromkeys(table.metric))
    positions = [position for position in POSITIONS if position in set(table.position)]
    grids = list(table.groupby(["variant", "contrast"], sort=False))
    figure = style.canvas(height=2.3 + 0.34 * len(positions) * len(grids) + 0.75 * len(grids))
    axes = figure.subplots(len(grids), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (_, rows) in zip(axes, grids, strict=True):
        mesh = _grid(ax, rows, positions, metrics, family)
    axes[-1].set_xticks(np.arange(len(metrics)) + 0.5, [LABELS.get(m, m.replace("_", "\n")) for m in metrics])
    bar = figure.colorbar(mesh, ax=list(axes), extend="both", aspect=40, pad=0.015, shrink=0.8)
    bar.set_ticks([-6, -4, -2, -1, 0, 1, 2, 4, 6])
    bar.ax.axhline(-1, color="black", linewidth=1)
    bar.ax.axhline(1, color="black", linewidth=1)
    bar.set_label("effect / half of its 95 % interval")
    bar.outline.set_visible(False)
    survive, n = int(table.survives.sum()), int(table.n.max())
    note = audit.note(table.blocked, "effects", "Struck through")
    style.frame(
        figure,
        "Does the finding survive another way of measuring it?",
        style.subtitle(family),
        [
            f"A number is an effect whose interval is clear of 0 with a sign-flip p below 0.05 ({survive} of "
            f"{len(table)}); a bold frame is the primary measure. Mean over the languages that the variant "
            "emphasises, at the state where the primary measure peaks. No colour: not measured, or undefined "
            f"there. {note}",
            f"{family.description}.",
            f"Stimuli: {table.stimuli.iloc[0]}, n = {n} meanings. Made by: {command}",
        ],
    )
    return figure


def _grid(ax: Axes, rows: pd.DataFrame, positions: list[str], metrics: list[str], family: Family) -> QuadMesh:
    """One finding: a row per position, a column per metric."""
    colour = np.full((len(positions), len(metrics)), np.nan)
    for (_, row), value in zip(rows.iterrows(), strength(rows), strict=True):
        y, x = positions.index(str(row.position)), metrics.index(str(row.metric))
        colour[y, x] = np.clip(value, NORM.vmin, NORM.vmax)
        ink = _ink(colour[y, x])
        if row.survives:
            ax.text(
                x + 0.5, y + 0.5, f"{row.value:+.2f}".replace("-", "−"), ha="center", va="center_baseline",
                fontsize=style.SMALL, color=ink,
            )  # fmt: skip
        if row.blocked:
            ax.plot([x + 0.1, x + 0.9], [y + 0.85, y + 0.15], color=ink, linewidth=1.1, label="struck")
        if (row.position, row.metric) == PRIMARY:
            for width, edge in ((5, "black"), (1.8, "white")):  # stands out from any cell
                frame = {"fill": False, "clip_on": False, "zorder": 3, "linewidth": width}
                ax.add_patch(Rectangle((x, y), 1, 1, label="primary", edgecolor=edge, **frame))
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(colour), cmap=COLOURS, norm=NORM, edgecolors="white", linewidth=0.6
    )
    ax.set_ylim(len(positions), 0)
    ax.set_yticks(np.arange(len(positions)) + 0.5, positions)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(_title(rows.iloc[0], family), loc="left", fontsize=10)
    return mesh


def _ink(value: float) -> str:
    """Black or white, whichever stands out more from the cell's colour."""
    red, green, blue, _ = mpl.colormaps[COLOURS](NORM(value))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"


def _title(row: pd.Series, family: Family) -> str:
    languages = ", ".join(label(language) for language in family.variants[row.variant].emphasises)
    difference = f"{family.label(row.variant)} minus {family.label(row.against)}"
    beyond = ", and minus what the other languages gain" if "placebo" in str(row.reference) else ""
    return f"{languages}, state {row.state}: {difference}{beyond}"


def load(args: argparse.Namespace, path: Path, family: Family, audit: Audit) -> tuple[pd.DataFrame, str]:
    """The rows of the variants and the stimuli asked for, with a column `blocked`, and the default stimuli.

    Raises ProbeError naming what there is, or the command that helps.
    """
    made_by = f"uv run concept_alignment.py --family {family.name}"
    table = files.read_csv(path, made_by, COLUMNS)
    if table.empty:
        raise ProbeError(
            f"{path} has no finding: no variant that emphasises languages was measured with {family.baseline}"
        )
    numeric = all(pd.api.types.is_numeric_dtype(table[column]) for column in NUMBERS)
    if (
        not numeric
        or not np.isfinite(table[NUMBERS].to_numpy()).all()
        or table.survives.dtype != bool
        or table[sorted(COLUMNS - {"reference"})].isna().to_numpy().any()
        or not set(table.contrast) <= set(CONTRASTS)
        or not set(table.variant) <= set(family.variants)
    ):
        raise ProbeError(f"{path} is damaged (rows missing or of another kind); run: {made_by}")
    default = str(table.stimuli[table.n.idxmax()])
    for column, wanted in (("stimuli", [args.stimuli or default]), ("variant", family.chosen(args.variants))):
        there = ", ".join(dict.fromkeys(table[column]))
        table = table.loc[table[column].isin(wanted)]
        if table.empty:
            raise ProbeError(f"{path} has no {column} '{', '.join(wanted)}', only {there}")
    return table.assign(blocked=_blocked(table, family, audit)), default


def _blocked(table: pd.DataFrame, family: Family, audit: Audit) -> pd.Series:
    """Each row is a mean of effects, and blocked where that of any language in it is."""
    effects = table.rename(columns={"variant": "variant_a", "against": "variant_b", "value": "diff"})
    effects["language"] = [list(family.variants[variant].emphasises) for variant in table.variant]
    effects = effects.explode("language")
    by = audit.by(effects.reset_index(drop=True)).set_axis(effects.index)
    return by.groupby(level=0).first().reindex(table.index).astype(object).replace({np.nan: None})


def work(args: argparse.Namespace) -> None:
    paths, family, chosen = cli.context(args)
    audit = blocked.load(paths, family)
    table, default = load(args, paths.results(family.name) / "robustness.csv", family, audit)
    stimuli = (str(table.stimuli.iloc[0]), default)
    figure = draw(table, family, audit, style.command(NAME, family, chosen, stimuli=stimuli))
    png, _ = style.save(figure, paths.assets(family.name), NAME)
    stand = int((table.survives & table.blocked.isna()).sum())
    print(f"{png}: {stand} of {len(table)} effects survive, and the auditor does not block them")


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--stimuli", help="kind of stimuli (default: the largest set measured)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
