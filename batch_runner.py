"""Stage 2: the residual stream of every stimulus, in every variant.

Reads   the family's stimulus manifest (data/stimulus_manifest.json), the variants' checkpoints
Writes  activations/{family}/{variant}/   (float16 shards and index.json; see activations/README.md)
Run     uv run batch_runner.py --local --family nano-aya      on this machine, one variant after the other
        modal run batch_runner.py --gpu A10G                  on Modal, variants side by side
        uv run batch_runner.py --status                       what is there; loads nothing

A run that was stopped goes on where it was: shards that are complete and intact are kept, anything else is
extracted again. --smoke-test tries a few sentences first; --push-to-hub uploads what is complete.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import model_loader
from probe import cli, files
from probe.activations import hub as publish
from probe.activations import run as extraction
from probe.activations.index import require_identity
from probe.activations.run import Plan, ids_of
from probe.activations.shard import SHARD_SIZE
from probe.activations.store import ActivationStore
from probe.activations.writer import ActivationWriter
from probe.errors import ProbeError
from probe.models.extract import Activations
from probe.paths import REPOSITORY
from probe.stimuli.manifest import KINDS, Manifest, load_manifest

log = logging.getLogger(__name__)

ON_MODAL = "modal run batch_runner.py"


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--local", action="store_true", help="extract on this machine")
    parser.add_argument("--status", action="store_true", help="say what is complete, missing or damaged")
    parser.add_argument("--smoke-test", action="store_true", help="a few sentences, checked, nothing kept")
    parser.add_argument("--fresh", action="store_true", help="discard what was extracted before")
    parser.add_argument("--device", help="cuda, mps, cpu or auto (default: the best there is)")
    parser.add_argument(
        "--dtype", choices=model_loader.DTYPES, help="default: float32 on a CPU, else the model's"
    )
    parser.add_argument(
        "--token-budget",
        type=cli.count,
        metavar="N",
        help="padded tokens a batch (default: tuned once, then recorded and kept to)",
    )
    parser.add_argument(
        "--shard-size",
        type=cli.count,
        default=SHARD_SIZE,
        metavar="N",
        help="stimuli a shard (%(default)s)",
    )
    parser.add_argument("--gpu", default="A10G", help="on Modal: the type of GPU (%(default)s)")
    parser.add_argument(
        "--shards",
        type=cli.count,
        default=1,
        metavar="N",
        help="on Modal: containers a variant, which share its shards (%(default)s)",
    )
    parser.add_argument(
        "--push-to-hub", metavar="ORG/NAME", help="upload complete variants to a dataset, private if new"
    )
    return parser


class Run:
    """What one command is about: a family, the variants chosen, their stimuli in shards, where they lie."""

    def __init__(self, args: argparse.Namespace, on_modal: bool = False):
        self.args = args
        self.command = ON_MODAL if on_modal else "uv run batch_runner.py --local"
        self.paths, self.family, self.variants = cli.context(args)
        manifest = self.paths.source(self.family.manifest)
        self.manifest: Manifest = load_manifest(manifest, self.family.name)
        self.plan: Plan = extraction.plan_shards(self.manifest, args.shard_size)
        # What the identity of its activations holds beside the model's
        self.given = {"manifest_sha256": files.sha256(manifest), "shard_size": args.shard_size}

    def place(self, variant: str) -> tuple[Path, str]:
        """Where a variant's activations lie, and the command that extracts them."""
        command = f"{self.command} --family {self.family.name} --variants {variant}"
        return self.paths.activations(self.family.name, variant), command

    def stores(self) -> dict[str, ActivationStore]:
        return {variant: ActivationStore(*self.place(variant)) for variant in self.variants}

    def writers(self) -> dict[str, ActivationWriter]:
        return {variant: ActivationWriter(*self.place(variant)) for variant in self.variants}

    def require_complete(self) -> None:
        """Raises MissingActivations where something is not on disk, whatever was written in this run."""
        for store in self.stores().values():
            store.require([stimulus.stimulus_id for stimulus in self.manifest])

    def few(self) -> list:
        return next(filter(None, map(self.manifest.of_kind, KINDS)))[:12]


