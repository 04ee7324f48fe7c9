"""The README: its commands parse, its links resolve, and it names the test command that CI runs."""

import importlib
import re
import shlex

import pytest

from probe.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in REPOSITORY.rglob("*.md") if ".venv" not in path.parts]
COMMANDS = sorted(set(re.findall(r"uv run ((?:viz/)?\w+\.py[^`#\n|]*)", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command):
    script, *arguments = shlex.split(command)
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    module.parser().parse_args(arguments)


def test_there_are_commands():
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_relative_link_resolves(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_ci_runs_the_test_command_of_the_readme():
    assert "uv run pytest" in README
    assert (REPOSITORY / ".ci" / "run").read_text().rstrip().endswith("uv run pytest")
