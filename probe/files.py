"""Writing what a stage found: whole files or none, each with its provenance and no timestamp."""

import hashlib
import json
import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from probe.errors import ProbeError
from probe.paths import Paths

PACKAGES = ("torch", "transformers", "numpy", "scipy", "pandas", "matplotlib")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hashes(paths: Paths, read: Iterable[Path]) -> dict[str, str]:
    """{name: sha256} of input files, as provenance has them."""
    return {paths.name(path): sha256(path) for path in read}


def write_bytes(path: Path, content: bytes) -> Path:
    """Atomic: a reader, or a crash at any moment, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def to_json(payload: Any, indent: int | None = 2) -> bytes:
    return (json.dumps(payload, ensure_ascii=False, indent=indent, allow_nan=False) + "\n").encode()


def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def provenance(params: dict, inputs: dict[str, str], models: dict[str, str] | None = None, **more) -> dict:
    """What made a file: parameters, {input name: sha256}, {variant: model revision}, package versions."""
    return {"params": params, "inputs": inputs, "models": models or {}, "versions": versions(), **more}


def write_json(path: Path, payload: dict, metadata: dict) -> Path:
    return write_bytes(path, to_json({"metadata": metadata, **payload}, indent=None))


def sidecar(path: Path) -> Path:
    """Where the provenance of a table lies."""
    return path.with_name(f"{path.stem}.meta.json")


def read_json(path: Path, made_by: str) -> dict:
    """Raises ProbeError with the command that makes the file where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProbeError(f"{path} is missing; run: {made_by}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProbeError(f"{path} is damaged ({error}); run: {made_by}") from error


def read_csv(path: Path, made_by: str, columns: set[str]) -> pd.DataFrame:
    """Raises ProbeError, with the command that helps, where it is missing, damaged or lacks columns."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise ProbeError(f"{path} is missing; run: {made_by}") from error
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ProbeError(f"{path} is damaged ({error}); run: {made_by}") from error
    if missing := columns - set(table.columns):
        raise ProbeError(f"{path} lacks the columns {', '.join(sorted(missing))}; run: {made_by}")
    return table
