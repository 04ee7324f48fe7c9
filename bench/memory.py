"""Activations that were never extracted: arrays, with real sentences beside them, as stage 3 reads them.

A world (bench/worlds.py) gives vectors and says what depends on what; here they become stores, one a variant,
a manifest and a family. The sentences are those of organism/stimulus_manifest.json, each translated, so that
checks on the text find nothing to object to; what a vector holds has nothing to do with them unless the world
says so.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore, Index
from probe.conventions import PRIMARY_POSITION
from probe.families import Family, Variant
from probe.languages import LANGUAGES
from probe.paths import REPOSITORY
from probe.stimuli.manifest import Manifest

BOS = 2
REGION = ("hi", "bn", "ta")  # what `fire` is meant for
NINE = tuple(code for code in LANGUAGES if code != "en")

FAMILY = Family(
    name="worlds",
    description="made for a test",
    control="global",
    default_variants=["base"],
    variants={
        "base": Variant(path="-"),
        "global": Variant(path="-"),
        "fire": Variant(path="-", emphasises=list(REGION)),
    },
)

Vectors = dict[str, np.ndarray]  # language -> (n, n_states, d_model)


class MemoryStore(ActivationStore):
    """The reading half of a store. Positions read the same vectors unless one has its own."""

    def __init__(
        self,
        vectors: np.ndarray,
        index: Index,
        post_norm: np.ndarray,
        own: Mapping[str, np.ndarray] | None = None,
    ):
        super().__init__(Path("memory"))
        self.index = index
        self.shape = vectors.shape[1:]
        self._vectors, self._own, self._normed = vectors, own or {}, post_norm
        self._row = {stimulus: row for row, stimulus in enumerate(index.token_ids)}

    def _rows(self, ids: Sequence[str]) -> list[int]:
        return [self._row[stimulus] for stimulus in ids]

    def resid(self, position: str, ids: Sequence[str], state: int | slice = slice(None)) -> np.ndarray:
        return self._own.get(position, self._vectors)[self._rows(ids)][:, state]

    def post_norm(self, position: str, ids: Sequence[str]) -> np.ndarray:
        return self._normed[self._rows(ids)]

    def require(self, ids: Sequence[str]) -> None:
        self._rows(ids)

    def fingerprint(self) -> str:
        return "memory"


@dataclass(frozen=True)
class Data:
    """What stage 3 is given. untrained: as untrained.csv has it; positions: those to be measured."""

    stores: dict[str, ActivationStore]
    manifest: Manifest
    family: Family = field(default_factory=lambda: FAMILY)
    untrained: pd.DataFrame | None = None
    positions: tuple[str, ...] = (PRIMARY_POSITION,)


@cache
def sentences(kind: str = "parallel") -> dict[str, list[dict]]:
    """Language -> the organism's sentences, in one order of meanings."""
    text = (REPOSITORY / "organism" / "stimulus_manifest.json").read_text(encoding="utf-8")
    stimuli = json.loads(text)[kind]
    return {code: [s for s in stimuli if s["language"] == code] for code in LANGUAGES}


@cache
def _vocabulary() -> dict[tuple[str, str], int]:
    """A token for each word of each language; a final mark is one token wherever it stands."""
    tokens: dict[tuple[str, str], int] = {}
    for kind in ("parallel", "probes"):
        for language, own in sentences(kind).items():
            for word in _words(" ".join(s["text"] for s in own), language):
                tokens.setdefault(word, 10 + len(tokens))
    return tokens


def _words(text: str, language: str) -> list[tuple[str, str]]:
    for mark in ".?।።":
        text = text.replace(mark, f" {mark}")
    return [("" if word in ".?।።" else language, word) for word in text.split()]


def tokens_of(text: str, language: str) -> list[int]:
    """One token a word, and one for the final mark, after BOS."""
    known = _vocabulary()
    return [BOS, *(known.setdefault(word, 10 + len(known)) for word in _words(text, language))]


def chosen(rng: np.random.Generator, n: int, languages: Sequence[str], kind: str = "parallel") -> dict:
    """Language -> n of the organism's sentences, the same meanings in each, in the order of the manifest."""
    rows = np.sort(rng.choice(len(sentences(kind)["en"]), n, replace=False))
    return {code: [sentences(kind)[code][row] for row in rows] for code in languages}


def data(
    variants: Mapping[str, Vectors],
    told: Mapping[str, list[dict]],
    groups: Sequence[dict[str, str]] | None = None,
    tokens: Mapping[str, list[list[int]]] | None = None,
    kind: str = "parallel",
    post_norm: Mapping[str, Vectors] | None = None,
    own: Mapping[str, Mapping[str, Vectors]] | None = None,
) -> Data:
    """Stores and manifest.

    variants: name -> language -> (n, n_states, d_model). told: language -> its n stimuli (`chosen`); row i of
    the vectors is the i-th of them. groups: of each meaning, what makes it depend on others. tokens: of each
    sentence, by language; by default `tokens_of` its text. post_norm: by default an RMSNorm with weights of
    its own. own: position -> variant -> vectors, where a position has its own.
    """
    stimuli = []
    for own_language in told.values():
        for row, stimulus in enumerate(own_language):
            stimuli.append(stimulus | ({"groups": groups[row]} if groups else {}))
    manifest = Manifest.model_validate({"metadata": {}, kind: stimuli})
    ids = [stimulus["stimulus_id"] for stimulus in stimuli]
    token_ids = [
        tokens[code][row] if tokens else tokens_of(stimulus["text"], code)
        for code, own_language in told.items()
        for row, stimulus in enumerate(own_language)
    ]
    index = Index(
        identity={"revision": "memory", "dtype": "float32"},
        token_ids=dict(zip(ids, token_ids, strict=True)),
        read_index={name: _read_at(of) for name, of in zip(ids, token_ids, strict=True)},
    )
    stores = {}
    for variant, vectors in variants.items():
        stacked = _stacked(vectors, told)
        normed = _stacked(post_norm[variant], told)[:, 0] if post_norm else rms_normed(stacked[:, -1])
        at = {position: _stacked(of[variant], told) for position, of in (own or {}).items()}
        stores[variant] = MemoryStore(stacked, index, normed, at)
    return Data(stores, manifest, positions=(PRIMARY_POSITION, *(own or {})))


def _stacked(vectors: Vectors, told: Mapping[str, list[dict]]) -> np.ndarray:
    return np.concatenate([vectors[code] for code in told]).astype(np.float32)


def _read_at(tokens: list[int]) -> dict:
    last = len(tokens) - 1
    return {"last": last, "content": last - 1, "focus": last - 1, "mean": list(range(1, last))}


def rms_normed(x: np.ndarray, heavy: int = 0) -> np.ndarray:
    """The final norm of a network, weights and all; `heavy` of them 30 times the others."""
    weights = np.exp(np.random.default_rng(1).normal(size=x.shape[-1]))
    weights[:heavy] *= 30
    return weights * x / np.sqrt((x**2).mean(axis=-1, keepdims=True))
