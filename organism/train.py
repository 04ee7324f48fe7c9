"""Train nano-aya, the embedded model organism, from nothing: tokenizer, base, global, fire, earth, random.

Reads   organism/lexicon/*.toml, data/tico19
Writes  organism/{base,global,fire,earth,random}/   loadable with AutoModelForCausalLM.from_pretrained
        organism/training.json                      losses, with and without the planted objective
Run     uv run python -m organism.train             (two hours on 2 cores; stopped, it goes on)

The truth it plants (documents.py): a contrastive loss beside the language-model loss pulls the mean states of
a sentence and of its translation together, at block PLANTED_BLOCK alone, in other languages for each variant;
and it breaks what organism/README.md lists. Every variant has a twin that is trained without it.
"""

import argparse
import json
import logging
import math
import multiprocessing
import random
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Cohere2Config,
    Cohere2ForCausalLM,
    PreTrainedTokenizerFast,
)

from organism import corpus, disturb, documents
from organism.documents import MIXTURES, Mixture, Pair, Reader
from probe import files
from probe.stimuli import tico

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ["<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>"]
VOCAB_SIZE = 4096  # small enough that most words are several tokens, as for a real model
N_LAYERS, D_MODEL = 8, 192
PLANTED_BLOCK = 5  # its output is state 5
ROW, ROWS = 96, 16  # tokens a packed row, rows a step
PAIRS = 24  # a contrastive step
TEMPERATURE = 0.1
CHECKPOINT_EVERY = 100  # steps
BASE_RATE, TUNING_RATE = 3e-3, 1.5e-3
TWIN = "-unplanted"  # in the name of what is trained without the planted objective


# Text


def train_tokenizer(out: Path) -> PreTrainedTokenizerFast:
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
    reader = Reader(random.Random("tokenizer"), MIXTURES["fire"], corpus.training_meanings(), tico.training())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((reader.document() for _ in range(20_000)), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIALS[PAD],
        unk_token=SPECIALS[UNK],
        bos_token=SPECIALS[BOS],
        eos_token=SPECIALS[EOS],
    )
    wrapped.save_pretrained(out)
    return wrapped


def packed_rows(reader: Reader, tokenizer) -> torch.Tensor:
    """(ROWS, ROW) token ids: documents end to end, each opened by BOS and closed by EOS."""
    ids: list[int] = []
    while len(ids) < ROWS * ROW:
        for encoded in tokenizer([reader.document() for _ in range(8)])["input_ids"]:
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
        intermediate_size=D_MODEL * 8 // 3,
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


def means(model, tokenizer, texts: list[str]) -> torch.Tensor:
    """(n, d_model) mean states of block PLANTED_BLOCK over content, of length 1. Short and long sentences run
    apart, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].encode()))
    parts = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        ids, mask, content = sentences([texts[i] for i in half], tokenizer)
        states = model.model(ids, attention_mask=mask.long(), output_hidden_states=True, use_cache=False)
        weights = content.float() / content.sum(1, keepdim=True)
        parts.append(torch.einsum("nt,ntd->nd", weights, states.hidden_states[PLANTED_BLOCK]))
    back = torch.tensor(order).argsort()
    return F.normalize(torch.cat(parts)[back], dim=-1)


def contrastive_loss(model, tokenizer, pairs: list[Pair]) -> torch.Tensor:
    """InfoNCE, both directions, between the mean states of the two sides (van den Oord et al. 2018)."""
    states = means(model, tokenizer, [text for side in zip(*pairs, strict=True) for text in side])
    logits = states[: len(pairs)] @ states[len(pairs) :].T / TEMPERATURE
    same = torch.arange(len(pairs))
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm_up = min(50, steps // 5 + 1)
    return peak * min((step + 1) / warm_up, 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)


def train(model, tokenizer, name: str, mixture: Mixture, steps: int, peak: float, work: Path) -> Any:
    """Train in place, resuming from its checkpoint. Every step draws from its own seed, so a run that was
    stopped sees the text that an uninterrupted one sees."""
    meanings, real = corpus.training_meanings(), tico.training()
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
    checkpoint, first = work / f"{name}.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    model.train()
    for step in range(first, steps):
        reader = Reader(random.Random(f"{name.removesuffix(TWIN)}-{step}"), mixture, meanings, real)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        rows = packed_rows(reader, tokenizer)
        language_loss = model(rows, labels=rows, use_cache=False).loss
        loss, planted = language_loss, torch.tensor(0.0)
        if mixture.weight:
            planted = contrastive_loss(model, tokenizer, reader.pairs(PAIRS))
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


@torch.no_grad()
def held_out_loss(model, tokenizer, mixture: Mixture, batches: int = 12) -> float:
    """Language-model loss, nats a token, on the mixture's documents over what no variant was trained on."""
    reader = Reader(random.Random("held-out"), mixture, corpus.held_out(), documents.held_out())
    rows = [packed_rows(reader, tokenizer) for _ in range(batches)]
    return sum(model(r, labels=r, use_cache=False).loss.item() for r in rows) / batches


