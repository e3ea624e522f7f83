"""The full networks' trees, from the shipped configs."""

import pytest
import torch
from torch import nn

from sdlora.bases.base import FAMILIES
from sdlora.bases.geometry import family_config, geometry_of, meta_modules
from sdlora.bases.random_base import random_base

# Modules that a full-target adapter has in the field (kohya's sd-scripts): UNet transformer parts, text encoder layers.
FULL_TARGETS = {"sd1": (192, 72), "sd2": (192, 138), "sdxl": (722, 264)}


@pytest.mark.parametrize("family", FAMILIES)
def test_full_target_counts(family):
    modules = {path: m for path, m in meta_modules(family).items() if isinstance(m, nn.Linear | nn.Conv2d)}
    unet = [path for path in modules if path.startswith("unet.") and ".attentions." in path]
    text = [path for path in modules if path.startswith("text_encoder") and ".layers." in path]
    assert (len(unet), len(text)) == FULL_TARGETS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_paths_contain_text_model_and_weights_take_no_memory(family):
    for path, module in meta_modules(family).items():
        assert all(parameter.device.type == "meta" for parameter in module.parameters())
        if path.startswith("text_encoder") and not path.endswith("text_projection"):
            assert path.split(".")[1] == "text_model"


@pytest.mark.parametrize(("family", "geometry"), [("sd1", "sd15"), ("sd2", "sd2"), ("sdxl", "sdxl")])
def test_published_widths_have_a_name(family, geometry):
    config = family_config(family)["unet"]
    assert geometry_of(config) == geometry
    assert geometry_of(config | {"cross_attention_dim": 64}) == "custom"


@pytest.mark.parametrize(("family", "millions"), [("sd1", 859.5), ("sd2", 865.9), ("sdxl", 2567.5)])
def test_published_unet_sizes(family, millions):
    unet = [module for path, module in meta_modules(family).items() if path.startswith("unet.")]
    parameters = sum(parameter.numel() for module in unet for parameter in module.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_random_base_has_the_full_paths_and_no_constant_weights(family):
    base = random_base(family, seed=3, narrow=True)
    assert base.modules().keys() == meta_modules(family).keys()
    for network in (base.unet, base.vae, *base.text_encoders):
        for name, parameter in network.named_parameters():
            assert parameter.std() > 0, name


def test_random_base_is_its_seed():
    one, same, other = (random_base("sd1", seed=seed, narrow=True).unet.conv_in.weight for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_sdxl_vae_stays_out_of_fp16():
    base = random_base("sdxl", narrow=True)
    base.to(dtype=torch.float16)
    assert base.dtype == torch.float16 and base.vae.dtype == torch.float32
    assert base.to(dtype=torch.bfloat16).vae.dtype == torch.bfloat16
