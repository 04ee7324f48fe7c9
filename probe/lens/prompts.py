"""What the lens is asked: the probes, the probes up to their focus word, and translation of that word."""

from collections.abc import Sequence
from dataclasses import dataclass

from probe.languages import LANGUAGES, PIVOT
from probe.lens.vocabulary import Words, focus_words
from probe.stimuli.manifest import ProbeSentence

SHOTS = 2  # examples before the question: what nano-aya was trained on
# What is translated from: not English, or English in the middle could be copied from the prompt; and in a
# script of its own, so that its words share no token with English or the target.
SOURCE, SOURCE_FOR = "ar", {"ar": "hi"}


@dataclass(frozen=True)
class Prompt:
    """A text and where its state is read. `language` is the one that should come next."""

    stimulus_id: str
    kind: str  # probe, cloze, translation
    position: str  # content, focus, before_focus, last
    concept_id: str
    language: str
    source: str | None  # what is translated from
    text: str
    focus: str | None = None

    @property
    def compared(self) -> tuple[str, ...]:
        """The languages that the prompt is about: its own, the one translated from, and English."""
        return tuple(dict.fromkeys(x for x in (self.language, self.source, PIVOT) if x))

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Prompts that differ in the concept alone."""
        return self.kind, self.position, self.source or "", self.language


def build_prompts(probes: Sequence[ProbeSentence]) -> list[Prompt]:
    """The probe read at its last content token and at its focus word; the probe up to the focus word (where
    that does not open it); and few-shot translation of the word, from English and from another language."""
    asked = []
    for probe in probes:
        of = (probe.concept_id, probe.language, None)
        asked += [
            Prompt(probe.stimulus_id, "probe", position, *of, probe.text, probe.focus)
            for position in ("content", "focus")
        ]
        if before := probe.text[: probe.text.index(probe.focus)].rstrip():
            asked.append(Prompt(probe.stimulus_id, "cloze", "before_focus", *of, before))
    of_concept = focus_words(probes)
    for concept_id in of_concept:
        for target in LANGUAGES:
            for source in (PIVOT, SOURCE_FOR.get(target, SOURCE)):
                if source != target != PIVOT:
                    asked.append(_translation(of_concept, concept_id, source, target))
    return asked


def _translation(of_concept: Words, concept_id: str, source: str, target: str) -> Prompt:
    """Lines of `Language: word`, each language by its own name; the concepts that follow are the examples."""
    order = list(of_concept)
    place = order.index(concept_id)
    examples = [order[(place + i) % len(order)] for i in range(SHOTS, 0, -1)]
    named = {lang: f"{LANGUAGES[lang].autonym}:" for lang in (source, target)}
    said = [f"{named[lang]} {of_concept[c][lang]}" for c in examples for lang in (source, target)]
    asked = [f"{named[source]} {of_concept[concept_id][source]}", named[target]]
    name = f"translate_{concept_id}_{source}_{target}"
    text = "\n".join([*said, *asked])
    return Prompt(name, "translation", "last", concept_id, target, source, text)
