"""What stage 3 is given: activations of the family's own models, all of one dtype."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import batch_runner
from probe.activations import opening
from probe.errors import ProbeError
from probe.families import load_family
from probe.paths import Paths
from probe.stimuli.manifest import load_manifest


def extract(root, *more) -> None:
    assert batch_runner.main(["--local", "--family", "tiny", "--root", str(root), *more]) == 0


def opened(root, *variants):
    paths = Paths(root)
    family = load_family("tiny", paths)
    manifest = load_manifest(paths.source(family.manifest), "tiny")
    return opening.open_stores(paths, family, variants or ("base", "fire"), manifest)


def refusal(root, *variants) -> str:
    with pytest.raises(ProbeError) as refused:
        opened(root, *variants)
    assert "run: uv run batch_runner.py --local --family tiny --variants" in str(refused.value)
    return str(refused.value)


def test_folders_of_two_variants_that_were_swapped_are_refused(tiny_root):
    extract(tiny_root)
    assert opened(tiny_root)
    folder = tiny_root / "activations" / "tiny"
    (folder / "base").rename(folder / "kept")
    (folder / "fire").rename(folder / "base")
    (folder / "kept").rename(folder / "fire")
    assert "base was extracted from model models/fire, but tiny/base is now models/base" in refusal(tiny_root)


def test_weights_that_changed_since_are_refused_and_weights_that_are_not_here_cannot_be_asked(tiny_root):
    extract(tiny_root)
    weights = tiny_root / "models" / "fire" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "fire was extracted from revision" in refusal(tiny_root)
    assert opened(tiny_root, "base")
    shutil.rmtree(weights.parent)
    assert opened(tiny_root)


def test_a_hub_model_is_of_the_commit_that_the_family_pins_or_the_cache_has(tiny_root, monkeypatch):
    extract(tiny_root, "--variants", "base")
    commit, families = "0" * 40, tiny_root / "data" / "families.toml"
    index = tiny_root / "activations" / "tiny" / "base" / "index.json"
    content = json.loads(index.read_text())
    content["identity"] |= {"model": "someone/model", "revision": commit}
    monkeypatch.setattr("probe.activations.store.Index.agrees", lambda *_: True)  # it is not of that model
    index.write_text(json.dumps(content))
    text = families.read_text()
    families.write_text(text.replace('path = "models/base"', f'hf = "someone/model"\nrevision = "{commit}"'))
    assert opened(tiny_root, "base")
    families.write_text(
        text.replace('path = "models/base"', f'hf = "someone/model"\nrevision = "{"1" * 40}"')
    )
    assert f"is now {'1' * 40}" in refusal(tiny_root, "base")
    families.write_text(text.replace('path = "models/base"', 'hf = "someone/model"'))
    assert opened(tiny_root, "base")
    monkeypatch.setattr(opening, "cached_commit", lambda hub_id, revision: "2" * 40)
    assert f"is now {'2' * 40}" in refusal(tiny_root, "base")


def test_variants_of_different_dtypes_are_refused(tiny_root):
    extract(tiny_root, "--variants", "base")
    extract(tiny_root, "--variants", "fire", "--dtype", "bfloat16")
    assert "different dtypes (base float32, fire bfloat16)" in refusal(tiny_root)
    assert opened(tiny_root, "fire")


def test_provenance_says_of_what_and_in_what_dtype_activations_are(tiny_root):
    extract(tiny_root)
    paths, stores = Paths(tiny_root), opened(tiny_root)
    family = load_family("tiny", paths)
    told = opening.provenance(paths, family, stores, {"seed": 3}, [paths.families], note="n")
    assert told["params"] == {"family": "tiny", "variants": ["base", "fire"], "seed": 3}
    assert told["inputs"].keys() == {
        "data/stimulus_manifest.json", "data/families.toml", "activations/tiny/base", "activations/tiny/fire",
    }  # fmt: skip
    identity = stores["fire"].index.identity
    assert told["models"]["fire"] == identity["revision"]
    assert told["activations"]["fire"] == {
        key: identity[key] for key in ("model", "dtype", "config_sha256", "tokenizer_sha256")
    }
    assert told["note"] == "n"
