"""The documents, from their templates and the files that hold their numbers.

Reads   docs/templates/**/*.md.j2   docs/sources.toml   results/   bench/
Writes  REPORT.md, README.md, ...: a template's path without docs/templates and .j2
Run     uv run docs/render.py            (writes what differs)
        uv run docs/render.py --check    (compares; status 1 and the lines that differ)

A template is the document's own text. Where a number belongs, it asks for it:

    {{ num("excess", variant="fire", language="hi", state=5) }}         one row, in the format of its source
    {{ num("regional", "{diff:+.3f}", state=5, largest="diff") }}       another format; the row of the largest
    {{ num("training", "{variants[fire][ratio]:.3f}") }}                from JSON, which has no rows
    {{ count("robustness", variant="fire", significant=True) }}         how many rows
    {{ table("excess", rows="language", columns="variant", state=5) }}  a row and a column for each value
    {{ pending("results/nano-aya/patching.csv") }}                      nothing, until that file exists

`excess` and `regional` are sources: tables of docs/sources.toml. Other arguments keep the rows whose column
has that value, or one of a list; `where="ci_low > 0"` keeps those for which it holds.

A number that the auditor blocks is refused; with shown=True it stands in parentheses with the finding's name.
A decimal or percentage that a template types itself is refused, unless docs/sources.toml allows it.
"""

import argparse
import difflib
import re
import string
import sys
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import jinja2
import pandas as pd

from probe import files
from probe.audit import findings
from probe.audit.door import claimable
from probe.errors import ProbeError
from probe.languages import LANGUAGES, label
from probe.paths import REPOSITORY, Paths
from probe.tables import TABLES

TEMPLATES, SOURCES = "docs/templates", "docs/sources.toml"
COMMAND = "git checkout, or the command that its provenance records"
CLAIMS = ("alignment_summary", "variant_effects", "peaks")  # of tables made before verdicts were written

# What is no measured number: code, links, sections of a text, identifiers of papers.
APART = re.compile(
    r"^```.*?^```[^\n]*$|`[^`]*`|\]\([^)]*\)|https?://\S+"
    r"|(?:[Ss]ection |[Ss]ee |\(|^### )\d\.\d|arXiv [\d.]+",
    re.DOTALL | re.MULTILINE,
)
MEASURED = re.compile(r"(?<![\w.,-])[+-]?\d+(?:\.\d+(?!\d* ?%|\d*\.\d)|(?:\.\d+)? ?%)")


class Said(str):
    """Text that may be printed: it was taken from a file."""


