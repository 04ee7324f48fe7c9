"""One model in memory, for the sentences that visitors type."""

import threading
import tomllib
from collections import OrderedDict
from contextlib import ExitStack
from typing import Any

import model_loader
from probe.errors import ProbeError
from probe.families import load_family
from probe.lens import text as lens
from probe.paths import Paths

KEPT = 64  # readings


class OneModel:
    """Reads sentences with one variant at a time, and frees it for another. Threads take turns."""

    def __init__(self, paths: Paths):
        self.paths = paths
        self.holding: tuple[str, str] | None = None  # family and variant in memory
        self._model: Any = None
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._readings: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()

    def families(self) -> list[str]:
        """Those of families.toml that this computer can run: on any the ones in folders, on a GPU all."""
        names = tomllib.loads(self.paths.families.read_text(encoding="utf-8"))
        on_gpu = model_loader.pick_device() != "cpu"
        variants = {name: load_family(name, self.paths).variants.values() for name in names}
        return [name for name in names if on_gpu or all(variant.path for variant in variants[name])]

    def n_states(self, family: str) -> int:
        """How many states its baseline has. Raises ProbeError where its configuration is not here."""
        table = load_family(family, self.paths)
        checkpoint = model_loader.open_checkpoint(table, table.default_variants[0], paths=self.paths)
        return checkpoint.config.get_text_config().num_hidden_layers + 1

    def reading(self, family: str, variant: str, text: str) -> dict[str, Any]:
        """What each state says next after the text, as `probe.lens.text.TextLens.payload` gives it.

        Raises ProbeError where the variant cannot be loaded, or cannot read the text.
        """
        asked = (family, variant, text)
        with self._lock:
            if asked not in self._readings:
                model, tokenizer = self._load(family, variant)
                try:
                    self._readings[asked] = lens.read_text(model, tokenizer, text).payload()
                except ProbeError:
                    raise
                except ValueError as error:
                    raise ProbeError(f"this text cannot be read: {error}") from error
            self._readings.move_to_end(asked)
            while len(self._readings) > KEPT:
                self._readings.popitem(last=False)
            return self._readings[asked]

    def _load(self, family: str, variant: str) -> tuple[Any, Any]:
        if self.holding != (family, variant):
            self.free()
            loaded = model_loader.loaded(family, variant, paths=self.paths, head=True)
            self._model = self._open.enter_context(loaded)
            self.holding = (family, variant)
        return self._model

    def free(self) -> None:
        self._model, self.holding = None, None
        self._open.close()
