"""Probe sentences and the stimulus manifest: their shapes, and reading them with errors that help."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from probe.errors import ProbeError
from probe.families import LanguageCode
from probe.languages import LANGUAGES, PIVOT
from probe.stimuli import texts

Category = Literal["symptom", "entity", "action", "severity", "state", "disease"]
KINDS = ("probes", "tico", "flores", "parallel", "edge")
WRITTEN, GENERATED = "written", "generated"  # where an edge case comes from
CODE_SWITCHING = "code_switching"  # the one category whose inputs are in two languages, of which one is PIVOT


Groups = dict[str, str | list[str]]


def _spoken(text: str) -> str:
    if wrong := texts.fault(text):
        raise ValueError(wrong)
    return text


def _safe_id(name: str) -> str:
    if wrong := texts.fault_of_id(name):
        raise ValueError(wrong)
    return name


Text = Annotated[str, AfterValidator(_spoken)]
Id = Annotated[str, AfterValidator(_safe_id)]


class Concept(BaseModel):
    """One concept of data/concept_probes.json: a sentence and its focus word in every language."""

    model_config = ConfigDict(extra="forbid")

    concept: Text
    category: Category
    translations: dict[LanguageCode, Text]
    focus: dict[LanguageCode, Text]

    @model_validator(mode="after")
    def _complete(self):
        for language in LANGUAGES:
            if language not in self.translations or language not in self.focus:
                raise ValueError(f"no translation or no focus in '{language}'")
            if self.focus[language] not in self.translations[language]:
                raise ValueError(f"the focus in '{language}' is no part of its translation")
        return self


class Stimulus(BaseModel):
    """One sentence. `meaning` is what makes two stimuli of different languages a matched pair.

    groups: what makes its meaning depend on others, the same in every language: factor -> value, or values,
    such as {"article": URL}, or {"frame": "gave", "person": "doctor"}. Empty: it stands by itself.
    """

    model_config = ConfigDict(extra="forbid")

    stimulus_id: Id
    language: LanguageCode
    text: str
    groups: Groups = {}

    @model_validator(mode="after")
    def _text(self):
        if wrong := texts.fault(self.text):
            raise ValueError(f"{self.stimulus_id}: {wrong}")
        return self

    @property
    def meaning(self) -> str:
        raise NotImplementedError

    @property
    def stratum(self) -> str | None:
        """What its meaning is about, as far as is known: mismatched pairs of one stratum share the topic."""
        shared = (self.groups.get(name) for name in ("topic", "document", "article", "frame"))
        return next((value for value in shared if isinstance(value, str)), None)


class ProbeSentence(Stimulus):
    concept_id: Id
    concept: str
    category: str
    focus: Text

    @model_validator(mode="after")
    def _focus_inside(self):
        if self.focus not in self.text:
            raise ValueError(f"{self.stimulus_id}: focus '{self.focus}' is no part of the text")
        return self

    @property
    def meaning(self) -> str:
        return self.concept_id


class TicoSentence(Stimulus):
    meaning_id: Id  # TICO-19's own, its colon a hyphen: "wiki_20-7"

    @property
    def meaning(self) -> str:
        return self.meaning_id


class FloresSentence(Stimulus):
    flores_index: int = Field(ge=0)
    topic: str
    selected_by: str  # "topic:<label>", "keyword:<word>" or "fill:index": what made probe.flores choose it

    @property
    def meaning(self) -> str:
        return f"{self.flores_index:04d}"

    @property
    def stratum(self) -> str | None:
        return self.topic or super().stratum


class ParallelSentence(Stimulus):
    meaning_id: Id

    @property
    def meaning(self) -> str:
        return self.meaning_id


class EdgeCase(Stimulus):
    """One of the sentences of an edge case; `reference_id` is what they have in common.

    The input says by their ids where its clean form and its references are, at other edge cases or at
    sentences of another kind. `published` is the English reference of the published form, which nothing is
    measured against: an input with English words in it shares words with it.
    """

    reference_id: Id
    failure_category: str
    role: Literal["input", "clean", "reference", "published"]
    source: Literal["written", "generated"] = WRITTEN
    clean_id: Id | None = None
    reference_ids: list[Id] = []

    @property
    def meaning(self) -> str:
        return self.reference_id


def fault_of_reference(
    said: Collection[str], spoken: str, category: str, language: str, text: str
) -> str | None:
    """Why closeness to this text would say more than meaning, None where it would not.

    said: the input and its clean form, in the language `spoken`. A reference is in no language of the input
    and has no word form in common with what is said, digits aside: shared words are closeness for nothing.
    """
    if language in {spoken, PIVOT if category == CODE_SWITCHING else spoken}:
        return f"the reference in '{language}' is in a language of the input"
    if shared := set().union(*map(texts.words, said)) & texts.words(text):
        return (
            f"the reference in '{language}' shares the word '{min(shared)}' with the input or its clean form"
        )
    return None


@dataclass(frozen=True)
class Meanings:
    """told: those that every language present tells; left_out: the others, with the languages they lack."""

    told: list[str]
    left_out: dict[str, list[str]]


class Manifest(BaseModel):
    """Raises ValueError for two stimuli of one id; for a text, typography aside, or a meaning that comes
    twice in a kind and language, edge cases excepted; and for groups that differ between languages."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict
    probes: list[ProbeSentence] = []
    tico: list[TicoSentence] = []
    flores: list[FloresSentence] = []
    parallel: list[ParallelSentence] = []
    edge: list[EdgeCase] = []

    @model_validator(mode="after")
    def _distinct(self):
        seen: dict[tuple, Stimulus] = {}
        for kind in KINDS:
            for stimulus in self.of_kind(kind):
                text = stimulus.text if kind == "edge" else texts.folded(stimulus.text)
                keys = [("id", stimulus.stimulus_id), ("text", kind, stimulus.language, text)]
                if kind != "edge":
                    keys.append(("meaning", kind, stimulus.language, stimulus.meaning))
                for key in keys:
                    if key in seen:
                        raise ValueError(f"{stimulus.stimulus_id}: same {key[0]} as {seen[key].stimulus_id}")
                    seen[key] = stimulus
                first = seen.setdefault(("groups", kind, stimulus.meaning), stimulus)
                if first.groups != stimulus.groups:
                    raise ValueError(
                        f"{stimulus.stimulus_id}: other groups than {first.stimulus_id}, of the same meaning"
                    )
        return self

    @model_validator(mode="after")
    def _edge_cases_lead_somewhere(self):
        inputs = [case for case in self.edge if case.role == "input" and case.clean_id]
        by_id = {stimulus.stimulus_id: stimulus for stimulus in self} if inputs else {}
        for case in inputs:
            if missing := {case.clean_id, *case.reference_ids} - by_id.keys():
                raise ValueError(f"{case.stimulus_id}: there is no stimulus {min(map(str, missing))}")
            clean = by_id[str(case.clean_id)]
            if clean.language != case.language:
                raise ValueError(f"{case.stimulus_id}: its clean form is in '{clean.language}'")
            for other in (by_id[name] for name in case.reference_ids):
                said, category = (case.text, clean.text), case.failure_category
                if wrong := fault_of_reference(said, case.language, category, other.language, other.text):
                    raise ValueError(f"{case.stimulus_id}: {wrong}")
        return self

    def of_kind(self, kind: str) -> list:
        return getattr(self, kind)

    def __iter__(self) -> Iterator[Stimulus]:  # type: ignore[override]
        return (stimulus for kind in KINDS for stimulus in self.of_kind(kind))

    def by_meaning(self, kind: str) -> dict[str, dict[str, Stimulus]]:
        """Meaning -> language -> its sentence, the pivot's meanings first and in its order: what stands where
        in another language does not matter. Not for edge cases, which tell a meaning twice in a language."""
        stimuli = sorted(self.of_kind(kind), key=lambda stimulus: stimulus.language != PIVOT)
        found: dict[str, dict[str, Stimulus]] = {}
        for stimulus in stimuli:
            found.setdefault(stimulus.meaning, {})[stimulus.language] = stimulus
        return found

    def meanings(self, kind: str) -> Meanings:
        """What can be compared over all languages, and what cannot."""
        found = self.by_meaning(kind)
        present = [code for code in LANGUAGES if any(code in languages for languages in found.values())]
        lacking = {meaning: [code for code in present if code not in has] for meaning, has in found.items()}
        told = [meaning for meaning, codes in lacking.items() if not codes]
        return Meanings(told, {meaning: codes for meaning, codes in lacking.items() if codes})

    def matched(self, kind: str, language: str, pivot: str = PIVOT) -> list[tuple[Stimulus, Stimulus]]:
        """(pivot, target) pairs that say the same thing, in the order of `by_meaning`."""
        pairs = self.by_meaning(kind).values()
        return [(of[pivot], of[language]) for of in pairs if pivot in of and language in of]


