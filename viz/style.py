"""What the figures share: one look per variant, the frame with title, legend and caption, and how to save.

Figures are built on `matplotlib.figure.Figure`, without pyplot: no window, no global state, nothing to close.
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style as mpl_style
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from probe import files
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import label

WIDTH = 10.0  # inches; shown at half of it, the smallest type is still 4.5 pt
MARGIN = 0.10  # inches, around everything
SMALL = 9  # pt, and nothing is smaller
GREY = "#595959"  # 7:1 on white
# Hatched, or else one could take it for the interval of a black curve.
NULL = {"facecolor": "#EDEDED", "edgecolor": "#ADADAD", "hatch": "//////", "linewidth": 0}

# Every figure is drawn and saved in this look, whatever the user's own matplotlibrc says. The fixed salt
# makes the ids in an SVG, and so its bytes, the same in every run; its text stays text, to search and edit.
RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "none",
    "svg.hashsalt": "aya-cross-lingual-probe",
}
look = mpl_style.context(RC, after_reset=True)


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str  # tells the variants apart in greyscale


# Okabe and Ito's colours. A variant has its own in every figure of every family.
LOOKS = {
    "base": Look("#000000", "o"),
    "global": Look("#0072B2", "s"),
    "fire": Look("#D55E00", "^"),
    "earth": Look("#009E73", "D"),
    "water": Look("#56B4E9", "v"),
    "random": Look("#CC79A7", "X"),
}
SPARE = (Look("#E69F00", "P"), Look("#7F7F7F", "*"), Look("#F0E442", "h"))


def looks(family: Family) -> dict[str, Look]:
    """One look per variant; names that LOOKS lacks take the spare ones in the family's order."""
    others = [name for name in family.variants if name not in LOOKS]
    return LOOKS | {name: SPARE[i % len(SPARE)] for i, name in enumerate(others)}


def emphasising(family: Family, language: str, variants: Sequence[str]) -> list[str]:
    return [variant for variant in variants if language in family.variants[variant].emphasises]


def language_title(family: Family, language: str, variants: Sequence[str]) -> str:
    """``Hindi (hi): emphasised by Fire``, of the variants that the figure shows."""
    by = ", ".join(family.label(variant) for variant in emphasising(family, language, variants))
    return f"{label(language)}: {f'emphasised by {by}' if by else 'not emphasised'}"


def subtitle(family: Family) -> str:
    """What kind of model this is: the family's description up to its first semicolon."""
    return family.description.split(";")[0]


def command(script: str, family: Family, variants: Sequence[str], **options: tuple[str, str]) -> str:
    """The command that makes a figure. options: name -> (value, default); defaults are left out."""
    words = [f"uv run viz/{script}.py --family {family.name}"]
    if list(variants) != family.default_variants:
        words.append(f"--variants {','.join(variants)}")
    words += [f"--{name} {value}" for name, (value, default) in options.items() if value != default]
    return " ".join(words)


def measured(family: Family, asked: list[str] | None, present: Sequence[str], path: Path) -> list[str]:
    """The variants to draw: those asked for, all of which must be there, or the family's that are.

    Raises ProbeError, naming what there is.
    """
    chosen = family.chosen(asked)
    drawn = chosen if asked else [variant for variant in chosen if variant in present]
    absent = [variant for variant in drawn if variant not in present]
    if absent or not drawn:
        raise ProbeError(
            f"{path} has no variant '{(absent or chosen)[0]}', only {', '.join(present)}; run: "
            f"uv run concept_alignment.py --family {family.name} --variants {','.join(chosen)}"
        )
    return drawn


def frame(
    figure: Figure,
    title: str,
    family: Family,
    caption: Sequence[str],
    legend: Sequence[Sequence[Artist]] = (),
) -> None:
    """Title above the panels, legend and grey caption below, and the panels in what is left between.

    caption: what is to be said, and a last paragraph with the data and the command; between them it is said
    what kind of model this is. legend: rows of handles. The heights are measured, so that nothing overlaps
    however long a text is.
    """
    width, height = figure.get_size_inches()
    left, gap = MARGIN / width, MARGIN / height
    note = figure.text(left, gap, "", fontsize=SMALL, color=GREY, va="bottom", linespacing=1.25)
    _fill(note, [*caption[:-1], f"{family.description}.", caption[-1]], figure.bbox.width * (1 - 2 * left))
    bottom = _span(figure, note)[1] + gap
    for handles in reversed(legend):
        row = figure.legend(
            handles=list(handles),
            loc="lower center",
            bbox_to_anchor=(0.5, bottom),
            ncols=len(handles),
            columnspacing=1.6,
            borderpad=0.2,
            borderaxespad=0,
        )
        row.set_in_layout(False)
        bottom = _span(figure, row)[1]
    head = figure.text(left, 1 - gap, title, fontsize=12.5, fontweight="bold", va="top")
    kind = figure.text(
        left, _span(figure, head)[0] - gap / 3, subtitle(family), fontsize=10, color=GREY, va="top"
    )
    top = _span(figure, kind)[0] - gap / 2
    for text in (note, head, kind):
        text.set_in_layout(False)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "made by canvas()"
    engine.set(rect=(left, bottom + gap / 2, 1 - 2 * left, top - bottom - gap / 2), w_pad=0.08)


def _fill(text: Text, paragraphs: Sequence[str], width: float) -> None:
    """Break the paragraphs into the longest lines that keep within `width` pixels."""
    for columns in range(160, 20, -3):
        text.set_text("\n".join(textwrap.fill(paragraph, columns) for paragraph in paragraphs))
        if text.get_window_extent().width <= width:
            return


def _span(figure: Figure, artist: Artist) -> tuple[float, float]:
    """Lower and upper edge, as fractions of the figure's height."""
    box = artist.get_window_extent().transformed(figure.transFigure.inverted())
    return box.y0, box.y1


def canvas(height: float, width: float = WIDTH) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


@look
def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """NAME.png at 200 dpi and NAME.svg, each whole or not at all; the same figure gives the same bytes."""
    _settle(figure)
    written = []
    # None leaves out what would differ between runs or versions: a date, the name of the software.
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        content = io.BytesIO()
        figure.savefig(content, format=suffix, dpi=200, metadata=metadata)
        written.append(files.write_bytes(folder / f"{name}.{suffix}", content.getvalue()))
    return written


def _settle(figure: Figure) -> None:
    """Lay out once, and round the places of the panels: the layout's solver differs in the last bit from run
    to run, and the ids in an SVG are hashes over every bit of a place."""
    figure.draw_without_rendering()
    places = [ax.get_position().bounds for ax in figure.axes]
    figure.set_layout_engine("none")
    for ax, place in zip(figure.axes, places, strict=True):
        ax.set_position(Bbox.from_bounds(*(round(edge, 5) for edge in place)))
