"""cloneofsimo's files: modules by number. The order is checked on the real thing, where the real thing is at hand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sdlora.adapters import load_adapter, save_adapter
from sdlora.adapters.formats import convert
from sdlora.bases.geometry import family_config, meta_modules
from sdlora.bases.networks import build_text_encoder, build_unet
from tests.adapters.made import numbers

REAL = Path(__file__).parents[4] / "shared" / "real-adapters" / "analog_svd_rank4.safetensors"
needs_the_real_file = pytest.mark.skipif(not REAL.is_file(), reason="the real file is not at hand")

# The first number of each transformer, as the issue tracker of cloneofsimo/lora and files of that time have them.
FIRST = {
    **{f"down_blocks.{i}.attentions.{j}": 18 * i + 9 * j for i in range(3) for j in range(2)},
    **{f"up_blocks.{i}.attentions.{j}": 54 + 27 * (i - 1) + 9 * j for i in (1, 2, 3) for j in range(3)},
    "mid_block.attentions.0": 135,
}
INSIDE = [f"attn1.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")] + ["ff.net.0.proj"]
INSIDE += [f"attn2.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")]


def numbered(feed_forward=True):
    """`unet:0` → module path, written down by hand from the list above."""
    inside = [name for name in INSIDE if feed_forward or "ff" not in name]
    paths = {}
    for transformer, first in FIRST.items():
        start = first if feed_forward else first // 9 * 8
        for i, name in enumerate(inside):
            paths[f"unet:{start + i}"] = f"unet.{transformer}.transformer_blocks.0.{name}"
    for layer in range(12):
        attention = f"text_encoder.text_model.encoder.layers.{layer}.self_attn"
        paths |= {
            f"text_encoder:{4 * layer + i}": f"{attention}.{name}_proj" for i, name in enumerate(("k", "v", "q", "out"))
        }
    return paths


def made(path, feed_forward=True, metadata=None, **more):
    """A file of SD 1.5's shapes; each update's first number says which module it is."""
    modules, tensors = meta_modules("sd1"), dict(more)
    for name, module in numbered(feed_forward).items():
        outputs, inputs = modules[module].weight.shape
        down = torch.zeros(2, inputs, dtype=torch.float16)
        down[0, 0] = int(name.split(":")[1])
        tensors |= {f"{name}:down": down, f"{name}:up": torch.ones(outputs, 2, dtype=torch.float16)}
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize("feed_forward", [True, False], ids=["144", "128"])
def test_every_number_is_its_module(feed_forward, tmp_path):
    read = load_adapter(made(tmp_path / "a.safetensors", feed_forward))
    names = numbered(feed_forward)
    assert {p: int(update.down[0, 0]) for p, update in read.updates.items()} == {
        path: int(name.split(":")[1]) for name, path in names.items()
    }
    assert (read.report.format, read.family, read.geometry) == ("cloneofsimo", "sd1", "sd15")
    assert read.report.complete and all(update.scale == 1 for update in read.updates.values())


def test_tokens_lie_beside_the_modules(tmp_path):
    token = {"<s1>": numbers((768,), 1), "<s2>": numbers((768,), 2)}
    metadata = {"<s1>": "<embed>", "<s2>": "<embed>", "unet:0:rank": "2", "unet": '["GEGLU"]', "note": "mine"}
    read = load_adapter(made(tmp_path / "a.safetensors", metadata=metadata, **token))
    assert torch.equal(read.tokens["<s1>"], token["<s1>"][None]) and read.tokens.keys() == token.keys()
    assert read.metadata.keys() == {"note", "sshs_model_hash"} and read.report.complete
    again = load_adapter(save_adapter(read, tmp_path / "b.safetensors", dtype=None))
    assert {name: vectors.tolist() for name, vectors in again.tokens.items()} == {
        name: vectors.tolist() for name, vectors in read.tokens.items()
    }


def test_numbers_of_no_module_are_reported(tmp_path):
    odd = {"unet:144:up": torch.ones(4, 2), "unet:x:up": torch.ones(4, 2), "vae:0:up": torch.ones(4, 2)}
    assert load_adapter(made(tmp_path / "a.safetensors", **odd)).report.unknown == tuple(sorted(odd))


def test_pickled_lists_are_converted(tmp_path):
    """What cloneofsimo wrote before safetensors: one list for each network, up and down by turns."""
    whole = load_adapter(made(tmp_path / "a.safetensors"))
    tensors = load_file(tmp_path / "a.safetensors")
    for part, count in (("unet", 144), ("text_encoder", 48)):
        torch.save([tensors[f"{part}:{i}:{side}"] for i in range(count) for side in ("up", "down")], tmp_path / "l.pt")
        convert(tmp_path / "l.pt", tmp_path / "kohya.safetensors")
        read = load_adapter(tmp_path / "kohya.safetensors")
        assert read.updates.keys() == {path for path in whole.updates if path.startswith(f"{part}.")}
        assert all(torch.equal(update.down, whole.updates[path].down) for path, update in read.updates.items())


@needs_the_real_file
def test_the_real_file():
    read = load_adapter(REAL)
    counts = [sum(path.startswith(part) for path in read.updates) for part in ("unet.", "text_encoder.")]
    assert counts == [144, 48] and read.report.complete
    assert (read.report.format, read.family, read.geometry) == ("cloneofsimo", "sd1", "sd15")
    modules, stored, names = meta_modules("sd1"), load_file(REAL), numbered()
    for name, path in names.items():
        assert tuple(modules[path].weight.shape) == read.updates[path].shape
        expected = stored[f"{name}:up"].double() @ stored[f"{name}:down"].double()
        ours = read.updates[path].delta(torch.zeros(read.updates[path].shape))
        assert (ours - expected).norm() <= 1e-6 * expected.norm()


@needs_the_real_file
def test_the_real_file_as_kohyas_in_diffusers(tmp_path):
    """diffusers puts it on SD 1.5 with our deltas (no base's numbers are needed, so their memory stays untouched)."""
    from diffusers import StableDiffusionPipeline

    convert(REAL, tmp_path / "kohya.safetensors")
    config = family_config("sd1")
    with torch.device("meta"):
        unet, text_encoder = build_unet(config["unet"]), build_text_encoder(config["text_encoders"][0], 0)
    networks = {"unet": unet.to_empty(device="cpu"), "text_encoder": text_encoder.to_empty(device="cpu")}
    tensors, alphas = StableDiffusionPipeline.lora_state_dict(tmp_path / "kohya.safetensors")
    load = {"network_alphas": alphas, "adapter_name": "real", "low_cpu_mem_usage": True}
    StableDiffusionPipeline.load_lora_into_unet(tensors, unet=networks["unet"], **load)
    StableDiffusionPipeline.load_lora_into_text_encoder(tensors, text_encoder=networks["text_encoder"], **load)
    updates = load_adapter(REAL).updates
    found = {
        f"{part}.{'text_model.' if part != 'unet' and not name.startswith('text_model.') else ''}{name}": layer
        for part, network in networks.items()
        for name, layer in network.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    assert found.keys() == updates.keys()
    for path, layer in found.items():
        assert isinstance(layer.base_layer, nn.Linear)
        with torch.no_grad():
            theirs = layer.get_delta_weight("real")
        ours = updates[path].delta(torch.zeros(updates[path].shape))
        assert (ours - theirs).norm() <= 1e-5 * ours.norm(), path
