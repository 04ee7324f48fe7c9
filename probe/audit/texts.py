"""What the sentences give away before any model has read them: the wrong language, no translation, copies,
and, with a model's similarities, lines that do not belong to each other.

Single sentences are named in a finding of low severity; from SPOILT of a language's on, and at least FEWEST
of them, it is of high severity and blocks what is measured on them. SPOILT was set on the first half of
FLORES-200 (devtest, ten languages), where at most 0.8 % of a language's sentences are taken for another. On
the second half (at most 0.4 %) and on TICO-19 (nine languages, at most 0.8 %) nothing is blocked but French
TICO-19, where 9 % have the text of another sentence: stage 1 drops these, and `gainsaid` says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import regex

from probe.audit.findings import Claim, Finding
from probe.languages import PIVOT
from probe.stimuli.texts import folded

SPOILT, FEWEST = 0.05, 3
SHOWN, NAMED = 3, 50  # examples in a finding's sentence, and beside it

VARIETIES = {"ar": {"ary", "arz"}}  # labels of the identifier that are no other language
# Letters of a language that the identifier does not know, and that the one written with the same script does
# without: at most 0.6 % of the Amharic sentences of FLORES-200 and TICO-19 hold one.
LETTERS = {"am": ("ti", regex.compile(r"[\u12a3\u1250-\u125f]"))}

Texts = Mapping[str, str]  # stimulus id -> text


def audit_texts(sentences: Iterable[tuple[str, str, str, str]]) -> list[Finding]:
    """All findings about the texts themselves. sentences: (kind of stimuli, stimulus id, language, text)."""
    cells: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for kind, stimulus_id, language, text in sentences:
        cells[kind, language][stimulus_id] = text
    findings = []
    for (kind, language), own in cells.items():
        pivot = cells.get((kind, PIVOT), {})
        for check, what, found in (
            ("foreign_sentences", "taken for another language", foreign(own, language)),
            ("untranslated", f"the text of a {PIVOT} one", copied(own, pivot) if language != PIVOT else {}),
            ("repeated", "the text of another one", repeated(own)),
        ):
            if found:
                findings.append(_finding(check, what, kind, language, len(own), found))
    return findings


@cache
def _identifier():
    import py3langid.langid as langid  # its model takes most of a second, and few who import this need it

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)


def identified(text: str, language: str) -> str:
    """The language that a text is taken for, among all that the identifier knows; `language` where it is a
    variety of it."""
    name, letters = LETTERS.get(language, ("", None))
    if letters and letters.search(text):
        return name
    found = _identifier().classify(text)[0]
    return language if found in VARIETIES.get(language, ()) else found


def foreign(own: Texts, language: str) -> dict[str, str]:
    """Stimulus id -> the language that it is taken for, near ones too: Portuguese as Spanish."""
    taken_for = {name: identified(text, language) for name, text in own.items()}
    return {name: found for name, found in taken_for.items() if found != language}


def copied(own: Texts, pivot: Texts) -> dict[str, str]:
    """Stimulus id -> the pivot's sentence that it is, typography aside: alike without any translation."""
    ids = {folded(text): name for name, text in pivot.items()}
    return {name: ids[form] for name, text in own.items() if (form := folded(text)) in ids}


