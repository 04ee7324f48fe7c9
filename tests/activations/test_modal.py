"""The Modal way, without Modal: bodies through `.local()`, a folder for the volume, the network stubbed.

What stays untested is Modal itself: that the image builds, and that containers see the volume.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import modal
import pytest

import batch_runner
import modal_config
from probe import cli
from probe.activations import run as extraction
from probe.paths import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore:The .* function is executing locally")

COMMON = ["--family", "nano-aya", "--shard-size", "12"]


@pytest.fixture
def root(tmp_path) -> Path:
    """nano-aya itself, with a manifest of 20 probes and 30 parallel sentences: 5 shards."""
    manifest = json.loads((REPOSITORY / "organism" / "stimulus_manifest.json").read_text())
    manifest["probes"], manifest["parallel"] = manifest["probes"][:20], manifest["parallel"][:30]
    manifest["edge"] = []
    path = tmp_path / "root" / "organism" / "stimulus_manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest, ensure_ascii=False))
    return tmp_path / "root"


class Volume:
    """A folder in the place of the activations volume, and what is asked of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.downloads: list[str] = []

    def listdir(self, path: str) -> list:
        if not (self.folder / path).exists():
            raise modal.exception.NotFoundError(path)
        return [SimpleNamespace(path=f"{path}/{p.name}") for p in (self.folder / path).iterdir()]

    def read_file_into_fileobj(self, path: str, file) -> None:
        self.downloads.append(path)
        file.write((self.folder / path).read_bytes())

    def remove_file(self, path: str, recursive: bool) -> None:
        for file in (self.folder / path).iterdir():
            file.unlink()
        (self.folder / path).rmdir()


@pytest.fixture
def volume(tmp_path, monkeypatch) -> Volume:
    volume = Volume(tmp_path / "volume")
    monkeypatch.setattr(modal_config, "ACTIVATIONS", volume.folder)
    for name in ("listdir", "read_file_into_fileobj", "remove_file"):
        monkeypatch.setattr(modal_config.activations, name, getattr(volume, name))
    return volume


class Calls(list):
    def __init__(self):
        super().__init__()
        self.inputs: list[tuple] = []


@pytest.fixture
def calls(monkeypatch) -> "Calls":
    """The remote calls that were made, each with its variant and its shards."""
    made = Calls()

    def starmap(function, inputs, order_outputs, return_exceptions):
        assert return_exceptions
        for family, variant, work, asked in reversed(list(inputs)):  # they end in any order
            made.append((variant, list(work)))
            made.inputs.append((family, variant, work, asked))
            try:
                yield function.local(family, variant, work, asked)
            except Exception as error:
                yield error

    monkeypatch.setattr(modal.Function, "starmap", starmap)
    return made


def run(root, *more, variants="base,fire"):
    """What `modal run batch_runner.py` does once Modal is connected."""
    flags = [*COMMON, "--variants", variants, "--root", str(root), *more]
    return cli.run(batch_runner.parser(), lambda args: batch_runner.work(args, on_modal=True), flags)


def run_locally(root, *more, variants="base,fire"):
    return batch_runner.main(["--local", *COMMON, "--variants", variants, "--root", str(root), *more])


