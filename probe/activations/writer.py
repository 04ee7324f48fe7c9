"""Writing a folder of shards: one run at a time, and after any end of it the next goes on where it was.

A shard is on disk before the next is begun, and vouches for itself; the index is made of them when the run
ends, however it ends. What a run did not live to record is found by the next.
"""

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import filelock

from probe import files
from probe.activations.index import INDEX, Index, conflict, read_index, require_identity
from probe.activations.shard import Shard, ShardHeader, unseal, write_shard
from probe.errors import ProbeError
from probe.models.extract import Activations

log = logging.getLogger(__name__)


class ActivationWriter:
    """The activations of one variant, as a run finds and leaves them; `index` holds intact shards only."""

    def __init__(self, folder: Path, extract_command: str = "uv run batch_runner.py --local"):
        self.folder = folder
        self.extract_command = extract_command
        self.index = Index(identity={})

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    @contextmanager
    def locked(self) -> Iterator["ActivationWriter"]:
        """Hold the folder for one writer, recovered, and write the index at the end.

        Raises ProbeError where another run holds it, or the disk is full.
        """
        try:
            with self._lock():
                self.recover()
                try:
                    yield self
                finally:
                    self._save()
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

    def _lock(self) -> AbstractContextManager:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / ".lock", timeout=0)
            lock.acquire()
            for left_over in self.folder.glob("*.partial"):
                left_over.unlink()
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES) and self.folder.exists():
                return nullcontext()  # nobody can write here, so nobody needs to be kept out
            raise
        return lock

    def recover(self) -> bool:
        """Find every intact shard, also what no run lived to record. Returns whether there is an index or a
        shard. Writes nothing."""
        recorded = read_index(self.folder)
        found = {path.stem: self._vouched(path, recorded) for path in sorted(self.folder.glob("shard-*"))}
        headers = {name: vouched for name, vouched in found.items() if vouched}
        if recorded and any(
            sha256 == recorded.shards[name].sha256 and not recorded.agrees(name, header)
            for name, (header, sha256) in headers.items()
            if name in recorded.shards
        ):
            log.warning("%s contradicts its shards and is made again from them", self.folder / INDEX)
            recorded = None
        made_by = recorded or next((header for header, _ in headers.values()), None)
        self.index = Index(identity={})
        if made_by:
            self.index = Index(identity=made_by.identity, environment=made_by.environment)
        for name, (header, sha256) in headers.items():
            if header.identity == self.index.identity:
                self.index.enter(name, header, sha256)
        return made_by is not None

    def _vouched(self, path: Path, recorded: Index | None) -> tuple[ShardHeader, str] | None:
        """An intact shard's header and the file's sha256. What the index vouches for is digested once."""
        sha256 = files.sha256(path)
        known = recorded.shards.get(path.stem) if recorded else None
        if known is None or known.sha256 != sha256:
            header = unseal(path)
            return (header, sha256) if header else None
        try:
            return Shard(path).header(), sha256
        except ValueError:
            return None

    def begin(self, identity: dict, environment: dict) -> None:
        """Say what is going to be written. identity: what all shards must share; environment: where they are
        made, which may change between runs. Raises ProbeError where what lies here has another identity."""
        self.index.identity = self.index.identity or identity
        self.require_identity(identity)
        self.index.environment |= environment

    def require_identity(self, identity: dict) -> None:
        require_identity(self.folder, self.index.identity, identity, self.extract_command)

    def complete(self, name: str, ids: Sequence[str]) -> bool:
        """Whether the shard holds exactly these stimuli and is intact."""
        recorded = self.index.shards.get(name)
        return recorded is not None and recorded.stimulus_ids == list(ids)

    def write_shard(self, name: str, ids: Sequence[str], activations: Activations) -> None:
        written = write_shard(self.path(name), ids, activations, self.index.identity, self.index.environment)
        self.index.enter(name, *written)

    def adopt(self, name: str, ids: Sequence[str], arrived: Path, asked: dict) -> None:
        """Move a shard that was made elsewhere here; the first one begins the index.

        asked: the part of its identity that is known here. Raises ProbeError where the shard is damaged,
        holds other stimuli, or came of another model, manifest or dtype.
        """
        header = unseal(arrived)
        if header is None or header.stimulus_ids != list(ids):
            raise ProbeError(f"{self.folder}: {name} arrived damaged; to go on: {self.extract_command}")
        if differing := conflict(header.identity, header.identity | asked):
            raise ProbeError(f"{self.folder}: {name} arrived with another {differing}")
        self.begin(header.identity, {} if self.index.identity else header.environment)
        sha256 = files.sha256(arrived)
        arrived.replace(self.path(name))
        self.index.enter(name, header, sha256)

    def discard(self) -> None:
        """Delete what was extracted here."""
        for path in [*self.folder.glob("shard-*.safetensors"), self.folder / INDEX]:
            path.unlink(missing_ok=True)
        self.index = Index(identity={})

    def _save(self) -> None:
        if self.index.shards and self.index != read_index(self.folder):
            files.write_bytes(self.folder / INDEX, self.index.content())
