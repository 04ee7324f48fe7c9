"""How alike matched sentences are, against how alike unmatched ones are. Written once, for every stage.

All of it works on inner products (`Grams`), so a vector is read once and never again. Two kinds of metric:

ITEMWISE  Grams -> Q (n_states, n, n): Q[s, i, j] is what pivot i and target j would score at state s were
          they the matched pair. The diagonal holds the item scores, their mean is the value, and permuting
          the targets (`resampling.permuted_matched(Q)`) gives the null. Q[s, i, j] may look at all sentences
          but not at which are paired: only then is the permuted value what relabelled data would have
          scored, and the test exact.
WHOLE     Grams -> (n_states,): CKA and mutual k-NN compare the two languages' own geometries. Their null
          relabels one language, rows and columns of its Gram together (`relabelled_null`).

No chance level is assumed, each is measured by permutation (`null`). What a metric cannot measure is a
`Refused` with the reason, never a number. Where nothing is left of a sentence once the mean of its language
is taken away (a constant final token), it shares no direction with anything and scores 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from scipy.stats import t as student_t

from probe.stats import resampling

MARGIN_K = 4  # neighbours of the margin, as in LASER's xsim
KNN_MAX = 10  # neighbours of mutual k-NN, as in platonic-rep, where there are sentences enough
RELABELLINGS = 200  # of a whole geometry; one costs n^2, and p is still resolved to 0.005
CACHED = 2**16  # cells that are relabelled at once: what a core keeps near it
DECIMALS = 5  # cosines that agree to so many are tied: a processor, not the model, tells closer ones apart
COLUMN_BITS = 24  # of a whole number that holds a score and its column
LOST = 1e-12  # share of a squared length that float32 vectors keep, by rounding, when they are all the same


class Refused(ValueError):  # noqa: N818 - as probe.errors: says what is the case
    """The metric would not mean anything here; the message says why."""


@dataclass(frozen=True, eq=False)
class Grams:
    """Raw inner products at every state, each float64 (n_states, n, n).

    cross[s, i, j] is pivot sentence i with target sentence j; matched pairs are on its diagonal. All squared
    lengths (the diagonals of `pivot` and `target`) are finite and above 0. States may be measured in blocks,
    for no metric looks from one state at another: s = 0 is then the network's state `first_state`.
    rivals: axis searched -> (n_states, n, m) centred cosines of the sentences that search with m more that
    they may find, beside the n.
    """

    pivot: np.ndarray
    cross: np.ndarray
    target: np.ndarray
    first_state: int = 0
    rivals: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return self.cross.shape[-1]

    @cached_property
    def similarity(self) -> np.ndarray:
        """(n_states, n, n) cosine of every pivot with every target sentence, in [-1, 1]."""
        return _divided(self.cross, _own(self.pivot), _own(self.target))

    @cached_property
    def centred(self) -> np.ndarray:
        """(n_states, n, n) cosines of all pairs less their languages' means, see `centred_cosine`."""
        rows, columns = (_centred_lengths(gram) for gram in (self.pivot, self.target))
        return _divided(_doubly_centred(self.cross), rows, columns)

    @cached_property
    def ranks(self) -> dict[int, np.ndarray]:
        """axis searched -> (n_states, n, n) mid-rank by raw cosine, see `reciprocal_rank`."""
        return {axis: _searched(self.similarity, axis) for axis in (TO_TARGET, TO_PIVOT)}


@dataclass(frozen=True, eq=False)
class Side:
    """One language: vectors float64 (n_states, n, d_model), their inner products (n_states, n, n), and the
    centred, unit vectors (n_states, m, d_model) of further sentences that may be found instead."""

    vectors: np.ndarray
    gram: np.ndarray
    first_state: int = 0
    rivals: np.ndarray | None = None

    @cached_property
    def directions(self) -> np.ndarray:
        return directions(self.vectors)