# On this machine


def extract_variant(run: Run, variant: str, store: ActivationWriter) -> str:
    """Extract what is not complete yet. Returns one line on what was done."""
    args, checkpoint = run.args, open_checkpoint(run, variant)

    def write(name: str, ids: list[str], activations: Activations, token_budget: int) -> None:
        store.index.environment["token_budget"] = token_budget
        store.write_shard(name, ids, activations)

    with store.locked():
        if args.fresh:
            store.discard()
        environment = extraction.environment(checkpoint.device, checkpoint.config)
        store.begin(checkpoint.identity() | run.given, environment)
        todo = extraction.incomplete(store, run.plan)
        if not todo:
            return f"{variant}: all {len(run.plan)} shards complete, nothing to do"
        budget = args.token_budget or store.index.environment.get("token_budget")
        with model_loader.loaded_from(checkpoint) as (model, tokenizer):
            summary = extraction.extract_shards(model, tokenizer, todo, budget, write, variant)
    return f"{variant}: {summary}, {len(todo)} of {len(run.plan)} shards"


def open_checkpoint(run: Run, variant: str) -> model_loader.Checkpoint:
    return model_loader.open_checkpoint(run.family, variant, run.args.dtype, run.args.device, run.paths)


def smoke_test(run: Run, variant: str) -> str:
    with model_loader.loaded_from(open_checkpoint(run, variant)) as (model, tokenizer):
        found = extraction.smoke_test(model, tokenizer, run.few(), f"{run.family.name}/{variant}")
    return f"{variant}: {found}"


def extract_here(run: Run) -> None:
    for variant, store in run.writers().items():
        done = smoke_test(run, variant) if run.args.smoke_test else extract_variant(run, variant, store)
        log.info("%s", done)


# On Modal


def extract_on_modal(run: Run) -> None:
    """Variants side by side, each by --shards containers; then what they made is fetched and checked."""
    from modal.exception import AuthError, Error

    import modal_config

    for variant in run.variants:
        path = run.family.variants[variant].path
        if path and not (REPOSITORY / path / "config.json").exists():
            raise ProbeError(
                f"{run.family.name}/{variant}: Modal sees no model in {path}; it must lie in {REPOSITORY}"
            )
    try:
        if run.args.smoke_test:
            family, few = run.family.model_dump(), [extraction.to_plain(s) for s in run.few()]
            calls = [(family, variant, few, run.args.dtype) for variant in run.variants]
            collect(calls, modal_config.smoke_test, run, {})
            return
        with ExitStack() as held:
            stores = run.writers()
            for store in stores.values():
                held.enter_context(store.locked())
            calls = [call for variant, store in stores.items() for call in open_calls(run, variant, store)]
            collect(calls, modal_config.extract, run, stores)
    except AuthError as error:
        raise ProbeError(f"Modal does not know you ({error}); run: modal setup") from error
    except Error as error:
        raise ProbeError(
            f"Modal: {type(error).__name__}: {error}; what finished is kept, the same command goes on"
        ) from error


def open_calls(run: Run, variant: str, store: ActivationWriter) -> list[tuple]:
    """The remote calls for what is complete neither here nor, after fetching it, on the volume."""
    import modal_config

    args, known = run.args, run.given | {"model": run.family.variants[variant].source}
    folder = modal_config.volume_folder(run.family.name, variant)
    if args.dtype:
        known["dtype"] = args.dtype
    if args.fresh:
        store.discard()
        modal_config.discard(folder)
    if store.index.identity:
        store.require_identity(store.index.identity | known)
    todo = extraction.incomplete(store, run.plan)
    for name in sorted(todo.keys() & set(modal_config.on_volume(folder) if todo else ())):
        with suppress(ProbeError):  # of an earlier run with another model or manifest: made again
            fetch(run, variant, store, name, known)
            del todo[name]
    asked = {
        "dtype": args.dtype,
        "token_budget": args.token_budget or store.index.environment.get("token_budget"),
        "given": run.given,
        "recorded": store.index.identity,
    }
    shares = [list(todo)[i :: args.shards] for i in range(min(args.shards, len(todo)))]
    sent = {name: [extraction.to_plain(stimulus) for stimulus in some] for name, some in todo.items()}
    return [(run.family.model_dump(), variant, {n: sent[n] for n in share}, asked) for share in shares]


