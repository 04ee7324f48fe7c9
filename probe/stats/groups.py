"""What makes meanings depend on one another, and how that is respected when they are resampled.

Sentences that share a document, an article, a frame or a filler are not independent: resampled one by one
they give intervals two to three times too narrow. A `Groups` holds a factor for each thing they may share.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.sparse import csr_array

N_RESAMPLES = 2000
SEED = 20

Own = Mapping[str, str | Sequence[str]]  # of one meaning: factor -> what it has of it


@dataclass(frozen=True, eq=False)
class Groups:
    """n meanings and the factors that group them.

    factors: name -> int (n,), equal where two meanings share it. A factor that no two meanings share is left
    out; with none at all the meanings are independent.
    """

    n: int
    factors: Mapping[str, np.ndarray]

    @classmethod
    def independent(cls, n: int) -> "Groups":
        return cls(n, {})

    @classmethod
    def of(cls, shared: Sequence[Own]) -> "Groups":
        """From what each meaning shares; a list (of fillers) is one factor for each of its places. A meaning
        that lacks a factor is by itself in it."""
        labels: dict[str, list[str | None]] = {}
        for row, own in enumerate(shared):
            for name, values in own.items():
                places = {name: values} if isinstance(values, str) else _by_place(name, values)
                for key, value in places.items():
                    labels.setdefault(key, [None] * len(shared))[row] = value
        coded = {name: _coded(values) for name, values in labels.items()}
        return cls(
            len(shared), {k: codes for k, codes in coded.items() if len(np.unique(codes)) < len(codes)}
        )

    def take(self, rows: np.ndarray) -> "Groups":
        """Those of the given meanings, none of them twice."""
        kept = {name: np.unique(codes[rows], return_inverse=True)[1] for name, codes in self.factors.items()}
        return Groups(len(rows), {name: codes for name, codes in kept.items() if codes.max() + 1 < len(rows)})

    @cached_property
    def shared(self) -> "Shared":
        """Each meaning by itself, the factors, and each two factors together where meanings share both."""
        alone = np.arange(self.n)
        joint = (_joint(pair) for pair in itertools.combinations(self.factors.values(), 2))
        crossings = [codes for codes in joint if codes.max() + 1 < self.n]
        return Shared.of([alone, *self.factors.values(), *crossings])

    @cached_property
    def effective(self) -> float:
        """Effective number of independent groups, of the factor that leaves fewest: n^2 / sum of squared
        sizes, in [1, n]; n where the meanings are independent.
        Source: Kish 1965, "Survey Sampling" (design effect of unequal clusters)."""
        return min((effective_number(codes) for codes in self.factors.values()), default=float(self.n))

    @cached_property
    def coarsest(self) -> np.ndarray:
        """int (n,): the factor with fewest effective groups; each meaning by itself where there is none."""
        return min(self.factors.values(), key=effective_number, default=np.arange(self.n))

    @cached_property
    def bootstrap_weights(self) -> np.ndarray:
        """(N_RESAMPLES, n): how often each meaning is drawn, whole groups of the coarsest factor at a time.
        Redrawn where fewer than two groups differ, for then nothing is left to be mismatched."""
        count = int(self.coarsest.max()) + 1
        return multinomial(count)[:, self.coarsest]

    @cached_property
    def jackknife_weights(self) -> np.ndarray:
        """(n_groups, n): each group of the coarsest factor left out once."""
        count = int(self.coarsest.max()) + 1
        return (self.coarsest[None, :] != np.arange(count)[:, None]).astype(np.float64)

    def folds(self, count: int) -> np.ndarray:
        """int (n,): a fold for each meaning, at most `count`; a group of the coarsest factor is in one."""
        return self.coarsest % count


@dataclass(frozen=True, eq=False)
class Shared:
    """Several ways to group n meanings, one below the other: members (n_groups, n), 1 where a meaning is in a
    group; sizes (n_groups,); starts, the first group of each way."""

    members: csr_array
    sizes: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, ways: Sequence[np.ndarray]) -> "Shared":
        counts = [int(codes.max()) + 1 for codes in ways]
        starts = np.cumsum([0, *counts[:-1]])
        rows = np.concatenate([codes + start for codes, start in zip(ways, starts, strict=True)])
        columns = np.tile(np.arange(len(ways[0])), len(ways))
        shape = (sum(counts), len(ways[0]))
        members = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        return cls(members, np.bincount(rows).astype(np.float64), starts)


@cache
def multinomial(count: int, resamples: int = N_RESAMPLES) -> np.ndarray:
    """(resamples, count) float64: how often each of `count` is drawn, at least two of them different."""
    rng = np.random.default_rng(SEED)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    while count > 1 and (alone := (weights > 0).sum(axis=1) < 2).any():
        weights[alone] = rng.multinomial(count, np.full(count, 1 / count), size=int(alone.sum()))
    return weights.astype(np.float64)


def _by_place(name: str, values: Sequence[str]) -> dict[str, str]:
    return {f"{name}.{place}": value for place, value in enumerate(values)}


def _joint(factors: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.stack(factors, axis=1), axis=0, return_inverse=True)[1].ravel()


def effective_number(codes: np.ndarray) -> float:
    sizes = np.bincount(codes)
    return float(len(codes) ** 2 / (sizes**2).sum())


def _coded(values: Sequence[str | None]) -> np.ndarray:
    named = [f"={value}" if value is not None else f"#{row}" for row, value in enumerate(values)]
    return np.unique(named, return_inverse=True)[1]


def as_groups(groups: "Groups | int") -> Groups:
    return Groups.independent(groups) if isinstance(groups, int) else groups
