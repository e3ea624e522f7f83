"""The tables of module names: what the generator makes today, and what files in the field hold."""

from collections import defaultdict
from pathlib import Path

import pytest
from torch import nn

from recipes.adapter_tables import mini_table, table
from sdlora.adapters import tables
from sdlora.bases.geometry import meta_modules

COUNTS = {"sd1": (192, 72), "sd2": (192, 138), "sdxl": (722, 264)}
TEXT_PREFIXES = {"sd1": ["lora_te_"], "sd2": ["lora_te_"], "sdxl": ["lora_te1_", "lora_te2_"]}


def full_targets(family):
    """What kohya's scripts adapt when nobody chooses: the linear layers and 1 × 1 convolutions of the UNet's
    transformers and of the text encoders' layers.
    """
    modules = {path: m for path, m in meta_modules(family).items() if isinstance(m, nn.Linear | nn.Conv2d)}
    unet = {path for path in modules if path.startswith("unet.") and ".attentions." in path}
    return unet, {path for path in modules if path.startswith("text_encoder") and ".layers." in path}


@pytest.mark.parametrize("family", tables.FAMILIES)
def test_shipped_tables_are_what_the_generator_makes(family):
    assert Path(tables.__file__).with_name(f"{family}.tsv").read_text(encoding="utf-8") == table(family)


def test_minis_shipped_table_is_what_the_generator_makes():
    assert Path(tables.__file__).with_name("mini.tsv").read_text(encoding="utf-8") == mini_table()
    assert tables.shapes("mini").keys() <= tables.names_by_path("sd1").keys()


@pytest.mark.parametrize("geometry", ["sd15", "sd2", "sdxl"])
def test_shapes_are_those_of_the_networks(geometry):
    modules = meta_modules(tables.GEOMETRIES[geometry][0])
    for path, shape in tables.shapes(geometry).items():
        assert tuple(modules[path].weight.shape) == shape


def test_numbers_go_round_the_transformers():
    """cloneofsimo's: 16 blocks of 9 in the UNet, 23 layers of 4 in SD 2's text encoder (the first 12 are SD 1's)."""
    numbers = tables.path_of_number()
    unet = [name for name in numbers if name.startswith("unet:")]
    assert unet == [f"unet:{i}" for i in range(144)] and len(numbers) == 144 + 4 * 23
    assert numbers["unet:40"] == "unet.down_blocks.2.attentions.0.transformer_blocks.0.ff.net.0.proj"
    assert numbers["unet:143"] == "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"
    assert numbers["text_encoder:5"] == "text_encoder.text_model.encoder.layers.1.self_attn.v_proj"


@pytest.mark.parametrize("family", tables.FAMILIES)
@pytest.mark.parametrize("naming", ["written", "other"])
def test_every_full_target_has_a_name_that_leads_back_to_it(family, naming):
    unet, text = full_targets(family)
    assert (len(unet), len(text)) == COUNTS[family]
    names = {row.path: row.names[0 if naming == "written" else -1] for row in tables.rows(family)}
    found = {tables.paths_by_name(family)[names[path]] for path in unet | text}
    assert found == unet | text


@pytest.mark.parametrize("family", tables.FAMILIES)
def test_names_have_kohyas_prefixes_and_text_model(family):
    unet, text = full_targets(family)
    written = tables.names_by_path(family)
    assert all(written[path].startswith("lora_unet_") for path in unet)
    for path in text:
        component = 1 if path.startswith("text_encoder_2.") else 0
        assert written[path].startswith(TEXT_PREFIXES[family][component] + "text_model_encoder_layers_")
        assert written[path].replace("text_model_", "") in {n for r in tables.rows(family) for n in r.names}


@pytest.mark.parametrize(
    ("family", "name", "path"),
    [
        (
            "sd1",
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
        ),
        (
            "sd1",
            "lora_unet_input_blocks_8_1_transformer_blocks_0_ff_net_0_proj",
            "unet.down_blocks.2.attentions.1.transformer_blocks.0.ff.net.0.proj",
        ),
        ("sd2", "lora_te_text_model_encoder_layers_22_mlp_fc1", "text_encoder.text_model.encoder.layers.22.mlp.fc1"),
        (
            "sdxl",
            "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k",
            "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
        ),
        ("sdxl", "lora_unet_middle_block_1_proj_in", "unet.mid_block.attentions.0.proj_in"),
        (
            "sdxl",
            "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_2",
            "unet.up_blocks.1.attentions.2.transformer_blocks.1.ff.net.2",
        ),
        ("sdxl", "lora_unet_output_blocks_2_2_conv", "unet.up_blocks.0.upsamplers.0.conv"),
        (
            "sdxl",
            "lora_te2_text_model_encoder_layers_31_self_attn_q_proj",
            "text_encoder_2.text_model.encoder.layers.31.self_attn.q_proj",
        ),
    ],
)
def test_names_seen_in_the_field(family, name, path):
    assert tables.paths_by_name(family)[name] == path


def test_written_names_are_sgm_for_sdxl_and_diffusers_for_the_others():
    assert tables.names_by_path("sdxl")["unet.mid_block.attentions.0.proj_in"] == "lora_unet_middle_block_1_proj_in"
    assert (
        tables.names_by_path("sd2")["unet.mid_block.attentions.0.proj_in"] == "lora_unet_mid_block_attentions_0_proj_in"
    )


def test_a_name_leads_to_one_module_whatever_the_family():
    """So that a file whose family can't be told is still read right."""
    paths = defaultdict(set)
    for family in tables.FAMILIES:
        assert len({name for row in tables.rows(family) for name in row.names}) == sum(
            len(row.names) for row in tables.rows(family)
        )
        for name, path in tables.paths_by_name(family).items():
            paths[name].add(path)
    assert {name: found for name, found in paths.items() if len(found) > 1} == {}
