"""The benchmarks in their quick form: they run, and what they claim holds."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest

from probe.audit.judge import measure_and_judge
from probe.paths import REPOSITORY
from probe.stats import metrics


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    return lambda name: importlib.import_module(f"bench.{name}")


def test_calibration_tells_a_false_world_from_its_true_twin_and_goes_on_where_it_was(bench, tmp_path, caplog):
    caplog.set_level("INFO")
    command = ["--data-sets", "20", "--workers", "1", "--only", "near-duplicates", "--out", str(tmp_path)]
    assert bench("calibration").main(command) == 0
    row = pd.read_csv(tmp_path / "calibration.csv").set_index("world").loc["near-duplicates"]
    assert row.false_claims <= 0.25  # at 5 %, six of 20 happen once in 3,000 runs
    assert row.coverage >= 0.7
    assert row.power >= 0.7
    assert (tmp_path / "calibration.png").stat().st_size > 10_000
    assert len(caplog.messages) == 1
    assert bench("calibration").main(command) == 0
    assert len(caplog.messages) == 1, "a world that was done was run again"


def test_what_calibration_leaves_out_changes_no_verdict(bench, monkeypatch):
    worlds, calibration = bench("worlds"), bench("calibration")
    data = worlds.topics(np.random.default_rng(0), 60, 0.2)

    def verdicts():
        tables = measure_and_judge(data.stores, data.manifest, data.family, positions=data.positions).tables
        rows = calibration.of_primary(tables["alignment_summary"], "state >= 0")
        return rows[["state", "value", "verdict", "reason"]].reset_index(drop=True)

    whole = verdicts()
    for name in set(metrics.ITEMWISE) - calibration.NEEDED:
        monkeypatch.delitem(metrics.ITEMWISE, name)
    monkeypatch.setattr(metrics, "WHOLE", {})
    pd.testing.assert_frame_equal(verdicts(), whole)


def test_the_committed_calibration_kept_what_the_level_promises(bench):
    table = pd.read_csv(REPOSITORY / "bench" / "calibration.csv")
    assert set(table.world) == set(bench("worlds").WORLDS)
    assert (table.data_sets >= 500).all()
    met = bench("calibration").met(table)
    assert met.all(), table[~met].to_string()


def test_the_analysis_stays_within_its_budget(bench, tmp_path):
    if sys.platform != "linux":
        pytest.skip("peak memory is counted in other units elsewhere")
    assert bench("analysis").main(["--meanings", "6", "--out", str(tmp_path)]) == 0
    found = pd.read_csv(tmp_path / "analysis.csv").set_index("what").value
    assert found["all metrics, 2,000 + 2,000 resamples, one position"] <= 60
    assert found["ratio"] >= 10
    one, every = found["read one state of 200 stimuli"], found["read all 37 states of 200 stimuli"]
    assert one < every  # a machine that does something else besides may lose the rest of the ratio
    assert found["ratio of reading"] > 1


def test_the_committed_run_of_10000_sentences_stayed_within_4_gib():
    table = pd.read_csv(REPOSITORY / "bench" / "analysis.csv").set_index("what").value
    assert table["stage 3 on 10000 stimuli, 2 variants, 3 positions: peak memory of all processes"] <= 4
