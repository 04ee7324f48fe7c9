// What the page does without the server: its state in the address, frames by state, files of a figure.
"use strict";
window.explorer = (() => {
  const NARROW = 720; // pixels; page.css has the same
  const LONGEST = 1500; // characters of one value in the address
  const STEP = 650; // milliseconds a state is shown while playing
  const params = () => new URLSearchParams(location.search);
  const graph = (id) => document.querySelector(`#${CSS.escape(id)} .js-plotly-plot`);
  const look = () =>
    `${document.body.classList.contains("dark") ? "dark" : "light"} ${innerWidth < NARROW ? "narrow" : "wide"}`;

  function keep(entries) {
    const kept = params();
    for (const [name, value] of entries) {
      const text = Array.isArray(value) ? value.join(",") : String(value ?? "");
      if (text && text.length <= LONGEST) kept.set(name, text);
      else kept.delete(name); // an address is no place for a long text
    }
    history.replaceState(history.state, "", `?${kept}`);
  }

  // Called with what an event sends, [look, family, ...values]; what it returns is sent instead. Some of
  // Gradio's controls tell of one change twice: the server is asked to skip what it has been asked already.
  const last = {};
  function sent(tab, names, values) {
    const asked = [look(), ...values.slice(1)];
    const known = last[tab] === JSON.stringify(asked);
    last[tab] = JSON.stringify(asked);
    keep([["tab", tab], ["family", values[1]], ...names.map((name, i) => [`${tab}.${name}`, values[i + 2]])]);
    return known ? ["skip", ...values.slice(1)] : asked;
  }

  // Gradio says that a tab was opened also when it builds the page, and when an arrival opens it: the arrival
  // has drawn that one already. "skip" tells the server so.
  const address = location.search;
  let here = false; // whether the first arrival is done
  let drawn = null; // the tab that an arrival drew
  function opened(tab, values) {
    const known = !here || drawn === tab;
    drawn = null;
    delete last[tab];
    if (here) keep([["tab", tab]]);
    return [known ? "skip" : look(), ...values.slice(1)];
  }
  function arrived(family) {
    if (family) keep([["family", family]]);
    const search = here ? location.search : address;
    drawn = new URLSearchParams(search).get("tab");
    return [look(), search];
  }
  const settle = () => void (here = true);
  const ready = () => here;

  // A figure is plotly's, and: frames, of which frames[state] holds what differs at that state; follow, the tab
  // whose slider of states moves with the pointer over it; name, for a saved file.
  const plotly = new Promise((ready) => {
    const wait = () => (window.Plotly ? ready() : setTimeout(wait, 10));
    wait();
  });
  function mount(element, props, watch) {
    const gd = element.querySelector(".explorer-plot");
    const draw = async () => {
      await plotly;
      if (!props.value) return Plotly.purge(gd);
      const { data, layout, config, ...more } = JSON.parse(props.value);
      gd.explorer = more;
      await Plotly.react(gd, data, layout, config);
      if (more.follow) follow(gd);
    };
    watch("value", draw);
    draw();
  }

  function show(gd, state, smooth) {
    const frame = gd.explorer?.frames[state];
    if (!frame) return;
    const still = !smooth || matchMedia("(prefers-reduced-motion: reduce)").matches;
    const duration = still ? 0 : STEP * 0.7;
    gd.dataset.state = state;
    const change = { data: frame.data, traces: frame.data.map((_, i) => i), layout: frame.layout };
    Plotly.animate(gd, change, {
      mode: "immediate",
      frame: { duration, redraw: still },
      transition: { duration, easing: "cubic-in-out" },
    }).then(
      () => frame.layout && Plotly.relayout(gd, frame.layout), // a title is not animated
      () => {}, // a newer state takes over: nothing to mend
    );
  }
  const graphs = (tab) => document.querySelectorAll(`[id^="${tab}-"] .js-plotly-plot`);
  function state(tab, value, smooth = true) {
    keep([["tab", tab], [`${tab}.state`, value]]);
    graphs(tab).forEach((gd) => show(gd, value, smooth));
  }
  function move(tab, value) {
    const slider = document.querySelector(`#${tab}-state input[type=range]`);
    if (!slider || Number(slider.value) === value) return;
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }

  const playing = {};
  const stop = (tab) => (clearInterval(playing[tab]), delete playing[tab], told(tab));
  const told = (tab) => {
    const button = document.querySelector(`#${tab}-play`);
    if (button) button.textContent = playing[tab] ? "Stop" : "Play";
  };
  function play(tab) {
    if (playing[tab]) return stop(tab);
    const slider = document.querySelector(`#${tab}-state input[type=range]`);
    const last = Number(slider.max);
    let next = Number(slider.value) >= last ? 0 : Number(slider.value) + 1;
    const step = () => {
      if (!slider.isConnected || next > last) return stop(tab);
      move(tab, next++);
    };
    playing[tab] = setInterval(step, STEP);
    step();
    told(tab);
  }

  // A pointer over a curve moves the slider of states.
  function follow(gd) {
    gd.removeAllListeners("plotly_hover");
    gd.on("plotly_hover", ({ points }) => {
      const x = Math.round(points[0]?.x);
      if (Number.isInteger(x) && !playing[gd.explorer.follow]) move(gd.explorer.follow, x);
    });
  }

  function save(id, format) {
    const gd = graph(id);
    if (!gd) return;
    const { width, height } = gd.getBoundingClientRect();
    return Plotly.downloadImage(gd, { format, width, height, scale: format === "png" ? 3 : 1, filename: gd.explorer.name });
  }
  function table(tab, plot) {
    const link = document.createElement("a");
    link.href = `data/${tab}/${plot}.csv${location.search}`;
    link.download = "";
    link.click();
  }
  return { mount, sent, opened, arrived, settle, ready, state, play, save, table };
})();
