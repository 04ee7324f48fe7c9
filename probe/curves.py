"""alignment_curves.json: the cosine of every probe to its English, concept by concept."""

from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError, model_validator

from probe import files
from probe.errors import ProbeError
from probe.paths import Paths
from probe.tables import SUMMARY

FILE = "alignment_curves.json"


class Curves(BaseModel):
    """curves: variant -> concept id -> language -> (n_states,); post_norm: the same after the final norm."""

    metadata: dict[str, Any]
    curves: dict[str, dict[str, dict[str, list[FiniteFloat]]]]
    post_norm: dict[str, dict[str, dict[str, FiniteFloat]]] = {}

    @model_validator(mode="after")
    def _alike(self) -> "Curves":
        cells = [by_language for concepts in self.curves.values() for by_language in concepts.values()]
        lengths = {len(curve) for by_language in cells for curve in by_language.values()}
        if len(lengths) != 1 or 0 in lengths or len({tuple(by_language) for by_language in cells}) != 1:
            raise ValueError("no curves of one length, in the same languages")
        return self


def read(paths: Paths, family: str) -> Curves:
    """Raises ProbeError with the command that helps where the file is missing or damaged."""
    path, made_by = paths.results(family) / FILE, SUMMARY.command(family)
    content = files.read_json(path, made_by)
    try:
        return Curves.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ProbeError(f"{path} is damaged ({where} {fault['msg']}); run: {made_by}") from error
