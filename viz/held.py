"""What the heat map shows: of each concept in each language where it commits, and what stands beside that."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe import curves
from probe.alignment.commitment import CALIBRATED, CONSECUTIVE, COSINE, ENDING, SHARE, held_level, of_probes
from probe.conventions import PRIMARY_METRIC
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from probe.tables import COMMITMENT, SENSITIVITY, SUMMARY
from viz import blocked, style

METRIC = {COSINE: "cosine", CALIBRATED: PRIMARY_METRIC}  # whose level a commitment claims


@dataclass(frozen=True)
class Held:
    """cells: a row per variant, concept_id and language, with level, the state by the criterion that leads
    (`state`) and by the cosine (`by_cosine`), NaN for never, and blocked (the id of the finding that takes
    the commitment away, else None).

    level and below are shares in [0, 1] of the meanings that commit, of a concept 0 or 1, where the criterion
    is CALIBRATED; held cosines in [-1, 1] where it is COSINE. NaN: not measured. below: of each row under the
    concepts its label and variant -> language -> level, of other kinds of stimuli and of pairs that do not
    match.
    """

    criterion: str
    cells: pd.DataFrame
    variants: list[str]
    concepts: dict[str, str]  # id -> word
    languages: list[str]  # one region's side by side
    threshold: float  # of the cosine
    consecutive: int
    position: str  # at which the sentences were read
    below: dict[str, dict[str, dict[str, float]]]
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

    def by_cosine(self, variant: str) -> int:
        """How many of the variant's cells commit by the cosine."""
        return int(self.cells.loc[self.cells.variant == variant, "by_cosine"].notna().sum())


def load(args: argparse.Namespace, paths: Paths, family: Family) -> Held:
    """The calibrated criterion where it was measured. Raises ProbeError, with the command that helps, where a
    file is missing, damaged or of another run."""
    path, made_by = COMMITMENT.path(paths, family.name), COMMITMENT.command(family.name)
    matrix = of_probes(COMMITMENT.read(paths, family.name))
    cosine = ENDING[COSINE]
    present = [str(name).removesuffix(cosine) for name in matrix if str(name).endswith(cosine)]
    variants = style.measured(family, args.variants, present, path)
    if matrix.empty:
        raise ProbeError(f"{path} holds no concept; run: {made_by}")
    criterion = CALIBRATED if all(f"{v}{ENDING[CALIBRATED]}" in matrix for v in variants) else COSINE
    measured = curves.read(paths, family.name)
    languages = family.by_region(list(dict.fromkeys(matrix.language)))
    try:
        params = measured.metadata["params"]
        threshold, consecutive = float(params["threshold"]), int(params["consecutive"])
        position = str(params["primary_position"])
        cells = _states(matrix, variants, COSINE).rename(columns={"state": "by_cosine"})
        cells["state"] = _states(matrix, variants, criterion).state
        where = zip(cells.variant, cells.concept_id, cells.language, strict=True)
        cells["level"] = [_level(measured.curves[v][c][lang], consecutive) for v, c, lang in where]
        if len(cells) != len(variants) * len(languages) * matrix.concept_id.nunique():
            raise ValueError("not every concept in every language, once")
    except (KeyError, TypeError, ValueError) as error:
        raise ProbeError(f"{path} does not fit {curves.FILE} ({error!r}); run: {made_by}") from error
    if (cells.by_cosine.notna() & ~(cells.level >= threshold)).any():
        raise ProbeError(f"{path} commits what {curves.FILE} does not hold; run: {made_by}")
    if criterion == CALIBRATED:
        consecutive, below = CONSECUTIVE, _shares(paths, family, variants)
        known = below[PERMUTED]
        keys = zip(cells.variant, cells.language, cells.state.notna(), strict=True)
        cells["level"] = [float(has) if lang in known[v] else np.nan for v, lang, has in keys]
    else:
        below = _mismatched(paths, family, variants, languages, position, consecutive)
    audit = blocked.load(paths, family)
    # A commitment claims the level of the probes at the state where it is made.
    claims = cells.loc[cells.state.notna()]
    claims = claims.assign(stimuli="probes", position=position, metric=METRIC[criterion])
    cells["blocked"] = audit.by(claims).reindex(cells.index).astype(object).replace({np.nan: None})
    concepts = dict(zip(matrix.concept_id, matrix.concept, strict=True))
    return Held(
        criterion, cells, variants, concepts, languages, threshold, consecutive, position, below, audit
    )


def _states(matrix: pd.DataFrame, variants: list[str], criterion: str) -> pd.DataFrame:
    """variant, concept_id, concept, language, state: NaN for never."""
    columns = {f"{variant}{ENDING[criterion]}": variant for variant in variants}
    named = matrix.rename(columns=columns)
    cells = named.melt(["concept_id", "concept", "language"], variants, "variant", "state")
    return cells.assign(state=cells.state.astype(float))


PERMUTED = "permuted pairs"


def _shares(paths: Paths, family: Family, variants: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Of every kind but the probes the share of meanings that commit, and that of permuted pairs, of the
    probes. A language that is not there was not measured."""
    table = SENSITIVITY.read(paths, family.name, needs=("criterion", "stimuli", "chance"))
    at_own = (table.threshold == SHARE) & (table.consecutive == CONSECUTIVE)
    table = table.loc[(table.criterion == CALIBRATED) & at_own]
    below: dict[str, dict[str, dict[str, float]]] = {}
    for kind, own in table.groupby("stimuli", sort=False):
        label, column = (PERMUTED, "chance") if kind == "probes" else (f"{kind} ({own.n.max()})", "fraction")
        below[label] = {variant: {} for variant in variants}
        for row in own.loc[own.variant.isin(variants)].to_dict("records"):
            below[label][row["variant"]][row["language"]] = row[column]
    below[PERMUTED] = below.pop(PERMUTED, {variant: {} for variant in variants})  # the last row
    return below


def _level(curve: Sequence[float] | np.ndarray, consecutive: int) -> float:
    held = held_level(curve, consecutive)
    return np.nan if held is None else held


def _mismatched(
    paths: Paths, family: Family, variants: list[str], languages: list[str], position: str, consecutive: int
) -> dict[str, dict[str, dict[str, float]]]:
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
        return {
            "mismatched": {
                v: {lang: _level(null[v, lang], consecutive) for lang in languages} for v in variants
            }
        }
    except KeyError as error:
        command = SUMMARY.command(family.name)
        raise ProbeError(f"{path} lacks the probes' cosine ({error!r}); run: {command}") from error
