"""The activations of several variants, checked before anything is computed from them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from probe import files
from probe.activations.store import ActivationStore
from probe.errors import ProbeError
from probe.families import Family
from probe.models.weights import cached_commit, local_revision
from probe.paths import Paths
from probe.stimuli.manifest import Stimulus


def open_stores(
    paths: Paths, family: Family, variants: Iterable[str], stimuli: Iterable[Stimulus]
) -> dict[str, ActivationStore]:
    """Variant -> its activations: of the family's models and manifest as they are now, of one dtype, and
    complete for these stimuli.

    Raises ProbeError, or MissingActivations, with the command that extracts what is missing.
    """
    ids = [stimulus.stimulus_id for stimulus in stimuli]
    manifest_sha256 = files.sha256(paths.source(family.manifest))
    stores = {}
    for variant in variants:
        command = f"uv run batch_runner.py --local --family {family.name} --variants {variant}"
        store = ActivationStore(paths.activations(family.name, variant), command)
        found = store.index.identity
        if found.get("manifest_sha256") != manifest_sha256:
            raise ProbeError(f"{store.folder} was extracted from another manifest; run: {command} --fresh")
        for key, expected in _expected(paths, family, variant).items():
            if found.get(key) != expected:
                raise ProbeError(
                    f"{store.folder} was extracted from {key} {found.get(key)}, but {family.name}/{variant} "
                    f"is now {expected}; run: {command} --fresh"
                )
        store.require(ids)
        stores[variant] = store
    _require_one_dtype(family, stores)
    return stores


def _expected(paths: Paths, family: Family, variant: str) -> dict[str, str]:
    """What can be known here of a variant's model, without loading it: its name, and its revision where its
    weights or the hub's cache are on this machine, or the family's table pins a commit."""
    chosen = family.variants[variant]
    if chosen.hf:
        pinned = chosen.revision if chosen.revision and len(chosen.revision) == 40 else None
        revision = pinned or cached_commit(chosen.hf, chosen.revision)
    else:
        folder = Path(family.model_path(variant, paths))
        revision = local_revision(folder) if folder.exists() else None
    return {"model": chosen.source} | ({"revision": revision} if revision else {})


def _require_one_dtype(family: Family, stores: Mapping[str, ActivationStore]) -> None:
    """A difference between two variants must not be one of rounding."""
    dtypes = {variant: store.index.identity.get("dtype") for variant, store in stores.items()}
    if len(set(dtypes.values())) > 1:
        told = ", ".join(f"{variant} {dtype}" for variant, dtype in dtypes.items())
        raise ProbeError(
            f"activations of different dtypes ({told}); run: uv run batch_runner.py --local "
            f"--family {family.name} --variants {','.join(dtypes)} --dtype DTYPE --fresh"
        )


def provenance(
    paths: Paths,
    family: Family,
    stores: Mapping[str, ActivationStore],
    params: Mapping[str, Any],
    sources: Iterable[Path] = (),
    **more: Any,
) -> dict:
    """Of what is computed from activations: what they are of besides parameters and input files."""
    read = {f"activations/{family.name}/{variant}": store.fingerprint() for variant, store in stores.items()}
    identities = {variant: store.index.identity for variant, store in stores.items()}
    told = ("model", "dtype", "config_sha256", "tokenizer_sha256")
    return files.provenance(
        {"family": family.name, "variants": list(stores), **params},
        files.hashes(paths, [paths.source(family.manifest), *sources]) | read,
        {variant: identity["revision"] for variant, identity in identities.items()},
        activations={
            variant: {key: identity.get(key) for key in told} for variant, identity in identities.items()
        },
        **more,
    )
