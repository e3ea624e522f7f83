"""The app: a tab for each page, and what they share. A page is a class in a module of its own."""

from pathlib import Path

import gradio as gr

from .compare import ComparePage
from .device_banner import DeviceBanner
from .engine import Engine
from .image_info_page import ImageInfoPage
from .library_page import LibraryPage
from .mix import MixPage
from .to_mix import ToMix
from .train_page import TrainPage

HOUR = 3600


def build(workspace: Path) -> gr.Blocks:
    """The whole app for a workspace, not yet served."""
    return pages(Engine(workspace))


def pages(engine: Engine) -> gr.Blocks:
    """The pages over an engine."""
    # Gradio copies each picture it shows into its own cache: clear that, the originals are in outputs/
    with gr.Blocks(title="sdlora", fill_width=True, analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as blocks:
        gr.HTML("<h1>sdlora</h1><p>mix styles with sliders</p>", elem_id="brand", container=False)
        DeviceBanner(engine.runs, blocks)
        tabs = gr.Tabs(selected="mix", elem_id="pages")
        to_mix = ToMix(tabs)
        with tabs:
            with gr.Tab("Mix", id="mix"):
                mix = MixPage(engine, blocks, to_mix)
            with gr.Tab("Train", id="train"):
                TrainPage(engine, blocks, to_mix)
            with gr.Tab("Library", id="library"):
                LibraryPage(engine, blocks, to_mix)
            with gr.Tab("Compare", id="compare") as tab:
                ComparePage(engine, blocks, to_mix, mix.fields, tab)
            with gr.Tab("Image info", id="image-info"):
                ImageInfoPage(engine, to_mix)
    return blocks
