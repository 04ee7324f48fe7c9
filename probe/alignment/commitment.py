"""When a concept commits: the first state from which its alignment holds, and how much that says.

Two criteria. `calibrated`: its sentence pair beats SHARE of its rivals, in row and column, for CONSECUTIVE
states. Rivals are all other sentences of either language, and where more than ALPHA of the pairs of other
meanings would commit so, at whatever state, the share is raised until no more do. `cosine`, the original's:
the raw cosine is at THRESHOLD or above for CONSECUTIVE states, which an anisotropic space meets by itself.

A concept that never commits is censored at the end of the network, not missing: it counts in every
denominator and every median.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import binomtest

from probe.conventions import ALPHA, PRIMARY_METRIC, PRIMARY_POSITION
from probe.stats.groups import Groups
from probe.stats.inference import CONFIDENCE
from probe.stats.resampling import attained_quantile

THRESHOLD = 0.85
CURVE_DECIMALS = 6  # of a curve in a file: what commits there commits in every table
CONSECUTIVE = 3
THRESHOLDS = (0.75, 0.85, 0.90)  # of the sensitivity table
RUNS = (2, 3, 5)
SHARE = 0.95  # of the rivals
SHARES = (SHARE, 0.99)
MIN_RIVALS = 100  # fewer, as the 19 other probes, do not tell 95 % from chance
COSINE, CALIBRATED = "cosine", "calibrated"  # the criteria
ENDING = {COSINE: "_layer", CALIBRATED: "_calibrated"}  # of their columns in commitment_matrix.csv
RULE = (
    f"calibrated: a pair beats {SHARE:.0%} of its rivals, in row and column, for {CONSECUTIVE} states, or "
    f"the least share above it that at most {ALPHA:.0%} of permuted pairs hold at whatever state; rivals: "
    f"all other sentences of either language, at least {MIN_RIVALS}"
)
COSINES = ("cosine", "excess", "centred_cosine")  # of which a threshold means the same everywhere


@dataclass(frozen=True)
class Calibrated:
    """What the pairs of a kind and language beat of their rivals: the smaller of row and column.

    shares: (n, n_states) in [0, 1] of matched pairs. permuted: run -> what each pair of other meanings holds
    for so many states, (n_permutations, n). rivals: how many each pair has at least.
    """

    shares: np.ndarray
    permuted: Mapping[int, np.ndarray]
    rivals: int

    def required(self, share: float = SHARE, consecutive: int = CONSECUTIVE) -> float:
        """`share`, or the least above it that at most ALPHA of the permuted pairs hold at whatever state: a
        curve that wanders over many states meets 95 % somewhere more often than one state does. Above 1 where
        none would do: then nothing commits."""
        held = np.sort(np.nan_to_num(self.permuted[consecutive], nan=-1.0), axis=None)[::-1]
        return max(share, float(held[int(ALPHA * held.size)]) + 10.0**-CURVE_DECIMALS)

    def states(self, share: float = SHARE, consecutive: int = CONSECUTIVE) -> np.ndarray:
        """(n,) as `commitment_states`."""
        return commitment_states(self.shares, self.required(share, consecutive), consecutive)

    def chance(self, share: float = SHARE, consecutive: int = CONSECUTIVE) -> float:
        """The share of permuted pairs that commit, in [0, ALPHA]."""
        return float((self.permuted[consecutive] >= self.required(share, consecutive)).mean())


def commitment_layer(
    curve, threshold: float = THRESHOLD, consecutive: int = CONSECUTIVE, start: int = 0
) -> int | None:
    """First state, not before `start`, from which the curve stays at or above the threshold for
    `consecutive` states; None where it never does.

    curve: (n_states,) floats, state 0 the embedding. Raises ValueError for consecutive < 1 or a value that
    is not finite.
    """
    state = commitment_states(np.asarray(curve), threshold, consecutive, start)
    return int(state) if np.isfinite(state) else None


def commitment_states(
    curves: np.ndarray, threshold: float = THRESHOLD, consecutive: int = CONSECUTIVE, start: int = 0
) -> np.ndarray:
    """`commitment_layer` of many curves, in the form that medians are taken of.

    curves: (..., n_states). Returns (...) float64, inf where a curve never commits: later than every state,
    which is all that is known of it, and which orders it rightly. For a file, write an empty cell instead.
    Raises ValueError as commitment_layer does.
    """
    values = np.asarray(curves, dtype=np.float64)[..., start:]
    if consecutive < 1:
        raise ValueError("consecutive must be at least 1")
    if not np.isfinite(values).all():
        raise ValueError("the curve holds a value that is not finite")
    if values.shape[-1] < consecutive:
        return np.full(values.shape[:-1], np.inf)
    held = sliding_window_view(values >= threshold, consecutive, axis=-1).all(axis=-1)
    return np.where(held.any(axis=-1), start + held.argmax(axis=-1), np.inf)


def held_level(curve, consecutive: int = CONSECUTIVE) -> float | None:
    """The highest threshold that the curve holds for `consecutive` states in a row: over all runs of that
    many states, the largest of the runs' minima. None where the curve is shorter than one run.

    curve: (n_states,) floats. So `commitment_layer(curve, t, k)` is a state exactly where `held_level(curve,
    k) >= t`: it tells how far from committing a curve is. Raises ValueError as commitment_layer does.
    """
    if consecutive < 1:
        raise ValueError("consecutive must be at least 1")
    if not np.isfinite(curve).all():
        raise ValueError("the curve holds a value that is not finite")
    held = float(held_levels(np.asarray(curve, dtype=np.float64), consecutive))
    return None if np.isnan(held) else held


def held_levels(curves: np.ndarray, consecutive: int = CONSECUTIVE) -> np.ndarray:
    """`held_level` of many curves: (..., n_states) -> (...) float64, NaN where that is None."""
    if curves.shape[-1] < consecutive:
        return np.full(curves.shape[:-1], np.nan)
    return sliding_window_view(curves, consecutive, axis=-1).min(axis=-1).max(axis=-1)


def commitment_matrix(
    curves: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    concepts: Mapping[str, str],
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
) -> pd.DataFrame:
    """One row per concept and language, a column {variant}_layer; an empty cell is 'never'.

    curves: variant -> concept id -> language -> (n_states,) floats. concepts: id -> name.
    """
    first = next(iter(curves.values()))
    languages = list(next(iter(first.values())))
    states = {
        f"{variant}{ENDING[COSINE]}": {
            language: commitment_states(
                np.array([own[concept][language] for concept in first]), threshold, consecutive
            )
            for language in languages
        }
        for variant, own in curves.items()
    }
    return matrix({concept: concepts.get(concept, concept) for concept in first}, languages, states)


def matrix(
    names: Mapping[str, str],
    languages: Sequence[str],
    states: Mapping[str, Mapping[str, np.ndarray]],
) -> pd.DataFrame:
    """concept_id, concept, language and a column for each of `states`, empty where that is not finite.

    names: of each meaning, in order. states: column -> language -> (n,) as `commitment_states`; a language
    that is not there was not measured.
    """
    keys = pd.MultiIndex.from_product([list(names), languages], names=["concept_id", "language"])
    table = keys.to_frame(index=False)
    table.insert(1, "concept", table.concept_id.map(names))
    for column, by_language in states.items():
        never = np.full(len(names), np.inf)
        cells = np.stack([by_language.get(language, never) for language in languages], axis=1).ravel()
        table[column] = pd.Series(np.where(np.isfinite(cells), cells, np.nan)).astype("Int64")
    return table


def measured_matrix(
    names: Mapping[str, Mapping[str, str]],
    cosines: Mapping[str, Mapping[tuple[str, str], np.ndarray]],
    calibrated: Mapping[str, Mapping[tuple[str, str], Calibrated]],
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
) -> pd.DataFrame:
    """commitment_matrix.csv: of every kind of stimuli its meanings by both criteria, the cosine's threshold
    and run as given. A {variant}_calibrated is absent where nothing was measured for the variant.

    names: kind -> meaning -> what it is called. cosines: kind -> (variant, language) -> (n, n_states) of the
    meanings in that order; calibrated: so too.
    """
    tables = []
    for kind, items in cosines.items():
        states: dict[str, dict[str, np.ndarray]] = {f"{variant}{ENDING[COSINE]}": {} for variant, _ in items}
        for (variant, language), curves in items.items():
            held = commitment_states(curves.round(CURVE_DECIMALS), threshold, consecutive)
            states[f"{variant}{ENDING[COSINE]}"][language] = held
        for (variant, language), found in calibrated.get(kind, {}).items():
            states.setdefault(f"{variant}{ENDING[CALIBRATED]}", {})[language] = found.states()
        languages = list(dict.fromkeys(language for _, language in items))
        table = matrix(names[kind], languages, states)
        table.insert(0, "stimuli", kind)
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True)
    layers = [column for column in whole if str(column).endswith(ENDING[COSINE])]
    rest = [column for column in whole if str(column).endswith(ENDING[CALIBRATED])]
    return whole.reindex(columns=["stimuli", "concept_id", "concept", "language", *layers, *rest])


def of_probes(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the probes: all of a published table, which does not tell the kind of stimuli."""
    if "stimuli" not in table:
        return table
    return pd.DataFrame(table.loc[table["stimuli"] == "probes"]).reset_index(drop=True)


