"""Does an effect stand under another way of measuring it? One row per effect, read position and metric."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from probe.alignment import effects
from probe.families import Family
from probe.stats.groups import Groups
from probe.stats.inference import holm, infer_mean

FOLDS = 5

# (position, metric) -> item scores, all of one kind of stimuli
Measured = Mapping[tuple[str, str], effects.Items]


def claimed_contrasts(items: effects.Items, family: Family) -> dict[tuple[str, str], effects.Contrast]:
    """What could be claimed of these scores: (variant, contrast) -> the contrast that would claim it.

    For each variant that emphasises languages its difference from the baseline ("simple"), and the difference
    in differences that removes most ("did").
    """
    chosen = {
        (contrast.a, "simple"): contrast
        for contrast in effects.simple_contrasts(items, family)
        if contrast.b == family.baseline and family.variants[contrast.a].emphasises
    }
    # Sorted by how much they remove: of one variant, the last stays.
    for contrast in sorted(effects.did_contrasts(items, family), key=lambda did: did.reference.count(",")):
        chosen[contrast.a, "did"] = contrast
    return chosen


def over_emphasised(contrast: effects.Contrast, family: Family) -> np.ndarray | None:
    """(n, n_states): the contrast's mean over the languages that its variant emphasises; None without any."""
    emphasised = [lang for lang in family.variants[contrast.a].emphasises if lang in contrast.differences]
    return np.mean([contrast.differences[lang] for lang in emphasised], axis=0) if emphasised else None


def states_of(items: effects.Items, family: Family, variant: str, folds: np.ndarray) -> np.ndarray:
    """int (n,): for each meaning the state, the embedding aside, at which the variant's languages score
    highest on the meanings of the *other* folds. A state chosen where a variant is high, and read on the
    same meanings, makes an effect of noise: under the null one in five stands."""
    languages = [lang for lang in family.variants[variant].emphasises if (variant, lang) in items]
    mean = np.mean([items[variant, language] for language in languages], axis=0)
    if mean.shape[1] < 2:
        return np.zeros(len(mean), np.int64)
    chosen = np.zeros(len(mean), np.int64)
    for fold in np.unique(folds):
        others = mean[folds != fold] if (folds != fold).any() else mean
        chosen[folds == fold] = others[:, 1:].mean(axis=0).argmax() + 1
    return chosen


def robustness(measured: Measured, primary: tuple[str, str], family: Family, groups: Groups) -> pd.DataFrame:
    """Every effect under every (position, metric), at the state where the primary measure is highest.

    Returns columns variant, against, contrast, reference, position, metric, state, value, ci_low, ci_high,
    p_value, n and n_groups. The state is chosen by the primary measure, for a fifth of the meanings (whole
    groups of them) on the other four fifths; `state` is the one that most meanings are read at. Raises
    KeyError where the primary measure was not taken.
    """
    folds = groups.folds(FOLDS)
    rows = []
    for (position, metric), items in measured.items():
        for (variant, kind), contrast in claimed_contrasts(items, family).items():
            differences = over_emphasised(contrast, family)
            if differences is None:
                continue
            states = states_of(measured[primary], family, variant, folds)
            column = np.take_along_axis(differences, states[:, None], axis=1)
            mean = infer_mean(column, groups)
            rows.append(
                {
                    "variant": variant,
                    "against": contrast.b,
                    "contrast": kind,
                    "reference": contrast.reference,
                    "position": position,
                    "metric": metric,
                    "state": int(np.bincount(states).argmax()),
                    "value": mean.value[0],
                    "ci_low": mean.low[0],
                    "ci_high": mean.high[0],
                    "p_value": mean.p_value[0],
                    "n": groups.n,
                    "n_groups": groups.effective,
                }
            )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    p = table.groupby(["position", "metric"])["p_value"].transform(lambda p: holm(p.to_numpy()))
    return table.assign(p_holm=p).round(9)
