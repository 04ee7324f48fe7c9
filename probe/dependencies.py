"""What of the project's own files a module is made of, found in its source and not listed by hand."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from probe.paths import REPOSITORY, Paths


def code(module: str) -> set[Path]:
    """The project's files that a module imports, wherever in it, and that these import, with its own."""
    found: set[Path] = set()
    waiting = list(_files(module))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for name in _imported(path) for file in _files(name)]
    return found


def data(sources: Iterable[Path], paths: Paths) -> set[Path]:
    """The files that the sources name in a string: below the repository (or the root, which goes before), or
    in their own folder, where a folder stands for all that it holds."""
    found: set[Path] = set()
    for source in sources:
        for text in _strings(source):
            below_root, beside = paths.source(text), source.parent / text
            if below_root.is_file():
                found.add(below_root)
            if source.parent != REPOSITORY and beside.exists():
                found |= {path for path in (beside, *beside.rglob("*")) if path.is_file()}
    return {path for path in found if path.suffix not in (".py", ".pyc", ".md")}


def _files(name: str) -> Iterator[Path]:
    """The project's files that importing a dotted name runs; none for what is not the project's."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        place = REPOSITORY.joinpath(*parts[:end])
        yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _strings(path: Path) -> set[str]:
    """Those that could name a file below a folder."""
    constants = (node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant))
    texts = {text for text in constants if isinstance(text, str)}
    return {text for text in texts if re.fullmatch(r"\w[\w.-]*(/[\w.-]+)*", text) and ".." not in text}
