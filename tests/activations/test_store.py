"""The store: what is written comes back, what is damaged never does."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import load
from safetensors.torch import save_file

from probe import files
from probe.activations.half import from_half, to_half
from probe.activations.shard import unseal, write_shard
from probe.activations.store import ActivationStore
from probe.activations.writer import ActivationWriter
from probe.errors import MissingActivations, ProbeError
from probe.models.extract import Activations

IDENTITY = {"model": "m", "dtype": "float32", "manifest_sha256": "x"}
IDS = ["a", "b", "c", "d", "e"]


def some_activations(n=5, n_states=4, d_model=6, seed=0) -> Activations:
    rng = np.random.default_rng(seed)
    resid = {p: rng.normal(size=(n, n_states, d_model)).astype(np.float32) * 1000 for p in ("last", "mean")}
    post_norm = {p: rng.normal(size=(n, d_model)).astype(np.float32) for p in ("last", "mean")}
    return Activations(resid, post_norm, [[2, i] for i in range(n)], [{"last": 1, "mean": [1]}] * n)


@contextmanager
def writing(folder: Path, identity=IDENTITY) -> Iterator[ActivationWriter]:
    writer = ActivationWriter(folder, "EXTRACT")
    with writer.locked():
        writer.begin(identity, {})
        yield writer


@pytest.fixture
def store(tmp_path) -> ActivationStore:
    with writing(tmp_path / "tiny" / "base") as writer:
        writer.write_shard("shard-00001", IDS[3:], some_activations(2, seed=2))
        writer.write_shard("shard-00000", IDS[:3], some_activations(3, seed=1))
    return ActivationStore(writer.folder, "EXTRACT")


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(content if how == "flip" else content[:-20])


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        (3, 5),
        elements=st.floats(-(2.0**127), 2.0**127, width=32, allow_nan=False, allow_subnormal=False),
    )
)
def test_half_precision_keeps_every_magnitude(vectors):
    half, scale = to_half(vectors)
    assert np.abs(half).max() <= 1
    # 11 bits of mantissa relative to each value, 2**-25 of the largest for the smallest.
    error = np.abs(from_half(half, scale) - vectors)
    assert (error <= np.abs(vectors) * 2.0**-11 + scale[:, None] * 2.0**-24).all()


def test_widening_moves_bits_as_numpy_converts():
    """Every finite float16, subnormals and both zeros included, under scales up to float32's largest."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every) & (np.abs(every) <= 1)]
    for scale in (1.0, 3e-42, 3.7e-20, 65504.0, 2.0**127):
        expected = every.astype(np.float32) * np.float32(scale)
        found = from_half(every[None], np.array([scale], np.float32))[0]
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))
    grid = np.resize(every, (400, 3, 500))[::2, :, ::-1]  # no contiguous memory, and more than one portion
    scale = np.linspace(0.1, 9, 600, dtype=np.float32).reshape(200, 3)
    np.testing.assert_array_equal(from_half(grid, scale), grid.astype(np.float32) * scale[..., None])


def test_reads_back_any_rows_in_any_order(store):
    first, second = some_activations(3, seed=1), some_activations(2, seed=2)
    expected = np.concatenate([first.resid["mean"], second.resid["mean"]])
    order = ["e", "a", "c"]
    np.testing.assert_allclose(store.resid("mean", order), expected[[4, 0, 2]], rtol=1e-3, atol=1)
    np.testing.assert_array_equal(store.resid("mean", order, state=2), store.resid("mean", order)[:, 2])
    np.testing.assert_array_equal(
        store.resid("mean", order, state=slice(1, 3)), store.resid("mean", order)[:, 1:3]
    )
    normed = np.concatenate([first.post_norm["last"], second.post_norm["last"]])
    np.testing.assert_allclose(store.post_norm("last", order), normed[[4, 0, 2]], rtol=1e-3, atol=1e-3)
    assert store.n_states == 4


def test_shards_hold_what_the_contract_says(store):
    with safe_open(store.folder / "shard-00000.safetensors", framework="np") as shard:
        shapes = {
            name: (shard.get_slice(name).get_shape(), shard.get_slice(name).get_dtype())
            for name in shard.keys()  # noqa: SIM118 - no mapping
        }
    assert shapes["resid.mean"] == ([3, 4, 6], "F16")
    assert shapes["scale.mean"] == ([3, 4], "F32")
    assert shapes["post_norm.last"] == ([3, 6], "F16")
    assert shapes["post_scale.last"] == ([3], "F32")


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_a_damaged_shard_is_missing_and_never_read(store, how):
    damage(store.path("shard-00001"), how)
    assert store.missing(IDS) == ["d", "e"]
    writer = ActivationWriter(store.folder)
    assert writer.recover()
    assert writer.complete("shard-00000", IDS[:3])
    assert not writer.complete("shard-00001", IDS[3:])
    with pytest.raises(MissingActivations, match="2 of 5 stimuli.*EXTRACT"):
        store.resid("mean", IDS)
    np.testing.assert_array_equal(store.resid("mean", ["a"]).shape, (1, 4, 6))


