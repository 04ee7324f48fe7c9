"""Stage 5: the last state is the model's own output, a planted switch is found, collisions are counted."""

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import logit_lens
import model_loader
from probe.errors import ProbeError
from probe.families import load_family
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.lens import summary
from probe.lens import vocabulary as words_of
from probe.lens.measure import Masses, measure_with
from probe.lens.prompts import SHOTS, SOURCE, SOURCE_FOR, Prompt, build_prompts
from probe.lens.text import read_text
from probe.models.head import find_head, lens_probabilities
from probe.models.hooks import find_blocks
from probe.paths import REPOSITORY, Paths
from probe.stats import resampling
from probe.stimuli.manifest import load_concepts, probe_sentences
from viz import lens as figure

N_LAYERS = 6
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4}
TEXTS = ("Mtoto anakula.", "माँ अस्पताल में है।", "The nurse gave the child some water this morning.")


def make(kind: str, vocab: int):
    """A random causal model whose final norm is no identity, so that one left out or doubled would show."""
    torch.manual_seed(7)
    llama_like = SHAPE | {"vocab_size": vocab, "num_key_value_heads": 2, "initializer_range": 0.2}
    if kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=vocab, n_embd=64, n_layer=N_LAYERS, n_head=4, initializer_range=0.2)
        )
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**llama_like))
    elif kind == "cohere2":
        kinds = ["sliding_attention", "full_attention"] * (N_LAYERS // 2)
        config = Cohere2Config(**llama_like, logit_scale=0.25, sliding_window=8, layer_types=kinds)
        model = Cohere2ForCausalLM(config)
    else:
        config = Gemma2Config(**llama_like, head_dim=16, final_logit_softcapping=5.0)
        model = Gemma2ForCausalLM(config)
    norm = model.transformer.ln_f if kind == "gpt2" else model.model.norm
    torch.nn.init.normal_(norm.weight, 1.0, 0.3)
    return model.eval(), norm


KINDS = ("gpt2", "llama", "cohere2", "gemma2")


@pytest.fixture(scope="module", params=KINDS)
def causal(request, tokenizer):
    return make(request.param, tokenizer.vocab_size)


@pytest.fixture(scope="module")
def probes():
    return probe_sentences(load_concepts(Paths().concept_probes))


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return words_of.read_vocabulary(tokenizer, tokenizer.vocab_size)


@pytest.fixture(scope="module")
def starts(vocabulary, probes):
    return words_of.first_tokens(vocabulary, words_of.focus_words(probes))


def read_all(model, tokenizer, texts=TEXTS) -> tuple[list, list[list[int]], np.ndarray]:
    """Every token of every text: the reads, the ids, and probabilities (n_reads, n_states, vocab)."""
    ids = tokenizer(list(texts))["input_ids"]
    reads = [(i, token) for i, of in enumerate(ids) for token in range(len(of))]
    head = find_head(model)
    found = np.full((len(reads), N_LAYERS + 1, head.unembed.weight.shape[0]), np.nan)
    for read, state, probabilities in lens_probabilities(model, head, ids, reads):
        assert np.isnan(found[read, state]).all()
        found[read, state] = probabilities.numpy()
    return reads, ids, found


# The lens itself


def test_the_last_state_is_the_models_own_softmax_and_all_sum_to_1(causal, tokenizer):
    model, _ = causal
    reads, ids, found = read_all(model, tokenizer)
    for row, (text, token) in enumerate(reads):
        with torch.no_grad():
            own = model(torch.tensor([ids[text]])).logits[0, token].double().softmax(-1).numpy()
        assert np.abs(found[row, -1] - own).max() <= 1e-5
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_every_state_equals_a_slow_loop_over_what_transformers_reports(causal, tokenizer):
    model, norm = causal
    reads, ids, found = read_all(model, tokenizer)
    config = model.config
    for text, of in enumerate(ids):
        with torch.no_grad():
            hidden = model(torch.tensor([of]), output_hidden_states=True).hidden_states
            # The last one that Transformers returns is normed already.
            logits = [model.lm_head(norm(h[0])) for h in hidden[:-1]] + [model.lm_head(hidden[-1][0])]
        expected = torch.stack(logits, 1).double() * (getattr(config, "logit_scale", None) or 1)
        if cap := getattr(config, "final_logit_softcapping", None):
            expected = torch.tanh(expected / cap) * cap
        rows = [row for row, (i, _) in enumerate(reads) if i == text]
        np.testing.assert_allclose(found[rows], expected.softmax(-1).numpy(), atol=1e-5)


def test_pieces_of_any_size_give_the_same(tokenizer, monkeypatch):
    model, _ = make("cohere2", tokenizer.vocab_size)
    whole = read_all(model, tokenizer)[2]
    monkeypatch.setattr("probe.models.head.LOGITS_AT_ONCE", 5 * tokenizer.vocab_size)
    np.testing.assert_allclose(read_all(model, tokenizer)[2], whole, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("switch", [2, 4, 5])
def test_a_planted_switch_of_language_is_found_at_its_block(causal, tokenizer, probes, vocabulary, switch):
    """Block 1 writes an English word's direction, block `switch` a Hindi word's, three times as long."""
    model, norm = causal
    word = words_of.focus_words(probes)["C10"]
    write = {1: (word["en"], 1.0), switch: (word["hi"], 3.0)}

    def writer(text: str, strength: float):
        token = sorted(vocabulary.starts(text), key=lambda i: -len(vocabulary.tokens[i]))[0]
        direction = model.lm_head.weight[token] * norm.weight
        length = 100 * strength  # far beyond what random blocks write

        def write(_module, _args, output):
            state = output[0] if isinstance(output, tuple) else output
            state = state + length * direction / direction.norm()
            return (state, *output[1:]) if isinstance(output, tuple) else state

        return write

    blocks = find_blocks(model)
    handles = [blocks[k - 1].register_forward_hook(writer(*what)) for k, what in write.items()]
    try:
        found = read_text(model, tokenizer, "The child drinks", {"C10": word})
    finally:
        for handle in handles:
            handle.remove()
    english, hindi = (found.p_lang[:, found.languages.index(language)] for language in ("en", "hi"))
    assert (english[1:switch] > hindi[1:switch]).all()
    assert abs(int((hindi > english).argmax()) - switch) <= 1
    assert (hindi[switch:] > english[switch:]).all()


def test_the_norm_is_found_among_decoys_and_by_what_it_does(tokenizer):
    model, norm = make("gpt2", tokenizer.vocab_size)
    model.transformer.norm = torch.nn.LayerNorm(64)  # never called
    assert find_head(model).norm is norm


def test_a_model_without_a_head_is_refused():
    bare = GPT2Model(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2))
    with pytest.raises(ProbeError, match="GPT2Model has no language-model head; load it with head=True"):
        find_head(bare)


def test_a_model_that_does_more_after_its_norm_is_refused(tokenizer):
    model, norm = make("llama", tokenizer.vocab_size)
    twice = torch.nn.Sequential(norm, torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    model.model.norm = twice  # still one module: it is the whole way, and right
    assert find_head(model).norm is twice
    head, forward = model.lm_head, model.forward
    model.forward = lambda *args, **kwargs: scaled(forward(*args, **kwargs))
    with pytest.raises(ProbeError, match="misses the model's own output"):
        find_head(model)
    model.forward = forward
    head.register_forward_pre_hook(lambda _module, args: (args[0] + 1,))
    with pytest.raises(ProbeError, match="no module leads from the last block to the unembedding"):
        find_head(model)


def scaled(output):
    output.logits = output.logits * 2
    return output


def test_mass_by_script_and_set_and_entropy_are_what_a_loop_gives(vocabulary, starts):
    sets = [starts["C01"]["hi"], starts["C01"]["fr"], frozenset()]
    probabilities = torch.rand(3, len(vocabulary.tokens), generator=torch.Generator().manual_seed(0))
    probabilities = torch.cat([probabilities / probabilities.sum(1, keepdim=True), torch.zeros(1, 2048)])
    probabilities[3, 5] = 1
    scripts, masses, entropy = measure_with(vocabulary, sets, "cpu")(probabilities)
    p = probabilities.double().numpy()
    for row in range(4):
        for column, script in enumerate(words_of.COLUMNS):
            of_script = [
                i for i, token in enumerate(vocabulary.tokens) if words_of.script_of(token) == script
            ]
            assert scripts[row, column] == pytest.approx(p[row, of_script].sum(), abs=1e-6)
        assert masses[row] == pytest.approx([p[row, sorted(one)].sum() for one in sets], abs=1e-6)
        assert entropy[row] == pytest.approx(-sum(x * np.log2(x) for x in p[row] if x > 0), abs=1e-4)
    assert entropy[3] == 0


# The vocabulary and its words


def test_the_bytes_of_a_texts_tokens_are_the_text(vocabulary, tokenizer, probes):
    for probe in probes:
        ids = tokenizer(probe.text, add_special_tokens=False)["input_ids"]
        assert b"".join(vocabulary.tokens[i] for i in ids).decode() == probe.text
    assert all(vocabulary.tokens[i] == b"" for i in tokenizer.all_special_ids)


def wrapped(names: list[str], decoder) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True))
    tokenizer.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_sentencepiece_tokens_and_rows_beyond_the_tokenizer():
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer = wrapped(["▁mère", "<0xE0>", "ire"], decoders.Sequence(steps))
    assert words_of.token_bytes(tokenizer, 5) == [" mère".encode(), b"\xe0", b"ire", b"", b""]


def test_a_tokenizer_of_another_make_is_refused():
    with pytest.raises(ProbeError, match="neither byte-level nor SentencePiece"):
        words_of.token_bytes(wrapped(["a", "##b"], decoders.WordPiece()), 2)


@pytest.mark.parametrize(
    ("token", "script"),
    [
        (" mère".encode(), "Latin"),
        ("ọ́".encode(), "Latin"),
        ("पा".encode(), "Devanagari"),
        ("पा".encode()[:5], "Devanagari"),  # the last letter lacks a byte: all it could be is Devanagari
        ("प".encode()[:2], "Devanagari"),
        (b" " + "ত".encode()[:2], "Bengali"),
        ("প".encode()[2:] + "া".encode(), "Bengali"),  # begins with the end of a letter
        ("ல்".encode(), "Tamil"),
        ("ታ".encode()[:2], "Ethiopic"),
        ("م".encode()[:1], "Arabic"),
        ("प".encode()[:1], words_of.NO_SCRIPT),  # Hindi, Bengali or Tamil
        ("प".encode()[1:], words_of.NO_SCRIPT),
        (b"", words_of.NO_SCRIPT),
        (b" 12.", words_of.NO_SCRIPT),
        ("。".encode(), words_of.NO_SCRIPT),
        ("水".encode(), words_of.OTHER),
        ("aप".encode(), words_of.OTHER),
    ],
)
def test_scripts_of_tokens(token, script):
    assert words_of.script_of(token) == script


