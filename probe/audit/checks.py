"""The auditor: what can pass for alignment and is none.

Every check is a pure function of one kind of evidence and returns findings (probe.findings), each with the
numbers it rests on and the claims it takes away. `audit` runs the checks that the evidence at hand allows. Of
high severity is what makes numbers meaningless that look meaningful; of medium, what leaves a claim without
support; of low, what a reader should know.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from probe.audit.findings import SEVERITIES, Cell, Claim, Finding, grouped
from probe.audit.texts import audit_texts, gainsaid
from probe.conventions import ALPHA, PRIMARY_METRIC
from probe.languages import LANGUAGES, PIVOT
from probe.stats.inference import ROUNDING

CONSTANT_SD = 1e-6  # of cosines over concepts; the published ones are rounded to six places
CONSTANT_SHARE = 0.9  # of a language's sentences that end in the same token
HIGH_COSINE = 0.5  # what a reader would take for alignment
SAME_COSINE = 1e-4  # storing float16 moves a cosine by less
SAME_RATIO = 1e-2  # of lengths, their spread over their mean; storing float16 makes less
SCALED = ("cosine", "excess")  # metrics that move with offset and scale
CEILING, AT_CEILING = 0.99, 0.9  # of the maximum, for more than this share of the items


@dataclass(frozen=True)
class Scores:
    """Item scores of one metric. values: float64 (n, n_states); maximum: the metric's, None without one."""

    variant: str
    language: str
    stimuli: str
    position: str
    metric: str
    values: np.ndarray
    maximum: float | None = 1.0


@dataclass(frozen=True)
class Evidence:
    """What is at hand; a check whose evidence is missing is not run.

    final_tokens  variant -> language, the pivot too -> the token id read at `last`, one per sentence
    scores        item scores of any metrics
    normed        variant -> (2, n): of one token of each pivot sentence, the cosine of its last state with
    the
                  stored post-norm vector, and the ratio of their lengths
    post_norm     (variant, language) -> (n,) matched cosines after the final norm, of the same meanings and
                  position as the cosines of `scores`; used for variants without `normed`
    summary       alignment_summary.csv: at least cosine and excess
    effects       variant_effects.csv
    sentences     (kind of stimuli, stimulus id, language, text)
    sources       kind of stimuli -> where they are from, as the manifest's metadata has it
    """

    final_tokens: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    scores: Sequence[Scores] = ()
    normed: Mapping[str, np.ndarray] = field(default_factory=dict)
    post_norm: Mapping[Cell, np.ndarray] = field(default_factory=dict)
    summary: pd.DataFrame | None = None
    effects: pd.DataFrame | None = None
    sentences: Sequence[tuple[str, str, str, str]] = ()
    sources: Mapping[str, Mapping | None] = field(default_factory=dict)


