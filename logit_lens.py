"""Stage 5: which language each state would speak: the logit lens.

Reads   the family's stimulus manifest, the variants' checkpoints
Writes  results/{family}/  logit_lens.csv, logit_lens_summary.csv, logit_lens_onset.csv,
        logit_lens_examples.json
Run     uv run logit_lens.py --family nano-aya

A state goes through the model's own final norm and unembedding. `p_lang` is the mass of the tokens that a
language's word for the concept can begin with; a concept whose words share such a token in the languages
compared is dropped and counted. Prompts: the probe, the probe up to its focus word, and few-shot translation
of the focus word, from English and from a language that is not English, since what the middle says in English
could else be copied from the prompt.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import pandas as pd

import model_loader
from probe import cli, files
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import PIVOT
from probe.lens import measure, prompts, summary, text, vocabulary
from probe.stats import resampling
from probe.stimuli.manifest import load_manifest
from probe.tables import LENS_ONSET, LENS_ROWS, LENS_SUMMARY

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument(
        "--dtype", choices=model_loader.DTYPES, help="default: float32 on a CPU, else the model's"
    )
    return parser


def work(args: argparse.Namespace) -> None:
    paths, family, variants = cli.context(args)
    manifest = load_manifest(paths.source(family.manifest), family.name)
    if not manifest.probes:
        raise ProbeError(f"{paths.source(family.manifest)} has no probes, and the lens reads nothing else")
    stimuli, summaries, shown, revisions, colliding = [], [], [], {}, {}
    for variant in variants:
        checkpoint = model_loader.open_checkpoint(family, variant, args.dtype, args.device, paths)
        revisions[variant] = checkpoint.revision
        with model_loader.loaded_from(checkpoint, head=True) as (model, tokenizer):
            masses = measure.measure(model, tokenizer, manifest.probes)
            shown += text.read_examples(model, tokenizer, variant, masses.prompts)
        stimuli.append(summary.by_stimulus(variant, masses))
        summaries.append(summary.summarise(variant, masses))
        colliding[variant] = vocabulary.count_collisions(masses.starts)
        log.info("%s: %d prompts read", variant, len(masses.prompts))
    table = pd.concat(summaries, ignore_index=True)
    params = {
        "family": family.name,
        "variants": variants,
        "shots": prompts.SHOTS,
        "min_items": summary.MIN_ITEMS,
        "alpha": summary.ALPHA,
        "resamples": resampling.N_RESAMPLES,
        "seed": resampling.SEED,
    }
    metadata = files.provenance(
        params,
        files.hashes(paths, [paths.source(family.manifest)]),
        revisions,
        collisions=colliding,
        p_script="mass of the language's script; English, Swahili, French, Spanish and Yoruba share Latin",
    )
    out = paths.results(family.name)
    onsets = summary.find_onsets(table)
    LENS_ROWS.write(out, pd.concat(stimuli, ignore_index=True), metadata)
    LENS_ONSET.write(out, onsets, metadata)
    files.write_json(out / "logit_lens_examples.json", {"examples": shown}, metadata)
    path = LENS_SUMMARY.write(out, table, metadata)
    print(f"{path}: {headline(onsets, family, variants)}")


def headline(table: pd.DataFrame, family: Family, variants: Sequence[str]) -> str:
    """How often the middle speaks English first, when English is not in the prompt."""
    variant = family.baseline if family.baseline in variants else variants[0]
    from_elsewhere = (table.prompt == "translation") & (table.source != PIVOT)
    asked = table[from_elsewhere & (table.variant == variant)]
    order = list(asked["first"])
    count = {outcome: order.count(outcome) for outcome in ("english", "target", "english only")}
    return (
        f"in {family.label(variant)}, translating from a language that is not English, English is readable "
        f"before the target in {count['english']} of {len(asked)} languages, after it in "
        f"{count['target']}, and without it in {count['english only']}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
