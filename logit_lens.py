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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

import model_loader
from probe import cli, files, positions
from probe.errors import ProbeError
from probe.families import Family
from probe.languages import LANGUAGES, PIVOT
from probe.lens import languages as lens
from probe.lens.languages import Prompt, Starts
from probe.models import head as unembedding
from probe.models import hooks
from probe.stats import resampling
from probe.stimuli.manifest import ProbeSentence, load_manifest
from probe.tables import LENS_ONSET, LENS_ROWS, LENS_SUMMARY

log = logging.getLogger(__name__)

DIGITS = 3  # significant, of what is written for every stimulus: half a million numbers
EXAMPLES = ("C06", "C10")  # concepts of the page's examples, where the manifest has them
EXAMPLE_LANGUAGES = ("hi", "sw", "fr")
CODES = list(LANGUAGES)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument(
        "--dtype", choices=model_loader.DTYPES, help="default: float32 on a CPU, else the model's"
    )
    return parser


@dataclass(frozen=True)
class Readings:
    """What the lens says of every prompt.

    p_script (n_prompts, n_states, n_scripts), columns lens.COLUMNS; p_word (n_prompts, n_states, n_concepts,
    n_languages): mass of the tokens that each concept's word can begin with; entropy_bits (n_prompts,
    n_states). starts: the tokens, by concept and language.
    """

    prompts: list[Prompt]
    starts: Starts
    p_script: np.ndarray
    p_word: np.ndarray
    entropy_bits: np.ndarray

    def apart(self, prompt: Prompt, *languages: str) -> bool:
        """Whether the words of the languages compared, and of these, differ in their first token."""
        return lens.apart(self.starts[prompt.concept_id], dict.fromkeys((*prompt.compared, *languages)))


def read(model, tokenizer, probes: Sequence[ProbeSentence]) -> Readings:
    """Every prompt of the probes, in one model with its head."""
    prompts = lens.prompts(probes)
    head = unembedding.find_head(model)
    vocabulary = lens.vocabulary(tokenizer, head.unembed.weight.shape[0])
    starts = lens.starts(vocabulary, lens.words(probes))
    sets = [starts[concept][language] for concept in starts for language in CODES]
    measure = unembedding.lens_measure(vocabulary, sets, head.unembed.weight.device)
    token_ids, reads = located(tokenizer, prompts)
    n_states = len(hooks.find_blocks(model)) + 1
    p_script = np.empty((len(prompts), n_states, len(lens.COLUMNS)), np.float32)
    p_word = np.empty((len(prompts), n_states, len(sets)), np.float32)
    entropy = np.empty((len(prompts), n_states), np.float32)
    pad = tokenizer.pad_token_id or 0
    for row, state, probabilities in unembedding.lens_probabilities(model, head, token_ids, reads, pad):
        p_script[row, state], p_word[row, state], entropy[row, state] = measure(probabilities)
    p_word = p_word.reshape(len(prompts), n_states, len(starts), len(CODES))
    return Readings(prompts, starts, p_script, p_word, entropy)


