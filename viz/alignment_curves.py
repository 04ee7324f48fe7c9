"""Stage 8: how alike English and a target language are at each state, one curve per variant.

Reads   results/{family}/alignment_summary.csv, artifact_audit.json
Writes  assets/{family}/tweet_three_panel, alignment_curve_avg_{language} for each language of the
        stimuli (.png, .svg)
Run     uv run viz/alignment_curves.py --family nano-aya
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe import cli
from probe.conventions import PRIMARY_METRIC, metric_label
from probe.families import Family
from probe.languages import label
from viz import curves, style
from viz.curves import Curves

SCRIPT = "alignment_curves"
THREE = ("sw", "hi", "am")  # the panels of the figure for a first glance, where the stimuli are told in them
RAW = "cosine"  # drawn beside the metric, with its mismatched level


def _panel(ax: Axes, drawn: Curves, family: Family, language: str, metric: str) -> None:
    """Every variant's curve with its interval, over the null bands; to a raw cosine, the mismatched level."""
    looks = style.looks(family)
    strong = style.emphasising(family, language, drawn.variants)
    tables = {variant: drawn.of(variant, language, metric) for variant in drawn.variants}
    curves.draw_null(ax, list(tables.values()))
    for variant, table in tables.items():
        curves.draw_curve(ax, table, looks[variant], variant in strong, label=variant)
        if metric == RAW:
            ax.plot(
                table.state, table.null, "--", color=looks[variant].colour, linewidth=1.3, label="mismatched"
            )
    curves.states_axis(ax, drawn.n_states)


def _frame(
    figure: Figure, title: str, drawn: Curves, family: Family, metric: str, panels: list[tuple[str, str]]
) -> None:
    """panels: the language and the metric of each."""
    tables = [drawn.of(variant, *panel) for panel in panels for variant in drawn.variants]
    note, handles = curves.blocked_note(drawn, tables)
    raw = any(shown == RAW for _, shown in panels)
    lines = [("matched pairs", "-"), ("mismatched pairs", "--")] if raw else []
    style.frame(
        figure,
        title,
        family,
        [
            f"A thick line is a variant that emphasises the language. {note}",
            drawn.source(family, SCRIPT, metric=(metric, PRIMARY_METRIC)),
        ],
        [
            curves.variant_handles(family, drawn.variants),
            [curves.line_handle(text, linestyle=dashes) for text, dashes in lines]
            + curves.band_handles()
            + handles,
        ],
    )


@style.look
def three_panels(drawn: Curves, family: Family, metric: str) -> Figure:
    """Swahili, Hindi and Amharic side by side, on one scale."""
    figure, three = style.canvas(height=5), glance(drawn)
    axes = figure.subplots(1, len(three), sharey=True, squeeze=False)[0]
    for ax, language in zip(axes, three, strict=True):
        _panel(ax, drawn, family, language, metric)
        title = textwrap.fill(style.language_title(family, language, drawn.variants), 36)
        ax.set_title(title, loc="left", fontsize=10)
    axes[0].set_ylabel(metric_label(metric))
    axes[len(axes) // 2].set_xlabel(curves.states_label(drawn.n_states))
    title = f"Alignment with English, state by state: {metric_label(metric)}"
    _frame(figure, title, drawn, family, metric, [(language, metric) for language in three])
    return figure


def glance(drawn: Curves) -> list[str]:
    """Those of THREE that there are; without any the first languages that there are."""
    return [code for code in THREE if code in drawn.languages] or drawn.languages[: len(THREE)]


@style.look
def average(drawn: Curves, family: Family, language: str, metric: str) -> Figure:
    """Left the raw cosine, matched and mismatched; right what the figure is about.

    One scale for the figures of all languages, so that they can be laid side by side, and for both panels,
    unless the metric has a unit of its own.
    """
    common = RAW in metric_label(metric)
    figure = style.canvas(height=5)
    for ax, shown in zip(figure.subplots(1, 2), (RAW, metric), strict=True):
        ax.set_ylim(curves.limits(t for key, t in drawn.rows.items() if common or key[2] == shown))
        _panel(ax, drawn, family, language, shown)
        ax.set_ylabel(metric_label(shown))
        ax.set_xlabel(curves.states_label(drawn.n_states), fontsize=9.5)
        pairs = "matched and mismatched pairs" if shown == RAW else "matched pairs"
        ax.set_title(f"{metric_label(shown)}, {pairs}", loc="left")
    title = f"Alignment with English. {style.language_title(family, language, drawn.variants)}"
    _frame(figure, title, drawn, family, metric, [(language, RAW), (language, metric)])
    return figure


def headline(drawn: Curves, family: Family, metric: str) -> str:
    """The highest value among all curves drawn that the auditor leaves, with its interval."""
    table = pd.concat(table for key, table in drawn.rows.items() if key[2] == metric)
    table = table[table.blocked.isna()].reset_index(drop=True)
    if table.empty:
        return f"every {metric} is blocked by the auditor"
    best = table.loc[table.value.idxmax()]
    return (
        f"highest {metric} {best.value:.3f} [{best.ci_low:.3f}, {best.ci_high:.3f}] "
        f"({family.label(best.variant)}, {label(best.language)}, state {best.state}, n = {best.n})"
    )


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    drawn = curves.load(args, paths, family, list(dict.fromkeys((RAW, args.metric))))
    out = paths.assets(family.name)
    for language in drawn.languages:
        style.save(average(drawn, family, language, args.metric), out, f"alignment_curve_avg_{language}")
    png, _ = style.save(three_panels(drawn, family, args.metric), out, "tweet_three_panel")
    print(f"{png}: {headline(drawn, family, args.metric)}")


def parser() -> argparse.ArgumentParser:
    parser = curves.add_options(cli.parser(__doc__))
    parser.add_argument("--metric", default=PRIMARY_METRIC, help="of alignment_summary.csv (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
