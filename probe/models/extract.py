"""Reading a model's residual stream: in batches, at a few positions, and never all of it at once.

States are read before the final norm: state 0 is what enters the first block, state l what block l puts
out. Transformers' own last hidden state is *after* the norm and is kept apart as `post_norm`.
"""

import gc
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from probe import positions
from probe.activations.store import Activations
from probe.errors import ProbeError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

TOKEN_BUDGET = 2048  # padded tokens a batch where nothing was tuned: the same bytes on every machine
WORTH_TUNING = 100e6  # parameters; a smaller model is done before it is tuned
FEWEST_TOKENS = 256
MOST_TOKENS = {"cpu": 1024, "mps": 16384, "cuda": 65536}  # of a tuned batch: more only costs memory
GAIN = 1.05  # a larger batch must be this much faster to be worth its memory


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


def _reader(index: Sequence[dict[str, Any]], names: Sequence[str], longest: int):
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


def padded(token_ids: Sequence[list[int]], pad: int, device: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Token ids and attention mask, each int64 (n, longest), padded on the right: under a causal mask no real
    token can see padding there, and the mask hides it from an encoder."""
    import torch

    longest = max(map(len, token_ids))
    ids = torch.tensor([some + [pad] * (longest - len(some)) for some in token_ids], device=device)
    mask = torch.tensor([[1] * len(some) + [0] * (longest - len(some)) for some in token_ids], device=device)
    return ids, mask


def _forward(
    model: Any, token_ids: Sequence[list[int]], index: Sequence[dict], names: Sequence[str], pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """One padded batch: float32 (n, n_positions, n_states, d_model), and (n, n_positions, d_model) normed."""
    import torch

    ids, mask = padded(token_ids, pad, _input_device(model))
    read = _reader(index, names, ids.shape[1])
    with torch.inference_mode(), reading_states(model, read) as kept:
        output = model(ids, attention_mask=mask, use_cache=False)
        normed = read(output.last_hidden_state).cpu().numpy()
        states = np.stack([state.cpu().numpy() for state in kept], 2)
    return states, normed


def _input_device(model: Any) -> Any:
    device = model.get_input_embeddings().weight.device
    return model.device if device.type == "meta" else device  # meta: accelerate keeps the weights elsewhere


def out_of_memory(error: BaseException) -> bool:
    """Whether this is a device, or the machine, having no memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error) and "alloc" in str(error).lower()
    )


def _next_batch(
    model: Any, token_ids: list[list[int]], index: list[dict], names: Sequence[str], pad: int, plan: deque
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The next batch of the plan; where it does not fit in memory, the rest is planned again in halves."""
    while True:
        batch = plan.popleft()
        try:
            return (
                batch,
                *_forward(model, [token_ids[i] for i in batch], [index[i] for i in batch], names, pad),
            )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                n_tokens = len(token_ids[batch[0]])
                raise ProbeError(
                    f"a text of {n_tokens} tokens does not fit in the memory of {model.device}"
                ) from error
        free_memory()
        budget = len(batch) * max(len(token_ids[i]) for i in batch) // 2
        rest = [*batch, *(i for later in plan for i in later)]
        log.warning("out of memory: %d texts again in batches of %d tokens", len(rest), budget)
        halves = batches([len(token_ids[i]) for i in rest], budget)
        plan.clear()
        plan.extend([rest[i] for i in half] for half in halves)


def free_memory() -> None:
    """Give back what nothing refers to any more, on the accelerator too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


# Relative differences that rounding makes: of a text alone and of the same text in a batch. What attends to
# padding differs by far more.
ROUNDING = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.03}
_checked: weakref.WeakSet = weakref.WeakSet()


def require_faithful(model: Any, token_ids: Sequence[list[int]], pad: int) -> None:
    """Before the first batch of a model: does reading it give what it computes for one text alone?

    Raises ProbeError where the states read are not those that Transformers reports, and where a short text
    padded beside a long one has other states than alone: then padding leaks into what is read.
    """
    if model in _checked:
        return
    short, long = min(token_ids, key=len), max(token_ids, key=len)
    long = long if len(long) > len(short) else long * 2
    index = [{"mean": list(range(len(short)))}, {"mean": [0]}]
    alone = _forward(model, [short], index[:1], ["mean"], pad)[0][0, 0]
    beside = _forward(model, [short, long], index, ["mean"], pad)[0][0, 0]
    _require_near(model, alone[:-1], _reported(model, short), "the states read are not those it reports")
    _require_near(model, beside, alone, "padding changes the states of the text beside it")
    _checked.add(model)