def test_starts_are_what_a_slow_search_of_the_vocabulary_finds(vocabulary, starts, probes):
    words = words_of.focus_words(probes)
    for concept, language in random.Random(0).sample([(c, lang) for c in words for lang in LANGUAGES], 40):
        word = words[concept][language]
        slow = {
            i
            for i, token in enumerate(vocabulary.tokens)
            if words_of.script_of(token) != words_of.NO_SCRIPT
            and any(text.encode().startswith(token) for text in (word, " " + word))
        }
        assert starts[concept][language] == slow


def test_the_token_that_a_word_really_begins_with_is_a_start(vocabulary, starts, probes, tokenizer):
    words, found = words_of.focus_words(probes), 0
    for concept, of in words.items():
        for language, word in of.items():
            first = tokenizer(" " + word, add_special_tokens=False)["input_ids"][0]
            if words_of.script_of(vocabulary.tokens[first]) != words_of.NO_SCRIPT:
                assert first in starts[concept][language]
                found += 1
    assert found > 190


def test_collisions_are_counted_and_shared_tokens_left_out(starts):
    """In the vocabulary of nano-aya, as in any: French and English `infection` is one word."""
    assert starts["C19"]["en"] == starts["C19"]["fr"]
    assert not words_of.tell_apart(starts["C19"], ["en", "fr"])
    assert words_of.tell_apart(starts["C19"], ["en", "hi"])
    assert not words_of.tell_apart({"en": frozenset({1}), "hi": frozenset()}, ["en", "hi"])
    counted = words_of.count_collisions(starts)
    assert counted["en-fr"] == sum(bool(of["en"] & of["fr"]) for of in starts.values()) > 0
    assert "hi-ta" not in counted
    sets, share = words_of.exclusive_tokens(starts)
    tokens = [token for one in sets.values() for token in one]
    assert len(tokens) == len(set(tokens))
    union = {token for of in starts.values() for one in of.values() for token in one}
    assert share == pytest.approx(1 - len(tokens) / len(union))
    assert 0 < share < 0.5


