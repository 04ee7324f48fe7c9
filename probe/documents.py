"""The numbers that documents give, each made again from the file it comes from, and compared.

In Markdown a number stands between two comments, which the reader of the page does not see:

    <!--n excess variant=fire language=hi state=5: {value:.2f} [{ci_low:.2f}, {ci_high:.2f}]-->...<!--/n-->

and a table, a row per value of one column, a column per value of another (or per part of the format, with |):

    <!--table regional rows=language columns=variant_a state=5: {diff:+.3f}-->...<!--/table-->

`excess` and `regional` are sources, tables of docs/sources.toml. What follows narrows their rows: `=` one
value or more with commas, `<` and `>` a number; `largest=`, `smallest=` or `extreme=` (by magnitude) a
column pick one row of those left. Then, after a colon, a format of that row's columns and of `count`, the
rows left.
Of JSON the format alone says what is taken: {commitments[base][committed]}.

A number that the auditor blocks is refused, unless the marker says blocked=shown: it is then in parentheses.
JSON has no rows to hold against the findings; what is taken from it should be a count or a step, no claim.
<!--pending FILE-->...<!--/pending--> stands where FILE is still to be made, and is an error once it exists.
Inside code fences nothing is touched.

Run     uv run python -m probe.documents            (compares; status 1 and a line for each that differs)
        uv run python -m probe.documents --write    (rewrites the documents)
"""

import argparse
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from probe import files
from probe.audit import findings
from probe.errors import ProbeError
from probe.languages import LANGUAGES, label
from probe.paths import REPOSITORY

SOURCES = "docs/sources.toml"
WITH_MARKERS = ("*.md", "docs/**/*.md", "organism/*.md", "data/*.md")
COMMAND = "git checkout, or the command that its provenance records"
AUDITED = ("alignment_summary", "variant_effects", "peaks")  # their rows are claims, as in probe.findings
PICKS: dict[str, Callable[[pd.Series], int]] = {
    "largest": lambda column: int(column.argmax()),
    "smallest": lambda column: int(column.argmin()),
    "extreme": lambda column: int(column.abs().argmax()),
}
MODIFIERS = ("rows", "columns", "blocked", *PICKS)

MARKER = re.compile(
    r"<!--(?P<kind>n|table|pending) (?P<asked>[^\n]+?)-->(?P<said>.*?)<!--/(?P=kind)-->", re.DOTALL
)
OPENING = re.compile(r"<!--/?(?:n|table|pending)\b")
FILTER = re.compile(r"(\w+)([=<>])(.*)")
FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\]\([^)]*\)|https?://\S+")


@dataclass(frozen=True, eq=False)
class Source:
    """A file and the rows of it that are meant. What is read once serves all markers."""

    path: Path
    where: Mapping[str, str | list[str]]

    @cached_property
    def text(self) -> pd.DataFrame:
        """The rows as the file has them, for filters: 5 and not 5.0, and an empty cell is an empty string."""
        try:
            text = pd.read_csv(self.path, dtype=str, keep_default_na=False)
        except FileNotFoundError as error:
            raise ProbeError(f"{self.path} is missing; run: {COMMAND}") from error
        for column, wanted in self.where.items():
            text = text.loc[text[column].isin([wanted] if isinstance(wanted, str) else wanted)]
        return text

    @cached_property
    def rows(self) -> pd.DataFrame:
        return files.read_csv(self.path, COMMAND, set()).loc[self.text.index]

    @cached_property
    def blocked(self) -> pd.Series:
        """The finding that blocks each row, where one does; none where the rows are no claims."""
        audit = self.path.with_name(findings.JSON)
        return findings.blocking(
            self.rows, findings.read(audit, COMMAND) if self.path.stem in AUDITED else []
        )

    @cached_property
    def content(self) -> dict:
        return files.read_json(self.path, COMMAND)


@dataclass(frozen=True)
class Marker:
    """One marked place: its line, what it asks, what stands there, what should stand there."""

    line: int
    asked: str
    said: str
    regenerated: str


def load_sources(root: Path = REPOSITORY) -> dict[str, Source]:
    """docs/sources.toml, by name. Raises ProbeError where it is missing or malformed."""
    path = root / SOURCES
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Source(root / table["file"], table.get("where", {})) for name, table in tables.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ProbeError(f"{path}: {error!r}") from error


def documents(root: Path = REPOSITORY) -> list[Path]:
    """The pages that may hold markers, in order."""
    return sorted({path for pattern in WITH_MARKERS for path in root.glob(pattern)})


