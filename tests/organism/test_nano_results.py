"""What the committed results of nano-aya say, held against the truth that was planted in it."""

import pandas as pd
import pytest

from organism import train
from probe.audit import findings
from probe.families import load_family
from probe.languages import TARGETS
from probe.paths import REPOSITORY, Paths

RESULTS = REPOSITORY / "results" / "nano-aya"
PRIMARY = "stimuli == 'parallel' and position == 'mean' and metric == 'excess'"
AT_PLANTED = f"{PRIMARY} and state == {train.PLANTED_BLOCK}"
STRICTEST = "control:global, placebo languages"


@pytest.fixture(scope="module")
def effects():
    table = pd.read_csv(RESULTS / "variant_effects.csv").query(AT_PLANTED)
    return table.set_index(["variant_a", "variant_b", "contrast", "reference", "language"]).sort_index()


@pytest.fixture(scope="module")
def found():
    return findings.read(RESULTS / findings.JSON, "")


@pytest.mark.parametrize("variant", ["fire", "earth"])
def test_the_planted_effects_are_found_and_their_placebos_are_not(effects, variant):
    planted = load_family("nano-aya", Paths()).variants[variant].emphasises
    rows = effects.loc[variant, "global", "did", STRICTEST]
    regional, placebo = rows.loc[planted], rows.drop(index=planted)
    assert len(placebo) == 6
    assert placebo.placebo.all()
    assert (regional["diff"] >= 0.2).all()
    assert (regional.ci_low > 0).all()
    assert (regional.q_value < 0.05).all()
    # Spill-over is not exactly alike in all languages, and 200 meanings show that; it is small all the same.
    assert (placebo["diff"].abs() < regional["diff"].min() / 5).all()


def test_the_full_stop_at_the_last_token_is_flagged_and_blocks_its_claims(found):
    flagged = {finding.id: finding for finding in found}
    assert flagged["constant_final_token"].severity == "high"
    assert set(flagged["constant_final_token"].languages) == set(TARGETS)
    for metric in ("cosine", "excess"):
        row = {
            "variant": "fire", "language": "sw", "stimuli": "probes", "position": "last", "metric": metric,
            "state": 0, "value": 1.0,
        }  # fmt: skip
        assert findings.blocked(row, found) is not None


def test_what_was_planted_is_not_blocked(found):
    summary = pd.read_csv(RESULTS / "alignment_summary.csv").query(
        f"{AT_PLANTED} and variant == 'fire' and language in ['hi', 'bn', 'ta']"
    )
    assert len(summary) == 3
    assert findings.blocking(summary, found).isna().all()


def test_peaks_are_found_at_the_planted_state():
    peaks = pd.read_csv(RESULTS / "peaks.csv").query(PRIMARY)
    for variant in ("fire", "earth"):
        planted = load_family("nano-aya", Paths()).variants[variant].emphasises
        rows = peaks[(peaks.variant == variant) & peaks.language.isin(planted)]
        assert (rows.peak_state == train.PLANTED_BLOCK).all()
        assert (rows.fall_ci_high < 0).all()
