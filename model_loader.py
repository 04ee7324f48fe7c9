"""Loading a variant, and reading its residual stream. The one copy of it: every stage that runs a model
comes here.

States are read before the final norm: state 0 is what enters the first block, state l what block l puts
out. Transformers' own last hidden state is *after* the norm and is kept apart as `post_norm`.
"""

import gc
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from probe import lens as lenses
from probe import results
from probe.errors import ProbeError
from probe.families import Family, load_family
from probe.paths import Paths
from probe.stimuli import load_concepts, probe_sentences
from probe.store import Activations

if TYPE_CHECKING:
    import torch

TOKEN_BUDGET = 2048  # padded tokens a batch: enough to keep two cores busy, little memory
DTYPES = ("float32", "bfloat16", "float16")


def pick_device(asked: str | None = None) -> str:
    """The device asked for, or the best there is: cuda, mps, cpu."""
    import torch

    there = [
        name
        for name, found in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if found
    ] + ["cpu"]
    if asked and asked.split(":")[0] not in there:
        raise ProbeError(f"device {asked} is not available here, only {', '.join(there)}")
    return asked or there[0]


def pick_dtype(asked: str | None, device: str, config: Any) -> str:
    """float32 on a CPU, else the checkpoint's own, unless asked. Raises ProbeError for float16 on a CPU."""
    if asked is None:
        own = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
        return "float32" if device == "cpu" else own
    if asked not in DTYPES:
        raise ProbeError(f"dtype {asked} is not one of {', '.join(DTYPES)}")
    if asked == "float16" and device == "cpu":
        raise ProbeError(
            "float16 on a CPU is ten times slower than float32 and overflows; use --dtype float32"
        )
    return asked


@dataclass(frozen=True)
class Checkpoint:
    """A variant's configuration and tokenizer, loaded; its weights not yet."""

    label: str  # family/variant, for messages
    source: str  # hub id or folder
    name: str  # what provenance calls it
    hub_revision: str | None
    config: Any
    tokenizer: Any
    dtype: str
    device: str

    @property
    def revision(self) -> str:
        """The commit on the hub, or the sha256 of the local weights."""
        if not Path(self.source).is_dir():
            return getattr(self.config, "_commit_hash", None) or self.hub_revision or "unknown"
        weights = sorted(Path(self.source).glob("*.safetensors"))
        return results.digest("".join(results.sha256(path) for path in weights).encode())

    def identity(self) -> dict[str, str]:
        """What stored activations must agree on to be this model's."""
        config = {
            k: v for k, v in self.config.to_dict().items() if k not in ("transformers_version", "dtype")
        }
        config.pop("_name_or_path", None)
        return {
            "model": self.name,
            "revision": self.revision,
            "config_sha256": results.digest(json.dumps(config, sort_keys=True, default=str).encode()),
            "tokenizer_sha256": results.digest(self.tokenizer.backend_tokenizer.to_str().encode()),
            "dtype": self.dtype,
        }


def open_checkpoint(
    family: Family,
    variant: str,
    dtype: str | None = None,
    device: str | None = None,
    paths: Paths | None = None,
) -> Checkpoint:
    """Raises ProbeError, in one line with the cure, where the checkpoint is missing, gated or unfit."""
    from transformers import AutoConfig, AutoTokenizer

    paths = paths or Paths()
    chosen, source = family.variants[variant], family.model_path(variant, paths)
    label = f"{family.name}/{variant}"
    if chosen.path and not (Path(source) / "config.json").exists():
        raise ProbeError(f"{label}: no model in {source}")
    try:
        config = AutoConfig.from_pretrained(source, revision=chosen.revision)
        tokenizer = AutoTokenizer.from_pretrained(source, revision=chosen.revision)
    except (OSError, ValueError) as error:
        raise _explained(label, chosen.hf, error) from error
    if not tokenizer.is_fast:
        raise ProbeError(f"{label}: its tokenizer gives no character offsets; a fast one is needed")
    device = pick_device(device)
    return Checkpoint(
        label=label,
        source=source,
        name=chosen.hf or str(chosen.path),
        hub_revision=chosen.revision,
        config=config,
        tokenizer=tokenizer,
        dtype=pick_dtype(dtype, device, config),
        device=device,
    )


