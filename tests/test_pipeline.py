"""The one-command run: complete, repeatable, and not doing twice what is done."""

import json
import shutil

import pytest

import pipeline
from probe import dependencies
from probe.activations import run as extraction
from probe.families import load_family
from probe.paths import REPOSITORY, Paths
from tests.support.comparison import differences, rounded_otherwise

VIZ = {f"viz.{name}" for name in ("heatmap", "alignment_curves", "annotated_curve", "robustness", "lens")}


def run(root, *more, family="tiny"):
    return pipeline.main(["--family", family, "--root", str(root), *more])


def outputs(root, family="tiny") -> dict[str, bytes]:
    folders = (root / "results" / family, root / "assets" / family, root / "activations" / family)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", ".pipeline.json")
    }


@pytest.fixture
def offline(tiny_root, monkeypatch):
    """A family whose manifest is made of the probes and few sentences of TICO-19: there is no network."""
    monkeypatch.setattr("probe.stimuli.flores.find", lambda cache: (None, []))
    monkeypatch.setattr("probe.stimuli.tico.N_DEFAULT", 15)
    return tiny_root


def test_runs_every_stage_and_then_reuses_everything(offline, caplog, monkeypatch):
    assert run(offline) == 0
    first = outputs(offline)
    assert {"results/tiny/alignment_summary.csv", "results/tiny/failure_cases.csv"} <= first.keys()
    assert any(name.endswith("heatmap.svg") for name in first)
    _, family, variants = pipeline.cli.context(_arguments(offline))
    for stage in pipeline.stages(family, variants):
        monkeypatch.setattr(f"{stage.module}.main", lambda *_: pytest.fail("a stage ran again"))
    with caplog.at_level("INFO"):
        assert run(offline) == 0
    assert caplog.text.count("up to date") == 10
    assert outputs(offline) == first


def _arguments(root):
    parser = pipeline.cli.parser(None)
    return parser.parse_args(["--family", "tiny", "--root", str(root)])


def test_what_was_damaged_or_changed_is_made_again_and_the_rest_is_not(offline, caplog):
    run(offline)
    first = outputs(offline)
    (offline / "results" / "tiny" / "failure_cases.csv").write_text("nonsense")
    next((offline / "assets" / "tiny").glob("*heatmap.png")).unlink()
    with caplog.at_level("INFO"):
        assert run(offline) == 0
    assert outputs(offline) == first
    assert caplog.text.count("up to date") == 8
    caplog.clear()
    families = offline / "data" / "families.toml"
    families.write_text(families.read_text().replace('emphasises = ["hi"]', 'emphasises = ["hi", "bn"]'))
    with caplog.at_level("INFO"):
        assert run(offline) == 0
    assert "up to date" not in caplog.text


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"logit_lens": 3}', b"\xff"])
def test_a_damaged_log_of_earlier_runs_is_no_log(tmp_path, content):
    path = tmp_path / ".pipeline.json"
    assert pipeline.read_log(path) == {}
    path.write_bytes(content)
    assert pipeline.read_log(path) == {}


def fingerprints(root, *variants: str) -> dict[str, str]:
    paths = Paths(root)
    run = pipeline.Run(paths, load_family("tiny", paths), list(variants or ("base", "fire")))
    return {stage.module: run.fingerprint(stage) for stage in pipeline.stages(run.family, run.variants)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {module for module in before if before[module] != after[module]}


def edit(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.read_bytes() + b"\n" if path.exists() else b"\n")


READING_MODELS = {"batch_runner", "logit_lens"}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("models/base/config.json", READING_MODELS),
        ("models/fire/tokenizer.json", READING_MODELS),
        ("data/registers.toml", {"failure_classifier"}),
        ("data/tico19.json.bz2", {"build_stimuli"}),
        ("p1_edge_cases.json", {"build_stimuli", "failure_classifier"}),
        ("results/tiny/commitment_matrix.csv", {"failure_classifier", *VIZ - {"viz.lens"}}),
        ("results/tiny/logit_lens_summary.csv", {"viz.lens"}),
        ("models/base/README.md", set()),
    ],
)
def test_a_stage_depends_on_what_it_reads_and_on_nothing_else(tiny_root, file, stages):
    before = fingerprints(tiny_root)
    edit(tiny_root / file)
    assert changed(before, fingerprints(tiny_root)) == stages


