"""diffusers' own files load with diffusers' deltas, and ours load in diffusers with our deltas."""

import copy
import json

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sdlora.adapters import Adapter, LoRA, load_adapter, save_adapter
from sdlora.adapters.updates import update_from
from sdlora.errors import Error
from tests.adapters.made import numbers, random_lora
from tests.bases.written import narrow

BLOCK = "unet.mid_block.attentions.0.transformer_blocks.0"
TEXT = "text_encoder.text_model.encoder.layers"


def pipeline_of(family):
    """A pipeline around copies of a narrow base's networks."""
    base = narrow(family)
    unet, encoders = copy.deepcopy(base.unet), copy.deepcopy(base.text_encoders)
    common = {"unet": unet, "vae": None, "tokenizer": None, "scheduler": DDIMScheduler(), "text_encoder": encoders[0]}
    if family == "sdxl":
        return StableDiffusionXLPipeline(text_encoder_2=encoders[1], tokenizer_2=None, **common)
    return StableDiffusionPipeline(safety_checker=None, feature_extractor=None, requires_safety_checker=False, **common)


def networks_of(pipeline):
    names = ("unet", "text_encoder", "text_encoder_2")
    return {name: network for name in names if (network := getattr(pipeline, name, None)) is not None}


def deltas(pipeline):
    """Module path → (pristine weight, what PEFT's merge adds, in fp64), of every module that has an adapter."""
    found = {}
    for component, network in networks_of(pipeline).items():
        for name, layer in network.double().named_modules():
            if isinstance(layer, BaseTunerLayer):
                weight = layer.get_base_layer().weight
                before = weight.detach().clone()
                layer.merge()
                flat = component != "unet" and not name.startswith("text_")
                found[f"{component}.{'text_model.' if flat else ''}{name}"] = before.float(), weight.detach() - before
    return found


def assert_same(adapter, expected):
    assert adapter.updates.keys() == expected.keys()
    for path, (weight, theirs) in expected.items():
        update = adapter.updates[path]
        against = weight.norm() if update.needs_weight else theirs.norm()
        assert theirs.norm() > 1e-3 * weight.norm()
        assert (update.delta(weight) - theirs).norm() <= 1e-5 * against, path


