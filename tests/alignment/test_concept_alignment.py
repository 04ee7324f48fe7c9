"""Stage 3: commitment, the published curves, and the files it writes."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batch_runner
import concept_alignment
from concept_alignment import commitment_layer
from probe import tables
from probe.alignment.commitment import commitment_matrix
from probe.audit import door, findings
from probe.audit.advice import advice
from probe.files import sha256
from probe.paths import REPOSITORY, Paths
from tests.conftest import make_root

PUBLISHED = REPOSITORY.parent / "shared" / "reference" / "tiny_aya_published"
TABLES = (
    "variant_effects", "peaks", "layer_increments", "commitment_sensitivity", "robustness", "confounders",
)  # fmt: skip


def slow_commitment(curve, threshold, consecutive, start):
    for state in range(start, len(curve) - consecutive + 1):
        if all(value >= threshold for value in curve[state : state + consecutive]):
            return state
    return None


@given(st.lists(st.floats(-1, 1), max_size=40), st.floats(-1, 1), st.integers(1, 6), st.integers(0, 10))
def test_commitment_equals_a_loop(curve, threshold, consecutive, start):
    expected = slow_commitment(curve, threshold, consecutive, start)
    assert commitment_layer(curve, threshold, consecutive, start) == expected


def test_commitment_refuses_what_is_not_a_curve():
    with pytest.raises(ValueError, match="not finite"):
        commitment_layer([0.9, np.nan, 0.9])
    with pytest.raises(ValueError, match="at least 1"):
        commitment_layer([0.9], consecutive=0)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published curves are not beside the project")
def test_all_540_published_cells_are_reproduced():
    curves = json.loads((PUBLISHED / "alignment_curves.json").read_text())["curves"]
    published = pd.read_csv(PUBLISHED / "commitment_matrix.csv").set_index(["concept_id", "language"])
    mine = commitment_matrix(curves, {}).set_index(["concept_id", "language"])
    cells = 0
    for key, row in published.iterrows():
        for variant in ("base", "fire", "earth"):
            layer = mine.loc[key, f"{variant}_layer"]
            assert (-1 if pd.isna(layer) else layer) == row[f"{variant}_layer"], (key, variant)
            cells += 1
    assert cells == 540


@pytest.fixture(scope="module")
def analysed_once(tmp_path_factory, tiny_models):
    root = make_root(tmp_path_factory.mktemp("analysed"), tiny_models)
    batch_runner.main(["--local", "--family", "tiny", "--root", str(root)])
    assert concept_alignment.main(["--family", "tiny", "--root", str(root), "--threshold", "0.2"]) == 0
    return root


@pytest.fixture
def analysed(analysed_once, tmp_path):
    return shutil.copytree(analysed_once, tmp_path / "root")


def test_writes_the_files_of_the_design(analysed_once):
    out = analysed_once / "results" / "tiny"
    curves = json.loads((out / "alignment_curves.json").read_text())
    assert curves.keys() == {"metadata", "curves", "post_norm"}
    assert curves["curves"].keys() == {"base", "fire"}
    assert len(curves["curves"]["base"]["C01"]["hi"]) == 5
    assert -1 <= curves["post_norm"]["fire"]["C02"]["yo"] <= 1
    summary = pd.read_csv(out / "alignment_summary.csv")
    assert {"verdict", "reason", "p_holm", "n_groups"} <= set(summary)
    # 2 variants, 9 languages, probes at 4 positions and parallel at 3, 5 states
    sizes = summary.groupby("metric").size()
    for metric in ("centred_cosine", "rank", "partial", "cosine", "mexa"):
        assert sizes[metric] == 2 * 9 * (4 + 3) * 5, metric
    # at the primary position alone
    assert (sizes[["cka", "mutual_knn"]] == 2 * 9 * 2 * 5).all()
    assert set(summary.n) == {6}
    for name in TABLES:
        assert len(pd.read_csv(out / f"{name}.csv")), name
    effects = pd.read_csv(out / "variant_effects.csv")
    assert set(effects.contrast) == {"simple", "did"}
    assert set(effects.reference.dropna()) == {"placebo languages"}  # no control in this family
    matrix = pd.read_csv(out / "commitment_matrix.csv")
    assert list(matrix.columns) == [
        "stimuli", "concept_id", "concept", "language", "base_layer", "fire_layer",
    ]  # fmt: skip
    assert matrix.groupby("stimuli").size().to_dict() == {"probes": 6 * 9, "parallel": 6 * 9}
    assert set(matrix.query("stimuli == 'probes'").concept_id) >= {"C01", "C02"}
    sensitivity = pd.read_csv(out / "commitment_sensitivity.csv")
    assert set(sensitivity.criterion) == {"cosine"}  # 12 sentences of a language are no 100 rivals
    assert "rank" not in set(sensitivity.metric)
    refused = json.loads((out / "commitment_matrix.meta.json").read_text())["refused"]
    assert "11 rivals, needs 100" in refused["fire/hi/probes/mean/calibrated"]


def test_the_curves_are_the_diagonal_of_the_stored_activations(analysed_once):
    from probe.activations.store import ActivationStore

    store = ActivationStore(analysed_once / "activations" / "tiny" / "fire")
    english, hindi = (
        store.resid("mean", [f"probe_C03_{language}"])[0].astype(float) for language in ("en", "hi")
    )
    expected = (english * hindi).sum(-1) / np.linalg.norm(english, axis=-1) / np.linalg.norm(hindi, axis=-1)
    curves = json.loads((analysed_once / "results" / "tiny" / "alignment_curves.json").read_text())["curves"]
    np.testing.assert_allclose(curves["fire"]["C03"]["hi"], expected, atol=1e-6)


def test_provenance_names_inputs_and_models_and_no_path_of_this_machine(analysed_once):
    out = analysed_once / "results" / "tiny"
    metadata = json.loads((out / "alignment_summary.meta.json").read_text())
    assert metadata["params"]["threshold"] == 0.2
    assert set(metadata["inputs"]) == {
        "data/stimulus_manifest.json", "activations/tiny/base", "activations/tiny/fire",
    }  # fmt: skip
    assert set(metadata["models"]) == {"base", "fire"}
    sealed = {"sha256": sha256(out / "alignment_summary.csv")}
    assert json.loads((out / "alignment_curves.json").read_text())["metadata"] | sealed == metadata
    assert str(analysed_once) not in (out / "alignment_summary.meta.json").read_text()


def test_run_twice_same_bytes(analysed):
    out = analysed / "results" / "tiny"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert concept_alignment.main(["--family", "tiny", "--root", str(analysed), "--threshold", "0.2"]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_variants_that_were_not_asked_for_have_no_column_and_no_table(analysed):
    out = analysed / "results" / "tiny"
    (out / "logit_lens.csv").touch()  # another stage's
    arguments = ["--family", "tiny", "--root", str(analysed), "--variants", "fire"]
    assert concept_alignment.main(arguments) == 0
    assert "base_layer" not in pd.read_csv(out / "commitment_matrix.csv").columns
    assert not list(out.glob("variant_effects.*"))
    assert (out / "logit_lens.csv").exists()


def test_the_auditor_flags_the_full_stop_and_the_summary_names_no_blocked_claim(analysed, capsys):
    out = analysed / "results" / "tiny"
    found = findings.read(out / "artifact_audit.json", "")
    flagged = {finding.id: finding for finding in found}
    assert flagged["constant_over_concepts/probes/last/0"].severity == "high"
    row = {
        "variant": "base",
        "language": "hi",
        "stimuli": "probes",
        "position": "last",
        "metric": "cosine",
        "state": 0,
    }
    assert findings.blocked(row, found).severity == "high"
    table = (out / "artifact_audit.md").read_text()
    assert all(finding.id in table and advice(finding.id) in table for finding in found)
    # Six meanings are too few for any claim, so the console must not name one.
    assert {"too_few_groups/level", "no_untrained_control"} <= flagged.keys()
    concept_alignment.main(["--family", "tiny", "--root", str(analysed)])
    assert "no level of alignment may be claimed" in capsys.readouterr().out
    for name in door.KINDS:
        assert not door.claimable(tables.TABLES[name].read(Paths(analysed), "tiny")).any(), name


def test_processes_side_by_side_measure_what_one_does(analysed, monkeypatch):
    before = (analysed / "results" / "tiny" / "alignment_summary.csv").read_bytes()
    monkeypatch.setattr("probe.alignment.measure.WORTH_A_PROCESS", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert concept_alignment.main(["--family", "tiny", "--root", str(analysed), "--threshold", "0.2"]) == 0
    assert (analysed / "results" / "tiny" / "alignment_summary.csv").read_bytes() == before


def _error(capsys) -> str:
    return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))


def test_missing_activations_say_what_to_run(tiny_root, capsys):
    assert concept_alignment.main(["--family", "tiny", "--root", str(tiny_root)]) == 1
    assert "uv run batch_runner.py --local --family tiny --variants base" in _error(capsys)
    assert not (tiny_root / "results").exists()


def test_damaged_or_outdated_activations_are_refused(analysed, capsys):
    shard = analysed / "activations" / "tiny" / "fire" / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-7])
    assert concept_alignment.main(["--family", "tiny", "--root", str(analysed)]) == 1
    assert "60 of 120 stimuli not extracted or damaged" in _error(capsys)
    manifest = analysed / "data" / "stimulus_manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert concept_alignment.main(["--family", "tiny", "--root", str(analysed)]) == 1
    assert "another manifest" in _error(capsys)


def test_impossible_options_are_refused(tiny_root, capsys):
    for wrong in (["--threshold", "1.5"], ["--consecutive", "0"]):
        assert concept_alignment.main(["--family", "tiny", "--root", str(tiny_root), *wrong]) == 1
        assert "must lie in" in _error(capsys)