class Numbers:
    """What templates may ask for, from the files of one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self.sources = tomllib.loads((root / SOURCES).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ProbeError(f"{root / SOURCES}: {error}") from error
        self.typed = self.sources.pop("typed", {})
        self.read = cache(self._read)

    def num(self, source: str, show: str | None = None, /, shown: bool = False, **filters) -> Said:
        show = show or self._source(source)["show"]
        path = self.root / self._source(source)["file"]
        if path.suffix == ".json":
            return self._fill(show, files.read_json(path, COMMAND))
        rows = self._select(source, filters, shown)
        return self._cell(
            rows, show + "".join(f", blocked by `{reason}`" for reason in rows["blocked"].dropna())
        )

    def count(self, source: str, /, **filters) -> Said:
        return Said(len(self._select(source, filters)))

    def table(
        self, source: str, show: str | None = None, /, *, rows: str, columns="", shown=False, **filters
    ) -> Said:
        """Rows and columns in the order of the file. columns="a, b" makes a column of each pair of values;
        without it each part of the format, between bars, is one, under the names of its values."""
        selected, show = self._select(source, filters, shown), show or self._source(source)["show"]
        if columns:
            heads = selected[columns.split(", ")].astype(str).agg(" - ".join, axis=1)
            parts = [(head, heads == head, show) for head in heads.unique()]
        else:
            every = pd.Series(True, index=selected.index)
            parts = [(re.sub(r"{(\w+)[^}]*}", r"\1", part), every, part) for part in show.split(" | ")]
        lines = [[rows, *(head for head, _, _ in parts)], ["---"] * (len(parts) + 1)]
        for value in selected[rows].unique():
            own = selected[rows] == value
            cells = (self._cell(selected.loc[own & under], part) for _, under, part in parts)
            lines.append([label(value) if value in LANGUAGES else str(value), *cells])
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        reasons = ", ".join(f"`{reason}`" for reason in selected["blocked"].dropna().unique())
        return Said(f"{text}\n\nIn parentheses: blocked by {reasons}." if reasons else text)

    def pending(self, file: str) -> Said:
        if (self.root / file).exists():
            raise ProbeError(f"{file} is there now: give its numbers")
        return Said()

    def _source(self, name: str) -> dict:
        if name not in self.sources:
            raise ProbeError(f"no source '{name}' in {SOURCES}")
        return self.sources[name]

    def _read(self, path: Path) -> pd.DataFrame:
        """The table, and in the column `blocked` why a row may not be said, where it may not."""
        if path.parent.parent == self.root / "results":
            table = TABLES[path.stem].read(Paths(self.root), path.parent.name)
        else:
            table = pd.read_csv(path)
        if "verdict" in table:
            return table.assign(blocked=table["reason"].fillna(table["verdict"]).where(~claimable(table)))
        claims = findings.read(path.with_name(findings.JSON), COMMAND) if path.stem in CLAIMS else []
        return table.assign(blocked=findings.blocking(table, claims))

    def _select(self, name: str, filters: dict, shown: bool = False) -> pd.DataFrame:
        """The rows asked for. Raises ProbeError where one is blocked, unless it is to be shown so."""
        source = self._source(name)
        rows, where = self.read(self.root / source["file"]), filters.pop("where", None)
        picks = {pick: filters.pop(pick) for pick in ("largest", "smallest", "extreme") if pick in filters}
        for column, wanted in (source.get("where", {}) | filters).items():
            rows = rows.loc[rows[column].isin(wanted if isinstance(wanted, list) else [wanted])]
        rows = rows.query(where) if where else rows
        for pick, column in picks.items():
            by = {"largest": rows[column], "smallest": -rows[column], "extreme": rows[column].abs()}[pick]
            rows = rows.loc[[by.idxmax()]]
        for reason in () if shown else rows["blocked"].dropna():
            raise ProbeError(f"it may not be said: {reason}")
        return rows

    def _cell(self, rows: pd.DataFrame, show: str) -> Said:
        if len(rows) != 1:
            raise ProbeError(f"{len(rows)} rows match, not one")
        blocked = len(rows["blocked"].dropna()) > 0
        return self._fill(f"({show})" if blocked else show, rows.iloc[0].to_dict())

    def _fill(self, show: str, row: dict) -> Said:
        for text, *_ in string.Formatter().parse(show):
            for _, number in typed(text):
                raise ProbeError(f"the format types {number}; it should name a column")
        return Said(show.format_map(row))


def only_said(value: object) -> Said:
    """Of all that a template may print."""
    if not isinstance(value, Said):
        raise ProbeError(f"{value!r} is not taken from a file; print num, count, table or pending")
    return value


def typed(text: str) -> Iterator[tuple[int, str]]:
    """(line, number) of every decimal and percentage outside of code, links and references to sections."""
    text = APART.sub(lambda match: "\n" * match[0].count("\n") + " ", text)
    for match in MEASURED.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[0]


def render(root: Path) -> Iterator[tuple[Path, str]]:
    """(path, text) of every document. Raises ProbeError that names the template and the line at fault."""
    numbers = Numbers(root)
    loader = jinja2.FileSystemLoader(root / TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, finalize=only_said, keep_trailing_newline=True
    )
    environment.globals = {name: getattr(numbers, name) for name in ("num", "count", "table", "pending")}
    for name in sorted(environment.list_templates(extensions=["j2"])):
        path = root / TEMPLATES / name
        tokens = environment.lex(path.read_text(encoding="utf-8"))
        prose = "".join(text if kind == "data" else "\n" * text.count("\n") for _, kind, text in tokens)
        for line, number in typed(prose):
            if number not in numbers.typed.get(name.removesuffix(".j2"), {}):
                raise ProbeError(f"{path}:{line}: {number} is typed; ask its file, or say why in {SOURCES}")
        try:
            yield root / name.removesuffix(".j2"), environment.get_template(name).render()
        except (KeyError, IndexError, TypeError, ValueError, OSError, jinja2.TemplateError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            line = max((frame.lineno or 0 for frame in frames if frame.filename == str(path)), default=0)
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise ProbeError(f"{path}:{line}: {reason}") from error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="holds the documents (the repository)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    changed = []
    try:
        for path, text in render(args.root):
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            if old != text:
                changed.append(path)
                told = difflib.unified_diff(old.split("\n"), text.split("\n"), path.name, n=0, lineterm="")
                print("\n".join(told) if args.check else files.write_bytes(path, text.encode()))
    except ProbeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"documents {'that differ from their templates' if args.check else 'written'}: {len(changed)}")
    return int(args.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
