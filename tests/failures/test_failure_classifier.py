"""Stage 4: what a failure is, the table of cases and its evidence, edge cases, and the router's options."""

import json

import pandas as pd
import pytest

import batch_runner
import build_stimuli
import failure_classifier
from probe.failures import cases as failure_cases
from probe.failures.cases import LATE, NEVER, failure
from probe.families import load_family
from probe.paths import REPOSITORY, Paths
from probe.stimuli import edge_cases
from probe.stimuli.manifest import load_manifest

EVIDENCE = ["variant", "effect", "ci_low", "ci_high", "p_value", "q_value", "significant"]


def run(root, *more) -> int:
    return failure_classifier.main(["--family", "tiny", "--root", str(root), *more])


def extract(root) -> None:
    assert batch_runner.main(["--local", "--family", "tiny", "--root", str(root)]) == 0


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
    rows = [
        ("C01", "fever", "hi", 3, 9),
        ("C01", "fever", "sw", 3, None),
        ("C02", "cough", "hi", 3, 7),
        ("C03", "diarrhea", "hi", None, 7),
    ]
    table = pd.DataFrame(rows, columns=["concept_id", "concept", "language", "base_layer", "fire_layer"])
    table.astype({"base_layer": "Int64", "fire_layer": "Int64"}).to_csv(
        out / "commitment_matrix.csv", index=False
    )
    return tiny_root


def cases_of(root, evidence: list[tuple]) -> pd.DataFrame:
    paths = Paths(root)
    manifest = load_manifest(paths.source("data/stimulus_manifest.json"), "tiny")
    commitments = pd.read_csv(root / "results" / "tiny" / "commitment_matrix.csv")
    table = pd.DataFrame(evidence, columns=["concept_id", "language", "effect", "p_value"])
    table = table.assign(variant="fire", ci_low=table.effect - 0.1, ci_high=table.effect + 0.1, shared=False)
    family = load_family("tiny", paths)
    return failure_cases.cases(failure_cases.with_failures(commitments, table, family), family, manifest)


def test_a_failure_is_significant_where_the_loss_is_told_from_zero_and_only_there(with_commitments):
    tested = [("C01", "hi", -0.3, 1e-4), ("C01", "sw", -0.1, 0.4), ("C02", "hi", -0.3, 1e-4)]
    cases = cases_of(with_commitments, [*tested, ("C03", "hi", -0.5, 1e-9)])
    assert list(cases.stimulus_id) == ["probe_C01_hi", "probe_C01_sw"]  # C02 is in time, Base has no C03
    assert list(cases.failure_category) == [LATE, NEVER]
    assert list(cases.significant) == [True, False]
    assert cases.notes[0] == "fire (a language it emphasises)"
    assert cases.notes[1].startswith("fire (not a language it emphasises); not significant")
    # Three could have failed, the least p is shared by two of them.
    assert list(cases.q_value) == pytest.approx([1.5e-4, 0.4])


def test_a_failure_whose_closeness_rose_is_not_significant(with_commitments):
    cases = cases_of(with_commitments, [("C01", "hi", 0.3, 1e-6), ("C01", "sw", -0.3, 1e-6)])
    assert list(cases.significant) == [False, True]


def test_the_stage_writes_failures_with_their_evidence_and_edge_cases(with_commitments, monkeypatch, capsys):
    monkeypatch.setattr("probe.stimuli.flores.find", lambda cache: (None, []))
    assert build_stimuli.main(["--family", "tiny", "--root", str(with_commitments)]) == 0
    extract(with_commitments)
    assert run(with_commitments) == 0
    out = with_commitments / "results" / "tiny"
    cases = pd.read_csv(out / "failure_cases.csv")
    assert list(cases.columns) == [
        "stimulus_id", "concept", "language", "text_preview", "base_commit", "fire_commit",
        "failure_category", "notes", *EVIDENCE,
    ]  # fmt: skip
    assert list(cases.stimulus_id) == ["probe_C01_hi", "probe_C01_sw"]
    assert ((cases.ci_low < cases.effect) & (cases.effect < cases.ci_high)).all()
    effects, categories = (pd.read_csv(out / f"edge_{name}.csv") for name in ("effects", "categories"))
    assert len(effects) == 32 * (2 + 3)
    assert len(categories.query("languages == 'all'")) == 6 * (3 + 5)  # and one of the variant's languages
    assert set(categories.query("languages == 'all'").n) == {6, 7, 32}
    assert set(categories.query("languages == 'hi'").failure_category) == {"all"}  # of hi alone none has five
    assert set(categories.source) == {"written"}
    text = json.loads((out / "edge_categories.meta.json").read_text())
    assert text["params"]["family"] == "tiny"
    assert "activations/tiny/fire" in text["inputs"]
    printed = capsys.readouterr().out
    assert "2 failures" in printed.splitlines()[-1]
    assert "of 15 losses told from zero" in printed


