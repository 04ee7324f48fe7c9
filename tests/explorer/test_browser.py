"""The explorer in a real browser: what is drawn was measured, every control does what it says, nothing is
asked of another host, and it is small. Skipped where there is no Chromium, unless REQUIRE_BROWSER=1.
How quick it is: bench/page.py.
"""

import io
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pandas as pd
import pytest

from probe.alignment.commitment import commitment_states
from probe.conventions import PRIMARY_METRIC, metric_label
from probe.languages import LANGUAGES
from tests.explorer.conftest import FAMILY
from tests.support.browser import ARGUMENTS, CHROMIUM, Watched

REQUIRED = os.environ.get("REQUIRE_BROWSER") == "1"
pytestmark = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no Chromium: apt install chromium")

TABS = {"Curves": "curves", "Commitment": "commitment", "Effects": "effects", "Concept map": "map",
        "Lens": "lens", "Router": "router", "Audit": "audit", "About": "about"}  # fmt: skip
MEMORY, USERS = 700, 20  # MB, of which the router takes 100, and the server of tools for agents some


@pytest.fixture(scope="module")  # while it is open this thread runs an event loop, and other tests want one
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, server):
    """A page in a context of its own: visit(dark=..., phone=...). Complaints fail the test."""
    opened = []

    def visit(dark: bool = False, phone: bool = False) -> Watched:
        size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
        context = chromium.new_context(viewport=size, color_scheme="dark" if dark else "light")
        watched = Watched(context.new_page(), server.url)
        opened.append((context, watched))
        return watched

    yield visit
    for context, _ in opened:
        context.close()
    assert [complaint for _, watched in opened for complaint in watched.complaints] == []
    assert server.outside == []


@pytest.fixture
def page(visit):
    """One page for a test that needs no other."""
    return visit()


@pytest.fixture(scope="session")
def tables(root):
    folder = root / "results" / FAMILY
    return {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}


def rows(table: pd.DataFrame, **wanted) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table.loc[table[column] == value]
    return table.sort_values("state")


PRIMARY = {"stimuli": "parallel", "position": "mean", "metric": PRIMARY_METRIC}


def test_every_tab_opens_and_is_in_the_address(page):
    page.open()
    for title, key in [*list(TABS.items())[1:], ("Curves", "curves")]:  # the first is open already
        page.page.get_by_role("tab", name=title, exact=True).click()
        page.page.wait_for_function(f"new URLSearchParams(location.search).get('tab') === '{key}'")
        seen = f"#tab-{key}, [id^='{key}-'] .js-plotly-plot .main-svg, .explorer-note table"
        page.page.wait_for_selector(seen, state="attached")
        page.page.wait_for_function("!document.querySelector('.explorer-note .wrong')")


# Curves


def drawn_curve(page, label: str, part: int = 0) -> list[float]:
    return page.trace("curves-by_state", label, part)["y"]


def test_every_list_of_curves_changes_what_is_plotted(page, tables):
    page.open("?curves.languages=hi,ta")
    wanted = dict(PRIMARY)
    for control, label, value in (
        ("metric", metric_label("cosine"), "cosine"),
        ("position", "content", "content"),
        ("stimuli", "probes", "probes"),
    ):
        wanted[control] = value
        fire = rows(tables["alignment_summary"], variant="fire", language="hi", **wanted).value.tolist()
        page.choose(f"curves-{control}", label)
        page.until("curves-by_state", f"gd.data.find(t => t.name === 'Fire').y[5] === {fire[5]}")
        for part, language in enumerate(("hi", "ta")):
            for variant, name in (("base", "Base"), ("fire", "Fire"), ("random", "Random (untrained)")):
                expected = rows(tables["alignment_summary"], variant=variant, language=language, **wanted)
                assert drawn_curve(page, name, part) == expected.value.tolist()


