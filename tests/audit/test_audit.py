"""The auditor: silent on clean data, not on planted artifacts; and what its findings take away."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.audit import checks as audit
from probe.audit import findings
from probe.audit.checks import Embedding, Evidence, Scores, explained_by_overlap
from probe.audit.findings import Claim, Finding, blocked, blocking
from probe.errors import ProbeError
from probe.languages import PIVOT
from probe.paths import Paths
from probe.stats import resampling
from probe.stimuli.manifest import load_concepts, probe_sentences
from tests.support import synthetic

N_STATES, PEAK = 9, 5
WORLD = synthetic.World(synthetic.bump(N_STATES, PEAK), n=60, d_model=96)
TARGETS = WORLD.languages[1:]


def cosines(pivot, target):
    """(n_states, n, n) from (n, n_states, d), without the module under test."""
    unit = [side / np.linalg.norm(side, axis=-1, keepdims=True) for side in (pivot, target)]
    return np.einsum("isd,jsd->sij", *unit).astype(np.float64)


def cells(world=WORLD, terminal=False, change=None):
    """language -> (n_states, n, n) cosines to the pivot."""
    made = synthetic.activations(world, terminal)
    if change:
        made = {language: change(vectors) for language, vectors in made.items()}
    return {language: cosines(made[PIVOT], made[language]) for language in world.languages[1:]}


def embedding(language, similarity, overlap):
    return Embedding("base", language, "probes", "mean", explained_by_overlap(similarity, overlap))


def item_excess(similarity):
    n = similarity.shape[1]
    matched = np.diagonal(similarity, axis1=1, axis2=2)
    others = (similarity.sum(axis=1) + similarity.sum(axis=2) - 2 * matched) / (2 * (n - 1))
    return (matched - others).T


def mean(weights, items):
    return weights @ items / weights.sum(axis=1, keepdims=True)


def summary(similarities, variant="base", position="mean", stimuli="parallel"):
    """A small alignment_summary: cosine and excess with intervals, nulls and p."""
    tables = []
    for language, similarity in similarities.items():
        n = similarity.shape[1]
        shuffled = resampling.permuted_matched(similarity)
        items = {"cosine": np.diagonal(similarity, axis1=1, axis2=2).T, "excess": item_excess(similarity)}
        for metric, scores in items.items():
            value, low, high = resampling.interval(lambda w, s=scores: mean(w, s), n)
            p = resampling.p_value(np.diagonal(similarity, axis1=1, axis2=2).mean(axis=1), shuffled)
            null = shuffled.mean(axis=0) if metric == "cosine" else 0.0
            table = pd.DataFrame({"value": value, "ci_low": low, "ci_high": high, "null": null, "p_value": p})
            table = table.assign(variant=variant, language=language, stimuli=stimuli, position=position)
            tables.append(table.assign(metric=metric, state=range(len(value)), n=n))
    return pd.concat(tables, ignore_index=True)


def scores(similarities, variant="base", position="mean"):
    return [
        Scores(variant, language, "parallel", position, "cosine", np.diagonal(q, axis1=1, axis2=2).T)
        for language, q in similarities.items()
    ]


def no_overlap(n):
    return np.zeros((n, n))


# The generator


@pytest.mark.parametrize("gain", [0.0, 0.2])
def test_the_generators_analytic_values_hold_at_n_200(gain):
    world = synthetic.with_effect(synthetic.World(synthetic.bump(N_STATES, PEAK)), ("hi",), gain)
    made = synthetic.activations(world)
    for language in world.languages[1:]:
        truth = synthetic.truth(world, language)
        similarity = cosines(made[PIVOT], made[language])
        matched = np.diagonal(similarity, axis1=1, axis2=2)
        np.testing.assert_allclose(matched.mean(axis=1), truth.cosine, atol=0.02)
        np.testing.assert_allclose(item_excess(similarity).mean(axis=0), truth.excess, atol=0.02)
        centred = [made[side] - made[side].mean(axis=0) for side in (PIVOT, language)]
        of_pairs = np.diagonal(cosines(*centred), axis1=1, axis2=2).mean(axis=1)
        np.testing.assert_allclose(of_pairs, truth.centred, atol=0.02)
        assert truth.excess.argmax() == PEAK
    plain = synthetic.truth(synthetic.World(world.shared), "hi").excess
    assert (synthetic.truth(world, "hi").excess > plain).all() == (gain > 0)
    np.testing.assert_allclose(synthetic.truth(world, "fr").excess, plain)


def test_the_generators_terminal_artifact_is_one_value_per_final_mark():
    similarities = cells(terminal=True)
    for language, one in (("sw", True), ("fr", True), ("hi", False)):
        values = np.diagonal(similarities[language][0])
        assert np.ptp(values) < 1e-6
        assert (abs(values[0] - 1) < 1e-6) == one
        assert np.diagonal(similarities[language][1]).std() > 1e-3


def test_variants_of_a_world_share_meanings_and_differ_in_noise():
    base, changed = (synthetic.activations(w) for w in (WORLD, synthetic.with_effect(WORLD, (), 0.0)))
    difference = base["hi"] - changed["hi"]
    assert 0 < difference.std() < 2 * WORLD.noise
    assert difference.std() == pytest.approx(np.sqrt(2) * WORLD.noise, rel=0.05)


# Clean data


def test_no_finding_of_high_severity_on_clean_data():
    concepts = load_concepts(Paths().concept_probes)
    for seed in range(3):
        world = synthetic.World(WORLD.shared, n=60, d_model=96, seed=seed)
        similarities = cells(world)
        rng = np.random.default_rng(seed)
        lengths = np.linalg.norm(synthetic.activations(world)["hi"], axis=-1)
        found = audit.audit(
            Evidence(
                final_tokens={"base": {lang: rng.integers(0, 99, 60).tolist() for lang in world.languages}},
                scores=scores(similarities),
                norms={"base": lengths},
                embeddings=[
                    embedding(lang, q[0], rng.random((60, 60)) / 5) for lang, q in similarities.items()
                ],
                summary=summary(similarities),
                sentences=[("probes", s.stimulus_id, s.language, s.text) for s in probe_sentences(concepts)],
            )
        )
        assert [finding.id for finding in found if finding.severity != "low"] == []


# Planted artifacts


def test_a_constant_final_token_is_flagged_and_blocks_state_0_of_the_last_token_alone():
    final = {"base": synthetic.final_tokens(WORLD)}
    (finding,) = audit.final_tokens(final)
    assert (finding.severity, finding.languages) == ("high", list(TARGETS))
    assert finding.evidence["identical_to_pivot"] == [["base", "sw"], ["base", "fr"]]
    row = {"variant": "base", "language": "hi", "position": "last", "state": 0, "metric": "excess"}
    assert blocked(row, [finding]) == finding
    for other in ({"state": 1}, {"position": "mean"}, {"language": "yo"}, {"variant": "fire"}):
        assert blocked(row | other, [finding]) is None
    average = {key: row[key] for key in ("variant", "position", "state")}
    assert blocked(average, [finding]) == finding, "an average over languages holds the artifact too"
    effect = {"variant_a": "fire", "variant_b": "base", "position": "last", "state": 0}
    assert blocked(effect, [finding]) == finding


def test_final_tokens_that_vary_are_no_finding():
    final = synthetic.final_tokens(WORLD)
    mixed = final | {PIVOT: final[PIVOT][:50] + [77] * 10}  # 83 % end alike
    assert audit.final_tokens({"base": mixed}) == []
    (finding,) = audit.final_tokens({"base": final | {"sw": final["sw"][:50] + [77] * 10}})
    assert finding.languages == ["hi", "fr"]


def test_a_value_constant_over_concepts_is_flagged_with_its_final_mark():
    (finding,) = audit.constant_values(scores(cells(terminal=True), position="last"))
    assert finding.id == "constant_over_concepts/parallel/last/0"
    assert finding.severity == "high"
    assert finding.evidence["per_final_mark"]["base"].keys() == {"।", "."}
    assert finding.evidence["per_final_mark"]["base"]["."] == pytest.approx(1)
    rows = pd.DataFrame({"variant": "base", "position": "last", "state": [0, 1], "language": "hi"})
    assert blocking(rows.assign(stimuli="parallel"), [finding]).tolist() == [finding.id, None]


def test_a_constant_that_the_mark_does_not_set_is_not_blamed_on_it():
    values = np.random.default_rng(0).random((20, 4))
    values[:, 2] = 0.7
    other = values.copy()
    other[:, 2] = 0.6
    cosine = ("parallel", "last", "cosine")
    (finding,) = audit.constant_values(
        [Scores("base", "fr", *cosine, values), Scores("base", "es", *cosine, other)]
    )
    assert finding.evidence["per_final_mark"] is None
    assert blocked({"variant": "base", "language": "es", "state": 2}, [finding]) == finding


@pytest.mark.parametrize("centre", [True, False], ids=["LayerNorm", "RMSNorm"])
def test_a_last_state_after_the_norm_is_flagged(centre):
    vectors = synthetic.activations(WORLD)["hi"].astype(np.float64)
    vectors *= np.random.default_rng(0).lognormal(0, 0.1, size=vectors.shape[:2])[..., None]
    assert audit.post_norm_state({"base": np.linalg.norm(vectors, axis=-1)}) == []
    last = vectors[:, -1] - centre * vectors[:, -1].mean(axis=-1, keepdims=True)
    weight = np.random.default_rng(1).uniform(0.7, 1.3, size=vectors.shape[-1])
    vectors[:, -1] = weight * last / np.sqrt((last**2).mean(axis=-1, keepdims=True))
    (finding,) = audit.post_norm_state({"base": np.linalg.norm(vectors, axis=-1)})
    assert (finding.severity, finding.variants) == ("high", ["base"])
    row = {"variant": "base", "position": "mean", "language": "hi"}
    assert blocked(row | {"state": N_STATES - 1}, [finding]) == finding
    assert blocked(row | {"state": N_STATES - 2}, [finding]) is None


def test_a_last_state_equal_to_the_published_normed_one_is_flagged_and_another_is_not():
    cosine = scores(cells())
    normed = {(cell.variant, cell.language): cell.values[:, -1].round(6) for cell in cosine}
    (finding,) = audit.post_norm_state({}, cosine, normed)
    assert finding.id == "post_norm_state"
    far = {key: values - 0.01 for key, values in normed.items()}
    assert audit.post_norm_state({}, cosine, far) == []
    one_differs = normed | {("base", "hi"): far["base", "hi"]}
    assert audit.post_norm_state({}, cosine, one_differs) == []


def test_a_last_step_is_suspected_only_where_it_is_the_largest_fall():
    curve = np.array([1.0, 0.5, 0.7, 0.8, 0.75, 0.5])
    rows = curve + np.random.default_rng(0).normal(0, 0.01, size=(20, 6))
    make = lambda values: [Scores("base", "hi", "probes", "last", "cosine", values)]  # noqa: E731
    assert [finding.id for finding in audit.last_step_jump(make(rows))] == ["last_state_may_be_post_norm"]
    rows[:, 4] -= 0.2
    assert audit.last_step_jump(make(rows)) == []


def test_anisotropy_alone_is_flagged_as_mismatched_pairs_matching_and_as_chance():
    world = synthetic.World(np.zeros(N_STATES), n=60, d_model=96, anisotropy=4.0, offset=0.1)
    found = {finding.id: finding for finding in audit.audit(Evidence(summary=summary(cells(world))))}
    hollow = found["mismatched_pairs_match/parallel/mean"]
    assert hollow.severity == "high"
    assert set(hollow.languages) == set(TARGETS)
    row = {"variant": "base", "language": "hi", "stimuli": "parallel", "position": "mean", "state": PEAK}
    assert blocked(row | {"metric": "cosine"}, [hollow]) == hollow
    assert blocked(row | {"metric": "excess"}, [hollow]) is None
    low = synthetic.World(np.zeros(N_STATES), n=60, d_model=96, anisotropy=0.5, offset=0.1)
    assert audit.mismatched_as_high(summary(cells(low))) == [], "no reader takes a low cosine for alignment"
    chance = found["at_chance/parallel/mean/excess"]
    assert blocked(row | {"metric": "excess"}, [chance]) == chance
    effect = row | {"metric": "excess", "variant_a": "fire", "variant_b": "base"}
    assert blocked(effect, [chance]) is None, "that another variant differs from chance may be true"


def test_a_metric_at_chance_in_one_language_is_blocked_in_that_one():
    table = summary(cells())
    table.loc[table.language == "sw", "p_value"] = np.linspace(0.06, 0.9, (table.language == "sw").sum())
    found = audit.at_chance(table)
    assert {finding.id for finding in found} == {
        "at_chance/parallel/mean/cosine",
        "at_chance/parallel/mean/excess",
    }
    assert all(finding.languages == ["sw"] for finding in found)


def bags(n=60, vocabulary=400, length=8, shared=0, seed=0, d_model=64):
    """Sentences as bags of tokens, matched ones with `shared` tokens in common: (pivot, target) cosines of
    their mean embeddings (n, n), and the overlap of their token ids (n, n)."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(vocabulary, d_model))
    pivot = [rng.choice(vocabulary, length, replace=False) for _ in range(n)]
    target = [
        np.append(ids[:shared], rng.choice(vocabulary, length - shared, replace=False)) for ids in pivot
    ]
    vectors = [np.stack([table[ids].mean(axis=0) for ids in side])[:, None] for side in (pivot, target)]
    overlap = [[len(set(a) & set(b)) / len(set(a) | set(b)) for b in target] for a in pivot]
    return cosines(*vectors)[0], np.array(overlap)


