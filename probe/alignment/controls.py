"""What matched sentences may have in common beside their meaning, and the alignment that is left without it.

Over all pairs of a sentence in the pivot and one in the target, matched or not: the tokens that they share,
the numbers, the words in Latin letters (names), the punctuation, the final mark, their lengths. What each of
these is worth is told from mismatched pairs, which share them too and share no meaning.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import regex
from scipy.sparse import csr_array

from probe.stats.groups import SEED
from probe.stats.metrics import excess

OVERLAP = "tokens"
NUMBER, LATIN = regex.compile(r"\d+"), regex.compile(r"\p{Latin}{2,}")
LEAST_STRATUM = 5  # meanings; fewer hold too few mismatched pairs to be a comparison
FEW_DIRECTIONS = 0.01  # of all dimensions, but at least ...
AT_LEAST = 3
ITERATIONS = 12  # of finding them


def shared(pivot: Sequence[Iterable[Hashable]], target: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """float64 (n, n) in [0, 1]: common members over the root of the product of the sizes; 0 where one has
    none.

    It is the cosine of two sums of unrelated vectors of one length, of which so many are the same.
    """
    sides = [[set(own) for own in side] for side in (pivot, target)]
    column = {member: place for place, member in enumerate(set().union(*sides[0], *sides[1]))}
    if not column:
        return np.zeros((len(pivot), len(target)))
    holds = [_incidence([[column[member] for member in own] for own in side], len(column)) for side in sides]
    sizes = [np.sqrt(np.maximum(1, [len(own) for own in side])) for side in sides]
    return (holds[0] @ holds[1].T).toarray() / (sizes[0][:, None] * sizes[1])


def _incidence(rows: Sequence[Sequence[int]], n_columns: int) -> csr_array:
    """float64 (n, n_columns): 1 where a row holds the column."""
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([column for row in rows for column in row], np.int64)
    return csr_array((np.ones(len(columns)), columns, ends), shape=(len(rows), n_columns))


def numbers(text: str) -> list[str]:
    """Numbers, whatever the script of their digits."""
    return ["".join(str(unicodedata.digit(digit)) for digit in run) for run in NUMBER.findall(text)]


def names(text: str) -> list[str]:
    """Words in Latin letters: where the other language writes otherwise, these are names and loans."""
    return [word.casefold() for word in LATIN.findall(text)]


def punctuation(text: str) -> list[tuple[str, int]]:
    """Marks inside the sentence, the second of a kind apart from the first."""
    marks = [character for character in text.rstrip()[:-1] if unicodedata.category(character)[0] == "P"]
    return [(mark, place) for mark, count in Counter(marks).items() for place in range(count)]


def final_mark(text: str) -> list[str]:
    """What kind of sentence its last character makes it: a question, a call, or a statement."""
    last = text.rstrip()[-1:]
    return ["?" if last in "?؟፧" else "!" if last in "!" else "."]


OF_TEXT: dict[str, Callable[[str], list]] = {
    "numbers": numbers,
    "names": names,
    "punctuation": punctuation,
    "final_mark": final_mark,
}


def pair_covariates(
    texts: tuple[Sequence[str], Sequence[str]],
    tokens: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    read: tuple[Sequence[int], Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """Covariate -> float64 (n, n), pivot sentence i with target sentence j; those that never vary are left
    out.

    texts, tokens: of the pivot and of the target, tokens without special ones; read: the one token that is
    read of each sentence, where it is one.
    """
    length = [np.log(np.maximum(1.0, [len(own) for own in side])) for side in tokens]
    unit = [(own - own.mean()) / (own.std() or 1.0) for own in length]
    found = {
        OVERLAP: shared(*tokens),
        **{name: shared(*([of(text) for text in side] for side in texts)) for name, of in OF_TEXT.items()},
        "length_difference": -np.abs(length[0][:, None] - length[1]),
        # What a dimension that codes length adds to the product of two sentences, in tokens or their
        # logarithm.
        "length_product": np.multiply.outer(*(own - own.mean() for own in length)),
        "length_direction": np.multiply.outer(*(own / np.sqrt(1 + own**2) for own in unit)),
    }
    if read is not None:
        found["same_token_read"] = np.equal.outer(*(np.asarray(side) for side in read)).astype(np.float64)
    return {name: values for name, values in found.items() if np.ptp(values) > 0}


def without_shared(similarity: np.ndarray, covariates: dict[str, np.ndarray]) -> np.ndarray:
    """What each pair would score if it had nothing of the covariates in common.

    similarity: (n_states, n, n) centred cosines. The worth of a covariate is its least-squares slope over
    mismatched pairs, sentences' own means taken out; that of shared tokens is at least 1, which is what they
    are worth where nothing but tokens is in a vector: mismatched pairs often share too few to tell. Returns
    (n_states, n, n).
    """
    if not covariates:
        return similarity
    stacked = np.stack(list(covariates.values()))
    columns, wanted = (_without_means(each).reshape(len(each), -1) for each in (stacked, similarity))
    slopes = np.linalg.lstsq(columns @ columns.T, columns @ wanted.T, rcond=1e-9)[0]
    for place, (name, values) in enumerate(covariates.items()):
        if name == OVERLAP and excess(values[None])[0] > 0:
            slopes[place] = np.maximum(slopes[place], 1.0)
    return similarity - np.tensordot(slopes.T, stacked, axes=1)


def _without_means(pairs: np.ndarray) -> np.ndarray:
    """(k, n, n): the mismatched cells less what their row and their column alone make (least squares over
    these cells), and 0 on the diagonal."""
    n = pairs.shape[-1]
    each = np.eye(n, dtype=bool)
    cells = np.where(each, 0.0, pairs)
    half = cells.sum(axis=(-2, -1), keepdims=True)[..., 0] / (2 * (n - 1))
    rows, columns = cells.sum(axis=-1) - half, cells.sum(axis=-2) - half
    of_row, of_column = ((n - 1) * a + b for a, b in ((rows, columns), (columns, rows)))
    return np.where(each, 0.0, cells - (of_row[..., :, None] + of_column[..., None, :]) / (n * (n - 2)))


def within_strata(similarity: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Each pair against the other pairs of its stratum: what is left of alignment that a topic could make.

    similarity: (n_states, n, n); strata: int (n,), each of LEAST_STRATUM meanings or more. Returns
    (n_states, n, n); pairs of two strata are 0. The mean of the diagonal is matched minus mismatched within
    strata.
    """
    left = np.zeros_like(similarity)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        inside = (slice(None), members[:, None], members)
        block = similarity[inside]
        rows, columns = block.mean(axis=-1, keepdims=True), block.mean(axis=-2, keepdims=True)
        n = block.shape[-1]
        left[inside] = (block - rows - columns + rows.mean(axis=-2, keepdims=True)) * (n / (n - 1))
    return left


