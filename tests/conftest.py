"""What the tests share: no network, and a tiny random family of two variants in a folder of its own."""

import json
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest

from probe.languages import LANGUAGES
from probe.paths import REPOSITORY
from probe.stimuli.manifest import load_concepts, probe_sentences

FAMILY = """
[tiny]
description = "random, for tests"
default_variants = ["base", "fire"]
[tiny.variants.base]
path = "models/base"
[tiny.variants.fire]
path = "models/fire"
emphasises = ["hi"]
"""


def make_model(folder: Path, seed: int, tokenizer) -> None:
    """A Cohere2 with random weights of visible size, so that every state differs from the one before."""
    import torch
    from transformers import Cohere2Config, Cohere2ForCausalLM

    torch.manual_seed(seed)
    config = Cohere2Config(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=16,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    model = Cohere2ForCausalLM(config)
    # A norm of ones would hide one that was left out, or applied twice.
    torch.nn.init.normal_(model.model.norm.weight, 1.0, 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(REPOSITORY / "organism" / "base")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "fire")):
        make_model(folder / name, seed, tokenizer)
    return folder


@pytest.fixture
def tiny_root(tmp_path, tiny_models) -> Path:
    return make_root(tmp_path, tiny_models)


def make_root(folder: Path, models: Path) -> Path:
    """A root with a family "tiny" and a manifest of 6 concepts in every language."""
    shutil.copytree(models, folder / "models")
    (folder / "data").mkdir()
    (folder / "data" / "families.toml").write_text(FAMILY)
    concepts = dict(list(load_concepts(REPOSITORY / "data" / "concept_probes.json").items())[:6])
    parallel = [
        {
            "stimulus_id": f"parallel_{lang}_{i}",
            "language": lang,
            "text": f"{c.translations[lang]} {i}",
            "meaning_id": i,
        }
        for i, c in ((str(i), c) for i, c in enumerate(concepts.values()))
        for lang in LANGUAGES
    ]
    manifest = {
        "metadata": {},
        "probes": [s.model_dump() for s in probe_sentences(concepts)],
        "parallel": parallel,
    }
    (folder / "data" / "stimulus_manifest.json").write_text(json.dumps(manifest, ensure_ascii=False))
    return folder
