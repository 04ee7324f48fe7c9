"""Sentences of the corpus as they are typed: in Latin letters, or with English words in them.

nano-aya is trained on these, and its generated edge cases are made of them (meanings held out, of course).
"""

import random
from functools import cache

from organism import corpus
from probe.languages import LANGUAGES, PIVOT

ROMANISED = ("hi", "bn", "ta", "ar", "am")
SWITCHED = 2 / 3  # of the words that have an English dictionary form


@cache
def _romaniser():
    import uroman  # two seconds, for those that need it

    return uroman.Uroman()


def romanised(text: str, language: str) -> str:
    """The text in Latin letters, letter by letter. Source: Hermjakob et al. 2018, "Out-of-the-box Universal
    Romanization Tool uroman"."""
    return str(_romaniser().romanize_string(text, lcode=LANGUAGES[language].flores[:3]))


def switched(meaning: corpus.Meaning, language: str, rng: random.Random) -> str:
    """The sentence of that language with some of its words in English, at least one.

    The template, its agreement and the words that English only has inflected stay.
    """
    english = corpus.lexicon(PIVOT).words
    forms = {slot: english[corpus.kind(slot)][word].get("base") for slot, word in meaning.slots.items()}
    able = {slot: form for slot, form in forms.items() if form}
    chosen = [slot for slot in able if rng.random() < SWITCHED] or [rng.choice(list(able))]
    return corpus.lexicon(language).render(meaning, {slot: able[slot] for slot in chosen})
