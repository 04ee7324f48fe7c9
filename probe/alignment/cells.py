"""From stored activations to alignment, state by state, with its null and its interval.

The states are worked through in blocks: inner products of all pairs at all states would not fit into memory
where sentences are many. What outlives a block is small (`Block`), and only the joined blocks are tested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore
from probe.alignment import confounders
from probe.conventions import POSITIONS, PRIMARY_POSITION
from probe.languages import PIVOT, TARGETS
from probe.stats import metrics, resampling
from probe.stimuli.manifest import Manifest, Stimulus

KINDS = ("probes", "flores", "parallel")  # what is measured in matched pairs
MIN_PAIRS = 5  # fewer give no interval worth the name
BLOCK_BYTES = 2**24  # of one float64 array; some twelve are alive at once, and more do not stay in a cache

Pairs = list[tuple[Stimulus, Stimulus]]  # (pivot, target), saying the same thing


@dataclass(frozen=True)
class Block:
    """What the Grams of one language tell of some states, or, `joined`, of all. Every array has states last.

    items      metric -> (n, n_states) item scores
    nulls      metric -> (n_permutations, n_states)
    intervals  metric -> (3, n_states) value, low, high, where items would not give them: CKA
    space      as `confounders.space_rows` takes it, at PRIMARY_POSITION
    refused    metric -> why there is nothing of it, at one state or all
    embedding  (n, n) cosines at state 0, at PRIMARY_POSITION
    """

    items: dict[str, np.ndarray] = field(default_factory=dict)
    nulls: dict[str, np.ndarray] = field(default_factory=dict)
    intervals: dict[str, np.ndarray] = field(default_factory=dict)
    space: confounders.Space = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    embedding: np.ndarray | None = None


@dataclass(frozen=True)
class Cell:
    """One combination, measured. summary: its rows of alignment_summary.csv, without q-values."""

    variant: str
    stimuli: str
    position: str
    language: str
    meanings: list[str]
    found: Block
    summary: pd.DataFrame


def ids(stimuli) -> list[str]:
    return [stimulus.stimulus_id for stimulus in stimuli]


def combinations(manifest: Manifest) -> Iterator[tuple[str, str, str, Pairs]]:
    """(kind of stimuli, position, language, pairs) of all that is measured, where there are pairs enough."""
    for kind in KINDS:
        pairs = {language: manifest.matched(kind, language, PIVOT) for language in TARGETS}
        for position in POSITIONS if kind == "probes" else POSITIONS[:-1]:
            for language, matched in pairs.items():
                if len(matched) >= MIN_PAIRS:
                    yield kind, position, language, matched


def cells(store: ActivationStore, manifest: Manifest, variant: str) -> Iterator[Cell]:
    """Every combination, measured in one variant. Raises MissingActivations where a stimulus is missing."""
    for (kind, position), group in groupby(combinations(manifest), key=lambda each: each[:2]):
        pairs = {language: matched for _, _, language, matched in group}
        blocks = [
            _of_states(store, position, pairs, states)
            for states in state_blocks(max(map(len, pairs.values())), *store.shape)
        ]
        for language, matched in pairs.items():
            found = joined([block[language] for block in blocks])
            meanings = [stimulus.meaning for stimulus, _ in matched]
            table = summary(found).assign(
                variant=variant, language=language, stimuli=kind, position=position, n=len(meanings)
            )
            yield Cell(variant, kind, position, language, meanings, found, table)


def state_blocks(n: int, n_states: int, d_model: int) -> list[slice]:
    """The states, as many at a time as BLOCK_BYTES hold the vectors and the inner products of n sentences."""
    at_once = max(1, BLOCK_BYTES // (8 * n * max(n, d_model)))
    return [slice(first, min(first + at_once, n_states)) for first in range(0, n_states, at_once)]


def _of_states(
    store: ActivationStore, position: str, pairs: dict[str, Pairs], states: slice
) -> dict[str, Block]:
    """Language -> what is measured at these states. All languages in turn, for they share the pivot."""
    primary = position == PRIMARY_POSITION

    def side(names: Sequence[str], which: str) -> metrics.Side:
        return metrics.side(store.resid(position, names, states), which, states.start)

    @lru_cache(maxsize=1)  # where a meaning is not told in a language, its pivot sentences are others
    def pivot_of(names: tuple[str, ...]) -> tuple[metrics.Side, confounders.Space]:
        pivot = side(names, "pivot")
        return pivot, confounders.own_space(PIVOT, pivot.gram) if primary else {}

    found = {}
    for language, matched in pairs.items():
        names = [tuple(ids(stimuli)) for stimuli in zip(*matched, strict=True)]
        pivot, space = pivot_of(names[0])
        grams = metrics.paired(pivot, side(names[1], "target"))
        found[language] = measured(grams, whole=primary)
        if primary:
            found[language].space.update(space | confounders.space(language, grams))
    return found


def measured(grams: metrics.Grams, whole: bool) -> Block:
    """Every metric at the states of these Grams; CKA and mutual k-NN, whose nulls cost most, if `whole`."""
    block = Block(embedding=grams.similarity[0].copy() if whole and not grams.first_state else None)
    for name, metric in metrics.ITEMWISE.items():
        try:
            q = metric(grams)
        except metrics.Refused as reason:
            block.refused[name] = str(reason)
            continue
        block.items[name] = np.diagonal(q, axis1=1, axis2=2).T.copy()
        block.nulls[name] = resampling.permuted_matched(q)
    for name in metrics.WHOLE if whole else ():
        try:
            if name == "cka":
                block.intervals[name] = np.stack(metrics.cka_interval(grams))
            else:
                block.items[name] = metrics.mutual_knn_items(grams)
            block.nulls[name] = metrics.null(name, grams)
        except metrics.Refused as reason:
            block.refused[name] = str(reason)
    return block


def joined(blocks: Sequence[Block]) -> Block:
    """The states of all the blocks, in their order; a metric that one of them refuses is refused."""
    refused = {metric: reason for block in reversed(blocks) for metric, reason in block.refused.items()}

    def together(table: str) -> dict:
        parts = [getattr(block, table) for block in blocks]
        kept = [name for name in parts[0] if name not in refused]
        return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in kept}

    items, nulls, intervals, space = map(together, ("items", "nulls", "intervals", "space"))
    return Block(items, nulls, intervals, space, refused, blocks[0].embedding)


def summary(found: Block) -> pd.DataFrame:
    """One row per metric and state: value, 95 % interval over meanings (BCa; jackknife for CKA), the
    permutation null and its central 95 %, the add-one p of the state (`p_value`) and that of the largest over
    the states (`p_max`)."""
    tables = []
    for name, null in found.nulls.items():
        known = found.intervals.get(name)
        value, low, high = interval_of_mean(found.items[name]) if known is None else known
        tables.append(_rows(name, value, low, high, null))
    # below that is the noise of the summation order
    return pd.concat(tables, ignore_index=True).round(9)


def interval_of_mean(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high), each (n_states,): 95 % BCa interval over the rows of items (n, n_states)."""
    return resampling.interval(
        lambda weights: weights @ items / weights.sum(axis=1, keepdims=True), len(items)
    )