def _read_json(path: Path, cure: str):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProbeError(f"{path} is missing; {cure}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProbeError(f"{path} is not valid JSON ({error}); {cure}") from error


def first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}".lstrip(": ")


def load_concepts(path: Path) -> dict[str, Concept]:
    """The probe file, by concept id. Raises ProbeError, naming the concept and what is wrong with it."""
    entries = _read_json(path, "it is part of the project: git checkout data/concept_probes.json")
    if not isinstance(entries, dict) or not entries:
        raise ProbeError(f"{path}: expected concepts by id")
    concepts = {}
    for concept_id, entry in entries.items():
        try:
            concepts[_safe_id(concept_id)] = Concept.model_validate(entry)
        except ValidationError as error:
            raise ProbeError(f"{path}: {concept_id}: {first_error(error)}") from error
        except ValueError as error:
            raise ProbeError(f"{path}: {error}") from error
    return concepts


def load_manifest(path: Path, family: str) -> Manifest:
    """Raises ProbeError, naming the file, the entry, and the command that builds the manifest."""
    cure = f"build it with: uv run build_stimuli.py --family {family}"
    try:
        manifest = Manifest.model_validate(_read_json(path, cure))
    except ValidationError as error:
        raise ProbeError(f"{path}: {first_error(error)}; {cure}") from error
    if not any(manifest):
        raise ProbeError(f"{path} holds no stimulus; {cure}")
    return manifest


def probe_sentences(concepts: dict[str, Concept]) -> list[ProbeSentence]:
    return [
        ProbeSentence(
            stimulus_id=f"probe_{concept_id}_{language}",
            language=language,
            text=concept.translations[language],
            concept_id=concept_id,
            concept=concept.concept,
            category=concept.category,
            focus=concept.focus[language],
            groups={"concept": concept_id},
        )
        for concept_id, concept in concepts.items()
        for language in LANGUAGES
    ]
