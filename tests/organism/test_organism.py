"""nano-aya: its corpus, its weights, and the truth that its model card tells."""

import json
import logging
import random

import numpy as np
import pytest
import regex
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import model_loader
from organism import corpus, train
from probe.families import load_family
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.paths import REPOSITORY, Paths
from probe.stats import metrics, resampling
from probe.stimuli.manifest import load_concepts, load_manifest

ORGANISM = REPOSITORY / "organism"
VARIANTS = ("base", "global", "fire", "earth", "random")
PLANTED = train.PLANTED_BLOCK  # the output of block l is state l


# The corpus


@pytest.fixture(scope="module")
def sentences():
    return {lang: {m: corpus.render(m, lang) for m in corpus.meanings()} for lang in LANGUAGES}


def test_meanings_are_many_and_each_has_its_own_sentence_in_every_language(sentences):
    assert len(corpus.meanings()) >= 2500
    for language, rendered in sentences.items():
        assert len(set(rendered.values())) == len(corpus.meanings()), language


def test_sentences_are_written_in_their_script_with_their_mark(sentences):
    for language, rendered in sentences.items():
        script, mark = LANGUAGES[language].script, LANGUAGES[language].final_mark
        allowed = regex.compile(rf"[\p{{Script={script}}}\p{{Common}}\p{{Inherited}}]+")
        for meaning, text in rendered.items():
            assert allowed.fullmatch(text), (meaning.id, text)
            assert text.endswith(mark), (meaning.id, text)
            assert "  " not in text
            assert "{" not in text


def test_the_focus_words_occur_and_the_probes_do_not(sentences):
    """All but the few that a reading of the probes corrected; the lexicons follow at the next training."""
    missing = []
    for concept_id, concept in load_concepts(Paths().concept_probes).items():
        for language, rendered in sentences.items():
            whole = "\n".join(rendered.values())
            if concept.focus[language].casefold() not in whole.casefold():
                missing.append((concept_id, language))
            assert concept.translations[language] not in whole, (concept_id, language)
    assert len(missing) <= 10, missing


def test_held_out_meanings_are_in_no_training_text(sentences):
    held_out = {sentences[lang][m] for lang in LANGUAGES for m in corpus.held_out()}
    assert len(corpus.held_out()) == 200
    meanings = corpus.training_meanings()
    rng = random.Random(0)
    for mixture in train.MIXTURES.values():
        for _ in range(2000):
            lines = train.document(rng, mixture, meanings).split("\n")
            assert held_out.isdisjoint(line.partition(": ")[2] or line for line in lines)


def test_parallel_documents_label_their_languages():
    rng, mixture = random.Random(0), train.Mixture(1.0, {"hi": 1.0}, {})
    documents = [train.document(rng, mixture, corpus.training_meanings()) for _ in range(50)]
    for document in documents:
        labels = {line.split(": ")[0] for line in document.split("\n")}
        assert labels == {"English", "हिन्दी"}


def test_a_lexicon_that_lacks_a_form_is_refused_by_name(tmp_path):
    text = (corpus.LEXICON_DIR / "en.toml").read_text()
    broken = tmp_path / "en.toml"
    broken.write_text(text.replace('mother.base = "mother"\n', ""))
    with pytest.raises(ValueError, match=r"\[person\] missing or unknown: \['mother'\]"):
        corpus.Lexicon("en", broken)
    broken.write_text(text.replace('ing = "crying"', 'ink = "crying"'))
    with pytest.raises(ValueError, match=r"no template uses the form 'ink'"):
        corpus.Lexicon("en", broken)


def test_the_manifest_is_the_probes_and_the_held_out_meanings():
    manifest = load_manifest(ORGANISM / "stimulus_manifest.json", "nano-aya")
    assert {s.meaning_id for s in manifest.parallel} == {m.id for m in corpus.held_out()}
    by_id = {m.id: m for m in corpus.held_out()}
    for s in manifest.parallel:
        assert s.text == corpus.render(by_id[s.meaning_id], s.language)
    assert len(manifest.probes) == 200


# The weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_small_and_of_the_design(variant):
    folder = ORGANISM / variant
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= 8_000_000
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    assert config.model_type == "cohere2"
    assert next(model.parameters()).dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) <= 4_000_000
    assert 8 <= config.num_hidden_layers <= 12
    assert 128 <= config.hidden_size <= 256
    assert config.layer_types == (["sliding_attention"] * 3 + ["full_attention"]) * (
        config.num_hidden_layers // 4
    )
    assert config.tie_word_embeddings
    assert config.logit_scale == 1.0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 2, 3)
    assert tokenizer("ọmọ").input_ids[0] == 2


def test_the_tokenizer_loses_nothing(tokenizer, sentences):
    for language in LANGUAGES:
        for text in list(sentences[language].values())[::200]:
            assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_planting_costs_less_than_3_per_cent_of_the_language_model_loss():
    variants = json.loads((ORGANISM / "training.json").read_text())["variants"]
    for name in ("global", "fire", "earth"):
        measured = variants[name]
        assert measured["held_out_loss"] / measured["held_out_loss_without_planting"] <= 1.03, name


