"""The logit lens: which language a residual state would speak, were it the last one.

What here is pure: the vocabulary's scripts, the tokens that a word can begin with, the prompts, and the
statistics. The states and the model's own head are read by `probe.unembedding`.

Sources: nostalgebraist 2020, "Interpreting GPT: the logit lens"; Wendler et al. 2024, "Do Llamas Work in
English?" (probability of a language as the mass of the tokens that its word can begin with).
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
from probe.languages import LANGUAGES, PIVOT
from probe.stats import resampling
from probe.stimuli.manifest import ProbeSentence

SCRIPTS = tuple(dict.fromkeys(language.script for language in LANGUAGES.values()))
OTHER = "other"  # a script of none of the ten languages, or more than one
NO_SCRIPT = "none"  # digits, marks, blanks, the first byte of a character
COLUMNS = (*SCRIPTS, OTHER, NO_SCRIPT)
SHOTS = 2  # examples before the question: what nano-aya was trained on
# What is translated from: not English, or English in the middle could be copied from the prompt; and in a
# script of its own, so that its words share no token with English or the target.
SOURCE, SOURCE_FOR = "ar", {"ar": "hi"}
MIN_ITEMS = 5  # concepts; fewer say nothing
ALPHA = 0.01  # of an onset, over all states together; a figure has nine targets and English beside each

Words = Mapping[str, Mapping[str, str]]  # concept id -> language -> its word
Starts = Mapping[str, Mapping[str, frozenset[int]]]  # concept id -> language -> tokens it can begin with
_OF_SCRIPT = "|".join(rf"(?P<{script}>\p{{Script={script}}})" for script in SCRIPTS)
# Some letters, as the Arabic lengthening stroke, are of no script and may stand in several.
_LETTER = regex.compile(
    rf"{_OF_SCRIPT}|(?P<{OTHER}>[\p{{L}}--\p{{Script=Common}}--\p{{Script=Inherited}}])", regex.V1
)
_CONTINUATION = bytes(range(0x80, 0xC0))


# The vocabulary


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
def vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """Made once per tokenizer: 256,000 tokens take a few seconds."""
    return Vocabulary(token_bytes(tokenizer, size))


# Words


def words(probes: Iterable[ProbeSentence]) -> dict[str, dict[str, str]]:
    """Concept id -> language -> focus word; in lower case where it opens the sentence."""
    found: dict[str, dict[str, str]] = {}
    for probe in probes:
        opens = probe.text.startswith(probe.focus)
        found.setdefault(probe.concept_id, {})[probe.language] = probe.focus.lower() if opens else probe.focus
    return found


def starts(vocabulary: Vocabulary, words: Words) -> dict[str, dict[str, frozenset[int]]]:
    return {c: {lang: vocabulary.starts(w) for lang, w in of.items()} for c, of in words.items()}


def apart(of: Mapping[str, frozenset[int]], compared: Iterable[str]) -> bool:
    """Whether a first token tells the languages' words apart: each has one, and no two share one."""
    sets = [of[language] for language in compared]
    return all(sets) and not any(a & b for a, b in combinations(sets, 2))


