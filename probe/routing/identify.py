"""Which language each word is in: py3langid's naive Bayes, taught a few classes it lacks, and a Viterbi path.

py3langid scores a text by byte n-grams that an automaton finds in one pass; the log-probabilities of n-grams
under a language add up, so they add up per word too. That gives every word w an evidence

    e(w, class) = sum over the n-grams ending in w of log P(n-gram | class) - log P(n-gram | background),

where the background is the mean over all of py3langid's languages in Latin script. Classes that it lacks
(Hindi, Bengali, Tamil, Amharic and Arabic in Latin letters; Yoruba without its marks) are counted on the same
n-grams, from the sentences in data/romanised.toml and data/romanised_uroman.json:

    P(n-gram | class) = (count + PRIOR * background) / (total + PRIOR)          (Dirichlet smoothing)

A word in another script than Latin is evidence for the language of that script alone. The path with the
highest sum of evidence minus a price per switch says what each word is in (Viterbi 1967); how much it gains
over the best path that keeps to one language is the evidence for a mixture.
"""

import json
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from string import ascii_lowercase

import numpy as np
import regex
from py3langid import langid

from probe.languages import LANGUAGES
from probe.paths import Paths

CHAT = "data/romanised.toml"
UROMAN = "data/romanised_uroman.json"

NATIVE = {code: language.script for code, language in LANGUAGES.items() if language.script != "Latin"}
LATIN = tuple(code for code in LANGUAGES if code not in NATIVE)
CREOLES = {"pcm": "en"}  # Nigerian Pidgin, which py3langid knows, is taken for English

IN_SCRIPT, ROMANISED, NAMING = "in its script", "romanised", "name"

PRIOR = 2000.0  # n-grams' worth of background: about half of what a class is counted from
SCALE = 0.5  # of the evidence: n-grams overlap, so their sum says the same thing more than once
LIMIT = 6.0  # what one word can say for or against a class, after scaling
SCRIPT_EVIDENCE = 8.0  # what a word in a language's own script says for it
NAME = 0.2  # weight of a capitalised word inside a sentence: a name belongs to no language
PARTICLES, PARTICLE = 3, 4  # words, and letters of one, that join the parts of a name
FOREIGN = 1.0  # against a Latin word in lower case being a name in a language of another script
TO_A_NAME = 1.0  # price of a word of no language, and of going on after it
UNUSUAL = (ROMANISED, *CREOLES)
RARE = 2.0  # against romanised text, or a creole, before a word of it is read
FIRST = 0.6  # weight of the first word, whose capital may or may not be that of a name
SWITCH = 3.0  # price of a switch of language within a script
SWITCH_OF_SCRIPT = 1.5  # and with the script, which is visible in itself


@dataclass(frozen=True)
class State:
    """One class of words: the language of the sentence, and what the word is in it."""

    language: str
    form: str  # IN_SCRIPT, ROMANISED, NAMING (a word of no language), or a creole's code

    @property
    def script(self) -> str:
        return "Latin" if self.form == ROMANISED else LANGUAGES[self.language].script


STATES = (
    *(State(code, IN_SCRIPT) for code in LATIN),
    *(State(language, creole) for creole, language in CREOLES.items()),
    *(State(code, ROMANISED) for code in NATIVE),
    *(State(code, IN_SCRIPT) for code in NATIVE),
    *(State(code, NAMING) for code in LANGUAGES),
)
ROMANISED_STATES = [i for i, state in enumerate(STATES) if state.form == ROMANISED]
N_LATIN = len(LATIN) + len(CREOLES) + len(NATIVE)  # states with evidence from n-grams come first
SCRIPTS = regex.compile("|".join(rf"(?P<{code}>\p{{Script={script}}})" for code, script in NATIVE.items()))
FOREIGN_NAME = np.array([-FOREIGN if code in NATIVE else 0.0 for code in LANGUAGES])
LETTER = regex.compile(r"[\p{L}\p{M}]")
LATIN_LETTER = regex.compile(r"\p{Script=Latin}")


def _price(a: State, b: State) -> float:
    if a == b:
        return 0.0
    if a.language == b.language and NAMING in (a.form, b.form):
        return TO_A_NAME
    return SWITCH if a.script == b.script else SWITCH_OF_SCRIPT


PRICES = np.array([[_price(a, b) for b in STATES] for a in STATES])
SAME_LANGUAGE = np.array([[a.language == b.language for b in STATES] for a in STATES])
START = np.array([-RARE if state.form in UNUSUAL else 0.0 for state in STATES])
ONE_LANGUAGE = np.where(SAME_LANGUAGE, PRICES, np.inf)


