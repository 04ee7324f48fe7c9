"""Loading a variant: every stage that runs a model comes here. What is read of it: `probe.models`."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from probe import files
from probe.errors import ProbeError
from probe.families import Family, load_family
from probe.models.batching import free_memory, out_of_memory
from probe.models.extract import extract
from probe.models.weights import local_revision
from probe.paths import Paths

__all__ = ["Checkpoint", "extract", "loaded", "loaded_from", "open_checkpoint"]

log = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "float16")


def pick_device(asked: str | None = None) -> str:
    """The device asked for, or the best there is: cuda, mps, cpu. "auto" leaves it to accelerate."""
    import torch

    there = [
        name
        for name, found in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if found
    ] + ["cpu"]
    if asked and asked.split(":")[0] not in (*there, "auto"):
        raise ProbeError(f"device {asked} is not available here, only {', '.join(there)}")
    return asked or there[0]


def pick_dtype(asked: str | None, device: str, config: Any) -> str:
    """float32 on a CPU, else the checkpoint's own, unless asked. Raises ProbeError for float16 on a CPU."""
    on_cpu = device == "cpu" or (device == "auto" and pick_device() == "cpu")
    if asked is None:
        own = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
        return "float32" if on_cpu else own
    if asked not in DTYPES:
        raise ProbeError(f"dtype {asked} is not one of {', '.join(DTYPES)}")
    if asked == "float16" and on_cpu:
        raise ProbeError(
            "float16 on a CPU is ten times slower than float32 and overflows; use --dtype float32"
        )
    return asked


@dataclass(frozen=True)
class Checkpoint:
    """A variant's configuration and tokenizer, loaded; its weights not yet."""

    label: str  # family/variant, for messages
    source: str  # hub id or folder
    name: str  # what provenance calls it
    hub_revision: str | None  # the commit, of a model on the hub
    config: Any
    tokenizer: Any
    dtype: str
    device: str

    @property
    def revision(self) -> str:
        """The commit on the hub, or the sha256 of the local weights."""
        return self.hub_revision or local_revision(Path(self.source))

    def identity(self) -> dict[str, str]:
        """What stored activations must agree on to be this model's."""
        config = {
            k: v for k, v in self.config.to_dict().items() if k not in ("transformers_version", "dtype")
        }
        config.pop("_name_or_path", None)
        return {
            "model": self.name,
            "revision": self.revision,
            "config_sha256": files.digest(json.dumps(config, sort_keys=True, default=str).encode()),
            "tokenizer_sha256": files.digest(self.tokenizer.backend_tokenizer.to_str().encode()),
            "dtype": self.dtype,
        }


