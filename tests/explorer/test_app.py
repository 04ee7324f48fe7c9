"""The explorer without a browser: what it draws is what the files hold, whatever is asked and however damaged
they are; its addresses; what it shows of hostile text; one model in memory."""

import html
import json
import random
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

import app
from explorer import commitment, controls, curves, effects, figures, lens, router, words
from explorer.controls import Control, from_address, of_tab, settled
from explorer.page import TABS, Explorer, data_route, figure_route
from explorer.tables import TABLES, Results
from probe.alignment.commitment import commitment_layer
from probe.errors import ProbeError
from probe.paths import REPOSITORY
from tests.support.readings import lens_examples, reading

FAMILY = "nano-aya"
LIGHT = figures.theme("light wide")
LOOKS = ("light wide", "dark wide", "light narrow", "dark narrow")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(REPOSITORY / "results" / FAMILY, root / "results" / FAMILY)
    lens_examples(root / "results" / FAMILY / "logit_lens_examples.json", n_states=9)
    return root


@pytest.fixture(scope="module")
def results(root) -> Results:
    return Results(root)


@pytest.fixture
def copy(root, tmp_path) -> Path:
    """A root that a test may damage."""
    shutil.copytree(root / "results", tmp_path / "results")
    return tmp_path


def chosen(tab, results, **asked):
    return settled(tab.settings(results, FAMILY), asked)


def any_choice(tab, results, pick: random.Random) -> dict:
    """Any values that the controls offer."""
    asked = {}
    for control in tab.settings(results, FAMILY):
        values = [value for _, value in control.choices]
        if control.kind == "many":
            asked[control.name] = pick.sample(values, pick.randint(1, len(values)))
        elif control.kind == "one" and values:
            asked[control.name] = pick.choice(values)
        elif control.kind in ("number", "state"):
            asked[control.name] = pick.uniform(control.low, control.high)
    return chosen(tab, results, **asked)


# What is drawn is what was measured


def test_two_hundred_points_of_curves_are_those_of_the_file(results):
    table = pd.read_csv(results.file(FAMILY, "alignment_summary.csv"))
    pick = random.Random(1)
    for _ in range(200):
        point = table.iloc[pick.randrange(len(table))]
        asked = {"languages": [point.language], **point[["metric", "position", "stimuli"]]}
        view = curves.view(results, FAMILY, chosen(curves, results, variants=[point.variant], **asked), LIGHT)
        line = next(t for t in view.figures["by_state"]["data"] if t["mode"] == "lines+markers")
        assert line["y"][line["x"].index(point.state)] == point.value
        row = view.tables["by_state"].query("mark == 'curve' and state == @point.state").iloc[0]
        assert row[["value", "ci_low", "ci_high", "null", "n"]].tolist() == (
            point[["value", "ci_low", "ci_high", "null", "n"]].tolist()
        )


def test_intervals_and_nulls_of_a_state_are_drawn_where_the_file_has_them(results):
    table = pd.read_csv(results.file(FAMILY, "alignment_summary.csv"))
    view = curves.view(results, FAMILY, chosen(curves, results, variants=["fire"], state=4), LIGHT)
    null, points = view.figures["at_state"]["data"]
    at = table.query("variant == 'fire' and state == 4 and metric == 'excess' and position == 'mean'")
    at = at.query("stimuli == 'parallel'").set_index("language")
    for i, language in enumerate(dict.fromkeys(curves.TARGETS)):
        row = at.loc[language]
        assert points["x"][i] == row.value
        assert points["x"][i] + points["error_x"]["array"][i] == pytest.approx(row.ci_high, abs=2e-6)
        assert points["x"][i] - points["error_x"]["arrayminus"][i] == pytest.approx(row.ci_low, abs=2e-6)
        assert null["x"][3 * i : 3 * i + 2] == [row.null_low, row.null_high]


def test_two_hundred_points_of_effects_are_those_of_the_file(results):
    table = pd.read_csv(results.file(FAMILY, "variant_effects.csv"))
    pick = random.Random(2)
    for _ in range(200):
        point = table.iloc[pick.randrange(len(table))]
        contrast = "simple" if point.contrast == "simple" else f"did: {point.reference}"
        asked = {"pair": f"{point.variant_a}-{point.variant_b}", "contrast": contrast}
        asked |= {"languages": [point.language], **point[["metric", "position", "stimuli"]]}
        view = effects.view(results, FAMILY, chosen(effects, results, **asked), LIGHT)
        line = next(t for t in view.figures["by_state"]["data"] if t["mode"] == "lines+markers")
        assert line["y"][line["x"].index(point.state)] == point["diff"]


