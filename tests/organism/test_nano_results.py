"""What the committed results of nano-aya say, held against the truth that was planted in it."""

import pytest

from organism import train
from probe import tables
from probe.audit import door, findings
from probe.conventions import EMBEDDED_FAMILY, PRIMARY_METRIC
from probe.families import load_family
from probe.languages import TARGETS
from probe.paths import Paths

FAMILY = load_family(EMBEDDED_FAMILY, Paths())
PRIMARY = f"stimuli == 'parallel' and position == 'mean' and metric == '{PRIMARY_METRIC}'"
AT_PLANTED = f"{PRIMARY} and state == {train.PLANTED_BLOCK}"
STRICTEST = "control:global, placebo languages"
REGIONAL = pytest.mark.parametrize("variant", ["fire", "earth"])


def read(name):
    return tables.TABLES[name].read(Paths(), EMBEDDED_FAMILY)


@pytest.fixture(scope="module")
def effects():
    return read("variant_effects").query(AT_PLANTED)


@REGIONAL
def test_the_planted_effects_may_be_said_and_their_placebos_not(effects, variant):
    rows = effects[(effects.variant_a == variant) & (effects.reference == STRICTEST)]
    said = rows[door.claimable(rows)]
    assert set(said.language) == set(FAMILY.variants[variant].emphasises)
    assert (said["diff"] >= 0.15).all()
    placebo = rows[rows.placebo]
    assert len(placebo) == 6
    # Spill-over is not exactly alike in all languages, and 200 meanings show that; it is small all the same.
    assert (placebo["diff"].abs() < said["diff"].min() / 4).all()


@REGIONAL
def test_both_variants_are_regional_against_control_and_baseline(variant):
    rows = read("regional").query(PRIMARY)
    rows = rows[(rows.variant == variant) & door.claimable(rows)]
    assert set(rows.against) == {"global", "base"}
    assert rows.languages.str.split().map(set).eq(set(FAMILY.variants[variant].emphasises)).all()
    assert (rows.low_without_one > 0.1).all()


def test_nothing_may_be_said_of_the_untrained_variant():
    for name in door.KINDS:
        table = read(name)
        columns = [column for column in ("variant", "variant_a", "variant_b", "against") if column in table]
        of_random = (table[columns] == "random").any(axis=1)
        assert not door.claimable(table)[of_random].any(), name


def test_the_full_stop_at_the_last_token_is_flagged_and_blocks_its_claims():
    found = findings.read(Paths().results(EMBEDDED_FAMILY) / findings.JSON, "")
    flagged = {finding.id: finding for finding in found}
    assert flagged["constant_final_token"].severity == "high"
    assert set(flagged["constant_final_token"].languages) == set(TARGETS)
    row = {"variant": "fire", "language": "sw", "stimuli": "probes", "position": "last", "state": 0}
    assert findings.blocked(row | {"metric": "cosine"}, [flagged["constant_final_token"]]) is not None


@REGIONAL
def test_levels_and_peaks_are_said_at_the_planted_state(variant):
    own = f"variant == '{variant}' and language in {list(FAMILY.variants[variant].emphasises)}"
    levels = read("alignment_summary").query(f"{AT_PLANTED} and {own}")
    assert door.claimable(levels).sum() == 3
    peaks = read("peaks").query(f"{PRIMARY} and {own}")
    assert door.claimable(peaks).all()
    assert (peaks.peak_state == train.PLANTED_BLOCK).all()
    assert (peaks.fall_ci_high < 0).all()