def side(vectors: np.ndarray, name: str, first_state: int = 0, rivals: np.ndarray | None = None) -> Side:
    """What all pairings of one language share, so that the pivot's is worked out once.

    vectors: (n, n_states, d_model), the states from `first_state` on; rivals: (m, n_states, d_model). Raises
    ValueError where a vector is zero or not finite, naming its row, its state and the side.
    """
    exact = np.ascontiguousarray(vectors.swapaxes(0, 1), np.float64)
    with np.errstate(invalid="ignore"):  # told below, by row
        gram = np.stack([each @ each.T for each in exact])
    for state, each in enumerate(gram, first_state):
        _require_direction(np.diagonal(each), f"of the {name} at state {state}")
    others = (
        None if rivals is None or not len(rivals) else directions(rivals.swapaxes(0, 1).astype(np.float64))
    )
    return Side(exact, gram, first_state, others)


def directions(vectors: np.ndarray) -> np.ndarray:
    """(n_states, n, d_model): less their mean, and of length 1; 0 where nothing but rounding is left."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    own, left = (np.einsum("snd,snd->sn", each, each) for each in (vectors, centred))
    length = np.where(left > LOST * own, np.sqrt(left), np.inf)
    return centred / length[..., None]


def paired(pivot: Side, target: Side) -> Grams:
    """Row i of both sides says the same thing, at the same states. Raises ValueError where shapes differ."""
    if pivot.vectors.shape != target.vectors.shape:
        raise ValueError(f"{pivot.vectors.shape} and {target.vectors.shape} are not matched sentences")
    cross = np.stack([p @ t.T for p, t in zip(pivot.vectors, target.vectors, strict=True)])
    rivals = {}
    if pivot.rivals is not None and target.rivals is not None:
        rivals = {
            TO_TARGET: pivot.directions @ target.rivals.swapaxes(1, 2),
            TO_PIVOT: target.directions @ pivot.rivals.swapaxes(1, 2),
        }
    return Grams(pivot.gram, cross, target.gram, pivot.first_state, rivals)


def grams(pivot: np.ndarray, target: np.ndarray) -> Grams:
    """The inner products of matched sentences, in float64.

    pivot, target: (n, n_states, d_model), row i of both says the same thing. Raises ValueError as `side` and
    `paired` do.
    """
    return paired(side(pivot, "pivot"), side(target, "target"))


def _require_direction(squared_length: np.ndarray, where: str) -> None:
    bad = ~(np.isfinite(squared_length) & (squared_length > 0))
    if bad.any():
        raise ValueError(f"row {int(bad.argmax())} {where} is zero or not finite: it has no direction")


def cosine_matrix(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cosine of every pivot with every target sentence.

    pivot, target: (n, d_model). Returns (n, n) float64 in [-1, 1]. Raises ValueError where a vector is zero
    or not finite, naming its row.
    """
    return grams(pivot[:, None], target[:, None]).similarity[0]


def _own(gram: np.ndarray) -> np.ndarray:
    """(n_states, n) squared lengths."""
    return np.diagonal(gram, axis1=-2, axis2=-1)


