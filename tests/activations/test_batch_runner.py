"""Extraction runs: complete, resumable after anything, and clear about what is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import batch_runner
import model_loader
from probe.activations import run as extraction
from probe.activations.store import ActivationStore
from probe.errors import ProbeError
from probe.families import load_family
from probe.paths import Paths
from probe.stimuli.manifest import Stimulus, load_manifest

SCRIPT = Path(__file__).parent.parent / "support" / "kill_and_resume.py"


def run(root, *more, variants="base"):
    return batch_runner.main(
        ["--local", "--family", "tiny", "--variants", variants, "--root", str(root), *more]
    )


def folder(root, variant="base") -> Path:
    return root / "activations" / "tiny" / variant


def contents(root, variant="base") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder(root, variant).iterdir() if p.name != ".lock"}


def test_stores_what_extraction_yields_at_all_positions(tiny_root):
    assert run(tiny_root, "--shard-size", "7") == 0
    manifest = load_manifest(tiny_root / "data" / "stimulus_manifest.json", "tiny")
    store = ActivationStore(folder(tiny_root))
    with model_loader.loaded("tiny", "base", paths=Paths(tiny_root)) as (model, tokenizer):
        for stimulus in list(manifest)[::9]:
            focus = [stimulus.focus] if stimulus in manifest.probes else None
            direct = model_loader.extract(model, tokenizer, [stimulus.text], focus)
            for position, resid in direct.resid.items():
                stored = store.resid(position, [stimulus.stimulus_id])
                scale = np.abs(resid).max(axis=-1, keepdims=True)
                assert (np.abs(stored - resid) <= scale * 2.0**-10).all()
                normed = store.post_norm(position, [stimulus.stimulus_id])
                np.testing.assert_allclose(
                    normed, direct.post_norm[position], atol=np.abs(normed).max() * 2.0**-10
                )
            assert store.index.token_ids[stimulus.stimulus_id] == direct.token_ids[0]
            assert store.index.read_index[stimulus.stimulus_id] == direct.read_index[0]


def test_the_index_says_where_activations_come_from(tiny_root):
    run(tiny_root)
    index = json.loads((folder(tiny_root) / "index.json").read_text())
    assert index["identity"].keys() == {
        "model", "revision", "config_sha256", "tokenizer_sha256", "dtype", "manifest_sha256", "shard_size",
    }  # fmt: skip
    assert index["identity"]["dtype"] == "float32"
    assert index["environment"]["device"] in ("cpu", "cuda", "mps")
    assert str(tiny_root) not in json.dumps(index)


def test_a_second_run_extracts_nothing_and_changes_nothing(tiny_root, monkeypatch, caplog):
    run(tiny_root, variants="base,fire")
    before = contents(tiny_root), contents(tiny_root, "fire")
    monkeypatch.setattr(model_loader, "load_weights", lambda _: pytest.fail("weights were loaded"))
    with caplog.at_level("INFO"):
        assert run(tiny_root, variants="base,fire") == 0
    assert (contents(tiny_root), contents(tiny_root, "fire")) == before
    assert "nothing to do" in caplog.text


def test_killed_at_random_moments_then_run_again(tiny_root, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "root"
    shutil.copytree(tiny_root, whole)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def kill_and_resume(root, n_kills):
        command = [
            sys.executable,
            str(SCRIPT),
            str(root),
            str(n_kills),
            "3",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=150, env=environment, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    interrupted, uninterrupted = kill_and_resume(tiny_root, 15), kill_and_resume(whole, 0)
    assert interrupted["status"] == uninterrupted["status"] == 0
    assert contents(tiny_root) == contents(whole)
    # What a killed run had done was not written again: same inode, same time of writing.
    for seen in interrupted["seen"]:
        assert seen.items() <= interrupted["last"].items()
    moments = [len(seen) for seen in interrupted["seen"]]
    assert len(set(moments)) >= 4, moments  # the kills hit different moments


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_only_a_damaged_shard_is_extracted_again(tiny_root, damage):
    run(tiny_root, "--shard-size", "20")
    before = contents(tiny_root)
    path = folder(tiny_root) / "shard-00001.safetensors"
    times = {p.name: p.stat().st_mtime_ns for p in folder(tiny_root).glob("*.safetensors")}
    damaged = bytearray(before[path.name])
    damaged[len(damaged) // 2] ^= 255
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(damaged if damage == "flip" else damaged[:-100])
    assert run(tiny_root, "--shard-size", "20") == 0
    assert contents(tiny_root) == before
    for name, written in times.items():
        assert (folder(tiny_root) / name).stat().st_mtime_ns == written or name == path.name


def test_ctrl_c_keeps_what_is_complete(tiny_root, monkeypatch, capsys):
    original, calls = extraction.extract_shard, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(extraction, "extract_shard", interrupted)
    assert run(tiny_root, "--shard-size", "20") == 130
    assert "run the same command to go on" in capsys.readouterr().err
    monkeypatch.setattr(extraction, "extract_shard", original)
    assert set(contents(tiny_root)) == {"shard-00000.safetensors", "shard-00001.safetensors", "index.json"}
    assert run(tiny_root, "--shard-size", "20") == 0


def test_a_lost_index_and_a_damaged_shard_cost_only_that_shard(tiny_root, monkeypatch):
    run(tiny_root, "--shard-size", "20")
    before, extracted = contents(tiny_root), []
    (folder(tiny_root) / "index.json").unlink()
    path = folder(tiny_root) / "shard-00003.safetensors"
    path.write_bytes(before[path.name][:-1] + b"?")
    original = extraction.extract_shard
    monkeypatch.setattr(
        extraction, "extract_shard", lambda *args: extracted.append(len(args[2])) or original(*args)
    )
    assert run(tiny_root, "--shard-size", "20") == 0
    assert extracted == [20]
    assert contents(tiny_root) == before


@pytest.fixture
def small_disk(tiny_root):
    """activations/ on a file system of 300 kB, where two variants of 200 kB have no room."""
    place = tiny_root / "activations"
    place.mkdir()
    mounted = sys.platform == "linux" and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system needs Linux and root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_in_one_line_with_the_cure_and_loses_nothing(tiny_root, small_disk, capsys):
    assert run(tiny_root, "--shard-size", "10", variants="base,fire") == 1
    line = _one_error_line(capsys)
    assert "No space left on device" in line
    assert "make room and go on with: uv run batch_runner.py --local --family tiny --variants" in line
    assert not list(small_disk.rglob("*.partial"))
    complete = contents(tiny_root)
    assert len(complete) > 3
    subprocess.run(["mount", "-o", "remount,size=3m", str(small_disk)], check=True)
    assert run(tiny_root, "--shard-size", "10", variants="base,fire") == 0
    assert {n: c for n, c in complete.items() if n != "index.json"}.items() <= contents(tiny_root).items()
    assert len(contents(tiny_root, "fire")) == 12 + 1


def test_out_of_memory_in_the_middle_of_a_run_is_got_over(tiny_root, monkeypatch, caplog):
    import torch
    from transformers.models.cohere2.modeling_cohere2 import Cohere2Model

    run(tiny_root, "--shard-size", "60")
    store = ActivationStore(folder(tiny_root))
    ids = list(store.index.token_ids)
    undisturbed = store.resid("mean", ids)
    original, sizes = Cohere2Model.forward, []

    def forward(model, input_ids, *args, **kwargs):
        sizes.append(len(input_ids))
        if sizes.count(max(sizes)) == 1 and max(sizes) > 2 and sizes[-1] == max(sizes):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(model, input_ids, *args, **kwargs)

    monkeypatch.setattr(Cohere2Model, "forward", forward)
    assert run(tiny_root, "--shard-size", "60", "--fresh") == 0
    assert "out of memory" in caplog.text
    again = ActivationStore(folder(tiny_root)).resid("mean", ids)
    np.testing.assert_allclose(again, undisturbed, rtol=2e-3, atol=2e-3 * np.abs(undisturbed).max())


def test_two_runs_at_once_the_second_refuses_and_the_first_completes(tiny_root, capsys):
    arguments = ["--local", "--family", "tiny", "--variants", "base", "--root", str(tiny_root)]
    waiting = (
        "import sys, batch_runner; from probe.activations import run as extraction\n"
        "extract = extraction.extract_shard\n"
        "def once_told(*args):\n    print('extracting', flush=True); sys.stdin.readline()\n"
        "    return extract(*args)\n"
        f"extraction.extract_shard = once_told; sys.exit(batch_runner.main({arguments!r}))"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdin
        assert first.stdout
        assert first.stdout.readline() == "extracting\n"
        assert run(tiny_root) == 1
        assert "another run is extracting into" in _one_error_line(capsys)
        assert run(tiny_root, "--fresh") == 1  # nor may it discard what the first has written
        first.communicate("\n\n")
    assert first.returncode == 0
    assert run(tiny_root, "--status") == 0
    assert "base 2 2 0 0 120 of 120" in " ".join(capsys.readouterr().out.split())


def test_the_token_budget_is_recorded_and_kept_to(tiny_root):
    run(tiny_root, "--shard-size", "20", "--token-budget", "77")
    before = contents(tiny_root)
    assert json.loads(before["index.json"])["environment"]["token_budget"] == 77
    (folder(tiny_root) / "shard-00001.safetensors").unlink()
    assert run(tiny_root, "--shard-size", "20") == 0
    assert contents(tiny_root) == before


def test_the_summary_counts_what_was_extracted(tiny_root, caplog):
    with caplog.at_level("INFO"):
        run(tiny_root)
    store = ActivationStore(folder(tiny_root))
    n_tokens = sum(map(len, store.index.token_ids.values()))
    assert re.search(
        rf"base: 120 stimuli, {n_tokens} tokens, [\d.]+ s, \d+ tokens/s, 2 of 2 shards", caplog.text
    )


def status(root, capsys, *more, variants="base,fire") -> list[str]:
    assert batch_runner.main(
        ["--status", "--family", "tiny", "--variants", variants, "--root", str(root), *more]
    ) == 0  # fmt: skip
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_status_counts_complete_missing_and_damaged_without_loading(tiny_root, monkeypatch, capsys):
    assert status(tiny_root, capsys) == [
        "variant shards complete damaged missing stimuli",
        "base 2 0 0 2 0 of 120",
        "fire 2 0 0 2 0 of 120",
    ]
    assert not (tiny_root / "activations").exists()
    run(tiny_root, "--shard-size", "20")
    capsys.readouterr()
    monkeypatch.setattr(model_loader, "open_checkpoint", lambda *_: pytest.fail("a model was opened"))
    (folder(tiny_root) / "shard-00001.safetensors").unlink()
    (folder(tiny_root) / "shard-00002.safetensors").write_bytes(b"not this")
    before = contents(tiny_root)
    assert status(tiny_root, capsys, "--shard-size", "20")[1] == "base 6 4 1 1 80 of 120"
    (folder(tiny_root) / "index.json").unlink()
    assert status(tiny_root, capsys, "--shard-size", "20")[1] == "base 6 4 1 1 80 of 120"
    del before["index.json"]
    assert contents(tiny_root) == before
    assert "base: extracted with another shard_size; --fresh starts afresh" in status(tiny_root, capsys)


class Hub:
    """Stands for the calls that would reach the hub."""

    def __init__(self, monkeypatch):
        self.created, self.files = {}, {}
        monkeypatch.setattr("huggingface_hub.HfApi.create_repo", self.create_repo)
        monkeypatch.setattr("huggingface_hub.HfApi.create_commit", self.create_commit)

    def create_repo(self, repo_id, **options):
        self.created[repo_id] = options

    def create_commit(self, repo_id, operations, commit_message, repo_type):
        assert repo_type == "dataset"
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()


def push(root, *more):
    return batch_runner.main(
        ["--family", "tiny", "--root", str(root), "--push-to-hub", "me/probe-activations", *more]
    )


def test_push_to_hub_uploads_every_file_with_a_card_that_says_what_it_is(tiny_root, monkeypatch, capsys):
    hub = Hub(monkeypatch)
    run(tiny_root, variants="base,fire")
    capsys.readouterr()
    assert push(tiny_root) == 0
    assert capsys.readouterr().out == "https://huggingface.co/datasets/me/probe-activations\n"
    assert hub.created["me/probe-activations"]["private"] is True
    card = hub.files.pop("README.md").decode()
    expected = {f"tiny/{v}/{n}": c for v in ("base", "fire") for n, c in contents(tiny_root, v).items()}
    assert hub.files == expected
    identity = json.loads(hub.files["tiny/fire/index.json"])["identity"]
    assert (
        f"| fire | models/fire | {identity['revision']} | float32 | cpu | 120 | 5 | 32 "
        "| content, focus, last, mean |" in card
    )
    assert identity["manifest_sha256"] in card
    assert "own licence" in card
    # The reader that the card prints, run on what was uploaded
    code = (
        card.split("```python\n")[1]
        .split("```")[0]
        .replace("from huggingface_hub import snapshot_download", "")
    )
    found = {"snapshot_download": lambda repo, repo_type: str(tiny_root / "activations")}
    exec(code, found)
    store = ActivationStore(folder(tiny_root))
    np.testing.assert_array_equal(
        found["resid"], store.resid("mean", store.index.shards["shard-00000"].stimulus_ids)
    )


def test_push_to_hub_refuses_what_is_incomplete_or_of_another_manifest(tiny_root, monkeypatch, capsys):
    hub = Hub(monkeypatch)
    assert push(tiny_root) == 1
    assert "no activations in" in _one_error_line(capsys)
    run(tiny_root, variants="base,fire")
    (folder(tiny_root, "fire") / "shard-00001.safetensors").unlink()
    assert push(tiny_root) == 1
    assert "60 of 120 stimuli not extracted or damaged" in _one_error_line(capsys)
    assert push(tiny_root, "--variants", "base") == 0
    capsys.readouterr()
    _edit(tiny_root / "data" / "stimulus_manifest.json", lambda m: m["parallel"].pop())
    assert push(tiny_root, "--variants", "base") == 1
    assert "another manifest_sha256" in _one_error_line(capsys)
    assert {name.split("/")[1] for name in hub.files if "/" in name} == {"base"}


def test_a_hub_that_refuses_is_one_line_with_the_cure_and_without_the_token(tiny_root, monkeypatch, capsys):
    run(tiny_root, variants="base,fire")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert push(tiny_root) == 1  # offline, as all the tests are
    line = _one_error_line(capsys)
    assert "cannot upload to me/probe-activations" in line
    assert "hf auth login" in line
    assert "hf_secret" not in line


def test_nan_in_the_models_output_names_the_stimulus(tiny_root, capsys):
    from safetensors.torch import load_file, save_file

    weights = tiny_root / "models" / "base" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.layers.2.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    assert run(tiny_root) == 1
    assert "probe_C01_en: state 3 at" in _one_error_line(capsys)


@pytest.mark.parametrize(
    ("text", "why"),
    [("\u200b...", "no content in"), ("word " * 80 + ".", "tokens, and the model reads at most 70")],
)
def test_a_text_that_cannot_be_read_is_named_before_anything_is_run(tiny_models, tokenizer, text, why):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny_models / "base", max_position_embeddings=70)
    good, bad = (Stimulus.model_construct(stimulus_id=i, text=t) for i, t in (("a", "A cat."), ("b", text)))
    assert extraction.count_tokens(model, tokenizer, [good]) > 2
    with pytest.raises(ProbeError, match=f"b: .*{why}"):
        extraction.count_tokens(model, tokenizer, [good, bad])


def test_smoke_test_keeps_nothing(tiny_root, caplog):
    with caplog.at_level("INFO"):
        assert run(tiny_root, "--smoke-test", variants="base,fire") == 0
    assert "batched against single" in caplog.text
    assert not (tiny_root / "activations").exists()


def _one_error_line(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def _edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["probes"][0].update(language="xx"), "unknown language 'xx'"),
        (lambda m: m["probes"][0].update(text="  "), "the text is empty"),
        (lambda m: m["probes"][0].update(stimulus_id="a/b"), "path separator"),
        (lambda m: m["parallel"][0].update(text=m["parallel"][10]["text"]), "same text as"),
        (lambda m: m["parallel"][0].update(stimulus_id=m["probes"][0]["stimulus_id"]), "same id as"),
        (lambda m: m["probes"][0].update(focus="not there"), "no part of the text"),
        (lambda m: m["probes"][0].pop("text"), "text"),
        (lambda m: m.update(probes=[], parallel=[]), "holds no stimulus"),
    ],
)
def test_a_malformed_manifest_is_one_line_with_the_cure(tiny_root, capsys, change, message):
    _edit(tiny_root / "data" / "stimulus_manifest.json", change)
    assert run(tiny_root) == 1
    line = _one_error_line(capsys)
    assert message in line
    assert "uv run build_stimuli.py --family tiny" in line
    assert not (tiny_root / "activations").exists()


def test_missing_and_unreadable_inputs(tiny_root, capsys):
    manifest = tiny_root / "data" / "stimulus_manifest.json"
    manifest.write_text("{")
    assert run(tiny_root) == 1
    assert "not valid JSON" in _one_error_line(capsys)
    assert run(tiny_root, variants="water") == 1
    assert "no variant 'water'" in _one_error_line(capsys)
    assert batch_runner.main(["--local", "--family", "none", "--root", str(tiny_root)]) == 1
    assert "no family 'none'" in _one_error_line(capsys)


def test_a_missing_model_is_named(tiny_root, capsys):
    shutil.rmtree(tiny_root / "models" / "fire")
    assert run(tiny_root, variants="fire") == 1
    assert "tiny/fire: no model in" in _one_error_line(capsys)


def test_damaged_weights_are_one_line(tiny_root, capsys):
    weights = tiny_root / "models" / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert run(tiny_root) == 1
    assert "tiny/base:" in _one_error_line(capsys)


def test_weights_in_a_format_that_is_not_hashed_are_refused(tiny_root, capsys):
    """In .bin, every model would have the same revision: the hash of nothing."""
    import torch
    from safetensors.torch import load_file

    weights = tiny_root / "models" / "base" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    assert run(tiny_root) == 1
    assert "no *.safetensors in" in _one_error_line(capsys)


@pytest.mark.parametrize("change", ["lost", "of another shape"])
def test_a_weight_that_would_be_made_up_at_random_is_refused(tiny_root, capsys, change):
    from safetensors.torch import load_file, save_file

    weights = tiny_root / "models" / "base" / "model.safetensors"
    tensors = load_file(weights)
    weight = tensors.pop("model.layers.1.mlp.up_proj.weight")
    if change == "of another shape":
        tensors["model.layers.1.mlp.up_proj.weight"] = weight[:-1].clone()
    save_file(tensors, weights, metadata={"format": "pt"})
    assert run(tiny_root) == 1
    line = _one_error_line(capsys)
    assert "tiny/base: 1 weights of" in line
    assert "layers.1.mlp.up_proj.weight" in line
    assert not list(folder(tiny_root).glob("*.safetensors"))


def test_complete_is_what_is_on_disk_at_the_end(tiny_root, monkeypatch, capsys):
    """The folder is deleted in the middle of the run."""
    original, calls = extraction.extract_shard, []

    def deleted(*args):
        calls.append(1)
        if len(calls) == 3:
            shutil.rmtree(folder(tiny_root))
        return original(*args)

    monkeypatch.setattr(extraction, "extract_shard", deleted)
    assert run(tiny_root, "--shard-size", "20") == 1
    assert "40 of 120 stimuli not extracted or damaged" in _one_error_line(capsys)
    monkeypatch.setattr(extraction, "extract_shard", original)
    assert run(tiny_root, "--shard-size", "20") == 0


def test_activations_of_another_model_or_manifest_are_not_mixed(tiny_root, capsys):
    run(tiny_root)
    shutil.rmtree(tiny_root / "models" / "base")
    shutil.copytree(tiny_root / "models" / "fire", tiny_root / "models" / "base")
    assert run(tiny_root) == 1
    line = _one_error_line(capsys)
    assert "another revision" in line
    assert "--fresh" in line
    assert run(tiny_root, "--fresh") == 0
    _edit(tiny_root / "data" / "stimulus_manifest.json", lambda m: m["parallel"].pop())
    assert run(tiny_root) == 1
    assert "another manifest_sha256" in _one_error_line(capsys)


def test_usage_errors_exit_with_2(tiny_root, capsys):
    flags = (["--family", "tiny"], ["--local", "--dtype", "int8"], ["--local", "--shard-size", "0"])
    for wrong in (*flags, ["--local", "--nonsense"]):
        with pytest.raises(SystemExit) as ended:
            batch_runner.main([*wrong, "--root", str(tiny_root)])
        assert ended.value.code == 2
        if wrong == flags[0]:
            how = "say where to extract: uv run batch_runner.py --local, or modal run batch_runner.py"
            assert how in capsys.readouterr().err


def test_shards_do_not_mix_kinds(tiny_root):
    manifest = load_manifest(tiny_root / "data" / "stimulus_manifest.json", "tiny")
    plan = extraction.plan_shards(manifest, 50)
    assert [len(stimuli) for stimuli in plan.values()] == [50, 10, 50, 10]
    assert all(len({type(s) for s in stimuli}) == 1 for stimuli in plan.values())


def test_a_hub_models_revision_is_resolved_to_its_commit(tiny_root, tmp_path, monkeypatch):
    """A cache as the hub's client lays it out, in which the branch main points at one commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--someone--a-model"
    shutil.copytree(tiny_root / "models" / "base", cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    families = tiny_root / "data" / "families.toml"
    families.write_text(families.read_text() + '[tiny.variants.hub]\nhf = "someone/a-model"\n')
    assert run(tiny_root, variants="hub") == 0
    identity = ActivationStore(folder(tiny_root, "hub")).index.identity
    assert (identity["model"], identity["revision"]) == ("someone/a-model", commit)


def test_tiny_aya_and_its_controls_are_there():
    family = load_family("tiny-aya", Paths())
    hub_ids = {name: variant.hf for name, variant in family.variants.items()}
    assert hub_ids == {n: f"CohereLabs/tiny-aya-{n}" for n in ("base", "global", "fire", "earth", "water")}
    assert family.chosen(None) == ["base", "fire", "earth"]
    assert family.variants["fire"].share["hi"] == 5.8
    assert family.variants["earth"].emphasises == ["sw", "am", "yo"]
