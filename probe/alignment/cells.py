"""From stored activations to alignment, state by state, with its null and its interval.

The states are worked through in blocks: inner products of all pairs at all states would not fit into memory
where sentences are many. What outlives a block is small (`Block`), and only the joined blocks are tested.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore
from probe.alignment import confounders, controls
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.stats import metrics, resampling
from probe.stats.groups import Groups
from probe.stats.inference import infer_mean
from probe.stimuli.manifest import Manifest, Stimulus

log = logging.getLogger(__name__)

KINDS = ("probes", "tico", "flores", "parallel")  # what is measured in matched pairs
MIN_PAIRS = 5  # fewer are not measured at all; what may be claimed of few is the auditor's to say
CANDIDATES = 200  # among which the rank of a partner is looked for, where the manifest has so many
BLOCK_BYTES = 2**24  # of one float64 array; some twelve are alive at once, and more do not stay in a cache
FEW_PERMUTATIONS = 500  # of what is reported for comparison and is no claim
CLAIMED = (PRIMARY_METRIC, "rank")  # with the full number of permutations
NEEDED = (*CLAIMED, "cosine", "excess")  # a claim rests on these, and on `partial` and `stratified`

Pairs = list[tuple[Stimulus, Stimulus]]  # (pivot, target), saying the same thing


@dataclass(frozen=True)
class Sample:
    """The matched sentences of one kind and language, what they share beside their meaning, and others that
    may be taken for the partner. strata: (rows, stratum of each), those with meanings enough."""

    pairs: Pairs
    groups: Groups
    strata: tuple[np.ndarray, np.ndarray] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    covariates: Mapping[str, np.ndarray] = field(default_factory=dict)
    rivals: tuple[list[str], list[str]] = ([], [])

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        pivot, target = zip(*self.pairs, strict=True)
        return tuple(ids(pivot)), tuple(ids(target))


@dataclass(frozen=True)
class Block:
    """What the Grams of one language tell of some states, or, `joined`, of all. Every array has states last.

    items      metric -> (n, n_states) item scores; of `stratified` the meanings in large strata alone
    nulls      metric -> (n_permutations, n_states)
    intervals  metric -> (3, n_states) value, low, high, where items would not give them: CKA
    space      as `confounders.space_rows` takes it, at PRIMARY_POSITION
    values     "few_directions" -> (1, n_states): the primary measure without the few that make most of it
    highest    of the state where matched pairs score highest: that score, and (n, n) that of all pairs
    refused    metric -> why there is nothing of it, at one state or all
    """

    items: dict[str, np.ndarray] = field(default_factory=dict)
    nulls: dict[str, np.ndarray] = field(default_factory=dict)
    intervals: dict[str, np.ndarray] = field(default_factory=dict)
    space: confounders.Space = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    highest: list[tuple[float, np.ndarray]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One combination, measured. summary: its rows of alignment_summary.csv, without what is told over
    languages (q_value, p_holm)."""

    variant: str
    stimuli: str
    position: str
    language: str
    sample: Sample
    found: Block
    summary: pd.DataFrame

    @property
    def meanings(self) -> list[str]:
        return [stimulus.meaning for stimulus, _ in self.sample.pairs]


def ids(stimuli) -> list[str]:
    return [stimulus.stimulus_id for stimulus in stimuli]


def matched_pairs(manifest: Manifest, kind: str) -> dict[str, Pairs]:
    """Target language -> its pairs, of the meanings that all the languages tell, in the pivot's order.

    A language with fewer than MIN_PAIRS is left out; a meaning that one of the others lacks is left out of
    all, so that languages and variants are compared on the same meanings.
    """
    pairs = {language: manifest.matched(kind, language, PIVOT) for language in TARGETS}
    pairs = {language: own for language, own in pairs.items() if len(own) >= MIN_PAIRS}
    told = [{pivot.meaning for pivot, _ in own} for own in pairs.values()]
    common = set.intersection(*told) if told else set()
    if lost := len(set().union(*told)) - len(common):
        log.info("%s: %d meanings are not told in every language and are left out", kind, lost)
    if len(common) < MIN_PAIRS:
        return {}
    return {language: [pair for pair in own if pair[0].meaning in common] for language, own in pairs.items()}


def samples(store: ActivationStore, manifest: Manifest, kind: str, position: str) -> dict[str, Sample]:
    """Target language -> what is measured of this kind at this position."""
    pairs = matched_pairs(manifest, kind)
    special = confounders.special_ids(store.index.token_ids[s.stimulus_id] for s in manifest.of_kind(kind))
    others = {code: _rivals(manifest, kind, code) if position != "focus" else [] for code in LANGUAGES}
    found = {}
    for language, own in pairs.items():
        sides = tuple(zip(*own, strict=True))
        found[language] = Sample(
            own,
            Groups.of([pivot.groups for pivot in sides[0]]),
            controls.large_strata([pivot.stratum for pivot in sides[0]]),
            _covariates(store, sides, position, special),
            (others[PIVOT], others[language]),
        )
    return found


