"""TICO-19 as one file: the lines as the folder has them, nothing left out.

Reads   a folder of ids.txt, en.txt and eight more languages, line i of each saying the same
Writes  data/tico19.json.bz2: {"ids": [...], "en": [...], ...}, a line of JSON each
Run     uv run bench/tico.py --tico-dir ../shared/tico19

The folder was made from the translation memories of the public release (tico-19.github.io): HTML entities
undone, Unicode normal form C, blanks collapsed; Amharic joined by sentence id.
"""

import argparse
import bz2
from collections.abc import Sequence
from pathlib import Path

from probe.errors import ProbeError
from probe.files import to_json, write_bytes
from probe.languages import LANGUAGES
from probe.paths import Paths
from probe.stimuli.tico import FILE

IDS = "ids"


def columns(folder: Path) -> dict[str, list[str]]:
    """Raises ProbeError where a file is longer than another, or an id comes twice."""
    files = [folder / f"{name}.txt" for name in (IDS, *LANGUAGES)]
    found = {path.stem: path.read_text("utf-8").rstrip("\n").split("\n") for path in files if path.exists()}
    if len({len(lines) for lines in found.values()}) != 1:
        raise ProbeError(f"{folder}: { ({name: len(lines) for name, lines in found.items()}) } lines")
    if len(set(found[IDS])) != len(found[IDS]):
        raise ProbeError(f"{folder / IDS}.txt: an id comes twice")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tico-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--root", type=Path, default=Paths().root, help="holds data/ (the repository)")
    args = parser.parse_args(argv)
    made = columns(args.tico_dir)
    path = write_bytes(args.root / FILE, bz2.compress(to_json(made, indent=0)))
    print(f"{path}: {len(made[IDS])} lines in {len(made) - 1} languages, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
