"""Grids of coloured cells, each with a text in it where there is something to say."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from viz import style


def draw(
    ax: Axes,
    values: np.ndarray,
    texts: np.ndarray,
    struck: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    **colours,
) -> QuadMesh:
    """values: (n_rows, n_columns), NaN for a cell without a colour; texts and struck (through) of that shape.

    colours: `cmap`, `vmin`, `vmax`, as seaborn takes them. Black or white is what stands out more.
    """
    sns.heatmap(
        values, ax=ax, mask=np.isnan(values), annot=texts, fmt="", annot_kws={"fontsize": style.SMALL},
        linewidths=0.6, linecolor="white", cbar=False, xticklabels=columns, yticklabels=rows, **colours,
    )  # fmt: skip
    for text in list(ax.texts):
        x, y = text.get_position()
        if not text.get_text():
            text.remove()
        elif struck[int(y), int(x)]:
            line = {"color": text.get_color(), "linewidth": 1.1, "label": "struck"}
            ax.plot([x - 0.4, x + 0.4], [y + 0.4, y - 0.4], **line)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    (mesh,) = (artist for artist in ax.collections if isinstance(artist, QuadMesh))
    return mesh
