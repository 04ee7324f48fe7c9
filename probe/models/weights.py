"""Which weights a variant has, told without loading them."""

from pathlib import Path

from probe import files
from probe.errors import ProbeError


def local_revision(folder: Path) -> str:
    """The sha256 of a local model's weights. Raises ProbeError where there are none in safetensors."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ProbeError(
            f"no *.safetensors in {folder}, and weights in another format are not read; "
            "save the model anew with save_pretrained"
        )
    return files.digest("".join(map(files.sha256, weights)).encode())


def cached_commit(hub_id: str, revision: str | None) -> str | None:
    """The commit that a hub model's revision is at in this machine's cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    # The cache keeps it in snapshots/{commit}/.
    config = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None
