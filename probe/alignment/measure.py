"""Everything that stage 3 measures, put together: alignment, effects, shape, confounders, audit."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore
from probe.alignment import cells as alignment
from probe.alignment import confounders, effects, peaks, robustness
from probe.alignment.cells import Cell
from probe.alignment.commitment import commitment_sensitivity
from probe.audit import checks as audit
from probe.audit.findings import Finding
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import LANGUAGES, PIVOT
from probe.stats import metrics
from probe.stimuli.manifest import Manifest

log = logging.getLogger(__name__)

COMPARED = ("excess", "cosine")  # variants are compared, and commitment is told, on these
AUDITED = ("cosine", "excess", "p1", "mexa")
NORM_POSITION = "content"  # one token: the length of a mean of normed vectors varies again
MOST_WORKERS = 4  # each takes up to three quarters of a GiB at 1,000 meanings
WORTH_A_PROCESS = 1000  # stimuli; a worker takes two seconds to start

Key = tuple[str, str, str]  # kind of stimuli, position, metric

CONVENTIONS = {
    "interval": "95 % over meanings: BCa bootstrap; of CKA a jackknife; of states percentiles",
    "null": "target sentences permuted; null_low and null_high are its central 95 %",
    "p_value": "add-one, one-sided; p_max: of the largest over the states, one permutation for all of them",
    "q_value": "Benjamini-Hochberg over variants, languages and states of one stimuli, position and metric",
    "effects": f"p: {effects.P_VALUE}; q: {effects.Q_VALUE}",
    "confounders": f"regressions are of {PRIMARY_METRIC}",
}


@dataclass
class Measurement:
    """curves: variant -> concept id -> language -> cosine by state; post_norm: that after the final norm;
    tables: file name -> table, beside the summary; refused: what no number is given for, and why."""

    summary: pd.DataFrame
    curves: dict[str, dict[str, dict[str, list[float]]]]
    post_norm: dict[str, dict[str, dict[str, float]]]
    tables: dict[str, pd.DataFrame]
    findings: list[Finding]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def conventions(self) -> dict[str, Any]:
        return CONVENTIONS | {"refused": self.refused}


class _Gathered:
    """Item scores and the little else that outlives a variant."""

    def __init__(self) -> None:
        self.items: dict[Key, dict[tuple[str, str], np.ndarray]] = defaultdict(dict)
        self.meanings: dict[str, list[str]] = {}
        self.rows: list[pd.DataFrame] = []
        self.confounders: list[pd.DataFrame] = []
        self.embeddings: list[audit.Embedding] = []
        self.refused: dict[str, str] = {}

    def add(self, cell: Cell) -> None:
        for metric, scores in cell.found.items.items():
            if metric in metrics.ITEMWISE:  # compared at every position, as mutual k-NN is not
                self.items[cell.stimuli, cell.position, metric][cell.variant, cell.language] = scores
        self.meanings[cell.stimuli] = cell.meanings
        self.rows.append(cell.summary)
        for metric, reason in cell.found.refused.items():
            self.refused[f"{cell.variant}/{cell.language}/{cell.stimuli}/{cell.position}/{metric}"] = reason

    def join(self, other: "_Gathered") -> None:
        for key, items in other.items.items():
            self.items[key] |= items
        self.meanings |= other.meanings
        self.refused |= other.refused
        for name in ("rows", "confounders", "embeddings"):
            getattr(self, name).extend(getattr(other, name))


def measure(stores: dict[str, ActivationStore], manifest: Manifest, family: Family) -> Measurement:
    """Every result of stage 3. Raises MissingActivations where a stimulus was not extracted."""
    gathered = _Gathered()
    for part in _each(_gather, [(store, manifest, variant) for variant, store in stores.items()]):
        gathered.join(part)
    if not gathered.rows:
        raise ProbeError(f"no language has {alignment.MIN_PAIRS} sentences that match the pivot's")
    summary = alignment.with_q_values(pd.concat(gathered.rows, ignore_index=True))
    tables = _tables(gathered, stores, family)
    evidence = audit.Evidence(
        final_tokens={variant: _final_tokens(store, manifest) for variant, store in stores.items()},
        scores=_scores(gathered),
        norms={variant: _norms(store, manifest) for variant, store in stores.items()},
        embeddings=gathered.embeddings,
        summary=summary.loc[summary.metric.isin(AUDITED)],
        effects=tables.get("variant_effects"),
        sentences=[
            (kind, s.stimulus_id, s.language, s.text)
            for kind in alignment.KINDS
            for s in manifest.of_kind(kind)
        ],
    )
    return Measurement(
        summary=summary,
        curves=_curves(gathered),
        post_norm={
            variant: alignment.post_norm_cosine(store, manifest, PRIMARY_POSITION)
            for variant, store in stores.items()
        },
        tables=tables,
        findings=audit.audit(evidence),
        refused=gathered.refused,
    )


def _gather(store: ActivationStore, manifest: Manifest, variant: str) -> _Gathered:
    """One variant's share of the work."""
    gathered = _Gathered()
    primary: dict[str, list[Cell]] = defaultdict(list)
    for cell in alignment.cells(store, manifest, variant):
        gathered.add(cell)
        if cell.position == PRIMARY_POSITION:
            primary[cell.stimuli].append(cell)
    for kind, cells in primary.items():
        _confounders(gathered, store, manifest, variant, kind, cells)
    return gathered


