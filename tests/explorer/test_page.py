"""The explorer without a browser: what it draws is what the files hold, whatever is asked and however damaged
they are; what must not be claimed is never solid; what it shows of hostile text; one model in memory."""

import html
import json
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from explorer import words
from explorer.controls import Control, from_address, of_tab, settled
from explorer.data import Results, claimable
from explorer.page import TABS, Explorer
from explorer.plots import look as looks
from explorer.serve import routes
from explorer.tabs import commitment, concept_map, curves, effects, lens, router
from probe.conventions import METRIC_LABELS, PRIMARY_METRIC, metric_label
from probe.errors import ProbeError
from probe.languages import TARGETS
from probe.paths import REPOSITORY
from probe.tables import COMMITMENT, EFFECTS, SENSITIVITY, SUMMARY
from tests.explorer.conftest import FAMILY, rewrite
from tests.support.readings import reading

LIGHT = looks.theme("light wide")
LOOKS = ("light wide", "dark wide", "light narrow", "dark narrow")


def chosen(tab, results, **asked):
    return settled(tab.settings(results, FAMILY), asked)


def seen(tab, results, **asked):
    return tab.view(results, FAMILY, chosen(tab, results, **asked), LIGHT)


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


def curve(view, plot: str = "by_state"):
    return next(trace for trace in view.figures[plot].figure.data if trace.mode == "lines+markers")


# What is drawn is what was measured


def test_thirty_curves_are_those_of_the_file(results):
    table, pick = pd.read_csv(results.file(FAMILY, "alignment_summary.csv")), random.Random(1)
    numbers = ["value", "ci_low", "ci_high", "null", "n"]
    for _ in range(30):
        point = table.iloc[pick.randrange(len(table))]
        cell = point[["variant", "language", "metric", "position", "stimuli"]]
        expected = table.loc[(table[cell.index] == cell).all(axis=1)].sort_values("state")
        asked = {"variants": [cell.variant], "languages": [cell.language], **cell[2:]}
        view = seen(curves, results, **asked)
        assert list(curve(view).y) == expected.value.tolist()
        rows = view.tables["by_state"].query("mark == 'curve'")
        assert rows[numbers].values.tolist() == expected[numbers].values.tolist()


def test_intervals_and_nulls_of_a_state_are_drawn_where_the_file_has_them(results):
    table = pd.read_csv(results.file(FAMILY, "alignment_summary.csv"))
    view = seen(curves, results, variants=["fire"], state=4)
    null, points = view.figures["at_state"].figure.data
    at = table.query("variant == 'fire' and state == 4 and metric == @PRIMARY_METRIC and position == 'mean'")
    at = at.query("stimuli == 'parallel'").set_index("language")
    for i, language in enumerate(TARGETS):
        row = at.loc[language]
        assert points.x[i] == row.value
        assert points.x[i] + points.error_x.array[i] == pytest.approx(row.ci_high, abs=2e-6)
        assert points.x[i] - points.error_x.arrayminus[i] == pytest.approx(row.ci_low, abs=2e-6)
        assert list(null.x[3 * i : 3 * i + 2]) == [row.null_low, row.null_high]


def test_thirty_effects_are_those_of_the_file(results):
    table, pick = (
        pd.read_csv(results.file(FAMILY, "variant_effects.csv")).fillna({"reference": ""}),
        random.Random(2),
    )
    keys = ["variant_a", "variant_b", "contrast", "reference", "language", "metric", "position", "stimuli"]
    for _ in range(30):
        cell = table.iloc[pick.randrange(len(table))][keys]
        expected = table.loc[(table[keys] == cell).all(axis=1)].sort_values("state")
        contrast = "simple" if cell.contrast == "simple" else f"did: {cell.reference}"
        asked = {"pair": f"{cell.variant_a}-{cell.variant_b}", "contrast": contrast}
        view = seen(effects, results, **asked, languages=[cell.language], **cell[5:])
        assert list(curve(view).y) == expected["diff"].tolist()


