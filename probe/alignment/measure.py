"""Everything that stage 3 measures, put together: alignment, effects, shape, confounders. What may be said
of it is the auditor's to judge (`probe.audit.judge`)."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl

from probe.activations.store import ActivationStore
from probe.alignment import cells, confounders, controls, effects, peaks, robustness
from probe.alignment.calibrated import calibrated
from probe.alignment.cells import Cell
from probe.alignment.commitment import (
    COSINES,
    CURVE_DECIMALS,
    RULE,
    Calibrated,
    calibrated_sensitivity,
    commitment_sensitivity,
    measured_matrix,
)
from probe.alignment.multiplicity import over_languages
from probe.conventions import POSITIONS, PRIMARY_METRIC, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import PIVOT
from probe.stats import metrics
from probe.stats.groups import Groups
from probe.stimuli.manifest import Manifest

log = logging.getLogger(__name__)

# Variants are compared on these: the primary measure, what corroborates it, and two for comparison.
COMPARED = (PRIMARY_METRIC, "rank", "excess", "cosine")
ONE_TOKEN = "content"  # where the norm is looked at: the mean of normed vectors is no normed vector
MOST_WORKERS = 4  # each takes up to three quarters of a GiB at 1,000 meanings
NAME = 60  # characters of a sentence that stand for its meaning
WORTH_A_PROCESS = 1000  # stimuli; a worker takes two seconds to start

Key = tuple[str, str, str]  # kind of stimuli, position, metric

CONVENTIONS = {
    "interval": "95 % over meanings in their groups: leave one group out with Student's t, or the "
    "studentised bootstrap, whichever reaches further; of peaks, tokens and shares BCa; of CKA a jackknife",
    "null": "target sentences permuted; null_low and null_high are its central 95 %",
    "p_value": "one-sided, the larger of two: of permuted pairs, and of meanings in their groups; p_max: of "
    "the largest over the states",
    "q_value": "Benjamini-Hochberg over languages and states of one variant, stimuli, position and metric",
    "p_holm": "p_max, Holm over the languages of one variant, stimuli, position and metric",
    "effects": f"p: {effects.P_VALUE}; q: {effects.Q_VALUE}",
    "confounders": f"regressions are of {PRIMARY_METRIC}",
    "commitment": RULE,
}


@dataclass
class Measurement:
    """What stage 3 measured, and what the auditor needs beside it.

    curves     variant -> concept id -> language -> cosine by state; post_norm: that after the final norm
    tables     file name -> table, beside the summary
    scores     (stimuli, position, metric) -> (variant, language) -> (n, n_states)
    calibrated stimuli -> (variant, language) -> what each pair beats, at the primary position
    few        rows variant, language, stimuli, position, state, value, without: the primary measure, and
    without
               the few directions that add most to it
    highest    (variant, language, stimuli) -> (n, n) primary measure of all pairs, at its highest state
    normed     variant -> (2, n): cosine of the last state with the stored post-norm vector, ratio of their
    lengths refused    what no number is given for, and why
    """

    summary: pd.DataFrame
    curves: dict[str, dict[str, dict[str, list[float]]]]
    post_norm: dict[str, dict[str, dict[str, float]]]
    tables: dict[str, pd.DataFrame]
    scores: dict[Key, dict[tuple[str, str], np.ndarray]]
    calibrated: dict[str, dict[tuple[str, str], Calibrated]]
    few: pd.DataFrame
    highest: dict[tuple[str, str, str], np.ndarray]
    normed: dict[str, np.ndarray]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def conventions(self) -> dict[str, Any]:
        return CONVENTIONS | {"refused": self.refused}

    def commitments(self, manifest: Manifest, threshold: float, consecutive: int) -> pd.DataFrame:
        """commitment_matrix.csv; threshold and consecutive are the cosine's. A concept of a kind without a
        name is called by the beginning of its English."""
        cosines = {
            kind: items
            for (kind, position, metric), items in self.scores.items()
            if (position, metric) == (PRIMARY_POSITION, "cosine")
        }
        names = {
            kind: {
                pivot.meaning: getattr(pivot, "concept", pivot.text[:NAME])
                for pivot, _ in next(iter(cells.matched_pairs(manifest, kind).values()))
            }
            for kind in cosines
        }
        return measured_matrix(names, cosines, self.calibrated, threshold, consecutive)


class _Gathered:
    """Item scores and the little else that outlives a variant."""

    def __init__(self) -> None:
        self.items: dict[Key, dict[tuple[str, str], np.ndarray]] = defaultdict(dict)
        self.calibrated: dict[str, dict[tuple[str, str], Calibrated]] = defaultdict(dict)
        self.meanings: dict[str, list[str]] = {}
        self.groups: dict[str, Groups] = {}
        self.rows: list[pd.DataFrame] = []
        self.confounders: list[pd.DataFrame] = []
        self.few: list[pd.DataFrame] = []
        self.highest: dict[tuple[str, str, str], np.ndarray] = {}
        self.refused: dict[str, str] = {}

    def add(self, cell: Cell) -> None:
        for metric, scores in cell.found.items.items():
            if (
                metric in metrics.ITEMWISE or metric == "partial"
            ):  # compared at every position and on all meanings
                self.items[cell.stimuli, cell.position, metric][cell.variant, cell.language] = scores
        self.meanings[cell.stimuli] = cell.meanings
        self.groups[cell.stimuli] = cell.sample.groups
        self.rows.append(cell.summary)
        if cell.position == PRIMARY_POSITION:
            self.few.append(_few(cell))
            for _, similarity in cell.found.highest:
                self.highest[cell.variant, cell.language, cell.stimuli] = similarity
        for metric, reason in cell.found.refused.items():
            self.refused[f"{cell.variant}/{cell.language}/{cell.stimuli}/{cell.position}/{metric}"] = reason

    def join(self, other: "_Gathered") -> None:
        for key, items in other.items.items():
            self.items[key] |= items
        for kind, found in other.calibrated.items():
            self.calibrated[kind] |= found
        for name in ("meanings", "groups", "highest", "refused"):
            getattr(self, name).update(getattr(other, name))
        for name in ("rows", "confounders", "few"):
            getattr(self, name).extend(getattr(other, name))


def measure(
    stores: dict[str, ActivationStore],
    manifest: Manifest,
    family: Family,
    positions: Sequence[str] = POSITIONS,
    comparisons: bool = True,
) -> Measurement:
    """Every number of stage 3; without `comparisons` only those that a claim rests on, in a third of the
    time.

    Raises MissingActivations where a stimulus was not extracted, ValueError without the primary position:
    claims are made there."""
    if PRIMARY_POSITION not in positions:
        raise ValueError(f"{PRIMARY_POSITION} must be among the positions: claims are made there")
    gathered = _Gathered()
    work = [(store, manifest, variant, positions, comparisons) for variant, store in stores.items()]
    for part in _each(_gather, work):
        gathered.join(part)
    if not gathered.rows:
        raise ProbeError(f"no language has {cells.MIN_PAIRS} sentences that match the pivot's")
    return Measurement(
        summary=over_languages(pd.concat(gathered.rows, ignore_index=True), cells.FAMILY),
        curves=_curves(gathered),
        post_norm={
            variant: cells.post_norm_cosine(store, manifest, PRIMARY_POSITION)
            for variant, store in stores.items()
        },
        tables=_tables(gathered, stores, family),
        scores=gathered.items,
        calibrated=dict(gathered.calibrated),
        few=pd.concat(gathered.few, ignore_index=True),
        highest=gathered.highest,
        normed={variant: _normed(store, manifest) for variant, store in stores.items()},
        refused=gathered.refused,
    )


def _gather(
    store: ActivationStore, manifest: Manifest, variant: str, positions: Sequence[str], comparisons: bool
) -> _Gathered:
    """One variant's share of the work."""
    gathered = _Gathered()
    primary: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells.cells(store, manifest, variant, positions, comparisons):
        gathered.add(cell)
        if cell.position == PRIMARY_POSITION and comparisons:
            primary[cell.stimuli].append(cell)
    for kind, of_kind in primary.items():
        _confounders(gathered, store, variant, kind, of_kind)
    if comparisons:
        refused: dict[str, str] = {}
        for kind, language, found in calibrated(store, manifest, refused):
            gathered.calibrated[kind][variant, language] = found
        gathered.refused |= {f"{variant}/{key}": reason for key, reason in refused.items()}
        if refused:
            log.warning("%s: no calibrated commitment in %d: %s", variant, len(refused), min(refused.items()))
    return gathered


