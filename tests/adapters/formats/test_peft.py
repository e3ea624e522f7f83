"""Folders that PEFT itself saves load with the deltas that PEFT itself makes."""

import copy
import json

import peft
import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from sdlora.adapters import load_adapter, save_adapter
from sdlora.adapters.formats import convert
from sdlora.errors import Error
from tests.bases.written import narrow

LINEAR = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
POINTWISE = "mid_block.attentions.0.proj_in"
CONVOLUTION = "mid_block.resnets.0.conv1"
TARGETS = [LINEAR, OUT, POINTWISE, CONVOLUTION]
TEXT = ["layers.3.self_attn.q_proj", "layers.11.mlp.fc1"]


def trained(network, config):
    """The network with an adapter of random numbers, as after a training."""
    model = get_peft_model(copy.deepcopy(network), config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "magnitude" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def deltas(model, component):
    """Module path → (pristine weight, what PEFT's own merge adds to it, reckoned in fp64)."""
    found = {}
    model = model.double()
    for name, layer in model.base_model.model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            weight = layer.get_base_layer().weight
            before = weight.detach().clone()
            layer.merge()
            text = component != "unet" and not name.startswith("text_model.")
            found[f"{component}.{'text_model.' if text else ''}{name}"] = before.float(), weight.detach() - before
    return found


def assert_same(folder, expected, kind=None):
    read = load_adapter(folder)
    assert read.report.left_out == {} and read.report.unknown == ()
    assert read.updates.keys() == expected.keys()
    for path, (weight, theirs) in expected.items():
        update = read.updates[path]
        ours = update.delta(weight)
        against = weight.norm() if update.needs_weight else theirs.norm()
        assert (ours - theirs).norm() <= 1e-5 * against, path
        assert theirs.norm() > 1e-3 * weight.norm(), "PEFT changed nothing"
        assert kind is None or update.kind == kind
    return read


CONFIGS = {
    "LoRA": LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS),
    "rank-stabilised": LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_rslora=True),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=TARGETS,
        rank_pattern={"attn2.to_k": 2, r"^mid_block\.resnets\.\d\.conv1": 3},
        alpha_pattern={"proj_in": 1.5, r"^mid_block\.resnets\.\d\.conv1": 7},
    ),
    "DoRA": LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_dora=True),
    "LoHa": LoHaConfig(r=4, alpha=6, target_modules=TARGETS, use_effective_conv2d=True),
    "LoHa flat": LoHaConfig(r=4, alpha=6, target_modules=TARGETS, alpha_pattern={"to_k": 3}),
    "LoKr": LoKrConfig(r=2, alpha=6, target_modules=TARGETS, use_effective_conv2d=True, decompose_both=True),
    "LoKr flat": LoKrConfig(r=2, alpha=6, target_modules=TARGETS),
    "LoKr whole": LoKrConfig(r=64, alpha=6, target_modules=TARGETS),
    "OFT": OFTConfig(r=0, oft_block_size=16, target_modules=TARGETS),
    "OFT exact": OFTConfig(r=0, oft_block_size=8, target_modules=TARGETS, use_cayley_neumann=False),
    "OFT shared": OFTConfig(r=0, oft_block_size=16, target_modules=TARGETS, block_share=True),
    "COFT": OFTConfig(r=0, oft_block_size=16, target_modules=TARGETS, coft=True, eps=0.05),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_unets_folder(name, tmp_path):
    model = trained(narrow("sd1").unet, CONFIGS[name])
    model.save_pretrained(tmp_path)
    kind = None if name in ("LoRA", "rank-stabilised", "patterns", "COFT") else name.split()[0]
    read = assert_same(tmp_path, deltas(model, "unet"), kind)
    assert read.family == "sd1" or name.startswith(("LoHa", "LoKr", "OFT", "COFT"))
    assert read.report.format == "diffusers" and read.name == tmp_path.name


@pytest.mark.parametrize("name", ["LoRA", "LoKr", "OFT"])
def test_it_survives_kohyas_format(name, tmp_path):
    model = trained(narrow("sd1").unet, CONFIGS[name])
    model.save_pretrained(tmp_path / "peft")
    save_adapter(load_adapter(tmp_path / "peft"), tmp_path / "kohya.safetensors", dtype=None)
    assert_same(tmp_path / "kohya.safetensors", deltas(model, "unet"))


@pytest.mark.parametrize(("family", "index"), [("sd1", 0), ("sd2", 0), ("sdxl", 0), ("sdxl", 1)])
def test_a_text_encoders_folder(family, index, tmp_path):
    component = ("text_encoder", "text_encoder_2")[index]
    config = LoraConfig(r=4, lora_alpha=6, target_modules=TEXT, alpha_pattern={"fc1": 2})
    model = trained(narrow(family).text_encoders[index], config)
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, deltas(model, component))


