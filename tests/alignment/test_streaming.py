"""Stage 3 in blocks of states: the same numbers whatever the block, and memory for a few of them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.activations.store import ActivationStore
from probe.activations.writer import ActivationWriter
from probe.alignment import cells as alignment
from probe.conventions import POSITIONS
from probe.languages import PIVOT
from probe.models.extract import Activations
from probe.paths import REPOSITORY
from probe.stats import metrics
from tests.support import synthetic

WORLD = synthetic.World(synthetic.bump(7, 3), n=24, d_model=40)


def store_of(world: synthetic.World, folder: Path) -> ActivationStore:
    """All read positions alike; two tokens a sentence, of which matched sentences share none."""
    made = synthetic.activations(world)
    stimuli = synthetic.manifest_of(world).parallel
    resid = np.stack([made[s.language][int(s.meaning)] for s in stimuli])
    positions: dict[str, np.ndarray] = dict.fromkeys(POSITIONS[:-1], resid)
    normed: dict[str, np.ndarray] = dict.fromkeys(POSITIONS[:-1], resid[:, -1])
    read = [{"last": 1, "content": 1, "mean": [0, 1]}] * len(stimuli)
    tokens = [[2 * i, 2 * i + 1] for i in range(len(stimuli))]
    activations = Activations(positions, normed, tokens, read)
    writer = ActivationWriter(folder)
    with writer.locked():
        writer.begin({"model": "synthetic", "revision": "none"}, {})
        writer.write_shard("shard-00000", [s.stimulus_id for s in stimuli], activations)
    return ActivationStore(folder)


def cells_of(store, manifest):
    return alignment.cells(store, manifest, "base", POSITIONS, comparisons=True)


@pytest.fixture
def store(tmp_path) -> ActivationStore:
    return store_of(WORLD, tmp_path / "base")


@pytest.mark.parametrize(
    ("n", "n_states", "d_model"), [(20, 37, 2048), (1000, 37, 2048), (9000, 5, 64), (3, 1, 8)]
)
def test_blocks_hold_every_state_once_and_little_memory(n, n_states, d_model):
    blocks = alignment.state_blocks(n, n_states, d_model)
    assert [state for block in blocks for state in range(block.start, block.stop)] == list(range(n_states))
    for block in blocks:
        states = block.stop - block.start
        assert states == 1 or 8 * states * n * max(n, d_model) <= alignment.BLOCK_BYTES


@pytest.mark.parametrize("states_at_once", [1, 3])
def test_no_number_depends_on_the_block(store, monkeypatch, states_at_once):
    whole = list(cells_of(store, synthetic.manifest_of(WORLD)))
    monkeypatch.setattr(alignment, "BLOCK_BYTES", states_at_once * 8 * WORLD.n * WORLD.d_model)
    parts = list(cells_of(store, synthetic.manifest_of(WORLD)))
    assert len(parts) == len(whole) == 3 * 3  # positions x target languages
    for one, other in zip(whole, parts, strict=True):
        pd.testing.assert_frame_equal(one.summary, other.summary, rtol=0, atol=2e-9)
        assert one.found.items.keys() == other.found.items.keys()
        assert one.found.space.keys() == other.found.space.keys()
        for table in ("items", "space"):
            for name, values in getattr(one.found, table).items():
                np.testing.assert_allclose(getattr(other.found, table)[name], values, atol=1e-12)
        assert ("few_directions" in one.found.values) == (one.position == "mean")  # where claims are made
        assert one.found.values.keys() == other.found.values.keys()
        for name, values in one.found.values.items():
            np.testing.assert_allclose(other.found.values[name], values, atol=1e-12)
        for (high, of_all), (same, alike) in zip(one.found.highest, other.found.highest, strict=True):
            assert same == pytest.approx(high, abs=1e-12)
            np.testing.assert_allclose(alike, of_all, atol=1e-12)


def test_pairs_are_made_by_meaning_of_those_that_every_language_tells(store):
    """Swahili lacks every third, and Hindi has its lines in another order."""
    manifest = synthetic.manifest_of(WORLD)
    some = [s for s in manifest.parallel if not (s.language == "sw" and int(s.meaning) % 3 == 0)]
    some.sort(key=lambda s: (s.language, -int(s.meaning) if s.language == "hi" else int(s.meaning)))
    manifest = manifest.model_copy(update={"parallel": some})
    kept = [i for i in range(WORLD.n) if i % 3]
    for language, pairs in alignment.matched_pairs(manifest, "parallel").items():
        assert [(p.meaning, t.meaning) for p, t in pairs] == [(f"{i:03d}",) * 2 for i in kept], language
    for cell in cells_of(store, manifest):
        assert cell.meanings == [f"{i:03d}" for i in kept]
        ids = [[f"parallel_{language}_{i:03d}" for i in kept] for language in ("en", cell.language)]
        direct = metrics.grams(*(store.resid(cell.position, side) for side in ids))
        expected = np.diagonal(metrics.excess_cosine(direct), axis1=1, axis2=2).T
        np.testing.assert_allclose(cell.found.items["excess"], expected, atol=1e-12)


def test_a_language_with_few_sentences_is_left_out_and_costs_the_others_nothing():
    manifest = synthetic.manifest_of(WORLD)
    some = [s for s in manifest.parallel if s.language != "sw" or int(s.meaning) < 4]
    pairs = alignment.matched_pairs(manifest.model_copy(update={"parallel": some}), "parallel")
    assert {language: len(own) for language, own in pairs.items()} == {"hi": WORLD.n, "fr": WORLD.n}
    apart = [
        s for s in manifest.parallel if s.language == "en" or (s.language == "hi") == (int(s.meaning) < 12)
    ]
    assert alignment.matched_pairs(manifest.model_copy(update={"parallel": apart}), "parallel") == {}


def test_a_metric_refused_in_one_block_is_refused_and_names_the_state(tmp_path, monkeypatch):
    """Opposite languages at state 4: no sentence has a near neighbour, so the margin has no order there."""
    world = replace(WORLD, languages=("en", "hi"), offset=0.0)
    made = synthetic.activations(world)
    made["hi"][:, 4] = -10 * np.abs(made["hi"][:, 4])
    made["en"][:, 4] = 10 * np.abs(made["en"][:, 4])
    monkeypatch.setattr(synthetic, "activations", lambda _: made)
    store = store_of(world, tmp_path / "base")
    monkeypatch.setattr(alignment, "BLOCK_BYTES", 1)
    cell = next(cells_of(store, synthetic.manifest_of(world)))
    assert "margin at state 4" in cell.found.refused["margin"]
    assert not {"margin", "xsim"} & {*cell.found.items, *cell.summary.metric}
    assert cell.found.items["excess"].shape == (world.n, 7)


LARGE = synthetic.World(
    synthetic.bump(32, 9), n=200, d_model=64, languages=(PIVOT, "hi", "sw", "fr", "yo", "am")
)
LIMIT_MIB = 100
GROWTH = """
import resource, sys
from pathlib import Path
from probe.activations.store import ActivationStore
from probe.alignment import cells, measure
from probe.families import Family, Variant
from probe.stats import metrics, resampling
from probe.stimuli.manifest import Manifest

resampling.N_RESAMPLES, metrics.FEW_PERMUTATIONS = 60, 5  # they take time, not memory
cells.BLOCK_BYTES = 2**21
family = Family(name="s", description="", default_variants=["base"], variants={"base": Variant(path="none")})
for folder in sys.argv[1:]:  # the first, small one pays for imports and models
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = Manifest.model_validate_json((Path(folder) / "manifest.json").read_text())
    measure.measure({"base": ActivationStore(Path(folder))}, manifest, family)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_memory_does_not_grow_with_the_states(tmp_path):
    """The inner products, cosines and ranks of five languages at 32 states would be 5 * 6 * 32 * 200^2 * 8
    bytes, 293 MiB; all that is to be kept is 13 metrics * 3 positions * 5 * 200 * 32 * 8 bytes, 10 MiB."""
    for name, world in (("small", WORLD), ("large", LARGE)):
        store_of(world, tmp_path / name)
        (tmp_path / name / "manifest.json").write_text(synthetic.manifest_of(world).model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path / "small"), str(tmp_path / "large")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) <= LIMIT_MIB
