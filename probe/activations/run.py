"""From stimuli to shards: what a run of extraction does with a loaded model, wherever it runs."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from probe import files, positions
from probe.activations.index import conflict
from probe.activations.shard import SHARD_SIZE
from probe.activations.writer import ActivationWriter
from probe.errors import ProbeError
from probe.models.batching import TOKEN_BUDGET
from probe.models.extract import Activations, extract
from probe.models.tuning import tuned_budget
from probe.stimuli.manifest import KINDS, Manifest, ProbeSentence, Stimulus

log = logging.getLogger(__name__)

Plan = dict[str, list[Stimulus]]  # shard name -> its stimuli


def plan_shards(manifest: Manifest, shard_size: int = SHARD_SIZE) -> Plan:
    """The manifest's stimuli in its order; kinds are not mixed, for only probes have a focus word."""
    pieces = [
        stimuli[start : start + shard_size]
        for kind in KINDS
        for stimuli in [manifest.of_kind(kind)]
        for start in range(0, len(stimuli), shard_size)
    ]
    return {f"shard-{number:05d}": piece for number, piece in enumerate(pieces)}


def ids_of(stimuli: Sequence[Stimulus]) -> list[str]:
    return [stimulus.stimulus_id for stimulus in stimuli]


def incomplete(store: ActivationWriter, plan: Plan) -> Plan:
    return {name: stimuli for name, stimuli in plan.items() if not store.complete(name, ids_of(stimuli))}


def environment(device: str, config: Any) -> dict[str, Any]:
    """Where shards are made: recorded with them, and free to differ between runs."""
    import torch

    return {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "layer_types": getattr(config, "layer_types", None),
        "versions": files.versions() | {"safetensors": version("safetensors")},
    }


def extract_shard(
    model: Any,
    tokenizer: Any,
    stimuli: Sequence[Stimulus],
    token_budget: int = TOKEN_BUDGET,
    progress: Callable[[int, int], Any] = lambda n_texts, n_tokens: None,
    check: bool = True,
) -> Activations:
    focus = [s.focus for s in stimuli if isinstance(s, ProbeSentence)]
    texts = [s.text for s in stimuli]
    return extract(model, tokenizer, texts, focus or None, token_budget, progress, check)


def count_tokens(model: Any, tokenizer: Any, stimuli: Sequence[Stimulus]) -> int:
    """Of all the texts. Raises ProbeError naming one that cannot be read: without content, or too long."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    lengths = list(map(len, tokenizer([stimulus.text for stimulus in stimuli])["input_ids"]))
    for stimulus, length in zip(stimuli, lengths, strict=True):
        try:
            positions.content_end(stimulus.text)
        except ValueError as error:
            raise ProbeError(f"{stimulus.stimulus_id}: {error}; take it out of the manifest") from error
        if longest and length > longest:
            raise ProbeError(
                f"{stimulus.stimulus_id}: {length} tokens, and the model reads at most {longest}; "
                "take it out of the manifest"
            )
    return sum(lengths)


def extract_shards(
    model: Any,
    tokenizer: Any,
    todo: Plan,
    token_budget: int | None,
    write: Callable[[str, list[str], Activations, int], Any],
    label: str,
) -> str:
    """`write(name, ids, activations, token_budget)` each shard as it is done, and return a summary.

    token_budget: padded tokens a batch; None to tune it, which is done once for all shards.
    """
    from tqdm import tqdm

    texts = {name: [stimulus.text for stimulus in stimuli] for name, stimuli in todo.items()}
    n_tokens = {name: count_tokens(model, tokenizer, stimuli) for name, stimuli in todo.items()}
    budget = token_budget or tuned_budget(model, tokenizer, [t for some in texts.values() for t in some])
    n_stimuli, total, done = sum(map(len, todo.values())), sum(n_tokens.values()), 0
    started = time.monotonic()
    shown = sys.stderr.isatty()
    with tqdm(total=total, desc=label, unit="token", unit_scale=True, disable=not shown) as bar:
        for number, (name, stimuli) in enumerate(todo.items()):
            progress = lambda _, tokens: bar.update(tokens)  # noqa: E731 - extract_shard takes no keywords
            found = extract_shard(model, tokenizer, stimuli, budget, progress, number == 0)
            write(name, ids_of(stimuli), found, budget)
            done += n_tokens[name]
            bar.update(done - bar.n)  # a text given twice was run once
            log.debug("%s: %s written, %d of %d tokens", label, name, done, total)
    seconds = time.monotonic() - started
    return f"{n_stimuli} stimuli, {total} tokens, {seconds:.1f} s, {total / seconds:.0f} tokens/s"


def smoke_test(model: Any, tokenizer: Any, stimuli: Sequence[Stimulus], label: str) -> str:
    """Extract a few sentences together and one by one. Returns the worst relative difference, in words.

    Raises ProbeError where a value is not finite.
    """
    together = extract_shard(model, tokenizer, stimuli)
    alone = [extract_shard(model, tokenizer, [stimulus], check=False) for stimulus in stimuli]
    worst = 0.0
    for position, resid in together.resid.items():
        if not np.isfinite(resid).all():
            raise ProbeError(f"{label}: values at '{position}' are not finite; try another --dtype")
        reference = np.concatenate([one.resid[position] for one in alone])
        error = np.linalg.norm(resid - reference, axis=-1) / np.linalg.norm(reference, axis=-1)
        worst = max(worst, float(error.max()))
    _, n_states, d_model = together.resid["mean"].shape
    return f"{len(stimuli)} texts, {n_states} states of {d_model}; batched against single: {worst:.1e}"


def status(stores: Mapping[str, ActivationWriter], plan: Plan, given: Mapping[str, Any]) -> str:
    """A table of each variant's shards and stimuli, and a line for each that cannot be gone on with.

    given: the part of the identity that is known without opening a model.
    """
    rows, notes = [], []
    for variant, store in stores.items():
        there = store.recover()
        todo = incomplete(store, plan) if there else plan
        damaged = sum(store.path(name).exists() for name in todo)
        n_all, n_open = (sum(map(len, shards.values())) for shards in (plan, todo))
        counts = (len(plan), len(plan) - len(todo), damaged, len(todo) - damaged)
        rows.append((variant, *counts, f"{n_all - n_open} of {n_all}"))
        if there and (differing := conflict(store.index.identity, store.index.identity | dict(given))):
            notes.append(f"{variant}: extracted with another {differing}; --fresh starts afresh")
    columns = ["variant", "shards", "complete", "damaged", "missing", "stimuli"]
    return "\n".join([pd.DataFrame(rows, columns=columns).to_string(index=False), *notes])


def to_plain(stimulus: Stimulus) -> dict[str, Any]:
    """What extraction needs of a stimulus, as it is sent to another machine."""
    needed = {"stimulus_id", "language", "text"}
    return (
        stimulus.model_dump() if isinstance(stimulus, ProbeSentence) else stimulus.model_dump(include=needed)
    )


def from_plain(stimulus: Mapping[str, Any]) -> Stimulus:
    return (ProbeSentence if "focus" in stimulus else Stimulus).model_validate(stimulus)
