"""Stage 3's last step: what the auditor found in a measurement, and the verdict of every row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore
from probe.alignment import cells
from probe.alignment.measure import Measurement, final_tokens, measure
from probe.audit import checks, rules, texts
from probe.audit.door import Judge, claimable, rule_findings, untrained_missing
from probe.audit.findings import Finding
from probe.conventions import POSITIONS, PRIMARY_METRIC, PRIMARY_POSITION
from probe.families import Family
from probe.stimuli.manifest import Manifest

AUDITED = ("cosine", "excess", PRIMARY_METRIC, "p1", "mexa")


@dataclass(frozen=True)
class Judged:
    """tables: file name -> table, alignment_summary among them; those of claims with `verdict` and
    `reason`."""

    tables: dict[str, pd.DataFrame]
    findings: list[Finding]


def judge(
    measured: Measurement,
    stores: dict[str, ActivationStore],
    manifest: Manifest,
    family: Family,
    untrained: pd.DataFrame | None = None,
) -> Judged:
    """untrained: as untrained.csv has it, None where the family has none."""
    findings = [
        *checks.audit(_evidence(measured, stores, manifest)),
        *texts.shifted_lines(_offsets(measured, family.untrained)),
    ]
    by = Judge(findings, family.untrained)
    levels = rules.levels_beside(measured.summary, measured.few, untrained)
    tables = dict(measured.tables)
    summary = tables["alignment_summary"] = by.levels(measured.summary, measured.few, untrained)
    if "regional" in tables:
        tables["regional"] = by.regional(tables["regional"])
    if "variant_effects" in tables:
        beside = rules.effects_beside(
            tables["variant_effects"], levels, tables.get("regional", pd.DataFrame()), untrained
        )
        tables["variant_effects"] = by.effects(tables["variant_effects"], beside)
        findings += _saturated(tables["variant_effects"], beside)
    tables["peaks"] = by.peaks(tables["peaks"], summary)
    if "robustness" in tables:
        tables["robustness"] = by.robustness(tables["robustness"], tables["variant_effects"])
    claims = {name: table for name, table in tables.items() if "verdict" in table}
    findings += rule_findings(claims)
    if levels.loc[levels.position == PRIMARY_POSITION, "untrained"].isna().any():
        findings.append(untrained_missing(stores))
    return Judged(tables, checks.ordered(findings))


def measure_and_judge(
    stores: dict[str, ActivationStore],
    manifest: Manifest,
    family: Family,
    untrained: pd.DataFrame | None = None,
    positions: Sequence[str] = POSITIONS,
    comparisons: bool = True,
) -> Judged:
    measured = measure(stores, manifest, family, positions, comparisons)
    return judge(measured, stores, manifest, family, untrained)


def _evidence(
    measured: Measurement, stores: dict[str, ActivationStore], manifest: Manifest
) -> checks.Evidence:
    return checks.Evidence(
        final_tokens={variant: final_tokens(store, manifest) for variant, store in stores.items()},
        scores=[
            checks.Scores(variant, language, stimuli, position, metric, scores)
            for (stimuli, position, metric), items in measured.scores.items()
            if metric in AUDITED
            for (variant, language), scores in items.items()
        ],
        normed=measured.normed,
        summary=measured.summary,
        effects=measured.tables.get("variant_effects"),
        sentences=[
            (kind, s.stimulus_id, s.language, s.text) for kind in cells.KINDS for s in manifest.of_kind(kind)
        ],
        sources=manifest.metadata.get("sources", {}),
    )


def _offsets(
    measured: Measurement, controls: frozenset[str]
) -> dict[tuple[str, str], dict[str, texts.Offset]]:
    """(kind, language) -> variant -> where its lines match others better than their own: in the variant that
    aligns that language best, for in one that hardly does a neighbour may come nearer by what the two
    share."""
    best: dict[tuple[str, str], tuple[float, str, np.ndarray]] = {}
    for (variant, language, kind), similarity in measured.highest.items():
        own = (float(np.diagonal(similarity).mean()), variant, similarity)
        if variant not in controls and own[:1] > best.get((kind, language), (-np.inf,))[:1]:
            best[kind, language] = own
    found = {key: (variant, texts.line_offset(similarity)) for key, (_, variant, similarity) in best.items()}
    return {key: {variant: offset} for key, (variant, offset) in found.items() if offset}


def _saturated(effects: pd.DataFrame, beside: pd.DataFrame) -> list[Finding]:
    """Effects that may be said although their ranks could not move: they rest on one measure, and say so."""
    rows = effects.loc[beside.index][beside.saturated & claimable(effects.loc[beside.index])]
    if rows.empty:
        return []
    sentence = (
        f"{len(rows)} effects rest on one measure: the ranks of both variants are at ceiling or at chance"
    )
    return [
        Finding(
            id="rank_saturated",
            severity="low",
            languages=sorted(set(rows.language)),
            variants=sorted(set(rows.variant_a)),
            evidence={"sentence": sentence, "rows": len(rows)},
            blocks=[],
        )
    ]
