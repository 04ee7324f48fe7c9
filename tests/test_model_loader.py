"""Extraction, held against a slow loop over what Transformers itself reports."""

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, GPT2Config, GPT2Model

import model_loader
from probe.errors import ProbeError
from probe.paths import Paths
from probe.stimuli import load_concepts, probe_sentences

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
    assert len(model_loader.batches([len(ids) for ids in mine.token_ids], 300)) > 1
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


def test_other_sentences_in_the_batch_do_not_leak(model, tokenizer):
    alone = model_loader.extract(model, tokenizer, ["The child sleeps."])
    beside = model_loader.extract(
        model, tokenizer, ["The child sleeps.", "A much longer sentence " * 8 + "."]
    )
    np.testing.assert_allclose(alone.resid["mean"][0], beside.resid["mean"][0], rtol=1e-4, atol=1e-5)


def test_blocks_under_another_name_are_found(tokenizer):
    torch.manual_seed(0)
    gpt2 = GPT2Model(GPT2Config(vocab_size=tokenizer.vocab_size, n_embd=16, n_layer=3, n_head=2)).eval()
    text = "The doctor listened."
    mine = model_loader.extract(gpt2, tokenizer, [text])
    with torch.no_grad():
        hidden = gpt2(torch.tensor([mine.token_ids[0]]), output_hidden_states=True).hidden_states
    expected = np.stack([h[0, -1].numpy() for h in hidden[:-1]])
    np.testing.assert_array_equal(mine.resid["last"][0, :-1], expected)


def test_a_model_without_a_list_of_blocks_is_refused(tokenizer):
    gpt2 = GPT2Model(GPT2Config(vocab_size=64, n_embd=16, n_layer=3, n_head=2))
    gpt2.config.n_layer = 5
    with pytest.raises(ProbeError, match="GPT2Model: 0 lists of 5 modules"):
        model_loader.find_blocks(gpt2)


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
    assert model_loader.content_end(text) == end


def test_text_without_content_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="no content"):
        model_loader.extract(model, tokenizer, ["...!"])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    groups = model_loader.batches(lengths, budget)
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