def _rows(
    metric: str, value: np.ndarray, low: np.ndarray, high: np.ndarray, null: np.ndarray
) -> pd.DataFrame:
    p_max, _ = resampling.max_statistic_p(value, null)
    return pd.DataFrame(
        {
            "metric": metric,
            "state": np.arange(len(value)),
            "value": value,
            "ci_low": low,
            "ci_high": high,
            "null": null.mean(axis=0),
            "p_value": resampling.p_value(value, null),
            "null_low": np.quantile(null, 0.025, axis=0),
            "null_high": np.quantile(null, 0.975, axis=0),
            "p_max": p_max,
        }
    )


COLUMNS = (
    "variant", "language", "stimuli", "position", "metric", "state", "value", "ci_low", "ci_high", "null",
    "p_value", "q_value", "n", "null_low", "null_high", "p_max",
)  # fmt: skip


def with_q_values(summary: pd.DataFrame) -> pd.DataFrame:
    """The columns of alignment_summary.csv, with Benjamini-Hochberg q-values over variants, languages and
    states of one kind of stimuli, position and metric."""
    q = summary.groupby(["stimuli", "position", "metric"])["p_value"].transform(
        lambda p: resampling.benjamini_hochberg(p.to_numpy())
    )
    return summary.assign(q_value=q).reindex(columns=list(COLUMNS))


def post_norm_cosine(
    store: ActivationStore, manifest: Manifest, position: str
) -> dict[str, dict[str, float]]:
    """Concept id -> language -> matched cosine after the model's final norm, probes only."""
    result: dict[str, dict[str, float]] = {}
    for language in TARGETS:
        matched = manifest.matched("probes", language, PIVOT)
        if not matched:
            continue
        pivot, target = (store.post_norm(position, ids(side)) for side in zip(*matched, strict=True))
        values = np.diagonal(metrics.cosine_matrix(pivot, target))
        for (stimulus, _), value in zip(matched, values, strict=True):
            result.setdefault(stimulus.meaning, {})[language] = round(float(value), 6)
    return result
