"""Stage 2: the residual stream of every stimulus, in every variant.

Reads   the family's stimulus manifest (data/stimulus_manifest.json), the variants' checkpoints
Writes  activations/{family}/{variant}/   (float16 shards and index.json; see activations/README.md)
Run     uv run batch_runner.py --local --family nano-aya
        uv run batch_runner.py --local --smoke-test

Variants are loaded one after the other, each freed before the next. A run that was stopped goes on where
it was: shards that are complete and intact are kept, anything else is extracted again.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

import model_loader
from probe import results, stage
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from probe.stimuli import KINDS, Manifest, ProbeSentence, Stimulus, load_manifest
from probe.store import SHARD_SIZE, Activations, ActivationStore

log = logging.getLogger(__name__)

Plan = dict[str, list[Stimulus]]


def parser() -> argparse.ArgumentParser:
    parser = stage.parser(__doc__)
    parser.add_argument("--local", action="store_true", help="extract on this machine (required)")
    parser.add_argument("--smoke-test", action="store_true", help="a few sentences, checked, nothing kept")
    parser.add_argument("--fresh", action="store_true", help="discard what was extracted before")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument(
        "--dtype", choices=model_loader.DTYPES, help="default: float32 on a CPU, else the model's"
    )
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, help="stimuli a shard (%(default)s)")
    return parser


def plan_shards(manifest: Manifest, shard_size: int = SHARD_SIZE) -> Plan:
    """Shard name -> its stimuli, in the order of the manifest; kinds are not mixed, for only probes have
    a focus word."""
    pieces = [
        stimuli[start : start + shard_size]
        for kind in KINDS
        for stimuli in [manifest.of_kind(kind)]
        for start in range(0, len(stimuli), shard_size)
    ]
    return {f"shard-{number:05d}": piece for number, piece in enumerate(pieces)}


def extract_shard(
    model, tokenizer, stimuli: Sequence[Stimulus], progress=lambda texts, tokens: None
) -> Activations:
    focus = [s.focus for s in stimuli if isinstance(s, ProbeSentence)]
    return model_loader.extract(model, tokenizer, [s.text for s in stimuli], focus or None, progress=progress)


def run_variant(args: argparse.Namespace, paths: Paths, family: Family, variant: str, plan: Plan) -> str:
    """Extract what is not complete yet. Returns one line on what was done."""
    from tqdm import tqdm

    command = f"uv run batch_runner.py --local --family {family.name} --variants {variant}"
    store = ActivationStore(paths.activations(family.name, variant), command)
    checkpoint = model_loader.open_checkpoint(family, variant, args.dtype, args.device, paths)
    identity = checkpoint.identity() | {
        "manifest_sha256": results.sha256(paths.source(family.manifest)),
        "shard_size": args.shard_size,
    }
    environment = {
        "device": checkpoint.device,
        "layer_types": getattr(checkpoint.config, "layer_types", None),
        "versions": results.versions() | {"safetensors": version("safetensors")},
    }
    if args.fresh:
        store.discard()
    with store.writing(identity, environment):
        open_shards = {
            name: stimuli
            for name, stimuli in plan.items()
            if not store.complete(name, [s.stimulus_id for s in stimuli])
        }
        n_open = sum(map(len, open_shards.values()))
        if not open_shards:
            return f"{variant}: all {len(plan)} shards complete, nothing to do"
        with (
            model_loader.loaded(family, variant, args.dtype, args.device, paths) as (model, tokenizer),
            tqdm(total=n_open, desc=variant, unit="stimulus", disable=not sys.stderr.isatty()) as bar,
        ):
            for name, stimuli in open_shards.items():
                activations = extract_shard(
                    model, tokenizer, stimuli, lambda texts, tokens: bar.update(texts)
                )
                store.write_shard(name, [s.stimulus_id for s in stimuli], activations)
                log.debug("%s: %s written", variant, name)
    return f"{variant}: {n_open} stimuli extracted in {len(open_shards)} of {len(plan)} shards"


def smoke_test(
    args: argparse.Namespace, paths: Paths, family: Family, variant: str, manifest: Manifest
) -> str:
    """Extract a few sentences and hold them against one-by-one extraction; keeps nothing."""
    few = (manifest.probes or manifest.parallel or manifest.flores)[:12]
    with model_loader.loaded(family, variant, args.dtype, args.device, paths) as (model, tokenizer):
        together = extract_shard(model, tokenizer, few)
        alone = [extract_shard(model, tokenizer, [stimulus]) for stimulus in few]
    worst = 0.0
    for position, resid in together.resid.items():
        if not np.isfinite(resid).all():
            raise ProbeError(
                f"{family.name}/{variant}: values at '{position}' are not finite; try another --dtype"
            )
        reference = np.concatenate([one.resid[position] for one in alone])
        error = np.linalg.norm(resid - reference, axis=-1) / np.linalg.norm(reference, axis=-1)
        worst = max(worst, float(error.max()))
    _, n_states, d_model = together.resid["mean"].shape
    return f"{variant}: {len(few)} texts, {n_states} states of {d_model}; batched against single: {worst:.1e}"


def work(args: argparse.Namespace) -> None:
    if args.shard_size < 1:
        raise ProbeError("--shard-size must be at least 1")
    paths, family, variants = stage.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    plan = plan_shards(manifest, args.shard_size)
    for variant in variants:
        if args.smoke_test:
            done = smoke_test(args, paths, family, variant, manifest)
        else:
            done = run_variant(args, paths, family, variant, plan)
        log.info("%s", done)
    if not args.smoke_test:
        n_stimuli = sum(map(len, plan.values()))
        print(f"{paths.activations(family.name, '')}: {n_stimuli} stimuli in each of {', '.join(variants)}")


def main(argv: Sequence[str] | None = None) -> int:
    options = parser()
    if "--local" not in (argv if argv is not None else sys.argv[1:]) and not _asks_for_help(argv):
        options.error("--local is needed: extraction runs on this machine")
    return stage.run(options, work, argv)


def _asks_for_help(argv: Sequence[str] | None) -> bool:
    return bool({"-h", "--help"} & set(argv if argv is not None else sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