def fetch(run: Run, variant: str, store: ActivationWriter, name: str, known: dict[str, Any]) -> None:
    import modal_config

    arrived = store.folder / f"{name}.partial"
    modal_config.download(modal_config.volume_folder(run.family.name, variant), name, arrived)
    store.adopt(name, ids_of(run.plan[name]), arrived, known)


def collect(calls: list[tuple], function: Any, run: Run, stores: dict[str, ActivationWriter]) -> None:
    """Make the calls side by side, and fetch what each made as it ends. Raises ProbeError if any failed."""
    errors = []
    remote = function.with_options(gpu=run.args.gpu)
    for ended in remote.starmap(calls, order_outputs=False, return_exceptions=True) if calls else ():
        try:
            if isinstance(ended, Exception):
                raise ProbeError(f"{type(ended).__name__}: {ended}")
            if "error" in ended:
                raise ProbeError(ended["error"])
            for name in ended.get("shards", ()):
                fetch(run, ended["variant"], stores[ended["variant"]], name, run.given)
            log.info("%s", ended["summary"])
        except ProbeError as error:  # the other calls go on
            errors.append(str(error))
    if errors:
        raise ProbeError(
            f"{len(errors)} of {len(calls)} calls failed, the first with: {errors[0]}; "
            "what finished is kept, the same command goes on"
        )


def push_to_hub(run: Run) -> str:
    stores = run.stores()
    for store in stores.values():
        found = store.index.identity
        require_identity(store.folder, found, found | run.given, store.extract_command)
    run.require_complete()
    return publish.push(run.args.push_to_hub, run.family, stores)


# The command, both ways


def work(args: argparse.Namespace, on_modal: bool = False) -> None:
    run = Run(args, on_modal)
    if args.status:
        print(extraction.status(run.writers(), run.plan, run.given))
        return
    if on_modal or args.local:
        (extract_on_modal if on_modal else extract_here)(run)
        if args.smoke_test:
            return
        run.require_complete()
        n_stimuli = sum(map(len, run.plan.values()))
        where = run.paths.activations(run.family.name, "")
        print(f"{where}: {n_stimuli} stimuli in each of {', '.join(run.variants)}")
    if args.push_to_hub:
        print(push_to_hub(run))


def main(argv: Sequence[str] | None = None) -> int:
    options = parser()
    args = options.parse_args(argv)
    if not (args.local or args.status or args.push_to_hub):
        options.error(f"say where to extract: uv run batch_runner.py --local, or {ON_MODAL}")
    return cli.run(options, work, argv)


def flags_of_modal_run(argv: Sequence[str]) -> list[str] | None:
    """What follows this file in `modal run [...] batch_runner.py [...]`; None in any other program."""
    if Path(argv[0]).stem not in ("modal", "__main__") or "run" not in argv[1:]:
        return None
    files = [i for i, word in enumerate(argv) if Path(word.split("::")[0]).stem == Path(__file__).stem]
    return list(argv[files[0] + 1 :]) if files else None


def before_modal(flags: Iterable[str]) -> None:
    """End here what needs no Modal, or cannot have it: --help, wrong usage, --status, no token."""
    from modal.config import config

    options = parser()
    options.prog = ON_MODAL
    args = options.parse_args(list(flags))
    if args.local or args.device:
        options.error("--local and --device are for: uv run batch_runner.py --local")
    if args.status:
        sys.exit(cli.run(options, work, list(flags)))
    if not config.get("token_id"):
        sys.exit("error: Modal has no token on this machine; run: modal setup")


if (_flags := flags_of_modal_run(sys.argv)) is not None:  # imported by `modal run`, which looks for an app
    before_modal(_flags)
    from modal_config import app

    @app.local_entrypoint()
    def on_modal(*flags: str) -> None:
        if ended := cli.run(parser(), lambda args: work(args, on_modal=True), flags):
            sys.exit(ended)


if __name__ == "__main__":
    sys.exit(main())