def test_the_cells_drawn_and_the_share_are_what_commits(results):
    """That the states are right: test_mcp.py, against a slow loop."""
    view = seen(commitment, results, criterion="cosine", threshold=0.56, run=2, start=1)
    table = view.tables["cells"]
    table["word"] = table.state.astype(object).where(table.state.notna(), "–").astype(str)
    for variant, trace in zip(dict.fromkeys(table.variant), view.figures["cells"].figure.data, strict=True):
        own = table.loc[table.variant == variant].pivot(index="concept", columns="language", values="word")
        for i, concept in enumerate(trace.y[:-1]):  # the last row is of mismatched pairs
            assert [re.sub("</?b>", "", word) for word in trace.text[i]] == own.loc[
                concept, list(trace.x)
            ].tolist()
    share = view.tables["share"].query("threshold == 0.56").set_index("variant").committed
    assert table.groupby("variant").state.count().to_dict() == share.to_dict()


def test_the_map_has_a_frame_for_each_state_and_its_points_are_those_of_the_file(results):
    table = pd.read_csv(results.file(FAMILY, "concept_map.csv")).query("variant == 'earth'")
    drawn = seen(concept_map, results, variant="earth", plane="as_is", state=3).figures["plane"]
    assert len(drawn.frames) == table.state.nunique()
    for state, frame in enumerate(drawn.frames):  # noqa: B007 - the query reads it
        points = {(x, y) for trace in frame["data"][:10] for x, y in zip(trace["x"], trace["y"], strict=True)}
        assert points == set(table.query("state == @state")[["x", "y"]].itertuples(index=False, name=None))
    assert list(drawn.figure.data[0].x) == drawn.frames[3]["data"][0]["x"]


@pytest.mark.parametrize("tab", [curves, effects], ids=lambda tab: tab.KEY)
def test_a_metric_has_the_label_that_it_has_everywhere(tab, results):
    """xsim is one minus an error, and was called the error."""
    control = next(control for control in tab.settings(results, FAMILY) if control.name == "metric")
    metrics = [metric for _, metric in control.choices]
    assert control.value == next(m for m in (PRIMARY_METRIC, *METRIC_LABELS) if m in metrics)
    assert all(label == metric_label(metric) for label, metric in control.choices)
    assert "xsim error" not in dict(control.choices)


@pytest.mark.parametrize(
    ("tab", "table", "asked"), [(curves, SUMMARY, {}), (effects, EFFECTS, {"pair": "fire-base"})]
)
def test_a_language_that_stimuli_are_not_told_in_is_said_and_not_drawn(copy, tab, table, asked):
    """TICO-19 has no Yoruba."""

    def with_tico(rows: pd.DataFrame) -> pd.DataFrame:
        told = rows.query("stimuli == 'probes' and language != 'yo'").assign(stimuli="tico")
        return pd.concat([rows.query("stimuli != 'tico'"), told], ignore_index=True)

    rewrite(copy, table, with_tico)
    results = Results(copy, first=FAMILY)
    view = seen(tab, results, stimuli="tico", languages=["yo"], **asked)
    assert not view.figures
    assert view.note.startswith("Not measured: tico in Yoruba (yo); there is Hindi (hi), ")
    view = seen(tab, results, stimuli="tico", languages=["yo", "hi"], **asked)
    assert set(view.tables["by_state"].language) == {"hi"}
    assert "yo" not in set(view.tables["at_state"].language)
    assert "Yoruba" not in view.figures["at_state"].figure.to_json()


# What must not be claimed


def test_a_row_without_a_verdict_may_not_be_said():
    """All were, as soon as one verdict was missing: text that pandas cut to its first letter."""
    rows = pd.DataFrame({"verdict": pd.Series(["matched", None, "blocked", "descriptive"], dtype="str")})
    assert claimable(rows).tolist() == [True, False, False, False]
    assert not claimable(rows.drop(columns="verdict")).any()