def collisions(starts: Starts) -> dict[str, int]:
    """How many concepts' words share a first token in two languages: {"en-fr": 7}, only those above 0."""
    counts = {
        f"{a}-{b}": sum(bool(of[a] & of[b]) for of in starts.values()) for a, b in combinations(LANGUAGES, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def exclusive(starts: Starts) -> tuple[dict[str, frozenset[int]], float]:
    """Language -> tokens that words of this language begin with and words of no other of the ten, over all
    concepts given; and the share of tokens left out because two languages have them."""
    merged = {lang: frozenset[int]().union(*(of[lang] for of in starts.values())) for lang in LANGUAGES}
    every = frozenset[int]().union(*merged.values())
    shared = frozenset(i for i in every if sum(i in tokens for tokens in merged.values()) > 1)
    return {lang: tokens - shared for lang, tokens in merged.items()}, len(shared) / max(len(every), 1)


# Prompts


@dataclass(frozen=True)
class Prompt:
    """A text and where its state is read. `language` is the one that should come next."""

    stimulus_id: str
    kind: str  # probe, cloze, translation
    position: str  # content, focus, before_focus, last
    concept_id: str
    language: str
    source: str | None  # what is translated from
    text: str
    focus: str | None = None

    @property
    def compared(self) -> tuple[str, ...]:
        """The languages that the prompt is about: its own, the one translated from, and English."""
        return tuple(dict.fromkeys(x for x in (self.language, self.source, PIVOT) if x))

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Prompts that differ in the concept alone."""
        return self.kind, self.position, self.source or "", self.language


def prompts(probes: Sequence[ProbeSentence]) -> list[Prompt]:
    """The probe read at its last content token and at its focus word; the probe up to the focus word (where
    that does not open it); and few-shot translation of the word, from English and from another language."""
    asked = []
    for probe in probes:
        of = (probe.concept_id, probe.language, None)
        asked += [
            Prompt(probe.stimulus_id, "probe", position, *of, probe.text, probe.focus)
            for position in ("content", "focus")
        ]
        if before := probe.text[: probe.text.index(probe.focus)].rstrip():
            asked.append(Prompt(probe.stimulus_id, "cloze", "before_focus", *of, before))
    of_concept = words(probes)
    for concept_id in of_concept:
        for target in LANGUAGES:
            for source in (PIVOT, SOURCE_FOR.get(target, SOURCE)):
                if source != target != PIVOT:
                    asked.append(_translation(of_concept, concept_id, source, target))
    return asked


def _translation(of_concept: Words, concept_id: str, source: str, target: str) -> Prompt:
    """Lines of `Language: word`, each language by its own name; the concepts that follow are the examples."""
    order = list(of_concept)
    place = order.index(concept_id)
    examples = [order[(place + i) % len(order)] for i in range(SHOTS, 0, -1)]
    named = {lang: f"{LANGUAGES[lang].autonym}:" for lang in (source, target)}
    said = [f"{named[lang]} {of_concept[c][lang]}" for c in examples for lang in (source, target)]
    asked = [f"{named[source]} {of_concept[concept_id][source]}", named[target]]
    name = f"translate_{concept_id}_{source}_{target}"
    text = "\n".join([*said, *asked])
    return Prompt(name, "translation", "last", concept_id, target, source, text)


# Readings


@dataclass(frozen=True)
class LensReading:
    """One text, read at its last token, state by state.

    p_lang    (n_states, n_languages): mass of the tokens that words of the language begin with, and words of
              no other language; the rest of the vocabulary is in none
    p_script  (n_states, n_scripts): mass by script; rows sum to 1
    tokens    per state the likeliest (token, probability)
    """

    text: str
    languages: list[str]
    scripts: list[str]
    p_lang: np.ndarray
    p_script: np.ndarray
    entropy_bits: np.ndarray
    tokens: list[list[tuple[str, float]]]
    shared: float  # share of the words' first tokens that is left out, being of two languages

    def payload(self, digits: int = 3) -> dict[str, Any]:
        """For JSON, rounded to significant digits."""

        def rounded(values: Iterable[float]) -> list[float]:
            return [float(f"{value:.{digits}g}") for value in values]

        return {
            "text": self.text,
            "p_lang": dict(zip(self.languages, map(rounded, self.p_lang.T), strict=True)),
            "p_script": dict(zip(self.scripts, map(rounded, self.p_script.T), strict=True)),
            "entropy_bits": rounded(self.entropy_bits),
            "top": [[[token, *rounded([p])] for token, p in state] for state in self.tokens],
            "shared": rounded([self.shared])[0],
        }


def indicator(sets: Sequence[frozenset[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens in any set (k,), and 0 or 1 by token and set (k, n_sets) float32: what sums the sets' masses is
    `probabilities[:, tokens] @ matrix`."""
    tokens = np.array(sorted(frozenset[int]().union(*sets)), dtype=np.int64)
    matrix = np.array([[token in one for one in sets] for token in tokens.tolist()], dtype=np.float32)
    return tokens, matrix.reshape(len(tokens), len(sets))


# Statistics


def tested(mass: np.ndarray) -> dict[str, np.ndarray]:
    """Mean mass of the right words over concepts, state by state, with its interval and its null.

    mass: (n_states, n, n), row i the prompt of concept i, column j the word of concept j; values in [0, 1].
    The null gives each prompt the word of a random concept, by the same permutations at all states. Returns
    value, ci_low, ci_high, null, null_low, null_high, p_value, and p_max (over all states together), each
    (n_states,).
    """
    own = np.einsum("sii->is", mass).astype(np.float64)
    value, low, high = resampling.interval(lambda w: w @ own / w.sum(axis=1, keepdims=True), len(own))
    null = resampling.permuted_matched(mass.astype(np.float64))
    ends = np.quantile(null, [0.025, 0.975], axis=0)
    return {
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "null": null.mean(axis=0),
        "null_low": ends[0],
        "null_high": ends[1],
        "p_value": resampling.p_value(value, null),
        "p_max": resampling.max_statistic_p(value, null)[0],
    }


def onset(p_max: Sequence[float] | np.ndarray, alpha: float = ALPHA) -> int | None:
    """The first state at which the word is readable above chance, all states tested together; None: never."""
    held = np.asarray(p_max) <= alpha
    return int(held.argmax()) if held.any() else None
