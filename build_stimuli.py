"""Stage 1: the sentences that every other stage works on.

Reads   data/concept_probes.json, p1_edge_cases.json, FLORES-200 devtest (a folder, the official archive, or
        the hub)
Writes  data/stimulus_manifest.json, or the family's own manifest
Run     uv run build_stimuli.py
        uv run build_stimuli.py --flores-dir flores200_dataset     (nothing is downloaded)
        uv run build_stimuli.py --flores none                      (probes and edge cases alone)
        uv run build_stimuli.py --parallel DIR                     (and your own: en.txt, hi.txt, ... in DIR,
                                                                   with groups.txt or ids.txt where lines
                                                                   belong together)
        uv run build_stimuli.py --family nano-aya                  (probes and held-out corpus sentences)

Where no source of FLORES-200 works, the manifest does without and says so.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from organism import corpus, generated
from probe import cli
from probe.errors import ProbeError
from probe.families import Family
from probe.files import sha256, to_json, write_bytes
from probe.languages import LANGUAGES
from probe.paths import Paths
from probe.stimuli import edge_cases, flores
from probe.stimuli import parallel as parallel_corpus
from probe.stimuli.manifest import (
    KINDS,
    EdgeCase,
    FloresSentence,
    Manifest,
    ParallelSentence,
    ProbeSentence,
    first_error,
    load_concepts,
    probe_sentences,
)

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--flores-dir", type=Path, metavar="DIR", help="FLORES-200 in the layout of the official archive"
    )
    source.add_argument(
        "--flores",
        choices=("auto", "none"),
        help="auto: archive, mirror, FLORES+, whichever works first (default; none for nano-aya)",
    )
    parser.add_argument(
        "--flores-per-language",
        type=_count,
        default=flores.N_DEFAULT,
        metavar="N",
        help="sentences in each language, those on health first (%(default)s)",
    )
    parser.add_argument(
        "--parallel",
        type=Path,
        metavar="DIR",
        help="a parallel corpus: {code}.txt per language, line i of each saying the same (for nano-aya, in "
        "place of its held-out sentences)",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= flores.N_SENTENCES:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {flores.N_SENTENCES}")
    return int(text)


def of_organism(family: Family) -> bool:
    """Whether the manifest lies in organism/: then it is of models trained on the corpus kept there."""
    return PurePosixPath(family.manifest).parts[:1] == ("organism",)


def read_probes(paths: Paths) -> tuple[list[ProbeSentence], dict]:
    path = paths.concept_probes
    sentences = probe_sentences(load_concepts(path))
    return sentences, {"file": paths.name(path), "sha256": sha256(path)}


def read_flores(
    folder: Path | None, automatic: bool, n: int, paths: Paths
) -> tuple[list[FloresSentence], dict | None, list[dict[str, str]]]:
    """The sentences, where they come from (None for no FLORES), and the sources tried.

    A folder that was asked for and cannot be used raises ProbeError; `automatic` goes on to the next source.
    """
    if folder:
        found, tried = flores.from_folder(folder), [{"source": paths.name(folder), "outcome": "used"}]
    elif automatic:
        found, tried = flores.find(paths.root / "flores_cache")
    else:
        return [], None, []
    if found is None:
        return [], None, tried
    sentences = flores.stimuli(found, n)
    if not any(found.articles):
        log.warning("FLORES-200 without its articles: each sentence counts as independent, which it is not")
    ways = Counter(s.selected_by.partition(":")[0] for s in sentences if s.language == "en")
    return (
        sentences,
        {
            "source": tried[-1]["source"],
            "split": "devtest",
            "sentences_sha256": found.sha256,
            "licence": flores.LICENCE,
            "citation": flores.CITATION,
            "selected_by": {way: ways[way] for way in ("topic", "keyword", "fill")},
        },
        tried,
    )


def read_held_out(paths: Paths) -> tuple[list[ParallelSentence], dict]:
    """The corpus meanings that no organism was trained on, in every language."""
    try:
        sentences = [
            ParallelSentence(
                stimulus_id=f"parallel_{language}_{number:03d}",
                language=language,
                text=corpus.render(meaning, language),
                meaning_id=meaning.id,
                # Frame and fillers are crossing factors: two meanings may share a person and nothing else.
                groups={"frame": meaning.frame, **meaning.slots},
            )
            for number, meaning in enumerate(corpus.held_out())
            for language in LANGUAGES
        ]
    except ValueError as error:
        raise ProbeError(f"{error}; check it with: uv run python -m organism.corpus --check LANG") from error
    files = [corpus.LEXICON_DIR / f"{language}.toml" for language in LANGUAGES]
    return sentences, {"lexicons": {paths.name(file): sha256(file) for file in files}}


def read_parallel(folder: Path, paths: Paths) -> tuple[list[ParallelSentence], dict]:
    """Raises ProbeError where the folder is not a parallel corpus."""
    found = parallel_corpus.read(folder)
    if any(found.dropped.values()):
        counts = ", ".join(f"{n} {why}" for why, n in found.dropped.items())
        log.warning("%s: lines dropped in all languages: %s", folder, counts)
    for code, n in found.contradictory.items():
        log.warning("%s: %d lines say what another says whose English differs: both are dropped", code, n)
    if not found.grouped:
        log.warning("%s: no groups.txt or ids.txt; each line counts as independent of the others", folder)
    return found.sentences, {
        "folder": paths.name(folder),
        "files": found.files,
        "dropped": found.dropped,
        "contradictory": found.contradictory,
    }


def read_edge(paths: Paths, held_out: Sequence[ParallelSentence]) -> tuple[list[EdgeCase], dict]:
    """The written cases, and those generated from the held-out sentences of an organism, none for others."""
    path = paths.source(edge_cases.FILE)
    source: dict = {"file": paths.name(path), "sha256": sha256(path)}
    written, made = edge_cases.stimuli(edge_cases.load_cases(path)), generated.cases(held_out)
    if made:
        source["generated"] = dict(Counter(case.failure_category for case in made))
    return [*written, *made], source


def build(args: argparse.Namespace, paths: Paths, family: Family) -> Manifest:
    """Raises ProbeError for an input that is missing or malformed, ValidationError for what no manifest may
    hold."""
    organism = of_organism(family)
    automatic = (args.flores or ("none" if organism else "auto")) == "auto"
    probes, probe_file = read_probes(paths)
    flores_sentences, flores_source, tried = read_flores(
        args.flores_dir, automatic, args.flores_per_language, paths
    )
    if args.parallel:
        parallel, corpus_source = read_parallel(args.parallel, paths)
    else:
        parallel, corpus_source = read_held_out(paths) if organism else ([], None)
    edge, edge_file = read_edge(paths, parallel if organism and not args.parallel else [])
    kinds = {"probes": probes, "flores": flores_sentences, "parallel": parallel, "edge": edge}
    sources = {"probes": probe_file, "flores": flores_source, "parallel": corpus_source, "edge": edge_file}
    metadata = {
        "family": family.name,
        "languages": list(LANGUAGES),
        "counts": {kind: len(kinds[kind]) for kind in KINDS},
        "sources": sources,
        "flores_tried": tried,
    }
    return Manifest(metadata=metadata, **kinds)


def work(args: argparse.Namespace) -> None:
    paths, family, _ = cli.context(args)
    try:
        manifest = build(args, paths, family)
    except ValidationError as error:
        raise ProbeError(f"the manifest would not be valid: {first_error(error)}") from error
    path = write_bytes(paths.root / family.manifest, to_json(manifest.model_dump()))
    counts = ", ".join(f"{n} {kind}" for kind, n in manifest.metadata["counts"].items() if n)
    print(f"{path}: {counts} in {len(LANGUAGES)} languages")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