# Prompts


def test_prompts_say_what_they_should_and_never_the_answer(probes):
    words, asked = words_of.focus_words(probes), build_prompts(probes)
    assert len({(prompt.stimulus_id, prompt.position) for prompt in asked}) == len(asked)
    by_text = {probe.stimulus_id: probe for probe in probes}
    for prompt in asked:
        if prompt.kind == "cloze":
            probe = by_text[prompt.stimulus_id]
            assert any(probe.text.startswith(prompt.text + gap + probe.focus) for gap in ("", " "))
        if prompt.kind == "translation":
            assert prompt.text.endswith(f"{LANGUAGES[prompt.language].autonym}:")
            # The answer is in none of the lines, nor is English where it is not the source.
            lines, answer = prompt.text.split("\n"), words[prompt.concept_id][prompt.language]
            assert f"{LANGUAGES[prompt.language].autonym}: {answer}" not in lines
            assert ("English" in prompt.text) == (prompt.source == PIVOT)
            assert len(lines) == 2 * (SHOTS + 1)
    translations = [prompt for prompt in asked if prompt.kind == "translation"]
    assert len(translations) == 20 * len(TARGETS) * 2
    openings = sum(probe.text.startswith(probe.focus) for probe in probes)
    assert sum(prompt.kind == "cloze" for prompt in asked) == 200 - openings


# Statistics


def planted(n_states=6, n=12, at=3, noise=0.02, seed=0) -> np.ndarray:
    """(n_states, n, n): from state `at` on, the right word of each prompt is likelier."""
    mass = np.random.default_rng(seed).uniform(0, noise, (n_states, n, n))
    mass[at:, np.arange(n), np.arange(n)] += 0.2
    return mass


def test_the_right_words_are_told_from_permuted_ones_where_they_are_planted():
    mass = planted()
    found = summary.against_permuted(mass)
    np.testing.assert_allclose(found["value"], [np.diag(m).mean() for m in mass])
    np.testing.assert_allclose(found["null"], mass.mean((1, 2)), atol=0.003)
    assert ((found["ci_low"] < found["value"]) & (found["value"] < found["ci_high"])).all()
    assert (found["p_max"][3:] == 1 / (resampling.N_RESAMPLES + 1)).all()
    assert summary.find_onset(found["p_max"]) == 3
    assert summary.find_onset(summary.against_permuted(planted(at=6))["p_max"]) is None


def test_onsets_tell_which_language_is_first():
    concepts = [f"C{i:02d}" for i in range(12)]
    starts = {
        c: {x: frozenset({i * 10 + j}) for j, x in enumerate(LANGUAGES)} for i, c in enumerate(concepts)
    }
    starts["C00"] = starts["C00"] | {"hi": starts["C00"]["en"]}  # collides, and must not count
    prompts = [Prompt(c, "translation", "last", c, "hi", "ar", "") for c in concepts]
    p_word = np.random.default_rng(1).uniform(0, 0.02, (12, 6, 12, 10))
    for language, at in (("en", 2), ("hi", 4)):
        p_word[range(1, 12), at:, range(1, 12), list(LANGUAGES).index(language)] += 0.3
        p_word[0, :, 0, list(LANGUAGES).index(language)] = 1
    found = Masses(prompts, starts, np.zeros((12, 6, 8)), p_word, np.zeros((12, 6)))
    table = summary.summarise("base", found)
    assert set(table.n) == {11}
    assert set(table.dropped) == {1}
    row = summary.find_onsets(table).iloc[0]
    assert (row.english_onset, row.target_onset, row["first"]) == (2, 4, "english")


@pytest.mark.parametrize(
    ("english", "target", "order"),
    [
        (None, None, None),
        (2, None, "english only"),
        (None, 0, "target only"),
        (3, 3, "together"),
        (1, 3, "english"),
        (3, 1, "target"),
    ],
)
def test_which_is_first(english, target, order):
    assert summary.name_first(english, target) == order


def test_significant_digits():
    rounded = summary.round_digits(np.array([0.0, 1.23456e-7, 0.99951, -12.345, np.nan]))
    np.testing.assert_allclose(rounded, [0, 1.23e-7, 1.0, -12.3, np.nan])


