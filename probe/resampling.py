"""Intervals and nulls: concepts (or sentences) are what is resampled, never single cells."""

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

N_RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20


def bootstrap_weights(n: int, n_resamples: int = N_RESAMPLES, seed: int = SEED) -> np.ndarray:
    """(n_resamples, n): how often each of n concepts is drawn. Redrawn where fewer than two differ, for
    then nothing is left to be mismatched."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    while (alone := (weights > 0).sum(axis=1) < 2).any():
        weights[alone] = rng.multinomial(n, np.full(n, 1 / n), size=int(alone.sum()))
    return weights.astype(np.float64)


def jackknife_weights(n: int) -> np.ndarray:
    """(n, n): each concept left out once."""
    return np.ones((n, n)) - np.eye(n)


def bca_interval(
    estimate: np.ndarray, resampled: np.ndarray, jackknifed: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated bootstrap interval, one statistic per column.

    estimate: (k,), resampled: (n_resamples, k), jackknifed: (n, k). Returns (low, high), each (k,).
    Source: Efron 1987, "Better Bootstrap Confidence Intervals", eqs. 6.4-6.8.
    """
    below = (resampled < estimate).mean(axis=0) + (resampled == estimate).mean(axis=0) / 2
    limit = 0.5 / len(resampled)
    bias = norm.ppf(np.clip(below, limit, 1 - limit))
    deviation = jackknifed.mean(axis=0) - jackknifed
    spread = (deviation**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        acceleration = np.where(spread > 0, (deviation**3).sum(axis=0) / (6 * spread**1.5), 0.0)
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + norm.ppf(tail)
        share = norm.cdf(bias + shifted / (1 - acceleration * shifted))
        ends.append(_column_quantiles(resampled, share))
    return ends[0], ends[1]


def _column_quantiles(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    ordered = np.sort(values, axis=0)
    place = shares * (len(values) - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    columns = np.arange(values.shape[1])
    return ordered[low, columns] + (place - low) * (ordered[high, columns] - ordered[low, columns])


def interval(statistic: Callable[[np.ndarray], np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(estimate, low, high) of a statistic of concept weights (m, n) -> (m, k)."""
    estimate = statistic(np.ones((1, n)))[0]
    low, high = bca_interval(estimate, statistic(bootstrap_weights(n)), statistic(jackknife_weights(n)))
    return estimate, low, high


def permuted_matched(similarity: np.ndarray, n_resamples: int = N_RESAMPLES, seed: int = SEED) -> np.ndarray:
    """What `matched` would be if the pairing said nothing: targets permuted, one permutation for all states.

    similarity: (n_states, n, n). Returns (n_resamples, n_states).
    """
    rng = np.random.default_rng(seed)
    n = similarity.shape[-1]
    orders = rng.permuted(np.tile(np.arange(n), (n_resamples, 1)), axis=1)
    rows = np.arange(n)
    return np.stack([state[rows, orders].mean(axis=1) for state in similarity], axis=1)


def p_value(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """One-sided, add-one: (1 + how many of the null reach the observed) / (1 + resamples).

    observed: (k,), null: (n_resamples, k). Returns (k,) in (0, 1].
    Source: Phipson and Smyth 2010, "Permutation P-values Should Never Be Zero".
    """
    reached = (null >= observed - 1e-12).sum(axis=0)
    return (1 + reached) / (1 + len(null))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values: the smallest false discovery rate at which each test is rejected. p: (m,)."""
    from scipy.stats import false_discovery_control

    return false_discovery_control(p, method="bh")
