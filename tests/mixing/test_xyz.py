"""Grids: what an axis makes of a picture, in which order they are drawn, and what is written."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdlora.adapters import Adapter, save_adapter
from sdlora.adapters.updates import LoRA
from sdlora.errors import Error
from sdlora.mixing.axis_kinds import KINDS, read_axes
from sdlora.mixing.mix_file import MixFile
from sdlora.mixing.png_info import read_parameters
from sdlora.mixing.xyz import Cell
from sdlora.mixing.xyz_drawing import cells_folder, draw_grid

CELL = Cell("a red fox, ink", "blurry fox", 5)
BOTH = {"unet": 0.5, "text": 0.5}
CHECKPOINTS = {0: None, 100: "disc-100", 200: "disc-200"}


def runs(run, steps):
    if run != "disc":
        raise Error(f"no run {run}")
    return {step: CHECKPOINTS[step] for step in (CHECKPOINTS if steps is None else steps)}


@pytest.fixture
def read(library):
    """`read("seed=1,2", "steps=3")`: axes of grids around `CELL` with `ink` in its mix."""
    cell = CELL.weighing(str(library / "ink.safetensors"), 0.8)

    def read(x=None, y=None, z=None, cell=cell):
        axes = read_axes((x, y, z), cell, library=library, checkpoints=runs)
        return axes, axes.plan(cell)

    return read


def mixes(plan):
    return [{Path(file).stem: weight for file, weight in cell.mix} for cell in plan]


@pytest.mark.parametrize(
    ("axis", "labels", "changes"),
    [
        ("seed=1-3", ["seed 1", "seed 2", "seed 3"], [{"seed": 1}, {"seed": 2}, {"seed": 3}]),
        ("SEED = 7", ["seed 7"], [{"seed": 7}]),
        ("steps=10,20", ["10 steps", "20 steps"], [{"steps": 10}, {"steps": 20}]),
        ("guidance=1-2[3]", ["guidance 1", "guidance 1.5", "guidance 2"], [{"guidance": g} for g in (1, 1.5, 2)]),
        ("sampler=euler a,ddim", ["Euler a", "DDIM"], [{"sampler": "euler a"}, {"sampler": "ddim"}]),
        ("sampler=dpmpp_2m_karras", ["DPM++ 2M Karras"], [{"sampler": "dpmpp_2m_karras"}]),
        ('prompt="a, b",c=d', ["a, b", "c=d"], [{"prompt": "a, b"}, {"prompt": "c=d"}]),
        (
            "replace=fox,cat,",
            ["fox", "cat", "without fox"],
            [
                {"prompt": "a red fox, ink", "negative": "blurry fox"},
                {"prompt": "a red cat, ink", "negative": "blurry cat"},
                {"prompt": "a red , ink", "negative": "blurry "},
            ],
        ),
    ],
)
def test_what_an_axis_changes(axis, labels, changes, read):
    axes, plan = read(axis)
    assert axes.x.labels == labels
    assert [{key: getattr(cell, key) for key in change} for cell, change in zip(plan, changes, strict=True)] == changes
    unchanged = {"prompt", "negative", "seed", "steps", "guidance", "sampler", "mix"} - set(changes[0])
    first = next(iter(plan))
    for key in unchanged:
        assert {getattr(cell, key) for cell in plan} == {getattr(first, key)}


def test_what_an_axis_puts_into_the_mix(read):
    assert mixes(read("weight=0,0.5")[1]) == [{}, {"ink": 0.5}]
    assert mixes(read("weight:ink=2")[1]) == [{"ink": 2}]
    assert mixes(read("weight:clay=-1,1")[1]) == [{"clay": -1, "ink": 0.8}, {"clay": 1, "ink": 0.8}]
    axes, plan = read("adapter=clay,blob:0.5,none")
    assert axes.x.labels == ["clay", "blob 0.5", "no adapter"]
    assert mixes(plan) == [{"clay": 1, "ink": 0.8}, {"blob": 0.5, "ink": 0.8}, {"ink": 0.8}]
    axes, plan = read("checkpoint:disc=all")
    assert axes.x.labels == ["step 0", "step 100", "step 200"]
    assert mixes(plan) == [{"ink": 0.8}, {"disc-100": 1, "ink": 0.8}, {"disc-200": 1, "ink": 0.8}]
    assert mixes(read("checkpoint:disc=200")[1]) == [{"disc-200": 1, "ink": 0.8}]


def test_a_weight_without_a_name_is_that_of_the_adapter_on_the_other_axis(read):
    _, plan = read("weight=0.2,0.9", "checkpoint:disc=100,200", cell=CELL)
    assert mixes(plan) == [{"disc-100": 0.2}, {"disc-100": 0.9}, {"disc-200": 0.2}, {"disc-200": 0.9}]


def test_weights_change_as_rarely_as_they_can_whichever_axis_they_are_on(read):
    _, plan = read("seed=1-3", "weight=0.5,1", "adapter=clay,blob")
    assert len(plan) == 12
    changes = [mix for mix, _ in itertools.groupby(cell.mix for cell in plan)]
    assert len(changes) == len(set(changes)) == 4
    for cell, [(z, y, x)] in plan.items():
        assert cell.seed == x + 1
        assert f"{['clay', 'blob'][z]}.safetensors" in str(cell.mix) and [0.5, 1][y] in dict(cell.mix).values()
    assert sorted(place for places in plan.values() for place in places) == list(
        itertools.product(range(2), range(2), range(3))
    )


def test_what_comes_out_alike_is_drawn_once(read):
    _, plan = read("weight=0,1", "adapter=clay,blob,none")
    assert len(plan) == 3 and sum(map(len, plan.values())) == 6
    assert plan[next(cell for cell in plan if "clay" not in str(cell.mix) and "blob" not in str(cell.mix))] == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
        (0, 2, 1),
    ]


def test_two_replacements_and_a_prompt_go_together(read):
    _, plan = read("replace=fox,cat", "replace=red,blue", "prompt=red fox,dog", cell=Cell("", "", 5))
    assert [cell.prompt for cell in plan] == ["red fox", "blue fox", "red cat", "blue cat", "dog"]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ((), "a grid needs an axis"),
        (("sede=1",), "--x: there is no axis 'sede': did you mean seed?"),
        (("cfg=1",), ", ".join(KINDS)),
        ((None, "seed"), "--y 'seed': write KIND=VALUES"),
        (("seed:ink=1",), "seed has no name"),
        (("seed=a",), "--x seed: 'a' is no number"),
        (("seed=1", "seed=2"), "--x and --y both vary the seed"),
        (("weight:ink=1", "weight:ink=2"), "both vary the weight ink"),
        (("weight=1", None, "weight:inc=1"), "--z weight: There is no adapter 'inc'"),
        (("adapter=ink,clai",), "did you mean clay?"),
        (("replace=dog,cat",), "'dog' is not in the prompt"),
        (("replace=fox,cat", "replace=fox,dog"), "both vary 'fox'"),
        (("replace=ink,oil", "prompt=dog"), "'ink' is not in the prompt"),
        (("sampler=Eular",), "did you mean Euler?"),
        (("checkpoint=1",), "name the run"),
        (("checkpoint:other=1",), "--x checkpoint: no run other"),
    ],
)
def test_what_cannot_be_is_one_sentence(written, sentence, read):
    with pytest.raises(Error) as caught:
        read(*written)
    assert sentence in str(caught.value)


def test_a_weight_needs_a_name_where_there_are_several_or_none(read, library):
    one = CELL.weighing(str(library / "ink.safetensors"), 1)
    for cell in (CELL, one.weighing(str(library / "clay.safetensors"), 1)):
        with pytest.raises(Error, match="weight:NAME=0,1"):
            read("weight=0,1", cell=cell)


def drawn(read, mixer, out, *axes, size=(64, 64), on_step=None):
    axes, plan = read(*axes, cell=Cell("red apple", "", 5, steps=2))
    return draw_grid(mixer, plan, axes, out, fixed={"size": size}, on_step=on_step)


def test_a_grid_is_a_sheet_and_cells_that_sort_as_they_are_read(read, mixer, tmp_path):
    steps = []
    out = tmp_path / "out" / "sheet.png"
    grid = drawn(read, mixer, out, "weight:clay=0,1", "seed=5,6", "steps=1,2", on_step=steps.append)
    assert len(steps) == 4 * (1 + 2)
    files = sorted(cells_folder(out).iterdir())
    assert [cell.path for cell in grid.cells] == files and len(files) == 8
    assert files[1].name == "z1-y1-x2.png"
    sheet = np.asarray(Image.open(out).convert("RGB"))
    for cell in grid.cells:
        z, y, x = cell.place
        mixer.set({"clay": x})
        (alone,) = mixer.generate("red apple", seed=5 + y, steps=1 + z, size=64)
        assert np.array_equal(np.asarray(Image.open(cell.path)), np.asarray(alone.image))
        assert read_parameters(cell.path).text == str(cell.parameters) == str(alone.parameters)
        small = np.asarray(alone.image.resize((192, 192), Image.Resampling.LANCZOS))
        assert is_part(small, sheet)


def is_part(small, sheet):
    """Whether a picture is somewhere on the sheet, tried wherever a pixel equals its first."""
    high, wide = small.shape[:2]
    begin = np.argwhere((sheet[: 1 - high, : 1 - wide] == small[0, 0]).all(-1))
    return any(np.array_equal(small, sheet[top : top + high, left : left + wide]) for top, left in begin)


def test_what_the_mix_says_beside_the_weight_stays(read, mixer, library, tmp_path):
    ink, clay = (str(library / f"{name}.safetensors") for name in ("ink", "clay"))
    mix = MixFile({ink: {"unet": 0.3, "stop": 0.5, "blocks": {"unet.mid_block": 2.0}}, clay: 0.7}, "composite", False)
    cell = Cell("red apple", "", 5, steps=2).weighing(ink, None).weighing(clay, None)
    axes, plan = read("weight:ink=0,0.5", cell=cell)
    grid = draw_grid(mixer, plan, axes, tmp_path / "sheet.png", mix=mix, fixed={"size": 64})
    for drawn, given in zip(grid.cells, ({clay: 0.7}, mix.adapters | {ink: mix.adapters[ink] | BOTH}), strict=True):
        mixer.set(given, "composite")
        (alone,) = mixer.generate("red apple", seed=5, steps=2, size=64)
        assert np.array_equal(np.asarray(Image.open(drawn.path)), np.asarray(alone.image))


def test_the_sheet_says_how_it_was_made(read, mixer, tmp_path):
    grid = drawn(read, mixer, tmp_path / "sheet.png", 'replace=red,"green, ripe"', None, "weight:ink=1")
    told = read_parameters(grid.path)
    assert told.infotext.prompt == "red apple <lora:ink:1>"
    assert told.infotext.facts["X Type"] == "Prompt S/R"
    assert told.infotext.facts["X Values"] == 'red,"green, ripe"'
    assert told.details["grid"] == {"x": 'replace=red,"green, ripe"', "z": "weight:ink=1"}
    assert [cell["x"] for cell in grid.as_dict()["cells"]] == ["red", "green, ripe"]
    assert [cell.path.name for cell in grid.cells] == ["z1-x1.png", "z1-x2.png"]


def test_cells_of_an_earlier_grid_are_gone(read, mixer, tmp_path):
    drawn(read, mixer, tmp_path / "sheet.png", "seed=1,2")
    drawn(read, mixer, tmp_path / "sheet.png", None, "seed=1")
    assert [path.name for path in cells_folder(tmp_path / "sheet.png").iterdir()] == ["y1.png"]


def test_many_large_cells_are_shown_smaller(read, mixer, tmp_path, monkeypatch):
    monkeypatch.setattr("sdlora.mixing.xyz_drawing.LARGEST_SHEET", 2 * 100 * 50)
    grid = drawn(read, mixer, tmp_path / "sheet.png", "seed=1,2", size=(128, 64))
    assert Image.open(grid.path).width < 2 * 128 and Image.open(grid.cells[0].path).size == (128, 64)


@pytest.mark.parametrize(
    ("axes", "size", "sentence"),
    [
        (("seed=1,-2",), (64, 64), "seed is -2"),
        (("steps=1,2000",), (64, 64), "steps is 2000"),
        (("seed=1",), (100, 64), "size 100x64"),
    ],
)
def test_nothing_is_drawn_where_a_cell_cannot_work(axes, size, sentence, read, mixer, tmp_path):
    refused(sentence, read, mixer, tmp_path / "sheet.png", *axes, size=size)


def test_nothing_is_drawn_where_an_adapter_does_not_fit(read, mixer, tmp_path):
    path = next(path for path in mixer.base.modules() if path.endswith("attn1.to_q"))
    wide = Adapter("wide", {path: LoRA(torch.ones(1, 999), torch.ones(999, 1), 1.0)}, family="sd1")
    file = save_adapter(wide, tmp_path / "wide.safetensors")
    refused("'wide' was made for a base of another size", read, mixer, tmp_path / "sheet.png", f"adapter=ink,{file}")


def refused(sentence, read, mixer, out, *axes, **options):
    with pytest.raises(Error) as caught:
        drawn(read, mixer, out, *axes, **options, on_step=lambda step: pytest.fail("began to draw"))
    assert sentence in str(caught.value)
    assert not out.exists() and not cells_folder(out).exists()
