"""Curves over the states: reading them from results/{family}/alignment_summary.csv, and drawing them."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from probe import files
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from viz import blocked, style

NUMBERS = ["value", "ci_low", "ci_high", "null", "null_low", "null_high"]
COLUMNS = {"variant", "language", "stimuli", "position", "metric", "state", "n", *NUMBERS}
METRICS = {"excess": "excess cosine", "cosine": "raw cosine"}
FADED = 0.5  # alpha of the line through states that the auditor blocks
LARGE_SETS = ("parallel", "flores")  # preferred to the few probes


@dataclass(frozen=True)
class Curves:
    """What the summary says of one kind of stimuli, read at one position.

    rows: (variant, language, metric) -> table with NUMBERS, one row per state, state 0 first; `blocked` and
    `blocked_peak` are the id of the finding that takes the level, or a peak, at the state away, or None.
    """

    stimuli: str
    position: str
    n: str  # number of meanings; "18 to 20" where it differs
    variants: list[str]
    n_states: int
    default_stimuli: str
    rows: dict[tuple[str, str, str], pd.DataFrame]
    audit: blocked.Audit

    def of(self, variant: str, language: str, metric: str) -> pd.DataFrame:
        return self.rows[variant, language, metric]

    def caption(self, family: Family, script: str, **options: tuple[str, str]) -> list[str]:
        """The paragraphs that every curve figure ends with: which model, which data, which command."""
        options = {
            "stimuli": (self.stimuli, self.default_stimuli),
            "position": (self.position, PRIMARY_POSITION),
        } | options
        return [
            f"{family.description}.",
            f"Stimuli: {self.stimuli}, n = {self.n} meanings. Position read: {self.position}. "
            f"Made by: {style.command(script, family, self.variants, **options)}",
        ]


def blocked_note(drawn: Curves, tables: Iterable[pd.DataFrame]) -> tuple[str, list[Artist]]:
    """The caption's sentence about the points of the tables, and the legend's entry where any is blocked."""
    by = [name for table in tables for name in table.blocked]
    look = {"alpha": FADED, "marker": "o", "markersize": 5, "markerfacecolor": "white", "linewidth": 1.2}
    handles = [line_handle(blocked.LEGEND, **look)] if any(by) else []
    return drawn.audit.note(by, "points drawn", "Open markers"), handles


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--stimuli", help="kind of stimuli (default: parallel or flores, else probes)")
    parser.add_argument("--position", default=PRIMARY_POSITION, help="token position read (%(default)s)")
    return parser


def load(
    args: argparse.Namespace, paths: Paths, family: Family, metrics: Sequence[str], languages: Sequence[str]
) -> Curves:
    """The curves that the options ask for. Raises ProbeError naming what there is where one is not there."""
    path = paths.results(family.name) / "alignment_summary.csv"
    made_by = f"uv run concept_alignment.py --family {family.name}"
    table = files.read_csv(path, made_by, COLUMNS)
    numeric = all(pd.api.types.is_numeric_dtype(table[column]) for column in (*NUMBERS, "state", "n"))
    whole = numeric and np.isfinite(table[NUMBERS].to_numpy()).all()
    if table.empty or not whole or table[sorted(COLUMNS)].isna().to_numpy().any():
        raise ProbeError(f"{path} is damaged (rows missing or values that are no numbers); run: {made_by}")

    default = _default_stimuli(table)
    stimuli = args.stimuli or default
    for column, wanted in (
        ("stimuli", [stimuli]),
        ("position", [args.position]),
        ("metric", list(dict.fromkeys(metrics))),
        ("language", languages),
    ):
        table = _only(table, column, wanted, f"{path} has no")
    variants = style.measured(family, args.variants, list(dict.fromkeys(table.variant)), path)
    table = table.loc[table.variant.isin(variants)].sort_values(by="state")
    n_states = int(table.state.max()) + 1
    audit = blocked.load(paths, family)
    peaks = table.rename(columns={"state": "peak_state"})
    table = table.assign(blocked=audit.by(table), blocked_peak=audit.by(peaks))
    rows: dict[tuple[str, str, str], pd.DataFrame] = {}
    for (variant, language, metric), part in table.groupby(["variant", "language", "metric"]):
        rows[str(variant), str(language), str(metric)] = part.reset_index(drop=True)
    for key in product(variants, languages, metrics):
        if key not in rows or rows[key].state.tolist() != list(range(n_states)):
            raise ProbeError(f"{path} lacks states of {', '.join(key)}; run: {made_by}")
    low, high = int(table.n.min()), int(table.n.max())
    n = f"{low}" if low == high else f"{low} to {high}"
    return Curves(stimuli, args.position, n, variants, n_states, default, rows, audit)


def limits(tables: Iterable[pd.DataFrame], above: float = 0.04) -> tuple[float, float]:
    """What an axis must span to hold the curves, intervals and null bands of the tables, and some air.

    above: room at the top, as a fraction of what they span.
    """
    numbers = np.concatenate([table[NUMBERS].to_numpy() for table in tables])
    low, high = numbers.min(), numbers.max()
    span = (high - low) or 1.0
    return low - 0.04 * span, high + above * span


def _default_stimuli(table: pd.DataFrame) -> str:
    """The larger of the large sets that were measured, else the largest there is (the probes)."""
    sizes = dict(zip(table.stimuli, table.n, strict=True))
    return max([kind for kind in LARGE_SETS if kind in sizes] or sizes, key=lambda kind: sizes[kind])


def _only(table: pd.DataFrame, column: str, wanted: Sequence[str], complaint: str) -> pd.DataFrame:
    there = list(dict.fromkeys(table[column]))
    if absent := [name for name in wanted if name not in there]:
        raise ProbeError(f"{complaint} {column} '{absent[0]}', only {', '.join(map(str, there))}")
    return table.loc[table[column].isin(wanted)]


def draw_line(
    ax: Axes, table: pd.DataFrame, look: style.Look, strong: bool = False, thin: bool = False, **kwargs
) -> None:
    """One variant's curve, its markers thinned where there are many states, and none on a thin one.

    Blocked states are open markers on a paler line, every one of them.
    """
    values, hidden = table["value"].to_numpy(), table.blocked.notna().to_numpy()
    step = max(1, len(values) // 10)
    # Beside a gap there may be no line to see, so the point itself must be.
    beside = hidden & False
    beside[:-1] |= hidden[1:]
    beside[1:] |= hidden[:-1]
    marked = np.flatnonzero(~hidden & (beside | (np.arange(len(values)) % step == 0)))
    size, width = (2.5, 0.9) if thin else (6, 2.4) if strong else (4.5, 1.5)
    if hidden.any():
        ax.plot(range(len(values)), values, color=look.colour, alpha=FADED, linewidth=min(width, 1.2))
        ax.plot(
            np.flatnonzero(hidden), values[hidden], look.marker, color=look.colour, markersize=size,
            markerfacecolor="white", markeredgewidth=0.9, label=f"blocked {kwargs.get('label', '')}",
        )  # fmt: skip
    ax.plot(
        range(len(values)),
        np.where(hidden, np.nan, values),
        color=look.colour,
        marker=look.marker,
        markevery=np.flatnonzero(~hidden & beside).tolist() if thin else marked.tolist(),
        markersize=size,
        linewidth=width,
        **kwargs,
    )


def draw_interval(ax: Axes, low, high, look: style.Look) -> None:
    ax.fill_between(range(len(low)), low, high, color=look.colour, alpha=0.2, linewidth=0, label="interval")


def draw_null(ax: Axes, tables: Sequence[pd.DataFrame]) -> None:
    """The null band of every variant drawn; of excess, all lie about zero and merge into the widest."""
    for table in tables:
        ax.fill_between(
            range(len(table)), table.null_low, table.null_high, zorder=0, label="null", **style.NULL
        )


def states_axis(ax: Axes, n_states: int) -> None:
    pad = 0.02 * (n_states - 1)
    ax.set_xlim(-pad, n_states - 1 + pad)
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=[1, 2, 4, 10]))


def states_label(n_states: int) -> str:
    return f"residual state (0 = embedding, {n_states - 1} = before the final norm)"


def variant_handles(family: Family, variants: Sequence[str]) -> list[Artist]:
    looks = style.looks(family)
    return [
        Line2D([], [], color=looks[v].colour, marker=looks[v].marker, markersize=5, label=family.label(v))
        for v in variants
    ]


def line_handle(text: str, **kwargs) -> Artist:
    return Line2D([], [], color=style.GREY, label=text, **kwargs)


def band_handles(interval: str = "95 % interval") -> list[Artist]:
    return [
        Patch(color=style.GREY, alpha=0.35, linewidth=0, label=interval),
        Patch(label="null band: 95 % of permuted pairings", **style.NULL),
    ]
