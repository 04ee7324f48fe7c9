"""What a published alignment_curves.json still tells, without the activations it was made from.

The curves are the cosines of matched pairs alone, so the auditor's checks of values, commitment, differences
of variants paired by concept, and the shape of the curves can be had. What needs vectors, mismatched pairs or
tokens cannot; `CANNOT` lists it, and the list goes into the result.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from probe import files, tables
from probe.alignment import effects, peaks
from probe.alignment.commitment import commitment_matrix, commitment_sensitivity, commitment_states
from probe.alignment.multiplicity import over_languages
from probe.audit import checks as audit
from probe.audit import findings
from probe.audit.door import describe
from probe.audit.findings import Claim, Finding
from probe.errors import ProbeError
from probe.paths import REPOSITORY, Paths
from probe.stats import resampling
from probe.stats.groups import Groups
from probe.stimuli.manifest import load_concepts

FALL_FROM = 5 / 6  # of the depth: the fall of the published 37 states is told from state 30
STIMULI, METRIC = "probes", "cosine"
CANNOT = {
    "excess over mismatched pairs, margin, retrieval, MEXA": "mismatched pairs were not published",
    "mean-centred cosine, CKA, mutual k-NN, anisotropy": "they need the vectors",
    "a null, and a p of alignment": "the pairing of a published matched cosine cannot be permuted",
    "other read positions, and the sentence without its final mark": "one position was published",
    "the last state before the final norm, where it was read after it": "cosines do not undo a norm",
    "shared tokens, fertility, length": "token ids were not published",
    "difference in differences": "the file does not say what a variant was tuned for, and holds no control",
    "whether sentences are in their language": "sentences were not published",
}


@dataclass(frozen=True)
class Published:
    """curves: variant -> language -> float64 (n, n_states), row i of one concept. post_norm: the same,
    (n,), where the file has it. position: as the file records it, "unknown" where it does not."""

    concepts: tuple[str, ...]
    curves: dict[str, dict[str, np.ndarray]]
    post_norm: dict[str, dict[str, np.ndarray]]
    position: str

    @property
    def languages(self) -> list[str]:
        return list(next(iter(self.curves.values())))

    @property
    def n_states(self) -> int:
        return next(iter(next(iter(self.curves.values())).values())).shape[1]

    @property
    def scores(self) -> list[audit.Scores]:
        return [
            audit.Scores(variant, language, STIMULI, self.position, METRIC, values)
            for variant, by_language in self.curves.items()
            for language, values in by_language.items()
        ]

    @property
    def by_concept(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """variant -> concept -> language -> curve, as in the file."""
        return {
            variant: {
                concept: {language: values[row].tolist() for language, values in by_language.items()}
                for row, concept in enumerate(self.concepts)
            }
            for variant, by_language in self.curves.items()
        }

    def mean_curve(self, variant: str) -> np.ndarray:
        """(n_states,): the mean over concepts and languages."""
        return np.mean([values.mean(axis=0) for values in self.curves[variant].values()], axis=0)


def load(path: Path) -> Published:
    """Raises ProbeError, naming the file and the first thing wrong, where it is no file of curves, where a
    variant, concept or language lacks what another has, or where a value is no cosine."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProbeError(f"no file {path}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProbeError(f"{path} is no JSON: {error}") from error
    variants = content.get("curves") if isinstance(content, dict) else None
    if not isinstance(variants, dict) or not variants:
        raise ProbeError(f'{path}: expected {{"curves": {{variant: {{concept: {{language: [cosines]}}}}}}}}')
    first = next(iter(variants.values()))
    curves = _tables(f"{path}: curves", variants, first, ndim=1)
    post_norm = content.get("post_norm") or {}
    if post_norm:
        _same_keys(f"{path}: post_norm", post_norm, variants)
        post_norm = _tables(f"{path}: post_norm", post_norm, first, ndim=0)
    return Published(tuple(first), curves, post_norm, _position(content))


def _position(content: dict) -> str:
    metadata = content.get("metadata")
    params = metadata.get("params") if isinstance(metadata, dict) else None
    position = params.get("primary_position") if isinstance(params, dict) else None
    return str(position or "unknown")


def _tables(where: str, variants: dict, like: dict, ndim: int) -> dict[str, dict[str, np.ndarray]]:
    """variant -> concept -> language -> value(s), as variant -> language -> array, a row per concept of
    `like`, whose keys all must have."""
    tables: dict[str, dict[str, list[np.ndarray]]] = {}
    shape = None
    for variant, by_concept in variants.items():
        _same_keys(f"{where}/{variant}", by_concept, like)
        languages = next(iter(like.values()))
        for concept in like:
            _same_keys(f"{where}/{variant}/{concept}", by_concept[concept], languages)
            for language in languages:
                cell = f"{where}/{variant}/{concept}/{language}"
                values = _cosines(cell, by_concept[concept][language])
                shape = values.shape if shape is None else shape
                if values.ndim != ndim or values.size < 1 + ndim:
                    raise ProbeError(
                        f"{cell}: expected {'a list of two states or more' if ndim else 'a number'}"
                    )
                if values.shape != shape:
                    raise ProbeError(f"{cell}: {len(values)} states, but {shape[0]} before")
                tables.setdefault(variant, {}).setdefault(language, []).append(values)
    return {v: {lang: np.stack(rows) for lang, rows in table.items()} for v, table in tables.items()}


