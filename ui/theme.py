"""How it looks: Gradio's plain theme with the system's own fonts, and what CSS has to add."""

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
PAGES = ("mix", "train", "library", "compare")
CSS = [HERE / "style.css", *(HERE / page / "style.css" for page in PAGES)]


def theme() -> Any:
    """Fonts by name only: nothing is fetched from elsewhere, so the page works without the internet."""
    return gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    ).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        checkbox_border_color_dark="*neutral_500",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )
