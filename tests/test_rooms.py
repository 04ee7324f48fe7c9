"""Imports point one way: stage -> model_loader -> rooms of probe -> its loose files; rooms only downwards."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from probe.paths import REPOSITORY

FLOORS = (("stimuli", "models", "stats"), ("activations",), ("alignment", "lens", "causal", "diff"),
          ("audit", "failures", "routing"))  # fmt: skip
HEIGHT = {f"probe.{room}": floor for floor, rooms in enumerate(FLOORS, start=1) for room in rooms}
HEIGHT |= {"probe": 0, "model_loader": 10}
PACKAGES = ("probe", "viz", "explorer", "organism", "bench", "docs", "tests")
# What a package beside the stages takes, over and above `probe` and itself.
BESIDE = {
    "viz": (),
    "explorer": ("viz.style", "model_loader"),
    "organism": (),
    "docs": (),
    "bench": ("model_loader", "organism", "viz.style"),
}
# What a script takes over and above `probe`; of every other it is model_loader alone.
SCRIPTS = {
    "app": ("explorer",),
    "batch_runner": ("modal_config", "model_loader"),
    "build_stimuli": ("organism",),
}


def imports(root: Path) -> Iterator[tuple[str, str]]:
    """(module, what it imports) of all modules of the tree, within the tree."""
    folders = [folder for name in PACKAGES for folder in (root / name).rglob("*.py")]
    files = {
        path.relative_to(root).with_suffix("").as_posix(): path for path in [*root.glob("*.py"), *folders]
    }
    modules = {name.replace("/", ".").removesuffix(".__init__"): path for name, path in files.items()}
    inside = {name.partition(".")[0] for name in modules}
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.ImportFrom):
                names = [
                    whole if (whole := f"{node.module}.{name}") in modules else f"{node.module}"
                    for name in names
                ]
            elif not isinstance(node, ast.Import):
                continue
            yield from ((module, name) for name in names if name.partition(".")[0] in inside)


def room(module: str) -> str:
    """`probe.stats` of probe.stats.metrics; `probe` of a loose file; outside of probe, script or package."""
    own = ".".join(module.split(".")[:2])
    return own if own in HEIGHT else module.partition(".")[0]


def allowed(module: str, imported: str) -> bool:
    own, other = room(module), room(imported)
    if own in (other, "tests", "pipeline"):  # the pipeline calls every stage's main
        return True
    if own in HEIGHT:
        return other in HEIGHT and HEIGHT[other] < HEIGHT[own]
    if other.startswith("probe"):
        return True
    if own in BESIDE:
        return any(imported.startswith(taken) for taken in BESIDE[own])
    return other in SCRIPTS.get(own, ("model_loader",))


def test_imports_point_one_way():
    upward = sorted({f"{a} -> {b}" for a, b in imports(REPOSITORY) if not allowed(a, b)})
    assert not upward, "\n".join(upward)


def test_every_room_has_its_floor():
    rooms = {f"probe.{path.parent.name}" for path in (REPOSITORY / "probe").glob("*/__init__.py")}
    assert rooms <= set(HEIGHT)


@pytest.mark.parametrize(
    ("module", "line", "points_up"),
    [
        ("probe/stats/metrics.py", "from probe.alignment import cells", True),
        ("probe/stats/metrics.py", "def f():\n    import probe.audit.door", True),
        ("probe/stats/metrics.py", "from probe.models import head", True),
        ("probe/audit/door.py", "from probe.alignment.cells import measure", False),
        ("probe/files.py", "from probe.stats import metrics", True),
        ("probe/lens/languages.py", "from model_loader import loaded", True),
        ("logit_lens.py", "from model_loader import loaded", False),
        ("logit_lens.py", "import batch_runner", True),
        ("model_loader.py", "from probe.models import head", False),
        ("explorer/page.py", "from viz import style", False),
        ("explorer/page.py", "from viz.curves import draw", True),
        ("explorer/page.py", "import logit_lens", True),
        ("viz/curves.py", "from explorer import page", True),
        ("bench/power.py", "from tests.support import synthetic", True),
    ],
)
def test_an_arrow_that_points_up_is_seen(tmp_path, module, line, points_up):
    """In a tree of what these lines name."""
    for name in ("probe/alignment/cells", "probe/audit/door", "probe/models/head", "probe/stats/metrics",
                 "model_loader", "batch_runner", "logit_lens", "viz/style", "viz/curves", "explorer/page",
                 "tests/support/synthetic"):  # fmt: skip
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    own = tmp_path / module
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(line)
    assert [not allowed(a, b) for a, b in imports(tmp_path)] == [points_up]
