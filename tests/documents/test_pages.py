"""Every page of the repository: its links lead somewhere, and its commands parse."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from docs import render
from probe.paths import REPOSITORY

PAGES = sorted(path for path in REPOSITORY.rglob("*.md") if not {".venv", "shared"} & set(path.parts))
NAMES = [path.relative_to(REPOSITORY).as_posix() for path in PAGES]
FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)
README = (REPOSITORY / "README.md").read_text("utf-8")
SCRIPT = re.compile(r"uv run ((?:(?:viz|docs)/)?\w+\.py[^`#\n|(]*)")
COMMANDS = sorted({found.strip() for page in PAGES for found in SCRIPT.findall(page.read_text("utf-8"))})


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere: no such file, or no such heading in it."""
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCE.sub("", page.read_text("utf-8"))):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_and_anchor_resolves(page):
    assert broken_links(page) == []


def test_broken_links_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One, two\n[a](#one-two) [b](#three) [c](none.md) [d](page.md#one-two) [e](https://x.y/z)\n"
    )
    assert broken_links(page) == ["#three", "none.md"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command):
    script, *arguments = shlex.split(command)
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    module.parser().parse_args(arguments)


def test_the_readme_shows_what_its_command_prints(tmp_path, capsys):
    """The command under its figure, on the results as they are."""
    (tmp_path / "results").symlink_to(REPOSITORY / "results")
    (command,) = re.findall(r"Made by\n?\s?`uv run viz/alignment_curves.py ([^`]+)`", README)
    assert (
        importlib.import_module("viz.alignment_curves").main([*command.split(), "--root", str(tmp_path)]) == 0
    )
    assert capsys.readouterr().out.removeprefix(f"{tmp_path}/").strip() in README


def test_the_readme_is_short():
    assert len(README.split()) <= 1200


def test_ci_runs_the_test_command_of_the_readme():
    assert "uv run pytest" in README
    assert (REPOSITORY / ".ci" / "run").read_text().rstrip().endswith("uv run pytest")


# Decisions and what stages write are of their day; a template's numbers are the renderer's.
PLAIN = [
    name
    for name in NAMES
    if not name.startswith(("docs/adr/", "results/"))
    and not (REPOSITORY / render.TEMPLATES / f"{name}.j2").exists()
]


@pytest.mark.parametrize("name", PLAIN)
def test_a_page_without_a_template_holds_no_measured_number(name):
    chosen = tomllib.loads((REPOSITORY / render.SOURCES).read_text("utf-8"))["typed"].get(name, {})
    text = (REPOSITORY / name).read_text("utf-8")
    assert [number for _, number in render.typed(text) if number not in chosen] == []
