"""How many tokens to run together on this machine."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from probe import positions
from probe.models.batching import TOKEN_BUDGET, free_memory, out_of_memory
from probe.models.forward import forward

log = logging.getLogger(__name__)

WORTH_TUNING = 100e6  # parameters; a smaller model is done before it is tuned
FEWEST_TOKENS = 256
MOST_TOKENS = {"cpu": 1024, "mps": 16384, "cuda": 65536}  # of a tuned batch: more only costs memory
GAIN = 1.05  # a larger batch must be this much faster to be worth its memory


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
            forward(model, *batch, ["mean"], 0)  # the first of a shape is slower
            started = time.perf_counter()
            forward(model, *batch, ["mean"], 0)
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
