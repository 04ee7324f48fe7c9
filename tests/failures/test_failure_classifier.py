"""Stage 4: what a failure is, the table of cases and its evidence, edge cases, and the router's options."""

import json

import pandas as pd
import pytest

import batch_runner
import build_stimuli
import failure_classifier
from probe.alignment.commitment import COSINE, ENDING
from probe.audit import findings
from probe.audit.door import Judge
from probe.failures import cases as failure_cases
from probe.failures.cases import LATE, NEVER, failure
from probe.failures.concepts import concepts
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
    assert failure(regional, baseline, 4) == expected


@pytest.fixture
def with_commitments(tiny_root):
    out = tiny_root / "results" / "tiny"
    out.mkdir(parents=True)
    rows = [
        ("probes", "C01", "fever", "hi", 0, 2),
        ("probes", "C01", "fever", "sw", 0, None),
        ("probes", "C02", "cough", "hi", 1, 2),  # one state of 5 is tolerated
        ("probes", "C03", "diarrhea", "hi", None, 2),
    ]
    columns = ["stimuli", "concept_id", "concept", "language", "base_layer", "fire_layer"]
    table = pd.DataFrame(rows, columns=columns).astype({"base_layer": "Int64", "fire_layer": "Int64"})
    table.to_csv(out / "commitment_matrix.csv", index=False)
    findings.write(out, [], {})
    return tiny_root


def cases_of(root, evidence: list[tuple]) -> pd.DataFrame:
    """Of the probes. evidence: concept_id, language, effect, p_value, change, shared."""
    paths = Paths(root)
    manifest, family = (
        load_manifest(paths.source("data/stimulus_manifest.json"), "tiny"),
        load_family("tiny", paths),
    )
    commitments = pd.read_csv(root / "results" / "tiny" / "commitment_matrix.csv")
    states = failure_cases.concept_commitments(
        commitments[commitments.stimuli == "probes"], concepts(manifest, "probes"), ENDING[COSINE]
    )
    columns = ["concept_id", "language", "effect", "p_value", "change", "shared"]
    table = pd.DataFrame(evidence, columns=columns).assign(
        variant="fire", ci_low=-1.0, ci_high=1.0, concept="c", n=1, text_preview="t",
        stimulus_id=[f"probe_{row[0]}_{row[1]}" for row in evidence],
    )  # fmt: skip
    tested = failure_cases.with_failures(states, table, "base", tolerated=1).assign(stimuli="probes")
    examined = failure_cases.Examined("probes", tested)
    return failure_cases.cases([examined], family, ["base", "fire"], Judge([], family.untrained), 5)


def test_a_failure_is_significant_where_the_loss_is_told_from_zero_and_only_there(with_commitments):
    tested = [
        ("C01", "hi", -0.3, 1e-4, -0.3, False),
        ("C01", "sw", -0.1, 0.4, -0.1, False),
        ("C02", "hi", -0.3, 1e-4, -0.3, False),
    ]
    cases = cases_of(with_commitments, [*tested, ("C03", "hi", -0.5, 1e-9, -0.5, False)])
    assert list(cases.stimulus_id) == ["probe_C01_hi", "probe_C01_sw"]  # C02 is in time, Base has no C03
    assert list(cases.failure_category) == [LATE, NEVER]
    assert list(cases.significant) == [True, False]
    assert list(cases.verdict) == ["failure", "blocked"]
    assert list(cases.reason) == ["", "not_significant/failure"]
    assert cases.notes[0] == "fire (a language it emphasises)"
    assert cases.notes[1].startswith("fire (not a language it emphasises); not significant")
    # Three could have failed, the least p is shared by two of them.
    assert list(cases.q_value) == pytest.approx([1.5e-4, 0.4])


@pytest.mark.parametrize(
    ("effect", "change", "shared", "reason"),
    [
        (-0.3, -0.3, False, ""),
        (0.3, -0.3, False, "not_significant/failure"),
        (-0.3, 0.1, False, "not_lost/failure"),
        (-0.3, -0.3, True, "english_moved/failure"),
    ],
)
def test_what_only_looks_like_a_loss_may_not_be_said(with_commitments, effect, change, shared, reason):
    case = cases_of(with_commitments, [("C01", "hi", effect, 1e-6, change, shared)]).iloc[0]
    assert case.reason == reason
    assert case.significant == (not reason)
    assert (case.verdict == "failure") == (not reason)
    assert (": " in case.notes or "; " in case.notes) == bool(reason)