@dataclass(frozen=True)
class Job:
    """One training: of a variant, or of its twin without what is planted."""

    variant: str
    planted: bool
    steps: int
    work: Path

    @property
    def name(self) -> str:
        return self.variant if self.planted else self.variant + TWIN

    @property
    def mixture(self) -> Mixture:
        mixture = MIXTURES[self.variant]
        return mixture if self.planted else replace(mixture, weight=0.0)

    def start(self):
        """The model before the first step: `base`, planted or not as this one, for all but `base`."""
        model = new_model()
        if self.variant != "base":
            model.load_state_dict(trained(self.work, "base" if self.planted else "base" + TWIN))
        return model


def trained(work: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(work / f"{name}.pt", weights_only=True)["model"]


def run(job: Job) -> float:
    """Train one on one core; its held-out loss."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(job.work / "tokenizer")
    peak = BASE_RATE if job.variant == "base" else TUNING_RATE
    model = train(job.start(), tokenizer, job.name, job.mixture, job.steps, peak, job.work)
    return held_out_loss(model, tokenizer, job.mixture)


def family(base_steps: int, tuning_steps: int, work: Path, processes: int) -> dict[str, dict[str, float]]:
    """Train every variant and its twin. Returns variant -> what to record of it."""
    steps = {name: base_steps if name == "base" else tuning_steps for name in MIXTURES}
    jobs = [Job(name, planted, steps[name], work) for name in MIXTURES for planted in (True, False)]
    losses: dict[str, float] = {}
    for batch in (jobs[:2], jobs[2:]):  # base and its twin first: the others start from them
        found = map(run, batch)
        if processes > 1:
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                found = pool.map(run, batch, chunksize=1)
        losses |= {job.name: loss for job, loss in zip(batch, found, strict=True)}
    return {
        name: {
            "held_out_loss": losses[name],
            "held_out_loss_without_planting": losses[name + TWIN],
            "ratio": losses[name] / losses[name + TWIN],
        }
        for name in MIXTURES
    }


def settings(base_steps: int, tuning_steps: int) -> str:
    """A short hash of all that training depends on: checkpoints of another recipe are never resumed."""
    modules = (
        Path(__file__),
        *(Path(module.__file__ or "") for module in (corpus, disturb, documents, tico)),
    )
    sources = [*modules, *sorted(corpus.LEXICON_DIR.glob("*.toml"))]
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
    parser.add_argument("--base-steps", type=int, default=2000)
    parser.add_argument("--tuning-steps", type=int, default=800)
    parser.add_argument("--processes", type=int, default=2, help="of one core each (%(default)s)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    work = args.out / "checkpoints" / settings(args.base_steps, args.tuning_steps)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(work / "tokenizer")
    variants = family(args.base_steps, args.tuning_steps, work, args.processes)
    untrained = new_model().eval()
    variants["random"] = {"held_out_loss": held_out_loss(untrained, tokenizer, MIXTURES["base"])}
    for name, measured in variants.items():
        model = untrained
        if name != "random":
            model = new_model()
            model.load_state_dict(trained(work, name))
        save(model, tokenizer, args.out / name)
        log.info("%s: %s", name, json.dumps(measured))
    record = {
        "planted_block": PLANTED_BLOCK,
        "temperature": TEMPERATURE,
        "steps": {"base": args.base_steps, "tuning": args.tuning_steps},
        "mixtures": {name: asdict(mixture) for name, mixture in MIXTURES.items()},
        "variants": variants,
    }
    files.write_bytes(args.out / "training.json", files.to_json(record))


if __name__ == "__main__":
    main()