def _each(gather: Callable, work: list[tuple[ActivationStore, Manifest, str]]) -> Iterator[_Gathered]:
    """`gather` of every variant, in order; side by side where there is enough to do for a process to pay."""
    workers = min(os.cpu_count() or 1, len(work), MOST_WORKERS)
    if workers == 1 or len(list(work[0][1])) < WORTH_A_PROCESS:
        for part in work:
            yield gather(*part)
            log.info("%s: measured", part[2])
        return
    # The linear algebra of the workers must not share out cores that they fill already. Spawned, not forked:
    # a fork of a process that has threads may hang.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for part, gathered in zip(work, pool.map(gather, *zip(*work, strict=True)), strict=True):
            log.info("%s: measured", part[2])
            yield gathered


def _curves(gathered: _Gathered) -> dict[str, dict[str, dict[str, list[float]]]]:
    curves: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(dict)
    for (variant, language), scores in gathered.items["probes", PRIMARY_POSITION, "cosine"].items():
        for concept, curve in zip(gathered.meanings["probes"], scores, strict=True):
            curves[variant].setdefault(concept, {})[language] = [round(float(value), 6) for value in curve]
    return dict(curves)


def _tables(
    gathered: _Gathered, stores: dict[str, ActivationStore], family: Family
) -> dict[str, pd.DataFrame]:
    compared = {key: items for key, items in gathered.items.items() if key[2] in COMPARED}
    parts: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for (stimuli, position, metric), items in compared.items():
        parts["variant_effects"].append(effects.variant_effects(items, family, stimuli, position, metric))
        dose = effects.dose_response(items, family)
        if dose is not None:
            parts["dose_response"].append(dose.assign(stimuli=stimuli, position=position, metric=metric))
        by_variant = _by_variant(items)
        peak = peaks.peaks_table(by_variant, position, metric)
        parts["peaks"].append(peak.assign(stimuli=stimuli))
        if stimuli == "probes":
            parts["commitment_sensitivity"].append(commitment_sensitivity(by_variant, position, metric))
    primary = {key: items for key, items in compared.items() if key[1:] == (PRIMARY_POSITION, PRIMARY_METRIC)}
    for (stimuli, position, metric), items in primary.items():
        parts["layer_increments"].append(
            _increments(items, stores).assign(stimuli=stimuli, position=position, metric=metric)
        )
        of_kind = {
            key[1:]: scores
            for key, scores in gathered.items.items()
            if key[0] == stimuli and len(scores) == len(items)
        }
        table = robustness.robustness(of_kind, (position, metric), family)
        if len(table):
            parts["robustness"].append(table.assign(stimuli=stimuli))
    parts["confounders"] = gathered.confounders
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items() if tables}


def _by_variant(items: effects.Items) -> dict[str, dict[str, np.ndarray]]:
    nested: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for (variant, language), scores in items.items():
        nested[variant][language] = scores
    return nested


