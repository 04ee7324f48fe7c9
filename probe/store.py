"""Activations on disk: safetensors shards and the index that vouches for them.

A shard holds at most SHARD_SIZE stimuli of one kind, and for each of its read positions p

    resid.p       float16 (n, n_states, d_model)    scale.p       float32 (n, n_states)
    post_norm.p   float16 (n, d_model)              post_scale.p  float32 (n,)

The vector is ``resid * scale``; scale is its largest magnitude, so nothing overflows float16 and nothing
but dust is lost below its smallest number. A shard counts only once the index records its sha256, and the
index is written after the shard: a crash in between costs one shard's work and corrupts nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from probe import results
from probe.errors import MissingActivations, ProbeError

SHARD_SIZE = 256
POSITIONS = ("last", "content", "mean", "focus")
PRIMARY_POSITION = "mean"


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


class ShardRecord(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str
    stimulus_ids: list[str]
    positions: list[str]


class Index(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identity: dict[str, Any]  # what must not change between runs: model, manifest, dtype
    environment: dict[str, Any] = {}  # device and package versions: recorded, and free to change
    shards: dict[str, ShardRecord] = {}
    token_ids: dict[str, list[int]] = {}
    read_index: dict[str, dict[str, Any]] = {}


def to_half(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (..., d) -> float16 (..., d) in [-1, 1] and float32 (...) scale, 1 for a zero vector."""
    scale = np.abs(vectors).max(axis=-1).astype(np.float32)
    scale[scale == 0] = 1
    return (vectors / scale[..., None]).astype(np.float16), scale


