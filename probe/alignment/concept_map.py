"""The probes' sentences in a plane, state by state: do concepts gather across languages, and part again?

A plane shows a part of the variance, and which part differs from state to state. So each state comes with
what its plane holds, and with the shares of variance that lie between concepts and between languages in all
dimensions. Where languages lie far apart the plane shows little else: so there is a second one, in which
every language's mean is set to zero first.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from probe.activations.store import ActivationStore
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.stimuli.manifest import Manifest

POINTS, VARIANCE = "concept_map", "concept_map_variance"  # names of the two tables
VIEWS = {"as_is": "", "centred": "_centred"}  # view -> suffix of its columns
DECIMALS = 4


def plane(vectors: np.ndarray, before: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """The principal plane of one state, turned so that the points move as little as they can.

    vectors: (n, d_model), n >= 3. before: (n, 2) coordinates of the state before. The vectors are centred and
    scaled to a root mean square length of 1, since residual norms grow with depth and the picture should not.
    Returns (n, 2) coordinates and the share of variance that they hold, in [0, 1]. The turn is the orthogonal
    one, reflections included, nearest to `before`; without it the larger part of each axis points up.
    Raises ValueError where all vectors are the same.
    Source: principal components; Schönemann 1966, "A Generalized Solution of the Orthogonal Procrustes
    Problem".
    """
    centred = _unit(vectors)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * singular[:2]
    held = float((singular[:2] ** 2).sum() / (singular**2).sum())
    if before is None:
        return points * np.where((points**3).sum(axis=0) < 0, -1.0, 1.0), held
    u, _, vt = np.linalg.svd(points.T @ before)
    return points @ (u @ vt), held


def shares(vectors: np.ndarray) -> dict[str, float]:
    """How the variance of a full table of concepts and languages splits, in all dimensions.

    vectors: (n_concepts, n_languages, d_model). Returns shares in [0, 1] of the squared distance to the mean:
    `between_concepts` and `between_languages`, which do not overlap as the table is balanced, and
    `concepts_chance`: what `between_concepts` would be on average if the concepts of each language were
    permuted, (1 - between_languages) / n_languages. Raises ValueError where all vectors are the same.
    Source: two-way analysis of variance, summed over dimensions. Permuting makes the languages' deviations r
    of a concept independent with mean 0, so that E|mean of r|^2 = mean |r|^2 / n_languages.
    """
    n_concepts, n_languages, _ = vectors.shape
    centred = _unit(vectors.reshape(n_concepts * n_languages, -1)).reshape(vectors.shape)
    concepts = float((centred.mean(axis=1) ** 2).sum() / n_concepts)
    languages = float((centred.mean(axis=0) ** 2).sum() / n_languages)
    return {
        "between_concepts": concepts,
        "concepts_chance": (1 - languages) / n_languages,
        "between_languages": languages,
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=1).mean())
    if not length > 1e-12:
        raise ValueError("all vectors are the same: there is no plane")
    return centred / length


def concept_map(resid: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
    """Planes and shares of all states.

    resid: (n_concepts, n_languages, n_states, d_model). Returns for each name of VIEWS the coordinates
    (n_states, n_concepts, n_languages, 2), and per state the variance in each of the planes and the keys of
    `shares`. Raises ValueError, naming the state, where all vectors of a state are the same.
    """
    planes: dict[str, list[np.ndarray]] = {view: [] for view in VIEWS}
    variance = []
    for state in range(resid.shape[2]):
        vectors = resid[:, :, state]
        views = {"as_is": vectors, "centred": vectors - vectors.mean(axis=0, dtype=np.float64)}
        split = {}
        try:
            for view, seen in views.items():
                before = planes[view][-1] if state else None
                points, split[f"in_plane{VIEWS[view]}"] = plane(seen.reshape(-1, seen.shape[-1]), before)
                planes[view].append(points)
            variance.append(split | shares(vectors))
        except ValueError as error:
            raise ValueError(f"state {state}: {error}") from error
    shape = (resid.shape[2], *resid.shape[:2], 2)
    return {view: np.reshape(points, shape) for view, points in planes.items()}, variance


def tables(stores: Mapping[str, ActivationStore], manifest: Manifest) -> dict[str, pd.DataFrame]:
    """The points of every variant, and the variance at every state; nothing where no concept is complete.

    Probes at the primary position. concept_map: variant, state, concept_id, language, x, y, x_centred,
    y_centred; concept_map_variance: variant, state, n_concepts, and what `concept_map` returns per state.
    Raises ProbeError where the activations hold a state without any variance.
    """
    ids = {(probe.concept_id, probe.language): probe.stimulus_id for probe in manifest.probes}
    concepts = [c for c in dict.fromkeys(c for c, _ in ids) if all((c, lang) in ids for lang in LANGUAGES)]
    if len(concepts) < 2:
        return {}
    points, variance = [], []
    for variant, store in stores.items():
        resid = store.resid(PRIMARY_POSITION, [ids[c, lang] for c in concepts for lang in LANGUAGES])
        try:
            placed, split = concept_map(resid.reshape(len(concepts), len(LANGUAGES), *resid.shape[1:]))
        except ValueError as error:
            raise ProbeError(f"{store.folder}: {error}; run: {store.extract_command} --fresh") from error
        points.append(_rows(variant, concepts, placed))
        table = pd.DataFrame(split).rename_axis("state").reset_index()
        table.insert(0, "variant", variant)
        table.insert(2, "n_concepts", len(concepts))
        variance.append(table)
    return {POINTS: pd.concat(points, ignore_index=True), VARIANCE: pd.concat(variance, ignore_index=True)}


def _rows(variant: str, concepts: list[str], planes: dict[str, np.ndarray]) -> pd.DataFrame:
    n_states = len(planes["as_is"])
    index = pd.MultiIndex.from_product(
        [[variant], range(n_states), concepts, LANGUAGES],
        names=["variant", "state", "concept_id", "language"],
    )
    columns = {
        f"{axis}{suffix}": planes[view][..., i].ravel().round(DECIMALS) + 0.0  # no "-0.0" in a file
        for view, suffix in VIEWS.items()
        for i, axis in enumerate("xy")
    }
    return pd.DataFrame(columns, index=index).reset_index()
