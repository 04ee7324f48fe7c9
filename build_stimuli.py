"""Stage 1: the sentences that every other stage works on.

Reads   data/concept_probes.json, data/tico19.json.bz2, p1_edge_cases.json, FLORES-200 devtest (a folder, the
        official archive, or the hub)
Writes  data/stimulus_manifest.json, or the family's own manifest
Run     uv run build_stimuli.py
        uv run build_stimuli.py --flores-dir flores200_dataset     (nothing is downloaded)
        uv run build_stimuli.py --flores none                      (no network: probes, TICO-19, edge cases)
        uv run build_stimuli.py --tico 300                         (more of its held-out meanings; or none)
        uv run build_stimuli.py --parallel DIR                     (and your own: en.txt, hi.txt, ... in DIR,
                                                                   with groups.txt or ids.txt where lines
                                                                   belong together)
        uv run build_stimuli.py --family nano-aya                  (probes, and what it was not trained on)

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
from probe.stimuli import edge_cases, flores, tico
from probe.stimuli import parallel as parallel_corpus
from probe.stimuli.manifest import (
    KINDS,
    EdgeCase,
    FloresSentence,
    Manifest,
    ParallelSentence,
    ProbeSentence,
    TicoSentence,
    first_error,
    load_concepts,
    probe_sentences,
)

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--tico",
        type=_meanings,
        metavar="N|none",
        help=f"meanings of TICO-19, from documents held out of training (default: {tico.N_DEFAULT}; "
        f"{tico.N_EMBEDDED} for nano-aya)",
    )
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


def _meanings(text: str) -> int:
    if text == "none":
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number from 1 nor none")
    return int(text)


def of_organism(family: Family) -> bool:
    """Whether the manifest lies in organism/: then it is of models trained on the corpus kept there."""
    return PurePosixPath(family.manifest).parts[:1] == ("organism",)


def read_probes(paths: Paths) -> tuple[list[ProbeSentence], dict]:
    path = paths.concept_probes
    sentences = probe_sentences(load_concepts(path))
    return sentences, {"file": paths.name(path), "sha256": sha256(path)}


def read_tico(n: int, paths: Paths) -> tuple[list[TicoSentence], dict | None]:
    """n meanings and what the rule that chose them dropped; ([], None) for n = 0.

    Raises ProbeError where the rule leaves fewer."""
    if not n:
        return [], None
    path = paths.source(tico.FILE)
    corpus = tico.read(path)
    left = tico.held_out(corpus)
    return tico.chosen(n, corpus), {
        "file": paths.name(path),
        "sha256": corpus.sha256,
        "licence": tico.LICENCE,
        "citation": tico.CITATION,
        "documents": tico.held_out_documents(corpus),
        "held_out": left.n,
        "dropped": left.dropped,
        "left": len(left.lines),
        "lines": len(corpus.ids),
        "contradictory": corpus.contradictory,
    }


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
    for code, of in found.contradictory.items():
        log.warning(
            "%s: %d lines say what another says whose English differs: both are dropped", code, len(of)
        )
    if not found.grouped:
        log.warning("%s: no groups.txt or ids.txt; each line counts as independent of the others", folder)
    return found.sentences, {
        "folder": paths.name(folder),
        "files": found.files,
        "lines": found.n,
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
    n_tico = args.tico if args.tico is not None else tico.N_EMBEDDED if organism else tico.N_DEFAULT
    probes, probe_file = read_probes(paths)
    tico_sentences, tico_source = read_tico(n_tico, paths)
    flores_sentences, flores_source, tried = read_flores(
        args.flores_dir, automatic, args.flores_per_language, paths
    )
    if args.parallel:
        parallel, corpus_source = read_parallel(args.parallel, paths)
    else:
        parallel, corpus_source = read_held_out(paths) if organism else ([], None)
    edge, edge_file = read_edge(paths, parallel if organism and not args.parallel else [])
    made = {
        "probes": (probes, probe_file),
        "tico": (tico_sentences, tico_source),
        "flores": (flores_sentences, flores_source),
        "parallel": (parallel, corpus_source),
        "edge": (edge, edge_file),
    }
    kinds = {kind: made[kind][0] for kind in KINDS}
    metadata = {
        "family": family.name,
        "languages": list(LANGUAGES),
        "counts": {kind: len(kinds[kind]) for kind in KINDS},
        "sources": {kind: made[kind][1] for kind in KINDS},
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
    print(f"{path}: {counts} in {len(LANGUAGES)} languages{_dropped(manifest)}")


def _dropped(manifest: Manifest) -> str:
    """What the rule for TICO-19 took out, for the last line; nothing without it."""
    source = manifest.metadata["sources"]["tico"]
    if source is None:
        return ""
    reasons = ", ".join(f"{n} {why}" for why, n in source["dropped"].items() if n)
    taken = source["held_out"] - source["left"]
    return f"; of {source['held_out']} held-out lines of TICO-19, {taken} dropped: {reasons}"


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
