"""The page: the tabs, put together from what each says of its controls, its plots and its view."""

import html
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import gradio as gr
import pandas as pd

from explorer.controls import Control, from_address, of_tab, settled
from explorer.data import Results
from explorer.plots import look as looks
from explorer.plots.look import View
from explorer.tabs import about, audit, commitment, concept_map, curves, effects, lens, router
from probe.errors import ProbeError

log = logging.getLogger(__name__)

TABS: tuple[ModuleType, ...] = (curves, commitment, effects, concept_map, lens, router, audit, about)
PRIVATE: dict[str, Any] = {"api_visibility": "private", "preprocess": False, "show_progress": "hidden"}
# gr.Plot would draw a figure anew, twice, for every change; plotly's own `react` changes what differs.
CANVAS = {
    "html_template": '<div class="explorer-plot"></div>',
    "js_on_load": "explorer.mount(element, props, watch)",
    "apply_default_css": False,
}
EXPLAINED = "Something went wrong here that should not; the server's log has the details."
NO_RESULTS = "No results in results/. Make some, on any computer, in a minute: uv run pipeline.py"
WIDTHS = {"many": 320, "text": 320, "state": 240}


@dataclass
class Tab:
    """A tab's components, in the order in which events take and give them."""

    of: ModuleType
    item: gr.Tab
    controls: dict[str, Any] = field(default_factory=dict)
    plots: list[gr.Component | gr.Column] = field(default_factory=list)  # a plot, then its column
    note: gr.HTML | None = None

    @property
    def shown(self) -> list:
        return [*self.plots, self.note]


class Explorer:
    """What the events of the page call; errors become words that the page shows."""

    def __init__(self, results: Results):
        self.results = results

    def settings(self, tab: ModuleType, family: str) -> list[Control]:
        """The tab's controls for the family; those of no family where its results cannot be read."""
        try:
            return tab.settings(self.results, family)
        except Exception as error:  # a view of the tab will say what is wrong
            if not isinstance(error, ProbeError):
                log.exception("controls of %s", tab.KEY)
            return []

    def view(self, tab: ModuleType, family: str, asked: Mapping[str, Any], look: Any) -> View:
        """Never raises: what cannot be shown is explained in the note."""
        try:
            if family not in self.results.families():
                return View({}, {}, _wrong(NO_RESULTS))
            controls = tab.settings(self.results, family)
            return tab.view(self.results, family, settled(controls, asked), looks.theme(look))
        except ProbeError as error:
            return View({}, {}, _wrong(self.results.public(error)))
        except Exception:
            log.exception("view of %s", tab.KEY)
            return View({}, {}, _wrong(EXPLAINED))

    def table(self, key: str, plot: str, search: str) -> pd.DataFrame | None:
        """The rows that a plot draws in the view that an address asks for; None where there are none."""
        address = from_address(search)
        tab = next((tab for tab in TABS if key == tab.KEY), None)
        if tab is None:
            return None
        return self.view(tab, self.family(address), of_tab(address, key), "").tables.get(plot)

    def family(self, address: Mapping[str, str]) -> str:
        """The family that an address asks for where it is one, else the first."""
        families = self.results.families()
        asked = address.get("family", "")
        return asked if asked in families else next(iter(families), "")

    def head(self, family: str) -> str:
        try:
            what = self.results.family(family).description if family else NO_RESULTS
        except ProbeError as error:
            what = self.results.public(error)
        return f"<h1>Cross-lingual probe</h1><p>{html.escape(what)}</p>"


def _wrong(text: str) -> str:
    return f'<div class="wrong" role="alert">{html.escape(text)}</div>'


def build(results: Results) -> gr.Blocks:
    """The page, not yet served. Families may come, go and change: files are read as they are asked for."""
    explorer, families = Explorer(results), results.families()
    with gr.Blocks(title="Cross-lingual probe", analytics_enabled=False, fill_width=True) as page:
        look, address = gr.Textbox(visible=False), gr.Textbox(visible=False)
        with gr.Row(elem_id="top"):
            head = gr.HTML(elem_classes="explorer-head")
            shape: dict[str, Any] = {"filterable": False, "scale": 0, "min_width": 210}
            family = gr.Dropdown(families, label="Family", elem_id="family", **shape)
        with gr.Tabs(elem_id="tabs") as tabs:
            built = [_tab(tab, _first_settings(explorer, tab, families)) for tab in TABS]
        for tab in built:
            _listen(explorer, tab, look, family)
        everything = [tabs, head, family]
        for tab in built:
            everything += [*tab.controls.values(), *tab.shown]

        def arrive(look: str, search: str) -> list:
            return _arrival(explorer, built, look, from_address(search or ""))

        given: dict[str, Any] = {"fn": arrive, "outputs": everything} | PRIVATE
        loaded = page.load(inputs=[look, address], js="() => explorer.arrived()", **given)
        loaded.then(None, js="() => explorer.settle()", api_visibility="private")
        family.input(inputs=[look, family], js="(_, name) => explorer.arrived(name)", **given)
    page.queue(default_concurrency_limit=4)
    return page


def _first_settings(explorer: Explorer, tab: ModuleType, families: Sequence[str]) -> list[Control]:
    """A tab's controls are the same in name and kind for every family: those of the first that has any."""
    return next((there for name in families if (there := explorer.settings(tab, name))), [])