def test_blocked_points_are_open_and_say_why(results):
    view = curves.view(results, FAMILY, chosen(curves, results, position="last", metric="cosine"), LIGHT)
    shown = view.tables["by_state"].query("mark == 'curve'")
    hidden = shown.blocked.notna()
    lines = [t for t in view.figures["by_state"]["data"] if t["mode"] == "lines+markers"]
    symbols = [symbol for line in lines for symbol in line["marker"]["symbol"]]
    assert sum(symbol.endswith("-open") for symbol in symbols) == hidden.sum() > 0
    first = shown.loc[hidden].iloc[0].blocked
    assert any(first in words for line in lines for words in line["customdata"])
    assert "constant_final_token" in view.note


def test_commitment_is_recomputed_cell_by_cell(results):
    stored = json.loads(results.file(FAMILY, "alignment_curves.json").read_text())["curves"]
    view = commitment.view(
        results, FAMILY, chosen(commitment, results, threshold=0.55, run=2, start=1), LIGHT
    )
    table = view.tables["cells"]
    assert len(table) == sum(len(languages) for c in stored.values() for languages in c.values())
    for row in table.sample(200, random_state=0).itertuples():
        state = commitment_layer(stored[row.variant][row.concept_id][row.language], 0.55, 2, 1)
        assert (None if pd.isna(row.state) else row.state) == state
    share = view.tables["share"].query("threshold == 0.5")
    assert (share.committed <= share.n).all()


def test_the_share_that_commits_is_the_count_of_cells(results):
    view = commitment.view(results, FAMILY, chosen(commitment, results, threshold=0.6), LIGHT)
    by_variant = view.tables["cells"].groupby("variant").state.count()
    share = view.tables["share"].query("threshold == 0.6").set_index("variant").committed
    assert by_variant.to_dict() == share.to_dict()


def test_the_map_has_a_frame_for_each_state_and_its_points_are_those_of_the_file(results):
    table = pd.read_csv(results.file(FAMILY, "concept_map.csv")).query("variant == 'earth'")
    tab = next(tab for tab in TABS if tab.KEY == "map")
    view = tab.view(results, FAMILY, chosen(tab, results, variant="earth", plane="as_is", state=3), LIGHT)
    drawn = view.figures["plane"]
    assert len(drawn["frames"]) == table.state.nunique()
    for state, frame in enumerate(drawn["frames"]):  # noqa: B007 - the query reads it
        points = {(x, y) for trace in frame["data"][:10] for x, y in zip(trace["x"], trace["y"], strict=True)}
        assert points == set(table.query("state == @state")[["x", "y"]].itertuples(index=False, name=None))
    assert drawn["data"][0]["x"] == drawn["frames"][3]["data"][0]["x"]


# Whatever is asked


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.KEY)
def test_any_choice_gives_figures_that_plotly_takes(tab, results):
    pick = random.Random(tab.KEY)
    for look in LOOKS * 2:
        view = tab.view(results, FAMILY, any_choice(tab, results, pick), figures.theme(look))
        assert view.figures.keys() <= set(tab.PLOTS)
        assert view.note
        for drawn in view.figures.values():
            as_sent = json.loads(figures.to_json(drawn))  # no NaN
            go.Figure(data=as_sent["data"], layout=as_sent["layout"])  # raises for what is no attribute
            for frame in as_sent["frames"]:
                assert len(frame["data"]) == len(as_sent["data"])


@given(
    st.text()
    | st.none()
    | st.integers()
    | st.floats()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)
def test_nothing_that_is_sent_can_break_a_control(sent):
    kinds = (
        Control("a", "A", "one", "x", (("X", "x"), ("Y", "y"))),
        Control("b", "B", "many", ["x"], (("X", "x"), ("Y", "y"))),
        Control("c", "C", "number", 0.5, low=0, high=1, step=0.01),
        Control("d", "D", "state", 2, low=0, high=8),
        Control("e", "E", "text", ""),
    )
    one, many, number, state, text = (control.settle(sent) for control in kinds)
    assert one in ("x", "y")
    assert many
    assert set(many) <= {"x", "y"}
    assert 0 <= number <= 1
    assert state in range(9)
    assert isinstance(text, str)


def test_an_address_gives_back_what_was_chosen(results):
    from urllib.parse import urlencode

    for tab in TABS:
        asked = any_choice(tab, results, random.Random(3))
        written = {
            f"{tab.KEY}.{name}": ",".join(value) if isinstance(value, list) else value
            for name, value in asked.items()
        }
        address = from_address("?" + urlencode(written))
        assert settled(tab.settings(results, FAMILY), of_tab(address, tab.KEY)) == asked


@given(st.text())
def test_no_address_breaks_the_page(search):
    assert isinstance(from_address(search), dict)


