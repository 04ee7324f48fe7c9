"""Which tokens a word can begin with, and the script of every token.

The probability of a language is the mass of the tokens that its word can begin with.
Source: Wendler et al. 2024, "Do Llamas Work in English?".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import regex

from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.stimuli.manifest import ProbeSentence

SCRIPTS = tuple(dict.fromkeys(language.script for language in LANGUAGES.values()))
OTHER = "other"  # a script of none of the ten languages, or more than one
NO_SCRIPT = "none"  # digits, marks, blanks, the first byte of a character
COLUMNS = (*SCRIPTS, OTHER, NO_SCRIPT)

Words = Mapping[str, Mapping[str, str]]  # concept id -> language -> its word
Starts = Mapping[str, Mapping[str, frozenset[int]]]  # concept id -> language -> tokens it can begin with
_OF_SCRIPT = "|".join(rf"(?P<{script}>\p{{Script={script}}})" for script in SCRIPTS)
# Some letters, as the Arabic lengthening stroke, are of no script and may stand in several.
_LETTER = regex.compile(
    rf"{_OF_SCRIPT}|(?P<{OTHER}>[\p{{L}}--\p{{Script=Common}}--\p{{Script=Inherited}}])", regex.V1
)
_CONTINUATION = bytes(range(0x80, 0xC0))


def token_bytes(tokenizer: Any, size: int) -> list[bytes]:
    """What each token adds to a text, in UTF-8; b"" for special and added tokens and for unused rows.

    size: rows of the unembedding, which may be more than the tokenizer has tokens. Raises ProbeError for a
    tokenizer that is neither byte-level nor SentencePiece's.
    """
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"], ensure_ascii=False)
    if '"ByteLevel"' in decoder:
        read = _byte_level
    elif "▁" in decoder:
        read = _sentencepiece
    else:
        raise ProbeError(f"{type(tokenizer).__name__}: neither byte-level nor SentencePiece; no lens for it")
    added = set(tokenizer.get_added_vocab().values())
    names = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
    known = [b"" if name is None or i in added else read(name) for i, name in enumerate(names)]
    return known + [b""] * (size - len(known))


def _alphabet() -> dict[str, int]:
    """Byte-level BPE's letters: bytes that print are themselves, the others follow from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printing]
    return {chr(b): b for b in printing} | {chr(256 + i): b for i, b in enumerate(hidden)}


ALPHABET = _alphabet()


def _byte_level(name: str) -> bytes:
    return bytes(ALPHABET[letter] for letter in name)


def _sentencepiece(name: str) -> bytes:
    byte = regex.fullmatch(r"<0x([0-9A-F]{2})>", name)
    return bytes.fromhex(byte[1]) if byte else name.replace("▁", " ").encode()


def script_of(token: bytes) -> str:
    """The script of a token's letters: one of SCRIPTS, OTHER, or NO_SCRIPT.

    A token may begin or end within a character. Bytes that end one are passed over; the beginning of one
    counts where a single byte is missing and all that it could be is of one script.
    """
    body = token.lstrip(_CONTINUATION)
    whole = body.decode(errors="ignore")
    found = _scripts(whole)
    if not found:
        tail = body[len(whole.encode()) :]
        found = _scripts("".join((tail + bytes([b])).decode(errors="ignore") for b in _CONTINUATION))
    return NO_SCRIPT if not found else found.pop() if len(found) == 1 else OTHER


def _scripts(text: str) -> set[str]:
    return {str(match.lastgroup) for match in _LETTER.finditer(text)}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """tokens: bytes of each row of the unembedding. script_ids: (vocab,) places in COLUMNS."""

    tokens: list[bytes]

    @cached_property
    def script_ids(self) -> np.ndarray:
        return np.array([COLUMNS.index(script_of(token)) for token in self.tokens])

    @cached_property
    def _ids(self) -> dict[bytes, list[int]]:
        ids: dict[bytes, list[int]] = {}
        for i in np.flatnonzero(self.script_ids != COLUMNS.index(NO_SCRIPT)):
            ids.setdefault(self.tokens[i], []).append(int(i))
        return ids

    def starts(self, word: str) -> frozenset[int]:
        """Every token that the word can begin with: its prefixes, with and without a leading space.

        A prefix without a script (the space alone; in UTF-8 the first byte of a Hindi, Bengali and Tamil
        letter, which is one and the same) says nothing of the language and is left out.
        """
        spelled = [text.encode() for text in (word, f" {word}")]
        return frozenset(
            i for text in spelled for end in range(1, len(text) + 1) for i in self._ids.get(text[:end], ())
        )


@lru_cache(maxsize=2)
def read_vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """Made once per tokenizer: 256,000 tokens take a few seconds."""
    return Vocabulary(token_bytes(tokenizer, size))


# Words


def focus_words(probes: Iterable[ProbeSentence]) -> dict[str, dict[str, str]]:
    """Concept id -> language -> focus word; in lower case where it opens the sentence."""
    found: dict[str, dict[str, str]] = {}
    for probe in probes:
        opens = probe.text.startswith(probe.focus)
        found.setdefault(probe.concept_id, {})[probe.language] = probe.focus.lower() if opens else probe.focus
    return found


def first_tokens(vocabulary: Vocabulary, words: Words) -> dict[str, dict[str, frozenset[int]]]:
    return {c: {lang: vocabulary.starts(w) for lang, w in of.items()} for c, of in words.items()}


def tell_apart(of: Mapping[str, frozenset[int]], compared: Iterable[str]) -> bool:
    """Whether a first token tells the languages' words apart: each has one, and no two share one."""
    sets = [of[language] for language in compared]
    return all(sets) and not any(a & b for a, b in combinations(sets, 2))


def count_collisions(starts: Starts) -> dict[str, int]:
    """How many concepts' words share a first token in two languages: {"en-fr": 7}, only those above 0."""
    counts = {
        f"{a}-{b}": sum(bool(of[a] & of[b]) for of in starts.values()) for a, b in combinations(LANGUAGES, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def exclusive_tokens(starts: Starts) -> tuple[dict[str, frozenset[int]], float]:
    """Language -> tokens that words of this language begin with and words of no other of the ten, over all
    concepts given; and the share of tokens left out because two languages have them."""
    merged = {lang: frozenset[int]().union(*(of[lang] for of in starts.values())) for lang in LANGUAGES}
    every = frozenset[int]().union(*merged.values())
    shared = frozenset(i for i in every if sum(i in tokens for tokens in merged.values()) > 1)
    return {lang: tokens - shared for lang, tokens in merged.items()}, len(shared) / max(len(every), 1)


def indicator(sets: Sequence[frozenset[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens in any set (k,), and 0 or 1 by token and set (k, n_sets) float32: what sums the sets' masses is
    `probabilities[:, tokens] @ matrix`."""
    tokens = np.array(sorted(frozenset[int]().union(*sets)), dtype=np.int64)
    matrix = np.array([[token in one for one in sets] for token in tokens.tolist()], dtype=np.float32)
    return tokens, matrix.reshape(len(tokens), len(sets))
