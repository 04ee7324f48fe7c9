"""When a concept commits: the first state from which its alignment holds, and how much that says.

A concept that never commits is censored at the end of the network, not missing: it counts in every
denominator and every median.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import binomtest

from probe.stats.groups import Groups
from probe.stats.inference import CONFIDENCE
from probe.stats.resampling import attained_quantile

THRESHOLD = 0.85
CURVE_DECIMALS = 6  # of a curve in a file: what commits there commits in every table
CONSECUTIVE = 3
THRESHOLDS = (0.75, 0.85, 0.90)  # of the sensitivity table
RUNS = (2, 3, 5)


def commitment_layer(
    curve, threshold: float = THRESHOLD, consecutive: int = CONSECUTIVE, start: int = 0
) -> int | None:
    """First state, not before `start`, from which the curve stays at or above the threshold for
    `consecutive` states; None where it never does.

    curve: (n_states,) floats, state 0 the embedding. Raises ValueError for consecutive < 1 or a value that
    is not finite.
    """
    state = commitment_states(np.asarray(curve), threshold, consecutive, start)
    return int(state) if np.isfinite(state) else None


def commitment_states(
    curves: np.ndarray, threshold: float = THRESHOLD, consecutive: int = CONSECUTIVE, start: int = 0
) -> np.ndarray:
    """`commitment_layer` of many curves, in the form that medians are taken of.

    curves: (..., n_states). Returns (...) float64, inf where a curve never commits: later than every state,
    which is all that is known of it, and which orders it rightly. For a file, write an empty cell instead.
    Raises ValueError as commitment_layer does.
    """
    values = np.asarray(curves, dtype=np.float64)[..., start:]
    if consecutive < 1:
        raise ValueError("consecutive must be at least 1")
    if not np.isfinite(values).all():
        raise ValueError("the curve holds a value that is not finite")
    if values.shape[-1] < consecutive:
        return np.full(values.shape[:-1], np.inf)
    held = sliding_window_view(values >= threshold, consecutive, axis=-1).all(axis=-1)
    return np.where(held.any(axis=-1), start + held.argmax(axis=-1), np.inf)


def held_level(curve, consecutive: int = CONSECUTIVE) -> float | None:
    """The highest threshold that the curve holds for `consecutive` states in a row: over all runs of that
    many states, the largest of the runs' minima. None where the curve is shorter than one run.

    curve: (n_states,) floats. So `commitment_layer(curve, t, k)` is a state exactly where `held_level(curve,
    k) >= t`: it tells how far from committing a curve is. Raises ValueError as commitment_layer does.
    """
    if consecutive < 1:
        raise ValueError("consecutive must be at least 1")
    if not np.isfinite(curve).all():
        raise ValueError("the curve holds a value that is not finite")
    held = float(held_levels(np.asarray(curve, dtype=np.float64), consecutive))
    return None if np.isnan(held) else held


def held_levels(curves: np.ndarray, consecutive: int = CONSECUTIVE) -> np.ndarray:
    """`held_level` of many curves: (..., n_states) -> (...) float64, NaN where that is None."""
    if curves.shape[-1] < consecutive:
        return np.full(curves.shape[:-1], np.nan)
    return sliding_window_view(curves, consecutive, axis=-1).min(axis=-1).max(axis=-1)


def commitment_matrix(
    curves: dict[str, dict[str, dict[str, list[float]]]],
    concepts: dict[str, str],
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
) -> pd.DataFrame:
    """One row per concept and language, a column {variant}_layer; an empty cell is 'never'.

    curves: variant -> concept id -> language -> (n_states,) floats. concepts: id -> name.
    """
    first = next(iter(curves.values()))
    rows = [
        {"concept_id": concept_id, "concept": concepts.get(concept_id, concept_id), "language": language}
        | {
            f"{variant}_layer": commitment_layer(
                curves[variant][concept_id][language], threshold, consecutive
            )
            for variant in curves
        }
        for concept_id in first
        for language in first[concept_id]
    ]
    table = pd.DataFrame(rows)
    return table.astype({f"{variant}_layer": "Int64" for variant in curves})


def _known(state: float) -> int | None:
    return int(state) if np.isfinite(state) else None


def censored_median(states: np.ndarray) -> tuple[int | None, int | None, int | None]:
    """(median, low, high): the state by which at least half have committed, and its 95 % percentile
    interval over concepts. None is "never": fewer than half commit (in so many of the resamples).

    states: (n,) or (n, n_languages) as from `commitment_states`, row i one concept; the concept is resampled
    and takes all its languages with it. Since nothing is lost to follow-up before the last state, the
    Kaplan-Meier median is the attained median with 'never' ordered last.
    Raises ValueError for a NaN or fewer than two concepts.
    Source: Kaplan and Meier 1958; Efron 1981, "Censored Data and the Bootstrap".
    """
    states = np.asarray(states, dtype=np.float64)
    if np.isnan(states).any():
        raise ValueError("a state is NaN; 'never' is inf")
    cells = states.reshape(len(states), -1)
    order = np.argsort(cells, axis=None, kind="stable")
    ordered, concept = cells.ravel()[order], order // cells.shape[1]
    # Drawing a concept twice doubles its cells: the weighted median is the first cell at which the cumulated
    # weight reaches half. Weights are counts, so the comparison is exact.
    cumulated = Groups.independent(len(cells)).bootstrap_weights[:, concept].cumsum(axis=1)
    resampled = ordered[(2 * cumulated >= cumulated[:, -1:]).argmax(axis=1)]
    tail = (1 - CONFIDENCE) / 2
    ends = (attained_quantile(resampled, share) for share in (tail, 1 - tail))
    low, high = (_known(float(end)) for end in ends)
    return _known(float(attained_quantile(ordered, 0.5))), low, high


def commitment_sensitivity(
    curves: Mapping[str, Mapping[str, np.ndarray]], position: str, metric: str, start: int = 0
) -> pd.DataFrame:
    """How far commitment depends on the threshold and on the number of states it must hold for.

    curves: variant -> language -> (n, n_states) item scores of any metric, a row per meaning. One row per
    variant, language, threshold of THRESHOLDS and run of RUNS: variant, language, position, metric,
    threshold, consecutive, committed (how many meanings), n, fraction, ci_low, ci_high (Wilson's 95 %
    interval; meanings of one language are independent, so no pooling over languages), and censored_median,
    empty where fewer than half commit. Raises ValueError as commitment_layer does.
    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    rows = []
    for variant, by_language in curves.items():
        for language, items in by_language.items():
            for threshold in THRESHOLDS:
                for consecutive in RUNS:
                    states = commitment_states(items.round(CURVE_DECIMALS), threshold, consecutive, start)
                    row = {"variant": variant, "language": language, "position": position, "metric": metric}
                    row |= {"threshold": threshold, "consecutive": consecutive}
                    rows.append(row | committed(states))
    return pd.DataFrame(rows).astype({"censored_median": "Int64"})


def committed(states: np.ndarray) -> dict:
    """How many meanings of one language commit: the last six columns of `commitment_sensitivity`.

    states: (n,) as from `commitment_states`. Raises ValueError for n = 0.
    """
    count, n = int(np.isfinite(states).sum()), len(states)
    low, high = _wilson(count, n)
    return {
        "committed": count,
        "n": n,
        "fraction": count / n,
        "ci_low": low,
        "ci_high": high,
        "censored_median": _known(float(attained_quantile(states, 0.5))),
    }


@cache
def _wilson(count: int, n: int) -> tuple[float, float]:
    ends = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return ends.low, ends.high
