"""Block weights by A1111's lists and presets."""

import re
from pathlib import Path

import pytest

from sdlora.adapters import tables
from sdlora.bases.geometry import meta_modules
from sdlora.errors import Error
from sdlora.mixing.blocks import PRESETS, block_factors
from tests.bases.written import narrow

TABLES = Path(tables.__file__).parent
# As the README of sd-webui-lora-block-weight lists them.
ORDER = {
    17: "BASE,IN01,IN02,IN04,IN05,IN07,IN08,M00,OUT03,OUT04,OUT05,OUT06,OUT07,OUT08,OUT09,OUT10,OUT11",
    26: "BASE,IN00,IN01,IN02,IN03,IN04,IN05,IN06,IN07,IN08,IN09,IN10,IN11,M00,"
    "OUT00,OUT01,OUT02,OUT03,OUT04,OUT05,OUT06,OUT07,OUT08,OUT09,OUT10,OUT11",
    12: "BASE,IN04,IN05,IN07,IN08,M00,OUT00,OUT01,OUT02,OUT03,OUT04,OUT05",
    20: "BASE,IN00,IN01,IN02,IN03,IN04,IN05,IN06,IN07,IN08,M00,OUT00,OUT01,OUT02,OUT03,OUT04,OUT05,OUT06,OUT07,OUT08",
}


def factor(path, factors):
    """The longest prefix wins, as in a mix; what none names has 1."""
    fitting = [prefix for prefix in factors if path == prefix or path.startswith(f"{prefix}.")]
    return factors[max(fitting, key=len)] if fitting else 1.0


def sgm_blocks(family):
    """Module path -> the block by the original checkpoint's names, from the adapter tables' other side."""
    found = {}
    for line in (TABLES / f"{family}.tsv").read_text(encoding="utf-8").splitlines():
        path, *rest = line.split("\t")
        name = re.search(r"lora_unet_(input|middle|output)_block(?:s_(\d+))?_", rest[-1] if rest else "")
        if name:
            kind = {"input": "IN", "middle": "M", "output": "OUT"}[name[1]]
            found[path] = f"{kind}{int(name[2] or 0):02}"
        elif path.startswith("text_encoder"):
            found[path] = "BASE"
    return found


@pytest.mark.parametrize(("family", "length"), [("sd1", 17), ("sd1", 26), ("sd2", 26), ("sdxl", 12), ("sdxl", 20)])
def test_each_value_falls_on_the_block_of_that_name(family, length):
    names = ORDER[length].split(",")
    assert len(names) == length
    values = {name: 1 + i / 8 for i, name in enumerate(names)}
    factors = block_factors(",".join(map(str, values.values())), family)
    assert factors == block_factors(list(values.values()), family)
    blocks = sgm_blocks(family)
    assert len(blocks) > 190
    for path, block in blocks.items():
        assert factor(path, factors) == values.get(block, 0.0), (path, block)
    assert set(names) <= set(blocks.values())


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_module_is_in_one_block_or_in_none(family):
    length = 20 if family == "sdxl" else 26
    factors = block_factors([7.0] * length, family)
    outside = {path for path in meta_modules(family) if factor(path, factors) != 7.0}
    assert {path.split(".")[1] for path in outside} <= {
        "time_embedding",
        "time_proj",
        "add_embedding",
        "add_time_proj",
        "conv_norm_out",
        "conv_act",
        "conv_out",
    }
    for prefix in factors:  # and none names a module that there is not
        if "downsamplers" not in prefix and "upsamplers" not in prefix and "attentions" not in prefix:
            assert any(path == prefix or path.startswith(f"{prefix}.") for path in meta_modules(family)), prefix


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_any_case_and_leave_something(name, family):
    factors = block_factors(name.upper(), family)
    assert factors == block_factors(name.lower(), family)
    values = {factor(path, factors) for path in narrow(family).modules() if ".attentions." in path or "text" in path}
    assert values == {"all": {1.0}, "all0.5": {0.5}, "none": {0.0}}.get(name, {0.0, 1.0})


def test_presets_are_the_extensions():
    """Its default list, in the order of 17."""
    lists = {
        "INS": "1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0",
        "IND": "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0",
        "INALL": "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0",
        "MIDD": "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0",
        "OUTD": "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0",
        "OUTS": "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1",
        "OUTALL": "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
    }
    for name, values in lists.items():
        assert block_factors(name, "sd1") == block_factors(values, "sd1"), name


def test_style_and_composition_part_the_unet():
    style, composition = block_factors("style", "sd1"), block_factors("composition", "sd1")
    attentions = [path for path in narrow("sd1").modules() if ".attentions." in path]
    assert all(factor(path, style) + factor(path, composition) == 1 for path in attentions)
    of_xl = block_factors("style", "sdxl")
    left = {
        path.split(".attentions.")[0] for path in narrow("sdxl").modules() if factor(path, of_xl) and "attn" in path
    }
    assert {name for name in left if name.startswith("unet")} == {"unet.up_blocks.0"}


@pytest.mark.parametrize(
    ("blocks", "family", "sentence"),
    [
        ("1,1,1", "sd1", "there are 3 block weights, but for sd1 a list has 17 or 26"),
        ([1.0] * 17, "sdxl", "there are 17 block weights, but for sdxl a list has 12 or 20"),
        ("1,R,1", "sd1", "could not convert string to float: 'R'; give numbers only"),
        ("outdd", "sd1", "no block weights by the name 'outdd': did you mean outd?"),
        ("xyzzy", "sd1", "there are all, all0.5, none"),
    ],
)
def test_what_is_no_block_list_is_a_sentence(blocks, family, sentence):
    with pytest.raises(Error) as caught:
        block_factors(blocks, family)
    assert sentence in str(caught.value)
