"""What networks of a family's shape score before they have learnt anything: shared tokens, and the order of
chance.

Permuted pairs do not show it: a random network sees shared tokens, lengths and frames as well as a trained
one.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from probe import tables
from probe.alignment.cells import KINDS, ids, matched_pairs
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.paths import Paths
from probe.stats.metrics import directions
from probe.stimuli.manifest import Manifest

SEEDS = 20


def path(paths: Paths, family: str) -> Path:
    """results/{family}/untrained.csv: the root's own, or the one that the repository carries."""
    return paths.source(f"results/{family}/untrained.csv")


def read(paths: Paths, family: str) -> pd.DataFrame | None:
    """None where the family has none. Raises ProbeError where it is damaged."""
    source = path(paths, family)
    return tables.UNTRAINED.read(Paths(source.parents[2]), family) if source.exists() else None


def sentences(manifest: Manifest) -> list[str]:
    """Ids of all that is measured in matched pairs, each once."""
    pairs = (pair for kind in KINDS for own in matched_pairs(manifest, kind).values() for pair in own)
    return list(dict.fromkeys(stimulus.stimulus_id for pair in pairs for stimulus in pair))


def levels(resid: np.ndarray, names: Iterable[str], manifest: Manifest, seed: int) -> Iterator[dict]:
    """Rows of untrained.csv of one network: the primary measure of each kind, language and state.

    resid: (n, n_states, d_model) at the primary position, of the sentences that `names` gives.
    """
    row = {name: place for place, name in enumerate(names)}
    for kind in KINDS:
        for language, pairs in matched_pairs(manifest, kind).items():
            sides = [
                directions(resid[[row[name] for name in ids(side)]].swapaxes(0, 1).astype(np.float64))
                for side in zip(*pairs, strict=True)
            ]
            for state, value in enumerate((sides[0] * sides[1]).sum(axis=-1).mean(axis=-1)):
                yield {
                    "seed": seed,
                    "language": language,
                    "stimuli": kind,
                    "position": PRIMARY_POSITION,
                    "state": state,
                    "metric": PRIMARY_METRIC,
                    "value": round(float(value), 9),
                }
