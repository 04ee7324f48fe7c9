"""The one-command run: complete, repeatable, and not doing twice what is done."""

import json

import pytest

import pipeline
from probe.activations import run as extraction
from probe.paths import REPOSITORY
from tests.support.comparison import differences, rounded_otherwise


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
    """A family whose manifest is made of the probes alone, since there is no network."""
    monkeypatch.setattr("probe.stimuli.flores.find", lambda cache: (None, []))
    return tiny_root


def test_runs_every_stage_and_then_reuses_everything(offline, caplog, monkeypatch):
    assert run(offline) == 0
    first = outputs(offline)
    assert {"results/tiny/alignment_summary.csv", "results/tiny/failure_cases.csv"} <= first.keys()
    assert any(name.endswith("heatmap.svg") for name in first)
    for stage in pipeline.stages(pipeline.cli.context(_arguments(offline))[1]):
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


def test_a_stage_that_fails_stops_the_run_and_its_status_is_the_runs(offline, capsys, monkeypatch):
    monkeypatch.setattr("batch_runner.main", lambda argv: 1)
    assert run(offline) == 1
    assert not (offline / "results" / "tiny" / "alignment_summary.csv").exists()
    assert "complete" not in capsys.readouterr().out


def test_another_processor_comes_to_the_committed_results_of_nano_aya(tmp_path, monkeypatch):
    """Rounding is added to what is extracted: any machine is then another than the one they came from."""
    extract_shard = extraction.extract_shard
    monkeypatch.setattr(extraction, "extract_shard", lambda *given: rounded_otherwise(extract_shard(*given)))
    assert run(tmp_path, family="nano-aya") == 0
    made, committed = (root / "results" / "nano-aya" for root in (tmp_path, REPOSITORY))
    assert differences(made, committed) == []
    assert {p.name for p in (tmp_path / "assets" / "nano-aya").iterdir()} == {
        p.name for p in (REPOSITORY / "assets" / "nano-aya").iterdir()
    }
    models = [
        json.loads((folder / "alignment_summary.meta.json").read_text())["models"]
        for folder in (made, committed)
    ]
    assert models[0] == models[1]
