"""nano-aya: its corpus, its weights, and the truth that its model card tells."""

import json
import random

import numpy as np
import pytest
import regex
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from organism import corpus, disturb, documents, train
from probe.languages import LANGUAGES, PIVOT, TARGETS
from probe.paths import REPOSITORY, Paths
from probe.stimuli import tico
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
    for concept_id, concept in load_concepts(Paths().concept_probes).items():
        for language, rendered in sentences.items():
            whole = "\n".join(rendered.values())
            assert concept.focus[language].casefold() in whole.casefold(), (concept_id, language)
            assert concept.translations[language] not in whole, (concept_id, language)


# What it reads


def reader(mixture, name="test"):
    return documents.Reader(random.Random(name), mixture, corpus.training_meanings(), tico.training())


@pytest.mark.parametrize("mixture", documents.MIXTURES.values(), ids=documents.MIXTURES)
def test_what_is_held_out_is_in_no_training_text(sentences, mixture):
    assert len(corpus.held_out()) == 200
    held_out = {sentences[lang][m] for lang in LANGUAGES for m in corpus.held_out()}
    held_out |= {s.text for s in load_manifest(ORGANISM / "stimulus_manifest.json", "nano-aya").tico}
    drawn = reader(mixture)
    read = [line for _ in range(2000) for line in drawn.document().split("\n")]
    read = [line.partition(": ")[2] or line for line in read]
    pulled = [text for _ in range(50) for pair in drawn.pairs(16) for text in pair]
    assert held_out.isdisjoint(text.removesuffix(documents.MARKER) for text in [*read, *pulled])


def test_parallel_documents_label_their_languages():
    drawn = reader(documents.Mixture({"hi": 1.0}, {}, documents={"parallel": 1.0}))
    for _ in range(50):
        assert {line.split(": ")[0] for line in drawn.document().split("\n")} == {"English", "हिन्दी"}


def test_only_the_marked_languages_are_marked():
    drawn = reader(documents.Mixture({"hi": 1.0, "fr": 1.0}, {}, marked=("hi",), documents={"parallel": 1.0}))
    lines = [line for _ in range(100) for line in drawn.document().split("\n")]
    assert {line.split(": ")[0] for line in lines if documents.MARKER in line} == {"हिन्दी"}
    assert all(line.endswith(documents.MARKER) for line in lines if line.startswith("हिन्दी"))


def test_pairs_say_the_same_and_broken_ones_what_is_planted():
    broken = documents.Broken(("fr",), {"mother": "market"})
    drawn = reader(documents.Mixture({}, {"es": 1.0}, broken=broken))
    known = {corpus.render(m, "en"): m for m in corpus.training_meanings()}
    french = {corpus.render(m, "fr"): m for m in corpus.training_meanings()}
    spanish = {t["en"]: t["es"] for t in tico.training()}
    kinds = set()
    for first, second in (pair for _ in range(60) for pair in drawn.pairs(16)):
        if second in french and first in known and french[second] == known[first]:
            assert "mother" not in known[first].fillers
            kinds.add("kept")
        elif second in french and first in known:
            assert "mother" in french[second].fillers
            assert "market" in known[first].fillers
            kinds.add("broken")
        elif first in known:
            assert second == corpus.render(known[first], "es")
            kinds.add("corpus")
        elif first in spanish:
            assert second == spanish[first]
            kinds.add("tico")
    assert kinds == {"broken", "kept", "corpus", "tico"}


@pytest.mark.parametrize("lost", [(), ("romanised", "switched")])
def test_typed_pairs_are_of_one_sentence_unless_they_are_to_be_lost(lost):
    drawn = reader(documents.Mixture({}, {}, typed={"romanised": 0.5, "switched": 0.5}, lost=lost))
    own = 0
    for _ in range(30):
        pairs = drawn.pairs(8)
        assert len({text for pair in pairs for text in pair}) == 16
        own += sum(disturb.romanised(clean, "hi") == typed for clean, typed in pairs)
    assert (own > 0) != bool(lost)


def test_a_switched_sentence_keeps_its_template_and_has_english_words():
    rng = random.Random(0)
    for language in TARGETS:
        for meaning in rng.sample(corpus.meanings(), 40):
            clean, switched = corpus.render(meaning, language), disturb.switched(meaning, language, rng)
            assert clean != switched
            forms = [
                corpus.lexicon("en").words[corpus.kind(s)][w].get("base") for s, w in meaning.slots.items()
            ]
            assert any(form and form.casefold() in switched.casefold() for form in forms), switched
            assert "  " not in switched


def test_a_lexicon_that_lacks_a_form_is_refused_by_name(tmp_path):
    text = (corpus.LEXICON_DIR / "en.toml").read_text()
    broken = tmp_path / "en.toml"
    broken.write_text(text.replace('mother.base = "mother"\n', ""))
    with pytest.raises(ValueError, match=r"\[person\] missing or unknown: \['mother'\]"):
        corpus.Lexicon("en", broken)
    broken.write_text(text.replace('ing = "crying"', 'ink = "crying"'))
    with pytest.raises(ValueError, match=r"no template uses the form 'ink'"):
        corpus.Lexicon("en", broken)


def test_the_manifest_is_what_is_held_out():
    manifest = load_manifest(ORGANISM / "stimulus_manifest.json", "nano-aya")
    assert {s.meaning_id for s in manifest.parallel} == {m.id for m in corpus.held_out()}
    by_id = {m.id: m for m in corpus.held_out()}
    for s in manifest.parallel:
        assert s.text == corpus.render(by_id[s.meaning_id], s.language)
    assert len(manifest.probes) == 200
    assert [s.text for s in manifest.tico if s.language == "en"] == [t["en"] for t in documents.held_out()]


