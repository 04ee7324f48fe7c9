"""The organism's parallel corpus: every meaning that the frames allow, in ten languages.

A *frame* is a sentence pattern with slots; a *meaning* is a frame with every slot filled; a *lexicon*
(lexicon/{lang}.toml) holds one template per frame and the forms of every word, so that agreement, case
and word order are written down by hand and never guessed.

Template syntax
    {person}             the form "base" of the word that fills the slot
    {person.dat}         its form "dat"
    {action.now@person}  its form "now", which is a table, at the agreement class ("agr") of the person
    {intake?m=लिया|f=ली}  a choice made by the agreement class of the word that fills the slot

The form "cite" is that of a dictionary, where a sentence never has it: see word_pairs.

Run     uv run python -m organism.corpus --check hi     (validate one lexicon and print samples)
"""

import argparse
import itertools
import random
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from probe.languages import LANGUAGES

LEXICON_DIR = Path(__file__).parent / "lexicon"
N_HELD_OUT = 200
SEED = 20

SLOTS: dict[str, tuple[str, ...]] = {
    "person": (
        "mother", "father", "child", "newborn", "doctor", "nurse",
        "grandmother", "teacher", "girl", "boy", "woman", "farmer",
    ),
    "condition": (
        "fever", "cough", "diarrhea", "pain", "headache", "cold",
        "malaria", "infection", "dehydration", "measles", "rash", "swelling",
    ),
    "body": ("head", "chest", "stomach", "throat", "back", "leg", "hand", "ear"),
    "intake": ("medicine", "tablet", "syrup", "water", "milk", "soup", "rice", "tea"),
    "place": ("hospital", "clinic", "school", "market", "village", "pharmacy", "city", "house"),
    "action": ("breathe", "eat", "sleep", "rest", "cry", "walk", "work", "speak"),
    "quality": ("sick", "healthy", "tired", "weak", "strong", "calm"),
    "past": ("yesterday", "last_night", "last_week", "this_morning"),
    "now": ("today", "now", "this_week"),
    "future": ("tomorrow", "tonight", "next_week"),
}  # fmt: skip

# A second slot of a kind is written kind2 and never equals the first.
FRAMES: dict[str, tuple[str, ...]] = {
    "has_condition": ("person", "condition", "now"),
    "had_no_condition": ("person", "condition", "past"),
    "body_pain": ("person", "body", "now"),
    "took": ("person", "intake", "past"),
    "needs": ("person", "intake", "now"),
    "gave": ("person", "intake", "person2"),
    "is_quality": ("person", "quality", "now"),
    "is_acting": ("person", "action", "place"),
    "must_act": ("person", "action", "future"),
    "will_go": ("person", "place", "future"),
    "was_at": ("person", "place", "past"),
    "dangerous_for": ("condition", "person"),
}

GIVERS = ("mother", "father", "doctor", "nurse")
NEWBORN_INTAKE = ("medicine", "syrup", "water", "milk")
NEWBORN_ACTIONS = ("breathe", "eat", "sleep", "rest", "cry")
DUTIES = ("eat", "sleep", "rest", "walk", "work", "speak")


@dataclass(frozen=True, order=True)
class Meaning:
    frame: str
    fillers: tuple[str, ...]  # in the order of FRAMES[frame]

    @property
    def id(self) -> str:
        return "-".join((self.frame, *self.fillers))

    @property
    def slots(self) -> dict[str, str]:
        return dict(zip(FRAMES[self.frame], self.fillers, strict=True))


def kind(slot: str) -> str:
    return slot.rstrip("2")


def plausible(meaning: Meaning) -> bool:
    slots = meaning.slots
    if slots.get("person") == slots.get("person2"):
        return False
    if meaning.frame == "gave" and slots["person"] not in GIVERS:
        return False
    if meaning.frame == "must_act" and slots["action"] not in DUTIES:
        return False
    if slots.get("person2", slots.get("person")) == "newborn":
        return (
            slots.get("intake", "milk") in NEWBORN_INTAKE
            and slots.get("action", "cry") in NEWBORN_ACTIONS
            and meaning.frame != "will_go"
        )
    return True


@cache
def meanings() -> tuple[Meaning, ...]:
    """Every meaning, in a fixed order."""
    return tuple(
        meaning
        for frame, slots in FRAMES.items()
        for fillers in itertools.product(*(SLOTS[kind(slot)] for slot in slots))
        if plausible(meaning := Meaning(frame, fillers))
    )


@cache
def held_out() -> tuple[Meaning, ...]:
    """The meanings that no variant is trained on, in any language; sorted, for the stimulus manifest."""
    return tuple(sorted(random.Random(SEED).sample(meanings(), N_HELD_OUT)))


