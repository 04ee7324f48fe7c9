"""The comparison of result folders itself: what rounding does passes, what changes a claim does not."""

import shutil

import numpy as np
import pandas as pd
import pytest

from probe.models.extract import Activations
from probe.paths import REPOSITORY
from tests.support.comparison import differences, rounded_otherwise, unlike

RESULTS = REPOSITORY / "results" / "nano-aya"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "alignment_summary.csv").query("stimuli == 'probes' and position == 'mean'")


def moved(table: pd.DataFrame, column: str, by: float, metric: str) -> list[str]:
    """What is found where one value of a metric is moved."""
    other = table.copy()
    row = other.index[other["metric"] == metric][7]
    other.loc[row, column] += by
    return list(unlike(other, table))


@pytest.mark.parametrize(
    ("column", "metric", "passes", "fails"),
    [
        ("value", "cosine", 0.9e-3, 2e-3),
        ("ci_low", "cosine", 0.9e-3, 2e-3),
        ("value", "p1_to_target", 1 / 20, 2 / 20),
        ("value", "mrr", 1 / 20, 2 / 20),
        ("p_value", "cosine", 0.04, 0.06),
        ("null_high", "p1", 0.04, 0.06),
        ("n", "cosine", 0, 1),
    ],
)
def test_each_kind_of_column_has_its_tolerance(table, column, metric, passes, fails):
    assert moved(table, column, passes, metric) == moved(table, column, -passes, metric) == []
    (line,) = moved(table, column, fails, metric)
    assert line.startswith(f"{column}: 1 of {len(table)} rows, the first")


def test_rows_are_matched_by_key_and_one_more_or_less_is_told(table):
    assert list(unlike(table.sample(frac=1, random_state=1), table)) == []
    (line,) = unlike(table.iloc[1:], table)
    assert line.startswith("1 rows are in one only")
    (line,) = unlike(table.drop(columns="q_value"), table)
    assert line.startswith("columns ['q_value']")


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("peaks.csv", ",cosine,8,8,8,", ",cosine,7,8,8,", "peak_state: 1 of"),
        ("robustness.csv", "20,True,", "20,False,", "survives: 1 of"),
        ("commitment_matrix.csv", "C01,fever,hi,,", "C01,fever,hi,3,", "base_layer: 1 of"),
        ("artifact_audit.json", '"severity": "high"', '"severity": "low"', "'low'"),
        ("artifact_audit.json", '"state": [0]', '"state": [1]', "[1]"),
    ],
)
def test_a_decision_has_no_tolerance(tmp_path, file, old, new, told):
    folder = shutil.copytree(RESULTS, tmp_path / "results")
    assert differences(folder, RESULTS) == []
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    (line,) = differences(folder, RESULTS)
    assert line.startswith(f"{file}: ")
    assert told in line


def test_a_file_that_only_one_folder_has_is_told(tmp_path):
    folder = shutil.copytree(RESULTS, tmp_path / "results")
    (folder / "peaks.csv").unlink()
    assert differences(folder, RESULTS) == ["peaks.csv: in one only"]


def test_another_processor_is_off_in_the_last_digits_and_alike_for_equal_values():
    vectors = np.random.default_rng(0).normal(size=(9, 4, 50)).astype(np.float32)
    vectors[:, 0] = vectors[0, 0]
    other = rounded_otherwise(Activations({"mean": vectors}, {"mean": vectors[:, 0]}, [], []))
    error = np.abs(other.resid["mean"] / vectors - 1)
    assert 0.3e-6 < error.mean() < error.max() < 1.2e-6
    assert (other.resid["mean"][:, 0] == other.post_norm["mean"]).all()
    assert (other.resid["mean"][:, 0] == other.resid["mean"][0, 0]).all()
