"""`sdlora grid`, as a user runs it."""

from pathlib import Path

import pytest
from PIL import Image

QUICK = ("--steps", 1, "--size", 64, "--seed", 3)


def test_a_sheet_and_its_cells(sdlora, workspace, tmp_path):
    out = tmp_path / "fox.png"
    words = ("grid", "red apple, <oil> style", "--adapter", "ink:1", "--x", "weight:ink=0,1", "--y", "seed=1-2")
    ended = sdlora(*words, "--out", out, *QUICK, *workspace, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["path"] == str(out) and ended.json["axes"] == {"x": "weight:ink=0,1", "y": "seed=1-2"}
    cells = ended.json["cells"]
    assert [Path(cell["path"]).name for cell in cells] == ["y1-x1.png", "y1-x2.png", "y2-x1.png", "y2-x2.png"]
    assert [(cell["x"], cell["seed"]) for cell in cells] == [("ink 0", 1), ("ink 1", 1), ("ink 0", 2), ("ink 1", 2)]
    assert all(Image.open(cell["path"]).size == (64, 64) for cell in cells)
    assert "<lora:ink:1>" in cells[1]["parameters"] and "<lora:ink" not in cells[0]["parameters"]
    refused = sdlora(*words, "--out", out, *QUICK, *workspace)
    assert refused.code == 1 and "--force" in refused.err
    again = sdlora(*words, "--out", out, *QUICK, *workspace, "--force")
    assert (again.code, again.out.strip()) == (0, str(out)) and again.err.startswith("safety checker:")


def test_over_a_picture_and_larger(sdlora, workspace, tmp_path):
    Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 100).save(tmp_path / "fractal.png")
    over = ("--image", tmp_path / "fractal.png", "--strength", 1, "--upscale", 1.5, "--upscale-steps", 2)
    ended = sdlora("grid", "red apple", "--x", "seed=1-2", *over, *QUICK, *workspace, "--json")
    assert ended.code == 0, ended.err
    for cell in ended.json["cells"]:
        assert Image.open(cell["path"]).size == (96, 96) and "Hires upscale: 1.5" in cell["parameters"]


def test_without_out_it_lies_among_the_outputs(sdlora, workspace, library):
    ended = sdlora("grid", "a", "--x", "adapter=ink,oil:0.5,none", *QUICK, *workspace)
    assert ended.code == 0, ended.err
    path = Path(ended.out.strip())
    assert path.parent == library.parent / "outputs"
    assert len(list(path.with_name(f"{path.stem}-cells").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "a grid needs an axis"),
        (("--x", "sede=1"), "did you mean seed?"),
        (("--x", "weight:inc=1"), "did you mean ink?"),
        (("--x", "seed=1", "--adapter", "inc"), "did you mean ink?"),
        (("--x", "prompt=a <lora:inc:1>"), "did you mean ink?"),
        (("--x", "checkpoint:ink=all"), "There is no run 'ink'"),
        (("--x", "seed=1", "--out", "a.jpg"), "a grid is a .png"),
    ],
)
def test_a_mistake_is_told_before_the_base_is_loaded(words, sentence, sdlora, workspace):
    ended = sdlora("grid", "a", "--base", "nowhere.safetensors", *words, *workspace)
    assert ended.code == 1 and sentence in ended.err and "nowhere" not in ended.err
    assert len(ended.err.splitlines()) == 1