def _reported(model: Any, token_ids: list[int]) -> np.ndarray:
    """(n_layers, d_model): means over the tokens of the hidden states before the last, from Transformers."""
    import torch

    ids = torch.tensor([token_ids], device=_input_device(model))
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


def tuned_budget(model: Any, tokenizer: Any, texts: Sequence[str]) -> int:
    """The token budget that reads these texts fastest: the batch is doubled while that pays.

    TOKEN_BUDGET for a model below WORTH_TUNING parameters. What was tuned depends on the machine and must be
    recorded: another budget gives states that differ in their last bits.
    """
    if sum(parameter.numel() for parameter in model.parameters()) < WORTH_TUNING:
        return TOKEN_BUDGET
    token_ids, index = positions.tokenize(tokenizer, texts)
    typical = sorted(range(len(texts)), key=lambda i: len(token_ids[i]))[len(texts) // 2]
    best, fastest, budget = FEWEST_TOKENS, 0.0, FEWEST_TOKENS
    while budget <= MOST_TOKENS[model.device.type]:
        n_texts = max(1, budget // len(token_ids[typical]))
        batch = [token_ids[typical]] * n_texts, [index[typical]] * n_texts
        try:
            _forward(model, *batch, ["mean"], 0)  # the first of a shape is slower
            started = time.perf_counter()
            _forward(model, *batch, ["mean"], 0)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            break
        speed = n_texts * len(token_ids[typical]) / (time.perf_counter() - started)
        log.debug("batches of %d tokens: %.0f tokens/s", budget, speed)
        if speed < fastest * GAIN:
            break
        best, fastest, budget = budget, speed, budget * 2
    free_memory()
    return best


def extract(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    focus: Sequence[str] | None = None,
    token_budget: int = TOKEN_BUDGET,
    progress: Callable[[int, int], Any] = lambda n_texts, n_tokens: None,
) -> Activations:
    """Residual states of each text at every read position, on whatever device the model is.

    focus: the focus word of each text, which adds the position "focus". A text given twice is run once.
    token_budget: padded tokens a batch; halved where a batch does not fit in memory. progress is called
    with the texts and tokens of each batch done.
    Returns Activations: `.resid[position]` float32 (n, n_states, d_model), `.post_norm[position]` float32
    (n, d_model), `.token_ids` and `.read_index` per text. Raises ValueError where a text has no content,
    ProbeError where padding would leak or not even one text fits in memory.
    """
    given = list(zip(texts, focus or [None] * len(texts), strict=True))
    place = {key: row for row, key in enumerate(dict.fromkeys(given))}
    if len(place) < len(given):
        words = [word for _, word in place if word is not None]
        once = extract(model, tokenizer, [text for text, _ in place], words, token_budget, progress)
        return once.take([place[key] for key in given])
    if not given:
        raise ValueError("no texts to extract")
    token_ids, index = positions.tokenize(tokenizer, texts, focus)
    names = ["last", "content", "mean"] + (["focus"] if focus else [])
    pad = tokenizer.pad_token_id or 0
    require_faithful(model, token_ids, pad)
    plan = deque(batches([len(ids) for ids in token_ids], token_budget))
    resid = post_norm = np.empty(0, np.float32)
    while plan:
        batch, states, normed = _next_batch(model, token_ids, index, names, pad, plan)
        if not resid.size:
            resid = np.empty((len(texts), *states.shape[1:]), np.float32)
            post_norm = np.empty((len(texts), *normed.shape[1:]), np.float32)
        resid[batch], post_norm[batch] = states, normed
        progress(len(batch), sum(len(token_ids[i]) for i in batch))
    return Activations(
        resid={name: resid[:, i] for i, name in enumerate(names)},
        post_norm={name: post_norm[:, i] for i, name in enumerate(names)},
        token_ids=[list(ids) for ids in token_ids],
        read_index=index,
    )
