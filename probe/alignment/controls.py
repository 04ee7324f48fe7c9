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

from probe.stats.metrics import excess, u_centred

OVERLAP = "tokens"
NUMBER, LATIN = regex.compile(r"\d+"), regex.compile(r"\p{Latin}{2,}")
LEAST_STRATUM = 5  # meanings; fewer hold too few mismatched pairs to be a comparison
FEW_DIMENSIONS = 0.01  # of all dimensions, but at least ...
AT_LEAST = 3


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
    counts = [np.array([len(own) for own in side], np.float64) for side in tokens]
    length = [np.log(np.maximum(own, 1)) for own in counts]
    found = {
        OVERLAP: shared(*tokens),
        **{name: shared(*([of(text) for text in side] for side in texts)) for name, of in OF_TEXT.items()},
        "length_difference": -np.abs(length[0][:, None] - length[1]),
        # What a dimension that codes length adds to the product of two sentences, in tokens or their
        # logarithm.
        "length_product": np.multiply.outer(*(own - own.mean() for own in length)),
        "count_product": np.multiply.outer(*(own - own.mean() for own in counts)),
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
    columns, wanted = (u_centred(each).reshape(len(each), -1) for each in (stacked, similarity))
    slopes = np.linalg.lstsq(columns @ columns.T, columns @ wanted.T, rcond=1e-9)[0]
    for place, (name, values) in enumerate(covariates.items()):
        if name == OVERLAP and excess(values[None])[0] > 0:
            slopes[place] = np.maximum(slopes[place], 1.0)
    return similarity - np.tensordot(slopes.T, stacked, axes=1)


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


def without_top_dimensions(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean matched cosine once the few dimensions that add most to it are left out.

    pivot, target: (n_states, n, d_model) centred unit vectors, matched by row. Returns (n_states,) in [-1,
    1].
    Source: Timkey and van Schijndel 2021, "All Bark and No Bite".
    """
    k = max(AT_LEAST, round(FEW_DIMENSIONS * pivot.shape[-1]))
    left = np.zeros(len(pivot))
    for state, (own, other) in enumerate(zip(pivot, target, strict=True)):
        products = own * other
        top = np.argsort(-products.mean(axis=0), kind="stable")[:k]
        lengths = [
            np.sqrt(np.maximum(0.0, (each**2).sum(1) - (each[:, top] ** 2).sum(1))) for each in (own, other)
        ]
        kept = products.sum(axis=1) - products[:, top].sum(axis=1)
        scale = lengths[0] * lengths[1]
        left[state] = np.divide(kept, scale, out=np.zeros(len(kept)), where=scale > 1e-9).mean()
    return left
