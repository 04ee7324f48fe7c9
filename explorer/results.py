"""Reading results/{family}/ for a server: each file parsed once, again when it changes, and never half."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from probe.audit import findings
from probe.audit.findings import Finding
from probe.errors import ProbeError
from probe.files import read_csv, read_json, sha256
from probe.paths import Paths

SUMMARY, EFFECTS, PEAKS = "alignment_summary.csv", "variant_effects.csv", "peaks.csv"
MATRIX, CURVES, AUDIT = "commitment_matrix.csv", "alignment_curves.json", findings.JSON
FILES = (SUMMARY, EFFECTS, PEAKS, MATRIX, CURVES, AUDIT)

NAMED = ["variant", "language", "stimuli", "position", "metric"]
TESTED = ["state", "ci_low", "ci_high", "p_value", "q_value", "p_max", "n"]
# What no row may lack: the columns that name it, and those that hold a number.
COLUMNS: dict[str, tuple[list[str], list[str]]] = {
    SUMMARY: (NAMED, ["value", "null", "null_low", "null_high", *TESTED]),
    EFFECTS: (["variant_a", "variant_b", *NAMED[1:], "contrast"], ["diff", *TESTED]),
    PEAKS: (NAMED, ["peak_state", "peak", "ci_low", "ci_high", "n"]),
    MATRIX: (["concept_id", "concept", "language"], []),
}


@dataclass(frozen=True)
class Curves:
    """The probes' cosines to English, read at `position`.

    values: variant -> language -> (n_concepts, n_states) float64; row i is of the concept of id concepts[i].
    """

    position: str
    concepts: list[str]
    values: dict[str, dict[str, np.ndarray]]

    @property
    def n_states(self) -> int:
        return next(iter(next(iter(self.values.values())).values())).shape[1]


@dataclass(frozen=True)
class _File:
    stamp: list[tuple[int, int]]  # mtime in ns and bytes, of the file and its sidecar
    sha256: str
    metadata: dict  # the provenance that was written with it
    content: Any


class Results:
    """What lies in results/ under a root. Every method but `families` raises ProbeError, with the command
    that makes a file, where it is missing or damaged. What is returned is shared: do not change it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._files: dict[Path, _File] = {}
        self._claims: dict[tuple[str, str], tuple[pd.DataFrame, list[Finding], pd.DataFrame]] = {}

    def families(self) -> list[str]:
        """The folders of results/ that hold a file that this class reads, by name."""
        folders = (self.paths.root / "results").glob("*")
        return sorted(folder.name for folder in folders if any((folder / name).is_file() for name in FILES))

    def table(self, family: str, name: str) -> pd.DataFrame:
        """A table of COLUMNS, in which no cell of these columns is empty."""
        return self._file(family, name).content

    def claims(self, family: str, name: str) -> pd.DataFrame:
        """The same table with the column blocked_by: the id of the most severe finding that blocks the claim
        of a row, None where none does. Kept too, since that takes longer than all the rest of an answer."""
        table, found = self.table(family, name), self.findings(family)
        kept = self._claims.get((family, name))
        if kept is None or kept[0] is not table or kept[1] is not found:
            kept = table, found, table.assign(blocked_by=findings.blocking(table, found))
            self._claims[family, name] = kept
        return kept[2]

    def curves(self, family: str) -> Curves:
        return self._file(family, CURVES).content

    def findings(self, family: str) -> list[Finding]:
        return self._file(family, AUDIT).content

    def provenance(self, family: str, names: Sequence[str]) -> list[dict]:
        """Per run that made these files: {"files": {path: sha256}} and what the run wrote of itself (params,
        inputs, models, versions, conventions). One entry where all are of one run. What a run refused to
        measure is left out, since it is long; see `refused`."""
        runs: list[dict] = []
        for name in names:
            file = self._file(family, name)
            run = {key: value for key, value in file.metadata.items() if key != "refused"}
            entry = next((entry for entry in runs if entry == run | {"files": entry["files"]}), None)
            if entry is None:
                runs.append(entry := {"files": {}, **run})
            entry["files"][self.paths.name(self.paths.results(family) / name)] = file.sha256
        return runs

    def primary(self, family: str) -> dict[str, str]:
        """The position and the metric that the run declares to be its primary ones."""
        params = self._file(family, SUMMARY).metadata["params"]
        return {name: str(params.get(f"primary_{name}")) for name in ("position", "metric")}

    def refused(self, family: str) -> dict[str, str]:
        """variant/language/stimuli/position/metric -> why the run gave no number for it."""
        return self._file(family, SUMMARY).metadata.get("refused", {})

    def _file(self, family: str, name: str) -> _File:
        path = self.paths.results(family) / name
        made_by = f"uv run concept_alignment.py --family {family}"
        try:
            stamp = _stamp(path)
            if path not in self._files or self._files[path].stamp != stamp:
                content, metadata = _parsed(path, made_by)
                self._files[path] = _File(stamp, sha256(path), metadata, content)
                if _stamp(path) != stamp:  # replaced meanwhile: content and sha256 may be of two files
                    return self._file(family, name)
            return self._files[path]
        except OSError as error:
            raise ProbeError(f"{self.paths.name(path)}: {error.strerror}; run: {made_by}") from error
        except ProbeError as error:  # a server tells nobody where on its disk the root lies
            raise ProbeError(str(error).replace(str(path.parent), self.paths.name(path.parent))) from error


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.stem}.meta.json") if path.suffix == ".csv" else path