def audit(evidence: Evidence) -> list[Finding]:
    """All findings, the most severe first."""
    findings = [
        *final_tokens(evidence.final_tokens),
        *constant_values(evidence.scores),
        *post_norm_state(evidence.normed, evidence.scores, evidence.post_norm),
        *at_ceiling(evidence.scores),
        *audit_texts(evidence.sentences),
        *gainsaid(evidence.sources),
    ]
    if evidence.summary is not None:
        findings += mismatched_as_high(evidence.summary)
    if evidence.effects is not None:
        findings += scale_dependent(evidence.effects)
    return ordered(findings)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The most severe first; of findings with one id the first."""
    distinct: dict[str, Finding] = {}
    for finding in findings:
        distinct.setdefault(finding.id, finding)
    return sorted(distinct.values(), key=lambda finding: (SEVERITIES.index(finding.severity), finding.id))


def _finding(
    name: str,
    severity: Literal["high", "medium", "low"],
    cells: Iterable[Cell],
    evidence: dict[str, Any],
    blocks: Iterable[Claim],
) -> Finding:
    """A finding about these (variant, language) cells."""
    cells = list(cells)
    return Finding(
        id=name,
        severity=severity,
        languages=list(dict.fromkeys(language for _, language in cells)),
        variants=list(dict.fromkeys(variant for variant, _ in cells)),
        evidence=evidence,
        blocks=list(blocks),
    )


def _claims(cells: Iterable[Cell], text: str, **where: list) -> list[Claim]:
    return [Claim(where={**each, **where}, text=text) for each, _ in grouped(dict.fromkeys(cells, ()))]


def _nested(cells: Mapping[Cell, Any]) -> dict[str, dict[str, Any]]:
    """(variant, language) -> x, as variant -> language -> x."""
    nested: dict[str, dict[str, Any]] = defaultdict(dict)
    for (variant, language), value in cells.items():
        nested[variant][language] = value
    return dict(nested)


# What the sentences and their tokens give away


def final_tokens(final: Mapping[str, Mapping[str, Sequence[int]]]) -> list[Finding]:
    """Languages whose sentences, as the pivot's, all end in one token each. Read at `last`, state 0 is then
    that token's embedding: its cosine is one constant, and 1 where it is the pivot's own final token.

    final: as in Evidence.
    """
    share: dict[Cell, float] = {}
    identical: list[Cell] = []
    for variant, by_language in final.items():
        common = {code: Counter(ids).most_common(1)[0] for code, ids in by_language.items() if len(ids) > 1}
        shares = {code: count / len(by_language[code]) for code, (_, count) in common.items()}
        if shares.get(PIVOT, 0) < CONSTANT_SHARE:
            continue
        fixed = [code for code in shares if code != PIVOT and shares[code] >= CONSTANT_SHARE]
        share |= {(variant, code): round(shares[code], 6) for code in fixed}
        identical += [(variant, code) for code in fixed if common[code][0] == common[PIVOT][0]]
    if not share:
        return []
    same = ", ".join(dict.fromkeys(language for _, language in identical))
    targets = ", ".join(dict.fromkeys(language for _, language in share))
    sentence = (
        f"the sentences of {targets} end in one token each, and so do those of {PIVOT}: read at the last "
        f"token, state 0 is the embedding of a final mark"
        + (f", in {same} the very one of {PIVOT}" if same else "")
    )
    text = "alignment, an effect, a peak or a commitment at state 0 of the last token"
    evidence = {
        "sentence": sentence,
        "share": _nested(share),
        "identical_to_pivot": [list(x) for x in identical],
    }
    claims = _claims(share, text, position=["last"], state=[0])
    return [_finding("constant_final_token", "high", share, evidence, claims)]


# What the item scores give away


def constant_values(scores: Iterable[Scores]) -> list[Finding]:
    """States whose cosine does not differ between concepts: it measures none of them. One finding per kind
    of stimuli, position and state, which tells whether the language's final mark alone sets the value."""
    found: dict[tuple[str, str, int], dict[Cell, float]] = defaultdict(dict)
    measured: Counter[tuple[str, str]] = Counter()
    for cell in scores:
        if cell.metric != "cosine" or len(cell.values) < 2:
            continue
        measured[cell.stimuli, cell.position] += 1
        for state in np.flatnonzero(cell.values.std(axis=0) < CONSTANT_SD).tolist():
            value = round(float(cell.values[:, state].mean()), 6)
            found[cell.stimuli, cell.position, state][cell.variant, cell.language] = value
    findings = []
    for (stimuli, position, state), cells in found.items():
        marks = _per_mark(cells)
        sentence = (
            f"state {state} ({stimuli}, {position}) has one cosine for all concepts in {len(cells)} of "
            f"{measured[stimuli, position]} variants x languages{_as_marks(marks)}"
        )
        text = f"alignment, an effect, a peak or a commitment at state {state} ({stimuli}, {position})"
        claims = _claims(cells, text, stimuli=[stimuli], position=[position], state=[state])
        evidence = {"sentence": sentence, "value": _nested(cells), "per_final_mark": marks}
        name = f"constant_over_concepts/{stimuli}/{position}/{state}"
        findings.append(_finding(name, "high", cells, evidence, claims))
    return findings


