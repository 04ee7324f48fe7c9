"""The whole pipeline on one family, in one command.

Runs    build_stimuli, batch_runner --local, concept_alignment, failure_classifier, logit_lens, viz/*
Writes  results/{family}/ and assets/{family}/
Run     uv run pipeline.py                         (nano-aya, the embedded family)
        uv run pipeline.py --family tiny-aya       (needs the weights and a GPU)

A stage whose inputs, code and outputs are what they were when it last ran is not run again; --force runs it.
"""

import argparse
import importlib
import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probe import cli, files
from probe.conventions import EMBEDDED_FAMILY
from probe.families import Family
from probe.paths import REPOSITORY, Paths

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, default_family=EMBEDDED_FAMILY)
    parser.add_argument("--force", action="store_true", help="run every stage, up to date or not")
    return parser


@dataclass(frozen=True)
class Stage:
    """A stage, what it reads and what it writes, as globs below the root."""

    module: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    arguments: tuple[str, ...] = ()


def stages(family: Family) -> list[Stage]:
    results_, assets = f"results/{family.name}", f"assets/{family.name}"
    activations = (f"activations/{family.name}/*/index.json", f"activations/{family.name}/*/*.safetensors")
    models = tuple(f"{variant.path}/*.safetensors" for variant in family.variants.values() if variant.path)
    sentences = (
        "data/concept_probes.json",
        "p1_edge_cases.json",
        "organism/lexicon/*.toml",
        "organism/corpus.py",
    )
    alignment, commitment = f"{results_}/alignment_*", f"{results_}/commitment_*"
    audit, robustness = f"{results_}/artifact_audit*", f"{results_}/robustness*"
    lens = f"{results_}/logit_lens*"
    shape = tuple(
        f"{results_}/{name}*"
        for name in (
            "variant_effects",
            "dose_response",
            "peaks",
            "layer_increments",
            "confounders",
            "concept_map",
        )
    )
    return [
        Stage("build_stimuli", sentences, (family.manifest,)),
        Stage("batch_runner", (family.manifest, *models), activations, ("--local",)),
        Stage(
            "concept_alignment",
            (family.manifest, *activations),
            (alignment, commitment, audit, robustness, *shape),
        ),
        Stage(
            "failure_classifier",
            (family.manifest, commitment, *activations),
            (f"{results_}/failure_cases*", f"{results_}/edge_*"),
        ),
        Stage("logit_lens", (family.manifest, *models), (lens,)),
        Stage("viz.heatmap", (alignment, commitment, audit), (f"{assets}/*heatmap*",)),
        Stage("viz.alignment_curves", (alignment, audit), (f"{assets}/alignment_*", f"{assets}/tweet_*")),
        Stage("viz.annotated_curve", (alignment, audit), (f"{assets}/annotated_*",)),
        Stage("viz.robustness", (robustness,), (f"{assets}/robustness*",)),
        Stage("viz.lens", (lens,), (f"{assets}/logit_lens*",), ("--variants", family.baseline)),
    ]


def _files(globs: Iterable[str], folders: Iterable[Path]) -> list[Path]:
    """What the globs match, each in the first of the folders that has a match."""
    found = []
    for pattern in globs:
        found += next((hits for folder in folders if (hits := sorted(folder.glob(pattern)))), [])
    return [path for path in found if path.is_file()]


def _hashes(hashed: Iterable[Path], paths: Paths) -> dict[str, str]:
    return {paths.name(path): files.sha256(path) for path in hashed}


def _outputs(stage_: Stage, paths: Paths) -> dict[str, str]:
    return _hashes(_files(stage_.writes, (paths.root,)), paths)


def fingerprint(stage_: Stage, variants: list[str], paths: Paths) -> str:
    """One hash over what the stage depends on: its arguments, its inputs, and the project's code."""
    code = [
        REPOSITORY / f"{stage_.module.replace('.', '/')}.py",
        REPOSITORY / "model_loader.py",
        paths.families,
    ]
    code += sorted((REPOSITORY / "probe").rglob("*.py")) + sorted((REPOSITORY / "viz").glob("*.py"))
    state = [
        stage_.arguments,
        variants,
        _hashes([*code, *_files(stage_.reads, (paths.root, REPOSITORY))], paths),
        files.versions(),
    ]
    return files.digest(json.dumps(state).encode())


def current(recorded: dict | None, made_from: str, stage_: Stage, paths: Paths) -> bool:
    """Whether the stage's outputs are those that it wrote from just these inputs."""
    if not recorded or recorded["made_from"] != made_from:
        return False
    return bool(recorded["outputs"]) and recorded["outputs"] == _outputs(stage_, paths)


def work(args: argparse.Namespace) -> int:
    paths, family, variants = cli.context(args)
    log_path = paths.results(family.name) / ".pipeline.json"
    done = json.loads(log_path.read_text()) if log_path.exists() and not args.force else {}
    common = ["--family", family.name, "--variants", ",".join(variants), "--root", str(args.root)]
    common += ["--verbose"] if args.verbose else []
    for stage_ in stages(family):
        made_from = fingerprint(stage_, variants, paths)
        if current(done.get(stage_.module), made_from, stage_, paths):
            log.info("%s: up to date", stage_.module)
            continue
        started = time.monotonic()
        status = importlib.import_module(stage_.module).main([*common, *stage_.arguments])
        if status:
            log.error("%s ended with status %d; the stages after it were not run", stage_.module, status)
            return status
        log.info("%s: %.1f s", stage_.module, time.monotonic() - started)
        outputs = _outputs(stage_, paths)
        done[stage_.module] = {"made_from": made_from, "outputs": outputs}
        files.write_bytes(log_path, files.to_json(done))
    print(f"{paths.results(family.name)} and {paths.assets(family.name)} are complete")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
