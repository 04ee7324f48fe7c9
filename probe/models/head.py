"""The language-model head: what each state would say next, were it the last one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.errors import ProbeError
from probe.models import batching, hooks

if TYPE_CHECKING:
    import torch

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
    with (
        torch.inference_mode(),
        _recorded(model) as calls,
        hooks.reading_states(model, lambda s: s) as states,
    ):
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

    inside = {id(module) for block in hooks.find_blocks(model) for module in block.modules()}
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
    for batch in batching.batches([len(ids) for ids in token_ids], batching.TOKEN_BUDGET):
        ids, mask = batching.padded([token_ids[i] for i in batch], pad, device)
        within = {text: row for row, text in enumerate(batch)}
        read = np.array([i for i, (text, _) in enumerate(reads) if text in within])
        text, token = ([within[reads[i][0]] for i in read], [reads[i][1] for i in read])
        with (
            torch.inference_mode(),
            hooks.reading_states(model, lambda state, at=(text, token): state[at]) as kept,
        ):
            model.base_model(ids, attention_mask=mask, use_cache=False)
        states = torch.cat(kept)  # (n_states * n_read, d_model)
        for start in range(0, len(states), rows):
            state, place = np.divmod(np.arange(start, min(start + rows, len(states))), len(read))
            with torch.inference_mode():
                probabilities = head.logits(states[start : start + rows]).softmax(-1)
            yield read[place], state, probabilities
