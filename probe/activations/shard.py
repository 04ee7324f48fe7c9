"""One shard: a safetensors file that vouches for itself.

The one entry of its header's metadata, "shard", is a sha256, a blank and a JSON `ShardHeader`: whose
activations these are, of what stimuli, read where. The sha256 is over that JSON and every tensor's name,
shape, type and bytes, so an intact shard needs no index to be known for what it is. It is one entry because
safetensors writes several in no fixed order, and the same activations shall be the same bytes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

ENTRY = "shard"


class ShardHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identity: dict[str, Any]  # model, manifest, dtype: what all shards of a folder agree on
    environment: dict[str, Any]  # device, package versions: where this shard was made
    stimulus_ids: list[str]
    positions: list[str]
    token_ids: list[list[int]]  # per stimulus
    read_index: list[dict[str, Any]]  # per stimulus: position -> token index


def _digest(header: str, tensors: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        sha.update(f"\n{name} {tensor.dtype} {tensor.shape}\n".encode())
        sha.update(tensor.data)
    return sha.hexdigest()


def seal(header: ShardHeader, tensors: dict[str, np.ndarray]) -> bytes:
    """The file's content: the same bytes for the same header and tensors."""
    content = header.model_dump_json()
    return save(tensors, metadata={ENTRY: f"{_digest(content, tensors)} {content}"})


def unseal(path: Path) -> ShardHeader | None:
    """The header of an intact shard; None for a file that is damaged, or missing, or no such shard."""
    try:
        with safe_open(path, framework="np") as shard:
            sealed, _, content = (shard.metadata() or {}).get(ENTRY, "").partition(" ")
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError):
        return None
    if sealed != _digest(content, tensors):
        return None
    try:
        return ShardHeader.model_validate_json(content)
    except ValidationError:
        return None