def from_half(half: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return half.astype(np.float32) * scale[..., None]


def shard_bytes(ids: Sequence[str], activations: Activations) -> bytes:
    """Raises ProbeError, naming stimulus and state, where a value is not finite."""
    tensors = {}
    for position, resid in activations.resid.items():
        post_norm = activations.post_norm[position]
        states = np.concatenate([resid, post_norm[:, None]], axis=1)
        bad = np.argwhere(~np.isfinite(states).all(axis=-1))
        if len(bad):
            row, state = bad[0]
            which = f"state {state}" if state < resid.shape[1] else "the normed state"
            raise ProbeError(f"{ids[row]}: {which} at '{position}' is not finite; try another --dtype")
        tensors[f"resid.{position}"], tensors[f"scale.{position}"] = to_half(resid)
        tensors[f"post_norm.{position}"], tensors[f"post_scale.{position}"] = to_half(post_norm)
    return save(tensors)


class ActivationStore:
    """The activations of one variant: `folder` is activations/{family}/{variant}."""

    def __init__(self, folder: Path, extract_command: str = "uv run batch_runner.py --local"):
        self.folder = folder
        self.extract_command = extract_command

    @property
    def index_path(self) -> Path:
        return self.folder / "index.json"

    @cached_property
    def index(self) -> Index:
        """Raises MissingActivations where nothing was extracted, ProbeError where the index is damaged."""
        try:
            return Index.model_validate_json(self.index_path.read_bytes())
        except FileNotFoundError as error:
            raise MissingActivations(
                f"no activations in {self.folder}; run: {self.extract_command}"
            ) from error
        except ValidationError as error:
            raise ProbeError(
                f"{self.index_path} is damaged; start afresh with: {self.extract_command} --fresh"
            ) from error

    # Writing

    @contextmanager
    def writing(self, identity: dict, environment: dict) -> Iterator["ActivationStore"]:
        """Hold the folder for one writer; open its index, or begin one.

        Raises ProbeError where another run holds it, or where what lies there came of another model,
        manifest or dtype.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ProbeError(
                f"another run is extracting into {self.folder}; wait for it, or stop it"
            ) from error
        try:
            for left_over in self.folder.glob("*.partial"):
                left_over.unlink()
            self._begin(identity, environment)
            yield self
        finally:
            lock.release()

    def _begin(self, identity: dict, environment: dict) -> None:
        if not self.index_path.exists():
            self.index = Index(identity=identity, environment=environment)
            return
        identity = json.loads(json.dumps(identity))
        found = self.index.identity
        differing = [key for key in identity.keys() | found.keys() if identity.get(key) != found.get(key)]
        if differing:
            raise ProbeError(
                f"{self.folder} was extracted with another {', '.join(sorted(differing))}; "
                f"to discard it and start afresh: {self.extract_command} --fresh"
            )

    def write_shard(self, name: str, ids: Sequence[str], activations: Activations) -> None:
        """Shard first, then the index that records it; both atomic and on disk before the next step."""
        content = shard_bytes(ids, activations)
        path = results.write_bytes(self.folder / f"{name}.safetensors", content)
        self.index.shards[name] = ShardRecord(
            sha256=results.sha256(path), stimulus_ids=list(ids), positions=list(activations.resid)
        )
        self.index.shards = dict(sorted(self.index.shards.items()))
        self.index.token_ids.update(zip(ids, activations.token_ids, strict=True))
        self.index.read_index.update(zip(ids, activations.read_index, strict=True))
        for table in ("token_ids", "read_index"):
            setattr(self.index, table, dict(sorted(getattr(self.index, table).items())))
        results.write_bytes(self.index_path, results.to_json(self.index.model_dump(), indent=None))
        self._forget()

    def discard(self) -> None:
        """Delete what was extracted here."""
        for path in [*self.folder.glob("shard-*.safetensors"), self.index_path]:
            path.unlink(missing_ok=True)
        self._forget(index=True)

    def _forget(self, index: bool = False) -> None:
        for name in ("_located", "_verified") + (("index",) if index else ()):
            self.__dict__.pop(name, None)

    # Reading

    @cached_property
    def _located(self) -> dict[str, tuple[str, int]]:
        return {
            stimulus: (name, row)
            for name, record in self.index.shards.items()
            for row, stimulus in enumerate(record.stimulus_ids)
        }

    @cached_property
    def _verified(self) -> dict[str, bool]:
        return {}

    def intact(self, name: str) -> bool:
        """Whether a recorded shard is there, byte for byte; read once per process."""
        if name not in self._verified:
            path = self.folder / f"{name}.safetensors"
            recorded = self.index.shards.get(name)
            self._verified[name] = (
                recorded is not None and path.exists() and results.sha256(path) == recorded.sha256
            )
        return self._verified[name]

    def complete(self, name: str, ids: Sequence[str]) -> bool:
        """Whether the shard holds exactly these stimuli and is intact."""
        recorded = self.index.shards.get(name)
        return recorded is not None and recorded.stimulus_ids == list(ids) and self.intact(name)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that no intact shard holds."""
        return [i for i in ids if i not in self._located or not self.intact(self._located[i][0])]

    def require(self, ids: Sequence[str]) -> None:
        """Raises MissingActivations, with the command that extracts them, unless every id is there."""
        if absent := self.missing(ids):
            raise MissingActivations(
                f"{self.folder}: {len(absent)} of {len(ids)} stimuli not extracted or damaged "
                f"(first: {absent[0]}); run: {self.extract_command}"
            )

    def _open(self, name: str):
        path = self.folder / f"{name}.safetensors"
        try:
            return safe_open(path, framework="np")
        except (SafetensorError, OSError) as error:
            raise MissingActivations(f"{path}: {error}; run: {self.extract_command}") from error

    @cached_property
    def n_states(self) -> int:
        name, record = next(iter(self.index.shards.items()))
        with self._open(name) as shard:
            return shard.get_slice(f"scale.{record.positions[0]}").get_shape()[1]

    def _gather(self, ids: Sequence[str], read_rows) -> np.ndarray:
        """Rows in the order of ids; `read_rows(shard, rows)` is called once per shard."""
        self.require(ids)
        by_shard: dict[str, list[int]] = defaultdict(list)
        for place, stimulus in enumerate(ids):
            by_shard[self._located[stimulus][0]].append(place)
        gathered: np.ndarray | None = None
        for name, places in by_shard.items():
            with self._open(name) as shard:
                part = read_rows(shard, [self._located[ids[place]][1] for place in places])
            if gathered is None:
                gathered = np.empty((len(ids), *part.shape[1:]), np.float32)
            gathered[places] = part
        assert gathered is not None, "no ids"
        return gathered

    def resid(self, position: str, ids: Sequence[str], state: int | slice = slice(None)) -> np.ndarray:
        """float32 (n, n_states, d_model), or (n, d_model) of one state; only that state is read.

        Raises MissingActivations where a stimulus is not there, ProbeError where it has no such position.
        """

        def rows_of(shard, rows):
            try:
                half, scale = shard.get_slice(f"resid.{position}"), shard.get_slice(f"scale.{position}")
            except SafetensorError as error:
                raise ProbeError(f"{self.folder}: no position '{position}' for {ids[0]}") from error
            return from_half(half[:, state][rows], scale[:, state][rows])

        return self._gather(ids, rows_of)

    def post_norm(self, position: str, ids: Sequence[str]) -> np.ndarray:
        """float32 (n, d_model): the final norm's output at the tokens read."""

        def rows_of(shard, rows):
            half, scale = (shard.get_tensor(f"{name}.{position}") for name in ("post_norm", "post_scale"))
            return from_half(half[rows], scale[rows])

        return self._gather(ids, rows_of)

    def fingerprint(self) -> str:
        """One sha256 over the recorded shards: what results made of this store cite as their input."""
        return results.digest("".join(record.sha256 for record in self.index.shards.values()).encode())