def test_shared_tokens_that_explain_the_embedding_are_flagged():
    similarity, overlap = bags(shared=3)
    (finding,) = audit.shared_tokens([embedding("fr", similarity, overlap)])
    assert finding.evidence["explained"]["base"]["fr"] > 0.8
    row = {"variant": "base", "language": "fr", "stimuli": "probes", "position": "mean"}
    assert blocked(row | {"state": 0}, [finding]) == finding
    assert blocked(row | {"state": 1}, [finding]) is None


def test_alignment_of_an_embedding_beyond_shared_tokens_is_no_finding():
    similarity, overlap = bags(shared=1)
    meaning = similarity + 0.5 * np.eye(len(similarity))
    for cell in ((meaning, overlap), (similarity[::-1], overlap), (meaning, no_overlap(60))):
        assert audit.shared_tokens([embedding("fr", *cell)]) == []
    for seed in range(8):  # matched pairs less alike than others: nothing to explain, though a fit would
        tokens = 0.2 * np.diag(np.random.default_rng(seed).random(60))
        less = 0.1 * bags(seed=seed)[0] - 0.02 * np.eye(60) - 2 * tokens
        assert audit.shared_tokens([embedding("fr", less, tokens)]) == []


def test_tokens_that_only_matched_pairs_share_cannot_be_told_from_matching():
    similarity, _ = bags(shared=3)
    (finding,) = audit.shared_tokens([embedding("fr", similarity, np.eye(60))])
    assert finding.evidence["explained"]["base"]["fr"] == 1


