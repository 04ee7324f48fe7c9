"""The shape of an alignment curve: where it peaks, how far it rises and falls, and which blocks do it.

Everything is a function of item scores, (n, n_states), a row per meaning; meanings are what is resampled, and
the peak is looked for anew in every resample.

The curve is described from its first state considered, `start`, to its last:
  peak state   the first state of the mean curve's maximum
  rise         value at the peak minus value at `start`         (>= 0 for the curve itself)
  fall         value at the last state minus value at the peak  (<= 0 for the curve itself)
  rise start   the first state of the high phase: the run of states up to the peak that lie at or above the
               half of the rise
  fall start   the first state after the peak below the half of the fall: where the high phase has ended
Half-heights, because where a slope *begins* depends on noise, and where it is half done hardly does
(fractional peak latency: Kiesel et al. 2008, "Measurement of ERP latency differences").
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from probe.stats.groups import Groups, as_groups
from probe.stats.inference import CONFIDENCE, ROUNDING, infer_mean
from probe.stats.resampling import attained_quantile, interval

FOLDS = 10
VALUES = {"peak": "", "rise": "rise_", "fall": "fall_"}  # and the prefix of its interval's columns


def _require_items(items: np.ndarray, start: int) -> None:
    if items.ndim != 2 or len(items) < 2 or not 0 <= start < items.shape[1]:
        raise ValueError(f"no curve to look at: items {items.shape}, from state {start}")
    if not np.isfinite(items).all():
        raise ValueError("an item score is not finite")


def phases(curves: np.ndarray, start: int = 0) -> np.ndarray:
    """Peak state, last state that ties with it, rise start and fall start of each curve.

    curves: (m, n_states), finite. Returns (m, 4) float64 of states counted from the embedding; rise start is
    inf (never) where the peak is the first state, fall start where the last state is as high as the peak.
    """
    values = curves[:, start:]
    states = np.arange(values.shape[1])
    top = values.max(axis=1, keepdims=True)
    at_top = values >= top - ROUNDING
    first, last = at_top.argmax(axis=1), values.shape[1] - 1 - at_top[:, ::-1].argmax(axis=1)
    low_before = (values < (top + values[:, :1]) / 2 - ROUNDING) & (states < first[:, None])
    low_after = (values < (top + values[:, -1:]) / 2 - ROUNDING) & (states > first[:, None])
    rise = values.shape[1] - low_before[:, ::-1].argmax(axis=1)
    rise_start = np.where(low_before.any(axis=1), rise, np.inf)
    fall_start = np.where(low_after.any(axis=1), low_after.argmax(axis=1), np.inf)
    return start + np.stack([first, last, rise_start, fall_start], axis=1)


def cross_fitted(items: np.ndarray, weights: np.ndarray, groups: Groups, start: int = 0) -> np.ndarray:
    """Peak value, rise and fall without the optimism of a selected maximum.

    The largest of many noisy means is too large on average, the more so the flatter the curve: for a flat one
    of 37 states by about a standard error, and its intervals then miss the truth on one side. So the peak
    state is chosen on nine tenths of the meanings and its value read from the tenth that had no say, ten
    times over. That is unbiased for the value at a state so chosen, which is at most the true peak: what
    error is left (a fifth of a standard error for a hump) is towards too low a peak, rise and depth of fall.
    A group is in one fold, and so are all copies of a resampled meaning.

    items: (n, n_states), weights: (m, n), how often each meaning is drawn. Returns (m, 3): peak, rise, fall.
    Source: Stone 1974, "Cross-Validatory Choice and Assessment"; Varma and Simon 2006 for the bias.
    """
    fold = groups.folds(FOLDS)
    rows = np.arange(len(weights))
    total = weights @ items
    peak = np.zeros(len(weights))
    for held_out in np.unique(fold):
        part = weights[:, fold == held_out] @ items[fold == held_out]
        chosen = start + (total - part)[:, start:].argmax(axis=1)
        peak += part[rows, chosen]
    peak, first, last = (column / weights.sum(axis=1) for column in (peak, total[:, start], total[:, -1]))
    return np.stack([peak, peak - first, last - peak], axis=1)


def describe(items: np.ndarray, groups: Groups | int, start: int = 0) -> dict:
    """The peak, rise, fall and phases of one curve, each with its 95 % interval over meanings.

    items: (n, n_states). Values (peak, rise, fall) are cross-fitted, with BCa intervals; `optimism` is what
    that took off the maximum of the mean curve. States have percentile intervals whose ends are states that
    occurred, at least 95 % of the resamples within; where several states tie for the maximum, the interval
    of the peak state reaches from the first to the last of them. None is "never" (no rise, no fall), and
    orders as later than every state. Where the curve is flat to within its noise, no interval of a peak
    state is reliable: read it beside `rise` and `fall`, which then cover 0.
    Raises ValueError for fewer than two meanings, a start outside the states, or a score that is not finite.
    """
    _require_items(items, start)
    groups = as_groups(groups)
    mean = items.mean(axis=0)
    own = phases(mean[None], start)[0]
    weights = groups.bootstrap_weights
    resampled = phases(weights @ items / weights.sum(axis=1, keepdims=True), start)
    tail = (1 - CONFIDENCE) / 2
    lows, highs = (attained_quantile(resampled, share) for share in (tail, 1 - tail))
    value, low, high = interval(lambda weights: cross_fitted(items, weights, groups, start), groups)
    row = _state_columns("peak_state", own[0], lows[0], highs[1])
    for k, (name, prefix) in enumerate(VALUES.items()):
        row |= {name: value[k], f"{prefix}ci_low": low[k], f"{prefix}ci_high": high[k]}
    row |= _state_columns("rise_start", own[2], lows[2], highs[2])
    row |= _state_columns("fall_start", own[3], lows[3], highs[3])
    return row | {"optimism": mean[start:].max() - value[0], "n": groups.n}


def _state_columns(name: str, *states: float) -> dict[str, int | None]:
    columns = (name, f"{name}_ci_low", f"{name}_ci_high")
    return {
        column: int(state) if np.isfinite(state) else None
        for column, state in zip(columns, states, strict=True)
    }


def peaks_table(
    curves: Mapping[str, Mapping[str, np.ndarray]],
    groups: Groups | int,
    position: str,
    metric: str,
    start: int = 0,
) -> pd.DataFrame:
    """The rows of peaks.csv: `describe` per variant and language.

    curves: variant -> language -> (n, n_states) item scores of one metric at one position. start: the first
    state considered; 1 sets the embedding aside, where alignment is shared tokens and no more.
    """
    rows = [
        {"variant": variant, "language": language, "position": position, "metric": metric}
        | describe(items, groups, start)
        for variant, by_language in curves.items()
        for language, items in by_language.items()
    ]
    table = pd.DataFrame(rows)
    states = [column for column in table if column.startswith(("peak_state", "rise_start", "fall_start"))]
    table = table.astype(dict.fromkeys(states, "Int64")).round(9)  # below is the noise of summation
    floats = table.select_dtypes("float").columns
    table[floats] += 0.0  # -0.0, the noise's sign, becomes 0
    return table


def _mean_of(per_item: np.ndarray, groups: Groups | int) -> tuple[float, float, float]:
    mean = infer_mean(per_item[:, None], as_groups(groups))
    return float(mean.value[0]), float(mean.low[0]), float(mean.high[0])


def _increments(items: np.ndarray, layer_types: Sequence[str]) -> np.ndarray:
    """(n, n_layers): what each block adds to each meaning's score."""
    _require_items(items, 0)
    if len(layer_types) != items.shape[1] - 1:
        raise ValueError(f"{len(layer_types)} layer types for {items.shape[1]} states")
    return np.diff(items, axis=1)