def _explained(label: str, hub_id: str | None, error: Exception) -> ProbeError:
    if hub_id is None:
        return ProbeError(f"{label}: {error}")
    return ProbeError(
        f"{label}: cannot load {hub_id}; accept its licence at https://huggingface.co/{hub_id} "
        f"and log in with `hf auth login` or set HF_TOKEN ({type(error).__name__})"
    )


def load_weights(checkpoint: Checkpoint, head: bool = False) -> Any:
    """The model, with its language-model head or without, in eval mode, on its device."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    try:
        auto: Any = AutoModelForCausalLM if head else AutoModel
        model = auto.from_pretrained(
            checkpoint.source,
            revision=checkpoint.hub_revision,
            dtype=getattr(torch, checkpoint.dtype),
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, SafetensorError) as error:
        hub_id = None if Path(checkpoint.source).is_dir() else checkpoint.source
        raise _explained(checkpoint.label, hub_id, error) from error
    return model.to(checkpoint.device).eval()


@contextmanager
def loaded(
    family: str | Family,
    variant: str,
    dtype: str | None = None,
    device: str | None = None,
    paths: Paths | None = None,
    head: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """Yield (model, tokenizer) of one variant; its memory is free again after the block.

    head: with the language-model head, which the lens needs.
    """
    paths = paths or Paths()
    family = load_family(family, paths) if isinstance(family, str) else family
    checkpoint = open_checkpoint(family, variant, dtype, device, paths)
    model = load_weights(checkpoint, head)
    try:
        yield model, checkpoint.tokenizer
    finally:
        model.to("meta")  # frees the weights even where the caller still holds the model
        gc.collect()
        if checkpoint.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()


# Where to read


def content_end(text: str) -> int:
    """Index just past the last character that is neither punctuation nor blank.

    Raises ValueError where there is none.
    """
    for index in range(len(text) - 1, -1, -1):
        if unicodedata.category(text[index])[0] not in "PZC":
            return index + 1
    raise ValueError(f"no content in {text!r}")


def read_index(
    offsets: Sequence[tuple[int, int]], special: Sequence[int], text: str, focus: str | None = None
) -> dict[str, Any]:
    """Token indices of the read positions.

    offsets: (n_tokens, 2) character spans; special: 1 for BOS, EOS and padding.
    Returns {"last": int, "content": int, "mean": [ints]} and, for a focus word, "focus": int: its last
    token. Raises ValueError where text or focus has no token of its own.
    """
    end = content_end(text)
    words = [index for index, flag in enumerate(special) if not flag]
    content = [index for index in words if offsets[index][0] < end and offsets[index][1] > offsets[index][0]]
    if not content:
        raise ValueError(f"no content token in {text!r}")
    positions: dict[str, Any] = {"last": words[-1], "content": content[-1], "mean": content}
    if focus is not None:
        start = text.index(focus)
        inside = [i for i in content if offsets[i][0] < start + len(focus) and offsets[i][1] > start]
        positions["focus"] = inside[-1]
    return positions


def tokenize(
    tokenizer: Any, texts: Sequence[str], focus: Sequence[str | None] | None = None
) -> tuple[list[list[int]], list[dict[str, Any]]]:
    """Token ids with the model's own special tokens, and the read index, of each text."""
    encoded = tokenizer(list(texts), return_offsets_mapping=True, return_special_tokens_mask=True)
    words = focus or [None] * len(texts)
    index = [
        read_index(offsets, special, text, word)
        for offsets, special, text, word in zip(
            encoded["offset_mapping"], encoded["special_tokens_mask"], texts, words, strict=True
        )
    ]
    return encoded["input_ids"], index


# Reading


