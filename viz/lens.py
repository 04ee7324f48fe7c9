"""Stage 8: does the middle of the network speak English first?

Reads   results/{family}/logit_lens_summary.csv
Writes  assets/{family}/logit_lens (.png, .svg)
Run     uv run viz/lens.py --family nano-aya

Few-shot translation of one word; a panel per target language; how likely each state finds the word in the
target language, in English, and in the language translated from.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probe import cli, files
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import LANGUAGES, PIVOT, TARGETS, label
from probe.lens.summary import ALPHA
from viz import curves, style

NAME = "logit_lens"
NUMBERS = [*curves.NUMBERS, "p_max", "state", "n", "dropped"]
COLUMNS = {"variant", "prompt", "source", "target", "language", *NUMBERS}
SOURCES = ("other", PIVOT)
FLOOR = 1e-4  # of the axis: a guess among 10,000 tokens
# A variant's colours are not for languages; the roles differ in dashes and markers too.
LOOKS: dict[str, tuple[style.Look, Any]] = {
    "target": (style.Look("#000000", "o"), "-"),
    "English": (style.Look("#B36B00", "s"), "--"),
    "source": (style.Look("#7F7F7F", "v"), ":"),
}


def roles(target: str, source: str) -> dict[str, str]:
    """Role -> language; English has one role even where it is translated from."""
    found = {"source": source, "English": PIVOT, "target": target}
    return {role: language for role, language in found.items() if role != "source" or language != PIVOT}


def _panel(ax: Axes, table: pd.DataFrame, target: str) -> None:
    """table: the rows of one target. A filled marker is a word readable above chance."""
    curves.states_axis(ax, int(table.state.max()) + 1)
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, 1)
    ax.set_title(label(target), loc="left", fontsize=10)
    n = []
    for role, language in roles(target, str(table.source.iloc[0])).items():
        rows = table.query(f"language == '{language}'")
        if not rows.empty:
            _line(ax, rows, role)
            n.append(int(rows.n.iloc[0]))
    ax.text(0.02, 0.97, f"n = {min(n)}" if n else "too few words apart", transform=ax.transAxes, va="top")


def _line(ax: Axes, rows: pd.DataFrame, role: str) -> None:
    """One language's probability with its interval, and but for the source's its null band."""
    look, dashes = LOOKS[role]
    # A band that reaches 0 has no lower edge on a log scale: it is drawn to below the axis.
    drawn = {column: rows[column].clip(lower=FLOOR / 10) for column in ("ci_low", "null_low")}
    if role != "source":
        curves.draw_null(ax, [rows.assign(**drawn)])
    curves.draw_interval(ax, drawn["ci_low"], rows.ci_high, look)
    ax.plot(rows.state, rows.value, dashes, color=look.colour, linewidth=1.6, label=role)
    for above, face in ((True, look.colour), (False, "white")):
        chosen = rows[(rows.p_max <= ALPHA) == above]
        ax.plot(
            chosen.state, chosen.value, look.marker, color=look.colour, markerfacecolor=face,
            markersize=4.5, label=f"{role} {'above chance' if above else 'not above chance'}",
        )  # fmt: skip


@style.look
def draw(table: pd.DataFrame, family: Family, variant: str, command: str) -> Figure:
    """table: as `load` returns it, of one variant. command: the one that makes this figure."""
    figure = style.canvas(height=8.4)
    axes = figure.subplots(3, 3, sharex=True, sharey=True)
    for ax, target in zip(axes.flat, TARGETS, strict=True):
        part = table.query("target == @target")
        if part.empty:
            ax.set_axis_off()
        else:
            _panel(ax, part, target)
    axes[1, 0].set_ylabel("probability of the word (log scale)")
    axes[2, 1].set_xlabel(curves.states_label(int(table.state.max()) + 1))
    into: dict[str, list[str]] = {}
    for source, target in dict.fromkeys(zip(table.source, table.target, strict=True)):
        into.setdefault(source, []).append(label(target))
    usual = max(into, key=lambda source: len(into[source]))
    unusual = "".join(f", into {', '.join(into[x])} from {label(x)}" for x in into if x != usual)
    about = table.query("language == target or language == source or language == @PIVOT")
    most, fewest = int((table.n + table.dropped).max()), min(about["n"].tolist())
    lines = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=dashes, markersize=4.5, label=role)
        for role, (look, dashes) in LOOKS.items()
        if role != "source" or set(table.source) != {PIVOT}
    ]
    style.frame(
        figure,
        f"Does the middle of the network speak English first? {family.label(variant)}",
        style.subtitle(family),
        [
            f"Few-shot translation of one word from {label(usual)}{unusual}. Each state is read through the "
            "model's own final norm and unembedding; the probability is the mass of all tokens that the word "
            f"can begin with. A filled marker: above the null at p <= {ALPHA} over all states together. "
            "Concepts whose words share a first token in the languages compared are left out: "
            f"{fewest} to {most} of {most} are kept. Nothing is drawn below {FLOOR:g}.",
            f"{family.description}.",
            f"Made by: {command}",
        ],
        [lines, curves.band_handles()],
    )
    return figure


def load(path: Path, family: Family, variant: str, source: str) -> pd.DataFrame:
    """The rows of the variant's translations from English, or from the other language. Raises ProbeError."""
    made_by = f"uv run logit_lens.py --family {family.name}"
    table = files.read_csv(path, made_by, COLUMNS)
    numeric = all(pd.api.types.is_numeric_dtype(table[column]) for column in NUMBERS)
    known = set(table.language) <= set(LANGUAGES) and set(table.target) <= set(LANGUAGES)
    if not (numeric and known and np.isfinite(table[NUMBERS].to_numpy(float)).all()):
        raise ProbeError(f"{path} is damaged (rows missing or of another kind); run: {made_by}")
    style.measured(family, [variant], list(dict.fromkeys(table.variant)), path)
    role = "==" if source == PIVOT else "!="
    table = table.query(f"variant == @variant and prompt == 'translation' and source {role} @PIVOT")
    if table.empty:
        raise ProbeError(f"{path} has no translation of {variant} whose words can be told apart")
    return table.sort_values(by="state")


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    for variant in args.variants or [family.baseline]:
        path = paths.results(family.name) / f"{NAME}_summary.csv"
        table = load(path, family, variant, args.source)
        command = f"uv run viz/lens.py --family {family.name}"
        name = NAME
        if variant != family.baseline:
            command, name = f"{command} --variants {variant}", f"{name}_{variant}"
        if args.source == PIVOT:
            command, name = f"{command} --source {PIVOT}", f"{name}_from_{PIVOT}"
        png, _ = style.save(draw(table, family, variant, command), paths.assets(family.name), name)
        print(f"{png}: {summary(table)}")


def summary(table: pd.DataFrame) -> str:
    """The one figure that matters: the most that English ever is beside its null, and where."""
    english = table[table.language == PIVOT].reset_index(drop=True)
    best = english.loc[(english.value - english.null).idxmax()]
    return (
        f"English stands out most at state {best.state} of the translation into {label(best.target)}: "
        f"{best.value:.3f} [{best.ci_low:.3f}, {best.ci_high:.3f}], null {best.null:.3f}"
    )


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--source", choices=SOURCES, default=SOURCES[0], help="translated from (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
