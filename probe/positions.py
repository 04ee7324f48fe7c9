"""Where in a sentence its states are read: the last token, the last of the content, all of it, the focus."""

import unicodedata
from collections.abc import Sequence
from typing import Any


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