def _divided(products: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Inner products over lengths, in [-1, 1]; 0 where a squared length is 0."""
    lengths = np.sqrt(rows)[..., :, None] * np.sqrt(columns)[..., None, :]
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.clip(cosines, -1, 1, out=cosines)


# What a metric needs

NEEDS = {
    "rank": (3, "two centred sentences point in opposite directions whatever they say"),
    "cosine": (1, ""),
    "excess": (2, "one sentence has no mismatched pair"),
    "centred_cosine": (3, "two centred sentences point in opposite directions whatever they say"),
    "margin": (MARGIN_K + 1, f"the {MARGIN_K} nearest of a sentence would be all there are"),
    "xsim": (MARGIN_K + 1, f"the {MARGIN_K} nearest of a sentence would be all there are"),
    "cka": (4, "the unbiased HSIC divides by n - 3"),
    "mutual_knn": (4, "a neighbourhood of a quarter of the sentences would be empty"),
}


def _require_enough(metric: str, n: int) -> None:
    least, reason = NEEDS.get(metric, (2, "a single candidate is found by whoever looks"))
    if n < least:
        raise Refused(f"{metric} with n = {n}, needs {least}: {reason}")


# Itemwise: closeness


def cosine(grams: Grams) -> np.ndarray:
    """Q_ij = <x_i, y_j> / (|x_i| |y_j|), in [-1, 1].

    Chance is the mean cosine of any two sentences, which anisotropy lifts far above 0.
    """
    return grams.similarity


def excess_cosine(grams: Grams) -> np.ndarray:
    """Q_ij = (S_ij - mean of row i - mean of column j + mean of all) n / (n - 1), S the cosines; in [-8, 8].

    How much closer the pair is than the closeness of its two sentences to all others makes one expect. The
    mean of the diagonal is exactly matched minus mean mismatched cosine, in [-2, 2], and that of any pairing
    what relabelled data would give, so chance is exactly 0. Row and column are taken away whole, not half of
    each: the mismatched mean varies with the sentences drawn by that much, and an interval over items must
    know it. Raises Refused for n < 2.
    Source: Wu et al. 2024, "The Semantic Hub Hypothesis" (matched against unmatched pairs).
    """
    _require_enough("excess", grams.n)
    return beyond_others(grams.similarity)


def beyond_others(score: np.ndarray) -> np.ndarray:
    """(n_states, n, n): each pair's score less those of its row and column; see `excess_cosine`."""
    n = score.shape[-1]
    return _doubly_centred(score) * (n / (n - 1))


def centred_cosine(grams: Grams) -> np.ndarray:
    """Cosine of x_i less the mean of the other pivots with y_j less the mean of the other targets; [-1, 1].

    Neither sentence is in the mean that is taken from it, and for a matched pair nor is its translation.
    Leaving it out changes a length only: x_i less the mean of the others is n / (n - 1) times x_i less the
    mean of all. So this is the cosine of ordinarily centred vectors, C_ij / sqrt(P_ii T_jj) with C, P and T
    the doubly centred Grams.
    For i != j the mean of the targets other than j holds the translation of x_i. To leave that out as well
    would use the pairing to score a mismatched pair; these would then score about +1 / (n - 1) of what
    matched ones do, not -1 / (n - 1), and the permutation test would not be exact: at 5 % it would reject
    3.7 % of true nulls at n = 20, and 1.7 % at n = 8.
    Chance is about 0. A sentence of which centring leaves nothing scores 0. Raises Refused for n < 3.
    Source: Mu and Viswanath 2018, "All-but-the-Top" (the mean); Libovicky et al. 2020 (per language).
    """
    _require_enough("centred_cosine", grams.n)
    return grams.centred


def _doubly_centred(gram: np.ndarray) -> np.ndarray:
    rows, columns = gram.mean(axis=-1, keepdims=True), gram.mean(axis=-2, keepdims=True)
    return gram - rows - columns + rows.mean(axis=-2, keepdims=True)


def _centred_lengths(gram: np.ndarray) -> np.ndarray:
    """(n_states, n) squared lengths after centring; exactly 0 where what is left is rounding."""
    means = gram.mean(axis=-1)
    left = _own(gram) - 2 * means + means.mean(axis=-1, keepdims=True)
    return np.where(left > LOST * _own(gram), left, 0.0)


# Itemwise: retrieval

TO_TARGET, TO_PIVOT = -1, -2  # the axis searched: a pivot sentence looks among the targets, or the reverse


def _ties_tied(score: np.ndarray) -> np.ndarray:
    return np.round(score, DECIMALS)


def _alone_on_top(score: np.ndarray, axis: int) -> np.ndarray:
    """1.0 where the score is above every other along the axis, 0.0 elsewhere, with ties nowhere."""
    top = score == score.max(axis=axis, keepdims=True)
    return (top & (top.sum(axis=axis, keepdims=True) == 1)).astype(np.float64)


def mid_ranks(score: np.ndarray, rivals: np.ndarray | None = None) -> np.ndarray:
    """The place of each cell in its row, 1 the best; cells that tie share the mean of their places.

    score: (..., n), in [-1, 1]. rivals: (..., m) that compete in the row and are given no place. Returns
    (..., n).
    """
    n = score.shape[-1]
    pool = score if rivals is None else np.concatenate([score, rivals], axis=-1)
    width = pool.shape[-1]
    # Value and column in one whole number: sorting those is several times faster than argsort.
    keys = (np.rint(pool * 10**DECIMALS).astype(np.int64) << COLUMN_BITS) + np.arange(width)
    keys.sort(axis=-1)
    values, columns = keys >> COLUMN_BITS, keys & (2**COLUMN_BITS - 1)
    differs = values[..., 1:] != values[..., :-1]
    places = np.arange(width)
    begins, ends = np.zeros(keys.shape, np.int64), np.full(keys.shape, width - 1)
    np.maximum.accumulate(np.where(differs, places[1:], 0), axis=-1, out=begins[..., 1:])
    backwards = np.where(differs, places[:-1], width - 1)[..., ::-1]
    ends[..., :-1] = np.minimum.accumulate(backwards, axis=-1)[..., ::-1]
    place = np.empty(keys.shape)
    np.put_along_axis(place, columns, width - (begins + ends) / 2, axis=-1)
    return place[..., :n]


def _searched(score: np.ndarray, axis: int, rivals: np.ndarray | None = None) -> np.ndarray:
    """`mid_ranks` among those that are searched along the axis. rivals: (n_states, n, m), of who searches."""
    return np.moveaxis(mid_ranks(np.moveaxis(score, axis, -1), rivals), -1, axis)


def precision_at_1(grams: Grams, axis: int) -> np.ndarray:
    """Q_ij = 1 where j is the one nearest target of i by cosine (axis TO_TARGET), or i the one nearest pivot
    of j (TO_PIVOT), 0 otherwise. Two nearest are none: ties count against. Chance is 1/n, less with ties.
    Raises Refused for n < 2.
    """
    _require_enough("retrieval", grams.n)
    return _alone_on_top(_ties_tied(grams.similarity), axis)


def reciprocal_rank(grams: Grams, axis: int) -> np.ndarray:
    """Q_ij = 1 / the rank of the pair among the candidates along the axis, ties sharing their places; (0, 1].

    Its mean is the MRR; chance is about (1 + 1/2 + ... + 1/n) / n. Raises Refused for n < 2.
    Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".
    """
    _require_enough("retrieval", grams.n)
    return 1 / grams.ranks[axis]


def rank(grams: Grams) -> np.ndarray:
    """Q_ij = log2(candidates / rank of the partner), in bits, by centred cosine; the mean of both directions.

    Candidates are the n sentences of the other language and the rivals that `grams` knows. In [0, log2 of the
    candidates], which is the ceiling; chance is about 1.44 = log2(e). It looks at the order only: no scale of
    a space, and no offset of a language, moves it. Raises Refused for n < 3.
    """
    _require_enough("rank", grams.n)
    bits = np.zeros_like(grams.centred)
    for axis in (TO_TARGET, TO_PIVOT):
        place = _searched(grams.centred, axis, grams.rivals.get(axis))
        bits += np.log2(candidates(grams) / place) / 2
    return bits


def candidates(grams: Grams) -> int:
    """Among how many sentences `rank` looks for the partner."""
    return grams.n + (grams.rivals[TO_TARGET].shape[-1] if grams.rivals else 0)


def _both(metric: Callable[[Grams, int], np.ndarray], grams: Grams) -> np.ndarray:
    return (metric(grams, TO_TARGET) + metric(grams, TO_PIVOT)) / 2


def mexa(grams: Grams) -> np.ndarray:
    """Q_ij = 1 where S_ij is above all else in row i and in column j, 0 otherwise. Ties count against.

    Chance is at most 1/n: every row has at most one such pair, and not every row has one. Raises Refused for
    n < 2.
    Source: Kargaran et al. 2024, "MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual
    Alignment".
    """
    return precision_at_1(grams, TO_TARGET) * precision_at_1(grams, TO_PIVOT)


def margin(grams: Grams) -> np.ndarray:
    """Q_ij = S_ij / ((mean cosine of i's 4 nearest targets + that of j's 4 nearest pivots) / 2), j and i
    among the candidates. Above 1: closer than either is to its neighbourhood; so hubs do not win.

    Chance is below 1, unless all are tied; how far is measured. Raises Refused for n <= 4, and where a
    neighbourhood's mean cosine is not positive, for the ratio then has no order.
    Source: Artetxe and Schwenk 2019, "Margin-based Parallel Corpus Mining with Multilingual Sentence
    Embeddings" (ratio); k = 4 as in LASER's xsim.
    """
    _require_enough("margin", grams.n)
    nearest = [
        np.partition(grams.similarity, -MARGIN_K, axis=axis).take(range(-MARGIN_K, 0), axis)
        for axis in (TO_TARGET, TO_PIVOT)
    ]
    neighbourhood = (nearest[0].mean(-1, keepdims=True) + nearest[1].mean(-2, keepdims=True)) / 2
    bad = (neighbourhood <= 0).any(axis=(-2, -1))
    if bad.any():
        state = grams.first_state + int(bad.argmax())
        raise Refused(f"margin at state {state}: the nearest sentences have no positive cosine")
    return grams.similarity / neighbourhood


def xsim(grams: Grams) -> np.ndarray:
    """Share of the two searches that pair i and j: among the 4 nearest of a sentence by cosine, the one with
    the best margin; 0, 1/2 or 1. Its mean is 1 minus the xsim error, averaged over both directions.

    Ties count against. Chance is 1/n, less with ties. Refused where `margin` is.
    Source: Artetxe and Schwenk 2019; candidates limited to the nearest as in LASER's xsim.
    """
    _require_enough("xsim", grams.n)
    similarity, score = _ties_tied(grams.similarity), _ties_tied(margin(grams))
    found = np.zeros_like(score)
    for axis in (TO_TARGET, TO_PIVOT):
        least = np.partition(similarity, -MARGIN_K, axis=axis).take([-MARGIN_K], axis)
        found += _alone_on_top(np.where(similarity >= least, score, -np.inf), axis) / 2
    return found


# Whole samples: two geometries


def u_centred(gram: np.ndarray) -> np.ndarray:
    """The Gram with its diagonal left out and rows that sum to 0: <A, B> / (n (n - 3)) of two of them is the
    unbiased HSIC. Exactly 0 where all the sentences are one.

    Source: Szekely and Rizzo 2014, "Partial Distance Correlation with Methods for Dissimilarities".
    """
    n = gram.shape[-1]
    own, each = _own(gram), np.eye(n, dtype=bool)
    centred = np.where(each, 0.0, gram)
    rows = centred.sum(axis=-1)
    total = rows.sum(axis=-1)[..., None, None] / ((n - 1) * (n - 2))
    centred = centred - (rows[..., :, None] + rows[..., None, :]) / (n - 2) + total
    centred[..., each] = 0
    lost = np.abs(centred).max(axis=(-2, -1)) <= LOST * own.max(axis=-1)
    return np.where(lost[..., None, None], 0.0, centred)


def cka(grams: Grams) -> np.ndarray:
    """Debiased linear CKA = HSIC(P, T) / sqrt(HSIC(P, P) HSIC(T, T)), (n_states,) in [-1, 1].

    HSIC(K, L) = [tr KL + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 (1'KL1) / (n-2)] / (n (n-3)), K and L with diagonals
    set to 0: the cosine of the two U-centred Grams. Chance is exactly 0, and small values are as often
    negative; the biased CKA gives unrelated sentences nearly 1 where d_model is large against n. 0 where a
    language's sentences are all one vector. Raises Refused for n < 4.
    Source: Kornblith et al. 2019 (CKA); Song et al. 2007, "Supervised Feature Selection via Dependence
    Estimation" (unbiased HSIC); Murphy et al. 2024 (its use here).
    """
    _require_enough("cka", grams.n)
    pivot, target = u_centred(grams.pivot), u_centred(grams.target)
    return _ratio(*((a * b).sum(axis=(-2, -1)) for a, b in _products(pivot, target)))


def _products(pivot: np.ndarray, target: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return (pivot, target), (pivot, pivot), (target, target)


def _ratio(both: np.ndarray, pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.maximum(pivot, 0)) * np.sqrt(np.maximum(target, 0))
    return np.clip(np.divide(both, scale, out=np.zeros_like(both), where=scale > 0), -1, 1)


def cka_interval(
    grams: Grams, confidence: float = resampling.CONFIDENCE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, low, high), each (n_states,) in [-1, 1]: the debiased CKA with its jackknife interval.

    Student's t with n - 1 degrees of freedom on the arctanh of the delete-one values; conservative where
    many dimensions vary alike. Raises Refused for n < 5.
    Source: Arvesen 1969, "Jackknifing U-Statistics".
    """
    # Not the bootstrap: a meaning drawn twice is a pair as alike as can be, which lifts every HSIC; and once
    # such pairs are left out, HSIC no longer cancels what all sentences have in common, so that in an
    # anisotropic space HSIC(P, P) comes out negative in some resamples. Leaving one out repeats nothing.
    n = grams.n
    if n < 5:
        raise Refused(f"an interval of cka with n = {n}, needs 5: with one sentence out the HSIC needs 4")
    bound = 1 - LOST  # arctanh(1) is infinite
    value, without = (np.arctanh(np.clip(r, -bound, bound)) for r in (cka(grams), _cka_without_each(grams).T))
    error = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = student_t.ppf((1 + confidence) / 2, n - 1) * error
    return np.tanh(value), np.tanh(value - reach), np.tanh(value + reach)


def _cka_without_each(grams: Grams) -> np.ndarray:
    """(n_states, n): the debiased CKA with sentence i left out, in O(n^2) for all i together.

    The unbiased HSIC does not see u_i + u_j added to the cells i != j, so the U-centred Gram may stand for
    the raw one. Its rows sum to 0, hence without i they sum to -A_ji and the whole still to 0, and the
    formula leaves <A, B> - 2 (n - 2) / (n - 3) sum_j A_ij B_ij, up to a factor that cancels in the ratio.
    """
    pivot, target = u_centred(grams.pivot), u_centred(grams.target)
    share = 2 * (grams.n - 2) / (grams.n - 3)
    rows = [(a * b).sum(axis=-1) for a, b in _products(pivot, target)]
    return _ratio(*(row.sum(axis=-1, keepdims=True) - share * row for row in rows))


def neighbours(n: int) -> int:
    """k of mutual k-NN: 10 as in the paper, but at most a quarter of the sentences: chance is k / (n - 1),
    which with k = 10 would be over one half at n = 20."""
    return min(KNN_MAX, n // 4)


def mutual_knn_items(grams: Grams) -> np.ndarray:
    """(n, n_states) in [0, 1]: the share of sentence i's k nearest by cosine that are the same meanings in
    both languages, k = `neighbours(n)`.

    Sentences that tie for the last places share them equally (the overlap expected if ties are broken at
    random in each language); broken by index, a constant state would score 1. Resampled items keep their
    neighbours. Raises Refused for n < 4.
    Source: Huh et al. 2024, "The Platonic Representation Hypothesis" (mutual nearest neighbours).
    """
    _require_enough("mutual_knn", grams.n)
    pivot, target = (_membership(gram) for gram in (grams.pivot, grams.target))
    return (pivot * target).sum(axis=-1).T / neighbours(grams.n)


def _membership(gram: np.ndarray) -> np.ndarray:
    """(n_states, n, n): 1 where l is among the k nearest of i, a share where it ties for the last places."""
    k = neighbours(gram.shape[-1])
    similarity = _ties_tied(_divided(gram, _own(gram), _own(gram)))
    similarity[..., np.eye(gram.shape[-1], dtype=bool)] = -np.inf
    last = np.partition(similarity, -k, axis=-1)[..., [-k]]
    above, tied = similarity > last, similarity == last
    left = k - above.sum(axis=-1, keepdims=True)
    return above + tied * (left / tied.sum(axis=-1, keepdims=True))


def mutual_knn(grams: Grams) -> np.ndarray:
    """(n_states,) in [0, 1]: mean of `mutual_knn_items`. Chance is exactly k / (n - 1)."""
    return mutual_knn_items(grams).mean(axis=0)


@cache
def _relabellings(n: int) -> np.ndarray:
    """(RELABELLINGS, n)."""
    rng = np.random.default_rng(resampling.SEED)
    return rng.permuted(np.tile(np.arange(n), (RELABELLINGS, 1)), axis=1)


def relabelled_null(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """sum_{i != l} pivot[s, i, l] target[s, p(i), p(l)] for random relabellings p, the same for all states.

    pivot, target: (n_states, n, n), sentence by sentence within one language; only the cells where the pivot
    is not 0 cost anything. Returns (n_permutations, n_states).
    """
    n_states, n, _ = pivot.shape
    rows, columns = np.nonzero((pivot != 0).any(axis=0) & ~np.eye(n, dtype=bool))
    other, orders = target.reshape(n_states, n * n), _relabellings(n)
    null = np.zeros((len(orders), n_states))
    at_once = max(1, CACHED // n_states)
    for start in range(0, len(rows), at_once):
        i, j = rows[start : start + at_once], columns[start : start + at_once]
        own = pivot[:, i, j]
        for row, order in zip(null, orders, strict=True):
            row += np.einsum("sc,sc->s", own, other.take(order[i] * n + order[j], axis=1))
    return null


def _cka_null(grams: Grams) -> np.ndarray:
    pivot, target = u_centred(grams.pivot), u_centred(grams.target)
    lengths = [(side**2).sum(axis=(-2, -1)) for side in (pivot, target)]
    # Both are symmetric: half of the cells, twice.
    return _ratio(2 * relabelled_null(np.triu(pivot), target), *lengths)


def _mutual_knn_null(grams: Grams) -> np.ndarray:
    sides = (_membership(gram) for gram in (grams.pivot, grams.target))
    return relabelled_null(*sides) / (grams.n * neighbours(grams.n))


# The registries

ITEMWISE: dict[str, Callable[[Grams], np.ndarray]] = {
    "cosine": cosine,
    "excess": excess_cosine,
    "centred_cosine": centred_cosine,
    "rank": rank,
    "p1_to_target": lambda grams: precision_at_1(grams, TO_TARGET),
    "p1_to_pivot": lambda grams: precision_at_1(grams, TO_PIVOT),
    "p1": lambda grams: _both(precision_at_1, grams),
    "mrr_to_target": lambda grams: reciprocal_rank(grams, TO_TARGET),
    "mrr_to_pivot": lambda grams: reciprocal_rank(grams, TO_PIVOT),
    "mrr": lambda grams: _both(reciprocal_rank, grams),
    "mexa": mexa,
    "margin": margin,
    "xsim": xsim,
}
WHOLE: dict[str, Callable[[Grams], np.ndarray]] = {"cka": cka, "mutual_knn": mutual_knn}
_WHOLE_NULLS: dict[str, Callable[[Grams], np.ndarray]] = {"cka": _cka_null, "mutual_knn": _mutual_knn_null}


def null(metric: str, grams: Grams) -> np.ndarray:
    """(n_permutations, n_states): the metric's values if the pairing said nothing.

    Raises Refused where the metric does, KeyError for a name it does not know.
    """
    if metric in WHOLE:
        _require_enough(metric, grams.n)
        return _WHOLE_NULLS[metric](grams)
    return resampling.permuted_matched(ITEMWISE[metric](grams))


# On similarity matrices, with weights


def matched(similarity: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean cosine of the matched pairs.

    similarity: (n_states, n, n). weights: (n_resamples, n), how often each sentence was drawn; without it,
    once each. Returns (n_states,) or (n_resamples, n_states) in [-1, 1].
    """
    diagonal = _own(similarity)
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
    total = np.stack([np.einsum("bi,bi->b", drawn @ state, drawn) for state in similarity], axis=1)
    own = drawn**2
    value = (total - own @ _own(similarity).T) / (drawn.sum(1) ** 2 - own.sum(1))[:, None]
    return value[0] if once else value


def excess(similarity: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Matched minus mismatched cosine: alignment beyond what an anisotropic space gives any two sentences.

    Shapes as in `matched`. Returns values in [-2, 2]; 0 is what unrelated sentences score.
    Source: Wu et al. 2024, "The Semantic Hub Hypothesis" (matched against unmatched pairs).
    """
    return matched(similarity, weights) - mismatched(similarity, weights)
