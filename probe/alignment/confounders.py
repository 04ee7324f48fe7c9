"""What else could make sentences look alike: length, fertility, shared tokens, a crowded space.

Nothing here is a finding about meaning. Each function asks how much of the alignment a simpler property of
the sentences, or of the space, would account for. Rows are tidy: language (empty: all target languages
together), state (empty: no property of a state), quantity, value, ci_low, ci_high (95 % BCa over meanings in
their groups; empty where the quantity is descriptive), n meanings; `table` adds variant, stimuli and
position.

    tokens, words            mean per sentence, without special tokens; a word is what whitespace separates
    fertility                tokens per word, of all sentences together
    tokens_ratio             tokens of the language / tokens of the pivot's same meanings, and so for
    fertility_ratio          fertility: what an equal content costs (parity is 1)
    {covariate}_slope        least squares of item alignment on the covariate, over meanings and languages
    {covariate}_slope_within the same with every language's own mean taken out, so free of all else that
                             differs between languages
    {covariate}_r2           share of the item alignment's variance that the slope accounts for; with a
                             language, of that language's alone, by a slope of its own
    overlap_matched, overlap_mismatched, overlap_excess    share of token ids in common
    cosine_within, cosine_across    mean cosine of sentences that say different things: the anisotropy of one
                             language's sentences, and between the pivot's and the language's
    dims_top{k}, pcs_top{k}  share of variance in the k most varying coordinates, and principal components

The covariates are `length` (log of tokens, target less pivot), `fertility` (target less pivot) and `overlap`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe.stats import metrics, resampling
from probe.stats.groups import Groups

TOP = (1, 3, 10)
ALL = ""  # the language of a row that holds for all target languages together
# (language, quantity) -> (3, n_states): value, low, high; of "pcs" the shares. States may be joined.
Space = dict[tuple[str, str], np.ndarray]
COLUMNS = (
    "variant",
    "language",
    "stimuli",
    "position",
    "state",
    "quantity",
    "value",
    "ci_low",
    "ci_high",
    "n",
)


@dataclass(frozen=True)
class Counts:
    """Of one language's sentences, each (n,) float64."""

    tokens: np.ndarray
    words: np.ndarray

    @property
    def fertility(self) -> np.ndarray:
        return self.tokens / self.words


def special_ids(token_ids: Iterable[Sequence[int]]) -> frozenset[int]:
    """The ids with which every text begins, and with which every text ends: what the tokenizer puts around
    any text. Give it texts of several scripts, for those of one may all end with the same full stop."""
    remaining = [list(ids) for ids in token_ids]
    found: set[int] = set()
    for end in (0, -1):
        while all(remaining) and len(ends := {ids[end] for ids in remaining}) == 1:
            found |= ends
            for ids in remaining:
                ids.pop(end)
    return frozenset(found)


def counts(
    texts: Sequence[str], token_ids: Sequence[Sequence[int]], special: frozenset[int] = frozenset()
) -> Counts:
    """Tokens that are not special, and words, of each text.

    Raises ValueError where a text has no word or no token.
    """
    tokens = [sum(token not in special for token in ids) for ids in token_ids]
    words = [len(text.split()) for text in texts]
    for row, both in enumerate(zip(tokens, words, strict=True)):
        if 0 in both:
            raise ValueError(f"text {row} has no word or no token")
    return Counts(np.array(tokens, np.float64), np.array(words, np.float64))


def _rows(
    language: str | Sequence[str],
    state: np.ndarray | None,
    quantity: str | Sequence[str],
    value: np.ndarray,
    interval: tuple[np.ndarray, np.ndarray] | None = None,
    n: int = 0,
) -> pd.DataFrame:
    """One row per value, but for values that are undefined; `state` None: no property of a state."""
    low, high = interval or (np.nan, np.nan)
    rows = pd.DataFrame({"value": value, "ci_low": low, "ci_high": high})
    rows.insert(0, "quantity", quantity)
    rows.insert(0, "state", pd.array([pd.NA] * len(value) if state is None else state, dtype="Int64"))
    rows.insert(0, "language", language)
    return rows.assign(n=n).dropna(subset=["value"])


def token_rows(counted: Mapping[str, Counts], pivot: str, groups: Groups) -> pd.DataFrame:
    """Length and fertility of every language, and their ratios to the pivot's.

    Source: fertility as in Rust et al. 2021, "How Good is Your Tokenizer?"; tokens_ratio is the premium of
    Petrov et al. 2023, "Language Model Tokenizers Introduce Unfairness Between Languages".
    """
    n = groups.n
    names = ("tokens", "words", "fertility", "tokens_ratio", "fertility_ratio")

    def statistics(weights: np.ndarray, of: Counts) -> np.ndarray:
        tokens, words = weights @ of.tokens, weights @ of.words
        pivot_tokens, pivot_words = weights @ counted[pivot].tokens, weights @ counted[pivot].words
        ratio, fertility, drawn = tokens / pivot_tokens, tokens / words, weights.sum(axis=1)
        by_fertility = fertility * pivot_words / pivot_tokens
        return np.column_stack([tokens / drawn, words / drawn, fertility, ratio, by_fertility])

    tables = []
    for language, each in counted.items():
        value, low, high = resampling.interval(lambda w, of=each: statistics(w, of), groups)
        shown = slice(3 if language == pivot else None)  # the pivot's ratio to itself says nothing
        tables.append(_rows(language, None, names[shown], value[shown], (low[shown], high[shown]), n))
    return pd.concat(tables, ignore_index=True)


