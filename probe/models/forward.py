"""One batch through a model: its residual states at the positions read, and nothing else of them kept."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.models.batching import padded
from probe.models.hooks import reading_states

if TYPE_CHECKING:
    import torch


def _reader(
    index: Sequence[dict[str, Any]], names: Sequence[str], longest: int
) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """A function from a state (n, longest, d_model) to a float32 tensor (n, n_positions, d_model)."""
    import torch

    content = torch.zeros(len(index), 1, longest)
    for row, at in enumerate(index):
        content[row, 0, at["mean"]] = 1

    def mean(state):
        # Summed in float64 where that is cheap: one sum is then the same in any order, to the last bit.
        exact = torch.float64 if state.device.type == "cpu" else torch.float32
        weights = content.to(state.device, exact)
        return ((weights @ state.to(exact))[:, 0] / weights.sum(-1)).float()

    def one(state, position):
        tokens = torch.tensor([at[position] for at in index], device=state.device)
        return state[torch.arange(len(index), device=state.device), tokens].float()

    def read(state):
        return torch.stack([mean(state) if p == "mean" else one(state, p) for p in names], 1)

    return read


def forward(
    model: Any, token_ids: Sequence[list[int]], index: Sequence[dict], names: Sequence[str], pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """One padded batch: float32 (n, n_positions, n_states, d_model), and (n, n_positions, d_model) normed."""
    import torch

    ids, mask = padded(token_ids, pad, input_device(model))
    read = _reader(index, names, ids.shape[1])
    with torch.inference_mode(), reading_states(model, read) as kept:
        output = model(ids, attention_mask=mask, use_cache=False)
        normed = read(output.last_hidden_state).cpu().numpy()
        states = np.stack([state.cpu().numpy() for state in kept], 2)
    return states, normed


def input_device(model: Any) -> Any:
    device = model.get_input_embeddings().weight.device
    return model.device if device.type == "meta" else device  # meta: accelerate keeps the weights elsewhere
