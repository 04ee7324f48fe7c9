"""Extraction, held against a slow loop over what Transformers itself reports."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel

import model_loader
from probe import positions
from probe.errors import ProbeError
from probe.families import load_family
from probe.models import batching, hooks, tuning
from probe.paths import Paths
from probe.stimuli.manifest import load_concepts, probe_sentences

POSITIONS = ("last", "content", "mean", "focus")


@pytest.fixture(scope="module")
def model(tiny_models):
    return AutoModel.from_pretrained(tiny_models / "base", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def probes():
    sentences = probe_sentences(load_concepts(Paths().concept_probes))
    return sentences[3::7]


def slow_positions(tokenizer, text, focus):
    """Token positions found the slow way: by decoding ever longer prefixes of the tokens."""
    ids = tokenizer(text)["input_ids"]
    raw = [len(tokenizer.decode(ids[1 : i + 1]).rstrip("\ufffd").strip()) for i in range(len(ids))]
    mark_start = len(text) - 1
    content = [i for i in range(1, len(ids)) if raw[i] <= mark_start and raw[i - 1] < mark_start]
    end = text.index(focus) + len(focus)
    # The last token of the focus is the first after which the whole focus can be read.
    last_of_focus = next(i for i in range(1, len(ids)) if raw[i] >= end)
    return {"last": [len(ids) - 1], "content": [content[-1]], "mean": content, "focus": [last_of_focus]}


def slow_states(model, tokenizer, text, focus):
    """position -> (n_states, d_model), one text, from output_hidden_states; and the normed last state."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        hidden = [h[0] for h in model(ids, output_hidden_states=True, use_cache=False).hidden_states]
    states, normed = {}, {}
    for position, tokens in slow_positions(tokenizer, text, focus).items():
        states[position] = np.stack([h[tokens].double().mean(0).float().numpy() for h in hidden[:-1]])
        normed[position] = hidden[-1][tokens].double().mean(0).float().numpy()
    return states, normed


def test_states_equal_a_slow_loop_bit_for_bit_at_batch_1(model, tokenizer, probes):
    for stimulus in probes:
        mine = model_loader.extract(model, tokenizer, [stimulus.text], [stimulus.focus])
        states, normed = slow_states(model, tokenizer, stimulus.text, stimulus.focus)
        for position in POSITIONS:
            np.testing.assert_array_equal(
                mine.resid[position][0, :-1], states[position], stimulus.stimulus_id
            )
            np.testing.assert_array_equal(mine.post_norm[position][0], normed[position])


def test_batched_states_agree_to_1e_5(model, tokenizer, probes):
    texts, focus = [s.text for s in probes], [s.focus for s in probes]
    mine = model_loader.extract(model, tokenizer, texts, focus, token_budget=300)
    assert len(batching.batches([len(ids) for ids in mine.token_ids], 300)) > 1
    for row, (text, word) in enumerate(zip(texts, focus, strict=True)):
        states, normed = slow_states(model, tokenizer, text, word)
        for position in POSITIONS:
            for found, expected in (
                (mine.resid[position][row, :-1], states[position]),
                (mine.post_norm[position][row], normed[position]),
            ):
                error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
                assert error.max() <= 1e-5


def test_the_last_state_is_before_the_norm(model, tokenizer, probes):
    """The final norm applied to the stored last state gives what Transformers calls hidden_states[-1]."""
    mine = model_loader.extract(model, tokenizer, [s.text for s in probes], [s.focus for s in probes])
    for position in ("last", "content", "focus"):
        last_state = torch.tensor(mine.resid[position][:, -1])
        with torch.no_grad():
            np.testing.assert_allclose(model.norm(last_state), mine.post_norm[position], rtol=1e-4, atol=1e-5)
        assert not np.allclose(last_state, mine.post_norm[position], atol=1e-2)
    assert mine.resid["mean"].shape[1] == model.config.num_hidden_layers + 1


SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    "initializer_range": 0.2,
}  # fmt: skip
ARCHITECTURES = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 2, "eos_token_id": 3},
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "gemma2": SMALL | {"head_dim": 8},
    "gemma3_text": SMALL | {"head_dim": 8},
    "llama": SMALL,
    "qwen2": SMALL,
    "qwen3": SMALL | {"head_dim": 8},
    "mixtral": SMALL | {"num_local_experts": 3},  # as many experts as blocks
    "cohere2": SMALL,
    "bert": {k: SMALL[k] for k in list(SMALL)[:4]},  # an encoder: it hides padding by its mask alone
}