def open_checkpoint(
    family: Family,
    variant: str,
    dtype: str | None = None,
    device: str | None = None,
    paths: Paths | None = None,
) -> Checkpoint:
    """Raises ProbeError, in one line with the cure, where the checkpoint is missing, gated or unfit."""
    from transformers import AutoConfig, AutoTokenizer

    paths = paths or Paths()
    chosen, source = family.variants[variant], family.model_path(variant, paths)
    label = f"{family.name}/{variant}"
    if chosen.path and not (Path(source) / "config.json").exists():
        raise ProbeError(f"{label}: no model in {source}")
    try:
        revision = commit_of(chosen.hf, chosen.revision) if chosen.hf else None
        config = AutoConfig.from_pretrained(source, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise _explained(label, chosen.hf, error) from error
    if not tokenizer.is_fast:
        raise ProbeError(f"{label}: its tokenizer gives no character offsets; a fast one is needed")
    device = pick_device(device)
    return Checkpoint(
        label=label,
        source=source,
        name=chosen.hf or str(chosen.path),
        hub_revision=revision,
        config=config,
        tokenizer=tokenizer,
        dtype=pick_dtype(dtype, device, config),
        device=device,
    )


def commit_of(hub_id: str, revision: str | None) -> str:
    """The commit that a hub model's revision is at now, so that all of it is loaded from that one."""
    from huggingface_hub import hf_hub_download

    # The cache keeps it in snapshots/{commit}/; Transformers no longer tells the commit.
    return Path(hf_hub_download(hub_id, "config.json", revision=revision)).parent.name


def commit_if_known(hub_id: str, revision: str | None) -> str | None:
    """`commit_of`, or None where neither the hub nor this machine's cache can tell."""
    try:
        return commit_of(hub_id, revision)
    except (OSError, ValueError):
        return None


def _explained(label: str, hub_id: str | None, error: Exception) -> ProbeError:
    if hub_id is None:
        return ProbeError(f"{label}: {error}")
    return ProbeError(
        f"{label}: cannot load {hub_id}; accept its licence at https://huggingface.co/{hub_id} "
        f"and log in with `hf auth login` or set HF_TOKEN ({type(error).__name__})"
    )


def load_weights(checkpoint: Checkpoint, head: bool = False) -> Any:
    """The model, with or without its language-model head, in eval mode, on its device; spread by accelerate
    over all devices and the CPU where the device is "auto", or where the one accelerator cannot hold it."""
    device = checkpoint.device
    try:
        return _from_pretrained(checkpoint, device, head)
    except (RuntimeError, MemoryError) as error:
        if device in ("auto", "cpu") or not out_of_memory(error):
            raise
    free_memory()
    log.warning("%s does not fit on %s; spread over all devices", checkpoint.label, device)
    return _from_pretrained(checkpoint, "auto", head)


def initialised(checkpoint: Checkpoint, seed: int) -> Any:
    """A network of the checkpoint's shape with random weights, in float32, in eval mode, on its device."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(seed)
    return AutoModel.from_config(checkpoint.config).to(checkpoint.device).eval()


def _from_pretrained(checkpoint: Checkpoint, device: str, head: bool) -> Any:
    import torch
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()  # a log needs no bar of a second's loading
    auto: Any = AutoModelForCausalLM if head else AutoModel
    try:
        model, told = auto.from_pretrained(
            checkpoint.source,
            revision=checkpoint.hub_revision,
            dtype=getattr(torch, checkpoint.dtype),
            device_map="auto" if device == "auto" else None,
            use_safetensors=True,  # what is hashed is what is loaded
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in one line
        )
    except (OSError, ValueError, SafetensorError) as error:
        hub_id = None if Path(checkpoint.source).is_dir() else checkpoint.source
        raise _explained(checkpoint.label, hub_id, error) from error
    _require_whole(checkpoint, told)
    return model.eval() if device == "auto" else model.to(device).eval()


def _require_whole(checkpoint: Checkpoint, told: dict[str, Any]) -> None:
    """Raises ProbeError where weights were not in the checkpoint, and thus made up at random.

    A tied weight is not told as missing. A pooler stands after all that is read, and encoders are published
    without.
    """
    misshapen = {name if isinstance(name, str) else name[0] for name in told["mismatched_keys"]}
    missing = {name for name in told["missing_keys"] if not name.startswith("pooler.")} | misshapen
    if missing:
        raise ProbeError(
            f"{checkpoint.label}: {len(missing)} weights of {checkpoint.source} are missing, or of another "
            f"shape than its config.json says (first: {min(missing)}); get the model anew"
        )


def loaded(
    family: str | Family,
    variant: str,
    dtype: str | None = None,
    device: str | None = None,
    paths: Paths | None = None,
    head: bool = False,
) -> AbstractContextManager[tuple[Any, Any]]:
    """Yield (model, tokenizer) of one variant; its memory is free again after the block.

    head: with the language-model head, which the logit lens needs.
    """
    paths = paths or Paths()
    family = load_family(family, paths) if isinstance(family, str) else family
    return loaded_from(open_checkpoint(family, variant, dtype, device, paths), head)


@contextmanager
def loaded_from(checkpoint: Checkpoint, head: bool = False) -> Iterator[tuple[Any, Any]]:
    """`loaded`, of a checkpoint that is open already."""
    from accelerate.hooks import remove_hook_from_submodules

    model = load_weights(checkpoint, head)
    try:
        yield model, checkpoint.tokenizer
    finally:
        remove_hook_from_submodules(model)
        model.to("meta")  # frees the weights even where the caller still holds the model
        free_memory()
