"""From vectors to verdicts: what was planted may be said, what was not may not, on any processor."""

import numpy as np
import pandas as pd
import pytest

from probe.alignment import untrained
from probe.alignment.measure import measure
from probe.audit import checks, door
from probe.audit.judge import judge
from probe.conventions import PRIMARY_METRIC
from probe.families import Family
from probe.languages import LANGUAGES, TARGETS
from tests.support import synthetic

REGION = ("hi", "bn", "ta")
FAMILY = Family.model_validate(
    {
        "name": "planted",
        "description": "for tests",
        "control": "global",
        "default_variants": ["base"],
        "variants": {
            "base": {"path": "b"},
            "global": {"path": "g"},
            "fire": {"path": "f", "emphasises": REGION},
            "random": {"path": "r", "untrained": True},
        },
    }
)
SHARED = np.array([0.0, 0.2, 0.5, 0.2])
WORLD = synthetic.World(SHARED, n=36, d_model=160, languages=tuple(LANGUAGES))


def made(gain=0.3):
    """variant -> language -> vectors; fire shares more in its region, random nothing anywhere."""
    fire = synthetic.with_effect(WORLD, REGION, gain)
    worlds = {
        "base": WORLD,
        "global": synthetic.with_effect(WORLD, (), 0.0),
        "fire": synthetic.replace(fire, variant=2),
        "random": synthetic.replace(WORLD, shared=SHARED * 0, variant=3),
    }
    return {variant: synthetic.activations(world) for variant, world in worlds.items()}


def levels(seeds=20, shared=0.0):
    """Rows of untrained.csv of networks that share this much everywhere."""
    world = synthetic.replace(WORLD, shared=SHARED * 0 + shared, languages=("en", *TARGETS))
    rows = []
    manifest = synthetic.manifest_of(WORLD)
    for seed in range(seeds):
        store = synthetic.MemoryStore(synthetic.activations(synthetic.replace(world, seed=100 + seed)))
        names = untrained.sentences(manifest)
        rows += untrained.levels(store.resid("mean", names), names, manifest, seed)
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True, scope="module")
def texts_are_not_looked_at():
    """Ours are numbers; what the texts give away is another test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "audit_texts", lambda sentences: [])
        yield


def judged(vectors, of_untrained, groups=None):
    return measured(vectors, groups)(of_untrained)


def measured(vectors, groups=None):
    """A function of the untrained networks."""
    stores = {variant: synthetic.MemoryStore(own) for variant, own in vectors.items()}
    manifest = synthetic.manifest_of(WORLD, groups)
    once = measure(stores, manifest, FAMILY, ("mean",), comparisons=False)
    return lambda of_untrained: judge(once, stores, manifest, FAMILY, of_untrained)


@pytest.fixture(scope="module")
def chance():
    return levels(3)


@pytest.fixture(scope="module")
def with_networks(texts_are_not_looked_at):
    return measured(made())


@pytest.fixture(scope="module")
def planted(with_networks, chance):
    return with_networks(chance)


def said(found, name):
    table = found.tables[name]
    return table[door.claimable(table)]


def test_what_was_planted_may_be_said(planted):
    level = said(planted, "alignment_summary")
    assert {("fire", "hi", 2), ("base", "fr", 2)} <= set(
        zip(level.variant, level.language, level.state, strict=True)
    )
    assert set(level.verdict) == {"matched"}  # nobody said what the sentences are about
    regional = said(planted, "regional")
    assert set(zip(regional.variant, regional.verdict, strict=True)) == {("fire", "regional")}
    did = said(planted, "variant_effects").query("contrast == 'did'")
    assert set(did.variant_a) == {"fire"}
    assert set(did.language) <= set(REGION)
    peaks = said(planted, "peaks").query("variant == 'fire'")
    assert {*REGION} <= set(peaks.language)
    assert set(peaks.peak_state) == {2}
    stands = said(planted, "robustness")
    assert set(stands.variant) == {"fire"}
    assert {"simple", "did"} == set(stands.contrast)


def test_nothing_is_said_of_the_embedding_of_random_weights_or_by_another_metric(planted):
    for name in door.KINDS:
        table = said(planted, name)
        names = [column for column in ("variant", "variant_a", "variant_b", "against") if column in table]
        assert not (table[names] == "random").any(axis=None), name
        if name != "robustness":
            assert set(table.metric) == {PRIMARY_METRIC}, name
    assert (said(planted, "alignment_summary").state > 0).all()


def test_reasons_are_findings_with_evidence(planted):
    ids = {finding.id for finding in planted.findings}
    for name in door.KINDS:
        table = planted.tables[name]
        blocked = table[(table.verdict == door.BLOCKED) & (table.metric == PRIMARY_METRIC)]
        assert set(blocked.reason) <= ids
        assert (table.reason[door.claimable(table)] == "").all()
        assert (table.reason[~door.claimable(table)] != "").all()


def test_another_processor_changes_no_verdict(planted, chance):
    """Relative errors of 1e-6, several times what float32 sums differ by."""
    rng = np.random.default_rng(9)
    vectors = {
        variant: {lang: x * (1 + 1e-6 * rng.normal(size=x.shape)) for lang, x in own.items()}
        for variant, own in made().items()
    }
    other = judged(vectors, chance)
    for name in door.KINDS:
        pd.testing.assert_frame_equal(
            other.tables[name][["verdict", "reason"]], planted.tables[name][["verdict", "reason"]]
        )
    assert [f.id for f in other.findings] == [f.id for f in planted.findings]


def test_networks_of_random_weights_that_reach_a_level_take_it_away(planted, with_networks):
    found = with_networks(levels(2, shared=0.95))
    assert said(planted, "alignment_summary").shape[0] > 0
    for name in ("alignment_summary", "peaks"):
        assert said(found, name).empty
    assert "not_beyond_untrained/level" in {finding.id for finding in found.findings}


def test_without_untrained_networks_for_every_cell_their_absence_is_a_finding(planted, with_networks, chance):
    assert "no_untrained_control" not in {finding.id for finding in planted.findings}
    for part in (None, chance[chance.language != "yo"]):
        assert "no_untrained_control" in {finding.id for finding in with_networks(part).findings}


def test_what_is_alike_in_every_language_is_no_region(chance):
    vectors = made(gain=0.0)
    fire = synthetic.with_effect(WORLD, TARGETS, 0.3)
    found = judged(vectors | {"fire": synthetic.activations(synthetic.replace(fire, variant=2))}, chance)
    assert said(found, "regional").empty
    effects = said(found, "variant_effects")
    assert set(effects.contrast) == {"simple"}
    assert len(effects) > 0


def test_meanings_in_few_documents_carry_no_claim(chance):
    found = judged(made(), chance, [{"document": str(i // 6)} for i in range(36)])
    for name in door.KINDS:
        assert said(found, name).empty, name
    reasons = set(found.tables["alignment_summary"].reason)
    assert "too_few_groups/level" in reasons
    assert set(found.tables["alignment_summary"].n_groups) == {6.0}


def test_lines_that_do_not_belong_to_each_other_are_found_and_blocked(chance):
    vectors = made()
    for own in vectors.values():
        own["fr"][10:] = np.roll(own["fr"][10:], 1, axis=0)
    found = judged(vectors, chance)
    assert "line_offset/parallel/fr" in {finding.id for finding in found.findings}
    assert "fr" not in set(said(found, "alignment_summary").language)
    assert "es" in set(said(found, "alignment_summary").language)
