"""Stage 8: how alignment rises, peaks and falls in the languages that a variant was tuned for.

Reads   results/{family}/alignment_summary.csv, peaks.csv, artifact_audit.json
Writes  assets/{family}/annotated_rise_peak_collapse (.png, .svg)
Run     uv run viz/annotated_curve.py --family nano-aya

One panel per variant that emphasises languages: the primary measure averaged over these, with the baseline
and the control beside it, and the variant's curve in each language. Rise, peak and fall are told as peaks.csv
has them, language by language, and nothing is told of a row that may not be claimed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe import cli
from probe.conventions import PRIMARY_METRIC, metric_label
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import label
from probe.paths import Paths
from probe.tables import PEAKS
from viz import curves, style
from viz.curves import NUMBERS, Curves

SCRIPT = "annotated_curve"
NAME = "annotated_rise_peak_collapse"
DASHES = ("-", "--", ":", "-.")  # of the languages in a panel
HEIGHT = 3.4  # inches of a row of panels
LINE = 0.105  # of the panel's height, that a line of words takes


@dataclass(frozen=True)
class Panel:
    """A variant that emphasises languages. means: it, last, and what it is compared with, each averaged over
    these languages; singles: language -> its own curve; peaks: language -> its row of peaks.csv."""

    variant: str
    means: dict[str, pd.DataFrame]
    singles: dict[str, pd.DataFrame]
    peaks: dict[str, dict[str, Any]]

    @property
    def tables(self) -> list[pd.DataFrame]:
        return [*self.means.values(), *self.singles.values()]


def load(args: argparse.Namespace, paths: Paths, family: Family) -> tuple[Curves, list[Panel]]:
    """Raises ProbeError, with the command that helps, where there is nothing to draw."""
    drawn = curves.load(args, paths, family, [PRIMARY_METRIC])
    path, table = PEAKS.path(paths, family.name), PEAKS.read(paths, family.name, needs=["stimuli"])
    for column, wanted in (
        ("metric", PRIMARY_METRIC),
        ("stimuli", drawn.stimuli),
        ("position", drawn.position),
    ):
        table = curves.only(table, column, [wanted], path)
    table = table.assign(blocked=drawn.audit.by(table))
    rows = {(row["variant"], row["language"]): row for row in table.to_dict("records")}
    panels = []
    for variant in drawn.variants:
        if languages := [x for x in family.variants[variant].emphasises if x in drawn.languages]:
            beside = [v for v in drawn.variants if v in (family.baseline, family.control) and v != variant]
            means = {name: mean_over(drawn, name, languages) for name in (*beside, variant)}
            singles = {lang: drawn.of(variant, lang, PRIMARY_METRIC) for lang in languages}
            if absent := [lang for lang in languages if (variant, lang) not in rows]:
                made_by = PEAKS.command(family.name)
                raise ProbeError(f"{path} lacks {variant} in {', '.join(absent)}; run: {made_by}")
            panels.append(Panel(variant, means, singles, {x: rows[variant, x] for x in languages}))
    if not panels:
        able = [v for v in family.variants if family.variants[v].emphasises]
        there = ", ".join(drawn.variants)
        raise ProbeError(
            f"no language of {drawn.stimuli} is emphasised by {there}, only by {', '.join(able) or 'none'}"
        )
    return drawn, panels


def mean_over(drawn: Curves, variant: str, languages: Sequence[str]) -> pd.DataFrame:
    """The languages' curves averaged, bounds too: no narrower than the interval of the mean, which needs the
    meanings one by one, and the summary does not hold them. Blocked where any of the languages is."""
    tables = [drawn.of(variant, language, PRIMARY_METRIC) for language in languages]
    mean = np.mean([table[NUMBERS].to_numpy() for table in tables], axis=0)
    by = zip(*(table.blocked for table in tables), strict=True)
    first = [next((name for name in names if isinstance(name, str)), None) for names in by]
    return pd.DataFrame(mean, columns=pd.Index(NUMBERS)).assign(blocked=pd.Series(first, dtype=object))


@style.look
def draw(drawn: Curves, panels: Sequence[Panel], family: Family) -> Figure:
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = style.canvas(height=2.1 + HEIGHT * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    words = LINE * max(len(panel.peaks) for panel in panels)
    span = curves.limits((t for panel in panels for t in panel.tables), words / (1 - words))
    for ax, panel in zip(axes, panels, strict=False):
        _draw_panel(ax, panel, family)
        ax.set_ylim(span)
        ax.set_xlabel(curves.states_label(drawn.n_states), fontsize=9.5)
    for ax in axes[::columns]:
        ax.set_ylabel(f"{metric_label(PRIMARY_METRIC)}, mean over languages")
    for ax in axes[len(panels) :]:
        ax.remove()
    names = [v for v in drawn.variants if any(v in panel.means for panel in panels)]
    note, handles = curves.blocked_note(drawn, (t for panel in panels for t in panel.tables))
    style.frame(
        figure,
        "Rise, peak and fall of alignment in the languages a variant emphasises",
        family,
        [
            "Rise: the first state of the high phase, from half of the rise on. Peak: where a language's own "
            "curve is highest, and how high, cross-fitted. Fall: from the peak to the last state. Brackets: "
            "95 % intervals. Bands: the mean of the languages' own bounds, conservative for their mean. Thin "
            "lines: the panel's variant in each language, a bar where the rise starts, a star at the peak. "
            f"{note}",
            drawn.source(family, SCRIPT),
        ],
        [curves.variant_handles(family, names), curves.band_handles("mean of the 95 % bounds") + handles],
    )
    return figure


def _draw_panel(ax: Axes, panel: Panel, family: Family) -> None:
    looks = style.looks(family)
    curves.draw_null(ax, list(panel.means.values()))
    for name, mean in panel.means.items():
        curves.draw_curve(ax, mean, looks[name], name == panel.variant, label=name)
    handles = []
    for i, (language, single) in enumerate(panel.singles.items()):
        dashes, words = DASHES[i % len(DASHES)], f"{language}: {describe(panel.peaks[language])}"
        curves.draw_curve(ax, single, looks[panel.variant], thin=True, linestyle=dashes, label=language)
        if not panel.peaks[language]["blocked"]:
            for name, marker in (("rise_start", "|"), ("peak_state", "*")):
                if pd.notna(state := panel.peaks[language][name]):
                    ax.plot(state, single.value[state], marker, color="black", markersize=7, label=name)
        handles.append(curves.line_handle(words, linestyle=dashes, linewidth=0.9))
    curves.states_axis(ax, len(panel.means[panel.variant]))
    ax.legend(
        handles=handles, loc="upper left", fontsize=style.SMALL, borderpad=0, borderaxespad=0.2,
        handlelength=2.2, labelspacing=0.35,
    )  # fmt: skip
    names = ", ".join(label(language) for language in panel.singles)
    ax.set_title(f"{family.label(panel.variant)}: {names}", loc="left", fontsize=10)


def describe(peak: Mapping[str, Any]) -> str:
    """A row of peaks.csv in words."""
    if peak["blocked"]:
        return f"blocked: {peak['blocked']}"
    rise = "no rise" if pd.isna(peak["rise_start"]) else f"rise {_state(peak, 'rise_start')}"
    fall = "no fall" if pd.isna(peak["fall_start"]) else f"fall {peak['fall']:+.2f}".replace("-", "−")
    return f"{rise}, peak {peak['peak']:.2f} at {_state(peak, 'peak_state')}, {fall}"


def _state(peak: Mapping[str, Any], name: str) -> str:
    """The state, and its interval where that has another state in it; an upper end may be never."""
    low, high = peak[f"{name}_ci_low"], peak[f"{name}_ci_high"]
    ends = ["never" if pd.isna(end) else str(end) for end in (low, high)]
    return f"{peak[name]}" if {*ends} == {str(peak[name])} else f"{peak[name]} [{', '.join(ends)}]"


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    drawn, panels = load(args, paths, family)
    png, _ = style.save(draw(drawn, panels, family), paths.assets(family.name), NAME)
    told = [
        f"{family.label(panel.variant)} in {language}: {describe(peak)}"
        for panel in panels
        for language, peak in panel.peaks.items()
    ]
    print(f"{png}: {'; '.join(told)}")


def parser() -> argparse.ArgumentParser:
    return curves.add_options(cli.parser(__doc__))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