def test_variants_languages_and_concepts_of_curves(page, root):
    page.open("?curves.languages=hi")
    page.check("curves-variants", "Global")
    page.until("curves-by_state", "!gd.data.some(t => t.name === 'Global')")
    page.check("curves-languages", "yo")
    page.until("curves-by_state", "gd.layout.annotations.some(a => a.text.includes('Yoruba'))")
    page.choose("curves-concept", "C03 diarrhea")
    curves = json.loads((root / "results" / FAMILY / "alignment_curves.json").read_text())
    expected = curves["curves"]["fire"]["C03"]["hi"]
    page.until("curves-by_state", f"gd.data.find(t => t.name === 'Fire').y[5] === {expected[5]}")
    assert drawn_curve(page, "Fire") == expected
    after = page.page.evaluate(
        "document.querySelector('#curves-by_state .js-plotly-plot').data"
        ".filter(t => t.name === 'after the final norm' && t.x[0] !== null).map(t => t.y[0])"
    )
    assert curves["post_norm"]["fire"]["C03"]["hi"] in after


def test_the_state_under_the_pointer_and_the_slider_show_all_languages(page, tables):
    page.open()
    page.slide("curves-state", 3)
    page.until("curves-at_state", "gd.layout.title.text.includes('State 3')")
    area = page.page.locator("#curves-by_state .nsewdrag").first.bounding_box()
    page.page.mouse.move(area["x"] + area["width"] * (6 + 0.4) / 8.8, area["y"] + area["height"] / 2)
    page.until("curves-at_state", "gd.layout.title.text.includes('State 6')")
    page.page.wait_for_timeout(700)  # the marks travel
    fire = page.trace("curves-at_state", "Fire")["x"]
    at = rows(tables["alignment_summary"], variant="fire", state=6, **PRIMARY).set_index("language").value
    assert fire == [at[language] for language in LANGUAGES if language != "en"]


# Commitment


COMMITTED = "gd.data.map(t => t.text.flat().map(w => w.replace(/<.?b>/g, '')).filter(w => w && w !== '–'))"


def test_commitment_is_recomputed(page, root):
    curves = json.loads((root / "results" / FAMILY / "alignment_curves.json").read_text())["curves"]
    page.open("?tab=commitment&commitment.criterion=cosine", "commitment-cells")
    asked = {"threshold": 0.85, "run": 3, "start": 0}
    for control, value in (("threshold", 0.6), ("run", 1), ("start", 5)):
        asked[control] = value
        page.slide(f"commitment-{control}", value)
        expected = []
        for concepts in curves.values():
            values = np.array([list(languages.values()) for languages in concepts.values()])
            states = commitment_states(values, *asked.values())
            expected.append(sorted(str(int(state)) for state in states.ravel() if np.isfinite(state)))
        wanted = json.dumps([len(cells) for cells in expected], separators=(",", ":"))
        page.until("commitment-cells", f"'{wanted}' === JSON.stringify(({COMMITTED}).map(c => c.length))")
        assert [sorted(cells) for cells in page.graph("commitment-cells", COMMITTED[3:])] == expected
    page.check("commitment-variants", "Earth")
    page.until("commitment-cells", "gd.data.length === 4")
    page.until("commitment-share", "gd.data.length === 4")


# Effects


def test_every_list_of_effects_changes_what_is_plotted(page, tables):
    page.open("?tab=effects&effects.languages=hi", "effects-by_state")
    wanted = {"variant_a": "fire", "variant_b": "base", "language": "hi", "contrast": "simple", **PRIMARY}
    for control, label, changed in (
        ("metric", metric_label("cosine"), {"metric": "cosine"}),
        ("position", "last", {"position": "last"}),
        ("stimuli", "probes", {"stimuli": "probes"}),
        ("pair", "Earth − Base", {"variant_a": "earth"}),
        ("contrast", "did: placebo languages", {"contrast": "did", "reference": "placebo languages"}),
    ):
        wanted |= changed
        expected = rows(tables["variant_effects"], **wanted)["diff"].tolist()
        page.choose(f"effects-{control}", label)
        name = f"{wanted['variant_a'].capitalize()} − Base"
        page.until("effects-by_state", f"gd.data.find(t => t.name === '{name}')?.y[5] === {expected[5]}")
        assert page.trace("effects-by_state", name)["y"] == expected


# Concept map


def hindi(tables, variant: str, state: int, suffix: str) -> list[float]:
    table = tables["concept_map"].query("variant == @variant and language == 'hi' and state == @state")
    return table.sort_values("concept_id")[f"x{suffix}"].tolist()


