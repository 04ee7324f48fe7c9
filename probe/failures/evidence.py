"""Where a variant does worse, and whether the evidence says so: concepts that commit late, and edge cases.

All of it is the closeness of a sentence to its own meaning in English against its closeness to the other
English sentences: what they all see alike is no change of meaning. Closeness is the cosine at the primary
position, as a mean over the middle half of the states. No state is chosen by looking at the scores, so no
choice has to be paid for, and the number is the same thing in every variant.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from probe.activations.store import ActivationStore
from probe.conventions import PRIMARY_POSITION
from probe.errors import ProbeError
from probe.languages import PIVOT, TARGETS
from probe.stats import metrics, resampling
from probe.stimuli.manifest import EdgeCase, Manifest, Stimulus

ALPHA = 0.05  # a false discovery rate: what has a larger q is not told from zero
MIN_CASES = 5  # fewer tell nothing of their spread
EVERY = "all"  # the category of all cases together
TESTED = ["value", "ci_low", "ci_high", "p_value"]

CONVENTIONS = {
    "closeness": f"cosine at '{PRIMARY_POSITION}', mean over the middle half of the states; matched minus "
    "mean over the other English sentences",
    "contrast": "clean: closeness of the clean form; loss: clean form minus input; loss - base: beyond Base",
    "one case": "matched pair against the sentence's own mismatched pairs, Student's t (Crawford-Howell)",
    "category": "mean over cases, Student's t",
    "q_value": "Benjamini-Hochberg; edge_effects: cases and variants of a contrast; edge_categories: "
    f"categories and variants of a contrast, '{EVERY}' apart; failure_cases: all concepts, languages and "
    "regional variants in which Base commits, failing or not",
    "distinguishable": f"q < {ALPHA}",
}


def middle_states(n_states: int) -> slice:
    """The states from a quarter to three quarters of the depth: 2 to 6 of 8 layers, 9 to 27 of 36."""
    n_layers = n_states - 1
    return slice(n_layers // 4, n_layers - n_layers // 4 + 1)


def closeness(
    store: ActivationStore, sentences: Sequence[Stimulus], pivots: Sequence[Stimulus]
) -> np.ndarray:
    """(n, n) float64 in [-1, 1]: cosine of sentence i with English sentence j, mean over middle states.

    Raises MissingActivations where one was not extracted.
    """
    states = middle_states(store.n_states)
    rows, columns = (
        store.resid(PRIMARY_POSITION, [s.stimulus_id for s in side], states) for side in (sentences, pivots)
    )
    return metrics.grams(rows, columns).similarity.mean(axis=0)


def beyond_others(change: np.ndarray) -> np.ndarray:
    """(n,): the matched pair's value (the diagonal) minus the mean of the sentence's mismatched ones (the
    rest of its row). change: (n, n), n >= 2, row i of one sentence, column j of one English sentence."""
    n = len(change)
    return (np.diagonal(change) - change.mean(axis=1)) * n / (n - 1)


def single_cases(change: np.ndarray) -> pd.DataFrame:
    """`beyond_others` of each sentence with its 95 % interval and two-sided p, one row per row of `change`.

    A single sentence cannot be resampled. Its n - 1 mismatched pairs show how much a pair varies that shares
    no meaning, and the matched pair is held against them as one patient against a small control group:
    t = (matched - mean) / (s sqrt(1 + 1 / (n - 1))), n - 2 degrees of freedom. Where nothing changes, p = 1.
    change: (n, n), n >= 4. Returns columns value, ci_low, ci_high, p_value. Raises ValueError for smaller n.
    Source: Crawford and Howell 1998, "Comparing an Individual's Test Score Against Norms Derived from Small
    Samples".
    """
    n = len(change)
    if n < 4:
        raise ValueError("a single case needs at least three others")
    others = change[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    error = others.std(axis=1, ddof=1) * np.sqrt(1 + 1 / (n - 1))
    return pd.DataFrame(_t_test(beyond_others(change), error, n - 2))


def _t_test(value: np.ndarray, error: np.ndarray, df: int) -> dict[str, np.ndarray]:
    """Of each value against zero, given its standard error: the columns TESTED. A zero has p = 1, also where
    its error is zero: some inputs are to the tokenizer what their clean forms are."""
    value, error = (np.where(np.abs(x) > resampling.ROUNDING, x, 0.0) for x in (value, error))
    t = np.divide(np.abs(value), error, out=np.full_like(value, np.inf), where=error > 0)
    p = np.where(value == 0, 1.0, 2 * student_t.sf(t, df))
    reach = student_t.ppf((1 + resampling.CONFIDENCE) / 2, df) * error
    return {"value": value, "ci_low": value - reach, "ci_high": value + reach, "p_value": p}


# Concepts


def concept_evidence(
    stores: Mapping[str, ActivationStore], manifest: Manifest, baseline: str, variants: Sequence[str]
) -> pd.DataFrame:
    """How much closer each probe sentence is to its English in a variant than in the baseline.

    One row per concept, target language and variant: concept_id, language, variant, effect (variant minus
    baseline; negative is worse), ci_low, ci_high, p_value. A language with fewer than MIN_CASES concepts is
    left out.
    """
    parts = []
    for language in TARGETS:
        pairs = manifest.matched("probes", language, PIVOT)
        if len(pairs) < MIN_CASES:
            continue
        pivots, sentences = zip(*pairs, strict=True)
        before = closeness(stores[baseline], sentences, pivots)
        for variant in variants:
            found = single_cases(closeness(stores[variant], sentences, pivots) - before)
            concepts = [stimulus.meaning for stimulus in pivots]
            parts.append(found.assign(concept_id=concepts, language=language, variant=variant))
    columns = ["concept_id", "language", "variant", *TESTED]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table.reindex(columns=columns).rename(columns={"value": "effect"})


# Edge cases


def edge_cases(manifest: Manifest) -> dict[str, dict[str, EdgeCase]]:
    """Case -> role -> its stimulus. Raises ProbeError where one of the three is missing."""
    cases: dict[str, dict[str, EdgeCase]] = defaultdict(dict)
    for stimulus in manifest.edge:
        cases[stimulus.reference_id][stimulus.role] = stimulus
    for name, roles in cases.items():
        if missing := {"input", "clean", "reference"} - roles.keys():
            raise ProbeError(f"edge case {name} has no {min(missing)} in the manifest; build it again")
    return dict(cases)


def edge_tables(
    stores: Mapping[str, ActivationStore], manifest: Manifest, baseline: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the edge cases lose, by case and by category (with all of them as EVERY).

    Both have variant, failure_category, contrast (see CONVENTIONS), value, ci_low, ci_high, p_value, q_value,
    distinguishable; the first test_id and language, the second n. A category of fewer than MIN_CASES is left
    out of the second. Raises ProbeError where there are fewer than MIN_CASES in all.
    """
    cases = edge_cases(manifest)
    if len(cases) < MIN_CASES:
        raise ProbeError(f"the manifest has {len(cases)} edge cases, {MIN_CASES} are needed")
    inputs = [roles["input"] for roles in cases.values()]
    labels = pd.DataFrame(
        {
            "test_id": list(cases),
            "language": [stimulus.language for stimulus in inputs],
            "failure_category": [stimulus.failure_category for stimulus in inputs],
        }
    )
    by_case, by_category = [], []
    for variant, contrast, change in _contrasts(stores, cases, baseline):
        keys = {"variant": variant, "contrast": contrast}
        scores = labels.join(single_cases(change)).assign(**keys)
        by_case.append(scores)
        by_category += [keys | row for row in _categories(scores)]
    effects, categories = pd.concat(by_case, ignore_index=True), pd.DataFrame(by_category)
    pooled = categories.failure_category == EVERY
    effects = with_q_values(effects, effects.contrast)
    categories = with_q_values(categories, categories.contrast + pooled.map({True: EVERY, False: ""}))
    keys, evidence = ["variant", "failure_category", "contrast"], [*TESTED, "q_value", "distinguishable"]
    return (
        effects.reindex(columns=["test_id", "language", *keys, *evidence]),
        categories.reindex(columns=[*keys, *evidence, "n"]),
    )