def repeated(own: Texts) -> dict[str, str]:
    """Stimulus id -> another that says the same, typography aside: of two meanings one is told wrong."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name, text in own.items():
        alike[folded(text)].append(name)
    return {name: names[name == names[0]] for names in alike.values() if len(names) > 1 for name in names}


def _finding(check: str, what: str, kind: str, language: str, n: int, found: dict[str, str]) -> Finding:
    spoilt = len(found) >= max(FEWEST, SPOILT * n)
    examples = ", ".join(f"{name} ({other})" for name, other in list(found.items())[:SHOWN])
    return Finding(
        id=f"{check}/{kind}/{language}",
        severity="high" if spoilt else "low",
        languages=[language],
        variants=[],
        evidence={
            "sentence": f"{len(found)} of {n} {language} sentences ({kind}) are {what}: {examples}",
            "share": round(len(found) / n, 6),
            "first": dict(list(found.items())[:NAMED]),
        },
        blocks=[_claim(kind, language)] if spoilt else [],
    )


def _claim(kind: str, language: str) -> Claim:
    # A pivot that is not what it should be spoils every pair.
    where = {"stimuli": [kind]} | ({} if language == PIVOT else {"language": [language]})
    return Claim(where=where, text=f"anything measured on the {language} sentences of {kind}")


def gainsaid(sources: Mapping[str, Mapping | None]) -> list[Finding]:
    """Lines of a file whose text in a language is that of another line with another English: of two, one is
    no translation. Stage 1 has dropped both; that the others are right is for a reader to say.

    sources: of the manifest's metadata, kind -> "lines", how many the files have, and "contradictory",
    language -> which; a kind without these has no such file.
    """
    findings = []
    for kind, source in sources.items():
        if source is None or "contradictory" not in source:
            continue
        for language, names in source["contradictory"].items():
            n, examples = source["lines"], ", ".join(map(str, names[:SHOWN]))
            sentence = (
                f"{len(names)} of {n} {language} lines ({kind}) have the text of another line whose "
                f"{PIVOT} differs, so that about half are wrong translations; all are dropped: {examples}"
            )
            findings.append(
                Finding(
                    id=f"contradictory/{kind}/{language}",
                    severity="low",  # none of them is measured
                    languages=[language],
                    variants=[],
                    evidence={
                        "sentence": sentence,
                        "share": round(len(names) / n, 6),
                        "first": names[:NAMED],
                    },
                    blocks=[],
                )
            )
    return findings


# Lines that do not belong to each other

FARTHEST = 20  # lines
RIVALS = 1_000  # of a row, at most: of more, every second, third, ...
SHORTEST = 20  # lines of a stretch that is told from chance
MARGIN = 1.5  # standard errors beyond the largest that chance is expected to give


@dataclass(frozen=True)
class Offset:
    """Sentences first to last (of the pivot, from 0, in file order) match those `lines` further on better
    than their own. own, other: mean share of rivals that each beats, 0.5 by chance."""

    lines: int
    first: int
    last: int
    own: float
    other: float


def line_offset(similarity: np.ndarray) -> Offset | None:
    """The clearest stretch in which another diagonal beats the main one; None where there is none.

    similarity: (n, n), row i of the i-th sentence of the pivot, column j of the j-th of the target, both in
    the order of the file; any measure. Each entry becomes the share of its rivals in the row that it exceeds,
    columns centred, so that a sentence that is near to all is no match of any. At every distance up to
    FARTHEST lines, the gain over the main diagonal is summed over stretches of n, n / sqrt(2), n / 2, ...
    lines. Of standard normal noise the largest over stretches of length L is about sqrt(2 log(2 * FARTHEST *
    n / L)); what exceeds that by MARGIN is told from chance. The sentences of a document may be as alike as
    they like: a neighbour's translation is no better match than a sentence's own.
    Source: Duembgen and Spokoiny 2001, "Multiscale Testing of Qualitative Hypotheses".
    """
    n, centre = len(similarity), similarity.mean(axis=0)
    some = slice(None, None, n // RIVALS + 1)
    rivals = similarity[:, some] - centre[some]

    def beaten(lines: int) -> np.ndarray:
        rows = np.arange(max(0, -lines), min(n, n - lines))
        entries = (similarity[rows, rows + lines] - centre[rows + lines])[:, None]
        below, above = (
            (compared.sum(axis=1)) for compared in (rivals[rows] < entries, rivals[rows] > entries)
        )
        return 0.5 + (below - above) / (2 * rivals.shape[1])

    own = beaten(0)
    best, found = 0.0, None
    for lines in (k for k in range(-FARTHEST, FARTHEST + 1) if k and n - abs(k) >= SHORTEST):
        start, other = max(0, -lines), beaten(lines)
        mine = own[start : start + len(other)]
        for first, last, excess in _stretches(other - mine, n):
            if excess > best:
                best, rows = excess, slice(first, last + 1)
                shares = float(mine[rows].mean()), float(other[rows].mean())
                found = Offset(lines, start + first, start + last, *shares)
    return found


def _stretches(gain: np.ndarray, n: int) -> Iterator[tuple[int, int, float]]:
    """(first, last, z beyond what chance gives) of the best stretch of every length."""
    sums = np.concatenate([[0.0], gain.cumsum()])
    spread = min(gain.std(), np.sqrt(1 / 6)) or np.inf  # the second is that of two uniform shares
    length = float(len(gain))
    while length >= SHORTEST:
        whole = int(length)
        z = (sums[whole:] - sums[:-whole]) / (spread * np.sqrt(whole))
        first = int(z.argmax())
        limit = np.sqrt(2 * np.log(2 * FARTHEST * n / whole)) + MARGIN
        yield first, first + whole - 1, float(z[first] - limit)
        length /= np.sqrt(2)


def shifted_lines(offsets: Mapping[tuple[str, str], Mapping[str, Offset]]) -> list[Finding]:
    """offsets: (kind, language) -> variant -> what `line_offset` found in it. What one variant sees holds for
    the sentences, and so for all."""
    findings = []
    for (kind, language), by_variant in offsets.items():
        variant, offset = next(iter(by_variant.items()))
        sentence = (
            f"{PIVOT} sentences {offset.first + 1} to {offset.last + 1} ({kind}) match the {language} ones "
            f"{offset.lines:+d} lines on (in {variant} these beat {offset.other:.0%} of their rivals, their "
            f"own {offset.own:.0%})"
        )
        evidence = {"sentence": sentence} | {name: vars(of) for name, of in by_variant.items()}
        findings.append(
            Finding(
                id=f"line_offset/{kind}/{language}",
                severity="high",
                languages=[language],
                variants=list(by_variant),
                evidence=evidence,
                blocks=[_claim(kind, language)],
            )
        )
    return findings