@pytest.mark.parametrize("tab", [curves, effects], ids=lambda tab: tab.KEY)
def test_what_must_not_be_claimed_is_open_and_says_why(tab, results):
    view = seen(tab, results, position="last", metric="cosine", languages=list(TARGETS))
    shown = view.tables["by_state"]
    shown = shown.query("mark == 'curve'") if "mark" in shown else shown
    refused = ~claimable(shown)
    lines = [t for t in view.figures["by_state"].figure.data if t.mode == "lines+markers"]
    symbols = [symbol for line in lines for symbol in line.marker.symbol]
    assert sum(symbol.endswith("-open") for symbol in symbols) == refused.sum() > 0
    reason = shown.loc[refused].iloc[0].reason
    assert any(reason in text for line in lines for text in line.customdata)
    assert reason in view.note


def test_a_peak_that_must_not_be_claimed_is_not_solid(results):
    measure = "metric == 'cosine' and stimuli == 'probes' and position == 'last' and variant == 'fire'"
    may = claimable(results.table(FAMILY, "peaks.csv").query(measure))
    asked = {"metric": "cosine", "stimuli": "probes", "position": "last", "variants": ["fire"]}
    view = seen(curves, results, languages=list(TARGETS), **asked)
    traces = [t for t in view.figures["by_state"].figure.data if t.name == curves.PEAK and t.hovertemplate]
    symbols = sorted(symbol for trace in traces for symbol in trace.marker.symbol)
    assert symbols == sorted("star" if one else "star-open" for one in may)
    assert "star-open" in symbols


def test_only_a_commitment_that_may_be_claimed_is_bold(results):
    view = seen(commitment, results, criterion="cosine", threshold=0.3, run=2)
    text = [word for trace in view.figures["cells"].figure.data for row in trace.text for word in row]
    cells = view.tables["cells"]
    assert sum(word.startswith("<b>") for word in text) == (claimable(cells) & cells.state.notna()).sum()
    assert "descriptive" in set(cells.verdict)


def against_rivals(rows: pd.DataFrame) -> pd.DataFrame:
    """The matrix with a calibrated commitment in every other cell of the probes, whatever there was."""
    rows = rows.assign(stimuli="probes") if "stimuli" not in rows else rows
    rows = rows.drop(columns=[name for name in rows if name.endswith("_calibrated")])
    cells = pd.Series([i % 5 if i % 2 else None for i in range(len(rows))], dtype="Int64")
    return rows.reset_index(drop=True).assign(base_calibrated=cells, fire_calibrated=cells[::-1].to_numpy())


def chances(rows: pd.DataFrame) -> pd.DataFrame:
    at_own = rows.query(
        "metric == 'cosine' and position == 'mean' and threshold == 0.85 and consecutive == 3"
    )
    at_own = at_own[at_own.variant.isin(["base", "fire"])].drop_duplicates(["variant", "language"])
    own = {"criterion": "calibrated", "stimuli": "probes", "metric": PRIMARY_METRIC, "threshold": 0.95}
    own |= {"required": 0.96, "chance": 0.04, "rivals": 219}
    before = rows if "criterion" in rows else rows.assign(criterion="cosine", stimuli="probes")
    return pd.concat([before[before.criterion == "cosine"], at_own.assign(**own)], ignore_index=True)


def test_the_commitment_leads_with_that_against_rivals_and_says_what_the_cosine_does(copy):
    rewrite(copy, COMMITMENT, against_rivals)
    rewrite(copy, SENSITIVITY, chances)
    results = Results(copy)
    view = seen(commitment, results, variants=["base", "fire"])
    cells = view.tables["cells"]
    matrix = pd.read_csv(results.file(FAMILY, "commitment_matrix.csv")).query("stimuli == 'probes'")
    for variant, trace in zip(("base", "fire"), view.figures["cells"].figure.data, strict=True):
        own = cells.loc[cells.variant == variant]
        assert own.state.count() == matrix[f"{variant}_calibrated"].count()
        assert own.by_cosine.count() == matrix[f"{variant}_layer"].count()
        assert trace.y[-1] == "permuted pairs"
        assert set(trace.z[-1]) == {0.04}
        words = [re.sub("</?b>", "", word) for row in trace.text[:-1] for word in row]
        assert sum(word != "–" for word in words) == own.state.count()
    summary = pd.read_csv(results.file(FAMILY, "alignment_summary.csv")).query(
        "stimuli == 'probes' and position == 'mean' and metric == @PRIMARY_METRIC"
    )
    verdicts = summary.set_index(["variant", "language", "state"]).verdict
    made = cells.loc[cells.state.notna()]
    assert [verdicts[row.variant, row.language, row.state] for row in made.itertuples()] == list(made.verdict)
    assert f"{cells.by_cosine.count()} do" in view.note
    assert "4.0% commit" in view.note
    by_cosine = seen(commitment, results, criterion="cosine")
    assert f"Against their rivals, {cells.state.count()} of {len(cells)} commit" in by_cosine.note
    drawn = seen(curves, results, stimuli="probes", concept=cells.concept_id[0], languages=list(TARGETS))
    first = made.loc[made.concept_id == cells.concept_id[0]]
    marks = drawn.tables["by_state"].query("mark == @curves.AGAINST")
    assert sorted(marks.x) == sorted(first.state)


