"""What the annotated figure shows: a variant's mean over its own languages, and when that rises and falls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe.errors import ProbeError
from probe.families import Family
from viz.curves import NUMBERS, Curves

METRIC = "excess"


@dataclass(frozen=True)
class Phases:
    """rise: first state above half of the peak. fall: last value minus peak, 0 where the peak is last."""

    rise: int
    peak: int
    peak_value: float
    fall: float


def phases(mean: pd.DataFrame) -> Phases | None:
    """Rise, peak and fall of a mean curve; None where the peak's interval reaches into the null band."""
    value = mean["value"].to_numpy()
    peak = int(value.argmax())
    if mean.ci_low[peak] <= mean.null_high[peak] or value[peak] <= 0:
        return None
    rise = int((value > value[peak] / 2).argmax())
    return Phases(rise, peak, float(value[peak]), float(value[-1] - value[peak]))


@dataclass(frozen=True)
class Panel:
    """A variant that emphasises languages. means: it, last, and what it is compared with, each averaged over
    these languages; singles: its own curve in each of them."""

    variant: str
    means: dict[str, pd.DataFrame]
    singles: list[pd.DataFrame]

    @property
    def mean(self) -> pd.DataFrame:
        return self.means[self.variant]

    @property
    def peak_blocked(self) -> str | None:
        """The finding that takes away the highest point of the mean, as a level or as a peak."""
        highest = self.mean.loc[self.mean["value"].idxmax()]
        return highest.blocked or highest.blocked_peak


def panels(drawn: Curves, family: Family) -> list[Panel]:
    """One per variant drawn that emphasises languages, beside baseline and control where these are drawn."""
    result = []
    for variant in drawn.variants:
        if languages := family.variants[variant].emphasises:
            beside = [v for v in drawn.variants if v in (family.baseline, family.control) and v != variant]
            means = {name: mean_over(drawn, name, languages) for name in (*beside, variant)}
            result.append(Panel(variant, means, [drawn.of(variant, lang, METRIC) for lang in languages]))
    if not result:
        able = [v for v in family.variants if family.variants[v].emphasises]
        there = ", ".join(drawn.variants)
        raise ProbeError(f"no language is emphasised by {there}, only by {', '.join(able) or 'none'}")
    return result


def mean_over(drawn: Curves, variant: str, languages: Sequence[str]) -> pd.DataFrame:
    """The languages' curves averaged, bounds too: no narrower than the interval of the mean, which needs the
    meanings one by one, and the summary does not hold them. Blocked where any of the languages is."""
    tables = [drawn.of(variant, language, METRIC) for language in languages]
    mean = np.mean([table[NUMBERS].to_numpy() for table in tables], axis=0)
    by = {
        column: [next(filter(None, names), None) for names in zip(*(t[column] for t in tables), strict=True)]
        for column in ("blocked", "blocked_peak")
    }
    return pd.DataFrame(mean, columns=pd.Index(NUMBERS)).assign(**_objects(by))


def _objects(columns: dict[str, list]) -> dict[str, pd.Series]:
    """As columns that keep None as None."""
    return {name: pd.Series(values, dtype=object) for name, values in columns.items()}
