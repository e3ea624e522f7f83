"""Sentences that come up beside the page and stay for a while."""

import logging
from html import escape

import gradio as gr

SECONDS = 12

log = logging.getLogger(__name__)


def warn(problem: object) -> None:
    """What went wrong. Gradio would render HTML in it."""
    gr.Warning(escape(str(problem)), duration=SECONDS)


def warn_of_a_mistake(doing: str) -> None:
    """That what is caught just now is a mistake of ours; the terminal gets it whole."""
    log.exception("%s failed", doing)
    warn("Something went wrong inside sdlora; the terminal in which it runs shows the details.")
