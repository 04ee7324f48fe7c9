"""The one door: for each rule a row that it stops and its clean twin; no reader says more than it."""

import re

import numpy as np
import pandas as pd
import pytest

import concept_alignment
from probe import tables
from probe.audit import advice, checks, door, rules
from probe.audit.findings import Claim, Finding
from probe.conventions import PRIMARY_METRIC
from probe.families import load_family
from probe.languages import TARGETS
from probe.paths import REPOSITORY, Paths

CELL = {"variant": "fire", "language": "hi", "stimuli": "parallel", "position": "mean", "state": 3}
PASSES = {"p_value": 1e-3, "q_value": 1e-3, "p_max": 1e-3, "p_holm": 1e-3, "n": 40, "n_groups": 30.0}
SURE = {"value": 0.4, "ci_low": 0.3, "ci_high": 0.5, "null": 0.0} | PASSES
JUDGE = door.Judge([], frozenset({"random"}))


def only(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, where
    return table.iloc[0]


def judged_level(change=None, others=None, without=0.35, untrained=0.1, judge=JUDGE, cell=CELL):
    """(verdict, reason) of one level. change: of its own row; others: of the metrics beside it."""
    beside = {"rank": {"value": 5.0, "ci_low": 4.0, "null": 1.4}, "partial": {}, "stratified": {}}
    rows = [cell | SURE | (change or {}) | {"metric": PRIMARY_METRIC}]
    for metric, own in beside.items():
        if (other := (others or {}).get(metric, {})) is not None:
            rows.append(cell | SURE | own | other | {"metric": metric})
    few = pd.DataFrame([cell | {"value": 0.4, "without": without, "bits": 7.6}])
    seeds = cell | {"metric": PRIMARY_METRIC, "value": untrained}
    beside_it = (
        None if untrained is None else pd.DataFrame([seeds | {"seed": 0, "value": -1.0}, seeds | {"seed": 1}])
    )
    table = judge.levels(pd.DataFrame(rows), few, beside_it)
    assert set(table.verdict[table.metric != PRIMARY_METRIC]) <= {door.DESCRIPTIVE}
    row = only(table, metric=PRIMARY_METRIC)
    return row.verdict, row.reason


def test_a_level_that_meets_every_rule_is_meaning_and_without_strata_matched_sentences():
    assert judged_level() == ("meaning", "")
    assert judged_level(others={"stratified": None}) == ("matched", "")
    assert judged_level(others={"stratified": {"n": 6}}) == ("matched", ""), "six meanings have topics"
    assert judged_level(untrained=None) == ("meaning", "")


LOW = {"ci_low": -0.1}
LEVELS = {
    "too_few_groups": [{"change": {"n": 9}}, {"change": {"n_groups": 7.9}}],
    "not_significant": [{"change": {"p_holm": 0.06}}, {"change": {"ci_low": 0.1, "null": 0.2}}],
    "nothing_without_shared": [{"others": {"partial": LOW}}, {"others": {"partial": None}}],
    "mostly_shared": [{"others": {"partial": {"value": 0.19, "ci_low": 0.1}}}],
    "retrieval_at_chance": [{"others": {"rank": {"ci_low": 1.3}}}, {"others": {"rank": None}}],
    "few_directions": [{"without": 0.19}, {"without": np.nan}],
    "topic_only": [{"others": {"stratified": LOW}}],
    "not_beyond_untrained": [{"untrained": 0.41}],
}


@pytest.mark.parametrize(
    ("rule", "world"), [(rule, world) for rule, worlds in LEVELS.items() for world in worlds]
)
def test_each_rule_stops_a_level(rule, world):
    assert judged_level(**world) == ("blocked", f"{rule}/level")


def test_the_first_rule_that_is_not_met_is_named_and_data_come_before_rules():
    assert judged_level({"n": 3, "p_holm": 1.0}, without=0.0)[1] == "too_few_groups/level"
    claim = Claim(where={"language": ["hi"]}, text="-")
    finding = Finding(
        id="foreign_sentences/parallel/hi", severity="high", languages=[], variants=[],
        evidence={"sentence": "-"}, blocks=[claim],
    )  # fmt: skip
    by = door.Judge([finding], frozenset())
    assert judged_level({"n": 3}, judge=by) == ("blocked", finding.id)
    assert judged_level(judge=by, cell=CELL | {"language": "fr"})[0] == "meaning"


def test_other_positions_and_untrained_variants_make_no_claim():
    assert judged_level(cell=CELL | {"position": "last"})[0] == door.DESCRIPTIVE
    assert judged_level(cell=CELL | {"variant": "random"}) == (door.DESCRIPTIVE, "untrained_control")


# Effects, regional effects, peaks, robustness: each a function of changes to clean rows

PAIR = {"variant_a": "fire", "variant_b": "global", "stimuli": "parallel", "position": "mean", "state": 3}
DID = {"contrast": "did", "reference": "control:global, placebo languages"}


def regional_table(change=None, rank=None, variant="fire"):
    row = {"variant": variant, "against": "global", "languages": "hi bn ta", "low_without_one": 0.2}
    row |= {key: PAIR[key] for key in ("stimuli", "position", "state")} | SURE
    rows = [row | (change or {}) | {"metric": PRIMARY_METRIC}, row | (rank or {}) | {"metric": "rank"}]
    return JUDGE.regional(pd.DataFrame(rows))


def effects_table(
    change=None, rank=None, placebo=0.1, pair=PAIR, regional=None, ranks=(4.0, 5.0), untrained=0.05
):
    """Hindi, French a placebo language; ranks: of the two variants, of 7.6 bits."""
    rows = []
    for language, diff in (("hi", 0.4), ("fr", placebo)):
        own = pair | DID | PASSES | {"language": language, "placebo": language == "fr"}
        own |= {"diff": diff, "ci_low": diff - 0.05, "ci_high": diff + 0.05}
        of_hindi, of_rank = (change, rank) if language == "hi" else (None, None)
        rows += [
            own | {"metric": "rank"} | (of_rank or {}),
            own | {"metric": PRIMARY_METRIC} | (of_hindi or {}),
        ]
    table = pd.DataFrame(rows)
    bits = {"rank_null": 1.4, "bits": 7.6}
    of_ranks = zip((pair["variant_a"], pair["variant_b"]), ranks, strict=True)
    levels = [
        CELL | bits | {"variant": variant, "language": lang, "rank_value": rank, "rank_low": rank - 0.2}
        for variant, rank in of_ranks
        for lang in ("hi", "fr")
    ]
    seeds = [
        CELL | {"seed": seed, "language": lang, "metric": PRIMARY_METRIC, "value": seed * untrained}
        for seed in (0, 1)
        for lang in ("hi", "fr")
    ]
    regional = regional_table() if regional is None else regional
    return JUDGE.effects(
        table, rules.effects_beside(table, pd.DataFrame(levels), regional, pd.DataFrame(seeds))
    )


def of_hindi(table):
    row = only(table, language="hi", metric=PRIMARY_METRIC)
    return row.verdict, row.reason


def test_an_effect_that_meets_every_rule_may_be_said_and_its_placebo_language_not():
    table = effects_table()
    assert of_hindi(table) == ("effect", "")
    assert only(table, language="fr", metric=PRIMARY_METRIC).reason == "placebo_language/effect"
    assert set(table.verdict[table.metric == "rank"]) == {door.DESCRIPTIVE}


OPPOSED = {"diff": -0.1, "ci_low": -0.2, "ci_high": -0.05}
EFFECTS = {
    "too_few_groups": [{"change": {"n": 9}}, {"change": {"n_groups": 5.0}}],
    "not_significant": [{"change": {"p_holm": 0.05}}, {"change": {"ci_low": -0.01}}],
    "not_corroborated": [{"rank": OPPOSED}, {"rank": OPPOSED | {"diff": 0.0}}],
    "not_beyond_untrained": [{"untrained": 0.41}],
    "placebo_language": [{"change": {"placebo": True}, "placebo": 0.0}],
    "not_beyond_placebos": [{"placebo": 0.4}, {"placebo": -0.45}],
    "not_regional": [{"regional": regional_table({"p_holm": 0.2})}, {"regional": pd.DataFrame()}],
}


@pytest.mark.parametrize(
    ("rule", "world"), [(rule, world) for rule, worlds in EFFECTS.items() for world in worlds]
)
def test_each_rule_stops_an_effect(rule, world):
    assert of_hindi(effects_table(**world)) == ("blocked", f"{rule}/effect")


def test_a_simple_difference_needs_no_region():
    simple = effects_table({"contrast": "simple", "reference": ""}, {"contrast": "simple", "reference": ""},
                           placebo=0.9, regional=pd.DataFrame())  # fmt: skip
    assert of_hindi(simple) == ("effect", "")


@pytest.mark.parametrize("ranks", [(7.55, 7.6), (1.5, 1.3)])
def test_ranks_at_their_ceiling_or_at_chance_in_both_variants_oppose_nothing(ranks):
    assert of_hindi(effects_table(rank=OPPOSED, ranks=ranks)) == ("effect", "")
    assert of_hindi(effects_table(rank=OPPOSED, ranks=(ranks[0], 4.0)))[1] == "not_corroborated/effect"


def test_the_random_variant_has_no_verdict_that_may_be_said():
    for side in ("variant_a", "variant_b"):
        table = effects_table(pair=PAIR | {side: "random"}, regional=regional_table(variant="random"))
        assert not door.claimable(table).any()
        assert set(table.reason) == {"untrained_control"}
    assert not door.claimable(regional_table(variant="random")).any()


REGIONAL = {
    "too_few_groups": [{"change": {"n_groups": 3.0}}],
    "not_significant": [{"change": {"p_holm": 0.06}}, {"change": {"ci_low": -0.01}}],
    "depends_on_one_placebo": [{"change": {"low_without_one": 0.0}}],
    "not_corroborated": [{"rank": {"value": -0.1}}],
}


@pytest.mark.parametrize(
    ("rule", "world"), [(rule, world) for rule, worlds in REGIONAL.items() for world in worlds]
)
def test_each_rule_stops_a_regional_effect(rule, world):
    assert only(regional_table(), metric=PRIMARY_METRIC).verdict == "regional"
    row = only(regional_table(**world), metric=PRIMARY_METRIC)
    assert (row.verdict, row.reason) == ("blocked", f"{rule}/regional")


@pytest.mark.parametrize(
    ("level", "rise", "expected"),
    [
        ("meaning", 0.1, ("peak", "")),
        ("matched", 0.1, ("peak", "")),
        ("blocked", 0.1, ("blocked", "level_not_claimed/peak")),
        ("descriptive", 0.1, ("blocked", "level_not_claimed/peak")),
        ("meaning", 0.0, ("blocked", "no_rise/peak")),
    ],
)
def test_a_peak_needs_its_level_and_a_rise(level, rise, expected):
    summary = pd.DataFrame([CELL | {"metric": PRIMARY_METRIC, "verdict": level}])
    peak = CELL | {"metric": PRIMARY_METRIC, "peak_state": 3, "rise_ci_low": rise}
    row = JUDGE.peaks(pd.DataFrame([peak]).drop(columns="state"), summary).iloc[0]
    assert (row.verdict, row.reason) == expected


@pytest.mark.parametrize(
    ("change", "effect", "expected"),
    [
        ({}, "effect", ("stands", "")),
        ({}, "blocked", ("blocked", "effect_not_claimed/stands")),
        ({"n": 9}, "effect", ("blocked", "too_few_groups/stands")),
        ({"p_holm": 0.05}, "effect", ("blocked", "not_significant/stands")),
        ({"ci_low": -0.1}, "effect", ("blocked", "not_significant/stands")),
        ({"against": "base"}, "effect", ("blocked", "effect_not_claimed/stands")),
    ],
)
def test_an_effect_stands_under_another_measure_only_where_it_may_be_said(change, effect, expected):
    row = DID | SURE | {"variant": "fire", "against": "global", "metric": "cosine", "position": "last"}
    table = pd.DataFrame([row | {"stimuli": "parallel", "state": 3} | change])
    said = pd.DataFrame([PAIR | DID | {"verdict": effect}])
    judged = JUDGE.robustness(table, said).iloc[0]
    assert (judged.verdict, judged.reason) == expected


def test_what_blocks_an_effect_of_a_metric_blocks_it_in_robustness_too():
    effects = effects_table(
        {"metric": "cosine"}
    )  # significant by the cosine, not there by the primary measure
    (finding,) = checks.scale_dependent(effects.assign(p_holm=np.where(effects.metric == "cosine", 0.001, 1)))
    table = pd.DataFrame([SURE | DID | CELL | {"against": "global", "metric": "cosine"}])
    said = pd.DataFrame([PAIR | DID | {"verdict": "effect"}])
    assert door.Judge([finding], frozenset()).robustness(table, said).reason.item() == finding.id


# Readers


def test_what_blocks_has_a_finding_a_sentence_and_advice():
    assert door.SENTENCES.keys() == door.RULES
    written = "\n".join(path.read_text() for path in (REPOSITORY / "probe/audit").glob("*.py"))
    begins = r'(?:id=|_finding\(|name = |_state\(|describe\(\w+, |\[DESCRIPTIVE, |^ +\()f?"([a-z_]+)[/"]'
    named = set(re.findall(begins, written, re.MULTILINE))
    assert {"constant_final_token", "no_null", "rank_saturated", "post_norm_state", "untranslated"} <= named
    for name in {*named, *door.RULES}:
        assert advice.advice(f"{name}/somewhere").endswith("."), name


def test_every_rule_that_blocks_rows_is_a_finding_with_their_number():
    level = JUDGE.levels(
        pd.DataFrame([CELL | SURE | {"metric": PRIMARY_METRIC, "n": n} for n in (4, 40)]),
        pd.DataFrame([CELL | {"value": 0.4, "without": 0.3, "bits": 7}]), None,
    )  # fmt: skip
    found = {finding.id: finding for finding in door.rule_findings({"alignment_summary": level})}
    assert found.keys() == {"too_few_groups/level", "nothing_without_shared/level"}
    few = found["too_few_groups/level"]
    assert (few.evidence["rows"], few.languages, few.variants) == (1, ["hi"], ["fire"])
    assert few.evidence["sentence"].startswith("1 of 2 levels: fewer than 10 meanings")


@pytest.mark.parametrize("verdict", ["blocked", "descriptive"])
def test_the_headline_says_nothing_more_than_the_door(verdict):
    row = CELL | SURE | {"metric": PRIMARY_METRIC}
    high = row | {"value": 0.9, "language": "ta", "verdict": verdict}
    said = concept_alignment.headline(pd.DataFrame([high, row | {"verdict": "matched"}]))
    assert "matched sentences 0.400 [0.300, 0.500]" in said
    assert "hi" in said
    assert "0.9" not in said
    assert "no level of alignment may be claimed" in concept_alignment.headline(pd.DataFrame([high]))


def test_tables_of_claims_keep_verdict_and_reason_and_others_have_none(tmp_path):
    table = effects_table()
    tables.EFFECTS.write(tmp_path / "results" / "t", table, {"params": {}, "inputs": {}})
    read = tables.EFFECTS.read(Paths(tmp_path), "t")
    np.testing.assert_array_equal(door.claimable(read), door.claimable(table))
    assert {name for name, each in tables.TABLES.items() if each.claims} >= door.KINDS.keys()


def test_the_embedded_familys_untrained_variant_is_a_control():
    family = load_family("nano-aya", Paths())
    assert family.variants["random"].untrained
    assert set(family.variants["fire"].emphasises) < set(TARGETS)
