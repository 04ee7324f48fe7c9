"""The tools for agents: called by a real MCP client over the real server, held against the files."""

import csv
import hashlib
import json
import math
from pathlib import Path

import anyio
import httpx
import pandas as pd
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

import app
from explorer.answers import MAX_ROWS
from explorer.data import AUDIT, CURVES, EFFECTS, MATRIX, PEAKS, SENSITIVITY, SUMMARY, Results
from explorer.mcp import FILES, NAMES, Tools
from explorer.serve import trusted
from probe import tables
from probe.errors import ProbeError
from probe.paths import REPOSITORY
from probe.routing import route
from tests.explorer.conftest import FAMILY, PRIMARY, rewrite

NAMED = ["variant", "language", "stimuli", "position", "metric"]
CURVE = {"family": FAMILY, "variant": "fire", "language": "hi"}
PAIR = {"family": FAMILY, "variant_a": "fire", "variant_b": "global", "language": "hi"}
HTML = "<script>alert(1)</script><img src=x onerror=alert(2)> मुझे बुखार है"


@pytest.fixture(scope="module")
def url(server):
    return server.url.rstrip("/")


@pytest.fixture(scope="module")
def tools(results):
    return Tools(results)


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


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return root / "results" / FAMILY


@pytest.fixture(scope="module")
def rows_of(folder):
    """rows_of(file, column=value, ...) -> the rows of a CSV as it has them, as text."""

    def rows_of(name: str, **where: str) -> list[dict]:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if all(row[k] == v for k, v in where.items())]

    return rows_of


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


def test_the_overview_lists_what_the_other_tools_take(url, rows_of):
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


def test_the_highest_of_a_variant_is_its_largest_value_that_may_be_claimed(tools):
    overview = tools.overview(FAMILY)
    assert {highest["variant"] for highest in overview["highest"]} >= {"fire", "earth"}
    for highest in overview["highest"]:
        free = [
            state["value"]
            for stimuli, of in overview["measured"]["stimuli"].items()
            for language in of["languages"]
            for state in tools.curve(FAMILY, highest["variant"], language, stimuli)["states"]
            if state["reason"] is None
        ]
        assert highest["value"] == max(free)


def test_a_curve_equals_the_csv(url, rows_of):
    """Each number of it, and the peak's; over the wire."""
    found = answer(url, "curve", **CURVE, stimuli="parallel")
    where = {"variant": "fire", "language": "hi", "stimuli": "parallel", "position": "mean"}
    rows = rows_of(SUMMARY, **where, metric=PRIMARY)
    assert [state["state"] for state in found["states"]] == [int(row["state"]) for row in rows]
    for state, row in zip(found["states"], rows, strict=True):
        assert set(state) == set(row) - set(where) - {"metric"}
        assert_same(state, row)
    (peak,) = rows_of(PEAKS, **where, metric=PRIMARY)
    assert_same(found["peak"], peak)
    assert found["left_out"] == 0


def test_fifty_rows_equal_the_csv_and_say_why_they_must_not_be_claimed(tools, results, folder):
    table = pd.read_csv(folder / SUMMARY)
    ids = {finding.id for finding in results.findings(FAMILY)}
    table = table.assign(may=~table.verdict.isin(["descriptive", "blocked"]))
    rows = pd.concat([table.sample(25, random_state=6), table.query("may").sample(10, random_state=6)])
    assert 10 <= rows.may.sum() < len(rows)
    for row, written in zip(rows.itertuples(), rows.astype(str).to_dict("records"), strict=True):
        curve = tools.curve(FAMILY, *(written[name] for name in NAMED))
        state = curve["states"][row.state]
        assert state["value"] == row.value
        assert (state["reason"] is None) == (state["verdict"] not in ("blocked", "descriptive")) == row.may
        reasons = {one["reason"] for one in [*curve["states"], *filter(None, [curve["peak"]])]}
        assert {one["id"] for one in curve["findings"]} == reasons & ids


@pytest.mark.parametrize(("contrast", "references"), [("simple", 1), ("did", 2)])
def test_a_comparison_equals_the_csv(url, contrast, references, rows_of):
    found = answer(url, "compare", **PAIR, stimuli="parallel", contrast=contrast)
    where = {"variant_a": "fire", "variant_b": "global", "language": "hi", "stimuli": "parallel"}
    rows = rows_of(EFFECTS, **where, position="mean", metric=PRIMARY, contrast=contrast)
    assert len(found["states"]) == len(rows) == references * 9
    for state in found["states"]:
        (row,) = (
            row
            for row in rows
            if int(row["state"]) == state["state"] and row["reference"] == (state["reference"] or "")
        )
        assert_same(state, row)


