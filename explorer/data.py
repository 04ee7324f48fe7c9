"""What results/ holds, for the page and for the tools: each file read once, and again when it changes.

What may be claimed is asked here alone, of `claimable`; the `reason` of a row says why not.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probe import curves, files, tables
from probe.audit import door, findings
from probe.audit.findings import Finding
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import NAME, Family, Variant, load_family
from probe.paths import REPOSITORY, Paths

if TYPE_CHECKING:
    from explorer.live import OneModel
    from probe.routing import Router

KEPT = 64  # files in memory; a family has about a dozen
TABLES = {f"{name}.csv": table for name, table in tables.TABLES.items()}
FILES = (tables.SUMMARY, tables.EFFECTS, tables.PEAKS, tables.COMMITMENT, tables.SENSITIVITY, tables.DOSE)
SUMMARY, EFFECTS, PEAKS, MATRIX, SENSITIVITY, DOSE = (f"{table.name}.csv" for table in FILES)
ROUTED = tuple(
    f"{table.name}.csv" for table in (tables.REGIONAL, tables.EDGE_EFFECTS, tables.EDGE_CATEGORIES)
)
CURVES, EXAMPLES, AUDIT = curves.FILE, "logit_lens_examples.json", findings.JSON
UNAUDITED = "not audited"


@dataclass(frozen=True)
class Curves:
    """The probes' cosines to English, read at `position`.

    values: (n_variants, n_concepts, n_languages, n_states) float64, in the order of the lists.
    post_norm: variant -> concept id -> language -> the cosine after the model's own final norm.
    """

    position: str
    variants: list[str]
    concepts: list[str]
    languages: list[str]
    values: np.ndarray
    post_norm: dict[str, dict[str, dict[str, float]]]

    @property
    def n_states(self) -> int:
        return self.values.shape[-1]

    def of(self, variants: Sequence[str], languages: Sequence[str]) -> np.ndarray:
        """(n_variants, n_concepts, n_languages, n_states) of these alone."""
        rows = [self.variants.index(variant) for variant in variants]
        return self.values[rows][:, :, [self.languages.index(language) for language in languages]]


class Results:
    """A root's results, for every family found there. Safe to share between threads, as what it returns is:
    do not change that. Every method but `families` and `has` raises ProbeError, with the command that helps,
    where a file is missing or damaged."""

    def __init__(
        self,
        root: Path,
        live: "OneModel | None" = None,
        first: str | None = None,
        variants: Sequence[str] | None = None,
    ):
        """live: reads sentences that are typed; without it only what was measured before can be seen. first:
        the family that the page opens with; variants: those that it shows at first, all of them for None."""
        self.paths, self.live, self.first, self.variants = Paths(root), live, first, variants
        self._kept: OrderedDict[tuple, tuple[list, Any]] = OrderedDict()
        self._lock = threading.RLock()

    def families(self) -> list[str]:
        """The families that have results, and in live mode those whose models are here; `first` first."""
        there = sorted({path.parent.name for path in (self.paths.root / "results").glob("*/[!.]*")})
        there += [name for name in (self.live.families() if self.live else ()) if name not in there]
        return sorted(there, key=lambda name: name != self.first)

    def family(self, name: str) -> Family:
        """As families.toml has it, with any other variants that the results name; made up of these where it
        has no such family. Raises ProbeError where a name cannot be one."""
        measured = self._measured(name)
        if wrong := [variant for variant in measured if not NAME.fullmatch(variant)]:
            raise ProbeError(f"results/{name}: '{wrong[0]}' cannot be a variant's name")
        made_up = {variant: Variant(path=variant) for variant in measured or ["base"]}
        try:
            family = load_family(name, self.paths)
        except ProbeError:
            what = f"{name}: not in {self.paths.families.name}, known from its results alone"
            return Family(name=name, description=what, default_variants=list(made_up), variants=made_up)
        unlisted = {v: made_up[v] for v in measured if v not in family.variants}
        return family.model_copy(update={"variants": family.variants | unlisted})

    def _measured(self, name: str) -> list[str]:
        """The variants that the results name; a file that cannot be read is told of by those who need it."""
        names: list[str] = []
        with suppress(ProbeError):
            names += self.curves(name).variants
        with suppress(ProbeError):
            names += self.table(name, SUMMARY).variant.dropna().unique().tolist()
        return list(dict.fromkeys(names))

    def file(self, family: str, name: str) -> Path:
        return self.paths.results(family) / name

    def has(self, family: str, name: str) -> bool:
        return self.file(family, name).exists()

    def files(self, family: str) -> list[Path]:
        """The results themselves, without what stands beside them."""
        there = sorted(self.paths.results(family).glob("[!.]*"))
        return [p for p in there if p.suffix in (".csv", ".json") and not p.name.endswith(".meta.json")]

    def sha256(self, family: str, name: str) -> str:
        return self._once("sha256", family, (name,), lambda path, _: files.sha256(path))

    def table(self, family: str, name: str) -> pd.DataFrame:
        """A column of text is a category. Rows that can be claims have their verdict and reason."""
        table = TABLES[name]

        def read(*_) -> pd.DataFrame:
            rows = table.read(self.paths, family)
            rows = rows.astype(dict.fromkeys(rows.select_dtypes(["object", "str"]), "category"))
            if table.claims and "verdict" not in rows:
                rows = rows.assign(verdict=door.BLOCKED, reason=UNAUDITED)
            return rows

        return self._once("table", family, (name,), read)

    def json(self, family: str, name: str) -> dict:
        def read(path: Path, made_by: str) -> dict:
            content = files.read_json(path, made_by)
            if not isinstance(content, dict):
                raise ProbeError(f"{path} is damaged (no object in it); run: {made_by}")
            return content

        return self._once("json", family, (name,), read)

    def curves(self, family: str) -> Curves:
        def read(_, made_by: str) -> Curves:
            return _array(curves.read(self.paths, family), made_by)

        return self._once("curves", family, (CURVES,), read)

    def findings(self, family: str) -> list[Finding] | None:
        """None where nothing was audited."""
        return self._once("findings", family, (AUDIT,), findings.read) if self.has(family, AUDIT) else None

    def metadata(self, family: str, name: str) -> dict:
        """What a file was made of, as it says itself or the file beside it does."""
        if table := TABLES.get(name):
            return self._once("made", family, (name,), lambda *_: table.provenance(self.paths, family))
        made_of = self.json(family, name).get("metadata")
        if not isinstance(made_of, dict) or not {"params", "inputs"} <= made_of.keys():
            raise ProbeError(f"{name} does not say what it was made of; run: {_command(family, name)}")
        return made_of

    def router(self, family: str) -> "Router":
        """The family's own, which its results decide. Raises ProbeError for a family of no table."""
        from probe.routing import Router

        return self._once("router", family, ROUTED, lambda *_: Router(family, self.paths))

    def public(self, error: Exception) -> str:
        """The words of an error without where on its disk the server has its files."""
        text = str(error)
        for base in (self.paths.root, self.paths.root.resolve(), REPOSITORY):
            text = text.replace(f"{base}/", "")
        return text

    def _once(self, what: str, family: str, names: Sequence[str], read: Callable[[Path, str], Any]) -> Any:
        """What `read` gives of the first of the files, given its path and the command that makes it; kept
        until one of them, or what stands beside it, changes. One thread reads, the others wait for it."""
        key, paths = (what, family, *names), [self.file(family, name) for name in names]
        command = _command(family, names[0])
        with self._lock:
            stamp = _stamp(paths)
            if key not in self._kept or self._kept[key][0] != stamp:
                try:
                    content = read(paths[0], command)
                except OSError as error:
                    raise ProbeError(f"{paths[0]}: {error.strerror}; run: {command}") from error
                if _stamp(paths) != stamp:  # replaced meanwhile: this may be of two files
                    return self._once(what, family, names, read)
                self._kept[key] = (stamp, content)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[key][1]


