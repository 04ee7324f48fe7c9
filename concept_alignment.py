"""Stage 3: how alike English and each target language are, state by state, and what may be claimed of it.

Reads   activations/{family}/{variant}/   the family's stimulus manifest
Writes  results/{family}/  alignment_curves.json, alignment_summary.csv, variant_effects.csv, regional.csv,
        peaks.csv, dose_response.csv, layer_increments.csv, commitment_matrix.csv, commitment_sensitivity.csv,
        robustness.csv, confounders.csv, concept_map.csv, concept_map_variance.csv,
        artifact_audit.json, artifact_audit.md
Run     uv run concept_alignment.py --family nano-aya
        uv run concept_alignment.py --from-curves alignment_curves.json --out DIR

The primary measure is the cosine of matched pairs once each language's mean is taken away, against that of
mismatched ones. What may be said of a row is the column `verdict` (probe/audit/door.py); untrained networks
of the same shape (`untrained_control.py`) belong to it. --from-curves re-analyses a published file of
curves, without activations, and lists what cannot be had that way.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from probe import cli, files, tables
from probe.activations.opening import open_stores, provenance
from probe.alignment import concept_map
from probe.alignment import untrained as untrained_networks
from probe.alignment.commitment import CONSECUTIVE, THRESHOLD, commitment_layer
from probe.alignment.measure import Measurement, measure
from probe.audit import findings, reanalysis
from probe.audit.door import claimable
from probe.audit.judge import Judged, judge
from probe.conventions import PRIMARY_METRIC, PRIMARY_POSITION
from probe.errors import ProbeError
from probe.stats import resampling
from probe.stimuli.manifest import load_manifest

__all__ = ["commitment_layer", "main"]


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="a cosine that commits (%(default)s)"
    )
    parser.add_argument(
        "--consecutive", type=int, default=CONSECUTIVE, help="states it must hold for (%(default)s)"
    )
    parser.add_argument(
        "--from-curves", type=Path, metavar="FILE", help="re-analyse a published file of curves"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where that re-analysis goes")
    return parser


def write(
    out: Path, measured: Measurement, judged: Judged, commitments: pd.DataFrame, metadata: dict
) -> Path:
    """Every result file; returns the path of the summary."""
    curves = {"curves": measured.curves, "post_norm": measured.post_norm}
    files.write_json(out / "alignment_curves.json", curves, metadata)
    written = {"commitment_matrix": commitments, **judged.tables}
    for name, table in written.items():
        tables.TABLES[name].write(out, table, metadata)
    tables.remove_unwritten(out, tables.ALIGNMENT, written)
    findings.write(out, judged.findings, metadata)
    return out / "alignment_summary.csv"


def work(args: argparse.Namespace) -> None:
    if not -1 <= args.threshold <= 1 or args.consecutive < 1:
        raise ProbeError("--threshold must lie in [-1, 1] and --consecutive be at least 1")
    if (args.from_curves is None) != (args.out is None):
        raise ProbeError("--from-curves FILE and --out DIR belong together")
    if args.from_curves:
        print(reanalysis.reanalyse(args.from_curves, args.out, args.threshold, args.consecutive))
        return
    paths, family, variants = cli.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    stores = open_stores(paths, family, variants, manifest)
    # Matrices here are small: threads would wait for each other, and sum in another order on each machine.
    with threadpool_limits(1):
        measured = measure(stores, manifest, family)
        judged = judge(measured, stores, manifest, family, untrained_networks.read(paths, family.name))
        judged.tables.update(concept_map.tables(stores, manifest))
    commitments = measured.commitments(manifest, args.threshold, args.consecutive)
    params = {
        "threshold": args.threshold,
        "consecutive": args.consecutive,
        "primary_position": PRIMARY_POSITION,
        "primary_metric": PRIMARY_METRIC,
        "resamples": resampling.N_RESAMPLES,
        "seed": resampling.SEED,
    }
    untrained = untrained_networks.path(paths, family.name)
    more = [untrained] if untrained.exists() else []
    metadata = provenance(paths, family, stores, params, more, **measured.conventions)
    path = write(paths.results(family.name), measured, judged, commitments, metadata)
    print(f"{path}: {headline(judged.tables['alignment_summary'])}")
    print(f"{path.with_name(findings.TABLE)}: {findings.counted(judged.findings)} findings")


def headline(summary: pd.DataFrame) -> str:
    """The one figure that matters: the highest level of alignment that may be said."""
    table = summary[claimable(summary)]
    if table.empty:
        return "no level of alignment may be claimed; artifact_audit.md says why"
    best = table.loc[table.value.idxmax()]
    word = "meaning" if best.verdict == "meaning" else "matched sentences"
    return (
        f"highest alignment of {word} {best.value:.3f} [{best.ci_low:.3f}, {best.ci_high:.3f}], p "
        f"{best.p_holm:.4f} over states and languages ({best.variant}, {best.language}, state {best.state}, "
        f"{best.stimuli}, n = {best.n}, {best.n_groups:.0f} groups)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