@pytest.mark.parametrize("tab", [curves, commitment], ids=lambda tab: tab.KEY)
def test_where_nobody_judged_nothing_is_solid(tab, results):
    view = tab.view(results, "single", settled(tab.settings(results, "single"), {"threshold": 0.3}), LIGHT)
    assert "Not audited" in view.note
    if tab is curves:
        assert all(symbol.endswith("-open") for symbol in curve(view).marker.symbol)
    else:
        assert "<b>" not in str(view.figures["cells"].figure.data)


# Whatever is asked


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.KEY)
def test_any_choice_gives_figures_that_the_page_takes(tab, results):
    """A NaN would break it silently."""
    pick = random.Random(tab.KEY)
    for look in LOOKS:
        view = tab.view(results, FAMILY, any_choice(tab, results, pick), looks.theme(look))
        assert view.figures.keys() <= set(tab.PLOTS)
        assert view.note
        for drawn in view.figures.values():
            sent = json.loads(drawn.to_json(), parse_constant=pytest.fail)
            for frame in sent["frames"]:
                assert len(frame["data"]) == len(sent["data"])


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
    for tab in TABS:
        asked = any_choice(tab, results, random.Random(3))
        text = {name: ",".join(value) if isinstance(value, list) else value for name, value in asked.items()}
        address = from_address("?" + urlencode({f"{tab.KEY}.{name}": value for name, value in text.items()}))
        assert settled(tab.settings(results, FAMILY), of_tab(address, tab.KEY)) == asked


@given(st.text())
def test_no_address_breaks_the_page(search):
    assert isinstance(from_address(search), dict)


