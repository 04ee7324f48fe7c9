"""The index of a folder of shards: what they agree on, and which stimulus lies where.

It is a convenience, made of what the shards say of themselves, and is believed only where they say the same.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from probe import files
from probe.activations.shard import ShardHeader
from probe.errors import ProbeError

INDEX = "index.json"


class ShardRecord(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str  # of the file
    stimulus_ids: list[str]
    positions: list[str]


class Index(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identity: dict[str, Any]  # what must not change between runs: model, manifest, dtype
    environment: dict[str, Any] = {}  # device and package versions: recorded, and free to change
    shards: dict[str, ShardRecord] = {}
    token_ids: dict[str, list[int]] = {}
    read_index: dict[str, dict[str, Any]] = {}

    def enter(self, name: str, header: ShardHeader, sha256: str) -> None:
        ids = header.stimulus_ids
        self.shards[name] = ShardRecord(sha256=sha256, stimulus_ids=ids, positions=header.positions)
        self.token_ids.update(zip(ids, header.token_ids, strict=True))
        self.read_index.update(zip(ids, header.read_index, strict=True))

    def agrees(self, name: str, header: ShardHeader) -> bool:
        """Whether it says of a shard what the shard says of itself."""
        ids = header.stimulus_ids
        said = Index(identity=header.identity)
        said.enter(name, header, self.shards[name].sha256)
        return (
            self.identity == said.identity
            and self.shards[name] == said.shards[name]
            and {i: self.token_ids.get(i) for i in ids} == said.token_ids
            and {i: self.read_index.get(i) for i in ids} == said.read_index
        )

    def content(self) -> bytes:
        """The file: the same bytes in whatever order the shards came."""
        plain = self.model_dump()
        for table in ("shards", "token_ids", "read_index"):
            plain[table] = dict(sorted(plain[table].items()))
        return files.to_json(plain, indent=None)


def read_index(folder: Path) -> Index | None:
    """None where it is missing or damaged."""
    try:
        return Index.model_validate_json((folder / INDEX).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def conflict(found: dict[str, Any], asked: dict[str, Any]) -> str:
    """What two identities disagree on, "dtype, revision"; empty where nothing."""
    asked = json.loads(json.dumps(asked))  # as it would have been read back
    return ", ".join(sorted(k for k in asked.keys() | found.keys() if asked.get(k) != found.get(k)))


def require_identity(
    folder: Path, found: dict[str, Any], asked: dict[str, Any], extract_command: str
) -> None:
    """Raises ProbeError where what lies in the folder is not of what is asked for."""
    if differing := conflict(found, asked):
        raise ProbeError(
            f"{folder} was extracted with another {differing}; "
            f"to discard it and start afresh: {extract_command} --fresh"
        )