def test_the_map_plays_through_all_states(page, tables):
    page.open("?tab=map", "map-plane")
    page.page.evaluate(
        """() => { window.seen = [];
        new MutationObserver(all => all.forEach(m => window.seen.push(m.target.dataset.state)))
            .observe(document.querySelector('#map-plane .explorer-plot'),
                {attributeFilter: ['data-state']}) }"""
    )
    page.page.get_by_role("button", name="Play").click()
    page.page.wait_for_function("window.seen.includes('8')")
    page.page.wait_for_function("document.querySelector('#map-play').textContent === 'Play'")
    assert list(dict.fromkeys(page.page.evaluate("window.seen"))) == [str(state) for state in range(1, 9)]
    page.page.wait_for_timeout(700)  # the last points arrive
    assert page.trace("map-plane", "Hindi (hi)")["x"] == hindi(tables, "fire", 8, "_centred")
    assert "map.state=8" in page.page.url


def test_controls_of_the_map(page, tables):
    page.open("?tab=map&map.state=5", "map-plane")
    assert page.trace("map-plane", "Hindi (hi)")["x"] == hindi(tables, "fire", 5, "_centred")
    for control, label, variant, suffix in (
        ("variant", "Earth", "earth", "_centred"),
        ("plane", "as they are", "earth", ""),
    ):
        page.choose(f"map-{control}", label)
        expected = hindi(tables, variant, 5, suffix)
        page.until("map-plane", f"gd.data.find(t => t.name === 'Hindi (hi)').x[0] === {expected[0]}")
        assert page.trace("map-plane", "Hindi (hi)")["x"] == expected
    page.choose("map-concept", "none")
    page.until("map-plane", "gd.data.length === 10")
    page.choose("map-colour", "category of the concept")
    page.until("map-plane", "gd.data.some(t => t.name === 'symptom')")


# Lens, router, audit


def test_the_lens_shows_its_examples(page, root):
    examples = json.loads((root / "results" / FAMILY / "logit_lens_examples.json").read_text())["examples"]
    page.open("?tab=lens", "lens-languages")
    first = next((e for e in examples if e["kind"] == "translation"), examples[0])
    names = page.graph("lens-languages", "data[0].y")
    for state in (0, 4, 8):
        page.slide("lens-state", state)
        page.until("lens-languages", f"gd.layout.title.text.includes('State {state}')")
        page.page.wait_for_timeout(700)
        shown = dict(zip(names, page.graph("lens-languages", "data[0].x"), strict=True))
        assert shown["English (en)"] == first["p_lang"]["en"][state]
    other = next(e for e in examples if e["variant"] == "earth" and e["id"] == first["id"])
    page.choose("lens-variant", "Earth")
    page.until("lens-by_state", f"gd.data[0].y[4] === {other['p_lang']['en'][4]}")
    assert page.graph("lens-tokens", "data[0].z[0]") == [top[0][1] for top in other["top"]]


def test_the_router_shows_any_text_as_it_is(page):
    hostile = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script> ${1+1} {{2+2}}"
    hostile += "\u202eabc\u202c\u0007"
    page.open("?tab=router", None)
    box = page.page.locator("#router-text textarea")
    for text in (hostile, "مرحبا، عندي حمى منذ يومين", "x" * 100_000):
        box.fill(text)
        box.press("Enter")
        page.page.wait_for_timeout(1500)
    assert page.page.evaluate("window.hacked") is None
    page.open("?tab=curves")  # the server lives on


def test_severity_of_the_audit(page, root):
    findings = json.loads((root / "results" / FAMILY / "artifact_audit.json").read_text())["findings"]
    page.open("?tab=audit", None)
    count = "document.querySelectorAll('#tabs .explorer-table tbody tr').length"
    page.page.wait_for_function(f"{count} === {len(findings)}")
    page.check("audit-severity", "medium")
    left = sum(finding["severity"] != "medium" for finding in findings)
    page.page.wait_for_function(f"{count} === {left}")


# What is common to all


def test_an_address_is_the_view(visit):
    first = visit()
    first.open()
    first.choose("curves-metric", "MEXA")
    first.until("curves-by_state", "gd.layout.yaxis.title.text === 'MEXA'")
    first.check("curves-languages", "sw")
    first.until("curves-by_state", "!gd.layout.annotations.some(a => a.text.includes('Swahili'))")
    drawn = first.graph("curves-by_state", "data.map(t => [...t.y])")
    address = first.page.url.removeprefix(first.url)
    second = visit()
    second.open(address)
    assert second.graph("curves-by_state", "data.map(t => [...t.y])") == drawn
    first.page.reload()
    first.drawn("curves-by_state")
    assert first.graph("curves-by_state", "data.map(t => [...t.y])") == drawn


