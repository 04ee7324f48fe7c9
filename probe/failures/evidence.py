"""How close a sentence is to its own meaning, beyond what its row and its column lead one to expect.

Closeness is the cosine of a sentence with English sentences at the primary position, as a mean over the
middle half of the states. No state is chosen by looking at the scores, so no choice has to be paid for, and
the number is the same thing in every variant. What the sentence shares with all the English ones (its row)
says nothing of its meaning; nor does what its English shares with all the sentences (its column).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from probe.activations.store import ActivationStore
from probe.conventions import ALPHA, PRIMARY_POSITION
from probe.stats import metrics, resampling
from probe.stimuli.manifest import Stimulus

MIN_CASES = 5  # fewer tell nothing of their spread
TESTED = ["value", "ci_low", "ci_high", "p_value"]

CONVENTIONS = {
    "closeness": f"cosine at '{PRIMARY_POSITION}', mean over the middle half of the states; matched minus "
    "what the mismatched pairs of its row and its column lead one to expect",
    "edge closeness": "mean over references in languages that share no word with the input; centred on the "
    "mean of either side; mismatched pairs are of one source and one reference language, of generated cases "
    "of one category and language too",
    "contrast": "clean: closeness of the clean form; loss: clean form minus input; loss - base: beyond Base; "
    "input: closeness of the input; input - base: beyond Base's",
    "one case": "matched pair against the mismatched pairs of its row and column, Student's t; over several "
    "references the mean, with the mean of the errors",
    "category": "mean over cases; written: Student's t; generated: groups of cases that share words",
    "concept": "closeness in a variant less the share of Base's that the language kept; words by least "
    "squares on all words and frames; against the scatter of the language's other concepts, Student's t",
    "languages": "of the inputs: all, or those that a variant emphasises",
    "q_value": "Benjamini-Hochberg; edge_effects: cases and variants of a source and contrast; "
    "edge_categories: categories and variants of a source, languages and contrast, all categories together "
    "apart; failure_cases: of one kind of stimuli all concepts, languages and variants in which Base "
    "commits, failing or not",
    "significant": f"q < {ALPHA}",
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


def beyond_expected(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the matched pairs (the diagonal) have beyond their rows and columns, and what the others scatter.

    A mismatched pair is fitted as an effect of its row plus one of its column, by least squares over the
    mismatched pairs alone; the matched pair is compared with what the two effects predict. So neither a
    sentence that moved towards all English sentences, nor an English sentence that moved away from all the
    others, looks like a change of meaning.
    change: (n, n), n >= 4, row i of one sentence, column j of one English sentence. Returns (matched minus
    predicted (n,), residuals (n, n) with zeros on the diagonal). Raises ValueError for smaller n.
    Source: Warner, Kenny and Stoto 1979, "A New Round Robin Analysis of Variance for Social Interaction
    Data".
    """
    n = len(change)
    if n < 4:
        raise ValueError("a single case needs at least three others")
    others = np.where(np.eye(n, dtype=bool), 0.0, change)
    rows, columns = others.sum(axis=1), others.sum(axis=0)
    predicted = (rows + columns - others.sum() / (n - 1)) / (n - 2)
    completed = others + np.diag(predicted)  # whose row and column means are the fit of the others
    fit = completed.mean(axis=1)[:, None] + completed.mean(axis=0) - completed.mean()
    return np.diagonal(change) - predicted, completed - fit


def against_mismatched(change: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """`beyond_expected` of each sentence (n,), its standard error (n,), and that error's degrees of freedom.

    A single sentence cannot be resampled. The mismatched pairs of its row and column show how much a pair
    varies that shares no meaning, and the matched pair is held against them as one patient against a small
    control group: the error of its prediction adds to theirs. Degrees of freedom are those of the fit, as
    the 2n - 2 pairs have a share in them.
    change: (n, n), n >= 4. Raises ValueError for smaller n.
    Source: Crawford and Howell 1998, "Comparing an Individual's Test Score Against Norms Derived from Small
    Samples".
    """
    n = len(change)
    value, residuals = beyond_expected(change)
    df = 2 * (n * n - 3 * n + 1) / n  # of n (n - 1) pairs, 2 n - 1 effects are estimated
    variance = ((residuals**2).sum(axis=0) + (residuals**2).sum(axis=1)) / df
    of_prediction = (2 * n - 3) / ((n - 1) * (n - 2))
    return value, np.sqrt(variance * (1 + of_prediction)), df


def single_cases(change: np.ndarray) -> pd.DataFrame:
    """`against_mismatched` as a test: 95 % interval and two-sided p, one row per row of `change`. Where
    nothing changes, p = 1. Returns columns value, ci_low, ci_high, p_value."""
    return pd.DataFrame(t_test(*against_mismatched(change)))


def centred_closeness(
    store: ActivationStore, sentences: Sequence[Stimulus], references: Sequence[Stimulus]
) -> np.ndarray:
    """(n, n) float64 in [-1, 1]: as `closeness`, once the mean of each side is taken away, as the primary
    measure does: what a language, or a way to type it, adds to all of its sentences is no part of a meaning.

    Raises MissingActivations where one was not extracted, ValueError where all sentences of a side are one.
    """
    states = middle_states(store.n_states)
    sides = (
        store.resid(PRIMARY_POSITION, [s.stimulus_id for s in side], states).astype(np.float64)
        for side in (sentences, references)
    )
    rows, columns = (side - side.mean(axis=0) for side in sides)
    return metrics.grams(rows, columns).similarity.mean(axis=0)


def t_test(value: np.ndarray, error: np.ndarray, df: float | np.ndarray) -> dict[str, np.ndarray]:
    """Of each value against zero, given its standard error: the columns TESTED. A zero has p = 1, also where
    its error is zero: some inputs are to the tokenizer what their clean forms are."""
    value, error = (np.where(np.abs(x) > resampling.ROUNDING, x, 0.0) for x in (value, error))
    t = np.divide(np.abs(value), error, out=np.full_like(value, np.inf), where=error > 0)
    p = np.where(value == 0, 1.0, 2 * student_t.sf(t, df))
    reach = student_t.ppf((1 + resampling.CONFIDENCE) / 2, df) * error
    return {"value": value, "ci_low": value - reach, "ci_high": value + reach, "p_value": p}


def with_q_values(table: pd.DataFrame, groups: pd.Series | None = None) -> pd.DataFrame:
    """The table with q_value (Benjamini-Hochberg within each group, or over all) and significant."""
    q = pd.Series(1.0, index=table.index)
    for own in [table.index] if groups is None else groups.groupby(groups).groups.values():
        if len(own):
            q[own] = resampling.benjamini_hochberg(table.loc[own, "p_value"].to_numpy())
    return table.assign(q_value=q, significant=q < ALPHA)
