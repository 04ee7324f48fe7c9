"""How quick the explorer is: from the address to the first figure, and from a press to the figure redrawn.

Reads   results/nano-aya/
Run     uv run bench/page.py                             (needs Chromium; on a quiet machine)
        uv run bench/page.py --app ../other/app.py       (another checkout, for a comparison in one run)
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np

from probe.paths import REPOSITORY

DRAWN = "#curves-by_state .js-plotly-plot .main-svg"
TIMED = """() => { window.took = 0;
    const gd = document.querySelector('#curves-by_state .js-plotly-plot');
    document.addEventListener('mousedown', () => {
        const started = performance.now();
        gd.once('plotly_afterplot', () => { window.took = performance.now() - started });
    }, {once: true, capture: true}) }"""


def first_paint(browser, url: str) -> float:
    """Seconds, with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, started = context.new_page(), time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(DRAWN, state="attached")
    took = time.perf_counter() - started
    context.close()
    return took


def updates(browser, url: str, n: int) -> list[float]:
    """Seconds of n changes of the metric, to the second of the list and back to the first."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url)
    page.wait_for_selector(DRAWN, state="attached")
    page.wait_for_function("window.explorer && explorer.ready()")
    took = []
    for i in range(n):
        page.locator("#curves-metric input").first.click()
        page.evaluate(TIMED)
        page.get_by_role("option").nth((i + 1) % 2).click()
        page.wait_for_function("window.took > 0")
        took.append(page.evaluate("window.took / 1000"))
    page.close()
    return took


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--app", type=Path, default=REPOSITORY / "app.py", help="whose page (this one's)")
    parser.add_argument("--repeats", type=int, default=10, help="of each (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    from playwright.sync_api import sync_playwright

    args = parser().parse_args(argv)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    app = args.app.resolve()
    command = [sys.executable, str(app), "--demo", "--root", str(REPOSITORY), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=app.parent)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=9), trust_env=False, timeout=60) as client:
            client.get(url)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            paints = [first_paint(browser, url) for _ in range(args.repeats)]
            print(f"first paint   {np.median(paints):.2f} s, median of {len(paints)}")
            for languages in ("hi,sw,am", "hi,bn,sw,am,fr,es,ar,yo,ta"):
                took = updates(browser, f"{url}?curves.languages={languages}", args.repeats)
                print(f"a control, {languages.count(',') + 1} panels   {1000 * np.median(took):.0f} ms")
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    sys.exit(main())