def test_a_folder_with_one_for_each_network(tmp_path):
    base = narrow("sdxl")
    expected = {}
    for component, network in (("unet", base.unet), ("text_encoder_2", base.text_encoders[1])):
        targets = ["attn2.to_k", "attn1.to_q"] if component == "unet" else TEXT
        model = trained(network, LoraConfig(r=2, lora_alpha=3, target_modules=targets))
        model.save_pretrained(tmp_path / component)
        expected |= deltas(model, component)
    assert assert_same(tmp_path, expected).family == "sdxl"


def test_ia3_where_there_is_no_bias_to_scale(tmp_path):
    targets = ["attn2.to_k", "attn2.to_v", "ff.net.2"]
    model = trained(narrow("sd1").unet, peft.IA3Config(target_modules=targets, feedforward_modules=["ff.net.2"]))
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, deltas(model, "unet"), "IA³")


def test_ia3_of_a_bias_is_left_out_by_name(tmp_path):
    model = trained(narrow("sd1").unet, peft.IA3Config(target_modules=[OUT, LINEAR], feedforward_modules=[]))
    model.save_pretrained(tmp_path)
    read = load_adapter(tmp_path)
    assert read.updates.keys() == {f"unet.{LINEAR}"} and "bias" in read.report.left_out[f"unet.{OUT}"]


@pytest.fixture
def folder(tmp_path):
    trained(narrow("sd1").unet, CONFIGS["LoRA"]).save_pretrained(tmp_path)
    return tmp_path


def change(folder, **settings):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_initialisation_that_changes_the_base_is_warned_of(start, folder):
    change(folder, init_lora_weights=start)
    assert start in load_adapter(folder).report.warnings[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"rank_pattern": [], "alpha_pattern": 5, "r": None},
        {"alpha_pattern": {"": 1, "(": 2, "a" * 5000: 3, r"(.*)*$": 4, "(((((((((((a+)+)+)+)+)+)+)+)+)+)+": 5}},
        {"use_rslora": [], "auto_mapping": {"base_model_class": []}, "init_lora_weights": {}},
    ],
    ids=["types", "patterns", "more types"],
)
def test_settings_that_make_no_sense_do_no_harm(settings, folder):
    whole = load_adapter(folder)
    change(folder, **settings)
    read = load_adapter(folder)
    assert {path: update.alpha for path, update in read.updates.items()} == dict.fromkeys(whole.updates, 6)


@pytest.mark.parametrize("alpha", ["x", [8], float("nan"), 10**400, True, {}])
def test_a_module_whose_alpha_is_no_number_is_left_out(alpha, folder):
    change(folder, alpha_pattern={"proj_in": alpha})
    read = load_adapter(folder)
    assert len(read.updates) == len(TARGETS) - 1 and "alpha" in read.report.left_out[f"unet.{POINTWISE}"]
    change(folder, alpha_pattern={}, lora_alpha=alpha)
    with pytest.raises(Error, match=r"none of its 4 modules could be read; .* alpha"):
        load_adapter(folder)


def test_a_pattern_that_can_not_be_followed_is_said(folder):
    change(folder, alpha_pattern={r"(.*\.)*(.*)*to_k": 1.0})
    assert "too intricate" in load_adapter(folder).report.warnings[0]


@pytest.mark.parametrize("content", ["", "[1]", "{" * 100_000, '{"r": '])
def test_settings_that_are_no_json_are_refused(content, folder):
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(Error, match=r"adapter_config\.json is not JSON as PEFT writes it"):
        load_adapter(folder)


def test_a_pickled_folder_is_for_convert_alone(folder, tmp_path):
    before = load_adapter(folder)
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(Error, match=r"adapter_model\.bin is a pickled file, .* `sdlora convert`"):
        load_adapter(folder)
    convert(folder, tmp_path / "kohya.safetensors")
    assert load_adapter(tmp_path / "kohya.safetensors").content_hash == before.content_hash


def test_a_kind_that_sdlora_does_not_know_is_left_out_by_name(folder):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    module = f"base_model.model.{OUT}"
    odd = {f"{module}.boft_R": torch.zeros(1, 4, 8, 8), f"{module}.boft_s": torch.ones(96, 1)}
    kept = {key: tensor for key, tensor in tensors.items() if OUT not in key}
    save_file(kept | odd, file)
    read = load_adapter(folder)
    assert f"unet.{OUT}" in read.report.left_out and len(read.updates) == len(TARGETS) - 1
