"""The worked examples of CONTRIBUTING.md, executed as they stand there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pandas as pd
import pytest

import batch_runner
import build_stimuli
import concept_alignment
from probe.alignment import cells
from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY
from probe.stats import metrics
from probe.stats.groups import Groups
from probe.stimuli.manifest import load_concepts, load_manifest
from tests.support import synthetic

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
STAGES = {
    "build_stimuli.py": build_stimuli,
    "batch_runner.py": batch_runner,
    "concept_alignment.py": concept_alignment,
}


def section(title: str) -> str:
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]


def fenced(title: str, language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)[1]


def commands(title: str) -> list[list[str]]:
    return [shlex.split(line)[2:] for line in fenced(title, "bash").splitlines()]


def run(title: str, root) -> None:
    for script, *arguments in commands(title):
        assert STAGES[script].main([*arguments, "--root", str(root)]) == 0, script


@pytest.fixture
def own_concepts(tmp_path):
    """A root with a copy of the concept probes."""
    path = tmp_path / "data" / "concept_probes.json"
    path.parent.mkdir()
    shutil.copy(REPOSITORY / "data" / "concept_probes.json", path)
    return path


def test_a_concept(own_concepts, tmp_path):
    concepts = json.loads(own_concepts.read_text())
    added = json.loads(fenced("A concept", "json"))
    assert not set(concepts) & set(added)
    own_concepts.write_text(json.dumps(concepts | added))
    run("A concept", tmp_path)
    manifest = load_manifest(tmp_path / "data" / "stimulus_manifest.json", "tiny-aya")
    assert {p.language for p in manifest.probes if p.concept == "vaccine"} == set(LANGUAGES)
    assert len(manifest.probes) == 210
    added["C21"]["focus"]["sw"] = "dawa"
    own_concepts.write_text(json.dumps(concepts | added))
    with pytest.raises(ProbeError, match="C21.*'sw'"):
        load_concepts(own_concepts)


@pytest.fixture
def code(tmp_path):
    """A copy of the code and the probes, to edit."""
    for name in ("probe", "organism", "data"):
        ignored = shutil.ignore_patterns("*.safetensors", "__pycache__", "checkpoints")
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
    for name in ("build_stimuli.py", "p1_edge_cases.json"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


def python(code, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=code, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_language(code):
    file, anchor, line = fenced("A language", "python").rstrip("\n").split("\n")
    module = code / file.removeprefix("# ")
    assert module.read_text().count(anchor) == 1
    module.write_text(module.read_text().replace(anchor, f"{anchor}\n{line}"))
    probes = code / "data" / "concept_probes.json"
    first = {"C01": json.loads(probes.read_text())["C01"]}
    probes.write_text(json.dumps(first))
    ((command, *arguments),) = commands("A language")
    without = python(code, command, *arguments)
    assert without.returncode == 1
    assert "'pt'" in without.stderr
    for name, texts in json.loads(fenced("A language", "json"))["C01"].items():
        first["C01"][name] |= texts
    probes.write_text(json.dumps(first))
    done = python(code, command, *arguments)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((code / "data" / "stimulus_manifest.json").read_text())
    assert [s["language"] for s in manifest["probes"]] == [*LANGUAGES, "pt"]


def test_a_family(tiny_root):
    example = fenced("A family of models", "toml")
    (tiny_root / "models" / "fire").rename(tiny_root / "models" / "tuned")
    (tiny_root / "data" / "families.toml").write_text(example)
    (name,) = tomllib.loads(example)
    run("A family of models", tiny_root)
    effects = pd.read_csv(tiny_root / "results" / name / "variant_effects.csv")
    assert set(effects.contrast) == {"simple", "did"}
    assert not effects.query("language == 'hi' and contrast == 'did'").placebo.any()
    assert effects.query("language == 'sw' and contrast == 'did'").placebo.all()


@pytest.fixture
def with_example_metric(monkeypatch):
    monkeypatch.setattr(metrics, "ITEMWISE", dict(metrics.ITEMWISE))
    exec(fenced("A metric", "python"), vars(metrics) | {"ITEMWISE": metrics.ITEMWISE})


@pytest.mark.usefixtures("with_example_metric")
@pytest.mark.parametrize(("shared", "found"), [(0.6, True), (0.0, False)])
def test_a_metric(shared, found):
    vectors = synthetic.activations(synthetic.World(np.full(3, shared), n=30, seed=3))
    grams = metrics.grams(vectors["en"], vectors["hi"])
    sample = cells.Sample([], Groups.independent(30))
    rows = cells.summary(cells.measure_states(grams, sample, True, False), sample).query(
        "metric == 'angular'"
    )
    assert len(rows) == 3
    assert rows.value.between(0, 1).all()
    assert ((rows.ci_low < rows.value) & (rows.value < rows.ci_high)).all()
    assert (rows.p_max < 0.05).all() if found else (rows.p_max > 0.05).all()


def test_a_failure_category(code):
    (code / "cases.json").write_text(fenced("A failure category", "json"))
    check = (
        "from pathlib import Path; from probe.stimuli import edge_cases as e; "
        "print(len(e.stimuli(e.load_cases(Path('cases.json')))))"
    )
    unknown = python(code, "-c", check)
    assert unknown.returncode == 1
    assert "failure_category" in unknown.stderr
    module = code / "probe" / "stimuli" / "edge_cases.py"
    known = '"unicode_edge"'
    assert module.read_text().count(known) == 1
    module.write_text(module.read_text().replace(known, f'{known}, "misspelling"'))
    done = python(code, "-c", check)
    assert done.stdout.strip() == "5", done.stderr
