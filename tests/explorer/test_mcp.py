"""The tools for agents: called by a real MCP client over a real server, held against the files themselves."""

import csv
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pandas as pd
import pytest
from explorer.results import AUDIT, CURVES, EFFECTS, MATRIX, NAMED, PEAKS, SUMMARY
from explorer.tools import NAMES, Tools
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from explorer.answers import MAX_ROWS
from probe.audit import findings
from probe.errors import ProbeError
from probe.paths import REPOSITORY

FAMILY = "nano-aya"
RESULTS = REPOSITORY / "results" / FAMILY
CURVE = {"family": FAMILY, "variant": "fire", "language": "hi"}
PAIR = {"family": FAMILY, "variant_a": "fire", "variant_b": "global", "language": "hi"}
HTML = "<script>alert(1)</script><img src=x onerror=alert(2)> मुझे बुखार है"

# A page with events of its own, two of which are called as tools are. It ends when its stdin is closed.
PAGE = """
import sys
import gradio as gr
from pathlib import Path
from explorer import tools

def curve(text):
    return "not a tool"

def secret(text):
    return text

with gr.Blocks() as page:
    box, button = gr.Textbox(), gr.Button()
    button.click(curve, box, box)
    button.click(secret, box, box)
    button.click(secret, box, box, api_name="route")
    page.load(lambda: "loaded", None, box)
    tools.register(Path(sys.argv[1]))
page.launch(mcp_server=True, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
print(page.local_url, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def url():
    command = [sys.executable, "-c", PAGE, str(REPOSITORY)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            line = next((line for line in server.stdout if line.startswith("http")), None)
            assert line, "the server did not start"
            yield line.strip().rstrip("/")
        finally:
            server.stdin.close()
            server.wait(timeout=10)


async def session_of(url: str, work):
    async with (
        streamable_http_client(f"{url}/gradio_api/mcp/") as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        return await work(session)


def asked(url: str, name: str, **arguments) -> tuple[bool, str]:
    """(whether it is an error, the text) of one call."""

    async def work(session):
        answer = await session.call_tool(name, arguments)
        (content,) = answer.content
        return answer.isError, content.text

    return anyio.run(session_of, url, work)


def answer(url: str, name: str, **arguments) -> dict:
    failed, text = asked(url, name, **arguments)
    assert not failed, text
    return json.loads(text)


def rows_of(name: str, **where: str) -> list[dict]:
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[k] == v for k, v in where.items())]


def assert_same(found: dict, row: dict) -> None:
    """Every column of the CSV row that the answer holds, exactly; a number is the float that was written."""
    for column, value in found.items():
        if column in row:
            written = row[column]
            if isinstance(value, bool):
                assert str(value) == written
            elif isinstance(value, int | float):
                assert value == float(written), column
            else:
                assert (value or "") == written, column


def first_held(curve: list[float], threshold: float, consecutive: int, start: int) -> int | None:
    for state in range(start, len(curve) - consecutive + 1):
        if all(value >= threshold for value in curve[state : state + consecutive]):
            return state
    return None


def test_the_server_exposes_the_six_tools_and_none_of_the_pages_events(url):
    listed = anyio.run(session_of, url, lambda session: session.list_tools()).tools
    assert sorted(tool.name for tool in listed) == sorted(NAMES)
    for tool in listed:
        assert "Example:" in tool.description
        for name, schema in tool.inputSchema["properties"].items():
            assert len(schema.get("description", "")) > 10, (tool.name, name)
    endpoints = httpx.get(f"{url}/gradio_api/info").json()["named_endpoints"]
    assert len(endpoints) == len(NAMES)
    assert not {"/secret", "/lambda"} & set(endpoints)


def test_the_overview_lists_what_the_other_tools_take(url):
    assert FAMILY in answer(url, "overview")["families"]
    found = answer(url, "overview", family=FAMILY)
    summary = rows_of(SUMMARY)
    for name in ("variant", "language"):
        assert set(found["measured"][f"{name}s"]) == {row[name] for row in summary}
    for kind, of in found["measured"]["stimuli"].items():
        for name in ("position", "metric"):
            assert set(of[f"{name}s"]) == {row[name] for row in summary if row["stimuli"] == kind}
        assert set(of["meanings"]) == {int(row["n"]) for row in summary if row["stimuli"] == kind}
    pairs = {f"{row['variant_a']} - {row['variant_b']}" for row in rows_of(EFFECTS)}
    assert set(found["compared"]["pairs"]) == pairs
    assert "model organism" in found["description"]


def test_the_highest_of_a_variant_is_its_largest_value_that_no_finding_blocks(tools):
    overview = tools.overview(FAMILY)
    assert {highest["variant"] for highest in overview["highest"]} >= {"fire", "earth"}
    for highest in overview["highest"]:
        free = [
            state["value"]
            for language in overview["measured"]["languages"]
            for stimuli in overview["measured"]["stimuli"]
            for state in tools.curve(FAMILY, highest["variant"], language, stimuli)["states"]
            if state["blocked_by"] is None
        ]
        assert highest["value"] == max(free)


def test_a_curve_equals_the_csv(url):
    """Each number of it, and the peak's; over the wire."""
    found = answer(url, "curve", **CURVE, stimuli="parallel")
    where = {"variant": "fire", "language": "hi", "stimuli": "parallel", "position": "mean"}
    rows = rows_of(SUMMARY, **where, metric="excess")
    assert [state["state"] for state in found["states"]] == [int(row["state"]) for row in rows]
    for state, row in zip(found["states"], rows, strict=True):
        assert set(state) == set(row) - set(where) - {"metric"} | {"blocked_by"}
        assert_same(state, row)
    (peak,) = rows_of(PEAKS, **where, metric="excess")
    assert_same(found["peak"], peak)
    assert found["left_out"] == 0