def test_a_ceiling_blocks_peaks_and_differences_between_two_that_reach_it():
    full, half = np.ones((30, 4)), np.ones((30, 4))
    half[::2, 1:] = 0
    cell = ("hi", "parallel", "mean", "p_at_1")
    measured = [Scores("base", *cell, full), Scores("fire", *cell, full), Scores("random", *cell, half)]
    (finding,) = audit.at_ceiling(measured)
    assert finding.severity == "low"
    row = {"language": "hi", "stimuli": "parallel", "position": "mean", "metric": "p_at_1"}
    at = {"state": 2}
    assert blocked({**row, **at, "variant_a": "fire", "variant_b": "base"}, [finding]) == finding
    assert blocked({**row, **at, "variant_a": "random", "variant_b": "base"}, [finding]) is None
    assert blocked({**row, **at, "variant": "base"}, [finding]) is None, "the level itself is what it is"
    assert blocked({**row, "variant": "fire", "peak_state": 2}, [finding]) == finding
    assert blocked({**row, "variant": "random", "peak_state": 0}, [finding]) is None
    assert audit.at_ceiling([Scores("base", *cell, full, maximum=None)]) == []
    assert audit.at_ceiling([Scores("base", *cell, 0.98 * full)]) == []


def test_too_few_concepts_block_what_rests_on_them():
    table = summary({"hi": cells()["hi"][:, :12, :12]}, stimuli="probes")
    (finding,) = audit.too_few(table)
    assert finding.id == "too_few_concepts/probes"
    assert blocked({"stimuli": "probes", "n": 12}, [finding]) == finding
    assert blocked({"stimuli": "parallel", "n": 12}, [finding]) is None
    assert audit.too_few(table.assign(n=20)) == []