def covariates(counted: Mapping[str, Counts], pivot: str) -> dict[str, dict[str, np.ndarray]]:
    """{"length", "fertility"} -> target language -> (n,), each less the pivot's."""
    targets = {language: each for language, each in counted.items() if language != pivot}
    own = counted[pivot]
    return {
        "length": {lang: np.log(each.tokens) - np.log(own.tokens) for lang, each in targets.items()},
        "fertility": {lang: each.fertility - own.fertility for lang, each in targets.items()},
    }


def overlap_rows(language: str, overlap: np.ndarray, groups: Groups) -> pd.DataFrame:
    """Mean share of matched pairs, of mismatched ones, and their difference. overlap: (n, n), see
    `controls.shared`."""
    quantities = {
        "overlap_matched": metrics.matched,
        "overlap_mismatched": metrics.mismatched,
        "overlap_excess": metrics.excess,
    }
    tables = []
    for quantity, statistic in quantities.items():
        value, *ends = resampling.interval(lambda w, s=statistic: s(overlap[None], w), groups)
        tables.append(_rows(language, None, quantity, value, (ends[0], ends[1]), groups.n))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class _Sums:
    """Weighted means over meanings of x, xx, shape (m, n_languages, 1), and of y, xy, yy, shape
    (m, n_languages, n_states): all that a least-squares line needs."""

    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> "_Sums":
        """x: (n, n_languages), y: (n, n_languages, n_states), weights: (m, n)."""
        share = weights / weights.sum(axis=1, keepdims=True)
        x = x[:, :, None]
        return cls(*(np.tensordot(share, table, axes=1) for table in (x, x * x, y, x * y, y * y)))

    def pooled(self) -> "_Sums":
        return _Sums(*(vars(self)[name].mean(axis=1, keepdims=True) for name in vars(self)))

    def within(self) -> "_Sums":
        """With every language's own mean taken out, then pooled."""
        zero = np.zeros(1)
        centred = (self.xx - self.x**2, self.xy - self.x * self.y, self.yy - self.y**2)
        xx, xy, yy = (table.mean(axis=1, keepdims=True) for table in centred)
        return _Sums(zero, xx, zero, xy, yy)

    def slope(self) -> np.ndarray:
        """Undefined (NaN) where the covariate does not vary."""
        return _ratio(self.xy - self.x * self.y, self.xx - self.x**2)

    def r2(self) -> np.ndarray:
        """Undefined (NaN) where covariate or alignment do not vary; else in [0, 1]."""
        return self.slope() * _ratio(self.xy - self.x * self.y, self.yy - self.y**2)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where `below`, a variance of scores of order one, is but the noise of the summation order."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 1e-14)


def regression_rows(
    items: Mapping[str, np.ndarray], covariate: Mapping[str, np.ndarray], name: str, groups: Groups
) -> pd.DataFrame:
    """How much of the item alignment goes with a covariate, state by state.

    items: language -> (n, n_states); covariate: language -> (n,), of the same languages and meanings. The
    slope over meanings *and* languages credits the covariate with all that differs between languages along
    with it. Rows as described above; a slope or R^2 that is undefined, since the covariate or the alignment
    does not vary, is left out (inside a resample it counts as 0). Intervals are over meanings, all languages
    together. What is left of the alignment without shared tokens is the metric `partial`.
    """
    languages = list(items)
    x = np.stack([covariate[language] for language in languages], axis=1)
    y = np.stack([items[language] for language in languages], axis=1)
    (n, n_languages, n_states), middle = y.shape, y.mean(axis=(0, 1))
    scale = x.std() if np.ptp(x) else 1.0
    x, y = (x - x.mean()) / scale, y - middle  # so that the sums of squares lose no digits

    def statistics(weights: np.ndarray) -> np.ndarray:
        sums = _Sums.of(x, y, weights)
        pooled = sums.pooled()
        parts = (
            pooled.slope() / scale,
            sums.within().slope() / scale,
            pooled.r2(),
            sums.r2(),
        )
        flat = np.concatenate(parts, axis=1).reshape(len(weights), -1)
        return flat if len(weights) == 1 else np.nan_to_num(flat)

    value, low, high = resampling.interval(statistics, groups)
    slopes = [f"{name}_slope", f"{name}_slope_within", f"{name}_r2"]
    return _rows(
        np.repeat([ALL] * 3 + languages, n_states).tolist(),
        np.tile(np.arange(n_states), 3 + n_languages),
        np.repeat(slopes + [f"{name}_r2"] * n_languages, n_states).tolist(),
        value,
        (low, high),
        n,
    ).reset_index(drop=True)


