"""Where the residual stream runs through a model: its blocks, and hooks that read what passes between them.

States are read before the final norm: state 0 is what enters the first block, state l what block l puts out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from probe.errors import ProbeError

if TYPE_CHECKING:
    import torch


def find_blocks(model: Any) -> list[Any]:
    """The residual blocks, in order: the one list of modules as long as the configuration has layers.

    Raises ProbeError where there is no such list, or more than one.
    """
    from torch import nn

    n_layers = model.config.get_text_config().num_hidden_layers
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    }
    # As many experts as blocks: those are inside the blocks.
    lists = [m for name, m in found.items() if not any(name.startswith(f"{other}.") for other in found)]
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