# The stage


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_models):
    """The stage on a random family of two variants and 6 concepts, once for all tests that read its files."""
    root = tmp_path_factory.mktemp("root")
    (root / "data").mkdir()
    tables = [f'[tiny.variants.{v}]\npath = "{tiny_models / v}"' for v in ("base", "fire")]
    head = '[tiny]\ndescription = "random; for tests"\ndefault_variants = ["base", "fire"]'
    (root / "data" / "families.toml").write_text("\n".join([head, *tables]))
    concepts = dict(list(load_concepts(Paths().concept_probes).items())[:6])
    manifest = {"metadata": {}, "probes": [s.model_dump() for s in probe_sentences(concepts)]}
    (root / "data" / "stimulus_manifest.json").write_text(json.dumps(manifest))
    assert logit_lens.main(["--family", "tiny", "--root", str(root)]) == 0
    return root


def outputs(root) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "results" / "tiny").iterdir()}


def test_the_same_run_writes_the_same_bytes(ran):
    first = outputs(ran)
    assert {"logit_lens.csv", "logit_lens_summary.csv", "logit_lens_onset.csv"} <= first.keys()
    assert logit_lens.main(["--family", "tiny", "--root", str(ran)]) == 0
    assert outputs(ran) == first


def test_the_summary_is_the_mean_of_the_rows_and_dropped_items_are_empty(ran, starts):
    rows = pd.read_csv(ran / "results" / "tiny" / "logit_lens.csv")
    columns = "variant stimulus_id position state language p_script p_lang entropy_bits".split()
    assert list(rows.columns) == columns
    assert rows[["p_script", "p_lang"]].stack().dropna().between(0, 1).all()
    assert rows.entropy_bits.between(0, 11).all()  # log2 of 2048 tokens
    table = pd.read_csv(ran / "results" / "tiny" / "logit_lens_summary.csv", keep_default_na=False)
    assert set(rows.state) == set(table.state) == set(range(5))
    concept = rows.stimulus_id.str.extract("(C[0-9]+)")[0]
    for source, target in (("ar", "fr"), ("en", "hi"), ("en", "es")):
        of = rows[rows.stimulus_id.str.fullmatch(f"translate_C[0-9]+_{source}_{target}")]
        compared = {target, source, PIVOT}
        kept = [c for c in concept[of.index].unique() if words_of.tell_apart(starts[c], compared)]
        assert set(concept[of.index][of.p_lang.notna()]) == set(kept)
        for language in compared:
            found = table.query("prompt == 'translation' and source == @source and target == @target")
            found = found[found.language == language].set_index(["variant", "state"]).sort_index()
            mean = of[of.language == language].groupby(["variant", "state"]).p_lang.mean()
            if len(kept) >= summary.MIN_ITEMS:
                assert set(found.n) == {len(kept)}
                assert set(found.dropped) == {6 - len(kept)}
                np.testing.assert_allclose(found["value"], mean, rtol=1e-2)
            else:
                assert found.empty


def test_provenance_counts_the_collisions(ran, starts):
    metadata = json.loads((ran / "results" / "tiny" / "logit_lens.meta.json").read_text())
    first = {concept: starts[concept] for concept in list(starts)[:6]}
    assert metadata["collisions"] == dict.fromkeys(("base", "fire"), words_of.count_collisions(first))


def test_a_manifest_without_probes_ends_in_one_line(tiny_root, capsys):
    path = tiny_root / "data" / "stimulus_manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"probes": []}))
    assert logit_lens.main(["--family", "tiny", "--root", str(tiny_root)]) == 1
    assert "has no probes" in capsys.readouterr().err


# The page's function


def test_live_readings_and_the_committed_examples_agree(tokenizer):
    path = REPOSITORY / "results" / "nano-aya" / "logit_lens_examples.json"
    examples = [e for e in json.loads(path.read_text())["examples"] if e["variant"] == "base"]
    kinds = {(e["kind"], e["language"], e["source"]) for e in examples}
    assert {("cloze", "sw", None), ("translation", "hi", "en"), ("translation", "fr", "ar")} <= kinds
    with model_loader.loaded("nano-aya", "base", head=True) as (model, tokenizer):
        for example in examples[::4]:
            found = read_text(model, tokenizer, example["text"])
            payload = json.loads(json.dumps(found.payload()))
            for language in LANGUAGES:
                np.testing.assert_allclose(
                    payload["p_lang"][language], example["p_lang"][language], rtol=0.02, atol=1e-6
                )
            np.testing.assert_allclose(found.p_script.sum(axis=1), 1, atol=1e-5)
            assert [state[0][0] for state in payload["top"]] == [state[0][0] for state in example["top"]]
            with torch.no_grad():
                own = model(torch.tensor([tokenizer(example["text"])["input_ids"]])).logits[0, -1].softmax(-1)
            assert found.tokens[-1][0][1] == pytest.approx(own.max().item(), abs=1e-5)


