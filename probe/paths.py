"""Where every file lives. A root may carry its own data/; what it lacks is read from the repository."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Paths:
    root: Path = REPOSITORY

    def source(self, relative: str) -> Path:
        """An input file: the root's own where it has one, else the repository's."""
        own = self.root / relative
        return own if own.exists() else REPOSITORY / relative

    @property
    def families(self) -> Path:
        return self.source("data/families.toml")

    @property
    def concept_probes(self) -> Path:
        return self.source("data/concept_probes.json")

    def activations(self, family: str, variant: str) -> Path:
        return self.root / "activations" / family / variant

    def results(self, family: str) -> Path:
        return self.root / "results" / family

    def assets(self, family: str) -> Path:
        return self.root / "assets" / family

    def name(self, path: Path) -> str:
        """A path as provenance records it: relative to the root or the repository, never absolute."""
        path = path.resolve()
        for base in (self.root.resolve(), REPOSITORY):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return path.name