def test_effects_whose_interval_reaches_zero_are_blocked_one_by_one():
    rows = pd.DataFrame(
        {
            "variant_a": "fire",
            "variant_b": "base",
            "language": ["hi", "fr", "sw", "yo"],
            "stimuli": "parallel",
            "metric": "excess",
            "diff": [0.3, 0.01, -0.3, 0.1],
            "ci_low": [0.2, -0.1, -0.4, 0.01],
            "ci_high": [0.4, 0.1, -0.2, 0.5],  # yo: one-sided, but wider than the effect
            "n": 40,
        }
    )
    (finding,) = audit.unresolved(rows)
    assert finding.evidence["rows"] == {"excess": 2}
    assert blocking(rows, [finding]).tolist() == [None, finding.id, None, finding.id]
    assert audit.unresolved(rows.iloc[[0, 2]]) == []
    assert blocked({"diff": 0.3, "variant_a": "fire"}, [finding]) == finding, "no interval, no claim"
    assert blocked({"value": 0.0, "ci_low": -1, "ci_high": 1}, [finding]) is None, "a level is no effect"


# Findings


VARIANTS, LANGUAGES = ("base", "fire"), ("hi", "sw", "fr")
WHERE = st.fixed_dictionaries(
    {},
    optional={
        "variant": st.lists(st.sampled_from(VARIANTS), min_size=1),
        "language": st.lists(st.sampled_from(LANGUAGES), min_size=1),
        "state": st.lists(st.integers(0, 3), min_size=1),
    },
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "variant": st.sampled_from(VARIANTS),
        "language": st.sampled_from(LANGUAGES),
        "state": st.integers(0, 3),
    },
)


