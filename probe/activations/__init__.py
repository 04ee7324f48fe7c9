"""The states on disk: shards, their index, and the run that writes them (stage 2)."""

from probe.activations.opening import open_stores
from probe.activations.store import ActivationStore

__all__ = ["ActivationStore", "open_stores"]