def find_blocks(model: Any) -> list[Any]:
    """The residual blocks, in order: the one list of modules as long as the configuration has layers.

    Raises ProbeError where there is no such list, or more than one.
    """
    from torch import nn

    n_layers = model.config.get_text_config().num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if len(lists) != 1:
        raise ProbeError(
            f"{type(model).__name__}: {len(lists)} lists of {n_layers} modules; "
            "cannot tell which are the blocks"
        )
    return list(lists[0])


@contextmanager
def reading_states(model: Any, read: Callable[["torch.Tensor"], Any]) -> Iterator[list[Any]]:
    """Within the block, each forward pass appends `read(state)` for states 0 to n_layers, in order."""
    blocks, kept = find_blocks(model), []

    def before_first(_module, args, kwargs):
        kept.append(read(args[0] if args else kwargs["hidden_states"]))

    def after(_module, _args, output):
        kept.append(read(output[0] if isinstance(output, tuple) else output))

    handles = [blocks[0].register_forward_pre_hook(before_first, with_kwargs=True)]
    handles += [block.register_forward_hook(after) for block in blocks]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices grouped by length so that a padded batch stays within the budget (or is one text).

    A function of the lengths alone, so a repeated run makes the same batches and the same bytes.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and lengths[index] * (len(groups[-1]) + 1) <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _reader(index: Sequence[dict[str, Any]], positions: Sequence[str], device: Any):
    """A function from a state (n, n_tokens, d_model) to a tensor (n, n_positions, d_model)."""
    import torch

    rows = torch.arange(len(index), device=device)
    single = {p: torch.tensor([at[p] for at in index], device=device) for p in positions if p != "mean"}
    token_of_text = [(row, token) for row, at in enumerate(index) for token in at["mean"]]
    text, token = (torch.tensor(part, device=device) for part in zip(*token_of_text, strict=True))
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64

    def mean(state):
        total = torch.zeros(len(index), state.shape[-1], dtype=exact, device=device)
        total.index_add_(0, text, state[text, token].to(exact))
        return (total / torch.bincount(text).to(exact)[:, None]).float()

    def read(state):
        return torch.stack(
            [mean(state) if p == "mean" else state[rows, single[p]].float() for p in positions], 1
        )

    return read


def extract(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    focus: Sequence[str] | None = None,
    token_budget: int = TOKEN_BUDGET,
    progress: Callable[[int], Any] = lambda n_texts: None,
) -> Activations:
    """Residual states of each text at every read position, on whatever device the model is.

    focus: the focus word of each text, which adds the position "focus".
    Returns Activations: `.resid[position]` float32 (n, n_states, d_model), `.post_norm[position]` float32
    (n, d_model), `.token_ids` and `.read_index` per text. Raises ValueError where a text has no content.
    """
    import torch

    token_ids, index = tokenize(tokenizer, texts, focus)
    positions = ["last", "content", "mean"] + (["focus"] if focus else [])
    device = next(model.parameters()).device
    pad = tokenizer.pad_token_id or 0
    resid: np.ndarray | None = None
    post_norm = None
    for batch in batches([len(ids) for ids in token_ids], token_budget):
        longest = max(len(token_ids[i]) for i in batch)
        # Right padding: under a causal mask no real token can see it.
        padded = torch.tensor([token_ids[i] + [pad] * (longest - len(token_ids[i])) for i in batch])
        mask = torch.tensor([[1] * len(token_ids[i]) + [0] * (longest - len(token_ids[i])) for i in batch])
        read = _reader([index[i] for i in batch], positions, device)
        with torch.inference_mode(), reading_states(model, read) as kept:
            output = model(padded.to(device), attention_mask=mask.to(device), use_cache=False)
            normed = read(output.last_hidden_state).cpu().numpy()
        states = torch.stack(kept, 2).cpu().numpy()  # (n, n_positions, n_states, d_model)
        if resid is None or post_norm is None:
            resid = np.empty((len(texts), *states.shape[1:]), np.float32)
            post_norm = np.empty((len(texts), *normed.shape[1:]), np.float32)
        resid[batch], post_norm[batch] = states, normed
        progress(len(batch))
    if resid is None or post_norm is None:
        raise ValueError("no texts to extract")
    return Activations(
        resid={p: resid[:, i] for i, p in enumerate(positions)},
        post_norm={p: post_norm[:, i] for i, p in enumerate(positions)},
        token_ids=[list(ids) for ids in token_ids],
        read_index=index,
    )