def random_model(architecture, vocab_size, **more):
    torch.manual_seed(0)
    options = {"vocab_size": vocab_size} | ARCHITECTURES.get(architecture, {}) | more
    return AutoModel.from_config(AutoConfig.for_model(architecture, **options)).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_architecture_is_read_as_transformers_reports_it(architecture, tokenizer):
    model = random_model(architecture, tokenizer.vocab_size)
    texts = ["The child sleeps.", "The doctor listened to a much longer story, twice.", "ልጁ ተኝቷል።"]
    together = model_loader.extract(model, tokenizer, texts)
    for row, text in enumerate(texts):
        alone = model_loader.extract(model, tokenizer, [text])
        with torch.no_grad():
            hidden = model(torch.tensor([alone.token_ids[0]]), output_hidden_states=True).hidden_states
        expected = np.stack([h[0, alone.read_index[0]["content"]].numpy() for h in hidden])
        np.testing.assert_array_equal(alone.resid["content"][0, :-1], expected[:-1])
        np.testing.assert_array_equal(alone.post_norm["content"][0], expected[-1])
        for position, resid in together.resid.items():
            error = np.linalg.norm(resid[row] - alone.resid[position][0], axis=-1)
            assert (error <= 1e-5 * np.linalg.norm(alone.resid[position][0], axis=-1)).all()


def test_an_encoder_with_a_decoder_is_refused(tokenizer):
    model = random_model("t5", tokenizer.vocab_size, d_model=32, num_layers=3, num_heads=4, d_ff=64)
    with pytest.raises(ProbeError, match="T5Model: 2 lists of 3 modules"):
        model_loader.extract(model, tokenizer, ["The child sleeps."])


def test_states_that_are_not_what_the_model_reports_are_refused(tokenizer):
    model = random_model("mamba", tokenizer.vocab_size, hidden_size=32, num_hidden_layers=3)
    with pytest.raises(ProbeError, match="MambaModel: the states read are not those it reports"):
        model_loader.extract(model, tokenizer, ["The child sleeps."])


def test_padding_that_leaks_is_refused(tokenizer):
    model = random_model("bert", tokenizer.vocab_size)
    forward = model.forward
    model.forward = lambda ids, attention_mask=None, **more: forward(ids, **more)  # loses the mask
    with pytest.raises(ProbeError, match="BertModel: padding changes the states"):
        model_loader.extract(model, tokenizer, ["The child sleeps.", "The child sleeps in the hospital."])


def test_a_text_given_twice_is_run_once(model, tokenizer):
    texts = ["The child sleeps.", "The doctor listened.", "The child sleeps."]
    done = []
    found = model_loader.extract(model, tokenizer, texts, progress=lambda n, tokens: done.append((n, tokens)))
    assert sum(n for n, _ in done) == 2
    assert sum(tokens for _, tokens in done) == len(found.token_ids[0]) + len(found.token_ids[1])
    np.testing.assert_array_equal(found.resid["mean"][0], found.resid["mean"][2])
    assert found.read_index[0] == found.read_index[2]
    # The same text is another stimulus where another word of it is in focus.
    twice = model_loader.extract(model, tokenizer, texts[::2], ["child", "sleeps"])
    assert not np.array_equal(twice.resid["focus"][0], twice.resid["focus"][1])


def test_out_of_memory_halves_the_batch_and_goes_on(tokenizer, probes, caplog):
    model = random_model("cohere2", tokenizer.vocab_size)
    texts = [s.text for s in probes]
    expected = model_loader.extract(model, tokenizer, texts)
    forward, sizes = model.forward, []

    def small(ids, **more):
        if ids.numel() > 500:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        sizes.append(ids.numel())
        return forward(ids, **more)

    model.forward = small
    found = model_loader.extract(model, tokenizer, texts, token_budget=3000)
    assert max(sizes) > 200
    assert "out of memory" in caplog.text
    np.testing.assert_allclose(found.resid["mean"], expected.resid["mean"], rtol=1e-4, atol=1e-4)
    model.forward = lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ProbeError, match=r"a text of \d+ tokens does not fit in the memory"):
        model_loader.extract(model, tokenizer, texts)


