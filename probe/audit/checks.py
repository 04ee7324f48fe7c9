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

from probe.audit.findings import SEVERITIES, Cell, Claim, Finding, grouped, resolved
from probe.audit.texts import audit_texts
from probe.languages import LANGUAGES, PIVOT
from probe.stats import resampling

CONSTANT_SD = 1e-6  # of cosines over concepts; the published ones are rounded to six places
CONSTANT_SHARE = 0.9  # of a language's sentences that end in the same token
HIGH_COSINE = 0.5  # what a reader would take for alignment
POST_NORM_SPREAD = 0.25  # of the lengths' usual spread: a norm leaves far less, the last block more
SAME_COSINE = 1e-4  # storing float16 moves a cosine by less
EXPLAINED = 0.5  # of the embedding's alignment: from here on, shared tokens are the better name for it
CEILING, AT_CEILING = 0.99, 0.9  # of the maximum, for more than this share of the items
SIGNIFICANT = 0.05
MIN_CONCEPTS = 20


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
class Embedding:
    """State 0 of one cell. explained: how much of its alignment shared tokens explain, in [0, 1], see
    `explained_by_overlap`."""

    variant: str
    language: str
    stimuli: str
    position: str
    explained: float


@dataclass(frozen=True)
class Evidence:
    """What is at hand; a check whose evidence is missing is not run.

    final_tokens  variant -> language, the pivot too -> the token id read at `last`, one per sentence
    scores        item scores of any metrics
    norms         variant -> (n, n_states) lengths of residual vectors, each of one token, not of a mean
    post_norm     (variant, language) -> (n,) matched cosines after the final norm, of the same meanings and
                  position as the cosines of `scores`; used for variants without norms
    embeddings    state 0, with the overlap of tokens
    summary       alignment_summary.csv: at least cosine and excess
    effects       variant_effects.csv
    sentences     (kind of stimuli, stimulus id, language, text)
    """

    final_tokens: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    scores: Sequence[Scores] = ()
    norms: Mapping[str, np.ndarray] = field(default_factory=dict)
    post_norm: Mapping[Cell, np.ndarray] = field(default_factory=dict)
    embeddings: Sequence[Embedding] = ()
    summary: pd.DataFrame | None = None
    effects: pd.DataFrame | None = None
    sentences: Sequence[tuple[str, str, str, str]] = ()


