"""Every result table, once: its columns and their types, the stage that makes it, how it is read and written.

    PEAKS.write(folder, table, metadata)        what a reader could not trust is not written
    PEAKS.read(Paths(), "nano-aya")             typed and whole, or one line that names file and command

`NAME.meta.json` beside a table holds its provenance and its sha256, which is checked wherever it is read. An
empty cell is "never" or "does not apply"; a column that is absent was not measured.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probe import files
from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.paths import Paths

ALIGNMENT, FAILURES, LENS = "concept_alignment.py", "failure_classifier.py", "logit_lens.py"
EVERY = "all"  # a category of edge cases: all together; their languages: all
VARIANT = "{variant}"  # in a name: a column for every variant that was measured, whose cells may be empty
JUDGED = {"n_groups": "float64", "p_holm": "float64", "verdict": "str", "reason": "str"}


@dataclass(frozen=True)
class Table:
    """text, languages (codes), numbers, whole (numbers) and flags name the columns, separated by blanks.

    Of them, `empty` names those whose cells may be empty, and `optional` those that a file may lack. claims:
    a row can be a claim, and the columns JUDGED, where they are there, tell what may be said of it.
    """

    name: str
    label: str
    made_by: str = ALIGNMENT
    claims: bool = False
    text: str = ""
    languages: str = ""
    numbers: str = ""
    whole: str = ""
    flags: str = ""
    empty: str = ""
    optional: str = ""

    def path(self, paths: Paths, family: str) -> Path:
        return paths.results(family) / f"{self.name}.csv"

    def command(self, family: str) -> str:
        return f"uv run {self.made_by} --family {family}"

    def read(self, paths: Paths, family: str, needs: Iterable[str] = ()) -> pd.DataFrame:
        """str, float64, int64 (Int64 where cells may be empty) and bool, in the file's order of columns.

        needs: columns asked for beside those that every such file has. Raises ProbeError where the file is
        missing, damaged, not the one that its provenance speaks of, or lacks a column.
        """
        path, made_by = self.path(paths, family), self.command(family)
        try:
            content = path.read_bytes()
            table = self._parsed(content, needs)
            for column in table.columns.intersection(self.languages.split()):
                if unknown := set(table[column].dropna()) - set(LANGUAGES):
                    raise ValueError(f"has an unknown language, {min(unknown)}")
        except FileNotFoundError as error:
            raise ProbeError(f"{path} is missing; run: {made_by}") from error
        except ValueError as error:
            raise ProbeError(f"{path} {error}; run: {made_by}") from error
        if files.sidecar(path).exists():
            recorded = self.provenance(paths, family).get("sha256")
            if recorded not in (None, files.digest(content)):
                raise ProbeError(f"{path} is not the table that its provenance speaks of; run: {made_by}")
        return table

    def provenance(self, paths: Paths, family: str) -> dict[str, Any]:
        """What the table was made from. Raises ProbeError where the file that says it is no use."""
        path, made_by = files.sidecar(self.path(paths, family)), self.command(family)
        found = files.read_json(path, made_by)
        if not isinstance(found, dict) or not {"params", "inputs"} <= found.keys():
            raise ProbeError(f"{path} is damaged (it does not say what was measured); run: {made_by}")
        return found

    def write(self, out: Path, table: pd.DataFrame, metadata: dict) -> Path:
        """CSV with six significant digits, and its provenance, each whole or not at all. Returns its path.

        Raises ValueError where the table could not be read again, or has columns that nobody knows of.
        """
        if unknown := [str(column) for column in table if self._type(str(column)) is None]:
            raise ValueError(f"{self.name} has no columns {', '.join(unknown)}")
        content = table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
        try:
            self._parsed(content)
        except ValueError as error:
            raise ValueError(f"{self.name} {error}") from error
        path = out / f"{self.name}.csv"
        files.write_bytes(files.sidecar(path), files.to_json(metadata | {"sha256": files.digest(content)}))
        return files.write_bytes(path, content)

    def _type(self, column: str) -> str | None:
        """The dtype of a column, None for one that is not the table's."""
        kinds = {"str": f"{self.text} {self.languages}", "float64": self.numbers, "bool": self.flags}
        for kind, names in (kinds | {"int64": self.whole}).items():
            for name in names.split():
                if re.fullmatch(re.escape(name).replace(re.escape(VARIANT), ".+"), column):
                    sparse = name in self.empty.split() or VARIANT in name
                    return "Int64" if kind == "int64" and sparse else kind
        return JUDGED.get(column) if self.claims else None

    @property
    def _required(self) -> set[str]:
        names = " ".join((self.text, self.languages, self.numbers, self.whole, self.flags)).split()
        return {name for name in names if VARIANT not in name} - set(self.optional.split())

    def _parsed(self, content: bytes, needs: Iterable[str] = ()) -> pd.DataFrame:
        """Raises ValueError with a sentence that lacks its subject, the file."""
        try:
            columns = [str(column) for column in pd.read_csv(io.BytesIO(content), nrows=0)]
            types: dict[Any, Any] = {name: kind for name in columns if (kind := self._type(name))}
            if not (missing := {*self._required, *needs} - set(columns)):
                table = pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=[""])
        except ValueError as error:  # pandas' own are of this kind too
            raise ValueError(f"is damaged ({' '.join(str(error).split())})") from error
        if missing:
            raise ValueError(f"lacks the columns {', '.join(sorted(missing))}")
        if wrong := self._fault(table) or ("cut short" if not content.endswith(b"\n") else None):
            raise ValueError(f"is damaged ({wrong})")
        return table

    def _fault(self, table: pd.DataFrame) -> str | None:
        for name, column in table.items():
            if name in self._required - set(self.empty.split()) and bool(column.isna().any()):
                return f"an empty cell in {name}"
            if pd.api.types.is_float_dtype(column) and np.isinf(column).any():
                return f"an infinite {name}"
        return None