def test_the_csv_of_an_address_is_what_it_draws_and_nothing_else_is_served(results):
    client = TestClient(Starlette(routes=routes(results)))
    answer = client.get(
        "/data/curves/by_state.csv?curves.languages=yo&curves.variants=earth&curves.metric=mexa"
    )
    assert answer.headers["content-disposition"] == 'attachment; filename="nano-aya_curves_by_state.csv"'
    expected = seen(curves, results, languages=["yo"], variants=["earth"], metric="mexa").tables["by_state"]
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
    (tmp_path / "results" / FAMILY).mkdir(parents=True)
    for view in views(tmp_path).values():
        assert "uv run pipeline.py" in said(view.note)
        assert not view.figures


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
@pytest.mark.parametrize("damage", ["missing", "cut", "binary", "empty", "other", "folder"])
def test_a_damaged_file_is_named_with_the_command_that_helps(copy, name, damage):
    """And without the place where it lies on the server's disk."""
    path = copy / "results" / FAMILY / name
    whole = path.read_bytes()
    if damage in ("missing", "folder"):
        path.unlink()
        if damage == "folder":
            path.mkdir()
    else:
        broken = {"cut": whole[: len(whole) // 3], "binary": bytes(range(256)) * 9, "empty": b""}
        path.write_bytes(broken.get(damage, b'{"a": [1, 2]}' if name.endswith("json") else b"a,b\n1,2\n"))
    shown = views(copy)
    notes = {key: said(view.note) for key, view in shown.items()}
    assert "uv run " in notes[NEEDED[name]]
    assert all("went wrong" not in note and str(copy) not in note for note in notes.values())
    assert len([view for view in shown.values() if view.figures]) >= 2  # the other tabs live on


def test_one_variant_alone_and_a_family_that_nobody_described(results):
    shown = {tab.KEY: Explorer(results).view(tab, "single", {}, "light wide") for tab in TABS}
    assert shown["curves"].figures
    assert shown["commitment"].figures
    assert "Not audited" in shown["curves"].note
    assert "uv run concept_alignment.py --family single" in said(shown["effects"].note)


def test_published_effects_know_no_reference_and_are_drawn_all_the_same():
    shown = Explorer(Results(REPOSITORY)).view(effects, "tiny-aya-published", {}, "light wide")
    assert set(shown.figures) == {"by_state", "at_state"}


def test_a_variant_that_the_family_does_not_list(copy):
    def call(name):
        rewrite(copy, SUMMARY, lambda rows: rows.replace({"variant": {"fire": name}}))
        rewrite(copy, EFFECTS, lambda rows: rows.replace({"variant_a": {"fire": name}}))
        path = copy / "results" / FAMILY / "alignment_curves.json"
        curves = json.loads(path.read_text())
        curves["curves"] = {name: next(iter(curves["curves"].values()))}
        path.write_text(json.dumps(curves))
        return views(copy)

    shown = call("venus")
    assert "Venus" in shown["curves"].figures["by_state"].to_json()
    assert shown["commitment"].figures
    assert shown["effects"].figures
    rewrite(copy, SUMMARY, lambda rows: rows.replace({"variant": {"venus": "fire"}}))
    assert "'<b>' cannot be a variant's name" in said(call("<b>")["curves"].note)


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
    assert words.on_figure(" <b>\n") == "␣&lt;b&gt;↵"


def test_the_router_takes_any_text(results):
    for text in ("x" * 100_000, "<script>alert(1)</script>", "\u202e\u0000", "\ud800", ""):
        shown = Explorer(results).view(router, FAMILY, {"text": text}, "light wide").note
        assert "<script" not in shown
        assert "went wrong" not in shown


def test_the_router_asks_the_family_shown_and_the_results_shown(copy):
    """It asked tiny-aya's policy on every page, and the repository's results whatever the root."""

    (copy / "results" / FAMILY / "edge_categories.csv").unlink()
    asked = {"text": "mujhe kal se bukhar hai"}
    note = Explorer(Results(copy)).view(router, FAMILY, asked, "").note
    assert "nano-aya" in note
    assert "tiny-aya" not in note
    assert "not measured" in note  # there are no edge cases in this root


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
            return reading(self.text, 9)

    def lens_of(model, _, text):
        if not text.strip("."):
            raise ValueError("no content")
        return Reading(f"{model}: {text}")

    monkeypatch.setattr(model_loader, "loaded", FakeModel.loaded)
    monkeypatch.setattr("probe.lens.text.read_text", lens_of)
    monkeypatch.setattr(FakeModel, "loads", [])
    one = OneModel(results.paths)
    yield Results(root, one)
    one.free()


def test_one_model_is_held_and_another_frees_it(live):
    for variant in ("base", "fire", "fire", "base"):
        for text in ("one", "two"):
            assert live.live.reading(FAMILY, variant, text)["text"] == f"{variant}: {text}"
            assert FakeModel.held <= 1
    assert FakeModel.loads == ["base", "fire"]  # the last two were remembered, and needed no model
    live.live.free()
    assert FakeModel.held == 0


def test_a_typed_sentence_is_read_and_without_one_the_example(live):
    view = seen(lens, live, text="Habari", variant="fire")
    assert "fire: Habari" in view.note
    assert "by the model itself" in view.note
    assert "logit_lens_examples.json" in seen(lens, live, variant="fire").note
    with pytest.raises(ProbeError, match="cannot be read: no content"):
        seen(lens, live, text="...")


def test_many_threads_get_each_its_own_reading(live):
    asked = [(variant, str(i)) for i in range(10) for variant in ("base", "fire")]
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda a: live.live.reading(FAMILY, *a)["text"], asked))
    assert texts == [f"{variant}: {text}" for variant, text in asked]
    assert FakeModel.held == 1


# The stage, and who may ask it


def test_the_demo_needs_no_model_library():
    code = "import sys, app, explorer.page; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