def test_a_hundred_rows_equal_the_csv_and_say_what_blocks_them(tools):
    rows = random.Random(6).sample(rows_of(SUMMARY), 100)
    typed = pd.DataFrame(rows).astype(dict.fromkeys(rows[0].keys() - NAMED, float))
    blocks = findings.blocking(typed, findings.read(RESULTS / AUDIT, ""))
    assert 20 < blocks.notna().sum() < 90
    for row, expected in zip(rows, blocks, strict=True):
        found = tools.curve(FAMILY, *(row[name] for name in NAMED))
        state = found["states"][int(row["state"])]
        assert_same(state, row)
        assert state["blocked_by"] == expected
        blocking = {one["blocked_by"] for one in [*found["states"], *filter(None, [found["peak"]])]}
        assert {one["id"] for one in found["findings"]} == blocking - {None}


@pytest.mark.parametrize(("contrast", "references"), [("simple", 1), ("did", 2)])
def test_a_comparison_equals_the_csv(url, contrast, references):
    found = answer(url, "compare", **PAIR, stimuli="parallel", contrast=contrast)
    where = {"variant_a": "fire", "variant_b": "global", "language": "hi", "stimuli": "parallel"}
    rows = rows_of(EFFECTS, **where, position="mean", metric="excess", contrast=contrast)
    assert len(found["states"]) == len(rows) == references * 9
    for state in found["states"]:
        (row,) = (
            row
            for row in rows
            if int(row["state"]) == state["state"] and row["reference"] == (state["reference"] or "")
        )
        assert_same(state, row)


def test_commitment_at_the_criterion_of_the_run_equals_the_matrix(url):
    params = json.loads((RESULTS / CURVES).read_text(encoding="utf-8"))["metadata"]["params"]
    rule = {"threshold": params["threshold"], "consecutive": params["consecutive"]}
    rows = rows_of(MATRIX, language="sw")
    found = answer(url, "commitment", family=FAMILY, language="sw", **rule)
    assert len(found["concepts"]) == len(rows) * 5
    for cell in found["concepts"]:
        (row,) = (row for row in rows if row["concept_id"] == cell["concept_id"])
        written = row[f"{cell['variant']}_layer"]
        assert cell["state"] == (int(float(written)) if written else None)
        assert cell["concept"] == row["concept"]


@pytest.mark.parametrize(("threshold", "consecutive"), [(0.75, 2), (0.75, 5), (0.9, 3)])
def test_commitment_equals_the_table_of_its_sensitivity(tools, threshold, consecutive):
    rows = {
        (row["variant"], row["language"]): row
        for row in rows_of("commitment_sensitivity.csv", position="mean", metric="cosine")
        if float(row["threshold"]) == threshold and int(row["consecutive"]) == consecutive
    }
    found = tools.commitment(FAMILY, threshold, consecutive)["languages"]
    assert len(found) == len(rows) == 45
    assert any(cell["committed"] for cell in found) == (threshold < 0.85)
    for cell in found:
        row = rows[cell["variant"], cell["language"]]
        assert cell["committed"] == int(row["committed"])
        for name in ("fraction", "ci_low", "ci_high"):
            assert math.isclose(cell[name], float(row[name]), abs_tol=1e-6)
        assert cell["censored_median"] == (float(row["censored_median"]) if row["censored_median"] else None)


