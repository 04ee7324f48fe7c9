"""What every stage script shares: its common options, its exit statuses, its logging."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from probe.conventions import DEFAULT_FAMILY
from probe.errors import ProbeError
from probe.families import Family, load_family
from probe.paths import REPOSITORY, Paths


def parser(docstring: str | None, default_family: str = DEFAULT_FAMILY) -> argparse.ArgumentParser:
    """A parser with --family, --variants, --root and --verbose; the module's docstring is its help."""
    parser = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--family", default=default_family, help="a table of data/families.toml (%(default)s)"
    )
    parser.add_argument(
        "--variants",
        type=_names,
        metavar="A,B",
        help="variants of the family (default: the family's own list)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=REPOSITORY,
        help="holds activations/, results/ and assets/ (the repository)",
    )
    parser.add_argument("--verbose", action="store_true", help="debug messages, and tracebacks of errors")
    return parser


def count(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def context(args: argparse.Namespace) -> tuple[Paths, Family, list[str]]:
    """The paths, the family and the variant names that the common options ask for."""
    paths = Paths(args.root)
    family = load_family(args.family, paths)
    return paths, family, family.chosen(args.variants)


def run(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], int | None], argv=None) -> int:
    """Parse, work, and turn what went wrong into one line and an exit status.

    Returns 0 when done, 1 after an error that the message explains, 130 after Ctrl-C. Wrong usage exits
    with 2 from argparse. A programming error keeps its traceback.
    """
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for chatty in ("httpx", "matplotlib", "fontTools", "urllib3", "filelock", "fsspec"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return work(args) or 0
    except (ProbeError, OSError) as error:
        if args.verbose:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was complete is kept, run the same command to go on", file=sys.stderr)
        return 130