def train(network, config, seed):
    network.add_adapter(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize(
    ("family", "with_settings", "dora"),
    [("sd1", True, False), ("sd1", False, True), ("sdxl", True, True), ("sdxl", False, False)],
)
def test_what_diffusers_saves(family, with_settings, dora, tmp_path):
    """With its settings in the metadata as diffusers writes them now, and without, where alpha is the rank."""
    pipeline = pipeline_of(family)
    layers, settings = {}, {}
    for seed, (component, network) in enumerate(networks_of(pipeline).items()):
        unet = component == "unet"
        config = LoraConfig(
            r=4,
            lora_alpha=6 if with_settings else 4,
            target_modules=["attn2.to_k", "to_out.0", "proj_in", "resnets.1.conv1"] if unet else ["q_proj", "fc2"],
            rank_pattern={"attn2.to_k" if unet else "fc2": 3} if with_settings else {},
            alpha_pattern={"to_out.0" if unet else "q_proj": 1} if with_settings else {},
            use_dora=dora,
        )
        train(network, config, seed)
        layers[f"{component}_lora_layers"] = get_peft_model_state_dict(network)
        settings[f"{component}_lora_adapter_metadata"] = network.peft_config["default"].to_dict()
    type(pipeline).save_lora_weights(tmp_path, **layers, **(settings if with_settings else {}))
    read = load_adapter(tmp_path / "pytorch_lora_weights.safetensors")
    assert_same(read, deltas(pipeline))
    assert read.report.complete and read.family == family and read.geometry == "custom"
    assert load_adapter(tmp_path).updates.keys() == read.updates.keys()


def many_kinds(family, dora=False):
    """Ranks and alphas of several sizes, over linear layers, 1 × 1 and 3 × 3 convolutions, and all text encoders."""
    base, updates = narrow(family), {}
    wanted = [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_out.0", f"{BLOCK}.ff.net.0.proj"]
    wanted += ["unet.mid_block.attentions.0.proj_in", "unet.mid_block.resnets.0.conv1", "unet.conv_in"]
    wanted += ["unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"] if family != "sdxl" else []
    wanted += [f"{TEXT}.{layer}.{name}" for layer in (0, 7) for name in ("self_attn.q_proj", "mlp.fc1")]
    wanted += [path.replace("text_encoder.", "text_encoder_2.") for path in wanted[-4:]] if family == "sdxl" else []
    for index, path in enumerate(wanted):
        shape = tuple(base.modules()[path].weight.shape)
        lora = random_lora(shape, rank=(4, 4, 2, 8)[index % 4], alpha=(4.0, 1.5, 7.0)[index % 3], seed=index, size=0.1)
        parts = lora.tensors()
        if dora:
            parts["dora_scale"] = numbers((shape[0], *(1,) * (len(shape) - 1)), index).abs() + 0.5
        updates[path] = update_from(parts)[0]
    return Adapter("made", updates, family=family)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_our_file_in_diffusers(family, dora, tmp_path):
    adapter = many_kinds(family, dora)
    file = save_adapter(adapter, tmp_path / "ours.safetensors", "diffusers", dtype="fp32")
    pipeline = pipeline_of(family)
    pipeline.load_lora_weights(file, adapter_name="ours")
    assert_same(adapter, deltas(pipeline))


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_there_and_back_bit_for_bit(family, dora, tmp_path):
    adapter = many_kinds(family, dora)
    there = load_adapter(save_adapter(adapter, tmp_path / "a.safetensors", "diffusers", dtype="fp32"))
    kohya = load_adapter(save_adapter(there, tmp_path / "b.safetensors", "kohya", dtype=None))
    again = load_adapter(save_adapter(kohya, tmp_path / "c.safetensors", "diffusers", dtype=None))
    modules = narrow(family).modules()
    for path, update in adapter.updates.items():
        delta = update.delta(modules[path].weight)
        for read in (there, kohya, again):
            assert torch.equal(read.updates[path].delta(modules[path].weight), delta), path
    assert again.metadata == there.metadata


def test_a_convolution_kept_as_a_linear_layer_is_written_as_a_convolution(tmp_path):
    lora = random_lora((96, 96), 4, 2.0, 1)
    adapter = Adapter("a", {"unet.mid_block.attentions.0.proj_in": lora}, family="sd1")
    tensors = load_file(save_adapter(adapter, tmp_path / "a.safetensors", "diffusers"))
    assert {tensor.ndim for tensor in tensors.values()} == {4}


def other(kind):
    """Parts of a kind that diffusers' format has no keys for, for a weight (8, 6)."""
    pair = {"lora_down.weight": numbers((2, 6), 1), "lora_up.weight": numbers((8, 2), 2)}
    return {
        "DoRA by input": {**pair, "dora_scale": torch.ones(1, 6)},
        "LoHa": {f"hada_w{i}_{side}": numbers((8, 2) if side == "a" else (2, 6), i) for i in (1, 2) for side in "ab"},
        "LoKr": {"lokr_w1": numbers((2, 2), 1), "lokr_w2": numbers((4, 3), 2)},
        "full": {"diff": numbers((8, 6), 1)},
        "OFT": {"oft_blocks": numbers((4, 2, 2), 1)},
    }[kind]


@pytest.mark.parametrize("kind", ["DoRA by input", "LoHa", "LoKr", "full", "OFT"])
def test_other_kinds_are_refused_with_the_ways_out(kind, tmp_path):
    update, _ = update_from(other(kind))
    adapter = Adapter("a", {f"{BLOCK}.attn1.to_q": update}, family="sd1")
    with pytest.raises(Error, match=rf"attn1.to_q is {kind}, .* Kohya's format, .*--rank"):
        save_adapter(adapter, tmp_path / "a.safetensors", "diffusers")
    assert not list(tmp_path.iterdir())
    read = load_adapter(save_adapter(adapter, tmp_path / "a.safetensors", dtype=None))
    weight = numbers((8, 6), 9)
    assert torch.equal(read.updates[f"{BLOCK}.attn1.to_q"].delta(weight), update.delta(weight))


def test_lora_beside_dora_and_tokens_are_refused(tmp_path):
    path = f"{BLOCK}.attn1.to_q"
    both = many_kinds("sd1").updates | {path: many_kinds("sd1", dora=True).updates[path]}
    with pytest.raises(Error, match="both LoRA and DoRA"):
        save_adapter(Adapter("a", both, family="sd1"), tmp_path / "a.safetensors", "diffusers")
    with pytest.raises(Error, match="learned tokens"):
        save_adapter(Adapter("a", both, {"<s>": torch.ones(1, 768)}, family="sd1"), tmp_path / "a", "diffusers")
    with pytest.raises(Error, match="'a1111' can't be written: use one of kohya, diffusers"):
        save_adapter(Adapter("a", both, family="sd1"), tmp_path / "a.safetensors", "a1111")


def test_settings_do_not_stay_in_kohyas_file(tmp_path):
    """diffusers refuses a file that has both alphas and its own settings."""
    file = save_adapter(many_kinds("sd1"), tmp_path / "a.safetensors", "diffusers")
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["lora_adapter_metadata"])["unet.r"] == 4
    with safe_open(save_adapter(load_adapter(file), tmp_path / "b.safetensors"), "pt") as opened:
        assert "lora_adapter_metadata" not in opened.metadata()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "{" * 5000, '{"unet.r": "x"}', '{"unet.alpha_pattern": [1]}', '{"text_encoder.r": 4}']
)
def test_settings_that_make_no_sense_do_no_harm(text, tmp_path):
    lora = random_lora((12, 10), 4, 4.0, 1)
    tensors = {f"{BLOCK}.attn1.to_q.lora_A.weight": lora.down, f"{BLOCK}.attn1.to_q.lora_B.weight": lora.up}
    save_file(tensors, tmp_path / "a.safetensors", {"lora_adapter_metadata": text})
    assert load_adapter(tmp_path / "a.safetensors").updates[f"{BLOCK}.attn1.to_q"].alpha == 4