@pytest.mark.parametrize("left", [0, 4, 60, -20])
def test_a_shard_cut_short_after_it_was_checked_is_no_crash(store, left):
    assert store.missing(IDS) == []
    path = store.folder / "shard-00001.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(MissingActivations, match=r"shard-00001.*run: EXTRACT"):
        store.resid("mean", IDS)


def test_a_value_that_is_not_finite_is_refused_naming_stimulus_and_state(tmp_path):
    activations = some_activations(3)
    activations.resid["mean"][1, 2, 3] = np.nan
    with writing(tmp_path) as writer, pytest.raises(ProbeError, match="b: state 2 at 'mean' is not finite"):
        writer.write_shard("shard-00000", ["a", "b", "c"], activations)
    activations = some_activations(3)
    activations.post_norm["last"][2, 0] = np.inf
    with writing(tmp_path) as writer, pytest.raises(ProbeError, match="c: the normed state"):
        writer.write_shard("shard-00000", ["a", "b", "c"], activations)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("key", ["model", "dtype", "manifest_sha256"])
def test_another_model_manifest_or_dtype_is_an_error_with_the_cure(store, key):
    with (
        pytest.raises(ProbeError, match=rf"another {key}.*EXTRACT --fresh"),
        writing(store.folder, IDENTITY | {key: "z"}),
    ):
        pass
    assert store.missing(IDS) == []


def test_a_second_writer_is_refused(store):
    with writing(store.folder), pytest.raises(ProbeError, match="another run"), writing(store.folder):
        pass
    with writing(store.folder):
        pass