def _per_mark(cells: Mapping[Cell, float]) -> dict[str, dict[str, float]] | None:
    """variant -> final mark -> value, where languages that share a mark share the value; else None."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for (variant, language), value in cells.items():
        if language not in LANGUAGES:
            return None
        known = values[variant].setdefault(LANGUAGES[language].final_mark, value)
        if abs(known - value) > CONSTANT_SD:
            return None
    return dict(values)


def _as_marks(marks: Mapping[str, Mapping[str, float]] | None) -> str:
    if not marks:
        return ""
    said = [
        f"{variant} {', '.join(f'“{mark}” {value:.3f}' for mark, value in values.items())}"
        for variant, values in marks.items()
    ]
    return f"; it is one per final mark, so that mark is what was read ({'; '.join(said)})"


def post_norm_state(
    normed: Mapping[str, np.ndarray],
    scores: Iterable[Scores] = (),
    post_norm: Mapping[Cell, np.ndarray] | None = None,
) -> list[Finding]:
    """A last state that has been through the final norm, as the last of Transformers' hidden_states has.

    It then points where the stored post-norm vector points, and is as many times as long for every token,
    also where it was rescaled since. A norm that keeps directions (RMSNorm with equal weights) keeps the
    tokens' own lengths apart from the state before it. For variants without vectors the cosines of the last
    state are held against those after the norm: equal, they are the same.
    """
    suspects: dict[str, dict[str, float]] = {}
    last = 0
    for variant, (cosine, ratio) in normed.items():
        apart, spread = float(1 - cosine.min()), float(ratio.std() / ratio.mean())
        if apart < SAME_COSINE and spread < SAME_RATIO:
            suspects[variant] = {
                "distance_to_post_norm": round(apart, 9),
                "spread_of_lengths": round(spread, 9),
            }
    farthest: dict[str, float] = defaultdict(float)  # over languages: one that differs clears the variant
    for cell in scores:
        last = max(last, cell.values.shape[1] - 1)
        after = (post_norm or {}).get((cell.variant, cell.language))
        if after is not None and cell.metric == "cosine" and cell.variant not in normed:
            distance = float(np.abs(cell.values[:, -1] - after).max())
            farthest[cell.variant] = max(farthest[cell.variant], distance)
    for variant, distance in farthest.items():
        if distance < SAME_COSINE:
            suspects[variant] = {"distance_to_post_norm": distance}
    if not suspects:
        return []
    sentence = (
        f"state {last} of {', '.join(suspects)} was read after the final norm: it is no state of the "
        "residual stream, and the step to it is the norm's"
    )
    return [_about_last_state("post_norm_state", "high", sentence, suspects, last)]


def last_step_jump(scores: Sequence[Scores]) -> list[Finding]:
    """For curves that come with nothing to tell whether their last state is post-norm: where the last step
    of a variant's mean cosine is its largest fall, the step from the embedding aside, the norm may be why."""
    curves: dict[str, list[np.ndarray]] = defaultdict(list)
    for cell in scores:
        if cell.metric == "cosine" and cell.values.shape[1] > 3:
            curves[cell.variant].append(cell.values.mean(axis=0))
    suspects, last = {}, 0
    for variant, means in curves.items():
        steps = np.diff(np.mean(means, axis=0))[1:]
        if steps[-1] < min(0, steps[:-1].min()):
            last = len(steps) + 1
            suspects[variant] = {
                "last_step": round(float(steps[-1]), 6),
                "next_largest": round(float(steps[:-1].min()), 6),
            }
    if not suspects:
        return []
    sentence = (
        f"the step to state {last} is the largest fall between two states of {', '.join(suspects)}, and "
        "nothing shows that this state was read before the final norm; hidden_states[-1] is after it"
    )
    return [_about_last_state("last_state_may_be_post_norm", "medium", sentence, suspects, last)]


def _about_last_state(
    name: str, severity: Literal["high", "medium"], sentence: str, suspects: dict[str, dict], last: int
) -> Finding:
    text = f"a level, an effect or a collapse at state {last} as one of the residual stream"
    claim = Claim(where={"variant": list(suspects), "state": [last]}, text=text)
    return Finding(
        id=name,
        severity=severity,
        languages=[],
        variants=list(suspects),
        evidence={"sentence": sentence, **suspects},
        blocks=[claim],
    )


def at_ceiling(scores: Iterable[Scores]) -> list[Finding]:
    """States at which nearly every item has the metric's maximum: it cannot tell them, or variants, apart."""
    found: dict[tuple[str, str, str], dict[Cell, list[int]]] = defaultdict(dict)
    for cell in scores:
        if cell.maximum is None:
            continue
        share = (cell.values >= CEILING * cell.maximum).mean(axis=0)
        if states := np.flatnonzero(share > AT_CEILING).tolist():
            found[cell.stimuli, cell.position, cell.metric][cell.variant, cell.language] = states
    findings = []
    for (stimuli, position, metric), cells in found.items():
        sentence = (
            f"{metric} ({stimuli}, {position}) has its maximum for over {AT_CEILING:.0%} of the items at "
            f"{sum(map(len, cells.values()))} states of {len(cells)} variants x languages"
        )
        where = {"stimuli": [stimuli], "position": [position], "metric": [metric]}
        claims = [*_plateaus(metric, cells, where), *_both_at_ceiling(metric, cells, where)]
        evidence = {"sentence": sentence, "states": _nested(cells)}
        findings.append(_finding(f"at_ceiling/{stimuli}/{position}/{metric}", "low", cells, evidence, claims))
    return findings


def _plateaus(metric: str, cells: Mapping[Cell, list[int]], where: dict[str, list]) -> Iterator[Claim]:
    for cell, states in grouped(cells):
        if len(states) > 1:
            covered = {"claim": ["peak"], **cell, "state": states, **where}
            yield Claim(where=covered, text=f"one state as the peak of {metric}, at its ceiling")