def _stamp(path: Path) -> list[tuple[int, int]]:
    """Empty for what does not exist: whoever reads it says so."""
    status = [p.stat() for p in (path, _sidecar(path)) if p.exists()]
    return [(s.st_mtime_ns, s.st_size) for s in status]


def _parsed(path: Path, made_by: str) -> tuple[Any, dict]:
    """Content and provenance of a file, by its name."""
    if path.suffix == ".csv":
        table = _table(path, made_by)
        return table, _provenance(read_json(_sidecar(path), made_by), _sidecar(path), made_by)
    payload = read_json(path, made_by)
    metadata = _provenance(payload.get("metadata") if isinstance(payload, dict) else None, path, made_by)
    content = findings.read(path, made_by) if path.name == AUDIT else _curves(payload, path, made_by)
    return content, metadata


def _provenance(metadata: Any, path: Path, made_by: str) -> dict:
    if not isinstance(metadata, dict) or not {"params", "inputs"} <= set(metadata):
        raise ProbeError(f"{path} is damaged: it does not say what it was made from; run: {made_by}")
    return metadata


def _table(path: Path, made_by: str) -> pd.DataFrame:
    """A table cut short has an empty cell in its last row; one with a torn number, a column of texts."""
    names, numbers = COLUMNS[path.name]
    table = read_csv(path, made_by, {*names, *numbers})
    if table.empty:  # its columns have no type
        return table
    bad = [n for n in names if table[n].isna().to_numpy().any()]
    bad += [n for n in numbers if not (is_numeric_dtype(table[n]) and np.isfinite(table[n]).all())]
    if bad:
        raise ProbeError(f"{path} is damaged: empty or no number in {', '.join(bad)}; run: {made_by}")
    return table


def _curves(payload: dict, path: Path, made_by: str) -> Curves:
    try:
        curves = payload["curves"]
        first = next(iter(curves.values()))
        concepts = list(first)
        values = {
            variant: {
                language: np.array([of[concept][language] for concept in concepts], dtype=np.float64)
                for language in first[concepts[0]]
            }
            for variant, of in curves.items()
        }
        position = payload["metadata"]["params"]["primary_position"]
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise ProbeError(f"{path} is damaged: these are no curves ({error!r}); run: {made_by}") from error
    arrays = [array for by_language in values.values() for array in by_language.values()]
    alike = len({array.shape for array in arrays}) == 1 and arrays[0].ndim == 2
    if not alike or len(concepts) < 2 or not np.isfinite(arrays).all():
        raise ProbeError(f"{path} is damaged: not two curves or more, of one length; run: {made_by}")
    return Curves(position, concepts, values)