def contents(root) -> dict[str, bytes]:
    folder = root / "activations"
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def error_line(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def local(root, tmp_path_factory) -> dict[str, bytes]:
    """The files that a local run of base and fire writes."""
    elsewhere = tmp_path_factory.mktemp("local")
    (elsewhere / "organism").mkdir()
    manifest = Path("organism", "stimulus_manifest.json")
    (elsewhere / manifest).write_bytes((root / manifest).read_bytes())
    assert run_locally(elsewhere) == 0
    return contents(elsewhere)


@pytest.mark.parametrize("n_containers", [1, 2, 9])
def test_gives_the_same_bytes_as_a_local_run(root, volume, calls, local, n_containers):
    assert run(root, "--shards", str(n_containers)) == 0
    assert len(local) == 2 * (5 + 1)
    assert contents(root) == local
    assert len(calls) == 2 * min(n_containers, 5)
    assert sorted(name for variant, names in calls if variant == "fire" for name in names) == [
        f"shard-{number:05d}" for number in range(5)
    ]
    assert not list(volume.folder.rglob("index.json"))  # two containers would write it at once


def test_what_the_volume_has_is_fetched_and_not_extracted_again(root, volume, calls, local):
    run(root)
    for path in [p for p in (root / "activations").rglob("*") if p.is_file()]:
        path.unlink()
    calls.clear()
    assert run(root) == 0
    assert (contents(root), calls) == (local, [])


def test_what_is_complete_here_is_neither_extracted_nor_fetched(root, volume, calls, local):
    assert run_locally(root) == 0
    assert run(root) == 0
    assert (contents(root), calls, volume.downloads) == (local, [], [])


def test_a_call_that_fails_costs_only_itself(root, volume, calls, local, monkeypatch, capsys):
    original = extraction.extract_shards

    def preempted(model, tokenizer, todo, *rest):
        if "shard-00001" in todo:
            raise RuntimeError("the container is gone")
        return original(model, tokenizer, todo, *rest)

    monkeypatch.setattr(extraction, "extract_shards", preempted)
    assert run(root, "--shards", "2") == 1
    line = error_line(capsys)
    assert "2 of 4 calls failed" in line
    assert "the container is gone" in line
    assert "the same command goes on" in line
    assert sum(name.endswith(".safetensors") for name in contents(root)) == 2 * 3
    monkeypatch.setattr(extraction, "extract_shards", original)
    calls.clear()
    assert run(root) == 0
    assert [names for _, names in calls] == [["shard-00001", "shard-00003"]] * 2
    assert contents(root) == local


def test_a_preempted_call_that_comes_again_skips_what_it_had_committed(
    root, volume, calls, local, monkeypatch
):
    original, extracted = extraction.extract_shard, []

    def preempted(model, tokenizer, stimuli, *rest):
        extracted.append(stimuli[0].stimulus_id)
        if len(extracted) == 3:
            raise RuntimeError("preempted")
        return original(model, tokenizer, stimuli, *rest)

    monkeypatch.setattr(extraction, "extract_shard", preempted)
    assert run(root, variants="base") == 1
    assert len(list(volume.folder.rglob("*.safetensors"))) == 2
    again = modal_config.extract.local(*calls.inputs[0])
    assert again["shards"] == [f"shard-{number:05d}" for number in range(5)]
    assert len(extracted) == 3 + 3
    assert len(set(extracted)) == 5
    made = {f"nano-aya/base/{path.name}": path.read_bytes() for path in volume.folder.rglob("*.safetensors")}
    assert made.items() <= local.items()


def test_each_shard_is_committed_as_it_is_done(root, volume, calls, monkeypatch):
    committed = []
    monkeypatch.setattr(modal, "is_local", lambda: False)
    commit = lambda: committed.append(len(list(volume.folder.rglob("*.safetensors"))))  # noqa: E731
    monkeypatch.setattr(modal_config.activations, "commit", commit)
    assert run(root, variants="base") == 0
    assert committed == [1, 2, 3, 4, 5]


def test_what_the_volume_has_of_another_manifest_is_made_again(root, volume, calls):
    """The ids are the same, and nothing lies here that would contradict."""
    run(root, variants="base")
    for path in [p for p in (root / "activations").rglob("*") if p.is_file()]:
        path.unlink()
    manifest = root / "organism" / "stimulus_manifest.json"
    manifest.write_text(manifest.read_text().replace("fever", "cough"))
    calls.clear()
    assert run(root, variants="base") == 0
    assert [len(names) for _, names in calls] == [5]
    again = contents(root)
    for path in [p for p in (root / "activations").rglob("*") if p.is_file()]:
        path.unlink()
    assert run_locally(root, variants="base") == 0
    assert contents(root) == again


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_shard_damaged_on_the_volume_is_extracted_again(root, volume, calls, local, damage):
    run(root)
    path = volume.folder / "nano-aya" / "fire" / "shard-00002.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content if damage == "flip" else content[:-7])
    (root / "activations" / "nano-aya" / "fire" / path.name).unlink()
    calls.clear()
    assert run(root) == 0
    assert calls == [("fire", ["shard-00002"])]
    assert contents(root) == local


def test_a_shard_damaged_on_its_way_is_not_taken_in(root, volume, calls, local, monkeypatch, capsys):
    def broken(path, file):
        file.write((volume.folder / path).read_bytes()[:-1])

    monkeypatch.setattr(modal_config.activations, "read_file_into_fileobj", broken)
    assert run(root) == 1
    line = error_line(capsys)
    assert "arrived damaged" in line
    assert "modal run batch_runner.py --family nano-aya" in line
    assert not [name for name in contents(root) if name.endswith(".safetensors")]
    monkeypatch.setattr(modal_config.activations, "read_file_into_fileobj", volume.read_file_into_fileobj)
    calls.clear()
    assert run(root) == 0
    assert calls == []
    assert contents(root) == local


def test_fresh_discards_what_the_volume_has_too(root, volume, calls):
    run(root, variants="base")
    (volume.folder / "nano-aya" / "base" / "shard-00099.safetensors").touch()
    calls.clear()
    assert run(root, "--fresh", variants="base") == 0
    assert len(calls) == 1
    assert len(list(volume.folder.rglob("*.safetensors"))) == 5


def test_what_lies_here_of_another_dtype_is_not_mixed(root, volume, calls, monkeypatch, capsys):
    assert run_locally(root, "--dtype", "bfloat16", variants="base") == 0
    (root / "activations" / "nano-aya" / "base" / "shard-00001.safetensors").unlink()
    monkeypatch.setattr(
        modal_config.model_loader, "load_weights", lambda _: pytest.fail("weights were loaded")
    )
    assert run(root, variants="base") == 1
    line = error_line(capsys)
    assert "another dtype" in line
    assert "--fresh" in line


def test_a_changed_manifest_is_refused_before_anything_is_started(root, volume, calls, capsys):
    run(root, variants="base")
    path = root / "organism" / "stimulus_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["parallel"].pop()
    path.write_text(json.dumps(manifest))
    calls.clear()
    assert run(root, variants="base") == 1
    assert "another manifest_sha256" in error_line(capsys)
    assert calls == []
    assert run(root, "--fresh", variants="base") == 0


def test_a_checkpoint_that_cannot_be_loaded_is_one_line_and_spares_the_others(root, volume, calls, capsys):
    (root / "data").mkdir()
    families = (REPOSITORY / "data" / "families.toml").read_text()
    gated = '[nano-aya.variants.gated]\nhf = "nobody/has-this"\n'
    (root / "data" / "families.toml").write_text(families + gated)
    assert run(root, variants="gated,base") == 1
    line = error_line(capsys)
    assert "1 of 2 calls failed" in line
    assert "accept its licence at https://huggingface.co/nobody/has-this" in line
    assert sum(name.endswith(".safetensors") for name in contents(root)) == 5


def test_a_model_that_containers_cannot_see_is_named(tiny_root, volume, calls, capsys):
    flags = ["--family", "tiny", "--root", str(tiny_root)]
    work = lambda args: batch_runner.work(args, on_modal=True)  # noqa: E731
    assert cli.run(batch_runner.parser(), work, flags) == 1
    assert "tiny/base: Modal sees no model in models/base" in error_line(capsys)
    assert calls == []


def test_smoke_test_on_modal_keeps_nothing(root, volume, calls, caplog):
    with caplog.at_level("INFO"):
        assert run(root, "--smoke-test") == 0
    assert [variant for variant, _ in calls] == ["fire", "base"]
    assert caplog.text.count("batched against single") == 2
    assert not volume.folder.exists()
    assert not (root / "activations").exists()


def test_a_token_that_modal_refuses_is_one_line_with_the_cure(root, volume, monkeypatch, capsys):
    def refused(*_, **__):
        raise modal.exception.AuthError("Token ID is malformed")

    monkeypatch.setattr(modal.Function, "starmap", refused)
    assert run(root) == 1
    assert "run: modal setup" in error_line(capsys)


def test_the_image_has_what_the_remote_functions_import_and_nothing_private():
    ignored = ~modal.FilePatternMatcher(*modal_config.SENT, *modal_config.UNSENT)
    imported = [Path(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)]
    ours = {path.relative_to(REPOSITORY) for path in imported if path.is_relative_to(REPOSITORY)}
    needed = {path for path in ours if path.parts[0] not in (".venv", "tests", "viz", "explorer", "bench", "docs")}
    assert Path("probe/activations/run.py") in needed
    weights = [p.relative_to(REPOSITORY) for p in (REPOSITORY / "organism").glob("*/model.safetensors")]
    assert len(weights) == 5
    for path in [*needed, *weights, Path("pyproject.toml"), Path("data/families.toml")]:
        assert not ignored(path), path
    for path in (
        ".env",
        ".git/config",
        "activations/x/index.json",
        "results/nano-aya/peaks.csv",
        ".venv/x.py",
    ):
        assert ignored(Path(path)), path


# The command itself, in a process of its own that can reach nothing


@pytest.fixture
def modal_run(tmp_path):
    def modal_run(*flags: str, script: str = "import modal.__main__ as m; m.main()", **more: str):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}
        environment |= {"HOME": str(tmp_path), "MODAL_SERVER_URL": "http://127.0.0.1:1", **more}
        named = f"import sys; sys.argv[0] = 'modal'; {script}"
        command = [sys.executable, "-c", named, "run", str(REPOSITORY / "batch_runner.py"), *flags]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=150, env=environment, cwd=REPOSITORY
        )

    return modal_run


