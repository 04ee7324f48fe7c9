"""Intervals and nulls: concepts (or sentences) are what is resampled, never single cells."""

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control, norm

N_RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20


@cache
def bootstrap_weights(n: int) -> np.ndarray:
    """(N_RESAMPLES, n): how often each of n concepts is drawn. Redrawn where fewer than two differ, for
    then nothing is left to be mismatched."""
    rng = np.random.default_rng(SEED)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
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


def interval(
    statistic: Callable[[np.ndarray], np.ndarray], n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(estimate, low, high) of a statistic of concept weights (m, n) -> (m, k)."""
    estimate = statistic(np.ones((1, n)))[0]
    low, high = bca_interval(estimate, statistic(bootstrap_weights(n)), statistic(jackknife_weights(n)))
    return estimate, low, high


@cache
def _permutations(n: int) -> csr_array:
    """(N_RESAMPLES, n * n): row r averages the n cells that the r-th random pairing picks."""
    rng = np.random.default_rng(SEED)
    orders = rng.permuted(np.tile(np.arange(n), (N_RESAMPLES, 1)), axis=1)
    cells = (np.arange(n) * n + orders).ravel()
    ends = np.arange(N_RESAMPLES + 1) * n
    return csr_array((np.full(len(cells), 1 / n), cells, ends), shape=(N_RESAMPLES, n * n))


def permuted_matched(similarity: np.ndarray) -> np.ndarray:
    """What `metrics.matched` would be if the pairing said nothing: the targets permuted, by the same
    permutations for all states, so that the maximum over states has a null too.

    similarity: (n_states, n, n). Returns (N_RESAMPLES, n_states).
    """
    n_states, n, _ = similarity.shape
    return _permutations(n) @ similarity.reshape(n_states, n * n).T


def p_value(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """One-sided, add-one: (1 + how many of the null reach the observed) / (1 + resamples).

    observed: (k,), null: (n_resamples, k). Returns (k,) in (0, 1].
    Source: Phipson and Smyth 2010, "Permutation P-values Should Never Be Zero".
    """
    reached = (null >= observed - 1e-12).sum(axis=0)
    return (1 + reached) / (1 + len(null))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values: the smallest false discovery rate at which each test is rejected. p: (m,)."""
    return false_discovery_control(p, method="bh")
