"""Synthetic activations whose alignment is known in closed form, to see whether the measurement finds it.

Sentence i in language l at state s of one variant is the sum of independent parts,

    x[l, i, s] = sqrt(d) * (sqrt(anisotropy) * c + sqrt(offset) * o_l)        the same for every sentence
                 + sqrt(shared) * m_i + sqrt(1 - shared) * e_li               shared = shared[l][s]
                 + noise * z_lis

with c and every o_l orthogonal unit vectors, and m (one per meaning), e (one per meaning and language) and z
(drawn anew at every state) standard normal in each of the d dimensions. m and e are one draw for all states,
so the states of a curve move together as a network's do. A squared length is d * (anisotropy + offset + 1 +
noise^2) up to O(1/sqrt(d)), hence, with k = sqrt(shared[pivot] * shared[target]),

    cosine = (anisotropy + k) / (anisotropy + offset + 1 + noise^2)
    excess =               k  / (anisotropy + offset + 1 + noise^2)           mismatched pairs: without the k
    centred cosine =       k  / (1 + noise^2)                                 each language's mean taken away

A variant is a World with the same seed, thus the same meanings and sentences, another `variant` number, thus
other noise, and `gains`: shared fraction added in some languages (a regional effect) or in all targets (a
global shift). With `terminal=True` every vector of state 0 is that of the language's final mark, as when the
final token is read: its cosine to the pivot is one constant, and 1 where both languages end in one mark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np

from probe.languages import LANGUAGES, PIVOT
from probe.stimuli.manifest import Manifest, ParallelSentence

FINAL_TOKENS = {
    mark: 10 + i for i, mark in enumerate(dict.fromkeys(x.final_mark for x in LANGUAGES.values()))
}


def bump(n_states: int, peak: int, low: float = 0.1, high: float = 0.6, width: float = 3.0) -> np.ndarray:
    """(n_states,) in [low, high]: a shared fraction that is highest at the state `peak` and nowhere else."""
    distance = (np.arange(n_states) - peak) / width
    return low + (high - low) * np.exp(-(distance**2) / 2)


@dataclass(frozen=True)
class World:
    shared: np.ndarray  # (n_states,) in [0, 1]: the share of a sentence's variance that its meaning makes
    n: int = 200
    d_model: int = 256
    languages: tuple[str, ...] = (PIVOT, "hi", "sw", "fr")
    anisotropy: float = 1.0  # squared length of what all sentences have in common, over d_model
    offset: float = 0.5  # and of what all sentences of one language have in common
    noise: float = 0.3
    gains: dict[str, float] = field(default_factory=dict)  # added to `shared` in a target language
    seed: int = 0
    variant: int = 0

    def shared_in(self, language: str) -> np.ndarray:
        """(n_states,) shared fraction of one language. The pivot never gains."""
        return np.clip(self.shared + (0 if language == PIVOT else self.gains.get(language, 0.0)), 0, 1)


@dataclass(frozen=True)
class Truth:
    """What a metric would measure with endless dimensions and sentences; each (n_states,) float64."""

    cosine: np.ndarray
    excess: np.ndarray
    centred: np.ndarray


def truth(world: World, language: str) -> Truth:
    """The analytic values against the pivot. They do not hold at state 0 where `terminal` was planted."""
    common = np.sqrt(world.shared_in(PIVOT) * world.shared_in(language))
    length = world.anisotropy + world.offset + 1 + world.noise**2
    return Truth((world.anisotropy + common) / length, common / length, common / (1 + world.noise**2))


def activations(world: World, terminal: bool = False) -> dict[str, np.ndarray]:
    """language -> (n, n_states, d_model) float32; row i says the same thing in every language.

    Raises ValueError where there are too few dimensions to keep the languages' offsets apart.
    """
    if world.d_model <= len(world.languages):
        raise ValueError("d_model must exceed the number of languages")
    rng = np.random.default_rng(world.seed)
    own_noise = np.random.default_rng([world.seed, world.variant, 1])
    directions = np.linalg.qr(rng.normal(size=(world.d_model, len(world.languages) + 1)))[0].T
    directions *= np.sqrt(world.d_model)
    meaning = rng.normal(size=(world.n, 1, world.d_model))
    marks = {mark: rng.normal(size=world.d_model) for mark in FINAL_TOKENS}
    made = {}
    for language, offset in zip(world.languages, directions[1:], strict=True):
        share = world.shared_in(language)[None, :, None]
        own = rng.normal(size=meaning.shape)
        noise = own_noise.normal(size=(world.n, len(world.shared), world.d_model))
        vectors = np.sqrt(share) * meaning + np.sqrt(1 - share) * own + world.noise * noise
        vectors += np.sqrt(world.anisotropy) * directions[0] + np.sqrt(world.offset) * offset
        if terminal:
            vectors[:, 0] = marks[LANGUAGES[language].final_mark]
        made[language] = vectors.astype(np.float32)
    return made


def with_effect(world: World, languages: tuple[str, ...], gain: float) -> World:
    """The world of a variant that shares more in these languages: some (regional) or all targets (global)."""
    return replace(world, gains=dict.fromkeys(languages, gain), variant=world.variant + 1)


def final_tokens(world: World) -> dict[str, list[int]]:
    """language -> the id of each sentence's final token, had every sentence ended in its final mark."""
    return {code: [FINAL_TOKENS[LANGUAGES[code].final_mark]] * world.n for code in world.languages}


def manifest_of(world: World, groups: Sequence[dict[str, str | list[str]]] | None = None) -> Manifest:
    """Row i of every language as one meaning; groups: of each, what makes it depend on others."""
    sentences = [
        ParallelSentence(
            stimulus_id=f"parallel_{language}_{i:03d}",
            language=language,
            text=f"{language} {i}",
            meaning_id=f"{i:03d}",
            groups=groups[i] if groups else {},
        )
        for i in range(world.n)
        for language in world.languages
    ]
    return Manifest(metadata={}, parallel=sentences)


class MemoryStore:
    """What the measurement asks of an ActivationStore, from arrays: every position alike, two tokens a
    sentence, of which matched sentences share none."""

    def __init__(self, made: Mapping[str, np.ndarray]) -> None:
        rows = {f"parallel_{lang}_{i:03d}": each for lang, of in made.items() for i, each in enumerate(of)}
        self.rows = rows
        self.shape: tuple[int, int] = next(iter(rows.values())).shape
        self.n_states = self.shape[0]
        self.index = SimpleNamespace(
            token_ids={name: [2 * i, 2 * i + 1] for i, name in enumerate(rows)},
            read_index={name: {"last": 1, "content": 1, "mean": [0, 1]} for name in rows},
            environment={},
        )

    def resid(self, position: str, ids: Sequence[str], state: int | slice = slice(None)) -> np.ndarray:
        return np.stack([self.rows[name][state] for name in ids])

    def post_norm(self, position: str, ids: Sequence[str]) -> np.ndarray:
        last = self.resid(position, ids, self.n_states - 1)
        return last * np.linspace(0.5, 1.5, self.shape[1])
