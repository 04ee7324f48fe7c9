"""From stored activations to alignment, state by state, with its null and its interval."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe import metrics, resampling
from probe.languages import PIVOT, TARGETS
from probe.stimuli import Manifest, Stimulus
from probe.store import POSITIONS, PRIMARY_POSITION, ActivationStore

KINDS = ("probes", "flores", "parallel")  # what is measured in matched pairs
MIN_PAIRS = 5  # fewer give no interval worth the name

Pairs = list[tuple[Stimulus, Stimulus]]  # (pivot, target), saying the same thing


@dataclass(frozen=True)
class Cell:
    """One combination, measured.

    items    metric -> (n, n_states) item scores, of the metrics that hold at every state
    summary  its rows of alignment_summary.csv, without q-values
    refused  metric -> why there are no rows of it, at one state or all
    """

    variant: str
    stimuli: str
    position: str
    language: str
    meanings: list[str]
    grams: metrics.Grams
    items: dict[str, np.ndarray]
    summary: pd.DataFrame
    refused: dict[str, str]


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
    for kind, position, language, pairs in combinations(manifest):
        pivot, target = (store.resid(position, ids(side)) for side in zip(*pairs, strict=True))
        meanings = [stimulus.meaning for stimulus, _ in pairs]
        yield measured(metrics.grams(pivot, target), variant, kind, position, language, meanings)


def measured(
    grams: metrics.Grams, variant: str, kind: str, position: str, language: str, meanings: list[str]
) -> Cell:
    """Every metric of one combination; CKA and mutual k-NN, whose nulls cost most, at PRIMARY_POSITION alone.

    One row per metric and state: value, 95 % interval over meanings (BCa;
    jackknife for CKA), the permutation null and its central 95 %, the add-one p of the state (`p_value`) and
    that of the largest over the states (`p_max`)."""
    items: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}
    tables = []
    for name, metric in metrics.ITEMWISE.items():
        try:
            q = metric(grams)
        except metrics.Refused as reason:
            refused[name] = str(reason)
            continue
        items[name] = np.diagonal(q, axis1=1, axis2=2).T
        mean = interval_of_mean(items[name])
        tables.append(_rows(name, *mean, resampling.permuted_matched(q)))
    for name in metrics.WHOLE if position == PRIMARY_POSITION else ():
        try:
            null = metrics.null(name, grams)
            if name == "cka":
                value = metrics.cka_interval(grams)
            else:
                value = interval_of_mean(metrics.mutual_knn_items(grams))
        except metrics.Refused as reason:
            refused[name] = str(reason)
            continue
        tables.append(_rows(name, *value, null))
    keys = {"variant": variant, "language": language, "stimuli": kind, "position": position}
    table = pd.concat(tables, ignore_index=True).assign(**keys, n=len(meanings))
    table = table.round(9)  # below that is the noise of the summation order
    return Cell(variant, kind, position, language, meanings, grams, items, table, refused)


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
