"""One web app that carries the pages, the API and its docs, behind the gate."""

import os
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from PIL import Image

from sdlora.data.images import MAX_PIXELS
from sdlora.version import VERSION

from .api import api_router
from .api.docs import docs_page
from .api.refusals import add_refusals
from .app import pages
from .cut_short import CutShort
from .engine import Engine
from .library.pictures import library_router
from .runs.reports import reports_router
from .safety import Gate, Hosts, Password
from .safety.bodies import LARGEST_UPLOAD
from .theme import CSS, theme


def web_app(engine: Engine, hosts: Hosts, password: Password | None = None) -> Gate:
    """The whole app for an engine, ready to be served. `password` None: everybody who reaches it may use it."""
    uploads = (engine.workspace / "cache" / "uploads").resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # asked for wherever Gradio puts a file
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Gradio opens pictures itself; Pillow refuses those of twice as many
    app = FastAPI(title="sdlora", version=VERSION, description=_ABOUT, docs_url=None, redoc_url=None)
    add_refusals(app)
    app.add_middleware(CutShort)
    app.include_router(api_router(engine, uploads))
    app.include_router(library_router(engine))
    app.include_router(reports_router(engine.runs.queue))

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    _mount(app, pages(engine), engine.outputs.resolve())
    return Gate(app, hosts, password, uploads)


_ABOUT = "The part of AUTOMATIC1111's API that its clients use, over the same queue as the pages."


def _mount(app: FastAPI, blocks: gr.Blocks, outputs: Path) -> None:
    gr.mount_gradio_app(
        app,
        blocks.queue(api_open=False),
        path="/",
        allowed_paths=[str(outputs)],
        theme=theme(),
        css_paths=CSS,
        max_file_size=LARGEST_UPLOAD,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )
    # Only then does Gradio look whether the files that a request names were uploaded (`_check_allowed`).
    blocks.has_launched = True
