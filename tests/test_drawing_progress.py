"""The bar while pictures are drawn."""

import re

import pytest
import torch

from sdlora.drawing_progress import DrawingProgress
from sdlora.sampling.denoise import denoise
from sdlora.sampling.recipe import Recipe


@pytest.fixture
def terminal(monkeypatch):
    """rich takes stderr for a terminal of 80 columns."""
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)


def draw(mini, progress, pictures):
    for seed in range(pictures):
        denoise(mini, Recipe("a", "", seed, 3, 1.0, "Euler", (64, 64)), progress)


def test_picture_step_and_remaining_time(terminal, mini, capsys):
    with DrawingProgress(2) as progress:
        draw(mini, progress, 2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "loading the base" in shown.err and re.search(r"\d:\d\d:\d\d", shown.err)
    assert "picture 2 of 2" in shown.err and "step 3 of 3" in shown.err


def test_a_single_picture_is_not_counted(terminal, mini, capsys):
    with DrawingProgress() as progress:
        draw(mini, progress, 1)
    assert "drawing" in (shown := capsys.readouterr().err) and "picture" not in shown


def test_it_is_silent_where_nobody_looks(mini, capsys, monkeypatch):
    with DrawingProgress(2) as progress:  # stderr is no terminal here
        draw(mini, progress, 1)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with DrawingProgress(2, visible=False) as progress:
        draw(mini, progress, 1)
    assert capsys.readouterr() == ("", "")


def test_it_changes_nothing(terminal, mini):
    recipe = Recipe("a", "", 1, 2, 4.0, "Euler a", (64, 64))
    with DrawingProgress() as progress:
        watched = denoise(mini, recipe, progress)
    assert torch.equal(watched, denoise(mini, recipe))