def markers(text: str, name: str, sources: Mapping[str, Source]) -> Iterator[Marker]:
    """Every marked place of a document called `name`, regenerated.

    Raises ProbeError, naming document, line and marker, where a marker is malformed, its file missing, its
    number not one number, or one that the auditor blocks.
    """
    for match, line in _marked(text, name):
        kind, asked = match["kind"], match["asked"]
        try:
            yield Marker(line, asked, match["said"], _regenerated(kind, asked, match["said"], sources))
        except (ProbeError, KeyError, IndexError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise ProbeError(f"{name}:{line}: <!--{kind} {asked}-->: {reason}") from error


def refreshed(text: str, name: str, sources: Mapping[str, Source]) -> str:
    """The document with every marked place made again. Raises ProbeError as `markers`."""
    parts, end = [], 0
    for (match, _), marker in zip(_marked(text, name), markers(text, name, sources), strict=True):
        parts += [text[end : match.start("said")], marker.regenerated]
        end = match.end("said")
    return "".join([*parts, text[end:]])


def _marked(text: str, name: str) -> list[tuple[re.Match, int]]:
    """(match, line) of every marker outside code fences. Raises ProbeError where one is not closed."""
    # Fences become as many blanks, so that places stay places.
    outside = FENCE.sub(lambda fence: re.sub(r"[^\n]", " ", fence[0]), text)
    found = [(match, text.count("\n", 0, match.start()) + 1) for match in MARKER.finditer(outside)]
    if len(OPENING.findall(outside)) != 2 * len(found):
        raise ProbeError(f"{name}: a marker is not closed, closes nothing or asks nothing")
    return found


def _regenerated(kind: str, asked: str, said: str, sources: Mapping[str, Source]) -> str:
    if kind == "pending":
        if (REPOSITORY / asked).exists():
            raise ProbeError("the file is there now: give its numbers")
        return said
    before, brace, after = asked.partition("{")
    request, _, lead = before.rpartition(": ")
    if not (brace and request):
        raise ProbeError("no format; it follows a colon")
    name, *words = shlex.split(request)
    if name not in sources:
        raise ProbeError(f"no source '{name}' in {SOURCES}")
    source, show = sources[name], lead + brace + after
    if source.path.suffix == ".json":
        return show.format_map(source.content)
    rows, modifiers = _selected(source, words)
    return (_table if kind == "table" else _shown)(source, rows, show, modifiers)


def _selected(source: Source, words: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows that the filters leave of the source's, and the words that are no filters."""
    text, modifiers = source.text, {}
    for word in words:
        parsed = FILTER.fullmatch(word)
        if parsed is None:
            raise ProbeError(f"'{word}' is no filter")
        key, sign, value = parsed.groups()
        if key in MODIFIERS:
            modifiers[key] = value
        elif sign == "=":
            text = text.loc[text[key].isin([value, *value.split(",")])]
        else:
            numbers = source.rows.loc[text.index, key]
            text = text.loc[numbers < float(value) if sign == "<" else numbers > float(value)]
    return source.rows.loc[text.index], modifiers


def _shown(source: Source, rows: pd.DataFrame, show: str, modifiers: Mapping[str, str]) -> str:
    """The format filled in from the one row that is meant, in parentheses where the auditor blocks it."""
    count = len(rows)
    for pick, place in PICKS.items():
        if pick in modifiers:
            rows = rows.iloc[[place(pd.Series(rows[modifiers[pick]]))]]
    counted = set(re.findall(r"{(\w+)", show)) == {"count"}
    if len(rows) != 1 and not counted:
        raise ProbeError(f"{len(rows)} rows of {source.path.name} match, not one")
    by = next(iter(source.blocked.loc[rows.index].dropna()), None)
    if by and modifiers.get("blocked") != "shown":
        raise ProbeError(f"the auditor blocks it: {by}")
    row = {} if counted else rows.iloc[0].to_dict()
    text = show.format_map(row | {"count": count})
    return f"({text})" if by else text


def _table(source: Source, rows: pd.DataFrame, show: str, modifiers: Mapping[str, str]) -> str:
    """Rows and columns in the order of the file, languages by their names. Without `columns` each part of the
    format is a column, under the names of its values."""
    down, across = modifiers["rows"], modifiers.get("columns")
    if across:
        heads = rows[across.split(",")].astype(str).agg(" - ".join, axis=1)
        columns = [(head, heads == head, show) for head in dict.fromkeys(heads)]
    else:
        every = pd.Series(True, index=rows.index)
        columns = [(re.sub(r"{(\w+)[^}]*}", r"\1", part), every, part) for part in show.split(" | ")]
    lines = [[down, *(head for head, _, _ in columns)], ["---"] * (len(columns) + 1)]
    for value in dict.fromkeys(rows[down]):
        own = rows[down] == value
        cells = (_shown(source, rows.loc[own & under], part, modifiers) for _, under, part in columns)
        lines.append([label(value) if value in LANGUAGES else str(value), *cells])
    return "\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def stale(root: Path = REPOSITORY) -> list[str]:
    """A line for each marked place that says something else than its file. Raises ProbeError as `markers`."""
    sources = load_sources(root)
    lines = []
    for path in documents(root):
        name = str(path.relative_to(root))
        for marker in markers(path.read_text(encoding="utf-8"), name, sources):
            if marker.said != marker.regenerated:
                said, made = _short(marker.said), _short(marker.regenerated)
                lines.append(f"{name}:{marker.line}: says {said}, but {marker.asked} gives {made}")
    return lines


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= 80 else f"{text[:77]}...", ensure_ascii=False)


# What else a document must hold


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere: no such file, or no such heading in it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    return broken


def _anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unmarked(text: str) -> list[str]:
    """The decimals and percentages that stand in no marker, no comment, no code and no link."""
    for pattern in (FENCE, MARKER, COMMENT, CODE, LINK):
        text = pattern.sub(" ", text)
    return re.findall(r"(?<![\w.,-])[+-]?\d+(?:\.\d+(?! ?%)|(?:\.\d+)? ?%)", text)


# The command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the files' numbers into the documents")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="holds the documents (the repository)")
    return parser


def write(root: Path) -> None:
    """Rewrites the documents whose numbers differ, and prints their names."""
    sources = load_sources(root)
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        if (fresh := refreshed(text, str(path.relative_to(root)), sources)) != text:
            print(files.write_bytes(path, fresh.encode()))


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.write:
            write(args.root)
            return 0
        lines = stale(args.root)
    except ProbeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join([*lines, f"{len(lines)} numbers differ from their files"]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
