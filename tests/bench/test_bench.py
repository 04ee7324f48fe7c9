"""The benchmarks in their quick form: they run, and what they claim holds."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest

from probe.paths import REPOSITORY


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


def test_what_calibration_leaves_out_changes_no_verdict(bench):
    data = bench("worlds").topics(np.random.default_rng(0), 60, 0.2)
    calibration, columns = bench("calibration"), ["state", "value", "verdict", "reason"]
    without, whole = (
        calibration.of_primary(
            calibration.judged(data, comparisons).tables["alignment_summary"], "state >= 0"
        )[columns].reset_index(drop=True)
        for comparisons in (False, True)
    )
    pd.testing.assert_frame_equal(without, whole)


# What still misses its target, as REPORT 4.4 tells: skewed differences at n = 20; and the raw cosine, of
# which no claim is made.
MISSES = {"skewed differences", "level, cosine"}


def test_the_committed_calibration_kept_what_the_level_promises(bench):
    table = pd.read_csv(REPOSITORY / "bench" / "calibration.csv")
    assert set(table.world) <= set(bench("worlds").WORLDS)
    assert len(table) >= 47
    assert (table.data_sets >= 100).all()
    missed = table[~bench("calibration").met(table)]
    assert set(missed.world) <= MISSES, missed.to_string()


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