def _known(state: float) -> int | None:
    return int(state) if np.isfinite(state) else None


def censored_median(states: np.ndarray) -> tuple[int | None, int | None, int | None]:
    """(median, low, high): the state by which at least half have committed, and its 95 % percentile
    interval over concepts. None is "never": fewer than half commit (in so many of the resamples).

    states: (n,) or (n, n_languages) as from `commitment_states`, row i one concept; the concept is resampled
    and takes all its languages with it. Since nothing is lost to follow-up before the last state, the
    Kaplan-Meier median is the attained median with 'never' ordered last.
    Raises ValueError for a NaN or fewer than two concepts.
    Source: Kaplan and Meier 1958; Efron 1981, "Censored Data and the Bootstrap".
    """
    states = np.asarray(states, dtype=np.float64)
    if np.isnan(states).any():
        raise ValueError("a state is NaN; 'never' is inf")
    cells = states.reshape(len(states), -1)
    order = np.argsort(cells, axis=None, kind="stable")
    ordered, concept = cells.ravel()[order], order // cells.shape[1]
    # Drawing a concept twice doubles its cells: the weighted median is the first cell at which the cumulated
    # weight reaches half. Weights are counts, so the comparison is exact.
    cumulated = Groups.independent(len(cells)).bootstrap_weights[:, concept].cumsum(axis=1)
    resampled = ordered[(2 * cumulated >= cumulated[:, -1:]).argmax(axis=1)]
    tail = (1 - CONFIDENCE) / 2
    ends = (attained_quantile(resampled, share) for share in (tail, 1 - tail))
    low, high = (_known(float(end)) for end in ends)
    return _known(float(attained_quantile(ordered, 0.5))), low, high


