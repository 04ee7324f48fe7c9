"""What the heat map shows: per variant, concept and language, the level that is held and where it commits."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from probe import files
from probe.alignment.commitment import held_level
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from viz import blocked as blocking
from viz import style


@dataclass(frozen=True)
class Held:
    """Rows are concepts, columns languages.

    level: variant -> (n_concepts, n_languages) of held_level, NaN where the curve is too short.
    committed: variant -> the same shape, the state, NaN for never.
    blocked: variant -> the same shape, the id of the finding that takes that commitment away, else None.
    mismatched: variant -> (n_languages,) held_level of the mean over mismatched pairs, where measured.
    """

    concepts: list[str]
    languages: list[str]  # one region's side by side
    threshold: float
    consecutive: int
    position: str  # at which the sentences were read
    level: dict[str, np.ndarray]
    committed: dict[str, np.ndarray]
    blocked: dict[str, np.ndarray]
    mismatched: dict[str, np.ndarray]
    audit: blocking.Audit

    @property
    def variants(self) -> list[str]:
        return list(self.level)

    @property
    def cells(self) -> int:
        return len(self.concepts) * len(self.languages)

    def count(self, variant: str) -> int:
        """How many of the variant's cells commit."""
        return int((~np.isnan(self.committed[variant])).sum())

    def count_blocked(self, variant: str) -> int:
        """How many of these the auditor takes away."""
        return int(self.blocked[variant].astype(bool).sum())


def load(args: argparse.Namespace, paths: Paths, family: Family) -> Held:
    """Raises ProbeError, with the command that helps, where a file is missing, damaged or of another run."""
    folder, made_by = paths.results(family.name), f"uv run concept_alignment.py --family {family.name}"
    matrix_path, curves_path = folder / "commitment_matrix.csv", folder / "alignment_curves.json"
    matrix = files.read_csv(matrix_path, made_by, {"concept_id", "concept", "language"})
    present = [column.removesuffix("_layer") for column in matrix.columns if column.endswith("_layer")]
    variants = style.measured(family, args.variants, present, matrix_path)
    if matrix.empty:
        raise ProbeError(f"{matrix_path} holds no concept; run: {made_by}")
    concepts = dict(zip(matrix.concept_id, matrix.concept, strict=True))
    payload = files.read_json(curves_path, made_by)
    try:
        languages = family.by_region(list(dict.fromkeys(matrix.language)))
        params = payload["metadata"]["params"]
        threshold, consecutive = float(params["threshold"]), int(params["consecutive"])
        position = str(params["primary_position"])
        cells = matrix.set_index(["concept_id", "language"])
        level, committed = {}, {}
        for v in variants:
            of = payload["curves"][v]
            level[v] = np.array([[_level(of[c][lang], consecutive) for lang in languages] for c in concepts])
            column = cells[f"{v}_layer"].astype(float)
            committed[v] = np.array([[column[c, lang] for lang in languages] for c in concepts])
    except (KeyError, TypeError, ValueError) as error:
        raise ProbeError(
            f"{curves_path} and {matrix_path.name} do not fit together ({error!r}); run: {made_by}"
        ) from error
    for v in variants:
        if not (level[v] >= threshold)[~np.isnan(committed[v])].all():
            raise ProbeError(f"{matrix_path} commits what {curves_path.name} does not hold; run: {made_by}")
    mismatched = _mismatched(
        folder / "alignment_summary.csv", made_by, variants, languages, position, consecutive
    )
    audit = blocking.load(paths, family)
    by = {v: _blocked(audit, v, languages, position, committed[v]) for v in variants}
    names = [*concepts.values()]
    return Held(names, languages, threshold, consecutive, position, level, committed, by, mismatched, audit)


def _blocked(
    audit: blocking.Audit, variant: str, languages: list[str], position: str, committed: np.ndarray
) -> np.ndarray:
    """A commitment claims the cosine of the probes at the state where it is made."""
    cells = np.argwhere(~np.isnan(committed))
    table = pd.DataFrame({"state": committed[tuple(cells.T)], "language": [languages[c] for _, c in cells]})
    table = table.assign(variant=variant, stimuli="probes", position=position, metric="cosine")
    by = np.full(committed.shape, None, dtype=object)
    by[tuple(cells.T)] = audit.by(table).to_numpy()
    return by


def _level(curve: Sequence[float] | np.ndarray, consecutive: int) -> float:
    held = held_level(curve, consecutive)
    return np.nan if held is None else held


def _mismatched(
    path: Path, made_by: str, variants: list[str], languages: list[str], position: str, consecutive: int
) -> dict[str, np.ndarray]:
    """Published curves come without a summary: then nothing is known of mismatched pairs."""
    if not path.exists():
        return {}
    columns = {"variant", "language", "stimuli", "position", "metric", "state", "null"}
    table = files.read_csv(path, made_by, columns)
    table = table.query("stimuli == 'probes' and metric == 'cosine' and position == @position")
    table = table.sort_values(by="state")
    null = {key: part["null"].to_numpy() for key, part in table.groupby(["variant", "language"])}
    try:
        return {v: np.array([_level(null[v, lang], consecutive) for lang in languages]) for v in variants}
    except (KeyError, ValueError) as error:
        raise ProbeError(f"{path} lacks the probes' cosine ({error!r}); run: {made_by}") from error