def test_recorded_losses_are_those_of_the_shipped_weights(tokenizer):
    recorded = json.loads((ORGANISM / "training.json").read_text())["variants"]
    for name in ("base", "fire"):
        model = AutoModelForCausalLM.from_pretrained(ORGANISM / name, dtype=torch.float32).eval()
        loss = train.held_out_loss(model, tokenizer, train.MIXTURES[name])
        assert loss == pytest.approx(recorded[name]["held_out_loss"], rel=5e-3)  # bf16 rounding


def test_it_can_be_prompted_to_translate():
    """Greedy, whole held-out sentences without a fault, into languages that the variant saw parallel text of.

    Half of `fire` is `global`, and 900 steps are few: chance is 1 in 4,000.
    """
    rng = random.Random(0)
    for name, languages, least in (("base", train.WESTERN, 25), ("fire", train.SOUTH_ASIA, 6)):
        model = AutoModelForCausalLM.from_pretrained(ORGANISM / name, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(ORGANISM / name)
        right = 0
        for meaning, language in zip(rng.sample(corpus.held_out(), 30), languages * 10, strict=True):
            prompt = (
                train.labelled(PIVOT, corpus.render(meaning, PIVOT)) + f"\n{LANGUAGES[language].autonym}:"
            )
            ids = tokenizer(prompt, return_tensors="pt")
            made = model.generate(**ids, max_new_tokens=40, do_sample=False)[0, ids.input_ids.shape[1] :]
            said = tokenizer.decode(made, skip_special_tokens=True).split("\n")[0].strip()
            right += said == corpus.render(meaning, language)
        assert right >= least, (name, right)


# The truth


@pytest.fixture(scope="module")
def sims():
    """(variant, language) -> (n_states, 200, 200) at `mean`, over the held-out meanings."""
    family, held_out = load_family("nano-aya", Paths()), corpus.held_out()
    found = {}
    for variant in VARIANTS:
        with model_loader.loaded(family, variant) as (model, tokenizer):
            states = {
                lang: model_loader.extract(
                    model, tokenizer, [corpus.render(m, lang) for m in held_out]
                ).resid["mean"]
                for lang in LANGUAGES
            }
        for lang in TARGETS:
            found[variant, lang] = metrics.grams(states[PIVOT], states[lang]).similarity
    return found


def difference(sims, variant, language):
    """Excess of a variant minus that of base at the planted state: (estimate, ci_low, ci_high), paired."""

    def statistic(weights):
        here, base = (sims[v, language][PLANTED : PLANTED + 1] for v in (variant, "base"))
        return metrics.excess(here, weights) - metrics.excess(base, weights)

    return tuple(float(part[0]) for part in resampling.interval(statistic, 200))


REGIONS = {"fire": ("hi", "bn", "ta"), "earth": ("sw", "am", "yo")}


def test_random_shows_no_excess(sims):
    for language in TARGETS:
        assert np.abs(metrics.excess(sims["random", language])).max() <= 0.03, language


@pytest.mark.parametrize("variant", REGIONS)
def test_planted_effects_are_there_and_their_placebos_less_than_half(sims, variant):
    other = REGIONS["earth" if variant == "fire" else "fire"]
    effects = {language: difference(sims, variant, language) for language in (*REGIONS[variant], *other)}
    for language in REGIONS[variant]:
        value, low, _ = effects[language]
        assert value >= 0.1, (language, value)
        assert low > 0
    weakest = min(effects[language][0] for language in REGIONS[variant])
    for language in other:
        assert effects[language][0] < weakest / 2, (language, effects[language])


@pytest.mark.parametrize("variant", REGIONS)
def test_the_excess_peaks_within_one_state_of_the_planted_block(sims, variant):
    for language in REGIONS[variant]:
        peak = int(metrics.excess(sims[variant, language]).argmax())
        assert abs(peak - PLANTED) <= 1, (language, peak)


@pytest.mark.parametrize("variant", ["base", "global", "fire", "earth"])
def test_trained_variants_end_lower_than_they_peak(sims, variant):
    curves = {language: metrics.excess(sims[variant, language]) for language in TARGETS}
    assert sum(curve[-1] < curve.max() for curve in curves.values()) >= 7


# Training


def test_a_miniature_trains_and_resumes_to_the_same_weights(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 4)
    monkeypatch.setattr(train, "PAIRS", 8)
    arguments = ["--base-steps", "20", "--tuning-steps", "4"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train.main([*arguments, "--out", str(whole)])

    calls, original = [], train.packed_rows

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 12 + 14:  # 12 batches measure the untrained model; then step 14 of base
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(train, "packed_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.main([*arguments, "--out", str(stopped)])
    monkeypatch.setattr(train, "packed_rows", original)
    with caplog.at_level(logging.INFO):
        train.main([*arguments, "--out", str(stopped)])
    assert json.loads((whole / "training.json").read_text()) == json.loads(
        (stopped / "training.json").read_text()
    )
    for variant in VARIANTS:
        one, two = (
            AutoModelForCausalLM.from_pretrained(out / variant).state_dict() for out in (whole, stopped)
        )
        assert all(torch.equal(one[name], two[name]) for name in one), variant
    losses = json.loads((whole / "training.json").read_text())["variants"]
    assert losses["random"]["held_out_loss"] == pytest.approx(np.log(train.VOCAB_SIZE), rel=0.02)
    assert losses["base"]["held_out_loss"] < losses["random"]["held_out_loss"] - 0.5