def _both_at_ceiling(metric: str, cells: Mapping[Cell, list[int]], where: dict[str, list]) -> Iterator[Claim]:
    """A difference of which only one side is at the ceiling is a lower bound, and stays."""
    variants: dict[tuple[str, int], list[str]] = defaultdict(list)
    for (variant, language), states in cells.items():
        for state in states:
            variants[language, state].append(variant)
    alike: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for (language, state), names in variants.items():
        if len(names) > 1:
            alike[language, tuple(names)].append(state)
    for (language, names), states in alike.items():
        pair = {"variant_a": list(names), "variant_b": list(names), "language": [language], "state": states}
        text = f"that variants do not differ, by {metric}, where both are at its ceiling"
        yield Claim(where={"claim": ["effect"], **pair, **where}, text=text)


# What the tables give away


def mismatched_as_high(summary: pd.DataFrame) -> list[Finding]:
    """Cosines that would pass for alignment although mismatched pairs reach them: the interval of the
    excess covers 0, or lies below. High where it is so at half of some curve's states.

    summary: alignment_summary, with the metrics cosine and excess.
    """
    keys = ["stimuli", "position", "variant", "language", "state"]
    cosine = summary.loc[summary["metric"] == "cosine", [*keys, "value"]]
    excess = summary.loc[summary["metric"] == "excess", [*keys, "ci_low"]]
    both = cosine.merge(excess, on=keys)
    both["hollow"] = (both["value"] > HIGH_COSINE) & (both["ci_low"] <= ROUNDING)
    found: dict[tuple[str, str], dict[Cell, list[int]]] = defaultdict(dict)
    n_states: Counter[tuple[str, str, str, str]] = Counter()
    for stimuli, position, variant, language, state, hollow in both[[*keys, "hollow"]].itertuples(
        index=False
    ):
        n_states[stimuli, position, variant, language] += 1
        if hollow:
            found[stimuli, position].setdefault((variant, language), []).append(int(state))
    findings = []
    for (stimuli, position), cells in found.items():
        share = {cell: round(len(at) / n_states[stimuli, position, *cell], 4) for cell, at in cells.items()}
        sentence = (
            f"the cosine ({stimuli}, {position}) exceeds {HIGH_COSINE} while the interval of its excess over "
            f"mismatched pairs reaches 0, at {sum(map(len, cells.values()))} states of {len(cells)} "
            "variants x languages: any two sentences are as alike"
        )
        where = {"stimuli": [stimuli], "position": [position], "metric": ["cosine"]}
        text = "the cosine as alignment, where mismatched pairs reach it"
        claims = [Claim(where={**cell, "state": at, **where}, text=text) for cell, at in grouped(cells)]
        severity = "high" if max(share.values()) >= 0.5 else "medium"
        evidence = {"sentence": sentence, "share_of_states": _nested(share)}
        name = f"mismatched_pairs_match/{stimuli}/{position}"
        findings.append(_finding(name, severity, cells, evidence, claims))
    return findings


def scale_dependent(effects: pd.DataFrame) -> list[Finding]:
    """Differences between variants that raw cosines or their excess show, and the primary measure does not:
    a change of a language's offset, or of how crowded the space is, looks like an effect there. effects:
    variant_effects."""
    keys = ["variant_a", "variant_b", "contrast", "reference", "language", "stimuli", "position", "state"]
    significant = (effects.p_holm < ALPHA) & ((effects.ci_low > 0) | (effects.ci_high < 0))
    primary = effects.loc[significant & (effects.metric == PRIMARY_METRIC), [*keys, "diff"]]
    raw = effects.loc[significant & effects.metric.isin(SCALED)]
    both = raw.merge(primary.rename(columns={"diff": "of_primary"}), on=keys, how="left")
    alone = both.loc[np.sign(both["diff"]) != np.sign(both["of_primary"])]
    findings = []
    for metric, rows in alone.groupby("metric"):
        sentence = (
            f"{len(rows)} differences of variants by {metric} are not there once each language's mean is "
            "taken away: they are of offset or scale, not of meaning"
        )
        cells = dict.fromkeys(zip(rows.variant_a, rows.language, strict=True))
        where = {"claim": ["effect"], "metric": [metric]}
        claims = [Claim(where=where, text=f"an effect that only {metric} shows")]
        evidence = {"sentence": sentence, "rows": len(rows)}
        findings.append(_finding(f"scale_dependent/{metric}", "medium", cells, evidence, claims))
    return findings
