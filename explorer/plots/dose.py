"""Effect against dose, a point per variant and language."""

import pandas as pd
import plotly.graph_objects as go

from explorer.data import claimable
from explorer.plots import look as looks
from explorer.plots.look import Drawn, Theme
from probe.families import Family


def dose(table: pd.DataFrame, family: Family, look: Theme) -> Drawn:
    """table: rows of dose_response.csv of one measure, the points where `quantity` is effect."""
    points, marks, figure = table.loc[table.quantity == "effect"], looks.marks(family, look), go.Figure()
    for variant, own in points.groupby("variant", observed=True):
        mark, text = marks[str(variant)], own.language.tolist()
        dots = {"color": mark.colour, "symbol": looks.symbols(mark.symbol, claimable(own)), "size": 9}
        ends = {"array": (own.ci_high - own.value).tolist(), "arrayminus": (own.value - own.ci_low).tolist()}
        ends |= {"symmetric": False, "thickness": 1.4, "width": 0}
        places = {
            "x": own.dose.tolist(),
            "y": own.value.tolist(),
            "text": text,
            "marker": dots,
            "error_y": ends,
        }
        figure.add_scatter(mode="markers+text", name=mark.label, textposition="middle right", **places)
    figure.update_traces(hovertemplate="%{text}: %{y:.3f} at a dose of %{x} points<extra></extra>")
    fits = table.loc[table.quantity != "effect"].itertuples()
    words = "   ".join(f"{f.quantity} {f.value:.3f} [{f.ci_low:.3f}, {f.ci_high:.3f}]" for f in fits)
    figure.add_annotation(text=words, xref="paper", yref="paper", x=0, y=1, yshift=4)
    figure.update_xaxes(title_text="dose: share in the fine-tuning mix beyond the reference's, % points")
    figure.update_yaxes(title_text=f"effect at state {points.state.iloc[0]}")
    looks.dress(figure, look, 380, (60, 16, 76, 56))
    return Drawn(figure, f"{family.name}_dose_response")