def test_what_is_not_understood_is_reported(tmp_path):
    lora = random_lora((12, 10), 4, 4.0, 1)
    module = f"{BLOCK}.attn1.to_q"
    odd = {
        f"{module}.lora_B.bias": torch.zeros(12),
        f"{module}.weight": torch.zeros(12, 10),
        "unet.nowhere.lora_A.weight": torch.zeros(4, 10),
        "unet.": torch.zeros(1),
        "text_encoder." + "a" * 100_000: torch.zeros(1),
    }
    tensors = {f"{module}.lora_A.weight": lora.down, f"{module}.lora_B.weight": lora.up}
    save_file(tensors | odd, tmp_path / "a.safetensors")
    read = load_adapter(tmp_path / "a.safetensors")
    assert read.updates.keys() == {module} and isinstance(read.updates[module], LoRA)
    assert read.report.unknown == tuple(sorted(odd))


def test_the_unet_saved_by_itself(tmp_path):
    """`unet.save_lora_adapter` and `save_attn_procs` write no `unet.` in front."""
    network = copy.deepcopy(narrow("sd1").unet)
    train(network, LoraConfig(r=4, lora_alpha=6, target_modules=["attn2.to_k"]), 1)
    network.save_lora_adapter(tmp_path)
    read = load_adapter(tmp_path)
    assert {update.alpha for update in read.updates.values()} == {6} and len(read.updates) == 16
    lora = random_lora((12, 10), 4, 4.0, 1)
    old = f"{BLOCK.removeprefix('unet.')}.attn1.processor.to_out_lora"
    save_file({f"{old}.down.weight": lora.down, f"{old}.up.weight": lora.up}, tmp_path / "old.safetensors")
    assert load_adapter(tmp_path / "old.safetensors").updates.keys() == {f"{BLOCK}.attn1.to_out.0"}