def test_the_stage_writes_failures_with_their_evidence_and_edge_cases(with_commitments, monkeypatch, capsys):
    monkeypatch.setattr("probe.stimuli.flores.find", lambda cache: (None, []))
    assert build_stimuli.main(["--family", "tiny", "--root", str(with_commitments), "--tico", "none"]) == 0
    extract(with_commitments)
    assert run(with_commitments) == 0
    out = with_commitments / "results" / "tiny"
    cases = pd.read_csv(out / "failure_cases.csv")
    assert list(cases.columns) == [
        "stimuli", "stimulus_id", "concept", "language", "text_preview", "base_commit", "fire_commit", "n",
        "failure_category", "notes", *EVIDENCE, "verdict", "reason",
    ]  # fmt: skip
    assert list(cases.stimulus_id) == ["probe_C01_hi", "probe_C01_sw"]
    assert list(cases.concept) == ["fever", "fever"]
    assert ((cases.ci_low < cases.effect) & (cases.effect < cases.ci_high)).all()
    about = json.loads((out / "failure_cases.meta.json").read_text())
    assert about["params"]["tolerated_delay"] == 1
    assert about["counts"]["probes"]["fire"] | {"significant": 0} == {
        "examined": 3, "failures": 2, "significant": 0,
    }  # fmt: skip
    assert about["summary"]["flores"] == "no failures: the manifest has no such sentences"
    assert "results/tiny/artifact_audit.json" in about["inputs"]
    effects, categories = (pd.read_csv(out / f"edge_{name}.csv") for name in ("effects", "categories"))
    assert len(effects) == 32 * (2 + 3)
    assert len(categories.query("languages == 'all'")) == 6 * (3 + 5)  # and one of the variant's languages
    assert set(categories.query("languages == 'all'").n) == {6, 7, 32}
    assert categories.query("languages == 'hi'").empty  # there are four of hi
    assert set(categories.source) == {"written"}
    text = json.loads((out / "edge_categories.meta.json").read_text())
    assert text["params"]["family"] == "tiny"
    assert "activations/tiny/fire" in text["inputs"]
    printed = capsys.readouterr().out
    assert "failure_cases.csv: 2 failures, " in printed.splitlines()[-1]
    assert "probes: failures: Fire 2 of 3, " in printed
    assert "of 15 losses told from zero" in printed


def test_every_kind_is_examined_and_a_manifest_without_edge_cases_is_no_error(with_commitments, caplog):
    path = with_commitments / "results" / "tiny" / "commitment_matrix.csv"
    path.write_text(f"{path.read_text()}parallel,4,4,sw,1,\n")
    extract(with_commitments)
    with caplog.at_level("INFO"):
        assert run(with_commitments) == 0
    assert "the manifest has no edge cases" in caplog.text
    cases = pd.read_csv(path.with_name("failure_cases.csv"))
    assert list(cases.stimulus_id) == ["probe_C01_hi", "probe_C01_sw", "parallel_sw_4"]
    assert list(cases.stimuli) == ["probes", "probes", "parallel"]
    assert not list((with_commitments / "results" / "tiny").glob("edge_*"))


@pytest.mark.parametrize(
    ("commitments", "variants", "why"),
    [
        ("C01,fever,hi,,", "base,fire", "Base commits to no concept in any language"),
        ("C01,fever,hi,0,1", "base,fire", "Fire commit in time in all of the 1 cases in which Base commits"),
        ("C01,fever,hi,0,2", "base", "no variant was measured beside the baseline and untrained controls"),
    ],
)
def test_where_nothing_fails_every_kind_says_why(with_commitments, capsys, commitments, variants, why):
    path = with_commitments / "results" / "tiny" / "commitment_matrix.csv"
    path.write_text(f"stimuli,concept_id,concept,language,base_layer,fire_layer\nprobes,{commitments}\n")
    extract(with_commitments)
    capsys.readouterr()
    assert run(with_commitments, "--variants", variants) == 0
    table = pd.read_csv(path.with_name("failure_cases.csv"))
    assert table.empty
    assert {"base_commit", "fire_commit", *EVIDENCE, "verdict", "reason"} <= set(table.columns)
    *kinds, last = capsys.readouterr().out.splitlines()
    assert f"probes: no failures: {why}" in "\n".join(kinds)
    parallel = next(line for line in kinds if line.startswith("parallel: "))
    assert ("commitment_matrix.csv has no row of them" in parallel) == (variants != "base")
    assert last.endswith("failure_cases.csv: 0 failures, 0 of them may be said")


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