@given(ROWS, st.lists(WHERE, max_size=3))
def test_a_row_is_blocked_where_a_claim_says_nothing_against_it(row, wheres):
    finding = Finding(
        id="x",
        severity="low",
        languages=[],
        variants=[],
        evidence={"sentence": "-"},
        blocks=[Claim(where=where, text="-") for where in wheres],
    )
    expected = any(all(key not in row or row[key] in where[key] for key in where) for where in wheres)
    row = row | {"value": 0.0}
    assert (blocked(row, [finding]) is not None) == expected


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(VARIANTS), st.sampled_from(LANGUAGES)),
        st.lists(st.integers(0, 3), max_size=2),
    )
)
def test_grouped_filters_cover_the_cells_and_no_others(states):
    covered = {}
    for where, value in findings.grouped(states):
        for variant in where["variant"]:
            for language in where["language"]:
                assert (variant, language) not in covered
                covered[variant, language] = value
    assert covered == states


def test_an_empty_cell_is_as_a_column_that_is_not_there():
    claim = Claim(where={"language": ["hi"], "state": [0]}, text="state 0")
    evidence = {"sentence": "-"}
    finding = Finding(id="x", severity="low", languages=[], variants=[], evidence=evidence, blocks=[claim])
    rows = pd.DataFrame({"language": ["hi", None, "fr", None], "state": [0, 0, 0, 1]})
    assert blocking(rows, [finding]).tolist() == ["x", "x", None, None]


def test_the_most_severe_finding_is_the_one_named():
    claim = Claim(where={"state": [0]}, text="state 0")
    make = {"languages": [], "variants": [], "evidence": {"sentence": "-"}, "blocks": [claim]}
    low, high = Finding(id="a", severity="low", **make), Finding(id="b", severity="high", **make)
    assert blocked({"state": 0}, [low, high]) == high
    assert audit.ordered([low, high, low]) == [high, low]


def test_findings_survive_their_file_and_can_be_read_by_people(tmp_path):
    found = audit.audit(
        Evidence(
            final_tokens={"base": synthetic.final_tokens(WORLD)},
            scores=scores(cells(terminal=True), position="last"),
            summary=summary(cells()),
        )
    )
    path = findings.write(tmp_path, found, {"params": {}})
    assert findings.read(path, "-") == found
    assert json.loads(path.read_text()).keys() == {"metadata", "findings"}
    lines = (tmp_path / findings.TABLE).read_text().splitlines()
    assert sum(line.startswith(("| high", "| medium", "| low")) for line in lines) == len(found) >= 2
    assert "2 high" in lines[0]
    before = path.read_bytes()
    assert findings.write(tmp_path, found, {"params": {}}).read_bytes() == before
    path.write_text('{"findings": [{"id": 1}]}')
    with pytest.raises(ProbeError, match="run: make it"):
        findings.read(path, "make it")