def test_modal_run_help_works_without_an_account(modal_run):
    done = modal_run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: modal run batch_runner.py")
    for flag in ("--family", "--variants", "--gpu", "--shards", "--smoke-test", "--status", "--push-to-hub"):
        assert f"  {flag}" in done.stdout


def test_modal_run_ends_before_connecting_where_it_can(modal_run, root):
    wrong = modal_run("--shards", "0")
    assert wrong.returncode == 2
    assert "argument --shards: must be at least 1" in wrong.stderr
    no_token = modal_run("--family", "nano-aya")
    assert no_token.returncode == 1
    assert no_token.stderr == "error: Modal has no token on this machine; run: modal setup\n"
    status = modal_run("--status", *COMMON, "--root", str(root), "--variants", "base")
    assert (status.returncode, status.stdout.splitlines()[1].split()) == (0, "base 5 0 0 5 0 of 50".split())


def test_modal_run_runs_the_entrypoint_and_ends_with_its_status(modal_run, root):
    """Modal's own command line, with only its connection left out; what is complete needs no more."""
    assert run_locally(root, variants="base") == 0
    connected = "import modal.cli.run as r, contextlib; r.run_app = lambda *_, **__: contextlib.nullcontext()"
    script = f"{connected}; import modal.__main__ as m; m.main()"
    token = {"MODAL_TOKEN_ID": "ak-none", "MODAL_TOKEN_SECRET": "as-none"}
    flags = [*COMMON, "--root", str(root), "--variants"]
    done = modal_run(*flags, "base", script=script, **token)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{root}/activations/nano-aya: 50 stimuli in each of base\n"
    failed = modal_run(*flags, "none", script=script, **token)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: family nano-aya has no variant 'none'")
    assert failed.stderr.count("\n") == 1