def folded(text: str) -> str:
    """Lower case without combining marks: how romanised text is compared, whatever scheme it follows."""
    decomposed = unicodedata.normalize("NFD", text).casefold()
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@dataclass(frozen=True)
class Segmentation:
    """states: one per word. full: per word, whether it counts in full, not as a name or a formula.

    gain: how much better the path is than the best one that keeps to one language, in nats of scaled
    evidence, switches paid; 0 where that is the path. totals: (len(STATES),), the evidence for each state,
    START included. lead: the sum over words of how much more says the language it is in than any other.
    """

    states: tuple[State, ...]
    full: tuple[bool, ...]
    gain: float
    totals: np.ndarray
    lead: float

    @property
    def single(self) -> State:
        """The state with most evidence, if the whole text is in one."""
        return STATES[int(self.totals[: -len(LANGUAGES)].argmax())]


class Identifier:
    """Built once, in about a second; afterwards read only, so that threads may share it."""

    def __init__(self, paths: Paths | None = None):
        self._model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        labels = list(self._model.nb_classes)
        log_p = self._model.nb_ptc  # (n-grams, languages)
        self._background = self._latin_mean(log_p, [labels.index(code) for code in LATIN])
        known = log_p[:, [labels.index(code) for code in (*LATIN, *CREOLES)]].astype(np.float32)
        taught = self._taught(paths or Paths())
        base = np.log(self._background)[:, None]
        self._known = np.ascontiguousarray(known - base, dtype=np.float32)
        self._taught_evidence = np.ascontiguousarray(np.log(taught) - base, dtype=np.float32)

    def _latin_mean(self, log_p: np.ndarray, reference: list[int]) -> np.ndarray:
        """(n-grams,) mean probability over the languages that use pairs of Latin letters as ours do."""
        pairs = " ".join(map("".join, product(ascii_lowercase, repeat=2))).encode()
        features = np.unique(self._walk(pairs)[1])
        mass = np.exp(log_p[features].astype(np.float32)).sum(axis=0)
        columns = np.flatnonzero(mass > mass[reference].min() / 2)
        mean = np.zeros(len(log_p))
        for column in columns:  # one at a time: all at once would take 100 MB
            mean += np.exp(log_p[:, column].astype(np.float64)) / len(columns)
        return mean

    def _taught(self, paths: Paths) -> np.ndarray:
        """(n-grams, len(NATIVE) + 1) probabilities: the romanised classes, then Yoruba without marks."""
        chat = tomllib.loads(paths.source(CHAT).read_text(encoding="utf-8"))["chat"]
        uroman = json.loads(paths.source(UROMAN).read_text(encoding="utf-8"))["sentences"]
        columns = []
        for code in (*NATIVE, "yo"):
            sentences = [*chat[code].strip().splitlines(), *uroman[code]]
            features = self._walk(_joined([folded(s) for s in sentences]))[1]
            counts = np.bincount(features, minlength=len(self._background)) + PRIOR * self._background
            columns.append(counts / (len(features) + PRIOR))
        return np.array(columns).T

    def _walk(self, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Where n-grams end, and which: one pass of py3langid's automaton over the bytes."""
        rows, step, output = self._model._rowbase, self._model.tk_nextmove, self._model.tk_output
        state, positions, features = 0, [], []
        for position, byte in enumerate(content):
            state = step[rows[state] + byte]
            if (feature := output[state]) >= 0:
                positions.append(position)
                features.append(feature)
        return np.array(positions, dtype=np.intp), np.array(features, dtype=np.intp)

    def _per_word(self, words: Sequence[str], evidence: np.ndarray) -> np.ndarray:
        """(len(words), classes): an n-gram counts for the word that it ends in, or right after."""
        content = _joined(words)
        positions, features = self._walk(content)
        blanks = np.flatnonzero(np.frombuffer(content, np.uint8) == ord(" "))
        word = np.clip(np.searchsorted(blanks, positions) - 1, 0, len(words) - 1)
        sums = np.zeros((len(words), evidence.shape[1]))
        np.add.at(sums, word, evidence[features])
        return sums

    def evidence(self, words: Sequence[str]) -> np.ndarray:
        """(len(words), len(STATES)) float64, in nats: what each word says for each state. words: in NFC."""
        latin = [word if LATIN_LETTER.search(word) else "" for word in words]  # the others need no n-grams
        lower = [word.lower() for word in latin]
        known = self._per_word(latin if any(map(str.islower, latin)) else lower, self._known)
        taught = self._per_word([folded(word) for word in latin], self._taught_evidence)
        yoruba = LATIN.index("yo")
        known[:, yoruba] = np.maximum(known[:, yoruba], taught[:, -1])
        sums = np.hstack([known, taught[:, :-1]]) * SCALE * name_weights(words)[:, None]
        evidence = np.zeros((len(words), len(STATES)))
        evidence[:, :N_LATIN] = sums.clip(-LIMIT, LIMIT)
        for row, word in zip(evidence, words, strict=True):
            if script := SCRIPTS.search(word):
                row[:] = -SCRIPT_EVIDENCE
                row[N_LATIN + list(NATIVE).index(str(script.lastgroup))] = SCRIPT_EVIDENCE
            elif not LATIN_LETTER.search(word):
                row[:] = 0.0
            else:
                row[N_LATIN : -len(LANGUAGES)] = -SCRIPT_EVIDENCE
                row[-len(LANGUAGES) :] = FOREIGN_NAME if word[0].islower() else 0.0
        return evidence

    def segment(self, words: Sequence[str], asides: Sequence[bool] | None = None) -> Segmentation:
        """The best path through the words; asides say nothing. Raises ValueError where there is none."""
        if not words:
            raise ValueError("no words to identify")
        evidence = self.evidence(words)
        if asides is not None:
            evidence[np.array(asides)] = 0.0
        evidence[0] += START
        best, path = viterbi(evidence, PRICES)
        one_language, _ = viterbi(evidence, ONE_LANGUAGE)
        totals = evidence.sum(axis=0)
        # Romanised languages are too alike to be told apart word by word: a text has one, with most evidence.
        romanised = STATES[max(ROMANISED_STATES, key=totals.__getitem__)]
        states = tuple(romanised if STATES[i].form == ROMANISED else STATES[i] for i in path)
        full = tuple(name_weights(words) >= FIRST)
        return Segmentation(states, full, best - one_language, totals, _lead(evidence, path))


def _lead(evidence: np.ndarray, path: Sequence[int]) -> float:
    others = np.where(SAME_LANGUAGE[list(path)], -np.inf, evidence).max(axis=1)
    return float((evidence[np.arange(len(path)), path] - others).sum())


def _joined(words: Sequence[str]) -> bytes:
    return f" {' '.join(words)} ".encode(errors="replace")


def name_weights(words: Sequence[str]) -> np.ndarray:
    """(len(words),): NAME for a capitalised word among words in lower case, and for the particles of a name
    (the "of" and "for" of an institution); 0 for an abbreviation or a formula, else 1.

    An abbreviation has two capitals, such as WHO and mRNA. A formula has digits and fewer than two letters,
    such as the n of 802.11n; romanised Arabic has more.
    """
    capital = np.array([word[0].isupper() for word in words])
    lower = np.array([word[0].islower() for word in words])
    weights = np.ones(len(words))
    cased = capital.sum() + lower.sum()
    if lower.any() or cased < len(words) / 2:
        weights[capital | _particles(words, capital)] = NAME
        weights[0] = max(weights[0], FIRST)
        weights[[sum(map(str.isupper, word)) >= 2 for word in words]] = 0.0
    weights[[len(LETTER.findall(word)) < min(2, len(word)) for word in words]] = 0.0
    return weights


def _particles(words: Sequence[str], capital: np.ndarray) -> np.ndarray:
    """Which are up to three short words in lower case between two capitalised ones."""
    named = np.zeros(len(words), dtype=bool)
    for first, last in pairwise(np.flatnonzero(capital)):
        between = words[first + 1 : last]
        if len(between) <= PARTICLES and all(len(word) <= PARTICLE and word.islower() for word in between):
            named[first + 1 : last] = True
    return named


def viterbi(evidence: np.ndarray, prices: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The highest sum of evidence minus prices, and the states that give it.

    evidence: (n, states), n >= 1. prices: (states, states), of going from the row's state to the column's.
    """
    score, back = evidence[0], np.zeros(evidence.shape, dtype=np.intp)
    everywhere = np.arange(evidence.shape[1])
    for row in range(1, len(evidence)):
        moves = score[:, None] - prices
        back[row] = moves.argmax(axis=0)
        score = moves[back[row], everywhere] + evidence[row]
    path = [int(score.argmax())]
    for row in range(len(evidence) - 1, 0, -1):
        path.append(int(back[row, path[-1]]))
    return float(score.max()), tuple(reversed(path))
