"""Does a finding survive another way of measuring it? One row per finding, read position and metric."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from probe import effects, resampling
from probe.families import Family

Measured = Mapping[
    tuple[str, str], effects.Items
]  # (position, metric) -> item scores, of one kind of stimuli


def findings(items: effects.Items, family: Family) -> dict[tuple[str, str], np.ndarray]:
    """What could be claimed of these scores: (variant, contrast) -> (n, n_states), one number per meaning.

    For each variant that emphasises languages, the mean over these of its difference from the baseline
    ("simple"), and of the difference in differences that removes most ("did").
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    removes_most: dict[str, int] = {}
    for contrast in (*effects.simple_contrasts(items, family), *effects.did_contrasts(items, family)):
        emphasised = [lang for lang in family.variants[contrast.a].emphasises if lang in contrast.differences]
        removed = len(contrast.reference.split(","))
        simple = contrast.kind == "simple"
        if not emphasised or (simple and contrast.b != family.baseline):
            continue
        if not simple and removed < removes_most.get(contrast.a, 0):
            continue
        if not simple:
            removes_most[contrast.a] = removed
        mean = np.mean([contrast.differences[language] for language in emphasised], axis=0)
        found[contrast.a, contrast.kind] = mean
    return found


def peak_of(items: effects.Items, family: Family) -> dict[str, int]:
    """Variant -> the state at which its mean score over the languages it emphasises is highest."""
    peaks = {}
    for variant, table in family.variants.items():
        own = [items[variant, language] for language in table.emphasises if (variant, language) in items]
        if own:
            peaks[variant] = int(np.mean(own, axis=(0, 1)).argmax())
    return peaks


def robustness(measured: Measured, primary: tuple[str, str], family: Family) -> pd.DataFrame:
    """Every finding under every (position, metric), at the state where the primary measure peaks.

    Returns columns variant, contrast, position, metric, state, value, ci_low, ci_high, p_value, n, survives:
    whether the 95 % BCa interval over meanings lies on one side of 0 and the two-sided sign-flip p is below
    0.05. The state is chosen once, by the primary measure; the others have no say in it. Raises KeyError
    where the primary measure was not taken.
    """
    states = peak_of(measured[primary], family)
    rows = []
    for (position, metric), items in measured.items():
        for (variant, contrast), differences in findings(items, family).items():
            state = states[variant]
            column = differences[:, [state]]
            value, low, high = resampling.interval(
                lambda w, c=column: w @ c / w.sum(axis=1, keepdims=True), len(column)
            )
            pointwise, _ = resampling.sign_flip(column)
            rows.append(
                {
                    "variant": variant,
                    "contrast": contrast,
                    "position": position,
                    "metric": metric,
                    "state": state,
                    "value": value[0],
                    "ci_low": low[0],
                    "ci_high": high[0],
                    "p_value": pointwise[0],
                    "n": len(column),
                    "survives": bool((low[0] > 0 or high[0] < 0) and pointwise[0] < 0.05),
                }
            )
    return pd.DataFrame(rows).round(9)
