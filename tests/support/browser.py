"""What the browser tests share: the explorer in its own process, and pages that note what goes wrong."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
GRAPH = "document.querySelector('#{} .js-plotly-plot')"


@dataclass
class Server:
    """An explorer that answers at `url`; `outside` lists the hosts that it tried to reach."""

    url: str
    process: subprocess.Popen
    log: Path

    @property
    def outside(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    @property
    def rss(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def serving(root: Path, folder: Path, *arguments: str, patience: float = 90):
    """The explorer over a root's results, ended with the block. folder: for its logs."""
    port, log = free_port(), folder / "outside.log"
    command = [sys.executable, HERE / "guarded_app.py", log, "--root", root, "--port", str(port), *arguments]
    # A proxy would be a host of its own.
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with (folder / "server.log").open("w") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, env=environment)
    server = Server(f"http://127.0.0.1:{port}/", process, log)
    try:
        deadline = time.monotonic() + patience
        while not _answers(server.url):
            said = (folder / "server.log").read_text()
            assert process.poll() is None, f"no server: {said}"
            assert time.monotonic() < deadline, f"no answer in {patience} s: {said}"
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@dataclass
class Watched:
    """A page, and what it complained of or asked other hosts for."""

    page: object
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("response", lambda answer: self._answered(answer.status, answer.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"request to {url}")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400:
            self.complaints.append(f"{status} of {url}")

    def open(self, address: str = "", plot: str | None = "curves-by_state") -> None:
        """Go there, and wait until a plot of its tab is drawn."""
        self.page.goto(self.url + address)
        if plot:
            self.drawn(plot)
        self.page.wait_for_function("window.explorer && explorer.ready()")

    def drawn(self, plot: str) -> None:
        self.page.wait_for_selector(f"#{plot} .js-plotly-plot .main-svg", state="attached")

    def graph(self, plot: str, of: str):
        """What plotly holds: ``graph("curves-by_state", "data[0].y")``."""
        return self.page.evaluate(f"{GRAPH.format(plot)}.{of}")

    def trace(self, plot: str, name: str, part: int = 0) -> dict:
        """x and y of the n-th trace of a name."""
        return self.page.evaluate(
            f"{GRAPH.format(plot)}.data.filter(t => t.name === {name!r})"
            f".map(t => ({{x: [...t.x], y: [...t.y]}}))[{part}]"
        )

    def until(self, plot: str, condition: str) -> None:
        """Wait until it holds of the plot, called gd."""
        gd = GRAPH.format(plot)
        self.page.wait_for_function(f"() => {{ const gd = {gd}; return gd && gd.data && ({condition}) }}")

    def choose(self, control: str, label: str) -> None:
        """An entry of a drop-down list."""
        self.page.locator(f"#{control} input").first.click()
        self.page.get_by_role("option", name=label, exact=True).click()

    def check(self, control: str, label: str) -> None:
        self.page.locator(f"#{control} label").filter(
            has_text=re.compile(f"^\\s*{re.escape(label)}\\s*$")
        ).click()

    def slide(self, control: str, value: float) -> None:
        slider = self.page.locator(f"#{control} input[type=range]")
        slider.evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', "
            "{bubbles: true})) }",
            value,
        )