def located(tokenizer, prompts: Sequence[Prompt]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Token ids of each text, which several prompts may share, and for each prompt its text and the token to
    read; a prompt without a focus ends where it is read."""
    focus = {prompt.text: prompt.focus for prompt in prompts}
    token_ids, index = positions.tokenize(tokenizer, list(focus), list(focus.values()))
    place = {text: i for i, text in enumerate(focus)}
    at = {text: index[i] for text, i in place.items()}
    return token_ids, [(place[p.text], at[p.text].get(p.position, at[p.text]["last"])) for p in prompts]


# Tables


def by_stimulus(variant: str, found: Readings) -> pd.DataFrame:
    """One row per prompt, state and language that the prompt is about; p_lang is empty for a dropped item."""
    rows = [(i, language) for i, prompt in enumerate(found.prompts) for language in prompt.compared]
    prompts = [found.prompts[i] for i, _ in rows]
    place, n_states = np.array([i for i, _ in rows]), found.entropy_bits.shape[1]
    concept = [list(found.starts).index(prompt.concept_id) for prompt in prompts]
    script = [lens.COLUMNS.index(LANGUAGES[language].script) for _, language in rows]
    p_lang = found.p_word[place, :, concept, [CODES.index(language) for _, language in rows]]
    p_lang[[not found.apart(prompt) for prompt in prompts]] = np.nan
    columns = {
        "variant": variant,
        "stimulus_id": np.repeat([prompt.stimulus_id for prompt in prompts], n_states),
        "position": np.repeat([prompt.position for prompt in prompts], n_states),
        "state": np.tile(np.arange(n_states), len(rows)),
        "language": np.repeat([language for _, language in rows], n_states),
        "p_script": significant(found.p_script[place, :, script]).ravel(),
        "p_lang": significant(p_lang).ravel(),
        "entropy_bits": significant(found.entropy_bits[place]).ravel(),
    }
    return pd.DataFrame(columns)


def significant(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """float64, rounded to significant digits; NaN stays."""
    values = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        return np.where(values == 0, 0.0, np.round(values * power) / power)


def groups(prompts: Sequence[Prompt]) -> Iterator[tuple[tuple[str, str, str, str], list[int]]]:
    """The prompts that differ in the concept alone: (kind, position, source, language) and their places."""
    places: dict[tuple[str, str, str, str], list[int]] = {}
    for i, prompt in enumerate(prompts):
        places.setdefault(prompt.group, []).append(i)
    yield from places.items()


def summary(variant: str, found: Readings) -> pd.DataFrame:
    """Mean p_lang over concepts of every language, in every group of prompts, state by state."""
    concepts, tables = list(found.starts), []
    for (kind, position, source, target), places in groups(found.prompts):
        for language in CODES:
            kept = [i for i in places if found.apart(found.prompts[i], language)]
            if len(kept) < lens.MIN_ITEMS:
                continue
            column = [concepts.index(found.prompts[i].concept_id) for i in kept]
            mass = found.p_word[kept][:, :, column, CODES.index(language)]  # (n, n_states, n)
            columns = {
                "variant": variant,
                "prompt": kind,
                "position": position,
                "source": source,
                "target": target,
                "state": np.arange(mass.shape[1]),
                "language": language,
                **lens.tested(mass.transpose(1, 0, 2)),
                "n": len(kept),
                "dropped": len(places) - len(kept),
            }
            tables.append(pd.DataFrame(columns))
    if not tables:
        raise ProbeError(
            f"{variant}: no language has {lens.MIN_ITEMS} concepts whose words can be told apart"
        )
    return pd.concat(tables, ignore_index=True)


def onsets(table: pd.DataFrame) -> pd.DataFrame:
    """The first state at which English and the target are readable above chance, and which is first.

    table: as `summary` gives it. An empty onset is never; `first` is empty where both are.
    """
    keys, rows = ["variant", "prompt", "position", "source", "target"], []
    for _, part in table.query("target != @PIVOT").groupby(keys, sort=False):
        of = {name: str(part[name].iloc[0]) for name in keys}
        found = {str(language): rows for language, rows in part.groupby("language")}
        if PIVOT in found and of["target"] in found:
            asked = found[of["target"]]
            english, target = (lens.onset(rows.p_max.to_numpy()) for rows in (found[PIVOT], asked))
            at = {"english_onset": english, "target_onset": target, "first": first(english, target)}
            rows.append(of | at | {"n": int(asked["n"].iloc[0])})
    table = pd.DataFrame(rows, columns=[*keys, "english_onset", "target_onset", "first", "n"])
    return table.astype({"english_onset": "Int64", "target_onset": "Int64"})


def first(english: int | None, target: int | None) -> str | None:
    if english is None and target is None:
        return None
    if english is None or target is None:
        return "target only" if english is None else "english only"
    return "together" if english == target else "english" if english < target else "target"


def examples(model, tokenizer, variant: str, prompts: Sequence[Prompt]) -> list[dict]:
    """What the page shows without a model: some prompts, read as `unembedding.lens` reads any text."""
    head = unembedding.find_head(model)
    chosen = [
        prompt
        for prompt in prompts
        if prompt.concept_id in EXAMPLES
        and prompt.language in EXAMPLE_LANGUAGES
        and prompt.position in ("before_focus", "last")
    ]
    return [
        {
            "id": f"{prompt.stimulus_id}_{prompt.position}",
            "variant": variant,
            "kind": prompt.kind,
            "language": prompt.language,
            "source": prompt.source,
            "concept_id": prompt.concept_id,
            **unembedding.lens(model, tokenizer, prompt.text, head=head).payload(),
        }
        for prompt in chosen
    ]


# The run


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
            found = read(model, tokenizer, manifest.probes)
            shown += examples(model, tokenizer, variant, found.prompts)
        stimuli.append(by_stimulus(variant, found))
        summaries.append(summary(variant, found))
        colliding[variant] = lens.collisions(found.starts)
        log.info("%s: %d prompts read", variant, len(found.prompts))
    table = pd.concat(summaries, ignore_index=True)
    params = {
        "family": family.name,
        "variants": variants,
        "shots": lens.SHOTS,
        "min_items": lens.MIN_ITEMS,
        "alpha": lens.ALPHA,
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
    LENS_ROWS.write(out, pd.concat(stimuli, ignore_index=True), metadata)
    LENS_ONSET.write(out, onsets(table), metadata)
    files.write_json(out / "logit_lens_examples.json", {"examples": shown}, metadata)
    path = LENS_SUMMARY.write(out, table, metadata)
    print(f"{path}: {headline(onsets(table), family, variants)}")


def headline(table: pd.DataFrame, family: Family, variants: Sequence[str]) -> str:
    """How often the middle speaks English first, when English is not in the prompt."""
    variant = family.baseline if family.baseline in variants else variants[0]
    asked = table.query("variant == @variant and prompt == 'translation' and source != @PIVOT")
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