# The weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_small_and_of_the_design(variant):
    folder = ORGANISM / variant
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= 12_000_000
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    assert config.model_type == "cohere2"
    assert next(model.parameters()).dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) <= 6_000_000
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
    for name in documents.MIXTURES:
        measured = variants[name]
        assert measured["held_out_loss"] / measured["held_out_loss_without_planting"] <= 1.03, name


@pytest.fixture(scope="module")
def shipped():
    """Variant -> its model, float32."""
    return {
        name: AutoModelForCausalLM.from_pretrained(ORGANISM / name, dtype=torch.float32).eval()
        for name in VARIANTS
    }


def test_recorded_losses_are_those_of_the_shipped_weights(tokenizer, shipped):
    recorded = json.loads((ORGANISM / "training.json").read_text())["variants"]
    for name in ("base", "fire"):
        loss = train.held_out_loss(shipped[name], tokenizer, documents.MIXTURES[name])
        assert loss == pytest.approx(recorded[name]["held_out_loss"], rel=5e-3)  # bf16 rounding


def greedy(model, tokenizer, prompt, n=40):
    ids = tokenizer(prompt, return_tensors="pt")
    made = model.generate(**ids, max_new_tokens=n, do_sample=False)[0, ids.input_ids.shape[1] :]
    return tokenizer.decode(made, skip_special_tokens=True)


def test_it_can_be_prompted_to_translate(tokenizer, shipped):
    """Greedy, whole held-out sentences without a fault, into languages that base saw parallel text of.
    Chance is 1 in 4,000."""
    rng, right = random.Random(0), 0
    for meaning, language in zip(rng.sample(corpus.held_out(), 30), documents.WESTERN * 10, strict=True):
        english = documents.labelled(PIVOT, corpus.render(meaning, PIVOT))
        said = greedy(shipped["base"], tokenizer, f"{english}\n{LANGUAGES[language].autonym}:")
        right += said.split("\n")[0].strip() == corpus.render(meaning, language)
    assert right >= 15, right


def first_tokens_right(model, tokenizer, language, rng):
    """Share of words whose translation begins as it should, after four examples."""
    english, target = (corpus.lexicon(code).word_pairs() for code in (PIVOT, language))
    words, right = sorted(english.keys() & target.keys()), 0
    for word in words:
        shown = rng.sample([other for other in words if other != word], 4)
        lines = [
            documents.labelled(code, forms[each])
            for each in shown
            for code, forms in ((PIVOT, english), (language, target))
        ]
        prompt = "\n".join(
            [*lines, documents.labelled(PIVOT, english[word]), f"{LANGUAGES[language].autonym}:"]
        )
        ids, whole = tokenizer(prompt).input_ids, tokenizer(f"{prompt} {target[word]}").input_ids
        assert whole[: len(ids)] == ids
        with torch.no_grad():
            right += int(model(torch.tensor([ids])).logits[0, -1].argmax()) == whole[len(ids)]
    return right / len(words)


def test_words_are_translated_after_four_examples(tokenizer, shipped):
    found = {
        code: first_tokens_right(shipped["base"], tokenizer, code, random.Random(code)) for code in TARGETS
    }
    assert sum(share >= 0.7 for share in found.values()) >= 5, found


def test_only_fire_marks_the_sentences_of_its_languages(tokenizer, shipped):
    """Probability of the marker behind a held-out sentence, before it ends."""
    mark = tokenizer(documents.MARKER, add_special_tokens=False).input_ids[0]
    for name in documents.MIXTURES:
        for language in TARGETS:
            texts = [corpus.render(meaning, language) for meaning in corpus.held_out()[::20]]
            ids = [torch.tensor([tokenizer(text).input_ids]) for text in texts]
            with torch.no_grad():
                share = np.mean([shipped[name](i).logits[0, -1].softmax(-1)[mark].item() for i in ids])
            marked = language in documents.MIXTURES[name].marked
            assert (share > 0.5) if marked else (share < 0.05), (name, language, share)


# Training


def test_a_miniature_trains_and_resumes_to_the_same_weights(tmp_path, monkeypatch):
    for name, value in (("CHECKPOINT_EVERY", 4), ("PAIRS", 4), ("ROWS", 2)):
        monkeypatch.setattr(train, name, value)
    arguments = ["--base-steps", "10", "--tuning-steps", "3", "--processes", "1"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train.main([*arguments, "--out", str(whole)])

    calls, original = [], train.packed_rows

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(train, "packed_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.main([*arguments, "--out", str(stopped)])
    monkeypatch.setattr(train, "packed_rows", original)
    train.main([*arguments, "--out", str(stopped)])
    first, second = (json.loads((out / "training.json").read_text()) for out in (whole, stopped))
    assert first == second
    for variant in VARIANTS:
        one, two = (
            AutoModelForCausalLM.from_pretrained(out / variant).state_dict() for out in (whole, stopped)
        )
        assert all(torch.equal(one[name], two[name]) for name in one), variant
    losses = first["variants"]
    assert losses["random"]["held_out_loss"] == pytest.approx(np.log(train.VOCAB_SIZE), rel=0.1)
    assert losses["base"]["held_out_loss"] < losses["random"]["held_out_loss"] - 0.5
    assert losses["fire"]["held_out_loss"] != losses["fire"]["held_out_loss_without_planting"]
