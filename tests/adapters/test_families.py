"""Family and geometry from shapes alone."""

import subprocess
import sys

import pytest

from sdlora.adapters import Adapter, load_adapter, save_adapter, tables
from sdlora.adapters.families import misfits, stated_family, tell_family, tell_geometry
from tests.adapters.made import ATTENTION, FULL, random_adapter, random_lora
from tests.bases.written import narrow


def shapes_of(geometry, part=""):
    return {path: shape for path, shape in tables.shapes(geometry).items() if part in path}


@pytest.mark.parametrize(("geometry", "family"), [("sd15", "sd1"), ("sd2", "sd2"), ("sdxl", "sdxl"), ("mini", "sd1")])
@pytest.mark.parametrize("part", ["", "attn2", "text_encoder"])
def test_each_geometry_is_told(geometry, family, part):
    shapes = shapes_of(geometry, part)
    # SD 1's text encoder is SDXL's first; in files it has another name there
    assert tell_family(shapes, {}, {"sd1", "sd2"} if family != "sdxl" else tables.FAMILIES) == family
    assert tell_geometry(shapes, family) == geometry
    flat = {path: (shape[0], *shape[1:2]) if len(shape) == 2 else shape for path, shape in shapes.items()}
    assert tell_geometry(flat, family) == geometry


@pytest.mark.parametrize("part", ["mid_block.attentions.0.transformer_blocks.0.attn1", "mid_block.resnets"])
def test_what_several_have_is_nobodys(part):
    shapes = shapes_of("sd15", part)
    assert tell_family(shapes, {}) is None and tell_geometry(shapes, None) is None
    assert tell_family(shapes, {"ss_base_model_version": "sd_v2"}) == "sd2" and tell_geometry(shapes, "sd2") == "sd2"


def test_mini_is_told_by_its_widths_alone():
    assert tell_family(shapes_of("mini", "mid_block.attentions.0.transformer_blocks.0.attn1"), {}) == "sd1"


def test_shapes_that_are_not_told_tell_nothing():
    unknown = dict.fromkeys(shapes_of("sd15", "unet.mid_block"))
    assert tell_family(unknown, {}) is None and tell_geometry(unknown, None) is None


@pytest.mark.parametrize("family", tables.FAMILIES)
def test_other_widths_are_custom(family, tmp_path):
    adapter = random_adapter(narrow(family), FULL, rank=1)
    read = load_adapter(save_adapter(adapter, tmp_path / "a.safetensors"))
    assert (read.family, read.geometry) == (family, "custom") and read.report.complete


def test_mini_from_a_file(mini, tmp_path):
    read = load_adapter(save_adapter(random_adapter(mini, ATTENTION, rank=1), tmp_path / "a.safetensors"))
    assert (read.family, read.geometry) == ("sd1", "mini")


def test_a_module_of_another_shape_than_all_others_is_left_out_by_name(tmp_path):
    shapes = shapes_of("sd15", "attn1.to_")
    wrong = next(iter(shapes))
    updates = {path: random_lora(shape, 1, 1.0, 1) for path, shape in shapes.items()}
    updates[wrong] = random_lora((44, 33), 1, 1.0, 1)
    adapter = Adapter("a", updates, metadata={"ss_base_model_version": "sd_v1"}, family="sd1")
    read = load_adapter(save_adapter(adapter, tmp_path / "a.safetensors"))
    assert read.geometry == "sd15" and read.updates.keys() == updates.keys() - {wrong}
    assert "(44, 33)" in read.report.left_out[wrong] and "(320, 320)" in read.report.left_out[wrong]
    assert misfits(shapes, "sd15") == misfits(shapes, "custom") == misfits(shapes, None) == {}


@pytest.mark.parametrize(
    ("metadata", "family"),
    [({}, None), ({"ss_v2": "True"}, "sd2"), ({"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl")],
)
def test_the_stated_family(metadata, family):
    assert stated_family(metadata) == family


def test_telling_imports_no_torch():
    script = (
        "import sys; from sdlora.adapters import families, tables;"
        "from sdlora.adapters.formats import header, other_models;"
        "families.tell_family(tables.shapes('sd15'), {}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