def test_figures_and_their_data_can_be_saved(page, tables):
    page.open("?curves.languages=hi&curves.variants=fire")
    plot = page.page.locator("#tabs .explorer-files").first
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        with page.page.expect_download() as download:
            plot.get_by_role("button", name=f"Download {kind}").click()
        assert download.value.path().read_bytes().startswith(start)
        assert download.value.suggested_filename == f"nano-aya_curves.{kind.lower()}"
    with page.page.expect_download() as download:
        plot.get_by_role("button", name="Download CSV").click()
    saved = pd.read_csv(io.BytesIO(download.value.path().read_bytes())).query("mark == 'curve'")
    assert saved.value.tolist() == drawn_curve(page, "Fire")
    expected = rows(tables["alignment_summary"], variant="fire", language="hi", **PRIMARY)
    assert (
        saved[["ci_low", "ci_high", "null"]].values.tolist()
        == expected[["ci_low", "ci_high", "null"]].values.tolist()
    )


def test_another_family_of_one_variant(page):
    page.open()
    page.choose("family", "single")
    page.until(
        "curves-by_state", "gd.data.filter(t => t.name && t.y.length > 1).every(t => t.name === 'Fire')"
    )
    assert "family=single" in page.page.url
    page.page.get_by_role("tab", name="Effects", exact=True).click()
    note = page.page.locator(".explorer-note .wrong:visible")
    note.wait_for()
    assert "uv run concept_alignment.py --family single" in note.inner_text()


def test_the_keyboard_is_enough(page):
    page.open()
    page.page.locator("#curves-state input[type=range]").focus()
    before = int(page.page.locator("#curves-state input[type=range]").input_value())
    page.page.keyboard.press("ArrowLeft")
    page.until("curves-at_state", f"gd.layout.title.text.includes('State {before - 1}')")
    for _ in range(12):  # on from there, to a button below the first plot
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Download PNG":
            break
    else:
        pytest.fail("the buttons below a plot cannot be reached by the keyboard")


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (False, True), (True, True)])
def test_every_size_and_light_is_readable(visit, dark, phone, tmp_path):
    page = visit(dark, phone)
    page.open()
    paper, ink = (
        page.graph("curves-by_state", "_fullLayout.paper_bgcolor"),
        page.graph("curves-by_state", "_fullLayout.font.color"),
    )
    assert contrast(paper, ink) >= 7
    assert (luminance(paper) < 0.2) == dark
    colours = page.graph("curves-by_state", "data.filter(t => t.line && t.line.color).map(t => t.line.color)")
    assert min(contrast(paper, colour) for colour in colours) >= 2.5
    page.page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    domains = page.graph("curves-by_state", "layout.annotations.map(a => a.x)")
    assert (len(set(domains)) == 1) == phone  # panels stand below one another


def luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_twenty_users_at_once_and_little_memory(server):
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        config = client.get("config").json()
    events = [e for e in config["dependencies"] if e["backend_fn"] and _is_of_a_control(e)]
    assert len(events) >= USERS
    with ThreadPoolExecutor(USERS) as pool:
        list(pool.map(lambda i: _user(server.url, events[i], config["components"]), range(USERS)))
    assert server.rss <= MEMORY
    assert server.outside == []


def _is_of_a_control(event: dict) -> bool:
    return any(target[1] == "input" for target in event["targets"])


def _user(url: str, event: dict, components: list[dict]) -> None:
    """Open the page and change one control three times."""
    values = {component["id"]: component["props"].get("value") for component in components}
    sent = [values[i] for i in event["inputs"]]
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        assert client.get("").status_code == 200
        for look in ("light wide", "dark wide", "light narrow"):
            session = uuid.uuid4().hex
            body = {"data": [look, FAMILY, *sent[2:]], "fn_index": event["id"], "session_hash": session}
            assert client.post("gradio_api/queue/join", json=body).status_code == 200
            answer = _answer(client, session)
            assert answer["success"], answer


def _answer(client: httpx.Client, session: str) -> dict:
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the stream ended without an answer")
