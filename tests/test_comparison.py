"""The comparison of result folders itself: what rounding does passes, what changes a claim does not."""

import json

import numpy as np
import pandas as pd
import pytest

from probe.models.extract import Activations
from tests.support.comparison import differences, rounded_otherwise, unlike

METRICS = ("cosine", "centred_cosine", "p1_to_target", "mrr", "rank")


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    keys = [("base", "hi", metric, state) for metric in METRICS for state in range(6)]
    numbers = rng.uniform(0.1, 0.9, (len(keys), 5)).round(4)
    return pd.concat(
        [
            pd.DataFrame(keys, columns=["variant", "language", "metric", "state"]),
            pd.DataFrame(numbers, columns=["value", "ci_low", "p_value", "p_holm", "null_high"]),
        ],
        axis=1,
    ).assign(n=20, n_groups=13.7, verdict="meaning", reason=None)


def moved(table: pd.DataFrame, column: str, by, metric: str) -> list[str]:
    """What is found where one value of a metric is another, or moved by a number."""
    other = table.copy()
    row = other.index[other["metric"] == metric][2]
    other.loc[row, column] = by if isinstance(by, str) else other.loc[row, column] + by
    return list(unlike(other, table))


@pytest.mark.parametrize(
    ("column", "metric", "passes", "fails"),
    [
        ("value", "centred_cosine", 0.9e-3, 2e-3),
        ("ci_low", "cosine", 0.9e-3, 2e-3),
        ("value", "p1_to_target", 1 / 20, 2 / 20),
        ("value", "rank", 8 / 20, 9 / 20),
        ("p_holm", "cosine", 0.04, 0.06),
        ("p_value", "mrr", 0.4, 0.6),
        ("null_high", "p1_to_target", 0.04, 0.06),
        ("n", "cosine", 0, 1),
    ],
)
def test_each_kind_of_column_has_its_tolerance(table, column, metric, passes, fails):
    assert moved(table, column, passes, metric) == moved(table, column, -passes, metric) == []
    (line,) = moved(table, column, fails, metric)
    assert line.startswith(f"{column}: 1 of {len(table)} rows, the first")


@pytest.mark.parametrize(("column", "other"), [("verdict", "blocked"), ("reason", "shared_tokens")])
def test_a_decision_has_no_tolerance(table, column, other):
    (line,) = moved(table, column, other, "cosine")
    assert line.startswith(f"{column}: 1 of")


def test_an_empty_cell_is_like_an_empty_cell_only(table):
    commitments = pd.DataFrame({"concept_id": ["C01", "C02"], "base_layer": [3.0, np.nan]})
    assert list(unlike(commitments, commitments)) == []
    for cells in ([4.0, np.nan], [3.0, 3.0], [np.nan, np.nan]):
        (line,) = unlike(commitments.assign(base_layer=cells), commitments)
        assert line.startswith("base_layer: 1 of 2 rows")


def test_rows_are_matched_by_key_and_one_more_or_less_is_told(table):
    assert list(unlike(table.sample(frac=1, random_state=1), table)) == []
    (line,) = unlike(table.iloc[1:], table)
    assert line.startswith("1 rows are in one only")
    (line,) = unlike(table.drop(columns="p_holm"), table)
    assert line.startswith("columns ['p_holm']")


@pytest.mark.parametrize(
    ("severity", "state", "told"), [("high", 0, None), ("low", 0, "'low'"), ("high", 1, "[1]")]
)
def test_findings_are_the_same_in_what_they_block_whatever_their_evidence(tmp_path, severity, state, told):
    for name, how, where, evidence in (("made", severity, state, 0.1), ("kept", "high", 0, 0.2)):
        claim = {"where": {"state": [where]}, "text": "alignment"}
        finding = {"id": "x", "severity": how, "languages": ["hi"], "variants": ["base"], "blocks": [claim]}
        (tmp_path / name).mkdir()
        content = {"findings": [finding | {"evidence": {"share": evidence}}]}
        (tmp_path / name / "artifact_audit.json").write_text(json.dumps(content))
    found = differences(tmp_path / "made", tmp_path / "kept")
    assert (found == []) if told is None else (len(found) == 1 and told in found[0])
    (tmp_path / "kept" / "peaks.csv").touch()
    assert "peaks.csv: in one only" in differences(tmp_path / "made", tmp_path / "kept")


def test_another_processor_is_off_in_the_last_digits_and_alike_for_equal_values():
    vectors = np.random.default_rng(0).normal(size=(9, 4, 50)).astype(np.float32)
    vectors[:, 0] = vectors[0, 0]
    other = rounded_otherwise(Activations({"mean": vectors}, {"mean": vectors[:, 0]}, [], []))
    error = np.abs(other.resid["mean"] / vectors - 1)
    assert 0.3e-6 < error.mean() < error.max() < 1.2e-6
    assert (other.resid["mean"][:, 0] == other.post_norm["mean"]).all()
    assert (other.resid["mean"][:, 0] == other.resid["mean"][0, 0]).all()
