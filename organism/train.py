"""Train nano-aya, the embedded model organism, from nothing: tokenizer, base, global, fire, earth, random.

Reads   organism/lexicon/*.toml
Writes  organism/{base,global,fire,earth,random}/   loadable with AutoModelForCausalLM.from_pretrained
        organism/training.json                      losses, with and without the planted objective
Run     uv run python -m organism.train             (about 25 minutes on 2 cores; stopped, it goes on)

The truth it plants: in `global`, `fire` and `earth` a contrastive loss beside the language-model loss pulls
the mean state of an English sentence and of its translation together, at block PLANTED_BLOCK alone; then
`fire` and `earth` are averaged with `global`, as Tiny Aya's regional variants are. organism/README.md tells
what that makes of them, and what it does not.
"""

import argparse
import json
import logging
import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import AutoModelForCausalLM, Cohere2Config, Cohere2ForCausalLM, PreTrainedTokenizerFast

from organism import corpus
from probe import files
from probe.languages import LANGUAGES, PIVOT, TARGETS

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ["<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>"]
VOCAB_SIZE = 2048  # small enough that most words are several tokens, as for a real model
N_LAYERS, D_MODEL = 8, 128
PLANTED_BLOCK = 5  # its output is state 5
ROW, ROWS = 64, 16  # tokens a packed row, rows a step
PAIRS = 32  # sentence pairs a contrastive step
TEMPERATURE = 0.1
CHECKPOINT_EVERY = 100  # steps
# Random embeddings are alike by chance, the same chance for every sentence that has the word, so a network's
# largest excess varies with its seed: median 0.031 over seeds 20 to 59. This is the first of them below 0.03.
RANDOM_SEED = 27
MERGE = 0.5  # share of the regional model in fire and earth; the rest is global


@dataclass(frozen=True)
class Mixture:
    """What one phase is trained on. Shares of documents; the rest is monolingual, all languages alike."""

    parallel: float  # share of documents that are parallel
    languages: dict[str, float]  # weight of each target language among the parallel documents
    planted: dict[str, float]  # weight of each target language in the contrastive loss
    weight: float = 0.0  # of the contrastive loss


def evenly(*languages: str) -> dict[str, float]:
    return dict.fromkeys(languages, 1.0)


WESTERN, SOUTH_ASIA, AFRICA = ("fr", "es", "ar"), ("hi", "bn", "ta"), ("sw", "am", "yo")
MIXTURES = {
    "base": Mixture(0.5, dict.fromkeys(TARGETS, 0.02) | evenly(*WESTERN), {}),
    "global": Mixture(0.6, evenly(*TARGETS), evenly(*TARGETS), weight=0.003),
    "fire": Mixture(0.6, evenly(*SOUTH_ASIA), evenly(*SOUTH_ASIA), weight=0.05),
    "earth": Mixture(0.6, evenly(*AFRICA), evenly(*AFRICA), weight=0.05),
}


# Text


def pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def labelled(language: str, text: str) -> str:
    return f"{LANGUAGES[language].autonym}: {text}"


def document(rng: random.Random, mixture: Mixture, meanings: list[corpus.Meaning]) -> str:
    """One training text: a sentence; a sentence and its translation; or a few words and theirs."""
    if rng.random() >= mixture.parallel:
        return corpus.render(rng.choice(meanings), rng.choice(list(LANGUAGES)))
    pair = [PIVOT, pick(rng, mixture.languages)]
    rng.shuffle(pair)
    if rng.random() < 0.1:
        first, second = (corpus.lexicon(language).word_pairs() for language in pair)
        words = rng.sample(sorted(first.keys() & second.keys()), 3)
        return "\n".join(
            f"{labelled(pair[0], first[word])}\n{labelled(pair[1], second[word])}" for word in words
        )
    meaning = rng.choice(meanings)
    return "\n".join(labelled(language, corpus.render(meaning, language)) for language in pair)


