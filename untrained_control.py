"""Stage 2, its control: what networks of the family's shape score with random weights.

Reads   the family's stimulus manifest, the baseline's configuration and tokenizer (its weights are not read)
Writes  results/{family}/untrained.csv
Run     uv run untrained_control.py --family nano-aya

Twenty seeds, each its own initialisation of the same architecture. Stage 3 lets no level of alignment
through that one of them reaches, and no difference of variants as small as the differences between them.
"""

import argparse
import sys
from collections.abc import Sequence

import pandas as pd
from tqdm import tqdm

import model_loader
from probe import cli, files, tables
from probe.alignment import untrained
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.models.extract import extract
from probe.stimuli.manifest import load_manifest


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--seeds", type=cli.count, default=untrained.SEEDS, help="networks to initialise (%(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda or mps (the best there is)")
    return parser


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    checkpoint = model_loader.open_checkpoint(family, family.baseline, device=args.device, paths=paths)
    names = untrained.sentences(manifest)
    text = {stimulus.stimulus_id: stimulus.text for stimulus in manifest}
    rows = []
    for seed in tqdm(range(args.seeds), desc="untrained networks", disable=not sys.stderr.isatty()):
        model = model_loader.initialised(checkpoint, seed)
        states = extract(model, checkpoint.tokenizer, [text[name] for name in names])
        rows += untrained.levels(states.resid[PRIMARY_POSITION], names, manifest, seed)
    source = paths.source(family.manifest)
    metadata = files.provenance(
        params={
            "family": family.name,
            "seeds": args.seeds,
            "metric": PRIMARY_METRIC,
            "position": PRIMARY_POSITION,
        },
        inputs={paths.name(source): files.sha256(source)},
        models={key: value for key, value in checkpoint.identity().items() if key.endswith("_sha256")},
    )
    table = pd.DataFrame(rows)
    out = tables.UNTRAINED.write(paths.results(family.name), table, metadata)
    print(f"{out}: {args.seeds} networks, highest {PRIMARY_METRIC} {table.value.max():.3f}")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
