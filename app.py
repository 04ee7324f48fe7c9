"""Stage 9: the explorer, a page over the results.

Reads   results/{family}/, assets/{family}/ of every family found; without --demo also models
Run     uv run app.py --demo          (results alone: no model, no GPU)
        uv run app.py                 (and the lens on any sentence; nano-aya runs on any CPU)
        uv run app.py --demo --mcp    (and read-only tools for agents)

Nothing is sent to any other host, and nothing is asked of one, unless --share opens a public link.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from probe import cli
from probe.conventions import EMBEDDED_FAMILY
from probe.paths import Paths

if TYPE_CHECKING:
    from explorer.data import Results


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, default_family=EMBEDDED_FAMILY)
    parser.add_argument("--demo", action="store_true", help="results alone, no model is loaded")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument(
        "--name", action="append", default=[], help="a name that it may be asked for by, beside its address"
    )
    parser.add_argument("--port", type=int, help="port to listen at (the first free one from 7860 on)")
    parser.add_argument("--share", action="store_true", help="a public link, through Gradio's servers")
    parser.add_argument("--mcp", action="store_true", help="serve the tools for agents, too")
    return parser


def work(args: argparse.Namespace) -> None:
    # Read when the libraries are imported, so before that. Weights are those that are here already.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    from explorer.data import Results

    logging.getLogger("httpx").setLevel(logging.WARNING)
    if args.demo:
        _serve(Results(args.root, None, args.family, args.variants), args)
        return
    from explorer.live import OneModel  # takes torch, which the demo does without

    model = OneModel(Paths(args.root))
    try:
        _serve(Results(args.root, model, args.family, args.variants), args)
    finally:
        model.free()


def _serve(results: "Results", args: argparse.Namespace) -> None:
    from explorer.page import build
    from explorer.serve import serve

    page = build(results)
    if args.mcp:
        from explorer import mcp

        with page:
            mcp.register(results)
    serve(page, results, args.host, args.port, args.name, share=args.share, mcp_server=args.mcp)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