@pytest.mark.parametrize("start", [0, 2])
def test_commitment_at_another_threshold_equals_a_slow_loop(tools, start):
    """The threshold is one at which the mean of mismatched pairs commits in some variants but not in all."""
    curves = json.loads((RESULTS / CURVES).read_text(encoding="utf-8"))["curves"]
    found = tools.commitment(FAMILY, 0.3, 2, start, language="hi")
    states = {(cell["variant"], cell["concept_id"]): cell["state"] for cell in found["concepts"]}
    expected = {
        (variant, concept): first_held(of[concept]["hi"], 0.3, 2, start)
        for variant, of in curves.items()
        for concept in of
    }
    assert states == expected
    for cell in found["languages"]:
        own = [state for (variant, _), state in states.items() if variant == cell["variant"]]
        assert cell["committed"] == sum(state is not None for state in own)
        where = {"stimuli": "probes", "position": "mean", "metric": "cosine", "language": "hi"}
        null = [float(row["null"]) for row in rows_of(SUMMARY, **where, variant=cell["variant"])]
        assert cell["null_state"] == first_held(null, 0.3, 2, start)
    assert len({cell["null_state"] is None for cell in found["languages"]}) == 2
    for cell in found["concepts"]:
        assert (cell["state"] is not None) == (cell["held"] >= 0.3)


def test_a_blocked_commitment_is_blocked_as_the_cosine_at_its_state_is(tools):
    found = tools.commitment(FAMILY, 0.3, 2, language="fr")
    compared = 0
    for cell in found["concepts"]:
        if cell["state"] is None:
            assert cell["blocked_by"] is None
        else:
            curve = tools.curve(FAMILY, cell["variant"], "fr", metric="cosine")
            assert cell["blocked_by"] == curve["states"][cell["state"]]["blocked_by"]
            compared += 1
    assert compared > 20
    by = [cell["blocked_by"] for cell in found["concepts"]]
    assert sum(row["blocked"] for row in found["languages"]) == sum(one is not None for one in by)
    assert {one["id"] for one in found["findings"]} == set(by) - {None}


def test_the_audit_is_the_auditors(url):
    written = json.loads((RESULTS / AUDIT).read_text(encoding="utf-8"))["findings"]
    short = answer(url, "audit", family=FAMILY)["findings"]
    assert {one["id"]: one["evidence"] for one in short} == {
        one["id"]: one["evidence"]["sentence"] for one in written
    }
    severities = [one["severity"] for one in short]
    assert severities == sorted(severities, key=("high", "medium", "low").index)
    full = answer(url, "audit", family=FAMILY, finding="constant_final_token")["findings"]
    assert full == [one for one in written if one["id"] == "constant_final_token"]


