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
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe import cli
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import PIVOT, TARGETS, label
from probe.lens.summary import ALPHA
from probe.paths import Paths
from probe.tables import LENS_SUMMARY
from viz import curves, style

NAME = "logit_lens"
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
    languages = {"source": source, "English": PIVOT, "target": target}
    return {role: lang for role, lang in languages.items() if role != "source" or lang != PIVOT}


def _panel(ax: Axes, table: pd.DataFrame, target: str) -> None:
    """table: the rows of one target. An open marker is a word that is not readable above chance."""
    curves.states_axis(ax, int(table.state.max()) + 1)
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, 1)
    ax.set_title(label(target), loc="left", fontsize=10)
    n = []
    # A band that reaches 0 has no lower edge on a log scale: it is drawn to below the axis.
    table = table.assign(**table[["ci_low", "null_low"]].clip(lower=FLOOR / 10))
    for role, language in roles(target, str(table.source.iloc[0])).items():
        rows = table.loc[table.language == language].reset_index(drop=True)
        if rows.empty:
            continue
        look, dashes = LOOKS[role]
        if role != "source":
            curves.draw_null(ax, [rows])
        curves.draw_curve(ax, rows, look, linestyle=dashes, label=role)
        n.append(int(rows.n.iloc[0]))
    ax.text(0.02, 0.97, f"n = {min(n)}" if n else "too few words apart", transform=ax.transAxes, va="top")


@style.look
def draw(table: pd.DataFrame, family: Family, variant: str, command: str) -> Figure:
    """table: as `load` returns it, of one variant. command: the one that makes this figure."""
    figure = style.canvas(height=8.4)
    axes = figure.subplots(3, 3, sharex=True, sharey=True)
    for ax, target in zip(axes.flat, TARGETS, strict=True):
        part = table.loc[table.target == target]
        if part.empty:
            ax.set_axis_off()
        else:
            _panel(ax, part, target)
    axes[1, 0].set_ylabel("probability of the word (log scale)")
    axes[2, 1].set_xlabel(curves.states_label(int(table.state.max()) + 1))
    into = table.drop_duplicates("target").groupby("source").target.agg(list)
    usual = max(into.index, key=lambda source: len(into[source]))
    others = "".join(
        f", into {', '.join(map(label, into[x]))} from {label(x)}" for x in into.index if x != usual
    )
    about = table.query("language == target or language == source or language == @PIVOT")
    most, fewest = int((table.n + table.dropped).max()), min(about["n"].tolist())
    lines = [
        curves.handle(role, look, dashes)
        for role, (look, dashes) in LOOKS.items()
        if role != "source" or set(into.index) != {PIVOT}
    ]
    style.frame(
        figure,
        f"Does the middle of the network speak English first? {family.label(variant)}",
        family,
        [
            f"Few-shot translation of one word from {label(usual)}{others}. Each state is read "
            "through the model's own final norm and unembedding; the probability is the mass of all tokens "
            f"that the word can begin with. Open markers: not above the null at p <= {ALPHA} over all states "
            "together. Concepts whose words share a first token in the languages compared are left out: "
            f"{fewest} to {most} of {most} are kept. Nothing is drawn below {FLOOR:g}.",
            f"Made by: {command}",
        ],
        [lines, curves.band_handles()],
    )
    return figure


def load(paths: Paths, family: Family, variant: str, source: str) -> pd.DataFrame:
    """The rows of the variant's translations from English, or from the other language. Raises ProbeError."""
    path, table = LENS_SUMMARY.path(paths, family.name), LENS_SUMMARY.read(paths, family.name)
    style.measured(family, [variant], list(dict.fromkeys(table.variant)), path)
    translations = (table.variant == variant) & (table.prompt == "translation")
    table = table.loc[translations & ((table.source == PIVOT) == (source == PIVOT))]
    if table.empty:
        raise ProbeError(f"{path} has no translation of {variant} whose words can be told apart")
    at_chance = ["at_chance" if p > ALPHA else None for p in table.p_max]
    return table.assign(blocked=pd.Series(at_chance, table.index, dtype=object)).sort_values(by="state")


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    for variant in args.variants or [family.baseline]:
        table = load(paths, family, variant, args.source)
        command, name = f"uv run viz/lens.py --family {family.name}", NAME
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