def large_strata(labels: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, their strata as int): the meanings whose stratum has LEAST_STRATUM of them or more."""
    counted: Counter[str | None] = Counter(label for label in labels if label is not None)
    rows = np.array([i for i, label in enumerate(labels) if counted.get(label, 0) >= LEAST_STRATUM], np.int64)
    return rows, np.unique([str(labels[i]) for i in rows], return_inverse=True)[1] if len(rows) else rows


def without_top_directions(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean matched cosine once the few directions that make most of it are taken out.

    pivot, target: (n_states, n, d_model) centred unit vectors, matched by row. The directions are found on
    every other meaning and taken out of the rest, both ways round: found on the same meanings they would
    also hold what these agree on by chance. Returns (n_states,) in [-1, 1].
    Source: Timkey and van Schijndel 2021, "All Bark and No Bite" (of coordinates; one rotation hides those).
    """
    k = max(AT_LEAST, round(FEW_DIRECTIONS * pivot.shape[-1]))
    fold = np.arange(pivot.shape[1]) % 2
    left = np.zeros(pivot.shape[:2])
    for state, sides in enumerate(zip(pivot, target, strict=True)):
        for held_out in (0, 1):
            rest, own = fold != held_out, fold == held_out
            found = agreeing_directions(sides[0][rest], sides[1][rest], k)
            kept = [side[own] - side[own] @ found @ found.T for side in sides]
            scale = np.linalg.norm(kept[0], axis=1) * np.linalg.norm(kept[1], axis=1)
            inner = (kept[0] * kept[1]).sum(axis=1)
            left[state, own] = np.divide(inner, scale, out=np.zeros(len(inner)), where=scale > 1e-9)
    return left.mean(axis=1)


def agreeing_directions(pivot: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """(d_model, k), orthonormal: the leading eigenvectors of P'T + T'P, along which matched rows agree most.

    pivot, target: (n, d_model). Exactly where the rows are few against d_model, for then they span all of it;
    by subspace iteration elsewhere: of the whole spectrum only k are wanted.
    Source: Halko, Martinsson and Tropp 2011, "Finding Structure with Randomness".
    """
    n, d_model = pivot.shape
    if 2 * n < d_model:
        spanned, rows = np.linalg.qr(np.concatenate([pivot, target]).T)
        inside = rows[:, :n] @ rows[:, n:].T
        return (spanned @ np.linalg.eigh(inside + inside.T)[1])[:, ::-1][:, :k]
    basis = np.random.default_rng(SEED).normal(size=(pivot.shape[1], min(k + 2, pivot.shape[1])))
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(pivot.T @ (target @ basis) + target.T @ (pivot @ basis))
    inside = (pivot @ basis).T @ (target @ basis)
    _, vectors = np.linalg.eigh(inside + inside.T)
    return (basis @ vectors)[:, ::-1][:, :k]