@pytest.mark.parametrize(
    ("name", "arguments", "files"),
    [
        ("overview", {"family": FAMILY}, {SUMMARY, EFFECTS, PEAKS, MATRIX, CURVES, AUDIT}),
        ("curve", CURVE, {SUMMARY, PEAKS, AUDIT}),
        ("compare", PAIR, {EFFECTS, AUDIT}),
        ("commitment", {"family": FAMILY}, {CURVES, SUMMARY, MATRIX, AUDIT}),
        ("audit", {"family": FAMILY}, {AUDIT}),
    ],
)
def test_every_answer_says_where_it_comes_from(tools, name, arguments, files):
    (run,) = getattr(tools, name)(**arguments)["provenance"]
    expected = {f"results/{FAMILY}/{file}": (RESULTS / file).read_bytes() for file in files}
    assert run["files"] == {file: hashlib.sha256(content).hexdigest() for file, content in expected.items()}
    written = json.loads((RESULTS / "alignment_summary.meta.json").read_text(encoding="utf-8"))
    assert {key: run[key] for key in ("params", "inputs", "models")} == {
        key: written[key] for key in ("params", "inputs", "models")
    }


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("overview", {"family": "../../etc"}, [FAMILY]),
        ("curve", CURVE | {"variant": "water"}, ["variant 'water'", "base, global, fire"]),
        ("curve", CURVE | {"language": "en"}, ["hi, bn, sw, am"]),
        ("curve", CURVE | {"position": "focus", "stimuli": "parallel"}, ["only last, content, mean"]),
        ("curve", CURVE | {"metric": "margin"}, ["only cosine, excess", "no positive cosine"]),
        ("curve", {"family": FAMILY}, ["'variant' is a required property"]),
        ("compare", PAIR | {"variant_a": "global", "variant_b": "fire"}, ["fire - global"]),
        ("compare", PAIR | {"contrast": "both"}, ["simple", "did"]),
        ("compare", PAIR | {"variant_a": "random", "contrast": "did"}, ["contrast 'did', only simple"]),
        ("commitment", {"family": FAMILY, "threshold": 1.5}, ["-1 to 1"]),
        ("commitment", {"family": FAMILY, "threshold": "high"}, ["'high' is not of type 'number'"]),
        ("commitment", {"family": FAMILY, "consecutive": 0}, ["1 to 9"]),
        ("commitment", {"family": FAMILY, "start": 9}, ["0 to 8"]),
        ("commitment", {"family": FAMILY, "language": "de"}, ["hi, bn, sw, am"]),
        ("audit", {"family": FAMILY, "finding": "none"}, ["constant_final_token"]),
    ],
)
def test_a_wrong_argument_is_told_what_is_right(url, name, arguments, told):
    failed, text = asked(url, name, **arguments)
    assert failed
    for words in told:
        assert words in text
    assert "Traceback" not in text
    assert str(REPOSITORY) not in text


def test_a_hostile_argument_is_repeated_in_part_and_escaped():
    with pytest.raises(ProbeError) as raised:
        Tools(REPOSITORY).audit("\u202e\x1b[2J" + "x" * 100_000)
    assert len(str(raised.value)) < 200
    assert "\u202e" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_routing_takes_any_text(url):
    """HTML comes back as the text that it is, and the server lives on."""
    routing = pytest.importorskip("probe.routing")
    found = answer(url, "route", text=HTML)
    expected = routing.route(HTML)
    assert (found["variant"], found["language"]) == (expected.variant, expected.language)
    assert (found["category"], found["confidence"]) == (expected.category, expected.confidence)
    assert found["reasons"] == list(expected.reasons)
    assert found["text"] == expected.text[:200]
    assert answer(url, "route", text="x" * 100_000)["characters"] == 100_000
    failed, text = asked(url, "route", text="x" * 100_001)
    assert failed
    assert "100000" in text
    for odd in ("", "\u202e\u0000\x1b", "\U0001f600"):
        assert answer(url, "route", text=odd)["characters"] == len(odd)


def cut(path: Path) -> None:
    """Within the last row, as a copy that was broken off."""
    content = path.read_bytes()
    path.write_bytes(content[: content.rstrip().rfind(b",")])


def torn(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].replace("0.", "0x")
    path.write_text("\n".join(lines), encoding="utf-8")


def without_sidecar(path: Path) -> None:
    path.with_name(f"{path.stem}.meta.json").unlink()


def uneven(path: Path) -> None:
    payload = json.loads(path.read_text(encoding="utf-8"))
    payload["curves"]["fire"]["C03"]["hi"].pop()
    path.write_text(json.dumps(payload), encoding="utf-8")


def not_finite(path: Path) -> None:
    payload = json.loads(path.read_text(encoding="utf-8"))
    payload["curves"]["fire"]["C03"]["hi"][2] = float("nan")
    path.write_text(json.dumps(payload), encoding="utf-8")


def other_states(path: Path) -> None:
    payload = json.loads(path.read_text(encoding="utf-8"))
    for of in payload["curves"].values():
        for by_language in of.values():
            for curve in by_language.values():
                curve.pop()
    path.write_text(json.dumps(payload), encoding="utf-8")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.fixture