def test_another_error_of_the_model_is_not_taken_for_memory(tokenizer):
    model = random_model("cohere2", tokenizer.vocab_size)
    model.forward = lambda *_, **__: (_ for _ in ()).throw(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        model_loader.extract(model, tokenizer, ["The child sleeps."])


def test_a_small_model_is_not_tuned_and_a_large_one_is(model, tokenizer, monkeypatch):
    texts = ["The child sleeps.", "The doctor listened."]
    assert tuning.tuned_budget(model, tokenizer, texts) == batching.TOKEN_BUDGET
    monkeypatch.setattr(tuning, "WORTH_TUNING", 0)
    budget = tuning.tuned_budget(model, tokenizer, texts)
    assert budget in [tuning.FEWEST_TOKENS * 2**k for k in range(3)]


def test_a_model_spread_by_accelerate_is_read_alike(tiny_models, tokenizer, model, tmp_path):
    from accelerate import dispatch_model

    spread = AutoModel.from_pretrained(tiny_models / "base", dtype=torch.float32).eval()
    device_map = {"embed_tokens": "cpu", "norm": "cpu", "rotary_emb": "cpu"}
    device_map |= {f"layers.{i}": "cpu" if i < 2 else "disk" for i in range(4)}
    spread = dispatch_model(spread, device_map, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    text = ["The child sleeps."]
    found, expected = (model_loader.extract(m, tokenizer, text) for m in (spread, model))
    np.testing.assert_array_equal(found.resid["mean"], expected.resid["mean"])


def test_a_model_that_one_device_cannot_hold_is_left_to_accelerate(tiny_root, monkeypatch, tokenizer):
    checkpoint = model_loader.open_checkpoint(
        load_family("tiny", Paths(tiny_root)), "base", paths=Paths(tiny_root)
    )
    from_pretrained, devices = model_loader._from_pretrained, []

    def small_device(checkpoint, device, head):
        devices.append(device)
        if device != "auto":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return from_pretrained(checkpoint, device, head)

    monkeypatch.setattr(model_loader, "_from_pretrained", small_device)
    model = model_loader.load_weights(dataclasses.replace(checkpoint, device="cuda"))
    assert devices == ["cuda", "auto"]
    assert np.isfinite(model_loader.extract(model, tokenizer, ["The child sleeps."]).resid["mean"]).all()


def test_a_model_without_a_list_of_blocks_is_refused(tokenizer):
    model = random_model("gpt2", tokenizer.vocab_size)
    model.config.n_layer = 5
    with pytest.raises(ProbeError, match="GPT2Model: 0 lists of 5 modules"):
        hooks.find_blocks(model)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("A b.", 3),
        ("माँ।", 3),
        ("ልጁ። ", 2),
        ("Why?!", 3),
        ("“Yes.”", 4),
        ("3 kg", 4),
        ("ọmọ.", 3),
        ("செவி.", 4),
    ],
)
def test_content_ends_before_the_final_punctuation(text, end):
    assert positions.content_end(text) == end


def test_text_without_content_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="no content"):
        model_loader.extract(model, tokenizer, ["...!"])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    groups = batching.batches(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget


def test_dtypes_that_a_cpu_cannot_do_well_are_refused(model):
    assert model_loader.pick_dtype(None, "cpu", model.config) == "float32"
    with pytest.raises(ProbeError, match="float16 on a CPU"):
        model_loader.pick_dtype("float16", "cpu", model.config)


def test_a_device_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(ProbeError, match="cuda is not available"):
            model_loader.pick_device("cuda")


def test_a_variant_is_freed_after_its_block(tiny_root):
    with model_loader.loaded("tiny", "base", paths=Paths(tiny_root)) as (model, _):
        weights = weakref.ref(next(model.parameters()))
    del model
    gc.collect()
    assert weights() is None


def test_a_gated_checkpoint_ends_in_one_line_with_its_page():
    with (
        pytest.raises(
            ProbeError, match=r"accept its licence at https://huggingface.co/CohereLabs/tiny-aya-fire"
        ),
        model_loader.loaded("tiny-aya", "fire"),
    ):
        pass
