"""Activations on disk: safetensors shards and the index that vouches for them.

A shard holds at most SHARD_SIZE stimuli of one kind, and for each of its read positions p

    resid.p       float16 (n, n_states, d_model)    scale.p       float32 (n, n_states)
    post_norm.p   float16 (n, d_model)              post_scale.p  float32 (n,)

The vector is ``resid * scale``; scale is its largest magnitude, so nothing overflows float16 and nothing
but dust is lost below its smallest number. A shard counts only once the index records its sha256, and the
index is written after the shard, so a crash in between corrupts nothing. An index that is lost is made again
from the shards, each of which vouches for itself (`probe.shard`).
"""

import errno
import json
import logging
import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from probe import files
from probe.activations.shard import ShardHeader, seal, unseal
from probe.errors import MissingActivations, ProbeError

log = logging.getLogger(__name__)

SHARD_SIZE = 256
DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}  # safetensors' names of what a shard holds
CACHED = 2**17  # values widened at once: what a core keeps near it
SIGN_AND_BELOW = np.int32(0x0FFFE000 - 2**31)
WIDENED = np.float32(2.0 ** (127 - 15))


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


def from_half(half: np.ndarray, scale: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The float32 vectors (..., d) that `to_half` took apart: half.astype(float32) * scale[..., None].

    Finite values only. NumPy widens float16 one value at a time; moving its bits to their place in a float32,
    whose exponent counts from 2**-127 and not from 2**-15, takes a fraction of the time.
    """
    vectors = np.empty(half.shape, np.float32) if out is None else out
    # One product where it cannot overflow; WIDENED is a power of two, so it rounds what two would.
    widened = scale.max(initial=0) < 2**15
    rows = max(1, CACHED // max(1, half[:1].size))
    for start in range(0, len(half), rows):
        part, own = vectors[start : start + rows], scale[start : start + rows, ..., None]
        bits = part.view(np.int32)
        bits[...] = half[start : start + rows].view(np.int16)
        bits <<= 13
        bits &= SIGN_AND_BELOW  # the shift left copies of the sign bit in the exponent
        if widened:
            part *= own * WIDENED
        else:
            part *= WIDENED
            part *= own
    return vectors


def conflict(found: dict[str, Any], asked: dict[str, Any]) -> str:
    """What two identities disagree on, "dtype, revision"; empty where nothing."""
    asked = json.loads(json.dumps(asked))  # as it would have been read back
    return ", ".join(sorted(k for k in asked.keys() | found.keys() if asked.get(k) != found.get(k)))


def shard_tensors(ids: Sequence[str], activations: Activations) -> dict[str, np.ndarray]:
    """What a shard holds. Raises ProbeError, naming stimulus and state, where a value is not finite."""
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
    return tensors


def write_shard(
    path: Path, ids: Sequence[str], activations: Activations, identity: dict, environment: dict
) -> ShardHeader:
    """Write one sealed shard, whole or not at all, and return its header."""
    header = ShardHeader(
        identity=identity,
        environment=environment,
        stimulus_ids=list(ids),
        positions=list(activations.resid),
        token_ids=activations.token_ids,
        read_index=activations.read_index,
    )
    files.write_bytes(path, seal(header, shard_tensors(ids, activations)))
    return header


class ActivationStore:
    """The activations of one variant: `folder` is activations/{family}/{variant}."""

    def __init__(self, folder: Path, extract_command: str = "uv run batch_runner.py --local"):
        self.folder = folder
        self.extract_command = extract_command

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    @property
    def index_path(self) -> Path:
        return self.folder / "index.json"

    @cached_property
    def index(self) -> Index:
        """Raises MissingActivations where nothing was extracted, ProbeError where the index is damaged."""
        try:
            return Index.model_validate_json(self.index_path.read_bytes())
        except FileNotFoundError as error:
            what = "index.json" if list(self.folder.glob("shard-*.safetensors")) else "activations"
            raise MissingActivations(f"no {what} in {self.folder}; run: {self.extract_command}") from error
        except ValidationError as error:
            raise ProbeError(
                f"{self.index_path} is damaged; to make it again from the shards: {self.extract_command}"
            ) from error

    # Writing

    @contextmanager
    def locked(self) -> Iterator["ActivationStore"]:
        """Hold the folder for one writer. Raises ProbeError where another run does, or the disk is full."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / ".lock", timeout=0):
                for left_over in self.folder.glob("*.partial"):
                    left_over.unlink()
                yield self
        except filelock.Timeout as error:
            raise ProbeError(
                f"another run is extracting into {self.folder}; wait for it, or stop it"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ProbeError(
                f"{self.folder}: {error.strerror}; what is complete is kept, "
                f"so make room and go on with: {self.extract_command}"
            ) from error

    @contextmanager
    def writing(self, identity: dict, environment: dict) -> Iterator["ActivationStore"]:
        """`locked`, and the index begun or gone on with."""
        with self.locked():
            self.begin(identity, environment)
            yield self

    def begin(self, identity: dict, environment: dict) -> None:
        """Go on with what lies here, or begin an index.

        identity: what all shards must share; environment: where they are made, which may change between runs.
        Raises ProbeError where what lies here came of another model, manifest or dtype.
        """
        if not self.recover():
            self.index = Index(identity=identity)
        self.require_identity(identity)
        if self.index.shards and self.index != self._recorded():
            self._write_index()
        self.index.environment |= environment

    def require_identity(self, identity: dict) -> None:
        if differing := conflict(self.index.identity, identity):
            raise ProbeError(
                f"{self.folder} was extracted with another {differing}; "
                f"to discard it and start afresh: {self.extract_command} --fresh"
            )

    def recover(self) -> bool:
        """Open the index with every intact shard in it, also what it lost or what no run lived to record.

        Returns False where there is neither index nor intact shard. Writes nothing.
        """
        recorded = self._recorded()
        self._forget()
        self.index = recorded or Index(identity={})
        names = [path.stem for path in sorted(self.folder.glob("shard-*.safetensors"))]
        strays = {n: header for n in names if not self.intact(n) and (header := unseal(self.path(n)))}
        if recorded is None and strays:
            first = next(iter(strays.values()))
            self.index = Index(identity=first.identity, environment=first.environment)
        for name, header in strays.items():
            if header.identity == self.index.identity:
                self._enter(name, header)
                log.info("%s: %s is intact and recorded again", self.folder, name)
        found = recorded is not None or bool(strays)
        self._forget(index=not found)
        return found

    def _recorded(self) -> Index | None:
        try:
            return Index.model_validate_json(self.index_path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write_shard(self, name: str, ids: Sequence[str], activations: Activations) -> None:
        """Shard first, then the index that records it; both atomic and on disk before the next step."""
        header = write_shard(self.path(name), ids, activations, self.index.identity, self.index.environment)
        self._record(name, header)

    def adopt(self, name: str, ids: Sequence[str], arrived: Path, asked: dict) -> None:
        """Move a shard that was made elsewhere here, and record it; the first one begins the index.

        asked: the part of its identity that is known here. Raises ProbeError where the shard is damaged,
        holds other stimuli, or came of another model, manifest or dtype.
        """
        header = unseal(arrived)
        if header is None or header.stimulus_ids != list(ids):
            raise ProbeError(f"{self.folder}: {name} arrived damaged; to go on: {self.extract_command}")
        if differing := conflict(header.identity, header.identity | asked):
            raise ProbeError(f"{self.folder}: {name} arrived with another {differing}")
        if "index" not in self.__dict__:
            self.begin(header.identity, header.environment)
        self.require_identity(header.identity)
        arrived.replace(self.path(name))
        self._record(name, header)

    def _record(self, name: str, header: ShardHeader) -> None:
        self._enter(name, header)
        self._write_index()
        self._forget()

    def _enter(self, name: str, header: ShardHeader) -> None:
        index, ids = self.index, header.stimulus_ids
        index.shards[name] = ShardRecord(
            sha256=files.sha256(self.path(name)), stimulus_ids=ids, positions=header.positions
        )
        index.token_ids.update(zip(ids, header.token_ids, strict=True))
        index.read_index.update(zip(ids, header.read_index, strict=True))
        for table in ("shards", "token_ids", "read_index"):
            setattr(index, table, dict(sorted(getattr(index, table).items())))

    def _write_index(self) -> None:
        files.write_bytes(self.index_path, files.to_json(self.index.model_dump(), indent=None))

    def discard(self) -> None:
        """Delete what was extracted here."""
        for path in [*self.folder.glob("shard-*.safetensors"), self.index_path]:
            path.unlink(missing_ok=True)
        self._forget(index=True)

    def _forget(self, index: bool = False) -> None:
        for name in ("_located", "_starts", "_verified", "shape") + (("index",) if index else ()):
            self.__dict__.pop(name, None)

    # Reading

    @cached_property
    def _located(self) -> dict[str, int]:
        """Stimulus -> its place in the store, shard after shard."""
        every = (stimulus for record in self.index.shards.values() for stimulus in record.stimulus_ids)
        return {stimulus: place for place, stimulus in enumerate(every)}

    @cached_property
    def _starts(self) -> np.ndarray:
        """(n_shards + 1,) the place at which each shard starts, and the end."""
        return np.cumsum([0, *(len(record.stimulus_ids) for record in self.index.shards.values())])

    @cached_property
    def _verified(self) -> dict[str, bool]:
        return {}

    def intact(self, name: str) -> bool:
        """Whether a recorded shard is there, byte for byte; read once per process."""
        if name not in self._verified:
            path = self.path(name)
            recorded = self.index.shards.get(name)
            self._verified[name] = (
                recorded is not None and path.exists() and files.sha256(path) == recorded.sha256
            )
        return self._verified[name]

    def complete(self, name: str, ids: Sequence[str]) -> bool:
        """Whether the shard holds exactly these stimuli and is intact."""
        recorded = self.index.shards.get(name)
        return recorded is not None and recorded.stimulus_ids == list(ids) and self.intact(name)

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

    def _open(self, name: str) -> "_Shard":
        path = self.path(name)
        try:
            return _Shard(path)
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
            if half not in tensors.layout:
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
        """One sha256 over the recorded shards: what results made of this store cite as their input."""
        return files.digest("".join(record.sha256 for record in self.index.shards.values()).encode())


class _Shard:
    """A safetensors file, mapped: only what is indexed is read, where safetensors reads all rows of a slice.

    Raises OSError or ValueError where it is not there or cut short.
    """

    def __init__(self, path: Path):
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = 8 + int.from_bytes(self._content[:8], "little")
        self.layout = json.loads(self._content[8 : self._start])
        self.layout.pop("__metadata__", None)
        if self._start + max(entry["data_offsets"][1] for entry in self.layout.values()) > len(self._content):
            raise ValueError("the file ends too early")

    def __getitem__(self, tensor: str) -> np.ndarray:
        entry = self.layout[tensor]
        count, offset = math.prod(entry["shape"]), self._start + entry["data_offsets"][0]
        return np.frombuffer(self._content, DTYPES[entry["dtype"]], count, offset).reshape(entry["shape"])


def _sliced(rows: np.ndarray) -> np.ndarray | slice:
    """Rows that follow each other as a slice, which is read without a copy."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if (np.diff(rows) == 1).all() else rows
