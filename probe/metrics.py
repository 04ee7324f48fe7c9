"""How alike matched sentences are, against how alike unmatched ones are. Written once, for every stage.

All of it works on similarity matrices: S[..., i, j] is the cosine of pivot sentence i and target sentence j,
so the diagonal holds the matched pairs. Resampling concepts then never touches a vector again.
"""

import numpy as np


def cosine_matrix(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cosine of every pivot with every target sentence.

    pivot, target: (n, d_model). Returns (n, n) float64 in [-1, 1]. Raises ValueError where a vector is zero
    or not finite, naming its row.
    """
    unit = []
    for vectors in (pivot, target):
        vectors = vectors.astype(np.float64)
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        bad = ~np.isfinite(length) | (length == 0)
        if bad.any():
            raise ValueError(f"row {int(bad.argmax())} is zero or not finite: it has no direction")
        unit.append(vectors / length)
    return np.clip(unit[0] @ unit[1].T, -1, 1)


def matched(similarity: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean cosine of the matched pairs.

    similarity: (n_states, n, n). weights: (n_resamples, n), how often each sentence was drawn; without it,
    once each. Returns (n_states,) or (n_resamples, n_states) in [-1, 1].
    """
    diagonal = np.diagonal(similarity, axis1=-2, axis2=-1)
    if weights is None:
        return diagonal.mean(axis=-1)
    return weights @ diagonal.T / weights.sum(axis=1, keepdims=True)


def mismatched(similarity: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean cosine of the pairs that say different things: the null of `matched`.

    Shapes as there. Two draws of one sentence are no mismatched pair and are left out. Raises ValueError
    where n < 2.
    """
    n = similarity.shape[-1]
    if n < 2:
        raise ValueError("one sentence has no mismatched pair")
    once = weights is None
    drawn = np.ones((1, n)) if weights is None else weights.astype(np.float64)
    diagonal = np.diagonal(similarity, axis1=-2, axis2=-1)
    total = np.stack([np.einsum("bi,bi->b", drawn @ state, drawn) for state in similarity], axis=1)
    own = drawn**2
    value = (total - own @ diagonal.T) / (drawn.sum(1) ** 2 - own.sum(1))[:, None]
    return value[0] if once else value


def excess(similarity: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Matched minus mismatched cosine: alignment beyond what an anisotropic space gives any two sentences.

    Shapes as in `matched`. Returns values in [-2, 2]; 0 is what unrelated sentences score.
    Source: Wu et al. 2024, "The Semantic Hub Hypothesis" (matched against unmatched pairs).
    """
    return matched(similarity, weights) - mismatched(similarity, weights)


METRICS = {"cosine": matched, "excess": excess}