def test_the_csv_of_an_address_is_what_it_draws(results):
    client = TestClient(Starlette(routes=[data_route(Explorer(results)), figure_route(results)]))
    answer = client.get(
        "/data/curves/by_state.csv?curves.languages=yo&curves.variants=earth&curves.metric=mexa"
    )
    assert answer.headers["content-disposition"] == 'attachment; filename="nano-aya_curves_by_state.csv"'
    asked = chosen(curves, results, languages=["yo"], variants=["earth"], metric="mexa")
    expected = curves.view(results, FAMILY, asked, LIGHT).tables["by_state"]
    assert answer.text == expected.to_csv(index=False, lineterminator="\n")
    for wrong in ("/data/curves/nothing.csv", "/data/nothing/by_state.csv", "/assets/nano-aya/nothing.png"):
        assert client.get(wrong).status_code == 404
    assert client.get("/assets/..%2F..%2Fdata/families.toml").status_code == 404


# However damaged the files are


def views(root: Path, family: str = FAMILY):
    explorer = Explorer(Results(root))
    return {tab.KEY: explorer.view(tab, family, {}, "light wide") for tab in TABS}


def said(note: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", note))


def test_no_results_are_explained(tmp_path):
    for view in views(tmp_path).values():
        assert "uv run pipeline.py" in said(view.note)
        assert not view.figures
    (tmp_path / "results" / FAMILY).mkdir(parents=True)
    assert "uv run pipeline.py" in said(views(tmp_path)["curves"].note)


NEEDED = {
    "alignment_summary.csv": "curves",
    "alignment_curves.json": "commitment",
    "variant_effects.csv": "effects",
    "concept_map.csv": "map",
    "concept_map_variance.csv": "map",
    "logit_lens_examples.json": "lens",
    "artifact_audit.json": "audit",
}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("damage", ["missing", "cut", "binary", "empty", "other"])
def test_a_damaged_file_is_named_with_the_command_that_helps(copy, name, damage):
    path = copy / "results" / FAMILY / name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        broken = {"cut": whole[: len(whole) // 3], "binary": bytes(range(256)) * 9, "empty": b""}
        path.write_bytes(broken.get(damage, b'{"a": [1, 2]}' if name.endswith("json") else b"a,b\n1,2\n"))
    shown = views(copy)
    assert "uv run " in said(shown[NEEDED[name]].note)
    assert all("went wrong" not in said(view.note) for view in shown.values())
    assert len([view for view in shown.values() if view.figures]) >= 2  # the other tabs live on


def test_words_where_numbers_should_be(copy):
    path = copy / "results" / FAMILY / "alignment_summary.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[7, "value"] = "<script>alert(1)</script>"
    table.to_csv(path, index=False)
    assert "a value is no number" in said(views(copy)["curves"].note)


def test_a_file_that_changes_is_read_again(copy):
    results = Results(copy)
    path = copy / "results" / FAMILY / "alignment_summary.csv"
    before = results.table(FAMILY, "alignment_summary")
    assert results.table(FAMILY, "alignment_summary") is before
    pd.read_csv(path).query("variant != 'fire'").to_csv(path, index=False)
    assert "fire" not in set(results.table(FAMILY, "alignment_summary").variant)


def test_one_variant_alone_and_a_family_that_nobody_described(copy):
    folder = copy / "results" / "mine"
    folder.mkdir()
    stored = json.loads((copy / "results" / FAMILY / "alignment_curves.json").read_text())
    (folder / "alignment_curves.json").write_text(json.dumps({"curves": {"own": stored["curves"]["fire"]}}))
    summary = pd.read_csv(copy / "results" / FAMILY / "alignment_summary.csv").query("variant == 'fire'")
    summary.assign(variant="own").to_csv(folder / "alignment_summary.csv", index=False)
    shown = views(copy, "mine")
    assert shown["curves"].figures
    assert shown["commitment"].figures
    assert "Not audited" in shown["curves"].note
    assert "uv run concept_alignment.py --family mine" in said(shown["effects"].note)


def test_a_variant_that_the_family_does_not_list(copy):
    folder = copy / "results" / FAMILY
    for path in [*folder.glob("*.csv"), folder / "alignment_curves.json"]:
        path.write_text(path.read_text().replace("earth", "venus"))
    shown = views(copy)
    assert "Venus" in json.dumps(shown["curves"].figures)
    assert shown["commitment"].figures
    assert shown["effects"].figures
    for path in [*folder.glob("*.csv"), folder / "alignment_curves.json"]:
        path.write_text(path.read_text().replace("venus", "<b>"))
    assert "'<b>' cannot be a variant's name" in said(views(copy)["curves"].note)


def test_every_table_has_the_columns_that_are_asked_for(results):
    for name in TABLES:
        if results.has(FAMILY, f"{name}.csv"):
            assert len(results.table(FAMILY, name))


# Hostile text


@given(
    st.text(), st.lists(st.tuples(st.integers(-3, 30), st.integers(-3, 30), st.text(max_size=5)), max_size=4)
)
def test_marked_text_is_the_text_and_nothing_of_it_is_markup(text, spans):
    shown = words.highlighted(text, spans)
    assert set(re.findall(r"</?(\w+)", shown)) <= {"div", "span", "mark"}
    inside = re.sub(r'<span class="unseen"[^>]*>U\+([0-9A-F]+)</span>', lambda m: chr(int(m[1], 16)), shown)
    assert html.unescape(re.sub("<[^>]*>", "", inside)) == text


def test_overrides_and_controls_are_made_visible():
    shown = words.visible("a\u202eb\u0007<b>")
    assert "RIGHT-TO-LEFT OVERRIDE" in shown
    assert not set("\u202e\u0007") & set(shown)
    assert "&lt;b&gt;" in shown
    assert "\u200d" in words.visible("क्\u200dष")  # joins letters, as it should


def test_a_token_on_a_figure_is_no_markup():
    assert words.on_figure(" <b>\n") == "␣&lt;b&gt;↵"


def test_the_router_takes_any_text(results):
    for text in ("x" * 100_000, "<script>alert(1)</script>", "\u202e\u0000", "\ud800", ""):
        shown = Explorer(results).view(router, FAMILY, {"text": text}, "light wide").note
        assert "<script" not in shown
        assert "went wrong" not in shown


# One model in memory


class FakeModel:
    """Stands for a loaded variant: counts how many of it are held."""

    held = 0
    loads: list[str] = []  # noqa: RUF012 - of all instances, on purpose

    @classmethod
    @contextmanager
    def loaded(cls, family, variant, **_):
        cls.held += 1
        cls.loads.append(variant)
        yield variant, "tokenizer"
        cls.held -= 1


@pytest.fixture
def live(results, root, monkeypatch):
    import model_loader
    from explorer.live import OneModel

    class Reading:
        def __init__(self, text):
            self.text = text

        def payload(self):
            if not self.text.strip("."):
                raise ValueError("no content")
            return reading(self.text, 9)

    monkeypatch.setattr(model_loader, "loaded", FakeModel.loaded)
    monkeypatch.setattr("probe.lens.text.read_text", lambda model, _, text: Reading(f"{model}: {text}"))
    monkeypatch.setattr(FakeModel, "loads", [])
    one = OneModel(results.paths)
    yield Results(root, one)
    one.free()


def test_one_model_is_held_and_another_frees_it(live):
    for variant in ("base", "fire", "fire", "base"):
        for text in ("one", "two"):
            found = live.live.reading(FAMILY, variant, text)
            assert found["text"] == f"{variant}: {text}"
            assert FakeModel.held <= 1
    assert FakeModel.loads == ["base", "fire"]  # the last two were remembered, and needed no model
    live.live.free()
    assert FakeModel.held == 0


def test_a_typed_sentence_is_read_and_without_one_the_example(live):
    view = lens.view(live, FAMILY, chosen(lens, live, text="Habari", variant="fire"), LIGHT)
    assert "fire: Habari" in view.note
    assert "by the model itself" in view.note
    view = lens.view(live, FAMILY, chosen(lens, live, variant="fire"), LIGHT)
    assert "logit_lens_examples.json" in view.note


def test_what_a_model_cannot_read_is_explained(live, monkeypatch):
    def unreadable(*_):
        raise ValueError("no content in '...'")

    monkeypatch.setattr("probe.lens.text.read_text", unreadable)
    with pytest.raises(ProbeError, match="cannot be read: no content"):
        live.live.reading(FAMILY, "base", "...")


def test_many_threads_get_each_its_own_reading(live):
    from concurrent.futures import ThreadPoolExecutor

    asked = [(variant, str(i)) for i in range(10) for variant in ("base", "fire")]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda a: live.live.reading(FAMILY, *a)["text"], asked))
    assert found == [f"{variant}: {text}" for variant, text in asked]
    assert FakeModel.held == 1


# The stage


def test_the_demo_needs_no_model_library():
    code = "import sys, app, explorer.page; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_options_are_those_of_the_readme():
    args = app.parser().parse_args(["--demo"])
    assert (args.demo, args.host, args.share, args.mcp) == (True, "127.0.0.1", False, False)


def test_numbers_for_json_are_finite():
    values = [1, 2.5, float("nan"), float("inf"), None]
    assert figures.numbers(values) == [1, 2.5, None, None, None]
    assert figures.numbers(np.array([1.0, np.nan])) == [1.0, None]
    assert controls.state(1).value == 0
