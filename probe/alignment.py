"""From stored activations to alignment, state by state, with its null and its interval."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe import metrics, resampling
from probe.languages import PIVOT, TARGETS
from probe.stimuli import Manifest, Stimulus
from probe.store import POSITIONS, ActivationStore

KINDS = ("probes", "flores", "parallel")  # what is measured in matched pairs
MIN_PAIRS = 4  # fewer concepts give no interval worth the name


@dataclass(frozen=True)
class Cell:
    """One measured combination: similarity is (n_states, n, n), matched pairs on the diagonal."""

    variant: str
    stimuli: str
    position: str
    language: str
    meanings: list[str]
    similarity: np.ndarray

    @property
    def curves(self) -> np.ndarray:
        """(n, n_states): the matched cosine of each meaning."""
        return np.diagonal(self.similarity, axis1=1, axis2=2).T


def similarity(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """pivot, target: (n, n_states, d_model). Returns (n_states, n, n) cosines."""
    return np.stack([metrics.cosine_matrix(pivot[:, s], target[:, s]) for s in range(pivot.shape[1])])


def _ids(stimuli: tuple[Stimulus, ...]) -> list[str]:
    return [stimulus.stimulus_id for stimulus in stimuli]


def cells(store: ActivationStore, manifest: Manifest, variant: str) -> Iterator[Cell]:
    """Every kind of stimuli, read position and target language of one variant, where there are pairs enough.

    Raises MissingActivations where a stimulus was not extracted.
    """
    for kind in KINDS:
        pairs = {language: manifest.matched(kind, language, PIVOT) for language in TARGETS}
        for position in POSITIONS if kind == "probes" else POSITIONS[:-1]:
            for language, matched in pairs.items():
                if len(matched) < MIN_PAIRS:
                    continue
                pivot, target = (store.resid(position, _ids(side)) for side in zip(*matched, strict=True))
                meanings = [stimulus.meaning for stimulus, _ in matched]
                yield Cell(variant, kind, position, language, meanings, similarity(pivot, target))


def post_norm_cosine(
    store: ActivationStore, manifest: Manifest, position: str
) -> dict[str, dict[str, float]]:
    """Concept id -> language -> matched cosine after the model's final norm, probes only."""
    result: dict[str, dict[str, float]] = {}
    for language in TARGETS:
        matched = manifest.matched("probes", language, PIVOT)
        if not matched:
            continue
        pivot, target = (store.post_norm(position, _ids(side)) for side in zip(*matched, strict=True))
        values = np.diagonal(metrics.cosine_matrix(pivot, target))
        for (stimulus, _), value in zip(matched, values, strict=True):
            result.setdefault(stimulus.meaning, {})[language] = round(float(value), 6)
    return result


def summarise(cell: Cell) -> pd.DataFrame:
    """One row per metric and state: value, 95 % BCa interval over meanings, the permutation null with its
    central 95 %, and the add-one p of matched against permuted pairs."""
    n = len(cell.meanings)
    shuffled = resampling.permuted_matched(cell.similarity)
    # Under a permutation the sum of the whole matrix stays, so excess is a linear function of matched.
    whole = cell.similarity.mean(axis=(1, 2))
    nulls = {"cosine": shuffled, "excess": (shuffled - whole) * n / (n - 1)}
    tables = []
    for metric, statistic in metrics.METRICS.items():
        value, low, high = resampling.interval(lambda w, s=statistic: s(cell.similarity, w), n)
        null = nulls[metric]
        tables.append(
            pd.DataFrame(
                {
                    "variant": cell.variant,
                    "language": cell.language,
                    "stimuli": cell.stimuli,
                    "position": cell.position,
                    "metric": metric,
                    "state": np.arange(len(value)),
                    "value": value,
                    "ci_low": low,
                    "ci_high": high,
                    "null": null.mean(axis=0),
                    "p_value": resampling.p_value(value, null),
                    "n": n,
                    "null_low": np.quantile(null, 0.025, axis=0),
                    "null_high": np.quantile(null, 0.975, axis=0),
                }
            )
        )
    return pd.concat(tables).round(9)  # below that is the noise of the summation order


def with_q_values(summary: pd.DataFrame) -> pd.DataFrame:
    """Benjamini-Hochberg over variants, languages and states of one kind of stimuli, position and metric."""
    q = summary.groupby(["stimuli", "position", "metric"])["p_value"].transform(
        lambda p: resampling.benjamini_hochberg(p.to_numpy())
    )
    result = summary.copy()
    result.insert(list(summary.columns).index("p_value") + 1, "q_value", q)
    return result
