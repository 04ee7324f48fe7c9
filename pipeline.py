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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

import model_loader
from probe import cli, dependencies, files, tables
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
    """A stage, what it writes, as globs below the root, the stages whose results it reads, and what else it
    reads that no stage of this run makes.

    Its code, the data files and the models that it reads are not listed: `fingerprint` finds them.
    """

    module: str
    writes: tuple[str, ...]
    after: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def stages(family: Family, variants: Sequence[str]) -> list[Stage]:
    results, assets = f"results/{family.name}", f"assets/{family.name}"
    folders = [f"activations/{family.name}/{variant}" for variant in variants]
    stored = tuple(f"{folder}/{name}" for folder in folders for name in ("index.json", "*.safetensors"))

    def made_by(module: str, *more: str) -> tuple[str, ...]:
        names = [table.name for table in tables.TABLES.values() if table.made_by == f"{module}.py"]
        return tuple(f"{results}/{name}.*" for name in (*names, *more))

    def figures(module: str, names: str, after: str, *arguments: str) -> Stage:
        return Stage(
            f"viz.{module}", tuple(f"{assets}/{name}" for name in names.split()), (after,), arguments
        )

    stimuli, activations, alignment = "build_stimuli", "batch_runner", "concept_alignment"
    curves = made_by(alignment, "alignment_curves", "artifact_audit")
    return [
        Stage(stimuli, (family.manifest,)),
        Stage(activations, stored, (stimuli,), ("--local",)),
        Stage(alignment, curves, (stimuli, activations), reads=made_by("untrained_control")),
        Stage("failure_classifier", made_by("failure_classifier"), (stimuli, activations, alignment)),
        Stage("logit_lens", made_by("logit_lens", "logit_lens_examples"), (stimuli,)),
        figures("heatmap", "*heatmap*", alignment),
        figures("alignment_curves", "alignment_* tweet_*", alignment),
        figures("annotated_curve", "annotated_*", alignment),
        figures("robustness", "robustness*", alignment),
        figures("lens", "logit_lens*", "logit_lens", "--variants", family.baseline),
    ]


def matching(globs: Iterable[str], folder: Path) -> list[Path]:
    return sorted({path for pattern in globs for path in folder.glob(pattern) if path.is_file()})


@dataclass(frozen=True)
class Run:
    """One run of the pipeline: the family, its variants, where everything lies."""

    paths: Paths
    family: Family
    variants: list[str]

    def fingerprint(self, stage: Stage) -> str:
        """One hash over what the stage depends on: its arguments, its code, the data that its code names, the
        models if it loads any, and the results of the stages that it comes after."""
        code = dependencies.code(stage.module)
        before = [each for each in stages(self.family, self.variants) if each.module in stage.after]
        read = {path for each in before for path in self._there(each.writes)} | set(self._there(stage.reads))
        written = set(matching(stage.writes, self.paths.root)) | set(matching(stage.writes, REPOSITORY))
        read |= code | (dependencies.data(code, self.paths) - written)
        commits: list[str | None] = []
        if REPOSITORY / "model_loader.py" in code:
            read |= self._local_models()
            commits = self._hub_models()
        state = [stage.arguments, self.variants, commits, self.hashes(read), files.versions()]
        return files.digest(json.dumps(state).encode())

    def _there(self, globs: tuple[str, ...]) -> list[Path]:
        """What was written before. Of activations the index, which has the sha256 of every shard."""
        written = matching(globs, self.paths.root) or matching(globs, REPOSITORY)
        return [path for path in written if path.suffix != ".safetensors"]

    def _local_models(self) -> set[Path]:
        folders = [
            self.paths.source(path) for name in self.variants if (path := self.family.variants[name].path)
        ]
        return {path for folder in folders for path in matching(["*.safetensors", "*.json"], folder)}

    def _hub_models(self) -> list[str | None]:
        """The commits that the variants on the hub are at now; None for one that cannot be asked for."""
        chosen = [self.family.variants[name] for name in self.variants]
        return [model_loader.commit_if_known(each.hf, each.revision) for each in chosen if each.hf]

    def hashes(self, read: Iterable[Path]) -> dict[str, str]:
        return files.hashes(self.paths, sorted(read))

    def outputs(self, stage: Stage) -> dict[str, str]:
        return self.hashes(matching(stage.writes, self.paths.root))

    def remove_left_over(self, stage: Stage, before: Mapping[Path, int]) -> None:
        """Delete results that the stage could have written and did not: those of other variants."""
        measured = self.paths.results(self.family.name), self.paths.assets(self.family.name)
        for path in matching(stage.writes, self.paths.root):
            if path.stat().st_mtime_ns == before.get(path) and path.parent in measured:
                path.unlink()
                log.info("%s: removed, as it is of an earlier run with other variants", path)


class Record(BaseModel):
    made_from: str
    outputs: dict[str, str]


LOG = TypeAdapter(dict[str, Record])


def read_log(path: Path) -> dict[str, Record]:
    """What earlier runs made; nothing where that cannot be read, so that all is made again."""
    try:
        return LOG.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def work(args: argparse.Namespace) -> int:
    paths, family, chosen = cli.context(args)
    run = Run(
        paths, family, family.chosen([family.baseline, *chosen])
    )  # effects are told against the baseline
    log_path = paths.results(family.name) / ".pipeline.json"
    done = {} if args.force else read_log(log_path)
    common = ["--family", family.name, "--variants", ",".join(run.variants), "--root", str(args.root)]
    common += ["--verbose"] if args.verbose else []
    for stage in stages(family, run.variants):
        made_from, recorded = run.fingerprint(stage), done.get(stage.module)
        if recorded and recorded.made_from == made_from and recorded.outputs == run.outputs(stage) != {}:
            log.info("%s: up to date", stage.module)
            continue
        before = {path: path.stat().st_mtime_ns for path in matching(stage.writes, paths.root)}
        started = time.monotonic()
        status = importlib.import_module(stage.module).main([*common, *stage.arguments])
        if status:
            log.error("%s ended with status %d; the stages after it were not run", stage.module, status)
            return status
        log.info("%s: %.1f s", stage.module, time.monotonic() - started)
        run.remove_left_over(stage, before)
        done[stage.module] = Record(made_from=made_from, outputs=run.outputs(stage))
        files.write_bytes(log_path, files.to_json(LOG.dump_python(done)))
    print(f"{paths.results(family.name)} and {paths.assets(family.name)} are complete")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
