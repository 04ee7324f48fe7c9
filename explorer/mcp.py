"""Read-only tools for agents over results/: each number with its interval, its null and its provenance.

    with page:                    # what page.build made
        mcp.register(results)     # its only public endpoints
    page.launch(mcp_server=True)  # MCP at /gradio_api/mcp

A tool's docstring is all that an agent knows of it: it arrives as one paragraph, an argument as its one line.
"""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import pandas as pd

from explorer import answers
from explorer.commitments import Rule, calibrated, commitments, nulls, rates
from explorer.controls import LONGEST_TEXT
from explorer.data import AUDIT, CURVES, EFFECTS, MATRIX, PEAKS, SENSITIVITY, SUMMARY, Results, subset
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD
from probe.audit import findings
from probe.audit.findings import SEVERITIES, Finding
from probe.conventions import DEFAULT_FAMILY, PRIMARY_POSITION
from probe.errors import ProbeError

NAMES = ("overview", "curve", "compare", "commitment", "audit", "route")
FILES = (SUMMARY, EFFECTS, PEAKS, MATRIX, CURVES, AUDIT)
MEASURE = ("language", "stimuli", "position", "metric")
PREVIEW = 200  # characters of a text that the answer of route repeats


class Tools:
    """The tools of NAMES. Each returns what JSON can hold, and raises ProbeError where a result is missing or
    damaged, or for a wrong argument: then the message lists the valid ones."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def served(self, name: str) -> Callable[..., str]:
        """A tool as agents have it: its answer as JSON text, since Gradio would send the repr of a dict, and
        its errors without the places of files on this computer."""
        tool = getattr(self, name)

        @functools.wraps(tool)
        def answer(*args, **kwargs) -> str:
            try:
                return json.dumps(tool(*args, **kwargs), ensure_ascii=False, allow_nan=False)
            except ProbeError as error:
                raise ProbeError(self._results.public(error)) from error

        answer.__signature__ = inspect.signature(tool).replace(return_annotation=str)  # type: ignore[attr-defined]
        return answer

    def overview(self, family: str | None = None) -> dict:
        """What has been measured. Call this first: the other tools take the values that it lists.

        Without a family: which families have results. With one: what the family is, its variants and the
        languages they emphasise, what was measured (languages as ISO 639-1 codes, kinds of stimuli with their
        positions and metrics, states), the pairs of variants that were compared, the number of the auditor's
        findings, and per variant the highest value of the primary metric that may be claimed. That one is
        chosen after the fact over languages, stimuli and states: judge it by p_max and look at its curve.
        Example: overview(family="nano-aya").

        Args:
            family: a family that has results, such as "nano-aya"; leave out to list them.
        """
        if family is None:
            return {"families": self._results.families()}
        self._check(family)
        described, primary = self._results.family(family), self._primary(family)
        summary, effects = (self._results.table(family, name) for name in (SUMMARY, EFFECTS))
        return {
            "family": family,
            "description": described.description,
            "baseline": described.baseline,
            "control": described.control,
            "emphasises": {name: variant.emphasises for name, variant in described.variants.items()},
            "measured": answers.measured(summary),
            "primary": primary,
            "compared": {
                "pairs": _pairs(effects),
                "metrics": answers.distinct(effects["metric"]),
                "contrasts": answers.distinct(effects["contrast"]),
            },
            "highest": answers.highest(answers.narrowed(summary, primary)),
            "findings": findings.counted(self._findings(family)),
            "provenance": self._provenance(family, FILES),
        }

    def curve(
        self,
        family: str,
        variant: str,
        language: str,
        stimuli: str = "probes",
        position: str = PRIMARY_POSITION,
        metric: str | None = None,
    ) -> dict:
        """How alike one language and English are inside one variant, state by state.

        State 0 is the embedding, state l the output of block l, before the final norm. Per state: value and
        its 95 % interval, ci_low to ci_high, over n meanings; null with null_low to null_high, what permuted
        pairs give and the central 95 % of it; p_value (one-sided), q_value (Benjamini-Hochberg), and p_max,
        against the largest over all states; verdict, what may be said (descriptive or blocked: nothing), and
        reason, why not (the id of a finding, or a rule). peak: the state of the maximum with its interval and
        a verdict of its own; null for a metric without.
        Example: curve(family="nano-aya", variant="fire", language="hi", stimuli="parallel").

        Args:
            family: a family that has results, see overview.
            variant: a variant that was measured, such as "base" or "fire".
            language: the other language: hi, bn, sw, am, fr, es, ar, yo or ta.
            stimuli: the sentences: "probes" (20 concepts), "tico" (TICO-19, without yo), "flores" or
                "parallel", where measured.
            position: where they are read: "mean" (primary), "content", "last" or "focus" (probes only).
            metric: one of those that overview lists; leave out for the primary one.
        """
        self._check(family)
        measure = (language, stimuli, position, metric or self._primary(family)["metric"])
        asked = {"variant": variant, **dict(zip(MEASURE, measure, strict=True))}
        try:
            levels = answers.narrowed(self._results.table(family, SUMMARY), asked).sort_values("state")
        except ProbeError as error:
            refused = self._results.metadata(family, SUMMARY).get("refused", {})
            if reason := refused.get("/".join(asked.values())):
                raise ProbeError(f"{error}; refused: {reason}") from error
            raise
        peak = subset(self._results.table(family, PEAKS), **asked)
        reasons = [*levels["reason"], *peak["reason"]]
        return {
            "asked": {"family": family, **asked},
            **answers.bounded("states", answers.records(levels, asked)),
            "peak": next(iter(answers.records(peak, asked)), None),
            **self._sources(family, (SUMMARY, PEAKS, AUDIT), reasons),
        }

    def compare(
        self,
        family: str,
        variant_a: str,
        variant_b: str,
        language: str,
        stimuli: str = "probes",
        position: str = PRIMARY_POSITION,
        metric: str | None = None,
        contrast: Literal["simple", "did"] = "simple",
    ) -> dict:
        """How much more variant_a shares between one language and English than variant_b, state by state.

        Per state: diff, variant_a minus variant_b paired by meaning, in units of the metric, and its 95 %
        interval, ci_low to ci_high, over n meanings; its null is 0; p_value (sign flips, two-sided), q_value
        (Benjamini-Hochberg), and p_max, against the largest over all states; verdict, what may be said
        (descriptive or blocked: nothing), and reason, why not. placebo is true where variant_a does not
        emphasise the language: what it gains there too is not regional. For "did", reference says what the
        difference was taken against; the one with control and placebo languages is the strictest.
        Example: compare(family="nano-aya", variant_a="fire", variant_b="base", language="hi").

        Args:
            family: a family that has results, see overview.
            variant_a: the variant looked at; pairs were measured in one direction, which overview lists.
            variant_b: the variant subtracted from it, such as "base" or the control.
            language: the other language: hi, bn, sw, am, fr, es, ar, yo or ta.
            stimuli: the sentences: "probes" (20 concepts), "tico" (TICO-19, without yo), "flores" or
                "parallel", where measured.
            position: where they are read: "mean" (primary), "content", "last" or "focus" (probes only).
            metric: one of those that overview lists as compared; leave out for the primary one.
            contrast: "simple" for the difference, "did" for a difference in differences.
        """
        self._check(family)
        effects = self._results.table(family, EFFECTS)
        answers.chosen("pair", f"{variant_a} - {variant_b}", _pairs(effects))
        measure = (language, stimuli, position, metric or self._primary(family)["metric"])
        asked = {"variant_a": variant_a, "variant_b": variant_b, **dict(zip(MEASURE, measure, strict=True))}
        asked["contrast"] = contrast
        rows = answers.narrowed(effects, asked).sort_values(
            [*effects.columns.intersection(["reference"]), "state"]
        )
        return {
            "asked": {"family": family, **asked},
            **answers.bounded("states", answers.records(rows, asked)),
            **self._sources(family, (EFFECTS, AUDIT), rows["reason"]),
        }

    def commitment(
        self,
        family: str,
        threshold: float = THRESHOLD,
        consecutive: int = CONSECUTIVE,
        start: int = 0,
        variant: str | None = None,
        language: str | None = None,
    ) -> dict:
        """From which state on concepts commit to English: against rivals, and by a cosine of your choice.

        calibrated comes first: per variant, language and kind of stimuli how many meanings commit, their pair
        beating 95 % of its rivals (all other sentences of either language) for 3 states, or the share in
        required where that is more; chance is the share of permuted pairs that do. It is empty where it was
        not measured. languages is by cosine, the original's criterion, of the probes: a concept commits at
        the first state from which its raw cosine to English stays at or above threshold for that many
        consecutive states; null is never, and counts in each n and median. Per variant and language:
        committed of n, fraction and its Wilson 95 % interval, ci_low to ci_high; censored_median, the state
        by which half have committed, median_ci_low to median_ci_high over concepts; null_state, at which the
        mean of mismatched pairs commits by the same rule: where it does, commitment says little;
        not_claimable, how many commitments must not be claimed. There is no p and no q. With a language,
        concepts has each concept by variant: state, held (the highest threshold it meets), reason why not,
        and calibrated_concepts the same against rivals.
        Example: commitment(family="nano-aya", threshold=0.5, consecutive=2, language="hi").

        Args:
            family: a family that has results, see overview.
            threshold: the cosine that counts, -1 to 1.
            consecutive: for how many states it must hold, from 1.
            start: the first state that counts, from 0; 1 leaves the embedding out.
            variant: one variant; leave out for all.
            language: one language, such as "hi"; leave out for all, and no list of concepts.
        """
        self._check(family)
        results, curves = self._results, self._results.curves(family)
        rule = _rule(threshold, consecutive, start, curves.n_states)
        variants = answers.chosen("variant", variant, curves.variants)
        languages = answers.chosen("language", language, curves.languages)
        cells = commitments(results, family, variants, languages, rule)
        by = answers.by_language(cells, nulls(results, family, variants, languages), rule)
        asked = {"family": family, "variant": variant, "language": language, **vars(rule)}
        against = rates(results, family, variant=variants, language=languages)
        same = ("criterion", "position", "metric", "threshold", "consecutive")
        told = answers.records(against, same) if len(against) else []
        answer = {"asked": asked, "position": curves.position, "calibrated": told[: answers.MAX_ROWS]}
        answer |= answers.bounded("languages", by)
        if language is not None:
            rivals = calibrated(results, family, variants, languages)
            named = answers.records(rivals, ["language"]) if len(rivals) else []
            answer["calibrated_concepts"] = named[: answers.MAX_ROWS]
            concepts = answers.bounded("concepts", answers.records(cells, ["language"]))
            answer |= {"concepts": concepts["concepts"], "concepts_left_out": concepts["left_out"]}
        files = (CURVES, SUMMARY, MATRIX, *([SENSITIVITY] if told else []), AUDIT)
        return answer | self._sources(family, files, cells["reason"])

    def audit(self, family: str, finding: str | None = None) -> dict:
        """What can fake alignment in these results, as the auditor found it, the most severe first.

        Per finding: id, severity (high, medium, low), the languages and variants it is about (none: not about
        single ones), the evidence in a sentence, and what must not be claimed. With an id: that finding with
        the numbers of its evidence, and in blocks the rows it takes away, as values of their columns.
        Example: audit(family="nano-aya", finding="constant_final_token").

        Args:
            family: a family that has results, see overview.
            finding: id of one finding to have in full; leave out for all of them in short.
        """
        self._check(family)
        there = sorted(self._findings(family), key=lambda one: SEVERITIES.index(one.severity))
        listed = answers.chosen("finding", finding, [one.id for one in there])
        shape = answers.in_short if finding is None else Finding.model_dump
        return {
            "asked": {"family": family, "finding": finding},
            "counted": findings.counted(there),
            **answers.bounded("findings", [shape(one) for one in there if one.id in listed]),
            "provenance": self._provenance(family, [AUDIT]),
        }

    def route(self, text: str, family: str | None = None) -> dict:
        """Which variant of a family a text should go to, its language, and what is unusual about it.

        variant, and language_variant by the language alone; language (ISO 639-1); categories (code_switching,
        transliteration, formal_register, low_resource_variant, unicode_edge; none for plain text), category,
        the first of them; registers (official, clinical); reasons in words, which also say where the
        choice of the variant comes from; confidence, 0 to 1; spans, parts of the text (start and end in
        characters, what). No model is run and the text is not kept.
        Example: route(text="mujhe kal se bukhar hai", family="tiny-aya").

        Args:
            text: up to 100,000 characters of any kind.
            family: whose variants to choose from, one of data/families.toml; leave out for the page's own.
        """
        if len(text) > LONGEST_TEXT:
            raise ProbeError(f"the text has {len(text)} characters, only up to {LONGEST_TEXT} are read")
        family = family or self._results.first or DEFAULT_FAMILY
        decision = dataclasses.asdict(self._results.router(family).route(text))
        decision["text"] = decision["text"][:PREVIEW]
        spans = answers.bounded("spans", decision.pop("spans"))
        provenance = [{"function": "probe.routing.route", "family": family}]
        return {"characters": len(text), **decision, **spans, "provenance": provenance}

    def _check(self, family: str) -> None:
        answers.chosen("family with results", family, self._results.families())

    def _primary(self, family: str) -> dict[str, str]:
        """The position and the metric that the run declares to be its primary ones."""
        params = self._results.metadata(family, SUMMARY)["params"]
        return {name: str(params.get(f"primary_{name}")) for name in ("position", "metric")}

    def _findings(self, family: str) -> list[Finding]:
        there = self._results.findings(family)
        if there is None:
            raise ProbeError(f"{AUDIT} is missing; run: uv run concept_alignment.py --family {family}")
        return there

    def _sources(self, family: str, names: Sequence[str], reasons: Iterable[str | None]) -> dict[str, Any]:
        """The findings that forbid something in the answer, in short, and where its numbers come from."""
        ids = set(reasons)
        there = [answers.in_short(one) for one in self._findings(family) if one.id in ids]
        return {"findings": there, "provenance": self._provenance(family, names)}

    def _provenance(self, family: str, names: Sequence[str]) -> list[dict]:
        """Per run that made these files: {"files": {path: sha256}} and what the run wrote of itself (params,
        inputs, models, versions). One entry where all are of one run. What a run refused to measure, which is
        long, is left out, and the sha256 that a table's own provenance has."""
        runs: list[dict] = []
        for name in names:
            made_of = self._results.metadata(family, name).items()
            run = {key: value for key, value in made_of if key not in ("refused", "sha256")}
            entry = next((entry for entry in runs if entry == run | {"files": entry["files"]}), None)
            if entry is None:
                runs.append(entry := {"files": {}, **run})
            path = self._results.paths.name(self._results.file(family, name))
            entry["files"][path] = self._results.sha256(family, name)
        return runs


def _pairs(effects: pd.DataFrame) -> list[str]:
    pairs = effects[["variant_a", "variant_b"]].drop_duplicates().astype(str)
    return (pairs["variant_a"] + " - " + pairs["variant_b"]).tolist()


def _rule(threshold: float, consecutive: int, start: int, n_states: int) -> Rule:
    """JSON has no integers of its own: 3.0 is one too."""
    consecutive, start = int(consecutive), int(start)
    if not -1 <= threshold <= 1:
        raise ProbeError(f"threshold {threshold} is no cosine, only -1 to 1")
    if not 1 <= consecutive <= n_states:
        raise ProbeError(f"consecutive {consecutive} is out of range, only 1 to {n_states}")
    if not 0 <= start < n_states:
        raise ProbeError(f"start {start} is no state, only 0 to {n_states - 1}")
    return Rule(threshold, consecutive, start)


def register(results: Results) -> None:
    """Add the tools to the gr.Blocks that is being built, as its only public endpoints."""
    from gradio import events

    tools = Tools(results)
    for name in NAMES:
        # Not queued: it takes less than a second, and so the message of an error reaches the agent.
        events.api(tools.served(name), api_name=name, queue=False)