def test_a_hub_model_that_moved_is_another_model(tiny_root, monkeypatch):
    families = tiny_root / "data" / "families.toml"
    families.write_text(families.read_text() + '[tiny.variants.hub]\nhf = "someone/a-model"\n')
    before = fingerprints(tiny_root, "base", "hub")
    monkeypatch.setattr("model_loader.commit_of", lambda hub_id, revision: "0123456789abcdef")
    assert changed(before, fingerprints(tiny_root, "base", "hub")) == READING_MODELS


def test_the_code_of_a_stage_is_followed_through_the_project(tmp_path, monkeypatch):
    (tmp_path / "room").mkdir()
    files = {
        "stage.py": "from room import one\nimport json",
        "other.py": "",
        "room/__init__.py": "",
        "room/one.py": "def late():\n    import room.two\nTABLE = 'table.toml'",
        "room/two.py": "from room.one import TABLE\nWORDS = 'data/words.tsv'",
        "room/three.py": "",
        "room/table.toml": "",
        "data/words.tsv": "",
    }
    (tmp_path / "data").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr("probe.dependencies.REPOSITORY", tmp_path)
    code = dependencies.code("stage")
    expected = {"stage.py", "room/__init__.py", "room/one.py", "room/two.py"}
    assert {path.relative_to(tmp_path).as_posix() for path in code} == expected
    data = dependencies.data(code, Paths(tmp_path))
    assert {path.relative_to(tmp_path).as_posix() for path in data} == {"room/table.toml", "data/words.tsv"}


def test_a_run_of_some_variants_measures_the_baseline_and_leaves_nothing_of_a_run_of_all(offline):
    assert run(offline) == 0
    results, assets = offline / "results" / "tiny", offline / "assets" / "tiny"
    (results / "variant_effects.csv").rename(results / "regional_of_old.csv")  # of nobody, thus kept
    (assets / "alignment_curve_avg_xx.png").touch()  # as of a variant or language that is no longer measured
    assert run(offline, "--variants", "fire") == 0
    variants = {
        path.name: json.loads(path.read_text())["params"]["variants"] for path in results.glob("*.meta.json")
    }
    assert set(map(tuple, variants.values())) == {("base", "fire")}
    assert not (assets / "alignment_curve_avg_xx.png").exists()
    assert (results / "regional_of_old.csv").exists()


def test_a_stage_that_fails_stops_the_run_and_its_status_is_the_runs(offline, capsys, monkeypatch):
    monkeypatch.setattr("batch_runner.main", lambda argv: 1)
    assert run(offline) == 1
    assert not (offline / "results" / "tiny" / "alignment_summary.csv").exists()
    assert "complete" not in capsys.readouterr().out


def test_another_processor_comes_to_the_committed_results_of_nano_aya(tmp_path, monkeypatch):
    """Rounding is added to what is extracted: any machine is then another than the one they came from."""
    extract_shard = extraction.extract_shard
    monkeypatch.setattr(extraction, "extract_shard", lambda *given: rounded_otherwise(extract_shard(*given)))
    made, committed = (root / "results" / "nano-aya" for root in (tmp_path, REPOSITORY))
    made.mkdir(parents=True)
    for path in committed.glob("untrained.*"):  # made by a command of its own, once
        shutil.copy(path, made)
    assert run(tmp_path, family="nano-aya") == 0
    assert differences(made, committed) == []
    assert {p.name for p in (tmp_path / "assets" / "nano-aya").iterdir()} == {
        p.name for p in (REPOSITORY / "assets" / "nano-aya").iterdir()
    }
    models = [
        json.loads((folder / "alignment_summary.meta.json").read_text())["models"]
        for folder in (made, committed)
    ]
    assert models[0] == models[1]
