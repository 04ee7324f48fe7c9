"""One shard: a safetensors file that vouches for itself.

It holds at most SHARD_SIZE stimuli of one kind, and for each of its read positions p

    resid.p       float16 (n, n_states, d_model)    scale.p       float32 (n, n_states)
    post_norm.p   float16 (n, d_model)              post_scale.p  float32 (n,)

The vector is ``resid * scale`` (see half.py). The one entry of its header's metadata, "shard", is a sha256, a
blank and a JSON `ShardHeader`: whose activations these are, of what stimuli, read where. The sha256 is over
that JSON and every tensor's name, shape, type and bytes, so an intact shard needs no index to be known for
what it is. It is one entry because safetensors writes several in no fixed order, and the same activations
shall be the same bytes.
"""

import hashlib
import json
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import save

from probe import files
from probe.activations.half import to_half
from probe.errors import ProbeError
from probe.models.extract import Activations

SHARD_SIZE = 256
ENTRY = "shard"
DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}  # safetensors' names of what a shard holds


class ShardHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identity: dict[str, Any]  # model, manifest, dtype: what all shards of a folder agree on
    environment: dict[str, Any]  # device, package versions: where this shard was made
    stimulus_ids: list[str]
    positions: list[str]
    token_ids: list[list[int]]  # per stimulus
    read_index: list[dict[str, Any]]  # per stimulus: position -> token index


class Shard(Mapping[str, np.ndarray]):
    """A shard's tensors, mapped: only what is indexed is read, where safetensors reads all rows of a slice.

    Raises OSError or ValueError where there is no such file, it is cut short, or it is no shard.
    """

    def __init__(self, path: Path):
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = 8 + int.from_bytes(self._content[:8], "little")
        try:
            layout = json.loads(self._content[8:start])
            self.sealed, _, self._header = layout.pop("__metadata__")[ENTRY].partition(" ")
            self._places = {
                name: (DTYPES[entry["dtype"]], tuple(entry["shape"]), start + entry["data_offsets"][0])
                for name, entry in layout.items()
            }
            ends = [at + dtype.itemsize * math.prod(shape) for dtype, shape, at in self._places.values()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("the file is damaged, or holds no activations") from error
        if max(ends, default=0) > len(self._content):
            raise ValueError("the file ends too early")

    def header(self) -> ShardHeader:
        """Raises ValueError where it has none."""
        return ShardHeader.model_validate_json(self._header)

    def intact(self) -> bool:
        """Whether every byte is what was sealed."""
        return self.sealed == _digest(self._header, self)

    def __getitem__(self, tensor: str) -> np.ndarray:
        dtype, shape, offset = self._places[tensor]
        return np.frombuffer(self._content, dtype, math.prod(shape), offset).reshape(shape)

    def __iter__(self):
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _digest(header: str, tensors: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        sha.update(f"\n{name} {tensor.dtype} {tensor.shape}\n".encode())
        sha.update(tensor.data)
    return sha.hexdigest()


def unseal(path: Path) -> ShardHeader | None:
    """The header of an intact shard; None for a file that is damaged, or missing, or no such shard."""
    try:
        shard = Shard(path)
        return shard.header() if shard.intact() else None
    except (OSError, ValueError):
        return None


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
) -> tuple[ShardHeader, str]:
    """Write one sealed shard, whole or not at all. Returns its header and the file's sha256."""
    header = ShardHeader(
        identity=identity,
        environment=environment,
        stimulus_ids=list(ids),
        positions=list(activations.resid),
        token_ids=activations.token_ids,
        read_index=activations.read_index,
    )
    content, tensors = header.model_dump_json(), shard_tensors(ids, activations)
    sealed = save(tensors, metadata={ENTRY: f"{_digest(content, tensors)} {content}"})
    files.write_bytes(path, sealed)
    return header, files.digest(sealed)
