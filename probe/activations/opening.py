"""The activations of several variants, checked before anything is computed from them."""

from collections.abc import Iterable

from probe import files
from probe.activations.store import ActivationStore
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from probe.stimuli.manifest import Stimulus


def open_stores(
    paths: Paths, family: Family, variants: Iterable[str], stimuli: Iterable[Stimulus]
) -> dict[str, ActivationStore]:
    """Variant -> its activations: of the family's manifest as it is now, and complete for these stimuli.

    Raises ProbeError, or MissingActivations, with the command that extracts what is missing.
    """
    ids = [stimulus.stimulus_id for stimulus in stimuli]
    manifest_sha256 = files.sha256(paths.source(family.manifest))
    stores = {}
    for variant in variants:
        command = f"uv run batch_runner.py --local --family {family.name} --variants {variant}"
        store = ActivationStore(paths.activations(family.name, variant), command)
        if store.index.identity.get("manifest_sha256") != manifest_sha256:
            raise ProbeError(f"{store.folder} was extracted from another manifest; run: {command} --fresh")
        store.require(ids)
        stores[variant] = store
    return stores