def audit(evidence: Evidence) -> list[Finding]:
    """All findings, the most severe first."""
    findings = [
        *final_tokens(evidence.final_tokens),
        *constant_values(evidence.scores),
        *post_norm_state(evidence.norms, evidence.scores, evidence.post_norm),
        *shared_tokens(evidence.embeddings),
        *at_ceiling(evidence.scores),
        *audit_texts(evidence.sentences),
    ]
    if evidence.summary is not None:
        findings += [*mismatched_as_high(evidence.summary), *at_chance(evidence.summary)]
    for table in (evidence.summary, evidence.effects):
        if table is not None and len(table):
            findings += [*too_few(table), *unresolved(table)]
    return ordered(findings)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The most severe first; of findings with one id (too few concepts, in two tables) the first."""
    distinct: dict[str, Finding] = {}
    for finding in findings:
        distinct.setdefault(finding.id, finding)
    return sorted(distinct.values(), key=lambda found: (SEVERITIES.index(found.severity), found.id))


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


def shared_tokens(embeddings: Iterable[Embedding]) -> list[Finding]:
    """Alignment of the embedding that token ids which matched sentences have in common explain."""
    explained: dict[tuple[str, str], dict[Cell, float]] = defaultdict(dict)
    for cell in embeddings:
        if cell.explained >= EXPLAINED:
            explained[cell.stimuli, cell.position][cell.variant, cell.language] = round(cell.explained, 4)
    findings = []
    for (stimuli, position), cells in explained.items():
        sentence = (
            f"at state 0 ({stimuli}, {position}) sentences that have as many token ids in common are as "
            f"alike, whatever they say: that is {min(cells.values()):.0%} or more of the alignment"
        )
        text = f"alignment of meaning in the embedding ({stimuli}, {position})"
        claims = _claims(cells, text, stimuli=[stimuli], position=[position], state=[0])
        evidence = {"sentence": sentence, "explained": _nested(cells)}
        findings.append(_finding(f"shared_tokens/{stimuli}/{position}", "medium", cells, evidence, claims))
    return findings


def explained_by_overlap(similarity: np.ndarray, overlap: np.ndarray) -> float:
    """The share, in [0, 1], of the alignment of matched pairs that their common tokens explain.

    similarity: (n, n) cosines, matched pairs on the diagonal; overlap: (n, n) in [0, 1], the share of token
    ids that pivot sentence i and target sentence j have in common. Over all n * n pairs, cosine = a + b *
    overlap + c * matched, by least squares. c is what matching adds to sentences that share as many tokens;
    1 - c / (c of the fit without overlap) is what the tokens explain. 0 where matched pairs are no more alike
    than permuted ones, or have no more tokens in common; 1 where overlap and matching cannot be told apart.
    """
    n = len(similarity)
    shuffled = resampling.permuted_matched(similarity[None])
    p = resampling.p_value(np.array([np.diagonal(similarity).mean()]), shuffled)[0]
    more_tokens = np.diagonal(overlap).mean() - (overlap.sum() - np.trace(overlap)) / (n * (n - 1))
    if p >= SIGNIFICANT or more_tokens <= 0:
        return 0.0
    design = np.column_stack([np.ones(n * n), np.eye(n).ravel(), overlap.ravel()])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return 1.0
    partial = np.linalg.lstsq(design, similarity.ravel(), rcond=None)[0][1]
    alone = np.linalg.lstsq(design[:, :2], similarity.ravel(), rcond=None)[0][1]
    return float(np.clip(1 - partial / alone, 0, 1))


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
    norms: Mapping[str, np.ndarray],
    scores: Iterable[Scores] = (),
    post_norm: Mapping[Cell, np.ndarray] | None = None,
) -> list[Finding]:
    """A last state that has been through the final norm, as the last of Transformers' hidden_states has.

    LayerNorm and RMSNorm give all tokens one length, up to what their weight does to it. So the last state's
    spread of lengths (sd over mean) is held against the median of the states between. For variants without
    norms, the cosines of the last state are held against those after the norm: equal, they are the same.
    """
    suspects: dict[str, dict[str, float]] = {}
    last = 0
    for variant, lengths in norms.items():
        spread = lengths.std(axis=0) / lengths.mean(axis=0)
        usual = float(np.median(spread[1:-1])) if len(spread) > 2 else 0.0
        if spread[-1] < POST_NORM_SPREAD * usual:
            suspects[variant] = {"spread_of_lengths": float(spread[-1]), "usual_spread": usual}
            last = len(spread) - 1
    away: dict[str, float] = {}
    for cell in scores:
        normed = (post_norm or {}).get((cell.variant, cell.language))
        if normed is not None and cell.metric == "cosine" and cell.variant not in norms:
            distance = float(np.abs(cell.values[:, -1] - normed).max())
            away[cell.variant] = max(distance, away.get(cell.variant, 0.0))
            last = max(last, cell.values.shape[1] - 1)
    suspects |= {v: {"distance_to_post_norm": far} for v, far in away.items() if far < SAME_COSINE}
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
    both["hollow"] = (both["value"] > HIGH_COSINE) & (both["ci_low"] <= resampling.ROUNDING)
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


def at_chance(summary: pd.DataFrame) -> list[Finding]:
    """Metrics that are at chance at every state: by Benjamini-Hochberg over the curve's states, no q below
    0.05. Blocks levels and peaks; that another variant differs may be true all the same."""
    keys = ["stimuli", "position", "metric", "variant", "language"]
    tested = summary.dropna(subset="p_value")
    curves: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for *key, p in tested[[*keys, "p_value"]].itertuples(index=False):
        curves[tuple(key)].append(p)
    found: dict[tuple[str, str, str], dict[Cell, float]] = defaultdict(dict)
    for (stimuli, position, metric, variant, language), p in curves.items():
        smallest = float(resampling.benjamini_hochberg(np.array(p)).min())
        if smallest >= SIGNIFICANT:
            found[stimuli, position, metric][variant, language] = round(smallest, 4)
    findings = []
    for (stimuli, position, metric), cells in found.items():
        sentence = (
            f"{metric} ({stimuli}, {position}) is at no state above that of permuted pairs in {len(cells)} "
            "variants x languages"
        )
        where = {"stimuli": [stimuli], "position": [position], "metric": [metric]}
        claims = _claims(cells, f"alignment by {metric}, or a peak of it", claim=["level", "peak"], **where)
        evidence = {"sentence": sentence, "smallest_q": _nested(cells)}
        name = f"at_chance/{stimuli}/{position}/{metric}"
        findings.append(_finding(name, "medium", cells, evidence, claims))
    return findings


def too_few(table: pd.DataFrame) -> list[Finding]:
    """Fewer than 20 meanings. table: alignment_summary or variant_effects."""
    few = table.loc[table["n"] < MIN_CONCEPTS, ["stimuli", "n", "language"]]
    findings = []
    for stimuli in dict.fromkeys(few["stimuli"]):
        rows = few.loc[few["stimuli"] == stimuli]
        counts = sorted({int(n) for n in rows["n"]})
        sentence = f"{stimuli}: {counts[0]} meanings; below {MIN_CONCEPTS} an interval over them says little"
        findings.append(
            Finding(
                id=f"too_few_concepts/{stimuli}",
                severity="medium",
                languages=list(dict.fromkeys(rows["language"])),
                variants=[],
                evidence={"sentence": sentence, "n": counts},
                blocks=[Claim(where={"stimuli": [stimuli], "n": counts}, text=f"anything about {stimuli}")],
            )
        )
    return findings


def unresolved(table: pd.DataFrame) -> list[Finding]:
    """Rows that too few concepts leave open: the interval reaches chance, or is wider than the effect. One
    finding for the table, whose claim covers each such row. table: alignment_summary or variant_effects."""
    kind = "effect" if "diff" in table else "level"
    rows = table.loc[~resolved(table), ["metric", "language"]]
    if rows.empty:
        return []
    sentence = (
        f"{len(rows)} of {len(table)} {kind}s have an interval that reaches chance or is wider than they are"
    )
    claim = Claim(
        where={"claim": [kind], "resolved": [False]},
        text=f"{kind}s whose interval reaches chance, one by one",
    )
    return [
        Finding(
            id=f"unresolved/{kind}",
            severity="low",
            languages=list(dict.fromkeys(rows["language"])),
            variants=[],
            evidence={"sentence": sentence, "rows": dict(Counter(rows["metric"]))},
            blocks=[claim],
        )
    ]
