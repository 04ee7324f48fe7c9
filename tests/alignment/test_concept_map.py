"""The concept map: planes against another computation, shares against permutation, motion between states."""

import numpy as np
import pytest

from probe.alignment.concept_map import concept_map, plane, shares

RNG = np.random.default_rng(7)


def spread(n_concepts=20, n_languages=10, d_model=16, concept=1.0, language=1.0, noise=1.0):
    parts = (
        concept * RNG.normal(size=(n_concepts, 1, d_model)),
        language * RNG.normal(size=(1, n_languages, d_model)),
        noise * RNG.normal(size=(n_concepts, n_languages, d_model)),
    )
    return sum(parts)


def test_the_plane_holds_the_two_largest_eigenvalues_of_the_covariance():
    vectors = spread().reshape(200, -1) * np.linspace(3, 0.1, 16)
    points, held = plane(vectors)
    eigenvalues = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    assert held == pytest.approx(eigenvalues[:2].sum() / eigenvalues.sum())
    assert (points**2).sum() / 200 == pytest.approx(held)  # in units of the root mean square length


def test_a_turned_space_is_the_same_picture():
    """Rotating all of a state's vectors changes nothing that a reader could see."""
    vectors = spread().reshape(200, -1)
    first, _ = plane(vectors)
    turn, _ = np.linalg.qr(RNG.normal(size=(16, 16)))
    second, _ = plane(5 * vectors @ turn + 3, before=first)
    np.testing.assert_allclose(second, first, atol=1e-9)


def test_shares_add_up_and_find_what_was_planted():
    only_concepts = shares(spread(language=0, noise=1e-6))
    assert only_concepts["between_concepts"] == pytest.approx(1, abs=1e-6)
    only_languages = shares(spread(concept=0, noise=1e-6))
    assert only_languages["between_languages"] == pytest.approx(1, abs=1e-6)
    both = shares(spread(noise=1e-6))
    assert both["between_concepts"] + both["between_languages"] == pytest.approx(1, abs=1e-6)


def test_chance_is_what_permuted_concepts_give():
    vectors = spread()
    permuted = [
        shares(np.stack([side[RNG.permutation(20)] for side in vectors.transpose(1, 0, 2)], axis=1))
        for _ in range(400)
    ]
    mean = np.mean([found["between_concepts"] for found in permuted])
    assert mean == pytest.approx(shares(vectors)["concepts_chance"], rel=0.02)


def test_concepts_gather_where_it_was_planted_and_languages_vanish_when_centred():
    strength = [0.0, 3.0, 0.0]
    resid = np.stack([spread(concept=s, language=4.0, noise=0.5) for s in strength], axis=2)
    planes, variance = concept_map(resid)
    assert np.argmax([found["between_concepts"] for found in variance]) == 1
    centred = planes["centred"]
    np.testing.assert_allclose(centred.mean(axis=1), 0, atol=1e-9)
    within = centred.std(axis=2).mean(axis=(1, 2)) / centred.std(axis=(1, 2)).mean(axis=1)
    assert np.argmin(within) == 1


def test_a_state_without_variance_is_named():
    resid = np.stack([spread(), np.ones((20, 10, 16))], axis=2)
    with pytest.raises(ValueError, match="state 1"):
        concept_map(resid)
