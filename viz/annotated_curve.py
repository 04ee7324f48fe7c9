"""Stage 8: how alignment rises, peaks and falls in the languages that a variant was tuned for.

Reads   results/{family}/alignment_summary.csv, artifact_audit.json
Writes  assets/{family}/annotated_rise_peak_collapse (.png, .svg)
Run     uv run viz/annotated_curve.py --family nano-aya

One panel per variant that emphasises languages: the excess cosine averaged over these, with the baseline and
the control beside it. The labels are read off the mean curve, and only where it leaves the null band
and the auditor does not block it in any of the languages.
"""

import argparse
import sys
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe import cli
from probe.families import Family
from probe.languages import TARGETS, label
from viz import curves, style
from viz.curves import Curves
from viz.phases import METRIC, Panel, panels, phases

SCRIPT = "annotated_curve"
NAME = "annotated_rise_peak_collapse"
HEADROOM = 0.34  # of the data's span, above it: three rows of labels
ROWS = (0.965, 0.895, 0.825)  # heights of these, in fractions of the axes


@style.look
def draw(drawn: Curves, family: Family) -> Figure:
    shown = panels(drawn, family)
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = style.canvas(height=2.1 + 3.4 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    span = curves.limits((t for panel in shown for t in (*panel.means.values(), *panel.singles)), HEADROOM)
    for ax, panel in zip(axes, shown, strict=False):
        _draw_panel(ax, panel, family)
        ax.set_ylim(span)
        ax.set_xlabel(curves.states_label(drawn.n_states), fontsize=9.5)
    for ax in axes[::columns]:
        ax.set_ylabel("excess cosine, mean over languages")
    for ax in axes[len(shown) :]:
        ax.remove()
    names = [v for v in drawn.variants if any(v in panel.means for panel in shown)]
    note, handles = curves.blocked_note(
        drawn, (table for panel in shown for table in (*panel.means.values(), *panel.singles))
    )
    style.frame(
        figure,
        "Rise, peak and fall of alignment in the languages a variant emphasises",
        style.subtitle(family),
        [
            "Rise: first state above half of the peak. Fall: last state minus peak. These are read off the "
            "mean curve, without intervals of their own. Bands: the mean of the languages' own bounds, "
            "conservative for their mean. Thin lines: the panel's variant in each language. "
            f"{note}",
            *drawn.caption(family, SCRIPT),
        ],
        [curves.variant_handles(family, names), curves.band_handles("mean of the 95 % bounds") + handles],
    )
    figure.draw_without_rendering()  # settles where the panels are; labels are placed in their pixels
    for ax, panel in zip(axes, shown, strict=False):
        _annotate(ax, panel, style.looks(family)[panel.variant].colour)
    return figure


def _draw_panel(ax: Axes, panel: Panel, family: Family) -> None:
    looks = style.looks(family)
    curves.draw_null(ax, list(panel.means.values()))
    for name, mean in panel.means.items():
        curves.draw_interval(ax, mean.ci_low, mean.ci_high, looks[name])
        curves.draw_line(ax, mean, looks[name], name == panel.variant, label=name)
    for single in panel.singles:
        curves.draw_line(ax, single, looks[panel.variant], thin=True, alpha=0.75, label="single")
    curves.states_axis(ax, len(panel.mean))
    names = ", ".join(label(language) for language in family.variants[panel.variant].emphasises)
    ax.set_title(f"{family.label(panel.variant)}: {names}", loc="left", fontsize=10)


def _annotate(ax: Axes, panel: Panel, colour: str) -> None:
    """Each label in a row of its own above the data, beside the upper end of the arrow to its state.

    Rise keeps to the left of its arrow and takes the lowest row, so that the other arrows pass it; at the
    left edge, where it cannot, it goes right of its arrow and the peak takes that row.
    """
    value, found = panel.mean["value"].to_numpy(), phases(panel.mean)
    if found is None or panel.peak_blocked:
        instead = f"blocked: {panel.peak_blocked}" if panel.peak_blocked else "no peak beyond the null band"
        ax.text(0.02, ROWS[0], instead, transform=ax.transAxes, va="center")
        return
    by = panel.mean.blocked
    top, middle, low = ROWS
    rise = "rise: blocked" if by[found.rise] else f"rise: state {found.rise}"
    peak = f"peak: {found.peak_value:.2f} at state {found.peak}"
    fall = f"fall: {found.fall:+.2f}".replace("-", "−") if found.fall else "no fall: the peak is last"
    fall = "fall: blocked" if by[len(value) - 1] else fall
    roomy = _width(ax, rise) < _at(ax, found.rise)
    rise_row, peak_row = (low, middle) if roomy else (middle, low)
    fits = _at(ax, found.peak) + _width(ax, peak) < _at(ax, len(value) - 1)
    for state, text, row, leftwards in (
        (found.rise, rise, rise_row, roomy),
        (found.peak, peak, peak_row, not fits),
        (len(value) - 1, fall, top, True),
    ):
        _arrow(ax, (state, value[state]), row, colour)
        ax.annotate(
            text,
            xy=(state, row),
            xycoords=ax.get_xaxis_transform(),
            xytext=(-4 if leftwards else 4, 0),
            textcoords="offset points",
            ha="right" if leftwards else "left",
            va="center",
        )


def _at(ax: Axes, state: float) -> float:
    """Where a state is, as a fraction of the axes' width."""
    left, right = ax.get_xlim()
    return (state - left) / (right - left)


def _width(ax: Axes, text: str) -> float:
    """How wide a text is, its distance to the arrow included, as a fraction of the axes' width."""
    trial = ax.text(0, 0, text)
    width = trial.get_window_extent().width
    trial.remove()
    return (width + 0.1 * ax.figure.dpi) / ax.get_window_extent().width


def _arrow(ax: Axes, to: tuple[int, float], row: float, colour: str) -> None:
    """Straight down from the row of a label, behind the curves."""
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 4}
    start = ax.get_xaxis_transform()
    ax.annotate("", xy=to, xytext=(to[0], row), textcoords=start, arrowprops=look, zorder=1.5)


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    drawn = curves.load(args, paths, family, [METRIC], TARGETS)
    png, _ = style.save(draw(drawn, family), paths.assets(family.name), NAME)
    print(f"{png}: {'; '.join(headline(panel, family) for panel in panels(drawn, family))}")


def headline(panel: Panel, family: Family) -> str:
    found = phases(panel.mean)
    where = f"peak {found.peak_value:.3f} at state {found.peak}" if found else "no peak beyond the null band"
    where = f"blocked: {panel.peak_blocked}" if panel.peak_blocked else where
    return f"{family.label(panel.variant)} {where}"


def parser() -> argparse.ArgumentParser:
    return curves.add_options(cli.parser(__doc__))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