def _tab(tab: ModuleType, settings: Sequence[Control]) -> Tab:
    with gr.Tab(tab.TITLE, id=tab.KEY, elem_id=f"tab-{tab.KEY}") as item:
        built = Tab(tab, item)
        how = html.escape(tab.HOW).replace(" %", "&nbsp;%")
        gr.HTML(f'<p class="explorer-how">{how}</p>')
        for kinds in (("many", "text"), ("one", "number"), ("state",)):
            if together := [control for control in settings if control.kind in kinds]:
                with gr.Row(elem_classes="explorer-controls"):
                    built.controls |= {c.name: _component(tab.KEY, c) for c in together}
        if tab.NOTE == "above":
            built.note = gr.HTML(elem_classes="explorer-note")
        for plot in tab.PLOTS:
            with gr.Column(visible=False) as column:
                built.plots += [gr.HTML("", elem_id=f"{tab.KEY}-{plot}", **CANVAS), column]
                gr.HTML(_files(tab.KEY, plot))
        built.note = built.note or gr.HTML(elem_classes="explorer-note")
    return built


def _component(key: str, control: Control) -> Any:
    given: dict[str, Any] = {"label": control.label, "info": control.info, "elem_id": f"{key}-{control.name}"}
    given |= {"min_width": WIDTHS.get(control.kind, 150)} | _given(control)
    if control.kind == "many":
        return gr.CheckboxGroup(**given)
    if control.kind == "one":
        return gr.Dropdown(**given, filterable=len(control.choices) > 12)
    if control.kind == "number":
        return gr.Slider(**given, step=control.step)
    if control.kind == "text":
        return gr.Textbox(**given, max_lines=8)
    with gr.Row():
        slider = gr.Slider(**given, step=1)
        play = f"explorer.play('{key}')"
        gr.HTML(f'<button class="explorer-play" id="{key}-play" onclick="{play}">Play</button>')
    return slider


def _given(control: Control) -> dict[str, Any]:
    """What a family decides of a component."""
    if control.kind in ("one", "many"):
        return {"choices": list(control.choices), "value": control.value}
    if control.kind in ("number", "state"):
        return {"minimum": control.low, "maximum": control.high, "value": control.value}
    return {"value": control.value}


def _files(key: str, plot: str) -> str:
    calls = {kind.upper(): f"explorer.save('{key}-{plot}', '{kind}')" for kind in ("png", "svg")}
    calls["CSV"] = f"explorer.table('{key}', '{plot}')"
    buttons = (
        f'<button onclick="{c}" aria-label="Download {name}">{name}</button>' for name, c in calls.items()
    )
    return f'<div class="explorer-files">{"".join(buttons)}</div>'


def _listen(explorer: Explorer, tab: Tab, look: gr.Textbox, family: gr.Dropdown) -> None:
    """A control changes its own tab, and opening a tab makes it; a state is shown by the page itself."""
    key, names = tab.of.KEY, list(tab.controls)

    def shown(look: str, family: str, *values: Any) -> Any:
        if look == "skip":
            updates = [gr.skip()] * len(tab.shown)
        else:
            asked = dict(zip(names, values, strict=True))
            updates = _shown(tab.of, explorer.view(tab.of, family, asked, look))
        return updates[0] if len(updates) == 1 else updates  # Gradio takes a list of one for the value itself

    given: dict[str, Any] = {"fn": shown, "inputs": [look, family, *tab.controls.values()]} | PRIVATE
    # Answers that take milliseconds need no queue; a model does, for there is one.
    given |= {"outputs": tab.shown} | getattr(tab.of, "QUEUE", {"queue": False})
    tab.item.select(js=f"(...v) => explorer.opened('{key}', v)", **given)
    js = f"(...v) => explorer.sent('{key}', {json.dumps(names)}, v)"
    for name, component in tab.controls.items():
        if name == "state":
            component.input(None, component, js=f"(v) => {{ explorer.state('{key}', v) }}")
            continue
        event = component.submit if isinstance(component, gr.Textbox) else component.input
        event(js=js, trigger_mode="always_last", **given)


def _shown(tab: ModuleType, view: View) -> list:
    updates = []
    for plot in tab.PLOTS:
        drawn = view.figures.get(plot)
        updates += [drawn.to_json() if drawn else "", gr.update(visible=drawn is not None)]
    return [*updates, view.note]


def _arrival(explorer: Explorer, built: Sequence[Tab], look: str, address: Mapping[str, str]) -> list:
    """Everything that an address decides: family, tab, controls, and the view of the one tab that is open."""
    name = explorer.family(address)
    opened = next((tab for tab in built if address.get("tab") == tab.of.KEY), built[0])
    families = gr.update(choices=explorer.results.families(), value=name or None)
    updates = [gr.update(selected=opened.of.KEY), explorer.head(name), families]
    for tab in built:
        asked = of_tab(address, tab.of.KEY)
        settings = {control.name: control for control in explorer.settings(tab.of, name)}
        for control in tab.controls:
            there = settings.get(control)
            value = {"value": there.settle(asked.get(control))} if there else {}
            updates.append(gr.update(**_given(there) | value) if there else gr.skip())
        if tab is opened:
            updates += _shown(tab.of, explorer.view(tab.of, name, asked, look))
        else:
            updates += [gr.skip()] * len(tab.shown)
    return updates