def _each(
    gather: Callable, work: Sequence[tuple[ActivationStore, Manifest, str, Sequence[str], bool]]
) -> Iterator[_Gathered]:
    """`gather` of every variant, in order; side by side where there is enough to do for a process to pay."""
    workers = min(os.cpu_count() or 1, len(work), MOST_WORKERS)
    if workers == 1 or len(list(work[0][1])) < WORTH_A_PROCESS:
        for part in work:
            yield gather(*part)
            log.info("%s: measured", part[2])
        return
    # Spawned, not forked: a fork of a process that has threads may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        for part, gathered in zip(work, pool.map(gather, *zip(*work, strict=True)), strict=True):
            log.info("%s: measured", part[2])
            yield gathered


def _one_thread() -> None:
    """The linear algebra of the workers must not share out cores that they fill already."""
    threadpoolctl.threadpool_limits(1)


def _few(cell: Cell) -> pd.DataFrame:
    without = cell.found.values["few_directions"][0]
    if PRIMARY_METRIC not in cell.found.items:
        return pd.DataFrame()
    value = cell.found.items[PRIMARY_METRIC].mean(axis=0)
    bits = np.log2(len(cell.sample.pairs) + len(cell.sample.rivals[1]))
    table = pd.DataFrame({"state": np.arange(len(value)), "value": value, "without": without, "bits": bits})
    return table.assign(
        variant=cell.variant, language=cell.language, stimuli=cell.stimuli, position=cell.position
    )