def _same_keys(where: str, table: object, like: object) -> None:
    if not isinstance(table, dict) or not table or not isinstance(like, dict):
        raise ProbeError(f"{where}: expected a table that holds something")
    if different := set(table) ^ set(like):
        raise ProbeError(f"{where}: {', '.join(sorted(different))}: in one table and missing in another")


def _cosines(where: str, values: object) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ProbeError(f"{where}: not numbers") from error
    if not (np.abs(array) <= 1 + 1e-6).all():  # NaN fails it too
        raise ProbeError(f"{where}: a value is not finite, or no cosine")
    return array


def _cells(published: Published) -> pd.DataFrame:
    """A row per variant and language: the claim that its state 0 says something."""
    return pd.DataFrame(
        [
            {
                "variant": variant,
                "language": language,
                "stimuli": STIMULI,
                "position": published.position,
                "metric": METRIC,
                "state": 0,
                "n": len(published.concepts),
            }
            for variant in published.curves
            for language in published.languages
        ]
    )


def no_null(published: Published) -> Finding:
    """The cosine of matched pairs alone: in an anisotropic space it is high for any two sentences."""
    return Finding(
        id="no_null",
        severity="medium",
        languages=published.languages,
        variants=list(published.curves),
        evidence={
            "sentence": "cosines of matched pairs without those of mismatched ones: no level shows alignment"
        },
        blocks=[
            Claim(
                where={"claim": ["level", "peak"], "metric": [METRIC], "position": [published.position]},
                text="a level of the cosine, or a commitment by it, as alignment of meaning",
            )
        ],
    )


def audited(published: Published) -> list[Finding]:
    """What the auditor can say of curves."""
    post_norm = {
        (variant, language): values
        for variant, by_language in published.post_norm.items()
        for language, values in by_language.items()
    }
    found = [*audit.audit(audit.Evidence(scores=published.scores, post_norm=post_norm)), no_null(published)]
    if not post_norm:
        found += audit.last_step_jump(published.scores)
    return audit.ordered(found)


def first_state(published: Published, found: list[Finding]) -> int:
    """Where curves begin to say something: 1 where state 0 has one value for all concepts in any language,
    else 0. All languages and variants begin at one state, or their peaks would not compare."""
    high = [finding for finding in found if finding.severity == "high"]
    return int(findings.blocking(_cells(published), high).notna().any())


def variant_effects(published: Published) -> pd.DataFrame:
    """Every pair of variants, the later in the file minus the earlier: mean difference per language and
    state, with interval and p over concepts; empty where there is one variant. All of it describes: a raw
    cosine moves with the offset of a language and with how crowded the space is, and the file holds nothing
    that would tell these from meaning."""
    variants = list(published.curves)
    tables = [
        effects.assess_contrast(
            effects.Contrast(
                a,
                b,
                "simple",
                "",
                {lang: published.curves[a][lang] - published.curves[b][lang] for lang in published.languages},
            ),
            Groups.independent(len(published.concepts)),
        )
        for place, a in enumerate(variants)
        for b in variants[:place]
    ]
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True).round(9)  # below is the noise of summation
    table = over_languages(table, ["variant_a", "variant_b"]).drop(columns=["reference", "placebo"])
    return describe(table.assign(stimuli=STIMULI, position=published.position, metric=METRIC), "no_null")


def last_steps(published: Published) -> dict[str, dict[str, float]]:
    """Per variant, the fall of the mean curve from five sixths of the depth to its end, and the share of it
    that the last step makes. Where post-norm cosines were published, the norm is the last step."""
    shares = {}
    for variant in published.curves:
        curve = published.mean_curve(variant)
        start = round(FALL_FROM * (len(curve) - 1))
        if normed := published.post_norm.get(variant):
            curve = np.append(curve, np.mean([values.mean() for values in normed.values()]))
        fall, step = float(curve[start] - curve[-1]), float(curve[-2] - curve[-1])
        if start < len(curve) - 1 and fall > 0:
            shares[variant] = {
                "from_state": start,
                "fall": round(fall, 6),
                "last_step": round(step, 6),
                "share": round(step / fall, 6),
            }
    return shares


def commitments(published: Published, threshold: float, consecutive: int, start: int) -> dict[str, dict]:
    """Per variant: cells, how many commit, how many of those at state 0, and how many from `start` on."""
    counts = {}
    for variant, by_language in published.curves.items():
        curves = np.stack(list(by_language.values()))
        states = commitment_states(curves, threshold, consecutive)
        later = commitment_states(curves, threshold, consecutive, start)
        counts[variant] = {
            "cells": states.size,
            "committed": int(np.isfinite(states).sum()),
            "at_state_0": int((states == 0).sum()),
            f"committed_from_state_{start}": int(np.isfinite(later).sum()),
        }
    return counts


