"""Sentences that come up beside the page and stay for a while."""

from html import escape

import gradio as gr

SECONDS = 12


def warn(problem: object) -> None:
    """What went wrong. Gradio would render HTML in it."""
    gr.Warning(escape(str(problem)), duration=SECONDS)