@pytest.mark.parametrize(("threshold", "consecutive"), [(0.75, 2), (0.75, 5), (0.9, 3)])
def test_commitment_equals_the_table_of_its_sensitivity(tools, threshold, consecutive, rows_of):
    rows = {
        (row["variant"], row["language"]): row
        for row in rows_of("commitment_sensitivity.csv", position="mean", metric="cosine")
        if row.get("stimuli", "probes") == "probes"
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
def test_commitment_at_another_threshold_equals_a_slow_loop(tools, start, rows_of, folder):
    """The threshold is one at which the mean of mismatched pairs commits in some variants but not in all."""
    curves = json.loads((folder / CURVES).read_text(encoding="utf-8"))["curves"]
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
    probes = [row for row in rows_of(MATRIX) if row.get("stimuli", "probes") == "probes"]
    names = {row["concept_id"]: row["concept"] for row in probes}
    for cell in found["concepts"]:
        assert (cell["state"] is not None) == (cell["held"] >= 0.3)
        assert cell["concept"] == names[cell["concept_id"]]


def test_a_commitment_may_be_claimed_where_the_cosine_at_its_state_may(tools):
    concepts = tools.commitment(FAMILY, 0.3, 2, language="fr")
    made = [cell for cell in concepts["concepts"] if cell["state"] is not None]
    assert 20 < len(made) < len(concepts["concepts"])
    for cell in made:
        curve = tools.curve(FAMILY, cell["variant"], "fr", metric="cosine")
        assert cell["reason"] == curve["states"][cell["state"]]["reason"]
    reasons = [cell["reason"] for cell in concepts["concepts"] if cell["reason"]]
    assert sum(row["not_claimable"] for row in concepts["languages"]) == len(reasons) > 0


def test_the_audit_is_the_auditors(url, folder):
    written = json.loads((folder / AUDIT).read_text(encoding="utf-8"))["findings"]
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
        ("overview", {"family": FAMILY}, {*FILES}),
        ("curve", CURVE, {SUMMARY, PEAKS, AUDIT}),
        ("compare", PAIR, {EFFECTS, AUDIT}),
        ("commitment", {"family": FAMILY}, {CURVES, SUMMARY, MATRIX, SENSITIVITY, AUDIT}),
        ("audit", {"family": FAMILY}, {AUDIT}),
    ],
)
def test_every_answer_says_where_it_comes_from(tools, name, arguments, files, folder):
    (run,) = getattr(tools, name)(**arguments)["provenance"]
    expected = {f"results/{FAMILY}/{file}": (folder / file).read_bytes() for file in files}
    assert run["files"] == {file: hashlib.sha256(content).hexdigest() for file, content in expected.items()}
    written = json.loads((folder / "alignment_summary.meta.json").read_text(encoding="utf-8"))
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
        ("curve", CURVE | {"metric": "margin"}, ["only ", PRIMARY, "no positive cosine"]),
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


def test_a_hostile_argument_is_repeated_in_part_and_escaped(tools):
    with pytest.raises(ProbeError) as raised:
        tools.audit("\u202e\x1b[2J" + "x" * 100_000)
    assert len(str(raised.value)) < 200
    assert "\u202e" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_routing_takes_any_text(url, results):
    """HTML comes back as the text that it is, and the server lives on. The family is the page's own."""
    decision, expected = answer(url, "route", text=HTML), results.router(FAMILY).route(HTML)
    for name in ("variant", "language", "category", "confidence"):
        assert decision[name] == getattr(expected, name)
    assert decision["reasons"] == list(expected.reasons)
    assert decision["text"] == expected.text[:200]
    assert answer(url, "route", text=HTML, family="tiny-aya")["reasons"] == list(route(HTML).reasons)
    assert answer(url, "route", text="x" * 100_000)["characters"] == 100_000
    failed, text = asked(url, "route", text="x" * 100_001)
    assert failed
    assert "100000" in text
    for odd in ("", "\u202e\u0000\x1b", "\U0001f600"):
        assert answer(url, "route", text=odd)["characters"] == len(odd)


# Who may ask


def test_only_who_names_the_server_is_answered(url):
    """A page elsewhere whose name was made to point here is not."""
    assert httpx.get(url, headers={"Host": "localhost"}).status_code == 200
    for path in ("", "/gradio_api/info", "/gradio_api/mcp/", "/data/curves/by_state.csv"):
        assert httpx.get(f"{url}{path}", headers={"Host": "attacker.example"}).status_code == 400


def test_the_server_can_be_given_names_of_its_own():
    assert app.parser().parse_args([]).host == "127.0.0.1"
    args = app.parser().parse_args(["--host", "10.0.0.7", "--name", "probe.example"])
    hosts = set(trusted(args.host, args.name).kwargs["allowed_hosts"])
    assert hosts == {"10.0.0.7", "probe.example", "127.0.0.1", "localhost", "::1"}


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/upload"])
def test_no_files_are_taken(url, path):
    sent = httpx.post(
        f"{url}{path}", files={"files": ("a.txt", b"x" * 1000)}, headers={"Origin": "http://a.example"}
    )
    assert sent.status_code in (403, 404, 405)
    assert ".txt" not in sent.text