def _rivals(manifest: Manifest, kind: str, language: str) -> list[str]:
    """Sentences of other kinds, so many that with the kind's own there are CANDIDATES, spread evenly."""
    own = sum(stimulus.language == language for stimulus in manifest.of_kind(kind))
    other = [s for each in KINDS if each != kind for s in manifest.of_kind(each) if s.language == language]
    wanted = min(len(other), max(0, CANDIDATES - own))
    return ids(other[place] for place in np.linspace(0, len(other) - 1, wanted).astype(int)) if wanted else []


def _covariates(
    store: ActivationStore, sides: tuple, position: str, special: frozenset[int]
) -> dict[str, np.ndarray]:
    index = store.index
    read = [[index.read_index[name][position] for name in ids(side)] for side in sides]
    own = [[index.token_ids[name] for name in ids(side)] for side in sides]
    if position == PRIMARY_POSITION:
        tokens = [
            [[all_[i] for i in at] for all_, at in zip(o, r, strict=True)]
            for o, r in zip(own, read, strict=True)
        ]
        return controls.pair_covariates(_texts(sides), (tokens[0], tokens[1]))
    tokens = [[[token for token in each if token not in special] for each in side] for side in own]
    at = [[all_[i] for all_, i in zip(o, r, strict=True)] for o, r in zip(own, read, strict=True)]
    return controls.pair_covariates(_texts(sides), (tokens[0], tokens[1]), (at[0], at[1]))


def _texts(sides: tuple) -> tuple[list[str], list[str]]:
    pivot, target = ([stimulus.text for stimulus in side] for side in sides)
    return pivot, target


def cells(
    store: ActivationStore, manifest: Manifest, variant: str, positions: Sequence[str], comparisons: bool
) -> Iterator[Cell]:
    """Every combination, measured in one variant; without `comparisons` only what a claim rests on.

    Raises MissingActivations where a stimulus is missing."""
    for kind, position in combinations(manifest, positions):
        chosen = samples(store, manifest, kind, position)
        most = max((len(sample.pairs) for sample in chosen.values()), default=0)
        blocks = [
            _of_states(store, position, chosen, states, comparisons)
            for states in state_blocks(max(most, CANDIDATES), *store.shape)
        ]
        for language, sample in chosen.items():
            found = joined([block[language] for block in blocks])
            table = summary(found, sample).assign(
                variant=variant, language=language, stimuli=kind, position=position
            )
            yield Cell(variant, kind, position, language, sample, found, table)


