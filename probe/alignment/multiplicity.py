"""Which tests are corrected together: the languages of one variant, or contrast, at one state."""

import pandas as pd

from probe.stats.inference import holm
from probe.stats.resampling import benjamini_hochberg


def over_languages(table: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """With `q_value`, Benjamini-Hochberg over the languages and states of a family (for looking around), and
    `p_holm`, p_max corrected by Holm over its languages (for a claim)."""
    q = table.groupby(family)["p_value"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    p = table.groupby([*family, "state"])["p_max"].transform(lambda p: holm(p.to_numpy()))
    return table.assign(q_value=q, p_holm=p)