def _curves(gathered: _Gathered) -> dict[str, dict[str, dict[str, list[float]]]]:
    curves: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(dict)
    for (variant, language), scores in gathered.items.get(("probes", PRIMARY_POSITION, "cosine"), {}).items():
        for concept, curve in zip(gathered.meanings["probes"], scores, strict=True):
            curves[variant].setdefault(concept, {})[language] = curve.round(CURVE_DECIMALS).tolist()
    return dict(curves)


def _tables(
    gathered: _Gathered, stores: dict[str, ActivationStore], family: Family
) -> dict[str, pd.DataFrame]:
    parts: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for (stimuli, position, metric), items in gathered.items.items():
        if metric not in COMPARED:
            continue
        groups, by_variant = gathered.groups[stimuli], _by_variant(items)
        tables = {
            "variant_effects": effects.variant_effects(items, family, groups),
            "regional": effects.regional_effects(items, family, groups),
            "dose_response": effects.dose_response(items, family, groups),
            "peaks": peaks.peaks_table(by_variant, groups, position, metric),
        }
        if metric in COSINES and (stimuli == "probes" or position == PRIMARY_POSITION):
            tables["commitment_sensitivity"] = commitment_sensitivity(by_variant, position, metric)
        if (position, metric) == (PRIMARY_POSITION, PRIMARY_METRIC):
            of_kind = {key[1:]: scores for key, scores in gathered.items.items() if key[0] == stimuli}
            of_kind = {key: scores for key, scores in of_kind.items() if len(scores) == len(items)}
            tables["layer_increments"] = _increments(items, stores, groups)
            tables["robustness"] = robustness.robustness(of_kind, (position, metric), family, groups)
        for name, table in tables.items():
            if table is not None and len(table):
                own = {"stimuli": stimuli, "position": position, "metric": metric}
                parts[name].append(table.assign(**{k: v for k, v in own.items() if k not in table}))
    parts["commitment_sensitivity"] += [
        calibrated_sensitivity(found).assign(stimuli=stimuli)
        for stimuli, found in gathered.calibrated.items()
    ]
    parts["confounders"] = gathered.confounders
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items() if tables}


def _by_variant(items: effects.Items) -> dict[str, dict[str, np.ndarray]]:
    nested: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for (variant, language), scores in items.items():
        nested[variant][language] = scores
    return nested