def increments_by_layer_type(
    items: np.ndarray, layer_types: Sequence[str], groups: Groups | int
) -> dict[str, tuple[float, float, float]]:
    """Layer type -> (estimate, low, high): the mean increment of the score per block of that type.

    items: (n, n_states); layer_types: of blocks 1 .. n_states - 1, in order (block l leads from state l - 1
    to state l), as in a config's `layer_types`: "sliding_attention" (RoPE) and "full_attention" (no
    positions) in Cohere2. Increment and interval (95 % over meanings) are in units of the score. The
    blocks are these blocks, not a sample: the interval speaks of other meanings, not of other models.
    Raises ValueError where the numbers of types and states do not fit.
    """
    increments = _increments(items, layer_types)
    types = np.asarray(layer_types)
    return {
        kind: _mean_of(increments[:, types == kind].mean(axis=1), groups)
        for kind in dict.fromkeys(layer_types)
    }


def increment_difference(
    items: np.ndarray,
    layer_types: Sequence[str],
    groups: Groups | int,
    first: str,
    second: str,
    trend: int = 0,
) -> tuple[float, float, float]:
    """(estimate, low, high): mean increment per block of type `first` minus that of type `second`.

    Arguments and interval as in `increments_by_layer_type`; blocks of other types do not count. Layer types
    are not dealt to depths at random: where every fourth block is of the one type, that type lies deeper and
    has the last block, so a curve that rises and falls gives a difference that the type did not make. With
    `trend` > 0 it is the least-squares coefficient of the type beside a polynomial of that degree in depth
    (2 takes out rise and fall); 0 is the plain difference of means.
    Raises ValueError where a type does not occur, or type and depth cannot be told apart.
    """
    increments = _increments(items, layer_types)
    types = np.asarray(layer_types)
    counted = np.isin(types, (first, second))
    depth = np.linspace(-1, 1, len(types))[counted]
    design = np.column_stack([types[counted] == first, np.vander(depth, trend + 1)]).astype(np.float64)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"'{first}' and '{second}' blocks cannot be told from each other or from depth")
    return _mean_of(increments[:, counted] @ np.linalg.pinv(design)[0], groups)
