"""Commitment against rivals: at chance in worlds where nothing is aligned, and what is planted is found.

The worlds are made here and share nothing with the code under test.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.alignment.calibrated import PERMUTATIONS, Places, beaten, calibrated, shifts
from probe.alignment.commitment import (
    CALIBRATED,
    CONSECUTIVE,
    RUNS,
    SHARE,
    SHARES,
    THRESHOLD,
    Calibrated,
    calibrated_sensitivity,
    commitment_sensitivity,
    commitment_states,
    measured_matrix,
)
from probe.conventions import ALPHA
from probe.stats.groups import Groups
from probe.stimuli.manifest import FloresSentence, Manifest, ParallelSentence

N, OTHERS, N_STATES, D = 40, 90, 12, 48  # meanings, sentences of another kind, states, dimensions
LANGUAGES = ("en", "hi", "fr")
Vectors = dict[str, np.ndarray]  # language -> (N + OTHERS, N_STATES, D)


class Store:
    def __init__(self, vectors: Vectors) -> None:
        self.rows = {
            name: each
            for language, of in vectors.items()
            for name, each in zip(names(language, len(of)), of, strict=True)
        }
        self.shape = next(iter(self.rows.values())).shape

    def resid(self, position: str, ids, states=slice(None)) -> np.ndarray:
        assert position == "mean"
        return np.stack([self.rows[name][states] for name in ids]).astype(np.float32)


def names(language: str, n: int) -> list[str]:
    return [f"p_{language}_{i}" if i < N else f"f_{language}_{i}" for i in range(n)]


def manifest(n: int = N + OTHERS) -> Manifest:
    parallel, flores = [], []
    for language in LANGUAGES:
        for i, name in enumerate(names(language, n)):
            own = {"stimulus_id": name, "language": language, "text": f"{language} says {i}"}
            if i < N:
                parallel.append(ParallelSentence(**own, meaning_id=f"m{i:02d}"))
            else:
                flores.append(FloresSentence(**own, flores_index=i, topic="", selected_by="x"))
    return Manifest(metadata={}, parallel=parallel, flores=flores)


def walk(rng: np.random.Generator, n: int, keep: float) -> np.ndarray:
    """(n, N_STATES, D): each state is `keep` of the one before, so that a curve wanders slowly."""
    steps = rng.normal(size=(N_STATES, n, D))
    states = [steps[0]]
    for step in steps[1:]:
        states.append(keep * states[-1] + np.sqrt(1 - keep**2) * step)
    return np.stack(states, axis=1)


def plain(rng: np.random.Generator, n: int) -> np.ndarray:
    return walk(rng, n, 0.5)


def slow(rng: np.random.Generator, n: int) -> np.ndarray:
    return walk(rng, n, 0.93)


def anisotropic(rng: np.random.Generator, n: int) -> np.ndarray:
    """As an untrained network: one direction that all sentences share, and few that vary much."""
    return walk(rng, n, 0.9) * np.arange(1, D + 1) ** -0.7 + 9 * np.eye(D)[0]


def clustered(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = np.random.default_rng(0).normal(size=(4, D))  # the same in all languages: topics, not meanings
    return walk(rng, n, 0.8) + 2 * centres[rng.integers(0, 4, n), None]


def offset(rng: np.random.Generator, n: int) -> np.ndarray:
    """A language of its own place, and a kind of its own."""
    vectors = walk(rng, n, 0.8) + 5 * rng.normal(size=D)
    vectors[N:] += 8 * np.eye(D)[1]
    return vectors


WORLDS = (plain, slow, anisotropic, clustered, offset)


def world(make: Callable, seed: int, n: int = N + OTHERS) -> Vectors:
    """Nothing of which is aligned."""
    rng = np.random.default_rng(seed)
    return {language: make(rng, n) for language in LANGUAGES}


def found(vectors: Vectors) -> dict[tuple[str, str], Calibrated]:
    """(kind, language) -> what was measured; nothing may be refused."""
    refused: dict[str, str] = {}
    own = calibrated(Store(vectors), manifest(len(vectors["en"])), refused)
    measured = {(kind, language): each for kind, language, each in own}
    assert not refused
    return measured


def aligned(vectors: Vectors, language: str, rows: slice, states: slice, weight: float = 6.0) -> Vectors:
    """The same sentences, of which these say in both languages, at these states, what only they say."""
    meaning = np.random.default_rng(99).normal(size=vectors["en"][rows].shape[::2])
    changed = {code: each.copy() for code, each in vectors.items()}
    for code in ("en", language):
        changed[code][rows, states] += weight * meaning[:, None]
    return changed


# Nothing is aligned


@pytest.mark.parametrize("make", WORLDS, ids=lambda make: make.__name__)
def test_unrelated_pairs_commit_in_at_most_one_in_twenty_cells(make):
    committed = [
        np.isfinite(each.states()) for seed in range(6) for each in found(world(make, seed)).values()
    ]
    share = np.concatenate(committed).mean()
    assert share <= ALPHA + 0.015  # the sampling error of 1560 cells that move together


def test_without_the_permuted_pairs_slow_states_would_commit_by_chance():
    measured = [each for seed in range(6) for each in found(world(slow, seed)).values()]
    plainly = np.concatenate([commitment_states(each.shares, SHARE, CONSECUTIVE) for each in measured])
    assert np.isfinite(plainly).mean() > ALPHA
    assert max(each.required() for each in measured) > SHARE


def test_where_the_cosine_commits_everywhere_the_calibrated_does_not():
    vectors = world(anisotropic, 3)
    unit = {code: each / np.linalg.norm(each, axis=-1, keepdims=True) for code, each in vectors.items()}
    raw = (unit["en"][:N] * unit["hi"][:N]).sum(axis=-1)
    assert np.isfinite(commitment_states(raw, THRESHOLD, CONSECUTIVE)).all()
    assert np.isfinite(found(vectors)["parallel", "hi"].states()).mean() <= 0.1


@pytest.mark.parametrize("language", ["en", "hi"])
def test_a_hub_that_is_close_to_all_commits_nothing(language):
    vectors = world(plain, 5)
    other = "hi" if language == "en" else "en"
    before = found(vectors)["parallel", "hi"].states()
    hub = {code: each.copy() for code, each in vectors.items()}
    centred = hub[other] - hub[other][:N].mean(axis=0)
    hub[other] = hub[other] + 3 * np.eye(D)[2] * np.sign(centred[..., [2]])  # one axis carries much
    hub[language][7] = hub[language].mean(axis=0) + 50 * np.eye(D)[2]
    states = found(hub)["parallel", "hi"].states()
    assert np.isinf(states[7])
    assert np.isfinite(states).sum() <= np.isfinite(before).sum() + 2


# What is planted


@pytest.mark.parametrize("start", [0, 4, N_STATES - 3])
def test_three_states_of_alignment_commit_there_and_two_do_not(start):
    vectors = world(plain, 7)
    three = found(aligned(vectors, "hi", slice(0, N), slice(start, start + 3)))
    states = three["parallel", "hi"].states()
    assert np.isfinite(states).all()
    assert np.mean(states == start) >= 0.8  # the state before is met by chance in one of twenty
    two = found(aligned(vectors, "hi", slice(0, N), slice(start, start + 2)))
    assert np.isfinite(two["parallel", "hi"].states()).mean() <= 0.15
    for language, kind in (("fr", "parallel"), ("hi", "flores")):  # and nowhere else
        assert np.isfinite(three[kind, language].states()).mean() <= 0.15


def test_only_those_of_which_it_is_planted_commit():
    states = found(aligned(world(anisotropic, 2), "fr", slice(0, 10), slice(3, 9)))["parallel", "fr"].states()
    assert np.mean(states[:10] == 3) >= 0.8
    assert np.isfinite(states[10:]).mean() <= 0.15


def test_a_mean_that_a_kind_has_in_all_languages_is_no_alignment():
    """Not centred by kind, two parallel sentences would beat all of FLORES."""
    vectors = world(plain, 4)
    for each in vectors.values():
        each[:N] += 20 * np.eye(D)[5]
    assert np.isfinite(found(vectors)["parallel", "hi"].states()).mean() <= 0.15


# The rule


def slowly_beaten(similarity, rows, columns, shift):
    shares = []
    for i, row in enumerate(rows):
        column = columns[(i + shift) % len(columns)]
        value = round(similarity[row, column], 5)
        in_row = [round(x, 5) < value for j, x in enumerate(similarity[row]) if j != column]
        in_column = [round(x, 5) < value for j, x in enumerate(similarity[:, column]) if j != row]
        shares.append(min(np.mean(in_row), np.mean(in_column)))
    return shares


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_what_is_beaten_equals_a_loop_and_a_tie_is_not_beaten(seed, tied):
    rng = np.random.default_rng(seed)
    similarity = rng.integers(-3, 4, (14, 12)) / 4 if tied else rng.uniform(-1, 1, (14, 12))
    places = Places(rng.permutation(14)[:6], rng.permutation(12)[:6], (1, 4))
    (got,) = beaten(similarity, [places])
    for own, shift in zip(got, (0, 1, 4), strict=True):
        np.testing.assert_allclose(
            own, slowly_beaten(similarity, places.rows, places.columns, shift), atol=1e-6
        )


def test_where_all_is_one_vector_nothing_is_beaten():
    (got,) = beaten(np.ones((9, 9)), [Places(np.arange(5), np.arange(5), (1, 2))])
    assert (got == 0).all()


@given(st.integers(5, 200), st.integers(1, 12))
def test_shifts_pair_each_meaning_with_others_and_none_of_its_document_where_that_can_be(n, documents):
    of = [{"document": str(i * documents // n)} for i in range(n)]
    chosen = shifts(Groups.of(of))
    assert len(chosen) == len(set(chosen)) == min(n - 1, PERMUTATIONS)
    assert min(chosen) > 0
    assert max(chosen) < n
    assert chosen == shifts(Groups.of(of))

    def overlap(shift):
        return sum(of[i] == of[(i + shift) % n] for i in range(n))

    left = set(range(1, n)) - set(chosen)
    assert max(map(overlap, chosen)) <= min(map(overlap, left), default=n)


def test_no_more_permuted_pairs_commit_than_alpha_at_any_share_and_run():
    for each in found(world(slow, 1)).values():
        for share in SHARES:
            for run in RUNS:
                assert each.chance(share, run) <= ALPHA
                assert each.required(share, run) >= share
        assert each.rivals == N + OTHERS - 1


# The tables


def test_with_fewer_than_100_rivals_nothing_is_measured_and_the_reason_is_said():
    refused: dict[str, str] = {}
    few = world(plain, 0, 100)
    assert list(calibrated(Store(few), manifest(100), refused)) == []
    assert set(refused) == {f"{code}/{kind}/mean/calibrated" for code in ("hi", "fr") for kind in KINDS}
    assert all("99 rivals, needs 100" in reason for reason in refused.values())
    assert {kind for kind, _ in found(world(plain, 0, 101))} == {*KINDS}


KINDS = ("parallel", "flores")


def test_the_matrix_has_all_kinds_by_both_criteria_and_the_sensitivity_its_chance():
    vectors = aligned(world(plain, 7), "hi", slice(0, N), slice(4, 9))
    by_kind: dict[str, dict[tuple[str, str], Calibrated]] = {}
    for (kind, language), each in found(vectors).items():
        by_kind.setdefault(kind, {})["fire", language] = each
    named = {"flores": {f"{i:04d}": f"en says {i}" for i in range(N, N + OTHERS)}}
    named["parallel"] = {f"m{i:02d}": f"en says {i}" for i in range(N)}
    cosines = {
        kind: {(v, code): np.zeros((len(of), N_STATES)) for v in ("base", "fire") for code in ("hi", "fr")}
        for kind, of in named.items()
    }
    cosines["parallel"]["base", "fr"][3, 2:6] = 0.9
    del by_kind["flores"]["fire", "fr"]  # not measured there
    table = measured_matrix(named, cosines, by_kind)
    assert list(table.columns) == [
        "stimuli", "concept_id", "concept", "language", "base_layer", "fire_layer", "fire_calibrated",
    ]  # fmt: skip
    assert len(table) == 2 * (N + OTHERS)
    own = table.query("stimuli == 'parallel' and language == 'hi'").set_index("concept_id")
    expected = by_kind["parallel"]["fire", "hi"].states()
    assert own.fire_calibrated.to_numpy(float, na_value=np.inf).tolist() == expected.tolist()
    assert own.loc["m05", "concept"] == "en says 5"
    (cell,) = table.loc[table.base_layer.notna()].to_dict("records")
    assert (cell["concept_id"], cell["language"], cell["base_layer"]) == ("m03", "fr", 2)
    assert table.query("stimuli == 'flores' and language == 'fr'").fire_calibrated.isna().all()
    told = calibrated_sensitivity(by_kind["parallel"])
    assert len(told) == 2 * len(SHARES) * len(RUNS)
    assert set(told.criterion) == {CALIBRATED}
    assert (told.chance <= ALPHA).all()
    row = told.query("language == 'hi' and threshold == @SHARE and consecutive == @CONSECUTIVE").iloc[0]
    assert row.committed == np.isfinite(expected).sum() >= 0.95 * N


def test_a_rank_has_no_threshold():
    with pytest.raises(ValueError, match="rank is no cosine"):
        commitment_sensitivity({"base": {"hi": np.zeros((5, 5))}}, "mean", "rank")


def test_curves_shorter_than_the_run_never_commit():
    short = Calibrated(np.ones((6, 2)), {CONSECUTIVE: np.full((5, 6), np.nan)}, 120)
    assert np.isinf(short.states()).all()
    assert short.chance() == 0
    assert pd.isna(calibrated_sensitivity({("base", "hi"): _with_runs(short)}).censored_median).all()


def _with_runs(each: Calibrated) -> Calibrated:
    return Calibrated(each.shares[:, :1], dict.fromkeys(RUNS, each.permuted[CONSECUTIVE]), each.rivals)
