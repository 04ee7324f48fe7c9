"""Which texts are run together: batches of a length, padded, and made smaller where memory ends."""

import gc
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from probe.errors import ProbeError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

TOKEN_BUDGET = 2048  # padded tokens a batch where nothing was tuned: the same bytes on every machine

Result = TypeVar("Result")


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


def padded(token_ids: Sequence[list[int]], pad: int, device: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Token ids and attention mask, each int64 (n, longest), padded on the right: under a causal mask no real
    token can see padding there, and the mask hides it from an encoder."""
    import torch

    longest = max(map(len, token_ids))
    ids = torch.tensor([some + [pad] * (longest - len(some)) for some in token_ids], device=device)
    mask = torch.tensor([[1] * len(some) + [0] * (longest - len(some)) for some in token_ids], device=device)
    return ids, mask


def within_memory(
    run: Callable[[list[int]], Result], lengths: Sequence[int], token_budget: int
) -> Iterator[tuple[list[int], Result]]:
    """(batch, run(batch)) for batches of all texts; where one does not fit in memory, it and the rest are
    planned again in halves. Raises ProbeError where not even one text fits."""
    plan = deque(batches(lengths, token_budget))
    while plan:
        batch = plan.popleft()
        try:
            result = run(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise too_long(lengths[batch[0]]) from error
        else:
            yield batch, result
            continue
        free_memory()  # out of the handler, which holds the frames that hold the tensors
        budget = len(batch) * max(lengths[i] for i in batch) // 2
        rest = [*batch, *(i for later in plan for i in later)]
        log.warning("out of memory: %d texts again in batches of %d tokens", len(rest), budget)
        plan = deque([rest[i] for i in half] for half in batches([lengths[i] for i in rest], budget))


def out_of_memory(error: BaseException) -> bool:
    """Whether this is a device, or the machine, having no memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error) and "alloc" in str(error).lower()
    )


def too_long(n_tokens: int) -> ProbeError:
    return ProbeError(f"a text of {n_tokens} tokens does not fit in the memory of the device")


def free_memory() -> None:
    """Give back what nothing refers to any more, on the accelerator too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