def test_a_text_that_is_too_long_or_empty_is_refused(tokenizer):
    model, _ = make("gpt2", tokenizer.vocab_size)
    model.config.max_position_embeddings = 8
    with pytest.raises(ProbeError, match="and the model reads 8 at most"):
        read_text(model, tokenizer, "water " * 20)
    with pytest.raises(ValueError, match="no content"):
        read_text(model, tokenizer, "...")


# What the committed results say of nano-aya


def test_nano_aya_reads_as_it_was_trained():
    """Base translates English into French, and nothing else of what it was not taught; nor does `random`."""
    table = pd.read_csv(REPOSITORY / "results/nano-aya/logit_lens_summary.csv", keep_default_na=False)
    translated = table.query("prompt == 'translation' and source == 'en' and language == target")
    last = translated[translated.state == 8].set_index(["variant", "target"])
    assert last.loc[("base", "fr"), "ci_low"] > 0.3
    assert last.loc[("base", ["hi", "bn", "am", "ta"]), "p_max"].min() > summary.ALPHA
    for variant in ("fire", "earth"):
        emphasised = load_family("nano-aya", Paths()).variants[variant].emphasises
        gained = last.loc[(variant, emphasised), "value"].to_numpy() - last.loc[("base", emphasised), "value"]
        assert (gained > 0).all()
    random_ = table[table.variant == "random"]
    assert random_.query("prompt == 'translation'")["value"].max() < 0.01
    size = (REPOSITORY / "results/nano-aya/logit_lens.csv").stat().st_size
    assert size <= 5_000_000


# The figure


def test_what_is_drawn_is_what_the_table_says():
    family = load_family("nano-aya", Paths())
    table = figure.load(Paths(), family, "base", "other")
    drawn = figure.draw(table, family, "base", "command")
    for ax, target in zip(drawn.axes, TARGETS, strict=True):
        source = SOURCE_FOR.get(target, SOURCE)
        lines = {str(line.get_label()): line for line in ax.get_lines()}
        for role, language in figure.roles(target, source).items():
            rows = table.query("target == @target").query(f"language == '{language}'")
            above = rows["value"].where(rows.p_max <= summary.ALPHA)
            np.testing.assert_allclose(lines[role].get_ydata(), above)
            if above.isna().any():
                rest = rows[above.isna()]
                np.testing.assert_array_equal(lines[f"blocked {role}"].get_xdata(), rest.state)
                np.testing.assert_allclose(lines[f"blocked {role}"].get_ydata(), rest["value"])
    assert figure.roles("hi", "en") == {"English": "en", "target": "hi"}


def test_a_damaged_table_ends_in_one_line(tmp_path, capsys):
    path = tmp_path / "results" / "nano-aya" / "logit_lens_summary.csv"
    path.parent.mkdir(parents=True)
    path.write_text((REPOSITORY / "results/nano-aya/logit_lens_summary.csv").read_text()[:-3])
    assert figure.main(["--family", "nano-aya", "--root", str(tmp_path)]) == 1
    assert "run: uv run logit_lens.py --family nano-aya" in capsys.readouterr().err
    assert not (tmp_path / "assets").exists()


def test_the_figure_of_another_variant_and_source_has_a_name_of_its_own(tmp_path):
    folder = tmp_path / "results" / "nano-aya"
    folder.mkdir(parents=True)
    (folder / "logit_lens_summary.csv").write_bytes(
        (REPOSITORY / "results/nano-aya/logit_lens_summary.csv").read_bytes()
    )
    asked = ["--family", "nano-aya", "--root", str(tmp_path), "--variants", "fire", "--source", "en"]
    assert figure.main(asked) == 0
    svg = (tmp_path / "assets" / "nano-aya" / "logit_lens_fire_from_en.svg").read_text()
    assert "uv run viz/lens.py --family nano-aya --variants fire --source en" in " ".join(svg.split())