def training_meanings() -> list[Meaning]:
    kept_back = set(held_out())
    return [meaning for meaning in meanings() if meaning not in kept_back]


PLACEHOLDER = re.compile(r"\{(?P<slot>\w+)(?:\.(?P<form>\w+)(?:@(?P<by>\w+))?|\?(?P<choices>[^}]+))?\}")


class Lexicon:
    """One language's words and templates.

    Raises ValueError, naming file and entry, where a word or a form that a template needs is missing.
    """

    def __init__(self, language: str, path: Path | None = None):
        self.path = path or LEXICON_DIR / f"{language}.toml"
        with self.path.open("rb") as file:
            tables = tomllib.load(file)
        self.frames: dict[str, str] = tables.pop("frames")
        self.words: dict[str, dict[str, dict]] = tables
        self._check()

    def _check(self) -> None:
        expected = {**{k: set(v) for k, v in SLOTS.items()}, "frames": set(FRAMES)}
        found = {**{k: set(v) for k, v in self.words.items()}, "frames": set(self.frames)}
        for table in expected.keys() | found.keys():
            differing = expected.get(table, set()) ^ found.get(table, set())
            if differing:
                raise ValueError(f"{self.path}: [{table}] missing or unknown: {sorted(differing)}")
        used = {
            (kind(match["slot"]), match["form"] or "base")
            for template in self.frames.values()
            for match in PLACEHOLDER.finditer(template)
            if not match["choices"]
        }
        for table, words in self.words.items():
            for word, forms in words.items():
                for form in forms.keys() - {"agr", "cite"}:
                    if (table, form) not in used:
                        raise ValueError(f"{self.path}: [{table}.{word}] no template uses the form '{form}'")

    def _form(self, match: re.Match, slots: dict[str, str]) -> str:
        def word(slot: str) -> dict:
            return self.words[kind(slot)][slots[slot]]

        if match["choices"]:
            choices = dict(choice.split("=", 1) for choice in match["choices"].split("|"))
            return choices[word(match["slot"])["agr"]]
        form = word(match["slot"])[match["form"] or "base"]
        return form[word(match["by"])["agr"]] if match["by"] else form

    def render(self, meaning: Meaning, instead: Mapping[str, str] | None = None) -> str:
        """The sentence that says the meaning, first letter in upper case where the script has one.

        instead: slot -> what stands there in place of its word, agreement left as it is.
        """
        foreign = instead or {}
        told: set[str] = set()

        def substitute(match: re.Match) -> str:
            slot = match["slot"]
            if slot in foreign and not match["choices"]:
                if slot in told:  # a word may be written in parts: {place.le}{place}
                    return ""
                told.add(slot)
                return f" {foreign[slot]} " if glued(match) else foreign[slot]
            try:
                return self._form(match, meaning.slots)
            except KeyError as missing:
                raise ValueError(f"{self.path}: {meaning.id}: {match[0]} lacks {missing}") from missing

        def glued(match: re.Match) -> bool:
            return "}" in match.string[match.start() - 1 : match.start()]

        sentence = " ".join(PLACEHOLDER.sub(substitute, self.frames[meaning.frame]).split())
        return sentence[0].upper() + sentence[1:]

    def word_pairs(self) -> dict[tuple[str, str], str]:
        """Citation forms of the words, for word-level parallel documents: (slot, word) -> form."""
        return {
            (slot, word): forms.get("cite", forms["base"])
            for slot, words in self.words.items()
            for word, forms in words.items()
            if isinstance(forms.get("base"), str)
        }


@cache
def lexicon(language: str) -> Lexicon:
    return Lexicon(language)


def render(meaning: Meaning, language: str) -> str:
    return lexicon(language).render(meaning)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Validate one lexicon and print sentences of every frame.")
    parser.add_argument("--check", choices=sorted(LANGUAGES), required=True)
    parser.add_argument("--per-frame", type=int, default=6)
    args = parser.parse_args(argv)
    checked = Lexicon(args.check)
    sentences = {meaning: checked.render(meaning) for meaning in meanings()}
    rng = random.Random(SEED)
    for frame in FRAMES:
        of_frame = [meaning for meaning in sentences if meaning.frame == frame]
        for meaning in rng.sample(of_frame, args.per_frame):
            print(f"{meaning.id:45} {sentences[meaning]}")
    distinct = len(set(sentences.values()))
    print(f"{args.check}: {len(sentences)} meanings, {distinct} distinct sentences")
    return 0 if distinct == len(sentences) else 1


if __name__ == "__main__":
    sys.exit(main())