def test_a_manifest_without_edge_cases_is_said_and_is_no_error(with_commitments, caplog):
    extract(with_commitments)
    with caplog.at_level("INFO"):
        assert run(with_commitments) == 0
    assert "the manifest has no edge cases" in caplog.text
    assert not list((with_commitments / "results" / "tiny").glob("edge_*"))


@pytest.mark.parametrize(
    ("commitments", "variants", "why"),
    [
        ("C01,fever,hi,,", "base,fire", "Base commits to no concept in any language"),
        ("C01,fever,hi,3,7", "base,fire", "Fire commit in time in all of the 1 cases in which Base commits"),
        ("C01,fever,hi,3,9", "base", "no variant that emphasises languages was measured"),
    ],
)
def test_where_nothing_fails_the_last_line_says_why(with_commitments, capsys, commitments, variants, why):
    path = with_commitments / "results" / "tiny" / "commitment_matrix.csv"
    path.write_text(f"concept_id,concept,language,base_layer,fire_layer\n{commitments}\n")
    extract(with_commitments)
    assert run(with_commitments, "--variants", variants) == 0
    table = pd.read_csv(path.with_name("failure_cases.csv"))
    assert table.empty
    assert {"base_commit", "fire_commit", *EVIDENCE} <= set(table.columns)
    assert f"failure_cases.csv: no failures: {why}" in capsys.readouterr().out.splitlines()[-1]


def test_missing_commitments_or_activations_say_what_to_run(tiny_root, with_commitments, capsys):
    assert run(with_commitments) == 1
    assert "run: uv run batch_runner.py --local --family tiny" in capsys.readouterr().err
    (with_commitments / "results" / "tiny" / "commitment_matrix.csv").unlink()
    assert run(with_commitments) == 1
    assert "run: uv run concept_alignment.py --family tiny" in capsys.readouterr().err


def test_commitments_without_the_baseline_or_of_other_concepts_are_refused(with_commitments, capsys):
    path = with_commitments / "results" / "tiny" / "commitment_matrix.csv"
    original = path.read_text()
    path.write_text(original.replace("base_layer", "bass_layer"))
    assert run(with_commitments) == 1
    assert "lacks the columns base_layer" in capsys.readouterr().err
    path.write_text(original.replace("C02", "C99"))
    assert run(with_commitments) == 1
    assert "concepts that the manifest lacks" in capsys.readouterr().err


# The router


def test_route_tells_a_reader_and_a_program_the_same(capsys):
    text = "The doctor will see you tomorrow morning."
    assert failure_classifier.main(["--route", text]) == 0
    told = capsys.readouterr().out
    assert failure_classifier.main(["--route", text, "--json"]) == 0
    decision = json.loads(capsys.readouterr().out)
    assert decision["variant"] == failure_classifier.route(text).variant
    assert decision["text"] == text
    assert told.startswith(f"{decision['variant']}: {decision['language']}, ")
    assert all(reason in told for reason in decision["reasons"])


def test_evaluate_gives_its_counts_to_a_reader_and_as_json(tmp_path, capsys):
    path = tmp_path / "cases.json"
    labels = {"expected_variant": "base", "language_ground_truth": "en", "failure_category": None}
    wrong = labels | {"failure_category": "unicode_edge", "expected_variant": "fire"}
    text = "The doctor will see you tomorrow morning."
    path.write_text(json.dumps([{"input": text, "clean": text} | labels, {"input": text} | wrong]))
    assert failure_classifier.main(["--evaluate", str(path), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["n"], counts["right"]["category"], counts["right"]["variant"]) == (2, 1, 1)
    assert (counts["clean"], counts["false_alarms"]) == (1, [])
    assert failure_classifier.main(["--evaluate", str(path)]) == 0
    told = capsys.readouterr().out
    assert "right of 2: category 1, category among all given 1, variant 1," in told
    assert "false alarms on clean forms: 0 of 1" in told
    assert failure_classifier.main(["--evaluate", str(tmp_path / "none.json")]) == 1
    assert "none.json is no file" in capsys.readouterr().err


@pytest.mark.parametrize("name", [edge_cases.FILE, edge_cases.FURTHER])
def test_the_projects_own_cases_are_routed_as_they_should(name, capsys):
    assert failure_classifier.main(["--evaluate", str(REPOSITORY / name), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["n"] == {edge_cases.FILE: 32, edge_cases.FURTHER: 24}[name]
    right = counts["right"]
    assert min(right["variant"], right["variant by language alone"], right["language"]) == counts["n"]
    assert min(right["category"], right["category among all given"]) >= counts["n"] - 2
    assert counts["categories_given"] <= 1.5
    assert counts["false_alarms"] == []


@pytest.mark.parametrize("options", [["--route", "x", "--evaluate", "y"], ["--route"]])
def test_wrong_usage_ends_with_status_2(options):
    with pytest.raises(SystemExit) as stopped:
        failure_classifier.main(options)
    assert stopped.value.code == 2


def test_json_alone_is_refused(capsys):
    assert failure_classifier.main(["--json"]) == 1
    assert "--json goes with" in capsys.readouterr().err