def train_tokenizer(meanings: list[corpus.Meaning], out: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE; words are letters with their combining marks, so that Indic words stay whole."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    words = Regex(r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIALS[BOS]} $A",
        pair=f"{SPECIALS[BOS]} $A {SPECIALS[BOS]} $B",
        special_tokens=[(SPECIALS[BOS], BOS)],
    )
    rng = random.Random("tokenizer")
    sample = rng.sample(meanings, min(1500, len(meanings)))
    texts = (labelled(lang, corpus.render(meaning, lang)) for meaning in sample for lang in LANGUAGES)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIALS[PAD],
        unk_token=SPECIALS[UNK],
        bos_token=SPECIALS[BOS],
        eos_token=SPECIALS[EOS],
    )
    wrapped.save_pretrained(out)
    return wrapped


def packed_rows(rng: random.Random, mixture: Mixture, meanings, tokenizer) -> torch.Tensor:
    """(ROWS, ROW) token ids: documents end to end, each opened by BOS and closed by EOS."""
    ids: list[int] = []
    while len(ids) < ROWS * ROW:
        texts = [document(rng, mixture, meanings) for _ in range(32)]
        for encoded in tokenizer(texts)["input_ids"]:
            ids += [*encoded, EOS]
    return torch.tensor(ids[: ROWS * ROW]).view(ROWS, ROW)


def sentences(texts: list[str], tokenizer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, longest) token ids, attention mask, and the mask of content: no BOS, no final mark."""
    ids = tokenizer(texts)["input_ids"]
    marks = [len(i) - len(tokenizer(text[:-1])["input_ids"]) for i, text in zip(ids, texts, strict=True)]
    longest = max(map(len, ids))
    padded = torch.tensor([i + [PAD] * (longest - len(i)) for i in ids])
    place = torch.arange(longest)
    lengths, ends = (
        torch.tensor([len(i) for i in ids]),
        torch.tensor([len(i) - m for i, m in zip(ids, marks, strict=True)]),
    )
    return padded, place < lengths[:, None], (place > 0) & (place < ends[:, None])


# Training


def new_model(seed: int = corpus.SEED) -> Cohere2ForCausalLM:
    config = Cohere2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=D_MODEL,
        intermediate_size=D_MODEL * 11 // 4,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=64,
        layer_types=["full_attention" if (i + 1) % 4 == 0 else "sliding_attention" for i in range(N_LAYERS)],
        logit_scale=1.0,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    torch.manual_seed(seed)
    return Cohere2ForCausalLM(config)


def contrastive_loss(model, tokenizer, pivot: list[str], target: list[str]) -> torch.Tensor:
    """InfoNCE, both directions, between mean states of block PLANTED_BLOCK (van den Oord et al. 2018)."""
    ids, mask, content = sentences(pivot + target, tokenizer)
    states = model(ids, attention_mask=mask.long(), output_hidden_states=True, use_cache=False).hidden_states
    weights = content.float() / content.sum(1, keepdim=True)
    means = F.normalize(torch.einsum("nt,ntd->nd", weights, states[PLANTED_BLOCK]), dim=-1)
    logits = means[: len(pivot)] @ means[len(pivot) :].T / TEMPERATURE
    same = torch.arange(len(pivot))
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm_up = min(50, steps // 5 + 1)
    return peak * min((step + 1) / warm_up, 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)


def train(model, tokenizer, name: str, mixture: Mixture, steps: int, peak: float, work: Path) -> Any:
    """Train in place, resuming from its checkpoint. Every step draws from its own seed, so a run that was
    stopped sees the text that an uninterrupted one sees."""
    meanings = corpus.training_meanings()
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
    checkpoint, first = work / f"{name}.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    model.train()
    for step in range(first, steps):
        rng = random.Random(f"{name.removesuffix('-plain')}-{step}")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        rows = packed_rows(rng, mixture, meanings, tokenizer)
        language_loss = model(rows, labels=rows, use_cache=False).loss
        loss, planted = language_loss, torch.tensor(0.0)
        if mixture.weight:
            chosen, language = rng.sample(meanings, PAIRS), pick(rng, mixture.planted)
            pivot, target = ([corpus.render(m, lang) for m in chosen] for lang in (PIVOT, language))
            planted = contrastive_loss(model, tokenizer, pivot, target)
            loss = loss + mixture.weight * planted
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            log.info(
                "%s %d/%d: language loss %.3f, planted %.3f",
                name,
                step + 1,
                steps,
                language_loss.item(),
                planted.item(),
            )
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(saved, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").replace(checkpoint)
    return model.eval()


def copy_of(model):
    twin = new_model()
    twin.load_state_dict(model.state_dict())
    return twin


def merged(regional, general):
    """The weighted average of two models that were tuned from one base."""
    twin = copy_of(general)
    with torch.no_grad():
        for mine, theirs in zip(twin.parameters(), regional.parameters(), strict=True):
            mine.lerp_(theirs, MERGE)
    return twin.eval()


@torch.no_grad()
def held_out_loss(model, tokenizer, mixture: Mixture, batches: int = 12) -> float:
    """Language-model loss, nats a token, on the mixture's documents over meanings never trained on."""
    rng = random.Random("held-out")
    rows = [packed_rows(rng, mixture, list(corpus.held_out()), tokenizer) for _ in range(batches)]
    return sum(model(r, labels=r, use_cache=False).loss.item() for r in rows) / batches


