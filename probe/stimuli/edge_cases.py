"""p1_edge_cases.json: inputs that a language router may stumble over, and what should become of them.

p2_edge_cases.json has further ones in the same form, for evaluations; those of the first are also stimuli.

Each case has its meaning as `input` (the trouble), as `clean` (one language, its own script, plain register)
and in `references`, in languages that share no word with either, so that what the trouble costs can be
measured. `reference_en` (plain English) is the published form's.
"""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from probe.errors import ProbeError
from probe.families import LanguageCode
from probe.languages import PIVOT
from probe.stimuli.manifest import EdgeCase, Text, fault_of_reference, first_error

FILE, FURTHER = "p1_edge_cases.json", "p2_edge_cases.json"
FailureCategory = Literal[
    "code_switching", "transliteration", "formal_register", "low_resource_variant", "unicode_edge"
]


def _spelling(category: object) -> object:
    """'Code-switching', 'code switching' and 'CODE_SWITCH' are the category code_switching."""
    if not isinstance(category, str):
        return category
    name = category.strip().lower().replace("-", "_").replace(" ", "_")
    return "code_switching" if name == "code_switch" else name


class LabelledInput(BaseModel):
    """What an evaluation needs of a case. A category of null is an input that nothing is wrong with; the
    language of a mixed text may be several, as in "hi-en". expected_variant: with no measurement at hand;
    expected_language_variant: by the language alone, where that is said."""

    model_config = ConfigDict(extra="ignore")

    test_id: Text
    input: str
    language_ground_truth: Text
    expected_variant: Text
    failure_category: Annotated[FailureCategory, BeforeValidator(_spelling)] | None
    expected_language_variant: Text | None = None
    clean: str | None = None


class RouterCase(BaseModel):
    """One entry of p1_edge_cases.json, complete. `p1_test_assertion` is a Python expression in `route`,
    `input` and `clean` that holds for a router that does well."""

    model_config = ConfigDict(extra="forbid")

    test_id: str = Field(pattern=r"^P[12]-\d{3}$")
    input: Text
    language_ground_truth: LanguageCode
    expected_variant: Text
    expected_language_variant: Text
    failure_category: FailureCategory
    routing_recommendation: Text
    p1_test_assertion: Text
    reference_en: Text
    references: dict[LanguageCode, Text] = {}
    clean: Text

    @model_validator(mode="after")
    def _clean_is_clean(self):
        if self.clean == self.input:
            raise ValueError("the clean form is the input itself")
        if not unicodedata.is_normalized("NFC", self.clean):
            raise ValueError("the clean form is not in Unicode normal form C")
        return self

    @model_validator(mode="after")
    def _references_are_apart(self):
        if PIVOT in self.references:
            raise ValueError(f"a reference in '{PIVOT}': that is `reference_{PIVOT}`, of the published form")
        said, spoken = (self.input, self.clean), self.language_ground_truth
        for language, text in self.references.items():
            if wrong := fault_of_reference(said, spoken, self.failure_category, language, text):
                raise ValueError(wrong)
        return self


_Case = TypeVar("_Case", bound=BaseModel)


def load_cases(path: Path) -> list[RouterCase]:
    """The file's cases. Raises ProbeError, naming the case, where one is malformed or an id comes twice."""
    cases = [_validated(RouterCase, path, number, entry) for number, entry in enumerate(_entries(path), 1)]
    ids = [case.test_id for case in cases]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise ProbeError(f"{path}: {twice[0]} comes twice")
    return cases


def load_labelled(path: Path) -> list[LabelledInput]:
    """The cases of a file that --evaluate is given: a list, or an object that holds one. Where a case has no
    id, its number is one; fields that no evaluation needs are ignored. Raises ProbeError, naming the case,
    where one is malformed."""
    return [
        _validated(LabelledInput, path, number, {"test_id": str(number)} | entry)
        for number, entry in enumerate(_entries(path), 1)
    ]


def _validated(model: type[_Case], path: Path, number: int, entry: dict) -> _Case:
    try:
        return model.model_validate(entry)
    except ValidationError as error:
        raise ProbeError(f"{path}: case {number}: {first_error(error)}") from error


def _entries(path: Path) -> list[dict]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ProbeError(f"{path} is no file; the project's own is {FILE}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProbeError(f"{path} is not valid JSON ({error})") from error
    if isinstance(content, dict):
        content = next((value for value in content.values() if isinstance(value, list)), None)
    if not isinstance(content, list) or not content or not all(isinstance(e, dict) for e in content):
        raise ProbeError(f"{path}: expected a list of cases")
    return content


def stimuli(cases: Sequence[RouterCase]) -> list[EdgeCase]:
    """Of each case in its order: edge_001 (the input), edge_001_clean, edge_001_en (the published reference),
    and edge_001_ar and the like, its references. Raises ProbeError where a case has none."""
    if lacking := [case.test_id for case in cases if not case.references]:
        raise ProbeError(f"{lacking[0]}: no `references` to measure closeness to")
    return [sentence for case in cases for sentence in _sentences(case)]


def _sentences(case: RouterCase) -> Iterator[EdgeCase]:
    name, own = f"edge_{case.test_id.removeprefix('P1-')}", case.language_ground_truth

    def sentence(suffix: str, language: str, role: Any, text: str, **leads: Any) -> EdgeCase:
        return EdgeCase(
            stimulus_id=f"{name}{suffix}",
            language=language,
            text=text,
            groups={"case": case.test_id},
            reference_id=case.test_id,
            failure_category=case.failure_category,
            role=role,
            **leads,
        )

    references = {f"_{code}": (code, text) for code, text in case.references.items()}
    leads = {"clean_id": f"{name}_clean", "reference_ids": [f"{name}{suffix}" for suffix in references]}
    yield sentence("", own, "input", case.input, **leads)
    yield sentence("_clean", own, "clean", case.clean)
    yield sentence(f"_{PIVOT}", PIVOT, "published", case.reference_en)
    for suffix, (code, text) in references.items():
        yield sentence(suffix, code, "reference", text)
