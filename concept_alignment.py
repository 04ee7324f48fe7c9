"""Stage 3: how alike English and each target language are, state by state, and what may be claimed of it.

Reads   activations/{family}/{variant}/   the family's stimulus manifest
Writes  results/{family}/  alignment_curves.json, alignment_summary.csv, variant_effects.csv, peaks.csv,
        dose_response.csv, layer_increments.csv, commitment_matrix.csv, commitment_sensitivity.csv,
        robustness.csv, confounders.csv, concept_map.csv, concept_map_variance.csv,
        artifact_audit.json, artifact_audit.md
Run     uv run concept_alignment.py --family nano-aya
        uv run concept_alignment.py --from-curves alignment_curves.json --out DIR

The primary measure is the excess: the cosine of matched pairs minus that of mismatched ones, since in an
anisotropic space any two sentences are alike. --from-curves re-analyses a published file of curves, without
activations, and lists what cannot be had that way.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probe import cli, files, tables
from probe.activations.opening import open_stores
from probe.activations.store import ActivationStore
from probe.alignment import concept_map
from probe.alignment import reanalysis as published
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD, commitment_layer, commitment_matrix
from probe.alignment.measure import Measurement, measure
from probe.audit import findings
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.families import Family
from probe.paths import Paths
from probe.stats import resampling
from probe.stimuli.manifest import load_manifest

__all__ = ["commitment_layer", "main"]


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="cosine that counts (%(default)s)")
    parser.add_argument(
        "--consecutive", type=int, default=CONSECUTIVE, help="states it must hold for (%(default)s)"
    )
    parser.add_argument(
        "--from-curves", type=Path, metavar="FILE", help="re-analyse a published file of curves"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where that re-analysis goes")
    return parser


def provenance(
    args: argparse.Namespace,
    paths: Paths,
    family: Family,
    stores: dict[str, ActivationStore],
    found: Measurement,
) -> dict:
    manifest = paths.source(family.manifest)
    activations = {f"activations/{family.name}/{name}": store.fingerprint() for name, store in stores.items()}
    return files.provenance(
        params={
            "family": family.name,
            "variants": list(stores),
            "threshold": args.threshold,
            "consecutive": args.consecutive,
            "primary_position": PRIMARY_POSITION,
            "primary_metric": PRIMARY_METRIC,
            "resamples": resampling.N_RESAMPLES,
            "seed": resampling.SEED,
        },
        inputs={paths.name(manifest): files.sha256(manifest)} | activations,
        models={variant: store.index.identity["revision"] for variant, store in stores.items()},
        **found.conventions,
    )


def write(out: Path, found: Measurement, commitments: pd.DataFrame, metadata: dict) -> Path:
    """Every result file; returns the path of the summary."""
    curves = {"curves": found.curves, "post_norm": found.post_norm}
    files.write_json(out / "alignment_curves.json", curves, metadata)
    tables.COMMITMENT.write(out, commitments, metadata)
    for name, table in found.tables.items():
        tables.TABLES[name].write(out, table, metadata)
    findings.write(out, found.findings, metadata)
    return tables.SUMMARY.write(out, found.summary, metadata)


def work(args: argparse.Namespace) -> None:
    if not -1 <= args.threshold <= 1 or args.consecutive < 1:
        raise ProbeError("--threshold must lie in [-1, 1] and --consecutive be at least 1")
    if (args.from_curves is None) != (args.out is None):
        raise ProbeError("--from-curves FILE and --out DIR belong together")
    if args.from_curves:
        print(published.reanalyse(args.from_curves, args.out, args.threshold, args.consecutive))
        return
    paths, family, variants = cli.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    stores = open_stores(paths, family, variants, manifest)
    found = measure(stores, manifest, family)
    found.tables |= concept_map.tables(stores, manifest)
    concepts = {probe.concept_id: probe.concept for probe in manifest.probes}
    commitments = commitment_matrix(found.curves, concepts, args.threshold, args.consecutive)
    metadata = provenance(args, paths, family, stores, found)
    path = write(paths.results(family.name), found, commitments, metadata)
    print(f"{path}: {headline(found)}")
    print(f"{path.with_name(findings.TABLE)}: {findings.counted(found.findings)} findings")


def headline(found: Measurement) -> str:
    """The one figure that matters: the highest excess at the primary position that no finding blocks."""
    table = found.summary
    table = table.loc[(table.metric == PRIMARY_METRIC) & (table.position == PRIMARY_POSITION)]
    table = table.loc[findings.blocking(table, found.findings).isna()]
    if table.empty:
        return "every excess at the primary position is blocked by the auditor"
    best = table.loc[table.value.idxmax()]
    return (
        f"highest excess {best.value:.3f} [{best.ci_low:.3f}, {best.ci_high:.3f}], p_max {best.p_max:.4f} "
        f"({best.variant}, {best.language}, state {best.state}, {best.stimuli}, n = {best.n})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
