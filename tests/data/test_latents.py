"""Images as latents: what the VAE says of them, scaled for the UNet."""

import pytest
import torch
from PIL import Image

from sdlora.data.folder import read_folder
from sdlora.data.images import to_array
from sdlora.data.latents import encode_images


@pytest.fixture
def examples(tmp_path):
    wide = Image.new("RGB", (128, 64), "white")
    wide.paste((200, 0, 0), (0, 0, 64, 64))
    wide.save(tmp_path / "a-wide.png")
    Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "b-small.png")
    return read_folder(tmp_path).examples


def test_latents_are_the_vae_s_mean_and_spread_scaled(mini, tmp_path):
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    picture.save(tmp_path / "x.png")
    latents = encode_images(mini.vae, read_folder(tmp_path).examples, 64)
    with torch.no_grad():
        expected = mini.vae.encode(torch.from_numpy(to_array(picture))[None]).latent_dist
    scale = mini.vae.config["scaling_factor"]
    assert latents.mean.shape == (1, 4, 8, 8) and latents.mirrored is None
    torch.testing.assert_close(latents.mean, expected.mean * scale)
    noise = torch.randn(4, 8, 8)
    torch.testing.assert_close(latents.sample(0, noise), (expected.mean + expected.std * noise)[0] * scale)


def test_what_is_cropped_and_enlarged_is_said(mini, examples):
    latents = encode_images(mini.vae, examples, 64)
    assert latents.lost == (0.5, 0.0) and latents.upscaled == (1.0, 2.0)


def test_mirrored_latents_are_those_of_the_mirrored_image(mini, examples, tmp_path):
    latents = encode_images(mini.vae, examples, 64, mirrored=True)
    zero = torch.zeros(4, 8, 8)
    left, right = latents.sample(0, zero), latents.sample(0, zero, flip=True)
    assert not torch.equal(left, right)
    Image.open(examples[0].path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(examples[0].path)
    torch.testing.assert_close(encode_images(mini.vae, examples, 64).mean[0], right, rtol=1e-3, atol=1e-3)
    assert torch.equal(encode_images(mini.vae, examples, 64).sample(1, zero, flip=True), latents.sample(1, zero))


def test_each_image_is_reported(mini, examples):
    seen = []
    encode_images(mini.vae, examples, 64, on_image=lambda: seen.append(1))
    assert len(seen) == len(examples)