def root(tmp_path):
    for folder in ("results", "data"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.md"))
    return tmp_path


@pytest.fixture(scope="module")
def tools():
    return Tools(REPOSITORY)


@pytest.mark.filterwarnings("ignore::pandas.errors.DtypeWarning")
@pytest.mark.parametrize(
    ("name", "arguments", "file", "damage"),
    [
        ("curve", CURVE, SUMMARY, Path.unlink),
        ("curve", CURVE, SUMMARY, cut),
        ("curve", CURVE, SUMMARY, torn),
        ("curve", CURVE, SUMMARY, without_sidecar),
        ("curve", CURVE, SUMMARY, a_folder),
        ("curve", CURVE, PEAKS, lambda path: path.write_bytes(b"\xff\x00\xfe" * 100)),
        ("compare", PAIR, EFFECTS, lambda path: path.write_bytes(b"")),
        ("compare", PAIR, AUDIT, lambda path: path.write_text('{"metadata": {}}')),
        ("compare", PAIR, AUDIT, Path.unlink),
        ("audit", {"family": FAMILY}, AUDIT, cut),
        ("audit", {"family": FAMILY}, AUDIT, lambda path: path.write_text("[]")),
        ("commitment", {"family": FAMILY}, CURVES, uneven),
        ("commitment", {"family": FAMILY}, CURVES, not_finite),
        ("commitment", {"family": FAMILY}, CURVES, other_states),
        ("commitment", {"family": FAMILY}, CURVES, lambda path: path.write_text('{"curves": {}}')),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_makes_it(root, name, arguments, file, damage):
    damage(root / "results" / FAMILY / file)
    with pytest.raises(ProbeError) as raised:
        getattr(Tools(root), name)(**arguments)
    message = str(raised.value)
    assert Path(file).stem in message
    assert f"uv run concept_alignment.py --family {FAMILY}" in message
    assert str(root) not in message
    assert "\n" not in message


def test_a_file_that_was_replaced_is_read_again(root):
    tools, path = Tools(root), root / "results" / FAMILY / SUMMARY
    before = tools.curve(**CURVE, metric="cosine")
    rows = path.read_text(encoding="utf-8").splitlines()
    place = next(i for i, row in enumerate(rows) if row.startswith("fire,hi,probes,mean,cosine,4,"))
    cells = rows[place].split(",")
    rows[place] = ",".join([*cells[:6], "0.123456", *cells[7:]])
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    after = tools.curve(**CURVE, metric="cosine")
    assert before["states"][4]["value"] == float(cells[6])
    assert after["states"][4]["value"] == 0.123456
    assert [s for s in after["states"] if s["state"] != 4] == [s for s in before["states"] if s["state"] != 4]
    assert len(after["provenance"][0]["files"]) == 3
    assert after["provenance"] != before["provenance"]


def test_files_of_two_runs_are_told_apart(root):
    path = root / "results" / FAMILY / "peaks.meta.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["params"]["seed"] += 1
    path.write_text(json.dumps(metadata), encoding="utf-8")
    runs = Tools(root).curve(**CURVE)["provenance"]
    assert [[Path(file).name for file in run["files"]] for run in runs] == [[SUMMARY, AUDIT], [PEAKS]]


def test_an_answer_is_bounded(root):
    """A model of 300 blocks: the first states are told, and how many are not."""
    path = root / "results" / FAMILY / SUMMARY
    lines = path.read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if line.startswith("fire,hi,probes,mean,excess,8,"))
    lines += [row.replace("excess,8,", f"excess,{state},") for state in range(9, 301)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = Tools(root).curve(**CURVE)
    assert [state["state"] for state in found["states"]] == list(range(MAX_ROWS))
    assert found["left_out"] == 301 - MAX_ROWS


def test_results_of_one_variant_only(root):
    folder = root / "results" / FAMILY
    for name, keep in ((SUMMARY, "base,"), (PEAKS, "base,"), (EFFECTS, "none,")):
        head, *rows = (folder / name).read_text(encoding="utf-8").splitlines()
        kept = [head, *(row for row in rows if row.startswith(keep))]
        (folder / name).write_text("\n".join(kept) + "\n", encoding="utf-8")
    payload = json.loads((folder / CURVES).read_text(encoding="utf-8"))
    payload["curves"] = {"base": payload["curves"]["base"]}
    (folder / CURVES).write_text(json.dumps(payload), encoding="utf-8")
    tools = Tools(root)
    assert tools.overview(FAMILY)["compared"]["pairs"] == []
    assert len(tools.commitment(FAMILY)["languages"]) == 9
    with pytest.raises(ProbeError, match="only none at all"):
        tools.compare(FAMILY, "fire", "global", "hi")


def test_no_results_at_all(tmp_path):
    assert Tools(tmp_path).overview() == {"families": []}
    with pytest.raises(ProbeError, match="no family with results 'nano-aya', only none at all"):
        Tools(tmp_path).curve(**CURVE)
