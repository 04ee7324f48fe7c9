"""What results/ holds, read as the page asks for it: each file once for every time that it changes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from probe import files
from probe.audit import findings
from probe.audit.findings import Finding
from probe.errors import ProbeError
from probe.families import NAME, Family, Variant, load_family
from probe.languages import LANGUAGES
from probe.paths import Paths
from viz.blocked import SEVERE, Audit

if TYPE_CHECKING:
    from explorer.live import OneModel

KEPT = 64  # files in memory; a family has about a dozen
ALIGNMENT, LENS = "concept_alignment.py", "logit_lens.py"

# Per table the columns of text and of numbers that a tab needs, and the stage that writes it.
TABLES: dict[str, tuple[str, str, str]] = {
    "alignment_summary": (
        "variant language stimuli position metric",
        "state value ci_low ci_high null null_low null_high p_value q_value n",
        ALIGNMENT,
    ),
    "variant_effects": (
        "variant_a variant_b language stimuli position metric contrast",
        "state diff ci_low ci_high p_value q_value p_max n",
        ALIGNMENT,
    ),
    "dose_response": (
        "variant language quantity stimuli position metric",
        "share dose state value ci_low ci_high n",
        ALIGNMENT,
    ),
    "peaks": (
        "variant language stimuli position metric",
        "peak_state peak_state_ci_low peak_state_ci_high peak ci_low ci_high n",
        ALIGNMENT,
    ),
    "commitment_sensitivity": (
        "variant language position metric",
        "threshold consecutive committed n censored_median",
        ALIGNMENT,
    ),
    "commitment_matrix": ("concept_id concept language", "", ALIGNMENT),
    "concept_map": ("variant concept_id language", "state x y x_centred y_centred", ALIGNMENT),
    "concept_map_variance": (
        "variant",
        "state n_concepts in_plane in_plane_centred between_concepts concepts_chance between_languages",
        ALIGNMENT,
    ),
}
WRITTEN_BY = {"alignment_curves": ALIGNMENT, "artifact_audit": ALIGNMENT, "logit_lens_examples": LENS}


class Results:
    """A root's results, for every family found there. Safe to share between threads."""

    def __init__(
        self,
        root: Path,
        live: "OneModel | None" = None,
        first: str | None = None,
        variants: Sequence[str] | None = None,
    ):
        """live: reads sentences that are typed; without it only what was measured before can be seen. first:
        the family that the page opens with; variants: those that it shows at first, all of them for None."""
        self.paths = Paths(root)
        self.live = live
        self.first = first
        self.variants = variants
        self._kept: OrderedDict[tuple[str, Path], tuple[tuple[int, int], Any]] = OrderedDict()
        self._lock = threading.Lock()

    def families(self) -> list[str]:
        """The families that have results, and in live mode those whose models are here."""
        folder = self.paths.root / "results"
        folders = sorted(folder.iterdir()) if folder.is_dir() else []
        found = [path.name for path in folders if path.is_dir() and any(path.iterdir())]
        found += [name for name in (self.live.families() if self.live else ()) if name not in found]
        return sorted(found, key=lambda name: name != self.first)

    def family(self, name: str) -> Family:
        """As families.toml has it, with any other variants that the results name; made up of these where it
        has no such family. Raises ProbeError where a name cannot be one."""
        measured = self._measured(name)
        if wrong := [variant for variant in measured if not NAME.fullmatch(variant)]:
            raise ProbeError(f"{self.paths.results(name)}: '{wrong[0]}' cannot be a variant's name")
        made_up = {variant: Variant(path=variant) for variant in measured or ["base"]}
        try:
            family = load_family(name, self.paths)
        except ProbeError:
            what = f"{name}: not in {self.paths.families.name}, known from its results alone"
            return Family(name=name, description=what, default_variants=list(made_up), variants=made_up)
        return family.model_copy(
            update={
                "variants": {
                    **family.variants,
                    **{v: made_up[v] for v in measured if v not in family.variants},
                }
            }
        )

    def _measured(self, name: str) -> list[str]:
        """The variants that the results name; a file that cannot be read is told of by those who need it."""
        names: list[str] = []
        for read in (
            lambda: list(self.curves(name)),
            lambda: self.table(name, "alignment_summary").variant.dropna().unique().tolist(),
        ):
            with suppress(ProbeError):
                names += read()
        return list(dict.fromkeys(names))

    def file(self, family: str, name: str) -> Path:
        return self.paths.results(family) / name

    def has(self, family: str, name: str) -> bool:
        return self.file(family, name).exists()

    def files(self, family: str) -> list[Path]:
        """The results themselves, without what stands beside them."""
        there = sorted(self.paths.results(family).glob("*"))
        return [path for path in there if path.suffix in (".csv", ".json") and not _beside(path)]

    def sha256(self, path: Path) -> str:
        return self._once(path, lambda: files.sha256(path), "sha256")

    def table(self, family: str, name: str) -> pd.DataFrame:
        """A table of TABLES. Raises ProbeError, with the command that makes it, where missing or damaged."""
        text, numbers, stage = TABLES[name]
        path, command = self.file(family, f"{name}.csv"), f"uv run {stage} --family {family}"

        def read() -> pd.DataFrame:
            table = files.read_csv(path, command, {*text.split(), *numbers.split()})
            wrong = [c for c in numbers.split() if not pd.api.types.is_numeric_dtype(table[c])]
            if len(table) and wrong:
                raise ProbeError(f"{path} is damaged (a {wrong[0]} is no number); run: {command}")
            if not path.read_bytes().endswith(b"\n"):
                raise ProbeError(f"{path} is damaged (cut short); run: {command}")
            if "language" in table and (unknown := set(table.language.dropna()) - set(LANGUAGES)):
                raise ProbeError(f"{path} has an unknown language, {min(unknown)}; run: {command}")
            return table.astype(dict.fromkeys(text.split(), "category"))

        return self._once(path, read)

    def json(self, family: str, name: str) -> dict:
        """A file of WRITTEN_BY. Raises ProbeError, with the command that helps, where missing or damaged."""
        path = self.file(family, f"{name}.json")
        command = f"uv run {WRITTEN_BY[name]} --family {family}"

        def read() -> dict:
            found = files.read_json(path, command)
            if not isinstance(found, dict):
                raise ProbeError(f"{path} is damaged (no object in it); run: {command}")
            return found

        return self._once(path, read)

    def curves(self, family: str) -> dict[str, dict[str, dict[str, list[float]]]]:
        """The cosines of alignment_curves.json: variant -> concept id -> language -> (n_states,)."""
        path = self.file(family, "alignment_curves.json")
        curves = self.json(family, "alignment_curves").get("curves") or {}
        try:
            cells = [by_language for concepts in curves.values() for by_language in concepts.values()]
            lengths = {len(curve) for by_language in cells for curve in by_language.values()}
            languages = {tuple(by_language) for by_language in cells}
        except (AttributeError, TypeError):
            lengths = languages = set()
        if len(lengths) != 1 or len(languages) != 1 or not languages.pop() or 0 in lengths:
            raise ProbeError(
                f"{path} is damaged (no curves of one length); run: uv run {ALIGNMENT} --family {family}"
            )
        return curves

    def findings(self, family: str) -> list[Finding] | None:
        """None where nothing was audited."""
        path = self.file(family, findings.JSON)
        if not path.exists():
            return None
        return self._once(path, lambda: findings.read(path, f"uv run {ALIGNMENT} --family {family}"))

    def audit(self, family: str) -> Audit:
        found = self.findings(family)
        return Audit(None if found is None else [finding for finding in found if finding.severity in SEVERE])

    def _once(self, path: Path, read: Callable[[], Any], what: str = "content") -> Any:
        """What `read` gives, kept until the file changes. One thread reads, the others wait for it."""
        with self._lock:
            try:
                found = path.stat()
                stamp = (found.st_mtime_ns, found.st_size)
            except OSError:
                stamp = (0, 0)  # `read` says that it is missing
            key = (what, path)
            if key in self._kept and self._kept[key][0] == stamp:
                self._kept.move_to_end(key)
                return self._kept[key][1]
            content = read()
            self._kept[key] = (stamp, content)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return content


def _beside(path: Path) -> bool:
    return path.name.endswith(".meta.json") or path.name.startswith(".")


def subset(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows in which each column has the value, or one of the values, wanted."""
    kept = pd.Series(True, index=table.index)
    for column, value in wanted.items():
        kept &= table[column].isin(value if isinstance(value, list | tuple) else [value])
    return table.loc[kept]
