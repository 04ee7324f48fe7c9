"""Whether reading a model gives what it computes: asked once of every model, before its first batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.errors import ProbeError
from probe.models.batching import out_of_memory, too_long
from probe.models.forward import forward, input_device

# Relative differences that rounding makes: of a text alone and of the same text in a batch. What attends to
# padding differs by far more.
ROUNDING = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.03}


def require_faithful(model: Any, token_ids: Sequence[list[int]], pad: int) -> None:
    """Does reading the model give what it computes for one text alone?

    Raises ProbeError where the states read are not those that Transformers reports, and where the shortest
    text padded beside a longer one has other states than alone: then padding leaks into what is read.
    """
    short = min(token_ids, key=len)
    index = [{"mean": list(range(len(short)))}, {"mean": [0]}]
    try:
        alone = forward(model, [short], index[:1], ["mean"], pad)[0][0, 0]
        beside = forward(model, [short, short * 4], index, ["mean"], pad)[0][0, 0]
        reported = _reported(model, short)
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise too_long(len(short)) from error
        raise
    _require_near(model, alone[:-1], reported, "the states read are not those it reports")
    _require_near(model, beside, alone, "padding changes the states of the text beside it")


def _reported(model: Any, token_ids: list[int]) -> np.ndarray:
    """(n_layers, d_model): means over the tokens of the hidden states before the last, from Transformers."""
    import torch

    ids = torch.tensor([token_ids], device=input_device(model))
    with torch.inference_mode():
        hidden = model(ids, use_cache=False, output_hidden_states=True).hidden_states
    return np.stack([state[0].float().mean(0).cpu().numpy() for state in hidden[:-1]])


def _require_near(model: Any, found: np.ndarray, expected: np.ndarray, what: str) -> None:
    if found.shape != expected.shape:
        raise ProbeError(f"{type(model).__name__}: {what}: {found.shape} against {expected.shape}")
    error = np.linalg.norm(found - expected, axis=-1) / (np.linalg.norm(expected, axis=-1) + 1e-30)
    # What is not finite is refused by the store, which can say in which stimulus.
    if np.isfinite(error).all() and error.max() > ROUNDING[str(model.dtype).removeprefix("torch.")]:
        raise ProbeError(
            f"{type(model).__name__}: {what}, by {error.max():.1e} at state {int(error.argmax())}; "
            "this model cannot be read"
        )
