"""The residual states of texts: every text once, in batches, at a few positions, never all of them at once.

Transformers' own last hidden state is *after* the final norm and is kept apart as `post_norm`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe import positions
from probe.models.batching import TOKEN_BUDGET, within_memory
from probe.models.faithful import require_faithful
from probe.models.forward import forward


@dataclass(frozen=True)
class Activations:
    """What extraction yields for n texts.

    resid      position -> float32 (n, n_states, d_model); state 0 is the embedding, state l the raw output
               of block l, before the final norm
    post_norm  position -> float32 (n, d_model): the model's final norm applied at the tokens read
    token_ids  per text, with the special tokens that the model was given
    read_index per text: position -> token index; for "mean" the list of indices averaged
    """

    resid: dict[str, np.ndarray]
    post_norm: dict[str, np.ndarray]
    token_ids: list[list[int]]
    read_index: list[dict[str, Any]]

    def take(self, rows: Sequence[int]) -> "Activations":
        """Those of the given texts, in that order; a row may be taken twice."""
        return Activations(
            resid={position: resid[rows] for position, resid in self.resid.items()},
            post_norm={position: normed[rows] for position, normed in self.post_norm.items()},
            token_ids=[self.token_ids[row] for row in rows],
            read_index=[self.read_index[row] for row in rows],
        )


def extract(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    focus: Sequence[str] | None = None,
    token_budget: int = TOKEN_BUDGET,
    progress: Callable[[int, int], Any] = lambda n_texts, n_tokens: None,
    check: bool = True,
) -> Activations:
    """Residual states of each text at every read position, on whatever device the model is.

    focus: the focus word of each text, which adds the position "focus". A text given twice is run once.
    token_budget: padded tokens a batch; halved where a batch does not fit in memory. progress is called
    with the texts and tokens of each batch done. check: see first that reading the model gives what it
    computes; a second call with the same model may leave that out.
    Returns Activations: `.resid[position]` float32 (n, n_states, d_model), `.post_norm[position]` float32
    (n, d_model), `.token_ids` and `.read_index` per text. Raises ValueError where a text has no content,
    ProbeError where padding would leak or not even one text fits in memory.
    """
    given = list(zip(texts, focus or [None] * len(texts), strict=True))
    place = {key: row for row, key in enumerate(dict.fromkeys(given))}
    if len(place) < len(given):
        words = [word for _, word in place if word is not None]
        once = extract(model, tokenizer, [text for text, _ in place], words, token_budget, progress, check)
        return once.take([place[key] for key in given])
    if not given:
        raise ValueError("no texts to extract")
    token_ids, index = positions.tokenize(tokenizer, texts, focus)
    names = ["last", "content", "mean"] + (["focus"] if focus else [])
    pad = tokenizer.pad_token_id or 0
    if check:
        require_faithful(model, token_ids, pad)
    lengths = [len(ids) for ids in token_ids]
    resid = post_norm = np.empty(0, np.float32)

    def run(batch: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return forward(model, [token_ids[i] for i in batch], [index[i] for i in batch], names, pad)

    for batch, (states, normed) in within_memory(run, lengths, token_budget):
        if not resid.size:
            resid = np.empty((len(texts), *states.shape[1:]), np.float32)
            post_norm = np.empty((len(texts), *normed.shape[1:]), np.float32)
        resid[batch], post_norm[batch] = states, normed
        progress(len(batch), sum(lengths[i] for i in batch))
    return Activations(
        resid={name: resid[:, i] for i, name in enumerate(names)},
        post_norm={name: post_norm[:, i] for i, name in enumerate(names)},
        token_ids=[list(ids) for ids in token_ids],
        read_index=index,
    )
