"""The mean of scores of meanings that depend on one another: its interval and its tests.

Two things are wanted at once. Groups: the variance is that of leaving out one group at a time, and where
factors cross (a frame and its fillers) what each adds is added. Skew: where two of 20 meanings are aligned,
Student's t is too sure of itself on one side, so the studentised mean is resampled too, by groups, and an end
of the interval is the further of the two. A p is the larger of the two, and no smaller than the number of
groups allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import t as student_t

from probe.stats.groups import Groups, Shared, effective_number, multinomial

CONFIDENCE = 0.95
LEAST_VARIANCE = 0.05  # of a resampled mean, of the sample's own: by chance a few drawn groups may agree
ROUNDING = 1e-12  # scores are of order one: what differs by less differs by the order of summation


@dataclass(frozen=True)
class MeanTest:
    """Each (k,): the mean, its 95 % interval, the p of it being 0, and the p that holds over all k."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    p_max: np.ndarray


def infer_mean(items: np.ndarray, groups: Groups, one_sided: bool = False, families: int = 1) -> MeanTest:
    """Whether the mean of the items is 0, per column; `one_sided`: whether it is above 0.

    items: (n, k), finite, row i of one meaning; the columns (states, say) are resampled together, so that
    `p_max`, single-step over each of the `families` equal runs of columns, knows how they depend on one
    another. A column that does not vary has its value as its interval, and p = 1 where that is 0.
    Raises ValueError where shapes do not fit, n < 2 or a value is not finite.
    Sources: Cameron, Gelbach and Miller 2011, "Robust Inference with Multiway Clustering"; Bell and McCaffrey
    2002 (CR3, and Satterthwaite's degrees of freedom); Hall 1988 (the studentised bootstrap); Westfall and
    Young 1993 (p_max).
    """
    items = np.asarray(items, dtype=np.float64)
    if items.ndim != 2 or len(items) != groups.n or groups.n < 2:
        raise ValueError(f"items {items.shape} of {groups.n} meanings")
    if not np.isfinite(items).all():
        raise ValueError("a test was given a value that is not finite")
    value = items.mean(axis=0)
    variance, df, codes = mean_variance(items, groups)
    error = np.sqrt(variance)
    fixed = error <= ROUNDING
    studentised = _studentised(items - value, codes)
    below, above = _quantiles(studentised, (1 - CONFIDENCE) / 2)
    reach = student_t.ppf((1 + CONFIDENCE) / 2, df)
    low, high = value - np.maximum(reach, above) * error, value + np.maximum(reach, -below) * error
    unbounded = np.where(np.abs(value) <= ROUNDING, 0.0, np.copysign(np.inf, value))
    t = np.divide(value, error, out=unbounded, where=~fixed)
    single, joint = _p_values(t, df, studentised, 1 if one_sided else 2, families)
    least = 2.0 ** (1 - int(codes.max() + 1))
    single, joint = np.maximum(single, least), np.maximum(joint, least)
    still = fixed & (np.abs(value) <= ROUNDING)
    return MeanTest(value, low, high, np.where(still, 1.0, single), np.where(still, 1.0, joint))


def _p_values(
    t: np.ndarray, df: np.ndarray, studentised: np.ndarray, sides: int, families: int
) -> tuple[np.ndarray, np.ndarray]:
    """(p of each column, p over its family); of a two-sided test twice that of the side where t lies."""
    sign = np.where(t < 0, -1.0, 1.0) if sides == 2 else np.ones(len(t))
    by_family = studentised.reshape(len(studentised), families, -1)
    widest = by_family.shape[2]
    ends = {1.0: by_family.max(axis=2), -1.0: -by_family.min(axis=2)}
    counts = np.zeros((2, len(t)))
    for side, extreme in ends.items():
        here = sign == side
        counts[0, here] = (side * studentised[:, here] >= side * t[here]).sum(axis=0)
        counts[1, here] = (np.repeat(extreme, widest, axis=1)[:, here] >= side * t[here]).sum(axis=0)
    by_t = np.minimum(1.0, sides * student_t.sf(sign * t, df))
    resampled = np.minimum(1.0, sides * (1 + counts) / (1 + len(studentised)))
    return np.maximum(resampled[0], by_t), np.maximum(resampled[1], by_t)