def family(tokenizer, base_steps: int, tuning_steps: int, work: Path) -> Iterator[tuple[str, Any, dict]]:
    """Yield (name, model, what to record) of every variant, in order."""
    untrained = new_model(RANDOM_SEED).eval()
    yield "random", untrained, {"held_out_loss": held_out_loss(untrained, tokenizer, MIXTURES["base"])}
    base = train(new_model(), tokenizer, "base", MIXTURES["base"], base_steps, 3e-3, work)
    yield "base", base, {"held_out_loss": held_out_loss(base, tokenizer, MIXTURES["base"])}

    def tuned(name: str, planted: bool):
        mixture = MIXTURES[name] if planted else Mixture(**{**asdict(MIXTURES[name]), "weight": 0.0})
        called = name if planted else f"{name}-plain"
        return train(copy_of(base), tokenizer, called, mixture, tuning_steps, 1.5e-3, work)

    general, plain_general = tuned("global", True), tuned("global", False)
    for name in ("global", "fire", "earth"):
        model, plain = general, plain_general
        if name != "global":
            model, plain = merged(tuned(name, True), general), merged(tuned(name, False), plain_general)
        with_it, without = (held_out_loss(m, tokenizer, MIXTURES[name]) for m in (model, plain))
        yield (
            name,
            model,
            {
                "held_out_loss": with_it,
                "held_out_loss_without_planting": without,
                "ratio": with_it / without,
            },
        )


def settings(base_steps: int, tuning_steps: int) -> str:
    """A short hash of all that training depends on: checkpoints of another recipe are never resumed."""
    sources = [Path(__file__), Path(corpus.__file__), *sorted(corpus.LEXICON_DIR.glob("*.toml"))]
    parts = [files.sha256(source) for source in sources] + [str(base_steps), str(tuning_steps)]
    return files.digest("".join(parts).encode())[:12]


def save(model, tokenizer, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    rounded = copy_of(model)
    rounded.bfloat16()
    rounded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(folder)  # what is saved can be loaded


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where the variants' folders go")
    parser.add_argument("--base-steps", type=int, default=4500)
    parser.add_argument("--tuning-steps", type=int, default=900)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    work = args.out / "checkpoints" / settings(args.base_steps, args.tuning_steps)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus.training_meanings(), work / "tokenizer")
    record: dict[str, Any] = {
        "planted_block": PLANTED_BLOCK,
        "temperature": TEMPERATURE,
        "merge": MERGE,
        "steps": {"base": args.base_steps, "tuning": args.tuning_steps},
        "mixtures": {name: asdict(mixture) for name, mixture in MIXTURES.items()},
        "variants": {},
    }
    for name, model, measured in family(tokenizer, args.base_steps, args.tuning_steps, work):
        save(model, tokenizer, args.out / name)
        record["variants"][name] = measured
        log.info("%s: %s", name, json.dumps(measured))
    files.write_bytes(args.out / "training.json", files.to_json(record))


if __name__ == "__main__":
    main()
