"""What the heat map shows: of each concept in each language, the level that is held and where it commits."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe import curves
from probe.alignment.commitment import held_level
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from probe.tables import COMMITMENT, SUMMARY
from viz import blocked, style


@dataclass(frozen=True)
class Held:
    """cells: a row per variant, concept_id and language, with level (NaN where the curve is too short), state
    (NaN for never) and blocked (the id of the finding that takes the commitment away, else None).

    mismatched: variant -> language -> level of the mean over mismatched pairs, where that was measured.
    """

    cells: pd.DataFrame
    variants: list[str]
    concepts: dict[str, str]  # id -> word
    languages: list[str]  # one region's side by side
    threshold: float
    consecutive: int
    position: str  # at which the sentences were read
    mismatched: dict[str, dict[str, float]]
    audit: blocked.Audit

    def grid(self, variant: str, column: str) -> np.ndarray:
        """(n_concepts, n_languages)"""
        own = self.cells[self.cells.variant == variant]
        table = own.pivot(index="concept_id", columns="language", values=column)
        return table.reindex(index=list(self.concepts), columns=self.languages).to_numpy()

    def counts(self, variant: str) -> tuple[int, int, int]:
        """The variant's cells that commit, those of them that the auditor takes away, and all cells."""
        own = self.cells[self.cells.variant == variant]
        return int(own.state.notna().sum()), int(own.blocked.notna().sum()), len(own)


def load(args: argparse.Namespace, paths: Paths, family: Family) -> Held:
    """Raises ProbeError, with the command that helps, where a file is missing, damaged or of another run."""
    path, made_by = COMMITMENT.path(paths, family.name), COMMITMENT.command(family.name)
    matrix = COMMITMENT.read(paths, family.name)
    layers = [column for column in matrix if str(column).endswith("_layer")]
    present = [column.removesuffix("_layer") for column in layers]
    variants = style.measured(family, args.variants, present, path)
    if matrix.empty:
        raise ProbeError(f"{path} holds no concept; run: {made_by}")
    measured = curves.read(paths, family.name)
    try:
        params = measured.metadata["params"]
        threshold, consecutive = float(params["threshold"]), int(params["consecutive"])
        position = str(params["primary_position"])
        cells = matrix.melt(["concept_id", "concept", "language"], layers, "variant", "state")
        cells = cells.assign(
            variant=cells.variant.str.removesuffix("_layer"), state=cells.state.astype(float)
        )
        cells = cells.loc[cells.variant.isin(variants)].reset_index(drop=True)
        where = zip(cells.variant, cells.concept_id, cells.language, strict=True)
        cells["level"] = [_level(measured.curves[v][c][lang], consecutive) for v, c, lang in where]
        languages = family.by_region(list(dict.fromkeys(matrix.language)))
        if len(cells) != len(variants) * len(languages) * matrix.concept_id.nunique():
            raise ValueError("not every concept in every language, once")
    except (KeyError, TypeError, ValueError) as error:
        raise ProbeError(f"{path} does not fit {curves.FILE} ({error!r}); run: {made_by}") from error
    if (cells.state.notna() & ~(cells.level >= threshold)).any():
        raise ProbeError(f"{path} commits what {curves.FILE} does not hold; run: {made_by}")
    audit = blocked.load(paths, family)
    # A commitment claims the cosine of the probes at the state where it is made.
    claims = cells.loc[cells.state.notna()].assign(stimuli="probes", position=position, metric="cosine")
    cells["blocked"] = audit.by(claims).reindex(cells.index).astype(object).replace({np.nan: None})
    concepts = dict(zip(matrix.concept_id, matrix.concept, strict=True))
    mismatched = _mismatched(paths, family, variants, languages, position, consecutive)
    return Held(cells, variants, concepts, languages, threshold, consecutive, position, mismatched, audit)


def _level(curve: Sequence[float] | np.ndarray, consecutive: int) -> float:
    held = held_level(curve, consecutive)
    return np.nan if held is None else held


def _mismatched(
    paths: Paths, family: Family, variants: list[str], languages: list[str], position: str, consecutive: int
) -> dict[str, dict[str, float]]:
    """Published curves come without a summary: then nothing is known of mismatched pairs."""
    path = SUMMARY.path(paths, family.name)
    if not path.exists():
        return {}
    table = SUMMARY.read(paths, family.name)
    table = table.query("stimuli == 'probes' and metric == 'cosine' and position == @position")
    null = {
        key: part["null"].to_numpy()
        for key, part in table.sort_values("state").groupby(["variant", "language"])
    }
    try:
        return {v: {lang: _level(null[v, lang], consecutive) for lang in languages} for v in variants}
    except KeyError as error:
        command = SUMMARY.command(family.name)
        raise ProbeError(f"{path} lacks the probes' cosine ({error!r}); run: {command}") from error