def _stamp(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """Of what exists: whoever reads a file that does not says so."""
    every = [each for path in paths for each in (path, files.sidecar(path))]
    status = [path.stat() if path.exists() else None for path in every]
    return [(s.st_mtime_ns, s.st_size) if s else (0, 0) for s in status]


def _command(family: str, name: str) -> str:
    """What makes a file."""
    return TABLES.get(name, tables.LENS_ROWS if name == EXAMPLES else tables.SUMMARY).command(family)


def _array(stored: curves.Curves, made_by: str) -> Curves:
    of = stored.curves
    variants, concepts = list(of), list(next(iter(of.values())))
    if any(list(by_concept) != concepts for by_concept in of.values()):
        raise ProbeError(f"{CURVES} has not the same concepts for every variant; run: {made_by}")
    languages = list(of[variants[0]][concepts[0]])
    values = np.array([[[of[v][c][lang] for lang in languages] for c in concepts] for v in variants])
    position = stored.metadata.get("params", {}).get("primary_position", PRIMARY_POSITION)
    return Curves(position, variants, concepts, languages, values, stored.post_norm)


def claimable(table: pd.DataFrame) -> pd.Series:
    """Per row whether it may be said. A row that nobody has judged may not."""
    if "verdict" not in table:
        return pd.Series(False, index=table.index)
    return door.claimable(table)


def each(table: pd.DataFrame) -> Iterable[Any]:
    """Row by row, a column an attribute."""
    return table.itertuples(index=False)


def subset(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows in which each column has the value, or one of the values, wanted."""
    kept = pd.Series(True, index=table.index)
    for column, value in wanted.items():
        kept &= table[column].isin(value if isinstance(value, list | tuple) else [value])
    return table.loc[kept]