def _increments(items: effects.Items, stores: dict[str, ActivationStore], groups: Groups) -> pd.DataFrame:
    """Mean increment per block, by layer type (averaged over languages), and the difference of the types:
    plain, and with a quadratic in depth taken out. No row where extraction recorded no layer types."""
    rows = []
    for variant, by_language in _by_variant(items).items():
        types = stores[variant].index.environment.get("layer_types")
        if not types:
            continue
        mean = np.mean(list(by_language.values()), axis=0)
        increments = peaks.increments_by_layer_type(mean, types, groups)
        if len(increments) == 2:
            first, second = sorted(increments)
            for trend in (0, 2):
                name = f"{first} - {second}, depth trend of degree {trend}"
                increments[name] = peaks.increment_difference(mean, types, groups, first, second, trend)
        for name, (value, low, high) in increments.items():
            row = {"variant": variant, "layers": name, "value": value, "ci_low": low, "ci_high": high}
            rows.append(row | {"n": groups.n})
    return pd.DataFrame(rows)


def _confounders(
    gathered: _Gathered, store: ActivationStore, variant: str, kind: str, of_kind: list[Cell]
) -> None:
    """Tokens, overlap, regressions and the shape of the space, at the primary position."""
    groups = of_kind[0].sample.groups
    stimuli = {PIVOT: [pivot for pivot, _ in of_kind[0].sample.pairs]}
    stimuli |= {cell.language: [target for _, target in cell.sample.pairs] for cell in of_kind}
    tokens = {code: [store.index.token_ids[s.stimulus_id] for s in own] for code, own in stimuli.items()}
    special = confounders.special_ids(ids for own in tokens.values() for ids in own)
    counted = {
        code: confounders.counts([s.text for s in own], tokens[code], special)
        for code, own in stimuli.items()
    }
    parts = [confounders.token_rows(counted, PIVOT, groups)]
    overlaps = {}
    for cell in of_kind:
        overlap = cell.sample.covariates.get(controls.OVERLAP, np.zeros((groups.n, groups.n)))
        overlaps[cell.language] = np.diagonal(overlap)
        parts.append(confounders.overlap_rows(cell.language, overlap, groups))
    items = {cell.language: cell.found.items[PRIMARY_METRIC] for cell in of_kind}
    for name, covariate in {**confounders.covariates(counted, PIVOT), "overlap": overlaps}.items():
        own = {language: covariate[language] for language in items}
        parts.append(confounders.regression_rows(items, own, name, groups))
    space = {key: values for cell in of_kind for key, values in cell.found.space.items()}
    parts.append(confounders.space_rows(space, groups.n))
    for code in stimuli:
        vectors = _by_state(store, PRIMARY_POSITION, cells.ids(stimuli[code]))
        shares = np.concatenate([confounders.dimension_shares(each) for each in vectors], axis=1)
        parts.append(confounders.share_rows(code, "dims", shares, groups.n))
    gathered.confounders.append(confounders.table(parts, variant, kind, PRIMARY_POSITION))


def final_tokens(store: ActivationStore, manifest: Manifest) -> dict[str, list[int]]:
    """Language -> the token read at `last` in each of its sentences."""
    final: dict[str, list[int]] = defaultdict(list)
    for kind in cells.KINDS:
        for stimulus in manifest.of_kind(kind):
            name = stimulus.stimulus_id
            final[stimulus.language].append(store.index.token_ids[name][store.index.read_index[name]["last"]])
    return dict(final)


def _normed(store: ActivationStore, manifest: Manifest) -> np.ndarray:
    """(2, n): of one token of each pivot sentence, the cosine of its last state with its stored post-norm
    vector, and the ratio of their lengths."""
    pivots = [s for kind in cells.KINDS for s in manifest.of_kind(kind) if s.language == PIVOT]
    names = cells.ids(pivots)
    last = store.resid(ONE_TOKEN, names, slice(store.n_states - 1, store.n_states))[:, 0].astype(np.float64)
    normed = store.post_norm(ONE_TOKEN, names).astype(np.float64)
    lengths = [np.linalg.norm(each, axis=1) for each in (last, normed)]
    return np.stack([(last * normed).sum(axis=1) / (lengths[0] * lengths[1]), lengths[0] / lengths[1]])


def _by_state(store: ActivationStore, position: str, ids: list[str]) -> Iterator[np.ndarray]:
    """(n, n_states, d_model) of a few states at a time."""
    for states in cells.state_blocks(len(ids), *store.shape):
        yield store.resid(position, ids, states)