def effects_at_peak(published: Published, table: pd.DataFrame, start: int) -> list[dict]:
    """Each pair's differences at the state where the mean curve of its first variant is highest."""
    if table.empty:
        return []
    found = []
    for a, b in dict.fromkeys(zip(table["variant_a"], table["variant_b"], strict=True)):
        state = start + int(published.mean_curve(a)[start:].argmax())
        here = (table["variant_a"] == a) & (table["variant_b"] == b) & (table["state"] == state)
        diff = dict(zip(table.loc[here, "language"], table.loc[here, "diff"], strict=True))
        above = int((table.loc[here, "ci_low"] > 0).sum())
        found.append(
            {"variant_a": a, "variant_b": b, "state": state, "diff": diff, "languages_above_0": above}
        )
    return found


def concept_names(concepts: tuple[str, ...]) -> dict[str, str]:
    """Id -> name, where every id is one of the project's own probes; of any other study nothing is known."""
    own = load_concepts(Paths(REPOSITORY).concept_probes)
    return {name: own[name].concept for name in concepts} if set(concepts) <= set(own) else {}


def summarise(
    published: Published,
    table: pd.DataFrame,
    found: list[Finding],
    start: int,
    threshold: float,
    consecutive: int,
) -> dict:
    """The content of reanalysis.json."""
    return {
        "variants": list(published.curves),
        "languages": published.languages,
        "concepts": len(published.concepts),
        "states": published.n_states,
        "position": published.position,
        "post_norm_published": bool(published.post_norm),
        "first_state_that_counts": start,
        "commitments": commitments(published, threshold, consecutive, start),
        "last_step_of_the_fall": last_steps(published),
        "effects_at_the_peak": effects_at_peak(published, table, start),
        "findings": {finding.id: finding.severity for finding in found},
        "cannot_be_had": CANNOT,
    }


def sensitivity(published: Published, start: int) -> pd.DataFrame:
    """commitment_sensitivity.csv, with `start`: the first state that may commit, 0 as published and, where
    state 0 says nothing, 1."""
    tables = [
        commitment_sensitivity(published.curves, published.position, METRIC, first).assign(start=first)
        for first in sorted({0, start})
    ]
    return pd.concat(tables, ignore_index=True)


def reanalyse(path: Path, out: Path, threshold: float, consecutive: int) -> str:
    """Writes the tables, the audit and reanalysis.json into `out`; returns a few lines to print.

    Raises ProbeError as `load`, and where `out` would overwrite what was published beside the file.
    """
    published = load(path)
    if out.resolve() == path.resolve().parent:
        raise ProbeError(f"--out {out} holds the published files; choose another folder")
    if len(published.concepts) < 2:
        raise ProbeError(f"{path}: one concept has no interval and no test")
    table = variant_effects(published)
    found = audited(published)
    start = first_state(published, found)
    summary = summarise(published, table, found, start, threshold, consecutive)
    metadata = files.provenance(
        params={
            "threshold": threshold,
            "consecutive": consecutive,
            "resamples": resampling.N_RESAMPLES,
            "seed": resampling.SEED,
        },
        inputs={path.name: files.sha256(path)},
        interval="95 % over concepts",
        p_value=effects.P_VALUE,
        q_value=effects.Q_VALUE,
        peaks=f"looked for from state {start} on",
    )
    names = concept_names(published.concepts)
    matrix = commitment_matrix(published.by_concept, names, threshold, consecutive)
    tables.COMMITMENT.write(out, matrix, metadata)
    tables.SENSITIVITY.write(out, sensitivity(published, start), metadata)
    if len(table):
        tables.EFFECTS.write(out, table, metadata)
    shapes = peaks.peaks_table(published.curves, len(published.concepts), published.position, METRIC, start)
    tables.PEAKS.write(out, describe(shapes, "no_null"), metadata)
    findings.write(out, found, metadata)
    written = files.write_json(out / "reanalysis.json", summary, metadata)
    return f"{_told(summary, found)}\n{written}: {findings.counted(found)} findings"


def _told(summary: dict, found: list[Finding]) -> str:
    lines = [f"{finding.severity}: {finding.evidence['sentence']}" for finding in found]
    for variant, counts in summary["commitments"].items():
        lines.append(
            f"{variant}: {counts['committed']} of {counts['cells']} commit, {counts['at_state_0']} at state 0"
        )
    for variant, step in summary["last_step_of_the_fall"].items():
        lines.append(
            f"{variant}: {step['share']:.0%} of the fall from state {step['from_state']} is the last step"
        )
    for pair in summary["effects_at_the_peak"]:
        lines.append(
            f"{pair['variant_a']} - {pair['variant_b']} at state {pair['state']}: "
            + ", ".join(f"{language} {diff:+.3f}" for language, diff in pair["diff"].items())
        )
    return "\n".join([*lines, "not to be had from curves: " + "; ".join(summary["cannot_be_had"])])
