"""What the lens found, as tables: by stimulus, by group of prompts with its null, and what is first."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from probe.errors import ProbeError
from probe.languages import LANGUAGES, PIVOT
from probe.lens.measure import Masses
from probe.lens.prompts import Prompt
from probe.lens.vocabulary import COLUMNS
from probe.stats import resampling

DIGITS = 3  # significant, of what is written for every stimulus: half a million numbers
MIN_ITEMS = 5  # concepts; fewer say nothing
ALPHA = 0.01  # of an onset, over all states together; a figure has nine targets and English beside each
CODES = list(LANGUAGES)


def by_stimulus(variant: str, found: Masses) -> pd.DataFrame:
    """One row per prompt, state and language that the prompt is about; p_lang is empty for a dropped item."""
    rows = [(i, language) for i, prompt in enumerate(found.prompts) for language in prompt.compared]
    prompts = [found.prompts[i] for i, _ in rows]
    place, n_states = np.array([i for i, _ in rows]), found.entropy_bits.shape[1]
    concept = [list(found.starts).index(prompt.concept_id) for prompt in prompts]
    script = [COLUMNS.index(LANGUAGES[language].script) for _, language in rows]
    p_lang = found.p_word[place, :, concept, [CODES.index(language) for _, language in rows]]
    p_lang[[not found.apart(prompt) for prompt in prompts]] = np.nan
    columns = {
        "variant": variant,
        "stimulus_id": np.repeat([prompt.stimulus_id for prompt in prompts], n_states),
        "position": np.repeat([prompt.position for prompt in prompts], n_states),
        "state": np.tile(np.arange(n_states), len(rows)),
        "language": np.repeat([language for _, language in rows], n_states),
        "p_script": round_digits(found.p_script[place, :, script]).ravel(),
        "p_lang": round_digits(p_lang).ravel(),
        "entropy_bits": round_digits(found.entropy_bits[place]).ravel(),
    }
    return pd.DataFrame(columns)


def round_digits(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """float64, rounded to significant digits; NaN stays."""
    values = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        return np.where(values == 0, 0.0, np.round(values * power) / power)


def group_prompts(prompts: Sequence[Prompt]) -> Iterator[tuple[tuple[str, str, str, str], list[int]]]:
    """The prompts that differ in the concept alone: (kind, position, source, language) and their places."""
    places: dict[tuple[str, str, str, str], list[int]] = {}
    for i, prompt in enumerate(prompts):
        places.setdefault(prompt.group, []).append(i)
    yield from places.items()


def summarise(variant: str, found: Masses) -> pd.DataFrame:
    """Mean p_lang over concepts of every language, in every group of prompts, state by state."""
    concepts, tables = list(found.starts), []
    for (kind, position, source, target), places in group_prompts(found.prompts):
        for language in CODES:
            kept = [i for i in places if found.apart(found.prompts[i], language)]
            if len(kept) < MIN_ITEMS:
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
                **against_permuted(mass.transpose(1, 0, 2)),
                "n": len(kept),
                "dropped": len(places) - len(kept),
            }
            tables.append(pd.DataFrame(columns))
    if not tables:
        raise ProbeError(f"{variant}: no language has {MIN_ITEMS} concepts whose words can be told apart")
    return pd.concat(tables, ignore_index=True)


def find_onsets(table: pd.DataFrame) -> pd.DataFrame:
    """The first state at which English and the target are readable above chance, and which is first.

    table: as `summarise` gives it. An empty onset is never; `first` is empty where both are.
    """
    keys, rows = ["variant", "prompt", "position", "source", "target"], []
    for _, part in table.query("target != @PIVOT").groupby(keys, sort=False):
        of = {name: str(part[name].iloc[0]) for name in keys}
        found = {str(language): rows for language, rows in part.groupby("language")}
        if PIVOT in found and of["target"] in found:
            asked = found[of["target"]]
            english, target = (find_onset(rows.p_max.to_numpy()) for rows in (found[PIVOT], asked))
            at = {"english_onset": english, "target_onset": target, "first": name_first(english, target)}
            rows.append(of | at | {"n": int(asked["n"].iloc[0])})
    table = pd.DataFrame(rows, columns=[*keys, "english_onset", "target_onset", "first", "n"])
    return table.astype({"english_onset": "Int64", "target_onset": "Int64"})


def name_first(english: int | None, target: int | None) -> str | None:
    if english is None and target is None:
        return None
    if english is None or target is None:
        return "target only" if english is None else "english only"
    return "together" if english == target else "english" if english < target else "target"


def against_permuted(mass: np.ndarray) -> dict[str, np.ndarray]:
    """Mean mass of the right words over concepts, state by state, with its interval and its null.

    mass: (n_states, n, n), row i the prompt of concept i, column j the word of concept j; values in [0, 1].
    The null gives each prompt the word of a random concept, by the same permutations at all states. Returns
    value, ci_low, ci_high, null, null_low, null_high, p_value, and p_max (over all states together), each
    (n_states,).
    """
    own = np.einsum("sii->is", mass).astype(np.float64)
    value, low, high = resampling.interval(lambda w: w @ own / w.sum(axis=1, keepdims=True), len(own))
    null = resampling.permuted_matched(mass.astype(np.float64))
    ends = np.quantile(null, [0.025, 0.975], axis=0)
    return {
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "null": null.mean(axis=0),
        "null_low": ends[0],
        "null_high": ends[1],
        "p_value": resampling.p_value(value, null),
        "p_max": resampling.max_statistic_p(value, null)[0],
    }


def find_onset(p_max: Sequence[float] | np.ndarray, alpha: float = ALPHA) -> int | None:
    """The first state at which the word is readable above chance, all states tested together; None: never."""
    held = np.asarray(p_max) <= alpha
    return int(held.argmax()) if held.any() else None
