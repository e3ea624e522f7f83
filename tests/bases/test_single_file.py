"""Single checkpoints in the original layout: the networks that come out are the ones that went in."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from sdlora.bases import load_base
from sdlora.bases.base import FAMILIES
from sdlora.bases.geometry import meta_modules
from sdlora.bases.original_layout import TEXT_ENCODERS
from sdlora.errors import Error
from tests.bases.written import narrow, original_weights, unet_key, write_single_file


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """A narrow random base, and the same read back from one file."""
    written = narrow(request.param)
    file = tmp_path_factory.mktemp("file") / f"{request.param}.safetensors"
    return written, load_base(write_single_file(written, file), prediction_type="epsilon")


def test_family_and_paths(pair):
    written, loaded = pair
    assert (loaded.family, loaded.geometry) == (written.family, "custom")
    assert loaded.modules().keys() == written.modules().keys()
    assert loaded.resolution == written.resolution
    assert len(loaded.model_hash) == 64


def test_same_unet_output(pair):
    written, loaded = pair
    generator = torch.Generator().manual_seed(0)
    cross = written.unet.config["cross_attention_dim"]
    sample, context = torch.randn(1, 4, 16, 16, generator=generator), torch.randn(1, 7, cross, generator=generator)
    added = {"text_embeds": torch.randn(1, 64, generator=generator), "time_ids": torch.full((1, 6), 128.0)}
    one, other = (
        base.unet(sample, 321, encoder_hidden_states=context, added_cond_kwargs=added).sample
        for base in (written, loaded)
    )
    assert one.std() > 1e-3
    assert torch.equal(one, other)


def test_same_vae_output(pair):
    written, loaded = pair
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one, other = (base.vae.decode(base.vae.encode(image).latent_dist.mean).sample for base in (written, loaded))
    assert torch.equal(one, other)
    assert written.vae.config["scaling_factor"] == loaded.vae.config["scaling_factor"]


def test_same_text_output(pair):
    written, loaded = pair
    for index, (one, other) in enumerate(zip(written.text_encoders, loaded.text_encoders, strict=True)):
        ids, same_ids = (
            base.tokenizers[index]("a photo of a cat", padding="max_length", return_tensors="pt").input_ids
            for base in pair
        )
        assert torch.equal(ids, same_ids)
        expected, found = one(ids, output_hidden_states=True), other(ids, output_hidden_states=True)
        assert len(expected.hidden_states) == len(found.hidden_states)
        for a, b in zip(expected.hidden_states, found.hidden_states, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(expected[0], found[0]) and torch.equal(expected[1], found[1])


@pytest.mark.parametrize(
    ("family", "count", "last"),
    [
        ("sd1", 686, "output_blocks.11.1.transformer_blocks.0.attn2.to_k.weight"),
        ("sd2", 686, "output_blocks.11.1.proj_out.weight"),
        ("sdxl", 1680, "label_emb.0.2.bias"),
    ],
)
def test_original_keys_are_the_published_ones(family, count, last):
    """Guards the test's own renaming: how many weights the published UNets have, and some of their names."""
    keys = {
        f"{path.removeprefix('unet.')}.{name}"
        for path, module in meta_modules(family).items()
        if path.startswith("unet.")
        for name, _ in module.named_parameters()
    }
    original = {unet_key(key, keys) for key in keys}
    assert len(original) == count
    assert {last, "out.2.weight", "middle_block.1.proj_in.weight", "output_blocks.5.2.conv.weight"} <= original


def test_sd2_v_models_draw_at_768(tmp_path):
    file = write_single_file(narrow("sd2"), tmp_path / "sd2.safetensors")
    assert load_base(file, prediction_type="v_prediction").resolution == 768
    assert load_base(file, prediction_type="epsilon").resolution == 512


@pytest.fixture(scope="module")
def sd1():
    return narrow("sd1")


def test_ckpt_and_half_precision(sd1, tmp_path):
    file = write_single_file(sd1, tmp_path / "half.ckpt")
    base = load_base(file, prediction_type="epsilon", dtype=torch.bfloat16)
    assert base.dtype == torch.bfloat16
    assert torch.equal(base.unet.conv_in.weight, sd1.unet.conv_in.weight.to(torch.bfloat16))


def test_text_encoder_without_text_model(sd1, tmp_path):
    weights = {
        key.replace("transformer.text_model.", "transformer."): tensor.contiguous()
        for key, tensor in original_weights(sd1).items()
    }
    save_file(weights, tmp_path / "bare.safetensors")
    base = load_base(tmp_path / "bare.safetensors", prediction_type="epsilon")
    expected, found = sd1.text_encoders[0].state_dict(), base.text_encoders[0].state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_the_file_can_be_deleted_or_changed_afterwards(sd1, tmp_path):
    """Nothing may stay mapped to the file: Windows would lock it, and an overwritten one would crash the process."""
    file = write_single_file(sd1, tmp_path / "model.safetensors")
    base = load_base(file, prediction_type="epsilon")
    file.write_bytes(b"")
    assert torch.equal(base.unet.conv_in.weight, sd1.unet.conv_in.weight)


class _Harm:
    def __reduce__(self):
        return (print, ("harm",))


def test_a_ckpt_with_code_is_refused(tmp_path, capsys):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "callbacks": _Harm()}, tmp_path / "harm.ckpt")
    with pytest.raises(Error, match=r"more than weights"):
        load_base(tmp_path / "harm.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(_Harm(), protocol=2))
    with pytest.raises(Error):
        load_base(tmp_path / "bare.ckpt")
    assert "harm\n" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8 + b"{}",
        b"version https://git-lfs.github.com/spec/v1\n",
        (1 << 40).to_bytes(8, "little") + b"{}",
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_a_file_that_is_none_is_one_sentence(tmp_path, content, suffix):
    file = tmp_path / f"broken.{suffix}"
    file.write_bytes(content)
    with pytest.raises(Error, match="broken"):
        load_base(file)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "inpainting"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 8, 3, 3)}, "editing"),
        ({"conditioner.embedders.0.model.text_projection": torch.zeros(4, 4)}, "refiner"),
        ({"edm_mean": torch.zeros(4)}, "Playground"),
        ({"model.diffusion_model.input_blocks.1.1.time_stack.0.weight": torch.zeros(4)}, "Video"),
        ({"model.diffusion_model.label_emb.0.0.weight": torch.zeros(4, 4)}, "UNet"),
    ],
)
def test_related_models_are_refused_by_name(sd1, tmp_path, changes, sentence):
    file = write_single_file(sd1, tmp_path / "model.safetensors", extra=changes)
    with pytest.raises(Error, match=sentence):
        load_base(file)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "adapter"),
        ("down_blocks.0.resnets.0.conv1.weight", "diffusers"),
        ("something.else", "not a Stable Diffusion checkpoint"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, key, sentence):
    save_file({key: torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(Error, match=sentence):
        load_base(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        ("first_stage_model.", "no VAE"),
        ("cond_stage_model.", "no text encoder"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.", "text encoder"),
        ("first_stage_model.decoder.mid.", "VAE"),
        ("model.diffusion_model.middle_block.", "UNet"),
        ("model.diffusion_model.input_blocks.4.", "UNet"),
    ],
)
def test_a_missing_part_is_named(sd1, tmp_path, prefix, sentence):
    weights = {key: t.contiguous() for key, t in original_weights(sd1).items() if not key.startswith(prefix)}
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(Error, match=sentence):
        load_base(tmp_path / "part.safetensors", prediction_type="epsilon")


def test_every_family_says_where_its_text_encoders_are():
    assert TEXT_ENCODERS.keys() == set(FAMILIES)
