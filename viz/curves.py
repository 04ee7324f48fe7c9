"""Curves over the states: reading them from results/{family}/alignment_summary.csv, and drawing them."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from probe.conventions import LARGE_SETS, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import TARGETS
from probe.paths import Paths
from probe.tables import SUMMARY
from viz import blocked, style

NUMBERS = ["value", "ci_low", "ci_high", "null", "null_low", "null_high"]
FADED = 0.5  # alpha of the line through states that may not be claimed


@dataclass(frozen=True)
class Curves:
    """What the summary says of one kind of stimuli, read at one position.

    rows: (variant, language, metric) -> table with NUMBERS, one row per state, state 0 first; `blocked` is
    the id of the finding that takes the level at the state away, or None. languages: those that the stimuli
    are told in.
    """

    stimuli: str
    position: str
    n: str  # number of meanings; "18 to 20" where it differs
    variants: list[str]
    languages: list[str]
    n_states: int
    default_stimuli: str
    rows: dict[tuple[str, str, str], pd.DataFrame]
    audit: blocked.Audit

    def of(self, variant: str, language: str, metric: str) -> pd.DataFrame:
        return self.rows[variant, language, metric]

    def source(self, family: Family, script: str, **options: tuple[str, str]) -> str:
        """The paragraph that every curve figure ends with: which data, which command."""
        options = {
            "stimuli": (self.stimuli, self.default_stimuli),
            "position": (self.position, PRIMARY_POSITION),
        } | options
        return (
            f"Stimuli: {self.stimuli}, n = {self.n} meanings. Position read: {self.position}. "
            f"Made by: {style.command(script, family, self.variants, **options)}"
        )


def blocked_note(drawn: Curves, tables: Iterable[pd.DataFrame]) -> tuple[str, list[Artist]]:
    """The caption's sentence about the points of the tables, and the legend's entry where any is blocked."""
    by = [name for table in tables for name in table.blocked]
    look = {"alpha": FADED, "marker": "o", "markersize": 5, "markerfacecolor": "white", "linewidth": 1.2}
    handles = [line_handle(blocked.LEGEND, **look)] if any(by) else []
    return drawn.audit.note(by, "points drawn", "Open markers"), handles


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--stimuli", help="kind of stimuli (default: a large set, in most languages)")
    parser.add_argument("--position", default=PRIMARY_POSITION, help="token position read (%(default)s)")
    return parser


def load(args: argparse.Namespace, paths: Paths, family: Family, metrics: Sequence[str]) -> Curves:
    """The curves that the options ask for, in every language that the stimuli are told in.

    Raises ProbeError naming what there is where one is not there.
    """
    path, made_by = SUMMARY.path(paths, family.name), SUMMARY.command(family.name)
    table = SUMMARY.read(paths, family.name)
    if table.empty:
        raise ProbeError(f"{path} holds no row; run: {made_by}")
    default = default_stimuli(table)
    stimuli = args.stimuli or default
    for column, wanted in (
        ("stimuli", [stimuli]),
        ("position", [args.position]),
        ("metric", metrics),
    ):
        table = only(table, column, wanted, path)
    languages = told(table)
    variants = style.measured(family, args.variants, list(dict.fromkeys(table.variant)), path)
    table = table.loc[table.variant.isin(variants)].sort_values(by="state")
    n_states = int(table.state.max()) + 1
    audit = blocked.load(paths, family)
    table = table.assign(blocked=audit.by(table))
    rows: dict[tuple[str, str, str], pd.DataFrame] = {}
    for (variant, language, metric), part in table.groupby(["variant", "language", "metric"]):
        rows[str(variant), str(language), str(metric)] = part.reset_index(drop=True)
    for key in product(variants, languages, metrics):
        if key not in rows or rows[key].state.tolist() != list(range(n_states)):
            raise ProbeError(f"{path} lacks states of {', '.join(key)}; run: {made_by}")
    low, high = int(table.n.min()), int(table.n.max())
    n = f"{low}" if low == high else f"{low} to {high}"
    return Curves(stimuli, args.position, n, variants, languages, n_states, default, rows, audit)


def told(table: pd.DataFrame) -> list[str]:
    """The target languages of its rows: TICO-19, for one, is not told in Yoruba."""
    return [language for language in TARGETS if language in set(table.language)]


def limits(tables: Iterable[pd.DataFrame], above: float = 0.04) -> tuple[float, float]:
    """What an axis must span to hold the curves, intervals and null bands of the tables, and some air.

    above: room at the top, as a fraction of what they span.
    """
    numbers = np.concatenate([table[NUMBERS].to_numpy() for table in tables])
    low, high = numbers.min(), numbers.max()
    span = (high - low) or 1.0
    return low - 0.04 * span, high + above * span


def default_stimuli(table: pd.DataFrame) -> str:
    """The large set that was measured in most languages, of equals the larger one, then the first of
    LARGE_SETS; without any what there is (the probes)."""
    sizes = {
        str(kind): (len(told(rows)), rows.n.max()) for kind, rows in table.groupby("stimuli", sort=False)
    }
    return max([kind for kind in LARGE_SETS if kind in sizes] or sizes, key=lambda kind: sizes[kind])


def only(table: pd.DataFrame, column: str, wanted: Sequence[str], path: Path) -> pd.DataFrame:
    """The rows whose column has one of the values wanted. Raises ProbeError, naming what there is."""
    there = list(dict.fromkeys(table[column]))
    if absent := [name for name in wanted if name not in there]:
        raise ProbeError(f"{path} has no {column} '{absent[0]}', only {', '.join(map(str, there))}")
    return table.loc[table[column].isin(wanted)]


def draw_null(ax: Axes, tables: Sequence[pd.DataFrame]) -> None:
    """The null band of every table; where all lie about zero, they merge into the widest."""
    for table in tables:
        ax.fill_between(table.index, table.null_low, table.null_high, zorder=0, label="null", **style.NULL)


def draw_curve(
    ax: Axes, table: pd.DataFrame, look: style.Look, strong: bool = False, thin: bool = False, **kwargs
) -> None:
    """A curve over its interval, its markers thinned where there are many states; a thin one has neither.

    Blocked states are open markers on a paler line; beside them every point is marked, lest a single one
    between two gaps be lost.
    """
    values, hidden = table["value"], table.blocked.notna()
    size, width = (2.5, 0.9) if thin else (6, 2.4) if strong else (4.5, 1.5)
    colour: dict[str, Any] = {"color": look.colour}
    if not thin:
        ends = table.ci_low, table.ci_high
        ax.fill_between(table.index, *ends, alpha=0.2, linewidth=0, label="interval", **colour)
    line: dict[str, Any] = {"marker": look.marker, "markersize": size, "linewidth": width} | colour | kwargs
    if hidden.any():
        paler = {"marker": "", "alpha": FADED, "linewidth": min(width, 1.2), "label": "paler"}
        ax.plot(values, **(line | paler))
        hollow: dict[str, Any] = {"linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.9}
        marked: dict[str, Any] = {"label": f"blocked {line['label']}"}
        ax.plot(values[hidden], **(line | hollow | marked))
    step = 1 if hidden.any() else max(1, len(values) // 10)
    ax.plot(values.mask(hidden), markevery=[] if thin and not hidden.any() else step, **line)


def states_axis(ax: Axes, n_states: int) -> None:
    pad = 0.02 * (n_states - 1)
    ax.set_xlim(-pad, n_states - 1 + pad)
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=[1, 2, 4, 10]))


def states_label(n_states: int) -> str:
    return f"residual state (0 = embedding, {n_states - 1} = before the final norm)"


def handle(text: str, look: style.Look, dashes: Any = "-") -> Artist:
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linestyle=dashes, label=text)


def variant_handles(family: Family, variants: Sequence[str]) -> list[Artist]:
    return [handle(family.label(variant), style.looks(family)[variant]) for variant in variants]


def line_handle(text: str, **kwargs) -> Artist:
    return Line2D([], [], color=style.GREY, label=text, **kwargs)


def band_handles(interval: str = "95 % interval") -> list[Artist]:
    return [
        Patch(color=style.GREY, alpha=0.35, linewidth=0, label=interval),
        Patch(label="null band: 95 % of permuted pairings", **style.NULL),
    ]
