"""Stage 3: how alike English and each target language are, state by state.

Reads   activations/{family}/{variant}/   the family's stimulus manifest
Writes  results/{family}/alignment_curves.json, alignment_summary.csv, commitment_matrix.csv
Run     uv run concept_alignment.py --family nano-aya

The measure is the excess: the cosine of matched pairs minus that of mismatched ones, since in an anisotropic
space any two sentences are alike. The raw cosine is reported beside it, never alone.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probe import alignment, published, resampling, results, stage
from probe.commitment import CONSECUTIVE, THRESHOLD, commitment_layer, commitment_matrix
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from probe.stimuli import Manifest, load_manifest
from probe.store import PRIMARY_POSITION, ActivationStore

__all__ = ["commitment_layer", "main"]

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parser = stage.parser(__doc__)
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="cosine that counts (%(default)s)")
    parser.add_argument(
        "--consecutive", type=int, default=CONSECUTIVE, help="states it must hold for (%(default)s)"
    )
    parser.add_argument(
        "--from-curves",
        type=Path,
        metavar="FILE",
        help="re-analyse a published alignment_curves.json; needs --out",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where --from-curves writes")
    return parser


def open_stores(
    paths: Paths, family: Family, variants: list[str], manifest: Manifest
) -> dict[str, ActivationStore]:
    """The variants' activations, checked to be complete and of this manifest."""
    manifest_sha256 = results.sha256(paths.source(family.manifest))
    stores = {}
    for variant in variants:
        command = f"uv run batch_runner.py --local --family {family.name} --variants {variant}"
        store = ActivationStore(paths.activations(family.name, variant), command)
        if store.index.identity.get("manifest_sha256") != manifest_sha256:
            raise ProbeError(f"{store.folder} was extracted from another manifest; run: {command} --fresh")
        store.require([stimulus.stimulus_id for stimulus in manifest])
        stores[variant] = store
    return stores


def measure(stores: dict[str, ActivationStore], manifest: Manifest) -> tuple[dict, pd.DataFrame]:
    """(curves, summary): the matched cosines of the probes at the primary position, and the summary table."""
    curves: dict[str, dict[str, dict[str, list[float]]]] = {variant: {} for variant in stores}
    tables = []
    for variant, store in stores.items():
        for cell in alignment.cells(store, manifest, variant):
            tables.append(alignment.summarise(cell))
            if cell.stimuli == "probes" and cell.position == PRIMARY_POSITION:
                for concept_id, curve in zip(cell.meanings, cell.curves, strict=True):
                    by_language = curves[variant].setdefault(concept_id, {})
                    by_language[cell.language] = [round(float(value), 6) for value in curve]
        log.info("%s: measured", variant)
    return curves, alignment.with_q_values(pd.concat(tables, ignore_index=True))


def work(args: argparse.Namespace) -> None:
    if not -1 <= args.threshold <= 1 or args.consecutive < 1:
        raise ProbeError("--threshold must lie in [-1, 1] and --consecutive be at least 1")
    if (args.from_curves is None) != (args.out is None):
        raise ProbeError("--from-curves FILE and --out DIR belong together")
    if args.from_curves:
        print(published.reanalyse(args.from_curves, args.out, args.threshold, args.consecutive))
        return
    paths, family, variants = stage.context(args)
    manifest_path = paths.source(family.manifest)
    manifest = load_manifest(manifest_path, family.name)
    stores = open_stores(paths, family, variants, manifest)
    curves, summary = measure(stores, manifest)
    concepts = {probe.concept_id: probe.concept for probe in manifest.probes}
    commitments = commitment_matrix(curves, concepts, args.threshold, args.consecutive)

    metadata = results.provenance(
        params={
            "family": family.name,
            "variants": variants,
            "threshold": args.threshold,
            "consecutive": args.consecutive,
            "primary_position": PRIMARY_POSITION,
            "resamples": resampling.N_RESAMPLES,
            "seed": resampling.SEED,
        },
        inputs={paths.name(manifest_path): results.sha256(manifest_path)}
        | {f"activations/{family.name}/{variant}": store.fingerprint() for variant, store in stores.items()},
        models={variant: store.index.identity["revision"] for variant, store in stores.items()},
        interval="95 % BCa bootstrap over meanings",
        null="target sentences permuted; null_low and null_high are its central 95 %",
        q_value="Benjamini-Hochberg over variants, languages and states of one stimuli, position and metric",
    )
    out = paths.results(family.name)
    post_norm = {
        variant: alignment.post_norm_cosine(store, manifest, PRIMARY_POSITION)
        for variant, store in stores.items()
    }
    results.write_json(out / "alignment_curves.json", {"curves": curves, "post_norm": post_norm}, metadata)
    results.write_csv(out / "commitment_matrix.csv", commitments, metadata)
    path = results.write_csv(out / "alignment_summary.csv", summary, metadata)
    print(f"{path}: {headline(summary)}")


def headline(summary: pd.DataFrame) -> str:
    """The one figure that matters: the highest excess at the primary position, with its interval."""
    excess = summary[(summary.metric == "excess") & (summary.position == PRIMARY_POSITION)]
    best = excess.loc[excess.value.idxmax()]
    return (
        f"highest excess {best.value:.3f} [{best.ci_low:.3f}, {best.ci_high:.3f}] "
        f"({best.variant}, {best.language}, state {best.state}, {best.stimuli}, n = {best.n})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return stage.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
