"""Reading activations: the vectors of the stimuli asked for, from shards that are intact.

A shard counts where the index names it, the file has the sha256 that the index recorded, and what the index
says of it is what it says of itself.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np

from probe import files
from probe.activations.half import from_half
from probe.activations.index import INDEX, Index, read_index
from probe.activations.shard import Shard
from probe.errors import MissingActivations, ProbeError


class ActivationStore:
    """The activations of one variant: `folder` is activations/{family}/{variant}."""

    def __init__(self, folder: Path, extract_command: str = "uv run batch_runner.py --local"):
        self.folder = folder
        self.extract_command = extract_command
        self._intact: dict[str, bool] = {}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    @property
    def index_path(self) -> Path:
        return self.folder / INDEX

    @cached_property
    def index(self) -> Index:
        """Raises MissingActivations where nothing was extracted, ProbeError where the index is damaged."""
        if index := read_index(self.folder):
            return index
        if self.index_path.exists():
            raise self._untrue("is damaged")
        what = INDEX if list(self.folder.glob("shard-*.safetensors")) else "activations"
        raise MissingActivations(f"no {what} in {self.folder}; run: {self.extract_command}")

    def _untrue(self, why: str) -> ProbeError:
        return ProbeError(
            f"{self.index_path} {why}; to make it again from the shards: {self.extract_command}"
        )

    @cached_property
    def _located(self) -> dict[str, int]:
        """Stimulus -> its place in the store, shard after shard."""
        every = (stimulus for record in self.index.shards.values() for stimulus in record.stimulus_ids)
        return {stimulus: place for place, stimulus in enumerate(every)}

    @cached_property
    def _starts(self) -> np.ndarray:
        """(n_shards + 1,) the place at which each shard starts, and the end."""
        return np.cumsum([0, *(len(record.stimulus_ids) for record in self.index.shards.values())])

    def intact(self, name: str) -> bool:
        """Whether a recorded shard is there, byte for byte; read once. Raises ProbeError where the index has
        its sha256 and yet says of it what it does not say of itself."""
        if name not in self._intact:
            path = self.path(name)
            self._intact[name] = path.exists() and files.sha256(path) == self.index.shards[name].sha256
            if self._intact[name] and not self.index.agrees(name, self._open(name).header()):
                raise self._untrue(f"contradicts {path.name}")
        return self._intact[name]

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that no intact shard holds."""
        return [ids[i] for i in np.flatnonzero(self._lost(self._places(ids))).tolist()]

    def _places(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) places in the store, -1 of what it does not hold."""
        return np.fromiter(map(self._located.get, ids, repeat(-1)), np.int64, len(ids))

    def _shard_of(self, places: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._starts, places, side="right") - 1

    def _lost(self, places: np.ndarray) -> np.ndarray:
        """(n,) whether no intact shard holds the place."""
        shards, names = self._shard_of(places), list(self.index.shards)
        damaged = [shard for shard in set(shards.tolist()) - {-1} if not self.intact(names[shard])]
        return (places < 0) | np.isin(shards, damaged)

    def require(self, ids: Sequence[str]) -> None:
        """Raises MissingActivations, with the command that extracts them, unless every id is there."""
        if absent := self.missing(ids):
            raise MissingActivations(
                f"{self.folder}: {len(absent)} of {len(ids)} stimuli not extracted or damaged "
                f"(first: {absent[0]}); run: {self.extract_command}"
            )

    def _open(self, name: str) -> Shard:
        path = self.path(name)
        try:
            return Shard(path)
        except (OSError, ValueError) as error:
            raise MissingActivations(f"{path}: {error}; run: {self.extract_command}") from error

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(n_states, d_model)."""
        name, record = next(iter(self.index.shards.items()))
        _, n_states, d_model = self._open(name)[f"resid.{record.positions[0]}"].shape
        return n_states, d_model

    @property
    def n_states(self) -> int:
        return self.shape[0]

    def _gather(
        self, ids: Sequence[str], half: str, scale: str, states: tuple[int | slice, ...] = ()
    ) -> np.ndarray:
        """Rows in the order of ids, of the tensors of these names."""
        places = self._places(ids)
        if self._lost(places).any():
            self.require(ids)
        shards, names = self._shard_of(places), list(self.index.shards)
        gathered: np.ndarray | None = None
        for shard in np.unique(shards).tolist():
            wanted = np.flatnonzero(shards == shard)
            rows, tensors = (_sliced(places[wanted] - self._starts[shard]), *states), self._open(names[shard])
            if half not in tensors:
                position = half.partition(".")[2]
                raise ProbeError(f"{self.folder}: no position '{position}' for {ids[int(wanted[0])]}")
            part = tensors[half][rows]
            if gathered is None:
                gathered = np.empty((len(ids), *part.shape[1:]), np.float32)
            into = _sliced(wanted)
            if isinstance(into, slice):
                from_half(part, tensors[scale][rows], gathered[into])
            else:
                gathered[into] = from_half(part, tensors[scale][rows])
        assert gathered is not None, "no ids"
        return gathered

    def resid(self, position: str, ids: Sequence[str], state: int | slice = slice(None)) -> np.ndarray:
        """float32 (n, n_states, d_model), or (n, d_model) of one state; only that state is read.

        Raises MissingActivations where a stimulus is not there, ProbeError where it has no such position.
        """
        return self._gather(ids, f"resid.{position}", f"scale.{position}", (state,))

    def post_norm(self, position: str, ids: Sequence[str]) -> np.ndarray:
        """float32 (n, d_model): the final norm's output at the tokens read."""
        return self._gather(ids, f"post_norm.{position}", f"post_scale.{position}")

    def fingerprint(self) -> str:
        """One sha256 over the index, which holds each shard's: what results made of this store cite."""
        return files.digest(self.index.content())


def _sliced(rows: np.ndarray) -> np.ndarray | slice:
    """Rows that follow each other as a slice, which is read without a copy."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if (np.diff(rows) == 1).all() else rows
