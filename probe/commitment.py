"""When a concept commits: the first state from which its alignment holds."""

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

THRESHOLD = 0.85
CONSECUTIVE = 3


def commitment_layer(
    curve, threshold: float = THRESHOLD, consecutive: int = CONSECUTIVE, start: int = 0
) -> int | None:
    """First state, not before `start`, from which the curve stays at or above the threshold for
    `consecutive` states; None where it never does.

    curve: (n_states,) floats, state 0 the embedding. Raises ValueError for consecutive < 1 or a value that
    is not finite.
    """
    values = np.asarray(curve, dtype=np.float64)[start:]
    if consecutive < 1:
        raise ValueError("consecutive must be at least 1")
    if not np.isfinite(values).all():
        raise ValueError("the curve holds a value that is not finite")
    if len(values) < consecutive:
        return None
    held = sliding_window_view(values >= threshold, consecutive).all(axis=-1)
    return start + int(held.argmax()) if held.any() else None


def held_level(curve, consecutive: int = CONSECUTIVE) -> float | None:
    """The highest threshold that the curve holds for `consecutive` states in a row: over all runs of that
    many states, the largest of the runs' minima. None where the curve is shorter than one run.

    curve: (n_states,) floats. So `commitment_layer(curve, t, k)` is a state exactly where `held_level(curve,
    k) >= t`: it tells how far from committing a curve is. Raises ValueError as commitment_layer does.
    """
    values = np.asarray(curve, dtype=np.float64)
    if consecutive < 1:
        raise ValueError("consecutive must be at least 1")
    if not np.isfinite(values).all():
        raise ValueError("the curve holds a value that is not finite")
    if len(values) < consecutive:
        return None
    return float(sliding_window_view(values, consecutive).min(axis=-1).max())


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
