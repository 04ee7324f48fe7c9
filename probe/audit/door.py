"""The one door: what may be said of a row. It is written into every table that holds claims, as two columns.

    verdict   meaning     matched sentences are closer than mismatched ones of the same topic
              matched     matched sentences are closer; within a topic it could not be asked
              effect      two variants differ in one language
              regional    a variant's languages changed more than its placebo languages
              peak        alignment is highest here
              stands      an effect, under another way of measuring it
    failure     a variant lost a concept in one language, which Base had
              descriptive for comparison, no claim
              blocked     it may not be said
    reason    why not: the finding's id; empty where it may be said

Tables, figures, pages, tools and documents ask `claimable`, and nobody else judges.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probe.audit import rules
from probe.audit.findings import Claim, Finding, blocking
from probe.audit.rules import Rule
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION

DESCRIPTIVE, BLOCKED = "descriptive", "blocked"
MEANING, MATCHED, EFFECT = "meaning", "matched", "effect"
REGIONAL, PEAK, STANDS, FAILURE = "regional", "peak", "stands", "failure"
KINDS = {
    "alignment_summary": "level",
    "variant_effects": "effect",
    "regional": "regional effect",
    "peaks": "peak",
    "robustness": "remeasured effect",
}
LOW = (
    "not_significant",
    "placebo_language",
    "level_not_claimed",
    "no_rise",
    "not_regional",
    "effect_not_claimed",
)


def claimable(table: pd.DataFrame) -> pd.Series:
    """Which rows of a judged table may be said: none that has no verdict."""
    verdict = table["verdict"]
    said = verdict.notna().to_numpy() & ~verdict.isin([DESCRIPTIVE, BLOCKED]).to_numpy()
    return pd.Series(said, table.index)


def describe(table: pd.DataFrame, reason: str) -> pd.DataFrame:
    """The table with every row for comparison only."""
    return table.assign(verdict=DESCRIPTIVE, reason=reason)


@dataclass(frozen=True)
class Judge:
    """What all tables are judged by: the findings about the data, and the variants that are controls."""

    findings: Sequence[Finding]
    controls: frozenset[str]

    def rows(
        self, table: pd.DataFrame, beside: pd.DataFrame, checked: Mapping[str, Rule], verdict: str
    ) -> pd.DataFrame:
        """The table with its verdict and reason. beside: of the rows that could be claims, in the table's
        index, what the rules look at. A finding about the data comes before every rule, and of the rules the
        first."""
        judged = describe(table, "comparison")
        by_data = blocking(beside, self.findings)
        reason = by_data.where(by_data.notna(), None)
        for name, rule in checked.items():
            fails = rule(beside).to_numpy(bool)
            reason = reason.where(~(fails & reason.isna().to_numpy()), f"{name}/{verdict_kind(verdict)}")
        judged.loc[beside.index, "verdict"] = np.where(reason.isna(), verdict, BLOCKED)
        judged.loc[beside.index, "reason"] = reason.fillna("")
        control = self._of_controls(table)
        judged.loc[control, ["verdict", "reason"]] = [DESCRIPTIVE, "untrained_control"]
        return judged

    def _of_controls(self, table: pd.DataFrame) -> pd.Series:
        names = [name for name in ("variant", "variant_a", "variant_b", "against") if name in table]
        return pd.Series(
            np.logical_or.reduce([table[name].isin(list(self.controls)) for name in names]), table.index
        )

    def levels(
        self, summary: pd.DataFrame, few: pd.DataFrame, untrained: pd.DataFrame | None
    ) -> pd.DataFrame:
        beside = _primary_position(rules.levels_beside(summary, few, untrained))
        judged = self.rows(summary, beside, rules.LEVEL, MATCHED)
        passed = judged.loc[beside.index, "verdict"] == MATCHED
        within = beside.stratified_n >= rules.MIN_MEANINGS
        judged.loc[beside.index[within & passed], "verdict"] = MEANING
        return judged

    def regional(self, table: pd.DataFrame) -> pd.DataFrame:
        return self.rows(table, _primary_position(rules.regional_beside(table)), rules.REGIONAL, REGIONAL)

    def effects(self, table: pd.DataFrame, beside: pd.DataFrame) -> pd.DataFrame:
        return self.rows(table, _primary_position(beside), rules.EFFECT, EFFECT)

    def peaks(self, table: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
        return self.rows(table, _primary_position(rules.peaks_beside(table, summary)), rules.PEAK, PEAK)

    def robustness(self, table: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
        return self.rows(table, rules.stands_beside(table, effects), rules.STANDS, STANDS)

    def failures(self, table: pd.DataFrame, baseline: str, state: int) -> pd.DataFrame:
        """Also with `significant`: that it passes the rules, whatever was found about the data. Its evidence
        is the double-centred cosine of two variants around this state, and a finding about that counts."""
        where = {"claim": "effect", "position": PRIMARY_POSITION, "metric": PRIMARY_METRIC, "state": state}
        beside = table.rename(columns={"variant": "variant_a"}).assign(variant_b=baseline, **where)
        fails = np.logical_or.reduce([rule(beside).to_numpy(bool) for rule in rules.FAILURE.values()])
        return self.rows(table.assign(significant=~fails), beside, rules.FAILURE, FAILURE)


def verdict_kind(verdict: str) -> str:
    return "level" if verdict in (MEANING, MATCHED) else verdict


def _primary_position(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[table.position == PRIMARY_POSITION]


def rule_findings(tables: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """One finding for each rule that blocks rows of a judged table, with the rows that it is about."""
    findings = []
    for name, table in tables.items():
        blocked = table.loc[table.verdict == BLOCKED]
        primary = blocked.loc[blocked.metric == PRIMARY_METRIC]
        for reason, rows in primary.groupby("reason"):
            if str(reason).split("/")[0] in RULES:
                findings.append(
                    _rule_finding(str(reason), KINDS[name], rows, len(table[table.metric == PRIMARY_METRIC]))
                )
    return findings


RULES = {*rules.LEVEL, *rules.EFFECT, *rules.REGIONAL, *rules.PEAK, *rules.STANDS, *rules.FAILURE}


def _rule_finding(reason: str, kind: str, rows: pd.DataFrame, of: int) -> Finding:
    rule = reason.split("/")[0]
    variants = next(rows[name] for name in ("variant", "variant_a") if name in rows)
    languages = sorted(set(rows["language"])) if "language" in rows else []
    return Finding(
        id=reason,
        severity="low" if rule in LOW else "medium",
        languages=languages,
        variants=list(dict.fromkeys(variants)),
        evidence={"sentence": f"{len(rows)} of {of} {kind}s: {SENTENCES[rule]}", "rows": len(rows)},
        blocks=[Claim(where={"reason": [reason]}, text=f"these {kind}s")],
    )


SENTENCES: dict[str, str] = {
    "too_few_groups": f"fewer than {rules.MIN_MEANINGS} meanings, or {rules.MIN_GROUPS} independent groups",
    "not_significant": "the interval reaches chance, or Holm's p over languages is not below 0.05",
    "nothing_without_shared": "what is left at no shared tokens, names, numbers, marks and lengths reaches 0",
    "mostly_shared": "more than half of it is gone at no shared tokens, names, numbers, marks and lengths",
    "retrieval_at_chance": "the translation is not found among the other sentences more often than by chance",
    "few_directions": "a few directions carry more than half of it",
    "topic_only": "against mismatched sentences of the same topic nothing is left",
    "not_beyond_untrained": "networks of this shape with random weights reach it",
    "not_corroborated": "the ranks of the partners do not move the same way",
    "placebo_language": "a language that the variant does not emphasise: a control",
    "not_beyond_placebos": "a language that the variant does not emphasise changed as much",
    "not_regional": "over all of the variant's languages the effect is not regional",
    "depends_on_one_placebo": "without one of the placebo languages it is gone",
    "level_not_claimed": "the level at the peak cannot be claimed",
    "effect_not_claimed": "the effect itself cannot be claimed in any language",
    "no_rise": "the interval of the rise to it reaches 0",
    "not_lost": "nothing was lost: the language's other concepts gained more",
    "english_moved": "most languages lose the concept, so its English sentence moved",
}


def untrained_missing(variants: Iterable[str]) -> Finding:
    return Finding(
        id="no_untrained_control",
        severity="medium",
        languages=[],
        variants=list(variants),
        evidence={
            "sentence": "no untrained networks of this shape were measured to say what tokens alone give"
        },
        blocks=[],
    )
