"""What `modal run batch_runner.py` needs of Modal: the image, two volumes, and the two remote functions.

Nothing here connects to Modal when imported, and `.local()` runs a function's body on this machine.
"""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modal

import model_loader
from probe.activations import run as extraction
from probe.activations.index import conflict
from probe.activations.shard import unseal, write_shard
from probe.errors import ProbeError
from probe.families import Family
from probe.models.extract import Activations
from probe.paths import REPOSITORY

GPU = "A10G"  # 24 GB: the smallest that holds a variant of Tiny Aya (6.7 GB in bf16) with room for batches
HOURS = 60 * 60

# Folders of the container. The Hugging Face cache keeps weights between runs; the activations volume holds
# {family}/{variant}/shard-NNNNN.safetensors and no index: containers of one variant share it, and each shard
# vouches for itself, so that no two of them ever write the same file.
WEIGHTS, ACTIVATIONS = Path("/weights"), Path("/activations")

# What the containers see of this folder: code, families, nano-aya. Not results, and nothing hidden.
SENT = ("*.py", "pyproject.toml", "probe/**", "data/**", "organism/**")
UNSENT = ("!organism/checkpoints/**", "!**/__pycache__/**")


def _image() -> modal.Image:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return (
        modal.Image.debian_slim(python_version="3.11")
        .uv_pip_install(
            *project["project"]["dependencies"],
            extra_options=f"--exclude-newer {project['tool']['uv']['exclude-newer']}",
        )
        .env({"HF_HOME": str(WEIGHTS)})
        .add_local_dir(REPOSITORY, "/root", ignore=~modal.FilePatternMatcher(*SENT, *UNSENT))
    )


app = modal.App("aya-cross-lingual-probe")
weights = modal.Volume.from_name("aya-probe-weights", create_if_missing=True)
activations = modal.Volume.from_name("aya-probe-activations", create_if_missing=True)

remote = app.function(
    image=_image(),
    gpu=GPU,
    volumes={str(WEIGHTS): weights, str(ACTIVATIONS): activations},
    secrets=[modal.Secret.from_name("huggingface")],  # HF_TOKEN
    retries=modal.Retries(max_retries=3),  # a preempted call comes again, and skips what it had committed
    timeout=8 * HOURS,
    include_source=False,  # the image has it
)


@remote
def extract(family: dict, variant: str, shards: dict[str, list[dict]], asked: dict) -> dict:
    """Write these shards of one variant to the volume, committing each; those there already are skipped.

    asked: dtype, token_budget; `given`, what the identity holds beside the model's; `recorded`, the identity
    of what the asking machine has, empty for nothing. Returns {"variant", "shards", "summary"}, or {"error"}
    for what no retry mends.
    """
    commit = (lambda: None) if modal.is_local() else activations.commit
    try:
        summary = _extract(Family.model_validate(family), variant, shards, asked, commit)
    except ProbeError as error:
        return {"error": str(error)}
    return {"variant": variant, "shards": list(shards), "summary": f"{variant}: {summary}"}


def _extract(
    family: Family, variant: str, shards: dict[str, list[dict]], asked: dict, commit: Callable[[], Any]
) -> str:
    folder = ACTIVATIONS / volume_folder(family.name, variant)
    checkpoint = model_loader.open_checkpoint(family, variant, asked["dtype"])
    identity = checkpoint.identity() | asked["given"]
    if asked["recorded"] and (differing := conflict(asked["recorded"], identity)):
        raise ProbeError(
            f"{family.name}/{variant}: what you have was extracted with another {differing}; "
            "to discard it and start afresh add --fresh"
        )
    environment = extraction.environment(checkpoint.device, checkpoint.config)

    def there(name: str, ids: list[str]) -> bool:
        header = unseal(folder / f"{name}.safetensors")
        return header is not None and header.stimulus_ids == ids and not conflict(header.identity, identity)

    def write(name: str, ids: list[str], found: Activations, token_budget: int) -> None:
        made_in = environment | {"token_budget": token_budget}
        write_shard(folder / f"{name}.safetensors", ids, found, identity, made_in)
        commit()

    plan = {name: [extraction.from_plain(stimulus) for stimulus in some] for name, some in shards.items()}
    todo = {name: some for name, some in plan.items() if not there(name, extraction.ids_of(some))}
    if not todo:
        return f"{len(plan)} shards were there"
    with model_loader.loaded_from(checkpoint) as (model, tokenizer):
        return extraction.extract_shards(model, tokenizer, todo, asked["token_budget"], write, variant)


@remote
def smoke_test(family: dict, variant: str, stimuli: list[dict], dtype: str | None) -> dict:
    """Extract a few sentences and hold them against one-by-one extraction; keeps nothing."""
    few = [extraction.from_plain(stimulus) for stimulus in stimuli]
    try:
        with model_loader.loaded(Family.model_validate(family), variant, dtype) as (model, tokenizer):
            return {"summary": f"{variant}: {extraction.smoke_test(model, tokenizer, few, variant)}"}
    except ProbeError as error:
        return {"error": str(error)}


def volume_folder(family: str, variant: str) -> str:
    return f"{family}/{variant}"


def on_volume(folder: str) -> list[str]:
    """Names of the shards in a folder of the volume, which is asked over the network."""
    try:
        entries = activations.listdir(folder)
    except modal.exception.NotFoundError:
        return []
    return sorted(Path(e.path).stem for e in entries if e.path.endswith(".safetensors"))


def discard(folder: str) -> None:
    """Delete what earlier runs left in a folder of the volume."""
    if on_volume(folder):
        activations.remove_file(folder, recursive=True)


def download(folder: str, name: str, to: Path) -> None:
    """One shard of the volume, in a file of this machine, on disk when this returns."""
    with to.open("wb") as file:
        activations.read_file_into_fileobj(f"{folder}/{name}.safetensors", file)
        file.flush()
        os.fsync(file.fileno())