def commitment_sensitivity(
    curves: Mapping[str, Mapping[str, np.ndarray]], position: str, metric: str, start: int = 0
) -> pd.DataFrame:
    """How far commitment by a cosine depends on the threshold and on the number of states it must hold for.

    curves: variant -> language -> (n, n_states) item scores of one of COSINES, a row per meaning. One row per
    variant, language, threshold of THRESHOLDS and run of RUNS: criterion (COSINE), variant, language,
    position, metric, threshold, consecutive, committed (how many meanings), n, fraction, ci_low, ci_high
    (Wilson's 95 % interval; meanings of one language are independent, so no pooling over languages), and
    censored_median, empty where fewer than half commit. Raises ValueError as commitment_layer does, and for
    another metric.
    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if metric not in COSINES:
        raise ValueError(f"{metric} is no cosine: a threshold of {THRESHOLD} means nothing there")
    rows = []
    for variant, by_language in curves.items():
        for language, items in by_language.items():
            row = {"criterion": COSINE, "variant": variant, "language": language}
            row |= {"position": position, "metric": metric}
            for threshold, run in product(THRESHOLDS, RUNS):
                states = commitment_states(items.round(CURVE_DECIMALS), threshold, run, start)
                rows.append(row | {"threshold": threshold, "consecutive": run} | committed(states))
    return pd.DataFrame(rows).astype({"censored_median": "Int64"})


def calibrated_sensitivity(found: Mapping[tuple[str, str], Calibrated]) -> pd.DataFrame:
    """The same of the calibrated criterion, at SHARES in place of thresholds.

    found: (variant, language) -> what is beaten. Beside those columns: required, the share that had to be
    beaten (above 1: none would do); chance, the share of permuted pairs that commit; and rivals, how many
    each pair has at least.
    """
    rows = []
    for (variant, language), own in found.items():
        row = {"criterion": CALIBRATED, "variant": variant, "language": language}
        row |= {"position": PRIMARY_POSITION, "metric": PRIMARY_METRIC}
        for share, run in product(SHARES, RUNS):
            told = {"required": own.required(share, run), "chance": own.chance(share, run)}
            at = {"threshold": share, "consecutive": run}
            rows.append(row | at | committed(own.states(share, run)) | told | {"rivals": own.rivals})
    return pd.DataFrame(rows).astype({"censored_median": "Int64", "rivals": "Int64"})


def committed(states: np.ndarray) -> dict:
    """How many meanings of one language commit: six columns of `commitment_sensitivity`.

    states: (n,) as from `commitment_states`. Raises ValueError for n = 0.
    """
    count, n = int(np.isfinite(states).sum()), len(states)
    low, high = _wilson(count, n)
    return {
        "committed": count,
        "n": n,
        "fraction": count / n,
        "ci_low": low,
        "ci_high": high,
        "censored_median": _known(float(attained_quantile(states, 0.5))),
    }


@cache
def _wilson(count: int, n: int) -> tuple[float, float]:
    ends = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return ends.low, ends.high
