"""Stage 4: what counts as a failure, and the table of cases."""

import json

import pandas as pd
import pytest

import failure_classifier
from failure_classifier import LATE, NEVER, failure


@pytest.mark.parametrize(
    ("regional", "baseline", "expected"),
    [
        (9, 5, None),  # four states later is tolerated
        (10, 5, LATE),
        (2, 5, None),
        (None, 5, NEVER),
        (None, None, None),
        (3, None, None),
    ],
)
def test_the_definition(regional, baseline, expected):
    assert failure(regional, baseline) == expected


@pytest.fixture
def with_commitments(tiny_root):
    out = tiny_root / "results" / "tiny"
    out.mkdir(parents=True)
    rows = [("C01", "fever", "hi", 3, 9), ("C01", "fever", "sw", 3, None), ("C02", "cough", "hi", 3, 7)]
    table = pd.DataFrame(rows, columns=["concept_id", "concept", "language", "base_layer", "fire_layer"])
    table.astype({"fire_layer": "Int64"}).to_csv(out / "commitment_matrix.csv", index=False)
    return tiny_root


def test_cases_are_the_failures_and_say_whether_the_language_is_emphasised(with_commitments):
    assert failure_classifier.main(["--family", "tiny", "--root", str(with_commitments)]) == 0
    cases = pd.read_csv(with_commitments / "results" / "tiny" / "failure_cases.csv")
    assert list(cases.columns) == [
        "stimulus_id", "concept", "language", "text_preview", "base_commit", "fire_commit",
        "failure_category", "notes",
    ]  # fmt: skip
    assert list(cases.stimulus_id) == ["probe_C01_hi", "probe_C01_sw"]
    assert list(cases.failure_category) == [LATE, NEVER]
    assert cases.notes[0] == "fire (a language it emphasises)"
    assert cases.notes[1] == "fire (not a language it emphasises)"
    manifest = json.loads((with_commitments / "data" / "stimulus_manifest.json").read_text())
    text = next(p["text"] for p in manifest["probes"] if p["stimulus_id"] == "probe_C01_hi")
    assert text.startswith(cases.text_preview[0])


def test_missing_commitments_say_what_to_run(tiny_root, capsys):
    assert failure_classifier.main(["--family", "tiny", "--root", str(tiny_root)]) == 1
    assert "run: uv run concept_alignment.py --family tiny" in capsys.readouterr().err


def test_commitments_without_the_baseline_or_of_other_concepts_are_refused(with_commitments, capsys):
    path = with_commitments / "results" / "tiny" / "commitment_matrix.csv"
    original = path.read_text()
    path.write_text(original.replace("base_layer", "bass_layer"))
    assert failure_classifier.main(["--family", "tiny", "--root", str(with_commitments)]) == 1
    assert "lacks the columns base_layer" in capsys.readouterr().err
    path.write_text(original.replace("C02", "C99"))
    assert failure_classifier.main(["--family", "tiny", "--root", str(with_commitments)]) == 1
    assert "concepts that the manifest lacks" in capsys.readouterr().err