# The language-model head, for the logit lens

LOGITS_AT_ONCE = 2**24  # numbers: 64 rows of a vocabulary of 262,144


@dataclass(frozen=True)
class Head:
    """The way from the last residual state to the logits, the model's own modules and constants."""

    norm: Any
    unembed: Any
    scale: float
    cap: float | None

    def logits(self, states: "torch.Tensor") -> "torch.Tensor":
        """states: (..., d_model) before the norm, in the model's dtype. Returns (..., vocab) float32."""
        logits = self.unembed(self.norm(states)).float() * self.scale
        return logits if self.cap is None else self.cap * (logits / self.cap).tanh()


def find_head(model: Any) -> Head:
    """The final norm is the module that takes the last block's output to what the unembedding is given, found
    by running the model on a few tokens and not by its name; then the whole way is checked.

    Raises ProbeError where there is no unembedding or no such module, or where the logits that come out are
    not the model's own.
    """
    import torch

    name, unembed = type(model).__name__, model.get_output_embeddings()
    if unembed is None:
        raise ProbeError(f"{name} has no language-model head; load it with head=True")
    ids = torch.arange(1, 9, device=unembed.weight.device)[None] % unembed.weight.shape[0]
    with torch.inference_mode(), _recorded(model) as calls, reading_states(model, lambda s: s) as states:
        own = model(ids, use_cache=False).logits
    unembedded = [taken for module, taken, _ in calls if module is unembed]
    norms = [
        module
        for module, taken, given in calls
        if torch.equal(taken, states[-1]) and any(torch.equal(given, taken_) for taken_ in unembedded)
    ]
    if not norms:
        raise ProbeError(f"{name}: no module leads from the last block to the unembedding; no lens for it")
    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    head = Head(norms[0], unembed, scale, getattr(config, "final_logit_softcapping", None))
    with torch.inference_mode():
        error = (head.logits(states[-1]).softmax(-1) - own.float().softmax(-1)).abs().max().item()
    if not error <= (1e-5 if own.dtype == torch.float32 else 1e-2):
        raise ProbeError(f"{name}: the lens at the last state misses the model's own output by {error:.1e}")
    return head