def _increments(items: effects.Items, stores: dict[str, ActivationStore]) -> pd.DataFrame:
    """Mean increment per block, by layer type (averaged over languages), and the difference of the types:
    plain, and with a quadratic in depth taken out. No row where extraction recorded no layer types."""
    rows = []
    for variant, by_language in _by_variant(items).items():
        types = stores[variant].index.environment.get("layer_types")
        if not types:
            continue
        mean = np.mean(list(by_language.values()), axis=0)
        found = peaks.increments_by_layer_type(mean, types)
        if len(found) == 2:
            first, second = sorted(found)
            for trend in (0, 2):
                found[f"{first} - {second}, depth trend of degree {trend}"] = peaks.increment_difference(
                    mean, types, first, second, trend
                )
        rows += [
            {
                "variant": variant,
                "layers": name,
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "n": len(mean),
            }
            for name, (value, low, high) in found.items()
        ]
    return pd.DataFrame(rows, columns=["variant", "layers", "value", "ci_low", "ci_high", "n"])


def _confounders(
    gathered: _Gathered,
    store: ActivationStore,
    manifest: Manifest,
    variant: str,
    kind: str,
    cells: list[Cell],
) -> None:
    """Tokens, overlap, regressions and the shape of the space, at the primary position."""
    stimuli = {code: [s for s in manifest.of_kind(kind) if s.language == code] for code in LANGUAGES}
    tokens = {code: [store.index.token_ids[s.stimulus_id] for s in own] for code, own in stimuli.items()}
    special = confounders.special_ids(ids for own in tokens.values() for ids in own)
    counted = {
        code: confounders.counts([s.text for s in own], tokens[code], special)
        for code, own in stimuli.items()
        if own
    }
    parts = [confounders.token_rows(counted, PIVOT)]
    overlaps = {}
    for cell in cells:
        overlap = confounders.jaccard(tokens[PIVOT], tokens[cell.language], special)
        overlaps[cell.language] = np.diagonal(overlap)
        parts.append(confounders.overlap_rows(cell.language, overlap))
        assert cell.found.embedding is not None, "not measured at the primary position"
        explained = audit.explained_by_overlap(cell.found.embedding, overlap)
        gathered.embeddings.append(audit.Embedding(variant, cell.language, kind, cell.position, explained))
    items = {cell.language: cell.found.items[PRIMARY_METRIC] for cell in cells}
    for name, covariate in {**confounders.covariates(counted, PIVOT), "overlap": overlaps}.items():
        parts.append(confounders.regression_rows(items, {lang: covariate[lang] for lang in items}, name))
    space = {key: values for cell in cells for key, values in cell.found.space.items()}
    parts.append(confounders.space_rows(space, len(cells[0].meanings)))
    for code in (PIVOT, *(cell.language for cell in cells)):
        vectors = _by_state(store, PRIMARY_POSITION, alignment.ids(stimuli[code]))
        shares = np.concatenate([confounders.dimension_shares(each) for each in vectors], axis=1)
        parts.append(confounders.share_rows(code, "dims", shares, len(stimuli[code])))
    gathered.confounders.append(confounders.table(parts, variant, kind, PRIMARY_POSITION))


def _final_tokens(store: ActivationStore, manifest: Manifest) -> dict[str, list[int]]:
    """Language -> the token read at `last` in each of its sentences."""
    final: dict[str, list[int]] = defaultdict(list)
    for kind in alignment.KINDS:
        for stimulus in manifest.of_kind(kind):
            name = stimulus.stimulus_id
            final[stimulus.language].append(store.index.token_ids[name][store.index.read_index[name]["last"]])
    return dict(final)


def _norms(store: ActivationStore, manifest: Manifest) -> np.ndarray:
    """(n, n_states): lengths of the states of one token of each pivot sentence."""
    pivots = [s for kind in alignment.KINDS for s in manifest.of_kind(kind) if s.language == PIVOT]
    vectors = _by_state(store, NORM_POSITION, alignment.ids(pivots))
    return np.concatenate([np.linalg.norm(each.astype(np.float64), axis=-1) for each in vectors], axis=1)


def _by_state(store: ActivationStore, position: str, ids: list[str]) -> Iterator[np.ndarray]:
    """(n, n_states, d_model) of a few states at a time."""
    for states in alignment.state_blocks(len(ids), *store.shape):
        yield store.resid(position, ids, states)


def _scores(gathered: _Gathered) -> list[audit.Scores]:
    return [
        audit.Scores(variant, language, stimuli, position, metric, scores)
        for (stimuli, position, metric), items in gathered.items.items()
        if metric in AUDITED
        for (variant, language), scores in items.items()
    ]
