"""Which concepts of a language lost closeness that the language as a whole kept.

A variant that is worse at a language altogether has not lost a concept of it; nor has it lost the word that
happened to stand beside a lost one. So three things are taken away from what a sentence lost: what its row
and its column of mismatched pairs lead one to expect (`evidence.beyond_expected`), the share that all matched
pairs of the language lost (`lost`), and what the other words of its sentence and its frame lost (`Design`).
What is left is held against what the other concepts of the language have left (`beyond_others`): whatever
makes sentences that share a concept depend on each other scatters those, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.failures import evidence
from probe.failures.concepts import Concepts, Word, concept_id

EFFICIENCY = 0.65  # of `robust_scale` of 20 normal values, against the standard deviation; 0.82 of many
SURE = 1e-8  # of a contrast that the sentences can tell, what is lost by projecting it on them


@dataclass(frozen=True)
class Losses:
    """Of one language, a row per concept: effect and its standard error (m,), degrees of freedom of that."""

    concept_ids: list[str]
    effect: np.ndarray
    error: np.ndarray
    df: float


def kept(before: np.ndarray, after: np.ndarray) -> float:
    """The share of its closeness that a language as a whole kept, in [0, 1]; 1 where it had none, or gained.

    before, after: (n,) closeness beyond what is expected. A ratio of means: the means' errors are small, and
    no regression on a noisy `before` makes it too low.
    """
    return float(np.clip(after.mean() / before.mean(), 0, 1)) if before.mean() > 0 else 1.0


def lost(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """What each sentence's closeness is beyond the share that its language kept; negative where it is lost.

    before, after: (n, n) closeness in two variants, row i of one sentence, column j of one English sentence.
    Returns values (n,), standard errors (n,) and degrees of freedom, as `evidence.against_mismatched`.
    """
    had, has = (evidence.beyond_expected(pairs)[0] for pairs in (before, after))
    return evidence.against_mismatched(after - kept(had, has) * before)


@dataclass(frozen=True)
class Design:
    """What the sentences of one language tell of its words, whatever they lost.

    concept_ids: those that can be told from each other; rows: (m, n) what each makes of the sentences'
    losses; fitted: (n, n) the hat matrix; df: sentences beyond what is estimated; frame: (n,) a code.
    """

    concept_ids: list[str]
    rows: np.ndarray
    fitted: np.ndarray
    df: int
    frame: np.ndarray

    @classmethod
    def of(cls, meanings: Sequence[str], concepts: Concepts, ids: Sequence[str]) -> "Design":
        """Every word of the sentences and every frame by least squares at once; of each of `ids` the contrast
        with the mean of the other words of its factor. A frame takes the same factors each time, so their
        common level is the frame's, and no word's. A word whose contrast the sentences cannot tell (it stands
        beside another one each time) is left out."""
        vocabulary = sorted(set().union(*(concepts.words[meaning] for meaning in meanings)))
        frames = sorted({concepts.frames[meaning] for meaning in meanings})
        columns = [[word in concepts.words[m] for word in vocabulary] for m in meanings]
        by_frame = [[frame == concepts.frames[m] for frame in frames] for m in meanings]
        design = np.hstack([columns, by_frame]).astype(np.float64)
        contrasts = np.pad(_contrasts(vocabulary), ((0, 0), (0, len(frames))))
        inverse = np.linalg.pinv(design)
        fitted = design @ inverse
        told = np.abs(contrasts - contrasts @ inverse @ design).max(axis=1) < SURE
        several = np.abs(contrasts).sum(axis=1) > 1
        position = {concept_id(word): row for row, word in enumerate(vocabulary) if (told & several)[row]}
        own = [name for name in ids if name in position]
        df = len(meanings) - round(np.trace(fitted))
        rows = (contrasts @ inverse)[[position[name] for name in own]]
        return cls(own, rows, fitted, df, np.argmax(by_frame, axis=1))

    def losses(self, lost: np.ndarray) -> Losses:
        """lost: (n,) of each sentence. The error of a word is the larger of two: that of sentences which all
        scatter alike, and that of sentences which do so within a frame. It does not look at how the word's
        own sentences scatter: where a word is lost, some of them may be and others not, and that would hide
        it.
        """
        residuals = lost - self.fitted @ lost
        left = 1 - np.diagonal(self.fitted)
        alike = residuals @ residuals / self.df
        squared, left_of = (np.bincount(self.frame, each) for each in (residuals**2, left))
        by_frame = np.divide(squared, left_of, out=np.zeros_like(squared), where=left_of > SURE)
        variance = self.rows**2 @ np.maximum(alike, by_frame[self.frame])
        return Losses(self.concept_ids, self.rows @ lost, np.sqrt(variance), float(self.df))


def _contrasts(vocabulary: Sequence[Word]) -> np.ndarray:
    """(m, m): of each word 1, of the others of its factor -1 / their number."""
    factors = np.array([factor for factor, _ in vocabulary])
    same = (factors[:, None] == factors).astype(np.float64) - np.eye(len(vocabulary))
    return np.eye(len(vocabulary)) - same / np.maximum(1, same.sum(axis=1, keepdims=True))


def beyond_others(losses: Losses) -> dict[str, np.ndarray]:
    """Each concept's loss beyond the middle one of its language, with interval and p: columns of
    evidence.TESTED.

    Concepts differ in what they lose by more than their errors. How much is their scatter less those errors,
    by a scale that a few lost concepts do not move; it adds to the error of each, as does its uncertainty to
    the degrees of freedom.
    Sources: DerSimonian and Laird 1986 (the two variances); Satterthwaite 1946 (the degrees of freedom).
    """
    value = losses.effect - np.median(losses.effect)
    squared = losses.error**2
    scatter = robust_scale(value) ** 2
    between = max(0.0, scatter - float(np.median(squared)))
    variance = squared + between
    of_scatter = EFFICIENCY * (len(value) - 1)
    spread = squared**2 / losses.df + (scatter**2 / of_scatter if between else 0.0)
    df = np.divide(variance**2, spread, out=np.full_like(value, losses.df), where=spread > 0)
    return evidence.t_test(value, np.sqrt(variance), np.minimum(df, losses.df))


def robust_scale(values: np.ndarray) -> float:
    """Q_n: the standard deviation of a normal sample, from its smaller differences, so that it stands up to
    other values, were they half of them.

    values: (m,), m >= 2. Source: Rousseeuw and Croux 1993, "Alternatives to the Median Absolute Deviation";
    Croux and Rousseeuw 1992 (the factors of small samples).
    """
    m = len(values)
    first, second = np.triu_indices(m, 1)
    half = m // 2 + 1
    differences = np.sort(np.abs(values[first] - values[second]))
    factor = _SMALL[m - 2] if m < 10 else m / (m + (1.4 if m % 2 else 3.8))
    return float(2.2219 * factor * differences[half * (half - 1) // 2 - 1])


_SMALL = (0.399, 0.994, 0.512, 0.844, 0.611, 0.857, 0.669, 0.872)  # of 2 to 9 values
