"""Families of variants: the tables of data/families.toml."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from probe.errors import ProbeError
from probe.languages import LANGUAGES
from probe.paths import Paths

MANIFEST = "data/stimulus_manifest.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"unknown language '{language}', not one of {', '.join(LANGUAGES)}")
    return language


LanguageCode = Annotated[str, AfterValidator(_known)]


class Variant(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hf: str | None = None  # "organisation/name" on the Hugging Face hub
    path: str | None = None  # or a folder, relative to the root
    revision: str | None = None
    label: str | None = None  # for figures
    untrained: bool = False  # a control with random weights: nothing is claimed of it
    emphasises: list[LanguageCode] = []
    share: dict[LanguageCode, float] = {}  # per cent of the fine-tuning mix, where published

    @property
    def source(self) -> str:
        """What provenance calls the model: its hub id, or its folder as the table gives it."""
        return self.hf or str(self.path)

    @model_validator(mode="after")
    def _one_source(self):
        if (self.hf is None) == (self.path is None):
            raise ValueError("give either hf = 'organisation/name' or path = 'folder'")
        return self


class Family(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    description: str
    baseline: str = "base"
    control: str | None = None  # the variant that differences in differences are taken against
    manifest: str = MANIFEST
    default_variants: list[str] = Field(min_length=1)
    variants: dict[str, Variant]

    @model_validator(mode="after")
    def _names_exist(self):
        for name in (self.name, *self.variants):
            if not NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot be a folder name")
        for name in self.default_variants:
            if name not in self.variants:
                raise ValueError(f"default variant '{name}' has no table")
        return self

    @property
    def emphasised(self) -> list[list[str]]:
        """The languages that each default variant emphasises, where it emphasises some."""
        return [own for name in self.default_variants if (own := list(self.variants[name].emphasises))]

    def chosen(self, names: list[str] | None) -> list[str]:
        """The names asked for, checked, in the order asked; the family's own list for None."""
        for name in names or []:
            if name not in self.variants:
                raise ProbeError(
                    f"family {self.name} has no variant '{name}', only {', '.join(self.variants)}"
                )
        return list(dict.fromkeys(names or self.default_variants))

    @property
    def untrained(self) -> frozenset[str]:
        """The variants with random weights: controls, of which nothing is claimed."""
        return frozenset(name for name, variant in self.variants.items() if variant.untrained)

    def label(self, variant: str) -> str:
        return self.variants[variant].label or variant.capitalize()

    def by_region(self, languages: Sequence[str]) -> list[str]:
        """The languages that one variant emphasises side by side, the others after them.

        Raises ValueError for a language that is not one of the ten.
        """
        emphasised = [lang for variant in self.variants.values() for lang in variant.emphasises]
        order = list(dict.fromkeys([*emphasised, *LANGUAGES]))
        return sorted(languages, key=order.index)

    def model_path(self, variant: str, paths: Paths) -> str:
        """What `from_pretrained` is given: a hub id, or the folder of a local model."""
        chosen = self.variants[variant]
        return chosen.hf or str(paths.source(str(chosen.path)))


def load_family(name: str, paths: Paths) -> Family:
    """Raises ProbeError where the file or the family is missing or malformed."""
    try:
        tables = tomllib.loads(paths.families.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProbeError(f"{paths.families}: {error}") from error
    if name not in tables:
        raise ProbeError(f"no family '{name}' in {paths.families}, only {', '.join(tables)}")
    return _validated(name, tables[name], paths.families)


def _validated(name: str, table: dict, path: Path) -> Family:
    try:
        return Family(name=name, **table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProbeError(f"{path}: [{name}] {where}: {first['msg']}") from error