def test_a_full_disk_leaves_nothing_half_written(store, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    message = "No space left on device.*make room and go on with: EXTRACT"
    with pytest.raises(ProbeError, match=message), writing(store.folder) as writer:  # noqa: PT012
        monkeypatch.setattr(os, "fsync", full)
        writer.write_shard("shard-00002", ["f"], some_activations(1))
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


def test_missing_and_damaged_indexes_say_what_to_run(tmp_path, store):
    with pytest.raises(MissingActivations, match="no activations in .* run: EXTRACT"):
        ActivationStore(tmp_path / "nothing", "EXTRACT").require(["a"])
    store.index_path.write_text(store.index_path.read_text()[:-30])
    with pytest.raises(ProbeError, match="damaged; to make it again from the shards: EXTRACT"):
        _ = ActivationStore(store.folder, "EXTRACT").index
    store.index_path.unlink()
    with pytest.raises(MissingActivations, match="no index.json in .* run: EXTRACT"):
        _ = ActivationStore(store.folder, "EXTRACT").index


@pytest.mark.parametrize("lost", ["deleted", "truncated", "without its last shard"])
def test_a_lost_index_is_made_again_from_the_shards(store, lost):
    whole = store.index_path.read_bytes()
    if lost == "deleted":
        store.index_path.unlink()
    elif lost == "truncated":
        store.index_path.write_bytes(whole[:-30])
    else:
        index = store.index.model_copy(deep=True)
        del index.shards["shard-00001"]
        store.index_path.write_text(index.model_dump_json())
    with writing(store.folder) as reopened:
        assert reopened.complete("shard-00000", IDS[:3])
        assert reopened.complete("shard-00001", IDS[3:])
    assert store.index_path.read_bytes() == whole


def test_an_index_made_again_leaves_out_what_is_damaged_or_of_another_model(store):
    damage(store.path("shard-00001"), "flip")
    store.index_path.unlink()
    with writing(store.folder) as reopened:
        assert list(reopened.index.shards) == ["shard-00000"]
    store.index_path.unlink()
    with (
        pytest.raises(ProbeError, match="another model; to discard it"),
        writing(store.folder, IDENTITY | {"model": "z"}),
    ):
        pass


@pytest.mark.parametrize("lie", ["model", "reversed ids", "token ids"])
def test_an_index_that_contradicts_its_sealed_shards_is_not_believed(store, lie):
    """All its sha256 are right, and the vectors would be given under other names."""
    true, fingerprint = store.index_path.read_bytes(), store.fingerprint()
    index = json.loads(true)
    ids = index["shards"]["shard-00000"]["stimulus_ids"]
    if lie == "model":
        index["identity"]["model"] = "another"
    elif lie == "reversed ids":
        ids.reverse()
    else:
        index["token_ids"][ids[0]] = [7]
    store.index_path.write_text(json.dumps(index))
    lying = ActivationStore(store.folder, "EXTRACT")
    assert lying.fingerprint() != fingerprint
    with pytest.raises(ProbeError, match="index.json contradicts shard-00000.safetensors; .* EXTRACT"):
        lying.resid("mean", IDS)
    with writing(store.folder):
        pass
    assert store.index_path.read_bytes() == true


def test_another_safetensors_file_in_place_of_a_shard_is_a_damaged_shard(store):
    path = store.path("shard-00001")
    save_file({"weight": torch.zeros(3, dtype=torch.bfloat16)}, path)
    assert unseal(path) is None
    assert store.missing(IDS) == ["d", "e"]
    index = json.loads(store.index_path.read_text())
    index["shards"]["shard-00001"]["sha256"] = files.sha256(path)  # were it even vouched for
    store.index_path.write_text(json.dumps(index))
    with pytest.raises(MissingActivations, match="shard-00001.* holds no activations; run: EXTRACT"):
        ActivationStore(store.folder, "EXTRACT").require(IDS)
    with writing(store.folder) as writer:
        assert list(writer.index.shards) == ["shard-00000"]


def test_the_index_is_written_once_a_run_whatever_the_order(tmp_path, store, monkeypatch):
    written, write_bytes = [], files.write_bytes
    monkeypatch.setattr(files, "write_bytes", lambda *a: written.append(a[0].name) or write_bytes(*a))
    with writing(tmp_path / "again") as writer:
        writer.write_shard("shard-00000", IDS[:3], some_activations(3, seed=1))
        writer.write_shard("shard-00001", IDS[3:], some_activations(2, seed=2))
    assert written == ["shard-00000.safetensors", "shard-00001.safetensors", "index.json"]
    assert (tmp_path / "again" / "index.json").read_bytes() == store.index_path.read_bytes()


def test_a_complete_store_that_nobody_may_write_can_be_opened(store, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "unlink", "replace"):
        monkeypatch.setattr(Path, name, refused)
    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    with writing(store.folder) as writer:
        assert writer.complete("shard-00000", IDS[:3])
    with pytest.raises(OSError, match="Read-only"), writing(store.folder) as writer:
        writer.write_shard("shard-00002", ["f"], some_activations(1))


def test_a_shard_vouches_for_every_byte_of_itself(store):
    """Whatever bit is flipped, in the header's JSON, its shapes or the tensors, nothing is vouched for."""
    path = store.path("shard-00000")
    content = path.read_bytes()
    header = unseal(path)
    assert header is not None
    assert (header.stimulus_ids, header.identity) == (IDS[:3], IDENTITY)
    rng = np.random.default_rng(0)
    n_header = int.from_bytes(content[:8], "little")
    for place in [*rng.integers(0, n_header, 60), *rng.integers(n_header, len(content), 60)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        found = unseal(path)
        assert found is None or (found == header and _tensors(flipped) == _tensors(content)), place


def _tensors(content: bytes) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in load(bytes(content)).items()}


def test_a_shard_made_elsewhere_is_taken_in_only_intact_and_of_the_same_model(store, tmp_path):
    arrived = tmp_path / "arrived"
    activations = some_activations(2, seed=3)
    with writing(store.folder) as writer:
        write_shard(arrived, ["x", "y"], activations, IDENTITY, {})
        with pytest.raises(ProbeError, match="shard-00002 arrived damaged"):
            writer.adopt("shard-00002", ["y", "x"], arrived, {})
        writer.adopt("shard-00002", ["x", "y"], arrived, {})
        write_shard(arrived, ["z", "w"], activations, IDENTITY | {"dtype": "bfloat16"}, {})
        with pytest.raises(ProbeError, match="another dtype"):
            writer.adopt("shard-00003", ["z", "w"], arrived, {})
        arrived.write_bytes(arrived.read_bytes()[:-1])
        with pytest.raises(ProbeError, match="arrived damaged; to go on: EXTRACT"):
            writer.adopt("shard-00003", ["z", "w"], arrived, {})
    store = ActivationStore(store.folder)
    assert list(store.index.shards) == ["shard-00000", "shard-00001", "shard-00002"]
    np.testing.assert_allclose(store.resid("mean", ["y"])[0], activations.resid["mean"][1], rtol=1e-3, atol=1)


def test_an_unknown_position_is_named(store):
    with pytest.raises(ProbeError, match="no position 'focus'"):
        store.resid("focus", ["a"])