def _contrasts(
    stores: Mapping[str, ActivationStore], cases: Mapping[str, Mapping[str, EdgeCase]], baseline: str
) -> Iterator[tuple[str, str, np.ndarray]]:
    """(variant, contrast, (n, n) change), the baseline first: the others are compared with it."""
    inputs, cleans, references = (
        [roles[role] for roles in cases.values()] for role in ("input", "clean", "reference")
    )
    loss_of_baseline = np.empty(0)
    for variant in sorted(stores, key=lambda name: name != baseline):
        clean = closeness(stores[variant], cleans, references)
        loss = clean - closeness(stores[variant], inputs, references)
        yield variant, "clean", clean
        yield variant, "loss", loss
        if variant == baseline:
            loss_of_baseline = loss
        else:
            yield variant, f"loss - {baseline}", loss - loss_of_baseline


def _categories(scores: pd.DataFrame) -> Iterator[dict]:
    """The mean of each category and of all cases, by Student's t. Not by bootstrap and sign flips, as in the
    other tables: at n = 6 a 95 % BCa interval covers 91 to 94 % of simulated data sets (t: 92 to 96 %), and
    no p of 2**6 flips survives a correction for 25."""
    for name in (*dict.fromkeys(scores.failure_category), EVERY):
        own = scores.value[(scores.failure_category == name) | (name == EVERY)].to_numpy()
        n = len(own)
        if n < MIN_CASES:
            continue
        tested = _t_test(np.array([own.mean()]), np.array([own.std(ddof=1) / np.sqrt(n)]), n - 1)
        yield {"failure_category": name, "n": n} | {column: float(x[0]) for column, x in tested.items()}


def with_q_values(table: pd.DataFrame, groups: pd.Series | None = None) -> pd.DataFrame:
    """The table with q_value (Benjamini-Hochberg within each group, or over all) and distinguishable."""
    q = pd.Series(1.0, index=table.index)
    for own in [table.index] if groups is None else groups.groupby(groups).groups.values():
        if len(own):
            q[own] = resampling.benjamini_hochberg(table.loc[own, "p_value"].to_numpy())
    return table.assign(q_value=q, distinguishable=q < ALPHA)


def summary(by_category: pd.DataFrame) -> str:
    """One line: the losses of categories that are told from zero."""
    table = by_category.query("failure_category != @EVERY and contrast != 'clean'")
    found = table[table.distinguishable]
    columns = zip(found.failure_category, found.variant, found.contrast, found.value, strict=True)
    named = [
        f"{category} in {variant} ({contrast} {value:+.3f})" for category, variant, contrast, value in columns
    ]
    gains = int((found.value < 0).sum())
    told = f"{len(found)} of {len(table)} losses told from zero, {gains} of them negative, thus gains"
    return f"{told}: {', '.join(named)}" if named else told