@contextmanager
def _recorded(model: Any) -> Iterator[list[tuple[Any, Any, Any]]]:
    """Within the block, (module, its input, its output) of every call outside the blocks that takes a tensor
    to a tensor."""
    import torch

    inside = {id(module) for block in find_blocks(model) for module in block.modules()}
    calls: list[tuple[Any, Any, Any]] = []

    def record(module, args, output):
        if args and torch.is_tensor(args[0]) and torch.is_tensor(output):
            calls.append((module, args[0], output))

    handles = [m.register_forward_hook(record) for m in model.modules() if id(m) not in inside]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def lens_probabilities(
    model: Any, head: Head, token_ids: Sequence[list[int]], reads: Sequence[tuple[int, int]], pad: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, "torch.Tensor"]]:
    """What each state would say next, in pieces of at most LOGITS_AT_ONCE numbers.

    reads: (text, token) places. Yields (read (m,), state (m,), probabilities (m, vocab) float32 on the
    model's device); every pair of a read and a state comes once.
    """
    import torch

    device = head.unembed.weight.device
    rows = max(1, LOGITS_AT_ONCE // head.unembed.weight.shape[0])
    for batch in batches([len(ids) for ids in token_ids], TOKEN_BUDGET):
        longest = max(len(token_ids[i]) for i in batch)
        # Right padding: under a causal mask no real token can see it.
        padded = torch.tensor([token_ids[i] + [pad] * (longest - len(token_ids[i])) for i in batch])
        mask = torch.tensor([[1] * len(token_ids[i]) + [0] * (longest - len(token_ids[i])) for i in batch])
        within = {text: row for row, text in enumerate(batch)}
        read = np.array([i for i, (text, _) in enumerate(reads) if text in within])
        text, token = ([within[reads[i][0]] for i in read], [reads[i][1] for i in read])
        with (
            torch.inference_mode(),
            reading_states(model, lambda state, at=(text, token): state[at]) as kept,
        ):
            model.base_model(padded.to(device), attention_mask=mask.to(device), use_cache=False)
        states = torch.cat(kept)  # (n_states * n_read, d_model)
        for start in range(0, len(states), rows):
            state, place = np.divmod(np.arange(start, min(start + rows, len(states))), len(read))
            with torch.inference_mode():
                probabilities = head.logits(states[start : start + rows]).softmax(-1)
            yield read[place], state, probabilities


def lens(
    model: Any,
    tokenizer: Any,
    text: str,
    words: Mapping[str, Mapping[str, str]] | None = None,
    top: int = 10,
    head: Head | None = None,
) -> lenses.LensReading:
    """What each state at the text's last token would say next.

    model: with its head; head: what `find_head` gave for it, where that is at hand. words: concept id ->
    language -> word, by which languages are told (default: the focus words of data/concept_probes.json).
    Raises ValueError for a text without content, ProbeError for one longer than the model's positions.
    """
    head = head or find_head(model)
    token_ids, index = tokenize(tokenizer, [text])
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest and len(token_ids[0]) > longest:
        raise ProbeError(f"the text has {len(token_ids[0])} tokens, and the model reads {longest} at most")
    vocabulary = lenses.vocabulary(tokenizer, head.unembed.weight.shape[0])
    words = words or lenses.words(probe_sentences(load_concepts(Paths().concept_probes)))
    sets, shared = lenses.exclusive(lenses.starts(vocabulary, words))
    measure = lens_measure(vocabulary, list(sets.values()), head.unembed.weight.device)
    script, language, entropy, tokens = [], [], [], []
    for *_, probabilities in lens_probabilities(model, head, token_ids, [(0, index[0]["last"])]):
        for kept, measured in zip((script, language, entropy), measure(probabilities), strict=True):
            kept.append(measured)
        tokens += _likeliest(tokenizer, probabilities, top)
    p_lang, p_script = np.concatenate(language), np.concatenate(script)
    return lenses.LensReading(
        text, list(sets), list(lenses.COLUMNS), p_lang, p_script, np.concatenate(entropy), tokens, shared
    )


def _likeliest(tokenizer: Any, probabilities: "torch.Tensor", top: int) -> list[list[tuple[str, float]]]:
    values, ids = (part.tolist() for part in probabilities.topk(min(top, probabilities.shape[-1])))
    return [
        [(tokenizer.decode([i]), value) for i, value in zip(*state, strict=True)]
        for state in zip(ids, values, strict=True)
    ]


def lens_measure(
    vocabulary: lenses.Vocabulary, sets: Sequence[frozenset[int]], device: Any
) -> Callable[["torch.Tensor"], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function from probabilities (m, vocab) to mass by script (m, n_scripts), mass of each set of tokens
    (m, n_sets), and entropy in bits (m,); float32."""
    import torch

    of_script = torch.tensor(vocabulary.script_ids, device=device)
    tokens, matrix = (torch.tensor(part, device=device) for part in lenses.indicator(sets))

    def measure(probabilities):
        scripts = torch.zeros(len(probabilities), len(lenses.COLUMNS), device=device)
        scripts.index_add_(1, of_script, probabilities)
        entropy = torch.special.entr(probabilities).sum(-1) / np.log(2)
        return scripts.cpu().numpy(), (probabilities[:, tokens] @ matrix).cpu().numpy(), entropy.cpu().numpy()

    return measure