def mean_variance(items: np.ndarray, groups: Groups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(variance (k,) of the mean, its degrees of freedom (k,), the codes (n,) of the factor that adds most).

    What leaving out the groups of each factor gives, less what two of them give together where they cross (by
    inclusion and exclusion; meanings that share three factors are taken to share no more than themselves);
    and no less than any factor, or the single meanings, alone.
    """
    names, shared = list(groups.factors), groups.shared
    single, *told = _left_out_variances(items, shared)
    if not names:
        return single, np.full(items.shape[1], groups.n - 1.0), np.arange(groups.n)
    parts, crossings = dict(zip(names, told, strict=False)), told[len(names) :]
    pairs = len(names) * (len(names) - 1) // 2
    twice = sum(crossings, (pairs - len(crossings)) * single)
    crossed = sum(parts.values(), (1 - len(parts) + pairs) * single) - twice
    variance = np.maximum.reduce([crossed, single, *parts.values()])
    return variance, *_degrees_of_freedom(variance, parts, single, groups)


def _degrees_of_freedom(
    variance: np.ndarray, parts: Mapping[str, np.ndarray], single: np.ndarray, groups: Groups
) -> tuple[np.ndarray, np.ndarray]:
    """Satterthwaite's, from what each factor adds to the single meanings; and the factor that adds most."""
    spread = single**2 / (groups.n - 1)
    for name, part in parts.items():
        df = max(1.0, effective_number(groups.factors[name]) - 1)
        spread = spread + np.maximum(0.0, part - single) ** 2 / df
    widest = max(parts, key=lambda name: float(np.mean(parts[name] / np.where(single > 0, single, 1.0))))
    fewest = max(1.0, effective_number(groups.factors[widest]) - 1)
    df = np.divide(variance**2, spread, out=np.full(len(single), fewest), where=spread > 0)
    return np.clip(df, 1.0, fewest), groups.factors[widest]


def _left_out_variances(items: np.ndarray, shared: Shared) -> np.ndarray:
    """(m, k): variance of the mean, by leaving out one group at a time (CR3), for each of m ways to group."""
    deviations = items - items.mean(axis=0)
    changes = (shared.members @ deviations) / (len(items) - shared.sizes)[:, None]
    squares = np.add.reduceat(changes**2, shared.starts, axis=0)
    counts = np.diff([*shared.starts, len(shared.sizes)])[:, None]
    return (counts - 1) / counts * squares


def _group_sums(items: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n_groups, k) sums, (n_groups,) sizes)."""
    sizes = np.bincount(codes).astype(np.float64)
    if len(sizes) == len(codes):
        return items, sizes
    rows = np.arange(len(codes))
    return csr_array((np.ones(len(codes)), (codes, rows))) @ items, sizes


def _studentised(deviations: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n_resamples, k): the mean of resampled groups, less the sample's, over its own standard error."""
    sums, sizes = _group_sums(deviations, codes)
    drawn = multinomial(len(sizes))
    total = (drawn @ sizes)[:, None]
    mean = drawn @ sums / total
    squares = (
        drawn @ sums**2 - 2 * mean * (drawn @ (sums * sizes[:, None])) + mean**2 * (drawn @ sizes**2)[:, None]
    )
    own = (sums**2).sum(axis=0) / sizes.sum() ** 2
    variance = np.maximum(squares / total**2, LEAST_VARIANCE * own) * len(sizes) / max(1, len(sizes) - 1)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > ROUNDING**2)


def _quantiles(values: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends that leave `tail` of the values beyond them on either side, per column."""
    out = int(tail * len(values))
    ordered = np.partition(values, (out, len(values) - 1 - out), axis=0)
    return ordered[out], ordered[-1 - out]


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p: the smallest family-wise error rate at which each test is rejected, step-down.

    p: (m,) in [0, 1]. Returns (m,) in [0, 1], valid under any dependence. Raises ValueError outside [0, 1],
    NaN included.
    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
