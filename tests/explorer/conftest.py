"""The explorer's roots: nano-aya beside a family of one variant, and a small one to damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from explorer.data import Results
from probe.paths import REPOSITORY, Paths
from probe.tables import EFFECTS, SUMMARY, Table
from tests.support.browser import serving

FAMILY = "nano-aya"
# What this run declares to be its primary metric.
PRIMARY = json.loads((REPOSITORY / "results" / FAMILY / "alignment_summary.meta.json").read_text())["params"][
    "primary_metric"
]
METRICS = f"metric in ('cosine', '{PRIMARY}')"
UNUSED = shutil.ignore_patterns(
    "logit_lens*.csv", "logit_lens*.meta.json", "confounders*", "edge_effects*", "*.md"
)


def rewrite(root: Path, table: Table, change: Callable[[pd.DataFrame], pd.DataFrame], name=FAMILY) -> None:
    """A table of nano-aya's changed, sealed anew; as one of the family `name`."""
    paths = Paths(root)
    rows, made_of = change(table.read(paths, FAMILY)), table.provenance(paths, FAMILY)
    table.write(paths.results(name), rows, made_of)


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("explorer")
    shutil.copytree(REPOSITORY / "results" / FAMILY, root / "results" / FAMILY, ignore=UNUSED)
    shutil.copytree(REPOSITORY / "assets" / FAMILY, root / "assets" / FAMILY)
    few = f"variant == 'fire' and {METRICS}"
    rewrite(root, SUMMARY, lambda rows: rows.query(few).drop(columns=["verdict", "reason"]), "single")
    curves = json.loads((root / "results" / FAMILY / "alignment_curves.json").read_text())
    curves["curves"] = {"fire": curves["curves"]["fire"]}
    (root / "results" / "single" / "alignment_curves.json").write_text(json.dumps(curves))
    return root


@pytest.fixture(scope="session")
def results(root) -> Results:
    return Results(root, first=FAMILY)


@pytest.fixture(scope="session")
def small(root, tmp_path_factory) -> Path:
    """Of the large tables a few rows, so that they are quickly read."""
    small = tmp_path_factory.mktemp("small")
    shutil.copytree(root / "results" / FAMILY, small / "results" / FAMILY)
    few = f"variant in ('base', 'fire') and position == 'mean' and {METRICS}"
    rewrite(small, SUMMARY, lambda rows: rows.query(few))
    rewrite(small, EFFECTS, lambda rows: rows.query("variant_a == 'fire' and position == 'mean'"))
    path = small / "results" / FAMILY / "alignment_curves.json"
    curves = json.loads(path.read_text())
    curves["curves"] = {variant: curves["curves"][variant] for variant in ("base", "fire")}
    path.write_text(json.dumps(curves))
    return small


@pytest.fixture
def copy(small, tmp_path) -> Path:
    """A root that a test may damage."""
    shutil.copytree(small / "results", tmp_path / "results")
    return tmp_path


@pytest.fixture(scope="session")
def server(root, tmp_path_factory):
    with serving(root, tmp_path_factory.mktemp("server"), "--demo", "--mcp") as server:
        yield server
