"""A VAE in the place of a base's own, as people share them."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from sdlora.bases import load_base
from sdlora.bases.random_base import random_base
from sdlora.bases.vae import swap_vae
from sdlora.errors import Error
from tests.bases.written import narrow, original_weights, write_folder, write_json, write_single_file

LATENTS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def other():
    """A base whose VAE has the same shape and other weights."""
    return random_base("sd1", seed=8, narrow=True)


@pytest.fixture
def base():
    return random_base("sd1", seed=5, narrow=True)


def vae_weights(base):
    """As in `vae-ft-mse-840000-ema-pruned.safetensors`: without a prefix."""
    prefix = "first_stage_model."
    return {
        key.removeprefix(prefix): tensor.contiguous()
        for key, tensor in original_weights(base).items()
        if key.startswith(prefix)
    }


def write(kind, other, folder):
    """The other base's VAE in one of the ways that there are."""
    if kind == "checkpoint.safetensors":
        return write_single_file(other, folder / kind)
    if kind == "model":
        return write_folder(other, folder / kind)
    if kind == "vae folder":
        return write_folder(other, folder / "model") / "vae"
    if kind.endswith("pt"):  # with what training had beside it
        torch.save({"state_dict": vae_weights(other) | {"loss.logvar": torch.zeros(())}, "epoch": 1}, folder / kind)
    else:
        save_file(vae_weights(other), folder / kind)
    return folder / kind


KINDS = ["vae-ft.safetensors", "vae-ft.ckpt", "vae-ft.vae.pt", "checkpoint.safetensors", "vae folder", "model"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_vae_is_put_in_the_place_of_the_bases_own(kind, base, other, tmp_path):
    own = base.vae.decode(LATENTS).sample
    path = write(kind, other, tmp_path)
    swap_vae(base, path)
    assert torch.equal(base.vae.decode(LATENTS).sample, other.vae.decode(LATENTS).sample)
    assert not torch.allclose(base.vae.decode(LATENTS).sample, own, atol=0.01)
    assert base.vae.config["scaling_factor"] == 0.18215
    assert not any(p.requires_grad for p in base.vae.parameters()) and not base.vae.training
    assert (base.vae_path, base.vae_name) == (str(path), path.name)


def test_it_is_named_and_hashed_as_a1111_does(base, other, tmp_path):
    assert (base.vae_name, base.vae_hash) == ("", "")
    file = write("vae-ft.safetensors", other, tmp_path)
    swap_vae(base, file)
    assert (base.vae_name, base.vae_hash) == ("vae-ft.safetensors", hashlib.sha256(file.read_bytes()).hexdigest()[:10])


def test_another_swap_is_another_name_and_hash(base, other, tmp_path):
    swap_vae(base, write("vae-ft.safetensors", other, tmp_path))
    first = base.vae_hash
    save_file(vae_weights(narrow("sd1")), tmp_path / "second.safetensors")
    swap_vae(base, tmp_path / "second.safetensors")
    assert base.vae_name == "second.safetensors" and base.vae_hash != first


def test_load_base_takes_one(other, tmp_path):
    written = write_folder(narrow("sd1"), tmp_path / "base")
    loaded = load_base(written, vae=write("vae-ft.safetensors", other, tmp_path), dtype=torch.bfloat16)
    assert loaded.vae.dtype == torch.bfloat16 and loaded.vae_name == "vae-ft.safetensors"
    weight = loaded.vae.decoder.conv_in.weight
    assert torch.equal(weight, other.vae.decoder.conv_in.weight.bfloat16())


def test_minis_own_vae_again_out_of_a_file_of_the_original_layout(mini, tmp_path):
    """It has no attention, other groups in its norms, and a scale of its own."""
    save_file(vae_weights(mini), tmp_path / "mini.safetensors")
    loaded = load_base("mini", vae=tmp_path / "mini.safetensors")
    assert torch.equal(loaded.vae.decode(LATENTS).sample, mini.vae.decode(LATENTS).sample)
    assert loaded.vae.config["scaling_factor"] == mini.vae.config["scaling_factor"]


def test_an_old_folder_that_states_no_scale_gets_that_of_the_base(tmp_path):
    """stabilityai/sd-vae-ft-mse and stabilityai/sdxl-vae are from before diffusers knew of it, or state it."""
    base = random_base("sdxl", seed=5, narrow=True)
    folder = write_folder(random_base("sdxl", seed=8, narrow=True), tmp_path / "model") / "vae"
    config = {k: v for k, v in base.vae.config.items() if k not in ("scaling_factor", "force_upcast")}
    write_json(folder / "config.json", config | {"_class_name": "AutoencoderKL"})
    swap_vae(base, folder)
    assert base.vae.config["scaling_factor"] == 0.13025


def refusal(base, path):
    """What a swap says that leaves the base as it was."""
    own = base.vae
    with pytest.raises(Error) as error:
        swap_vae(base, path)
    assert base.vae is own and base.vae_path == ""
    return str(error.value)


def test_latents_of_other_channels_are_refused(base, other, tmp_path):
    """As Flux' VAE has them."""
    weights = vae_weights(other)
    weights["decoder.conv_in.weight"] = weights["decoder.conv_in.weight"].repeat(1, 4, 1, 1)
    save_file(weights, tmp_path / "ae.safetensors")
    said = refusal(base, tmp_path / "ae.safetensors")
    assert "ae.safetensors does not fit the base random-sd1: its latents have 16 channels, the base's 4" in said


def test_latents_of_another_size_are_refused(base, other, tmp_path):
    """A fifth level in the file."""
    weights = vae_weights(other)
    weights |= {k.replace(".down.3.", ".down.4."): t.clone() for k, t in weights.items() if ".down.3." in k}
    save_file(weights, tmp_path / "f16.safetensors")
    said = refusal(base, tmp_path / "f16.safetensors")
    assert "a latent of its stands for 16 pixels along a side, one of the base's for 8" in said


def test_latents_of_another_scale_are_refused(base, tmp_path):
    folder = write_folder(narrow("sdxl"), tmp_path / "sdxl")
    assert "its latents are scaled by 0.13025, the base's by 0.18215; use one made for sd1" in refusal(base, folder)


def test_what_is_no_vae_is_refused(base, other, tmp_path):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "adapter.safetensors")
    assert refusal(base, tmp_path / "adapter.safetensors").endswith("adapter.safetensors holds no VAE.")
    assert "There is no VAE at nothing.safetensors" in refusal(base, "nothing.safetensors")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert "its name should end in" in refusal(base, tmp_path / "picture.png")
    assert "without config.json" in refusal(base, tmp_path)
    folder = write("vae folder", other, tmp_path)
    assert "give the folder it lies in" in refusal(base, folder / "diffusion_pytorch_model.safetensors")
    write_json(folder / "config.json", {"_class_name": "AutoencoderTiny"})
    assert "holds diffusers' AutoencoderTiny" in refusal(base, folder)


def test_a_vae_that_is_not_whole_is_refused(base, other, tmp_path):
    weights = vae_weights(other)
    del weights["decoder.up.1.block.0.conv1.weight"]
    save_file(weights, tmp_path / "half.safetensors")
    assert "decoder.up_blocks.2.resnets.0.conv1.weight is missing" in refusal(base, tmp_path / "half.safetensors")
    folder = write("vae folder", other, tmp_path)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    assert "holds no weights" in refusal(base, folder)


def test_a_hub_vae_out_of_reach_names_the_other_ways(base):
    said = refusal(base, "nobody-here/no-such-vae-at-all")
    assert "nobody-here/no-such-vae-at-all" in said and "file or folder" in said