def combinations(manifest: Manifest, positions: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(kind of stimuli, position) of all that is measured; only probes have a focus word."""
    for kind in KINDS:
        if manifest.of_kind(kind):
            yield from ((kind, each) for each in positions if each != "focus" or kind == "probes")


def state_blocks(n: int, n_states: int, d_model: int) -> list[slice]:
    """The states, as many at a time as BLOCK_BYTES hold the vectors and the inner products of n sentences."""
    at_once = max(1, BLOCK_BYTES // (8 * n * max(n, d_model)))
    return [slice(first, min(first + at_once, n_states)) for first in range(0, n_states, at_once)]


def _of_states(
    store: ActivationStore, position: str, chosen: Mapping[str, Sample], states: slice, comparisons: bool
) -> dict[str, Block]:
    """Language -> what is measured at these states. All languages in turn, for they share the pivot."""
    primary = position == PRIMARY_POSITION and comparisons

    @lru_cache(maxsize=1)  # the languages of a kind share the pivot's sentences
    def pivot_of(
        names: tuple[str, ...], rivals: tuple[str, ...], groups: Groups
    ) -> tuple[metrics.Side, confounders.Space]:
        pivot = side(names, rivals, "pivot")
        return pivot, confounders.own_space(PIVOT, pivot.gram, groups) if primary else {}

    def side(names: Sequence[str], rivals: Sequence[str], which: str) -> metrics.Side:
        others = store.resid(position, rivals, states) if rivals else None
        return metrics.side(store.resid(position, names, states), which, states.start, others)

    found = {}
    for language, sample in chosen.items():
        names, rivals = sample.names, sample.rivals
        pivot, space = pivot_of(names[0], tuple(rivals[0]), sample.groups)
        target = side(names[1], rivals[1], "target")
        grams = metrics.paired(pivot, target)
        found[language] = measure_states(grams, sample, comparisons, primary)
        if position == PRIMARY_POSITION:  # where claims are made
            few = controls.without_top_directions(pivot.directions, target.directions)
            found[language].values["few_directions"] = few[None]
        if primary:
            found[language].space.update(space | confounders.space(language, grams, sample.groups))
    return found


def measure_states(grams: metrics.Grams, sample: Sample, comparisons: bool, whole: bool) -> Block:
    """Every metric at the states of these Grams, or those of NEEDED alone; CKA and mutual k-NN if `whole`."""
    block = Block()
    for name, metric in metrics.ITEMWISE.items():
        if not (comparisons or name in NEEDED):
            continue
        _take(block, name, lambda metric=metric: metric(grams))
    if PRIMARY_METRIC in block.items:
        primary = metrics.ITEMWISE[PRIMARY_METRIC](grams)
        best = int(np.diagonal(primary, axis1=1, axis2=2).mean(axis=1).argmax())
        block.highest.append((float(np.diagonal(primary[best]).mean()), primary[best].copy()))
        _take(
            block,
            "partial",
            lambda: metrics.beyond_others(controls.without_shared(primary, dict(sample.covariates))),
        )
        rows, strata = sample.strata
        if len(rows):
            inside = controls.within_strata(primary[:, rows[:, None], rows], strata)
            _take(block, "stratified", lambda: inside, strata)
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


def _take(block: Block, name: str, score: Callable[[], np.ndarray], strata: np.ndarray | None = None) -> None:
    """Item scores and null of one metric, or why there are none."""
    try:
        q = score()
    except metrics.Refused as reason:
        block.refused[name] = str(reason)
        return
    block.items[name] = np.diagonal(q, axis1=1, axis2=2).T.copy()
    permutations = resampling.N_RESAMPLES if name in CLAIMED else FEW_PERMUTATIONS
    block.nulls[name] = resampling.permuted_matched(q, permutations, strata)


def joined(blocks: Sequence[Block]) -> Block:
    """The states of all the blocks, in their order; a metric that one of them refuses is refused."""
    refused = {metric: reason for block in reversed(blocks) for metric, reason in block.refused.items()}

    def together(table: str) -> dict:
        parts = [getattr(block, table) for block in blocks]
        kept = [name for name in parts[0] if name not in refused]
        return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in kept}

    highest = max(
        (each for block in blocks for each in block.highest), key=lambda each: each[0], default=None
    )
    items, nulls, intervals, space, values = map(together, ("items", "nulls", "intervals", "space", "values"))
    return Block(items, nulls, intervals, space, values, [highest] if highest else [], refused)


def summary(found: Block, sample: Sample) -> pd.DataFrame:
    """One row per metric and state: value, 95 % interval over meanings in their groups (jackknife for CKA),
    the permutation null and its central 95 %, and the p of the state (`p_value`) and of the largest over the
    states (`p_max`). A p is the larger of two: of permuted pairs, and of meanings in their groups."""
    rows, _ = sample.strata
    inside = sample.groups.take(rows) if len(rows) else sample.groups
    together = [name for name in found.nulls if name in found.items and name != "stratified"]
    tested = _infer(found, together, sample.groups) if together else {}
    if "stratified" in found.items:
        tested |= _infer(found, ["stratified"], inside)
    tested |= {
        name: (*interval, 0.0, 0.0) for name, interval in found.intervals.items() if name in found.nulls
    }
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for metric, null in found.nulls.items():
        groups = inside if metric == "stratified" else sample.groups
        row = {"metric": metric, "n": groups.n, "n_groups": groups.effective} | _told(null, *tested[metric])
        for name, value in row.items():
            columns[name].append(np.broadcast_to(value, null.shape[1]))
    # below that is the noise of the summation order
    return pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()}).round(9)


def _infer(found: Block, names: Sequence[str], groups: Groups) -> dict[str, tuple]:
    """Metric -> (value, low, high, p, p over its states), each (n_states,), against the mean of its null."""
    chance = np.concatenate([found.nulls[name].mean(axis=0) for name in names])
    beyond = infer_mean(
        np.concatenate([found.items[name] for name in names], axis=1) - chance, groups, True, len(names)
    )
    ends = [beyond.value + chance, beyond.low + chance, beyond.high + chance, beyond.p_value, beyond.p_max]
    by_metric = zip(*(np.split(each, len(names)) for each in ends), strict=True)
    return dict(zip(names, by_metric, strict=True))


def _told(null: np.ndarray, value, low, high, p, p_max) -> dict[str, np.ndarray]:
    """What is told of one metric, each (n_states,), with the p of permuted pairs where that is larger."""
    null_low, null_high = np.quantile(null, (0.025, 0.975), axis=0)
    by_pairs, _ = resampling.max_statistic_p(value, null)
    return {
        "state": np.arange(len(value)),
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "null": null.mean(axis=0),
        "null_low": null_low,
        "null_high": null_high,
        "p_value": np.maximum(resampling.p_value(value, null), p),
        "p_max": np.maximum(by_pairs, p_max),
    }


COLUMNS = "metric state value ci_low ci_high null null_low null_high p_value p_max n n_groups".split()
FAMILY = ["variant", "stimuli", "position", "metric"]  # of tests: its languages


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
