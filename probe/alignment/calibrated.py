"""How much of what a matched pair is not paired with does it beat? State by state, for commitment that a null
gives (`probe.alignment.commitment`).

Every sentence that the manifest has in a language is a rival there, whatever its kind, each less the mean of
its kind in its language: the similarity is that of the primary measure. A pair beats a rival that is less
alike by more than rounding; ties count against. Pairs of other meanings (permuted pairs) are measured in the
same way, and tell what share chance beats.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe.activations.store import ActivationStore
from probe.alignment import cells
from probe.alignment.commitment import MIN_RIVALS, RUNS, Calibrated, held_levels
from probe.conventions import PRIMARY_POSITION
from probe.languages import PIVOT
from probe.stats import metrics
from probe.stats.groups import Groups
from probe.stimuli.manifest import Manifest

PERMUTATIONS = 20  # of the pairs of a kind, each a shift; with n meanings at most n - 1
SHARE_DECIMALS = 6


@dataclass(frozen=True)
class Places:
    """Where the pairs of a kind stand among all sentences: (n,) rows of the pivot, columns of the target."""

    rows: np.ndarray
    columns: np.ndarray
    shifts: tuple[int, ...]


def calibrated(
    store: ActivationStore, manifest: Manifest, refused: dict[str, str]
) -> Iterator[tuple[str, str, Calibrated]]:
    """(kind, language, what is beaten there) at the primary position.

    Of a kind and language with fewer than MIN_RIVALS there is nothing, and `refused` is told why.
    """
    sentences = {PIVOT: _by_kind(manifest, PIVOT)}
    places: dict[str, dict[str, Places]] = {}
    for kind in cells.KINDS:
        for language, pairs in cells.matched_pairs(manifest, kind).items():
            if language not in sentences:
                sentences[language] = _by_kind(manifest, language)
            own = sentences[language]
            rivals = min(sum(map(len, sentences[code].values())) for code in (PIVOT, language)) - 1
            if rivals < MIN_RIVALS:
                refused[f"{language}/{kind}/{PRIMARY_POSITION}/calibrated"] = (
                    f"calibrated commitment with {rivals} rivals, needs {MIN_RIVALS}: the share of them that "
                    "is beaten would be too coarse"
                )
                continue
            row, column = (_order(each) for each in (sentences[PIVOT], own))
            places.setdefault(language, {})[kind] = Places(
                np.array([row[pivot.stimulus_id] for pivot, _ in pairs]),
                np.array([column[target.stimulus_id] for _, target in pairs]),
                shifts(Groups.of([pivot.groups for pivot, _ in pairs])),
            )
    shares: dict[tuple[str, str], list[np.ndarray]] = {}
    most = max((sum(map(len, of.values())) for of in sentences.values()), default=0)
    for states in cells.state_blocks(most, *store.shape) if places else ():
        pivot = _directions(store, sentences[PIVOT], states)
        for language, of_kind in places.items():
            target = _directions(store, sentences[language], states)
            for similarity in (p @ t.T for p, t in zip(pivot, target, strict=True)):
                for kind, found in zip(of_kind, beaten(similarity, list(of_kind.values())), strict=True):
                    shares.setdefault((kind, language), []).append(found)
    for (kind, language), of_states in shares.items():
        curves = np.stack(of_states, axis=-1)  # (1 + n_shifts, n, n_states)
        rivals = min(len(_order(sentences[code])) for code in (PIVOT, language)) - 1
        permuted = {run: held_levels(curves[1:], run) for run in RUNS}
        yield kind, language, Calibrated(curves[0], permuted, rivals)


def _by_kind(manifest: Manifest, language: str) -> dict[str, list[str]]:
    """Kind -> ids of its sentences in a language; fewer than MIN_PAIRS have no mean to speak of."""
    found = {
        kind: cells.ids(s for s in manifest.of_kind(kind) if s.language == language) for kind in cells.KINDS
    }
    return {kind: names for kind, names in found.items() if len(names) >= cells.MIN_PAIRS}


def _order(by_kind: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {name: place for place, name in enumerate(name for names in by_kind.values() for name in names)}


def _directions(store: ActivationStore, by_kind: Mapping[str, list[str]], states: slice) -> np.ndarray:
    """(n_states, all sentences, d_model), less the mean of their kind, of length 1."""
    of_kind = [store.resid(PRIMARY_POSITION, names, states) for names in by_kind.values()]
    return np.concatenate(
        [metrics.directions(each.swapaxes(0, 1).astype(np.float64)) for each in of_kind], axis=1
    )


def shifts(groups: Groups) -> tuple[int, ...]:
    """By how many places the targets are shifted to be other meanings' partners: at most PERMUTATIONS of the
    n - 1 shifts, those in which fewest pairs share a document, a frame or a filler."""

    def overlap(shift: int) -> float:
        alike = [codes == np.roll(codes, -shift) for codes in groups.factors.values()]
        return float(np.any(alike, axis=0).mean()) if alike else 0.0

    # The golden ratio's sequence: neighbours among the whole numbers lie far apart in it.
    order = sorted(range(1, groups.n), key=lambda shift: (overlap(shift), shift * 0.6180339887498949 % 1))
    return tuple(order[:PERMUTATIONS])


def beaten(similarity: np.ndarray, of_kind: Sequence[Places]) -> Iterator[np.ndarray]:
    """Of each kind (1 + n_shifts, n) in [0, 1]: the share of the rivals that are less alike, in the row or in
    the column, whichever is smaller; of the matched pairs, then of each shift's.

    similarity: (n_pivot, n_target) cosines of all sentences. Its true partner is a rival of a permuted pair,
    for relabelled data would not know it.
    """
    ties = np.rint(similarity * 10**metrics.DECIMALS).astype(np.int32)
    for places in of_kind:
        rows, columns = ties[places.rows], np.ascontiguousarray(ties.T[places.columns])
        found = np.empty((1 + len(places.shifts), len(rows)))
        for i, shift in enumerate((0, *places.shifts)):
            value = rows[np.arange(len(rows)), np.roll(places.columns, -shift)]
            by_row = np.count_nonzero(rows < value[:, None], axis=1) / (ties.shape[1] - 1)
            other = np.roll(columns, -shift, axis=0)
            by_column = np.count_nonzero(other < value[:, None], axis=1) / (ties.shape[0] - 1)
            found[i] = np.minimum(by_row, by_column)
        yield found.round(SHARE_DECIMALS)
