"""Do two folders of results say the same, though two processors summed in another order?

Rows are matched by their keys; each number has a tolerance by its kind, and decisions have none: what may be
claimed, where a peak lies, where a concept commits, what the auditor found and blocks. `unlike` is the one
place that knows which column is of what kind, and `rounded_otherwise` the stand-in for another processor.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from probe.models.extract import Activations

# Where a whole number or a flag is a result and not a key
DECISIONS = {"verdict", "reason", "significant", "survives", "distinguishable", "first", "peak_state"}
COUNTS = {"n", "n_groups", "n_concepts", "committed", "dropped", "rivals"}
NULLS = {"null", "null_low", "null_high"}
CHANCES = {"p_value", "p_max", "p_holm", "q_value"} | NULLS
PERMUTED = {"required", "chance"}  # of a share of permuted pairs: one of them more or less
FLOAT_KEYS = {"state", "threshold"}
# A mean over n of what one near-tie moves by a whole step
STEPS = ("p1", "mrr", "mexa", "rank", "mutual_knn", "xsim")

CLOSE = 1e-3  # cosines, their intervals, probabilities, and what is computed from them without ranking
END = 1e-2  # of the interval of a share explained, and of a share of permuted pairs
SHAPE = 0.1  # of a peak, but for its state: heights and falls jump where resamples choose another
RANK_BITS = 8  # the range of a rank in bits, where other scores have 1
BITS = 0.02  # of an entropy, which is written with three digits
CHANCE = 0.05  # p-values, and quantiles of a null
STEP_CHANCE = 0.5  # p of what moves by steps: it moves by the share of permutations that reach just one step


def _is_decision(column: str) -> bool:
    return column in DECISIONS or column.endswith(("_layer", "_calibrated", "_commit"))


def _of_states(column: str) -> bool:
    """A quantile of resampled states, or their median: one step apart where two states are equally likely."""
    return column.endswith("_onset") or "_start" in column or column.startswith("peak_state_ci")


def _is_key(table: pd.DataFrame, column: str) -> bool:
    if column in FLOAT_KEYS:
        return True
    is_result = _is_decision(column) or _of_states(column) or column in COUNTS | CHANCES
    return not is_result and not is_float_dtype(table[column])


def _tolerance(table: pd.DataFrame, column: str) -> np.ndarray | float:
    """How far two values of a column may lie apart, for the whole column or for each row."""
    if _is_decision(column) or column in COUNTS - {"n_groups"}:
        return 0.0
    if _of_states(column) or column == "censored_median":
        return 1.0
    if column in PERMUTED:
        return END
    if column.endswith("_bits"):
        return BITS
    stepwise = table["metric"].str.startswith(STEPS).to_numpy() if "metric" in table else False
    if column in CHANCES:
        return np.where(stepwise & (column not in NULLS), STEP_CHANCE, CHANCE)
    close = CLOSE
    if "peak_state" in table:
        close = SHAPE
    elif "metric" not in table and column.endswith(("ci_low", "ci_high")):
        close = END
    if "metric" not in table or "n" not in table:
        return close
    # A contrast of two measured curves has a step of each
    step = (2 if "contrast" in table else 1) / table["n"]
    if column in ("ci_low", "ci_high") and "n_groups" in table:
        step = step * (table["n"] / table["n_groups"]).fillna(1)  # an interval is over groups
    in_bits = (table["metric"] == "rank").to_numpy()
    return np.where(stepwise, np.maximum(step, close), close) * np.where(in_bits, RANK_BITS, 1)


def unlike(made: pd.DataFrame, expected: pd.DataFrame) -> Iterator[str]:
    """One line for each column in which two tables differ by more than its kind allows."""
    if list(made.columns) != list(expected.columns):
        yield f"columns {sorted(set(made.columns) ^ set(expected.columns))}, or their order"
        return
    keys = [column for column in expected if _is_key(expected, column)]
    one, other = (table.assign(**table[keys].astype(str)).set_index(keys) for table in (made, expected))
    if not (one.index.is_unique and other.index.is_unique):
        yield f"rows are not told apart by {keys}"
        return
    if apart := one.index.symmetric_difference(other.index).tolist():
        yield f"{len(apart)} rows are in one only, the first {apart[0]}"
    common = other.index.intersection(one.index)
    one, other = one.loc[common], other.loc[common]
    for column in other:
        pair = [side[column] for side in (one, other)]
        if _of_states(column):  # none is one after the last; whole numbers have a tolerance, too
            last = max(side[column].max() for side in (one, other))
            pair = [side.astype(float).fillna(last + 1) for side in pair]
        wrong = _apart(*pair, _tolerance(other.reset_index(), column))
        if wrong.any():
            row = common[int(wrong.argmax())]
            values = f"{one[column].loc[row]} against {other[column].loc[row]}"
            yield f"{column}: {int(wrong.sum())} of {len(wrong)} rows, the first {row}: {values}"


def _apart(made: pd.Series, expected: pd.Series, tolerance: np.ndarray | float) -> np.ndarray:
    """(n_rows,) bool. An empty cell is like an empty cell only."""
    empty = made.isna().to_numpy(), expected.isna().to_numpy()
    if is_float_dtype(made) and is_float_dtype(expected):
        # Relative above 1, for quantities that are no cosines; the last digit written is no difference
        allowed = np.maximum(1, expected.abs()) * (tolerance + 1e-6)
        differ = ((made - expected).abs() > allowed).to_numpy()
    else:
        differ = (made.astype(str) != expected.astype(str)).to_numpy()
    return (empty[0] != empty[1]) | (differ & ~empty[0])


def _decided(path: Path) -> dict[str, list]:
    """The auditor's findings without their evidence, whose numbers are in the tables."""
    findings = json.loads(path.read_text())["findings"]
    return {f["id"]: [f["severity"], f["languages"], f["variants"], f["blocks"]] for f in findings}


def differences(made: Path, expected: Path) -> list[str]:
    """What two folders of results do not agree on, a line each; empty where they say the same."""
    names = [{path.name for path in folder.iterdir() if path.name[0] != "."} for folder in (made, expected)]
    found = [f"{name}: in one only" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if name.endswith((".csv", ".parquet")):
            read = pd.read_csv if name.endswith(".csv") else pd.read_parquet
            found += [f"{name}: {line}" for line in unlike(read(made / name), read(expected / name))]
        elif name == "artifact_audit.json":
            one, other = _decided(made / name), _decided(expected / name)
            found += [
                f"{name}: {key}: {one.get(key)} against {other.get(key)}"
                for key in sorted(one.keys() | other.keys())
                if one.get(key) != other.get(key)
            ]
    return found


def rounded_otherwise(activations: Activations, by: float = 1e-6) -> Activations:
    """The same activations as another processor would have summed them: each value off by up to `by` of it.

    By how much is a function of the value, as rounding is: what was equal stays equal, as the embedding of a
    full stop in every sentence.
    """

    def moved(vectors: np.ndarray) -> np.ndarray:
        scattered = np.ascontiguousarray(vectors).view(np.uint32) * np.uint32(2654435761)
        return (vectors * (1 + by * (scattered / 2.0**31 - 1))).astype(np.float32)

    return replace(
        activations,
        resid={position: moved(resid) for position, resid in activations.resid.items()},
        post_norm={position: moved(normed) for position, normed in activations.post_norm.items()},
    )
