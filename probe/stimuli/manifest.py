"""Probe sentences and the stimulus manifest: their shapes, and reading them with errors that help."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from probe.errors import ProbeError
from probe.families import LanguageCode
from probe.languages import LANGUAGES

Category = Literal["symptom", "entity", "action", "severity", "state", "disease"]
KINDS = ("probes", "flores", "parallel", "edge")


def _spoken(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return _encodable(text)


def _encodable(text: str) -> str:
    """JSON can escape one half of a surrogate pair, which is no character and which no file can hold."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text holds half of a surrogate pair")
    return text


def _safe_id(name: str) -> str:
    if not name or any(character in name for character in "/\\\0") or name in (".", ".."):
        raise ValueError(f"'{name}' cannot be an id: it is empty or holds a path separator")
    return _encodable(name)


Text = Annotated[str, AfterValidator(_spoken)]


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
    """One sentence. `meaning` is what makes two stimuli of different languages a matched pair."""

    model_config = ConfigDict(extra="forbid")

    stimulus_id: Annotated[str, AfterValidator(_safe_id)]
    language: LanguageCode
    text: Text
    groups: dict[str, str | list[str]] = {}  # what makes it depend on others: see probe.stats.groups

    @property
    def meaning(self) -> str:
        raise NotImplementedError

    @property
    def stratum(self) -> str | None:
        """What its meaning is about, as far as is known: mismatched pairs of one stratum share the topic."""
        shared = (self.groups.get(name) for name in ("topic", "document", "article", "frame"))
        return next((value for value in shared if isinstance(value, str)), None)


class ProbeSentence(Stimulus):
    concept_id: str
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
    meaning_id: str

    @property
    def meaning(self) -> str:
        return self.meaning_id


class EdgeCase(Stimulus):
    """One of the three sentences of an edge case; `reference_id` is what they have in common."""

    reference_id: str
    failure_category: str
    role: Literal["input", "clean", "reference"]

    @property
    def meaning(self) -> str:
        return self.reference_id


class Manifest(BaseModel):
    """Raises ValueError for two stimuli of one id, and for one text twice in a kind and language."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict
    probes: list[ProbeSentence] = []
    flores: list[FloresSentence] = []
    parallel: list[ParallelSentence] = []
    edge: list[EdgeCase] = []

    @model_validator(mode="after")
    def _distinct(self):
        seen: dict[tuple, str] = {}
        for kind in KINDS:
            for stimulus in self.of_kind(kind):
                for key in (("id", stimulus.stimulus_id), ("text", kind, stimulus.language, stimulus.text)):
                    if key in seen:
                        raise ValueError(f"{stimulus.stimulus_id}: same {key[0]} as {seen[key]}")
                    seen[key] = stimulus.stimulus_id
        return self

    def of_kind(self, kind: str) -> list:
        return getattr(self, kind)

    def __iter__(self) -> Iterator[Stimulus]:  # type: ignore[override]
        return (stimulus for kind in KINDS for stimulus in self.of_kind(kind))

    def matched(self, kind: str, language: str, pivot: str) -> list[tuple[Stimulus, Stimulus]]:
        """(pivot, target) pairs that say the same thing, in the order of the manifest."""
        by_meaning = {s.meaning: s for s in self.of_kind(kind) if s.language == language}
        return [
            (s, by_meaning[s.meaning])
            for s in self.of_kind(kind)
            if s.language == pivot and s.meaning in by_meaning
        ]


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
        )
        for concept_id, concept in concepts.items()
        for language in LANGUAGES
    ]