MEASURED = "stimuli position metric"
INTERVAL = "ci_low ci_high"
STARTS = "rise_start rise_start_ci_low rise_start_ci_high fall_start fall_start_ci_low fall_start_ci_high"

# fmt: off
SUMMARY = Table(
    "alignment_summary", "alignment by state", claims=True, text=f"variant {MEASURED}", languages="language",
    numbers=f"value {INTERVAL} null null_low null_high p_value q_value p_max", whole="state n",
)
EFFECTS = Table(  # published curves do not tell what a variant is meant for: no reference, no placebo
    "variant_effects", "variant against variant", claims=True,
    text=f"variant_a variant_b contrast reference {MEASURED}", languages="language",
    numbers=f"diff {INTERVAL} p_value q_value p_max", whole="state n", flags="placebo", empty="reference",
    optional="reference placebo",
)
REGIONAL = Table(
    "regional", "what a variant changes in its own languages alone", claims=True,
    text=f"variant against languages {MEASURED}",
    numbers=f"value {INTERVAL} low_without_one high_without_one p_value", whole="state n",
)
UNTRAINED = Table(
    "untrained", "what networks with random weights score", "untrained_control.py", text=MEASURED,
    languages="language", numbers="value", whole="seed state",
)
PEAKS = Table(  # published curves do not tell which stimuli they are of
    "peaks", "where alignment peaks, rises and falls", claims=True, text=f"variant {MEASURED}",
    languages="language",
    numbers=f"peak {INTERVAL} rise rise_ci_low rise_ci_high fall fall_ci_low fall_ci_high optimism",
    whole=f"n peak_state peak_state_ci_low peak_state_ci_high {STARTS}", empty=STARTS, optional="stimuli",
)
DOSE = Table(
    "dose_response", "effect by share of the fine-tuning mix", text=f"variant reference quantity {MEASURED}",
    languages="language", numbers=f"share dose value {INTERVAL} p_value", whole="state n points",
    empty="variant language share dose p_value",
)
ROBUSTNESS = Table(
    "robustness", "a finding under other measures", claims=True,
    text=f"variant against contrast reference {MEASURED}", numbers=f"value {INTERVAL} p_value",
    whole="state n", empty="reference",
)
INCREMENTS = Table(
    "layer_increments", "what each type of layer adds", text=f"variant layers {MEASURED}",
    numbers=f"value {INTERVAL}", whole="n",
)
CONFOUNDERS = Table(
    "confounders", "tokens, overlap and the shape of the space", text="variant stimuli position quantity",
    languages="language", numbers=f"value {INTERVAL}", whole="state n", empty=f"language state {INTERVAL}",
)
COMMITMENT = Table(  # published curves are of probes alone and know no rivals: the first and the last lack
    "commitment_matrix", "the state at which a concept commits", text="stimuli concept_id concept",
    languages="language", whole="{variant}_layer {variant}_calibrated", optional="stimuli",
)
SENSITIVITY = Table(  # start: the first state that counts, of published curves alone, which lack the rest
    "commitment_sensitivity", "commitment by criterion, threshold and run",
    text="criterion variant stimuli position metric", languages="language",
    numbers=f"threshold fraction {INTERVAL} required chance",
    whole="consecutive committed n censored_median rivals start",
    empty="censored_median required chance rivals",
    optional="criterion stimuli required chance rivals start",
)
MAP = Table(
    "concept_map", "concepts in a plane", text="variant concept_id", languages="language",
    numbers="x y x_centred y_centred", whole="state",
)
MAP_VARIANCE = Table(
    "concept_map_variance", "how much that plane shows", text="variant",
    numbers="in_plane in_plane_centred between_concepts concepts_chance between_languages",
    whole="state n_concepts",
)
FAILURE_CASES = Table(
    "failure_cases", "concepts that a variant commits to late", FAILURES, claims=True,
    text="stimuli stimulus_id concept text_preview failure_category notes variant", languages="language",
    numbers=f"effect {INTERVAL} p_value q_value", whole="{variant}_commit n", flags="significant",
)
EDGE_EFFECTS = Table(  # a language here may be two, as in hi-en
    "edge_effects", "what each troublesome input loses", FAILURES,
    text="test_id source language variant failure_category contrast",
    numbers=f"value {INTERVAL} p_value q_value",
    flags="distinguishable significant", optional="distinguishable significant",
)
EDGE_CATEGORIES = Table(  # languages: of the inputs, EVERY or those that a variant emphasises, as in regional
    "edge_categories", "what each kind of trouble costs", FAILURES,
    text="variant failure_category source languages contrast",
    numbers=f"value {INTERVAL} p_value q_value", whole="n",
    flags="distinguishable significant", optional="distinguishable significant",
)
LENS_ROWS = Table(
    "logit_lens", "the logit lens, sentence by sentence", LENS, text="variant stimulus_id position",
    languages="language", numbers="p_script p_lang entropy_bits", whole="state", empty="p_lang",
)
LENS_SUMMARY = Table(
    "logit_lens_summary", "the language that each state would speak", LENS, text="variant prompt position",
    languages="source target language", numbers=f"value {INTERVAL} null null_low null_high p_value p_max",
    whole="state n dropped", empty="source",
)
LENS_ONSET = Table(
    "logit_lens_onset", "which language is readable first", LENS, text="variant prompt position first",
    languages="source target", whole="english_onset target_onset n",
    empty="first source english_onset target_onset",
)
# fmt: on

TABLES = {table.name: table for table in list(globals().values()) if isinstance(table, Table)}


def remove_unwritten(out: Path, made_by: str, written: Iterable[str]) -> None:
    """Delete a stage's tables that its run did not write: those of an earlier one, with other variants."""
    for table in TABLES.values():
        if table.made_by == made_by and table.name not in set(written):
            path = out / f"{table.name}.csv"
            for left_over in (path, files.sidecar(path)):
                left_over.unlink(missing_ok=True)