def anisotropy(cosines: np.ndarray, groups: Groups) -> np.ndarray:
    """Mean cosine of sentences that say different things, over all their pairs, not a random few.

    cosines: (n_states, n, n) within one language (`cosine_within`) or between the pivot's sentences and the
    language's (`cosine_across`). Returns (3, n_states): the mean, 0 in an isotropic space, and its interval.
    Source: Ethayarajh 2019, "How Contextual are Contextualized Word Representations?", 4.1.
    """
    return np.stack(resampling.interval(lambda weights: metrics.mismatched(cosines, weights), groups))


def own_space(language: str, gram: np.ndarray, groups: Groups) -> Space:
    """Of one language's own sentences: the `anisotropy` within, and the `component_shares`.

    gram: (n_states, n, n).
    """
    within = metrics.Grams(gram, gram, gram).similarity
    return {
        (language, "cosine_within"): anisotropy(within, groups),
        (language, "pcs"): component_shares(gram),
    }


def space(language: str, grams: metrics.Grams, groups: Groups) -> Space:
    """Of the target's own sentences, and of the cosines to the pivot's."""
    return own_space(language, grams.target, groups) | {
        (language, "cosine_across"): anisotropy(grams.similarity, groups)
    }


def space_rows(found: Space, n: int) -> pd.DataFrame:
    """Anisotropy and principal components of every language, each by itself first, then to the pivot."""
    tables = []
    for (language, quantity), values in sorted(found.items(), key=lambda each: each[0][1] == "cosine_across"):
        if quantity == "pcs":
            tables.append(share_rows(language, quantity, values, n))
        else:
            states = np.arange(values.shape[1])
            tables.append(_rows(language, states, quantity, values[0], (values[1], values[2]), n))
    return pd.concat(tables, ignore_index=True)


def dimension_shares(vectors: np.ndarray, top: Sequence[int] = TOP) -> np.ndarray:
    """Share of the variance in the `top` most varying coordinates: rogue dimensions are few with most of it.

    vectors: (n, n_states, d_model). Returns (len(top), n_states) in [0, 1]; NaN where nothing varies.
    Source: Timkey and van Schijndel 2021, "All Bark and No Bite: Rogue Dimensions in Transformer Language
    Models Obscure Representational Quality".
    """
    shares = []
    for state in range(vectors.shape[1]):
        own = vectors[:, state].astype(np.float64)
        shares.append(_top_shares(own.var(axis=0), (own**2).mean(axis=0).sum(), top))
    return np.stack(shares, axis=1)


def component_shares(gram: np.ndarray, top: Sequence[int] = TOP) -> np.ndarray:
    """Share of the variance in the first principal components, from inner products alone.

    gram: (n_states, n, n) inner products of n sentences. Returns (len(top), n_states) in [0, 1]; NaN where
    nothing varies. There are at most n - 1 components, so noise alone already gives the first 1 / (n - 1).
    """
    shares = []
    for own in gram:
        centred = own - own.mean(axis=0) - own.mean(axis=1)[:, None] + own.mean()
        shares.append(_top_shares(np.linalg.eigvalsh(centred).clip(min=0), np.trace(own), top))
    return np.stack(shares, axis=1)


def _top_shares(variance: np.ndarray, energy: float, top: Sequence[int]) -> np.ndarray:
    """variance: (k,); energy: what it would be about zero instead of the mean, in the same unit. One constant
    vector (a full stop's embedding, say) leaves rounding errors only, and their shares would mean nothing."""
    held = np.cumsum(np.sort(variance)[::-1])
    if held[-1] <= 1e-12 * energy:
        return np.full(len(top), np.nan)
    return held[np.minimum(top, len(held)) - 1] / held[-1]


def share_rows(
    language: str, prefix: str, shares: np.ndarray, n: int, top: Sequence[int] = TOP
) -> pd.DataFrame:
    """shares: (len(top), n_states) of `dimension_shares` (prefix "dims") or `component_shares` ("pcs"). They
    describe these sentences: no interval."""
    tables = [
        _rows(language, np.arange(len(each)), f"{prefix}_top{k}", each, n=n)
        for k, each in zip(top, shares, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def table(parts: Sequence[pd.DataFrame], variant: str, stimuli: str, position: str) -> pd.DataFrame:
    """The rows of results/{family}/confounders.csv, columns COLUMNS; `state` is empty where there is none."""
    joined = pd.concat(parts, ignore_index=True).assign(variant=variant, stimuli=stimuli, position=position)
    return joined.reindex(columns=list(COLUMNS)).round(9)
