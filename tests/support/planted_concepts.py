"""Sentences of crossing words in which a variant has lost some words of some languages, and nothing else.

A frame takes a word of each of its slots, and a sentence that holds them is, in language l and variant v,

    x[l, i, v] = d_l + sqrt(kept[l, v]) * (sum of its words' vectors + f_frame) + OWN * e_li + noise * z_liv

with the words' vectors standard normal, shared by all languages; d_l what all sentences of a language have in
common, e_li of the sentence in every variant, z_liv drawn anew. Of most of a lost word's sentences the part
in brackets is that of another sentence, which is the wrong partner they were pulled to. Vectors are the same
at every state. A commitment is found here from the vectors: the state is 0 where the pair beats 95 % of its
row and its column, and never elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from probe.languages import PIVOT, TARGETS
from probe.stimuli.manifest import Manifest, ParallelSentence

N_STATES, D_MODEL = 2, 128
OWN = 3.0  # size of e: enough that not every sentence commits
REACHED = 0.9  # of a lost word's sentences, those that are pulled away
SIZES = {"person": 12, "condition": 12, "intake": 12, "place": 8, "action": 8, "time": 8}  # 60 words
FRAMES = {
    "has": ("person", "condition", "time"),
    "took": ("person", "intake", "time"),
    "gave": ("person", "intake", "person2"),
    "was": ("person", "place", "time"),
    "does": ("person", "action", "place"),
    "harms": ("condition", "person", "place"),
    "treats": ("intake", "condition", "time"),
    "must": ("person", "action", "time"),
}
ENDINGS = ("_layer", "_calibrated")

Cell = tuple[str, str]  # (concept id, language)


@dataclass
class Store:
    """What stage 4 asks of an ActivationStore."""

    vectors: dict[str, np.ndarray]
    n_states: int = N_STATES

    def resid(self, position: str, ids: Iterable[str], state: slice = slice(None)) -> np.ndarray:
        assert position == "mean"
        rows = np.array([self.vectors[name] for name in ids], dtype=np.float32)
        return np.repeat(rows[:, None], self.n_states, axis=1)[:, state]


@dataclass(frozen=True)
class Variant:
    """lost: the cells that this variant breaks; kept: language -> share of what it kept of every meaning;
    moved: words whose English sentences are pulled away; offset: language -> length of a further d_l."""

    lost: frozenset[Cell] = frozenset()
    kept: Mapping[str, float] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    offset: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.3


@dataclass(frozen=True)
class World:
    manifest: Manifest
    stores: dict[str, Store]
    commitments: pd.DataFrame  # as commitment_matrix.csv has it


def drawn(rng: np.random.Generator, n: int) -> list[dict[str, str]]:
    """n different meanings: what each has in each slot, with its frame. No person is twice in one."""
    made: dict[tuple, dict[str, str]] = {}
    while len(made) < n:
        frame = str(rng.choice(list(FRAMES)))
        slots = {}
        for slot in FRAMES[frame]:
            factor = slot.rstrip("2")
            left = [v for i in range(SIZES[factor]) if (v := f"{factor}{i}") not in slots.values()]
            slots[slot] = str(rng.choice(left))
        made[frame, *slots.values()] = {"frame": frame, **slots}
    return list(made.values())


def words_of(meaning: Mapping[str, str]) -> set[str]:
    return {f"{slot.rstrip('2')}:{value}" for slot, value in meaning.items() if slot != "frame"}


def world(seed: int, variants: Mapping[str, Variant], n: int = 200, lacking: tuple[str, ...] = ()) -> World:
    """Variants beside `base`; a language of `lacking` tells none of the meanings."""
    rng = np.random.default_rng(seed)
    meanings = drawn(rng, n)
    vectors = {word: rng.normal(size=D_MODEL) for word in sorted(set().union(*map(words_of, meanings)))}
    frames = {frame: rng.normal(size=D_MODEL) for frame in FRAMES}
    told = np.array([sum(vectors[w] for w in words_of(m)) + frames[m["frame"]] for m in meanings])
    wrong = told[(np.arange(n) + rng.integers(1, n, size=n)) % n]
    languages = [code for code in (PIVOT, *TARGETS) if code not in lacking]
    common = {code: 2 * rng.normal(size=D_MODEL) for code in languages}
    own = {code: OWN * rng.normal(size=(n, D_MODEL)) for code in languages}
    stores, commits = {}, {}
    for name, variant in {"base": Variant(), **variants}.items():
        made = {}
        for code in languages:
            lost = np.array([_is_lost(variant, code, words_of(meaning)) for meaning in meanings])
            lost &= (rng.random(n) < REACHED) | (code == PIVOT)
            said = np.where(lost[:, None], wrong, told) * np.sqrt(variant.kept.get(code, 1.0))
            moved = common[code] + variant.offset.get(code, 0.0) * rng.normal(size=D_MODEL)
            made[code] = said + moved + own[code] + variant.noise * rng.normal(size=said.shape)
        stores[name] = Store({_id(code, i): row for code, rows in made.items() for i, row in enumerate(rows)})
        commits[name] = {code: committed(made[PIVOT], made[code]) for code in languages if code != PIVOT}
    return World(manifest_of(meanings, languages), stores, matrix(commits))


def _id(language: str, number: int) -> str:
    return f"parallel_{language}_{number:03d}"


def manifest_of(meanings: Sequence[Mapping[str, str]], languages: Sequence[str]) -> Manifest:
    sentences = [
        ParallelSentence(
            stimulus_id=_id(code, i),
            language=code,
            text=f"{code} {i}",
            meaning_id=f"m{i:03d}",
            groups=dict(meaning),
        )
        for code in languages
        for i, meaning in enumerate(meanings)
    ]
    return Manifest(metadata={}, parallel=sentences)


def matrix(commits: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """As commitment_matrix.csv. commits: variant -> language -> bool (n,)."""
    rows = [
        {"stimuli": "parallel", "concept_id": f"m{i:03d}", "concept": f"m{i:03d}", "language": code}
        | {f"{v}{end}": 0 if by[code][i] else None for v, by in commits.items() for end in ENDINGS}
        for code, of in commits["base"].items()
        for i in range(len(of))
    ]
    whole = {f"{variant}{end}": "Int64" for variant in commits for end in ENDINGS}
    return pd.DataFrame(rows).astype(whole)


def _is_lost(variant: Variant, language: str, words: set[str]) -> bool:
    if language == PIVOT:
        return bool(words & variant.moved)
    return any((word, language) in variant.lost for word in words)


def committed(pivot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """bool (n,): whether each pair beats 95 % of the mismatched ones in its row and in its column."""
    centred = [x - x.mean(axis=0) for x in (pivot, target)]
    rows, columns = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in centred)
    similarity = rows @ columns.T
    apart = np.where(np.eye(len(similarity), dtype=bool), np.nan, similarity)
    beaten = np.maximum(np.nanquantile(apart, 0.95, axis=1), np.nanquantile(apart, 0.95, axis=0))
    return np.diagonal(similarity) > beaten
