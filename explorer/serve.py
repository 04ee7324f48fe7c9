"""Serving the page: its files, who may ask for it, and nothing asked of any other host."""

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import themes
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from explorer.controls import from_address
from explorer.data import Results
from explorer.page import Explorer
from explorer.plots.look import DARK, LIGHT

HERE = Path(__file__).parent
PLOTLY = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"


def routes(results: Results) -> list[Route]:
    """Beside Gradio's own, and before them."""
    explorer = Explorer(results)

    def data(request: Request) -> Response:
        """The rows that a plot draws, for the same address as the page's."""
        key, plot = request.path_params["tab"], request.path_params["plot"]
        table = explorer.table(key, plot, request.url.query)
        if table is None:
            return PlainTextResponse("no such data", status_code=404)
        name = f"{explorer.family(from_address(request.url.query))}_{key}_{plot}.csv"
        content, attached = table.to_csv(index=False, lineterminator="\n"), f'attachment; filename="{name}"'
        return Response(content, media_type="text/csv", headers={"Content-Disposition": attached})

    def asset(request: Request) -> Response:
        """A printed figure."""
        family, name = request.path_params["family"], request.path_params["file"]
        there = results.paths.assets(family).glob("*.[ps][nv]g") if family in results.families() else ()
        path = next((path for path in there if path.name == name), None)
        return FileResponse(path) if path else PlainTextResponse("no such figure", status_code=404)

    def plotly(request: Request) -> Response:
        """As the plotly package has it: the page asks no other host for it."""
        return FileResponse(str(PLOTLY), headers={"Cache-Control": "max-age=86400"})

    def no_uploads(request: Request) -> Response:
        """In place of Gradio's, which takes files of any size from any origin: the page needs none."""
        return PlainTextResponse("this page takes no files", status_code=403)

    return [
        Route("/data/{tab}/{plot}.csv", data),
        Route("/assets/{family}/{file}", asset),
        Route("/plotly.min.js", plotly),
        *(Route(f"{base}/upload", no_uploads, methods=["POST"]) for base in ("", "/gradio_api")),
    ]


def trusted(host: str, names: Sequence[str], share: bool = False) -> Middleware:
    """Only requests that name this server are answered: a page elsewhere whose name was made to point here
    (DNS rebinding) gets nothing. names: those that the server is known by, beside its own address."""
    shared = ["*.gradio.live"] if share else []
    allowed = ["127.0.0.1", "localhost", "::1", host, *names, *shared]
    return Middleware(TrustedHostMiddleware, allowed_hosts=allowed, www_redirect=False)


def serve(
    page: gr.Blocks, results: Results, host: str, port: int | None, names: Sequence[str] = (), **more: Any
) -> None:
    """Serve until interrupted, asking nothing of any other host."""
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace"]}
    theme = themes.Base(primary_hue="blue", neutral_hue="slate", **fonts).set(
        body_background_fill=LIGHT.paper,
        body_background_fill_dark=DARK.paper,
        body_text_color_subdued=LIGHT.muted,
        body_text_color_subdued_dark=DARK.muted,
        block_background_fill=LIGHT.paper,
        block_background_fill_dark=DARK.paper,
        block_info_text_color=LIGHT.muted,
        block_info_text_color_dark=DARK.muted,
    )
    script = (HERE / "page.js").read_text(encoding="utf-8")
    middleware = [trusted(host, names, more.get("share", False))]
    page.launch(
        server_name=host,
        server_port=port,
        theme=theme,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        head=f'<script src="plotly.min.js" async></script><script>{script}</script>',
        footer_links=[],
        ssr_mode=False,
        quiet=True,
        app_kwargs={"routes": routes(results), "middleware": middleware, "docs_url": None, "redoc_url": None},
        **more,
    )