# Files


def change_curves(root: Path, change) -> None:
    path = root / "results" / FAMILY / CURVES
    payload = json.loads(path.read_text(encoding="utf-8"))
    change(payload["curves"])
    path.write_text(json.dumps(payload), encoding="utf-8")


def other_states(curves: dict) -> None:
    for of in curves.values():
        for by_language in of.values():
            for curve in by_language.values():
                curve.pop()


@pytest.mark.parametrize(
    ("name", "arguments", "file", "damage"),
    [
        ("curve", CURVE, SUMMARY, lambda root: (root / SUMMARY).unlink()),
        ("curve", CURVE, "alignment_summary", lambda root: (root / "alignment_summary.meta.json").unlink()),
        ("compare", PAIR, AUDIT, lambda root: (root / AUDIT).unlink()),
        ("audit", {"family": FAMILY}, AUDIT, lambda root: (root / AUDIT).write_text("[]")),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_makes_it(copy, name, arguments, file, damage):
    """See test_page.py for more kinds of damage: page and tools read with the same code."""
    damage(copy / "results" / FAMILY)
    assert_explained(copy, name, arguments, file)


@pytest.mark.parametrize(
    "change",
    [
        lambda curves: curves["fire"]["C03"]["hi"].pop(),
        lambda curves: curves["fire"]["C03"]["hi"].__setitem__(2, float("nan")),
        lambda curves: curves["fire"].pop("C03"),
        lambda curves: curves.clear(),
        other_states,
    ],
)
def test_curves_that_do_not_fit_are_named_with_the_command_that_makes_them(copy, change):
    change_curves(copy, change)
    assert_explained(copy, "commitment", {"family": FAMILY}, CURVES)


def assert_explained(root: Path, name: str, arguments: dict, file: str) -> None:
    with pytest.raises(ProbeError) as raised:
        Tools(Results(root)).served(name)(**arguments)
    message = str(raised.value)
    assert file in message
    assert f"uv run concept_alignment.py --family {FAMILY}" in message
    assert str(root) not in message
    assert "\n" not in message


def test_a_file_that_was_replaced_is_read_again(copy):
    tools = Tools(Results(copy))
    before = tools.curve(**CURVE, metric="cosine")
    place = (
        "variant == 'fire' and language == 'hi' and stimuli == 'probes' and metric == 'cosine' and state == 4"
    )

    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[rows.query(place).index, "value"] = 0.123456
        return rows

    rewrite(copy, tables.SUMMARY, change)
    after = tools.curve(**CURVE, metric="cosine")
    assert before["states"][4]["value"] != after["states"][4]["value"] == 0.123456
    assert [s for s in after["states"] if s["state"] != 4] == [s for s in before["states"] if s["state"] != 4]
    assert len(after["provenance"][0]["files"]) == 3
    assert after["provenance"] != before["provenance"]


def test_files_of_two_runs_are_told_apart(copy):
    path = copy / "results" / FAMILY / "peaks.meta.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["params"]["seed"] += 1
    path.write_text(json.dumps(metadata), encoding="utf-8")
    runs = Tools(Results(copy)).curve(**CURVE)["provenance"]
    assert [[Path(file).name for file in run["files"]] for run in runs] == [[SUMMARY, AUDIT], [PEAKS]]


def test_an_answer_is_bounded(copy):
    """A model of 300 blocks: the first states are told, and how many are not."""
    place = "variant == 'fire' and language == 'hi' and stimuli == 'probes' and state == 8"

    def deepen(rows: pd.DataFrame) -> pd.DataFrame:
        last = rows.query(place)
        return pd.concat([rows, *(last.assign(state=state) for state in range(9, 301))])

    rewrite(copy, tables.SUMMARY, deepen)
    curve = Tools(Results(copy)).curve(**CURVE)
    assert [state["state"] for state in curve["states"]] == list(range(MAX_ROWS))
    assert curve["left_out"] == 301 - MAX_ROWS


def test_results_of_one_variant_only(copy):
    for table in (tables.SUMMARY, tables.PEAKS):
        rewrite(copy, table, lambda rows: rows.query("variant == 'base'"))
    rewrite(copy, tables.EFFECTS, lambda rows: rows.query("variant_a == 'none'"))
    change_curves(copy, lambda curves: curves.pop("fire"))
    tools = Tools(Results(copy))
    assert tools.overview(FAMILY)["compared"]["pairs"] == []
    assert len(tools.commitment(FAMILY)["languages"]) == 9
    with pytest.raises(ProbeError, match="only none at all"):
        tools.compare(FAMILY, "fire", "global", "hi")


def test_no_results_at_all(tmp_path):
    tools = Tools(Results(tmp_path))
    assert tools.overview() == {"families": []}
    with pytest.raises(ProbeError, match="no family with results 'nano-aya', only none at all"):
        tools.curve(**CURVE)
