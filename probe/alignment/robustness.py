"""Does a finding survive another way of measuring it? One row per finding, read position and metric."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from probe.alignment import effects
from probe.families import Family
from probe.stats import resampling

# (position, metric) -> item scores, all of one kind of stimuli
Measured = Mapping[tuple[str, str], effects.Items]


def findings(items: effects.Items, family: Family) -> dict[tuple[str, str], effects.Contrast]:
    """What could be claimed of these scores: (variant, contrast) -> the contrast that would claim it.

    For each variant that emphasises languages its difference from the baseline ("simple"), and the difference
    in differences that removes most ("did").
    """
    found = {
        (contrast.a, "simple"): contrast
        for contrast in effects.simple_contrasts(items, family)
        if contrast.b == family.baseline and family.variants[contrast.a].emphasises
    }
    # Sorted by how much they remove: of one variant, the last stays.
    for contrast in sorted(effects.did_contrasts(items, family), key=lambda did: did.reference.count(",")):
        found[contrast.a, "did"] = contrast
    return found


def over_emphasised(contrast: effects.Contrast, family: Family) -> np.ndarray | None:
    """(n, n_states): the contrast's mean over the languages that its variant emphasises; None without any."""
    emphasised = [lang for lang in family.variants[contrast.a].emphasises if lang in contrast.differences]
    return np.mean([contrast.differences[lang] for lang in emphasised], axis=0) if emphasised else None


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

    Returns columns variant, against, contrast, reference, position, metric, state, value, ci_low, ci_high,
    p_value, n and survives: whether the 95 % BCa interval over meanings is clear of 0 and the two-sided
    sign-flip p is below 0.05. The state is chosen once, by the primary measure; the others have no say in it.
    Raises KeyError where the primary measure was not taken.
    """
    states = peak_of(measured[primary], family)
    rows = []
    for (position, metric), items in measured.items():
        for (variant, kind), contrast in findings(items, family).items():
            differences = over_emphasised(contrast, family)
            if differences is None:
                continue
            state = states[variant]
            column = differences[:, [state]]
            value, low, high = resampling.interval(
                lambda w, c=column: w @ c / w.sum(axis=1, keepdims=True), len(column)
            )
            pointwise, _ = resampling.sign_flip(column)
            rows.append(
                {
                    "variant": variant,
                    "against": contrast.b,
                    "contrast": kind,
                    "reference": contrast.reference,
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
