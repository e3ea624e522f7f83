"""Images as latents: what the VAE says of them, scaled for the UNet."""

import numpy as np
import pytest
import torch
from PIL import Image

from sdlora.data.buckets import Buckets, square
from sdlora.data.folder import read_folder
from sdlora.data.images import to_array
from sdlora.data.latents import Viewing, encode_images
from sdlora.errors import Error

SQUARE = Viewing.square(64)


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
    [latents] = encode_images(mini.vae, read_folder(tmp_path).examples, SQUARE)
    with torch.no_grad():
        expected = mini.vae.encode(torch.from_numpy(to_array(picture))[None]).latent_dist
    scale = mini.vae.config["scaling_factor"]
    assert latents.mean.shape == (4, 8, 8) and len(latents.views) == 1
    torch.testing.assert_close(latents.mean, expected.mean[0] * scale)
    noise = torch.randn(4, 8, 8)
    torch.testing.assert_close(latents.views[0].sample(noise), (expected.mean + expected.std * noise)[0] * scale)


def test_what_is_cropped_and_enlarged_is_said(mini, examples):
    wide, small = encode_images(mini.vae, examples, SQUARE)
    assert (wide.lost, wide.upscaled) == (0.5, 1.0) and (small.lost, small.upscaled) == (0.0, 2.0)


def test_a_mirrored_view_is_that_of_the_mirrored_image(mini, examples):
    [latents, _] = encode_images(mini.vae, examples, Viewing((square(64),), mirrored=True))
    plain, mirrored = (view.mean for view in latents.views)
    assert not torch.equal(plain, mirrored)
    Image.open(examples[0].path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(examples[0].path)
    torch.testing.assert_close(encode_images(mini.vae, examples, SQUARE)[0].mean, mirrored, rtol=1e-3, atol=1e-3)


def test_images_go_into_the_bucket_of_their_shape_at_each_resolution(mini, examples):
    viewing = Viewing((Buckets(96, 32, 32, 192), square(32)))
    found = encode_images(mini.vae, examples, viewing)
    assert [latents.size for latents in found] == [(128, 64), (32, 32), (96, 96), (32, 32)]
    assert found[0].lost == 0 and found[0].mean.shape == (4, 8, 16)


def test_crops_are_random_but_the_same_each_time_and_whoever_else_is_there(mini, examples):
    viewing = Viewing((square(32),), crops=4, smallest=0.5)
    [wide, _] = encode_images(mini.vae, examples, viewing)
    [alone] = encode_images(mini.vae, examples[:1], viewing)
    assert len(wide.views) == 4
    assert all(torch.equal(a.mean, b.mean) for a, b in zip(wide.views, alone.views, strict=True))
    assert len({tuple(view.mean.flatten().tolist()) for view in wide.views}) == 4
    [other] = encode_images(mini.vae, examples[:1], Viewing((square(32),), crops=4, smallest=0.5, seed=1))
    assert torch.equal(other.mean, wide.mean) and not torch.equal(other.views[1].mean, wide.views[1].mean)


def test_masks_are_seen_as_their_image_is(mini, tmp_path):
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "a.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save(tmp_path / "a-mask.png")
    alpha = Image.effect_noise((64, 64), 80).convert("RGB")
    alpha.putalpha(Image.fromarray(255 - mask))
    alpha.save(tmp_path / "b.png")
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "c.png")
    examples = read_folder(tmp_path).examples
    assert [example.path.name for example in examples] == ["a.png", "b.png", "c.png"]
    viewing = Viewing((square(64),), mirrored=True, masked=True)
    left, right, none = encode_images(mini.vae, examples, viewing)
    assert left.views[0].mask[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert torch.equal(left.views[1].mask, left.views[0].mask.flip(2))
    assert torch.equal(right.views[0].mask, 1 - left.views[0].mask) and none.views[0].mask is None
    assert encode_images(mini.vae, examples, SQUARE)[0].views[0].mask is None


@pytest.mark.parametrize(
    ("size", "colour", "sentence"), [((32, 64), 255, "is 32x64, its image 64x64"), ((64, 64), 0, "all black")]
)
def test_masks_that_can_not_be_meant_are_refused(size, colour, sentence, mini, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    Image.new("L", size, colour).save(tmp_path / "a-mask.png")
    with pytest.raises(Error, match=sentence):
        encode_images(mini.vae, read_folder(tmp_path).examples, Viewing((square(64),), masked=True))


def test_each_image_is_reported(mini, examples):
    seen = []
    encode_images(mini.vae, examples, SQUARE, on_image=lambda: seen.append(1))
    assert len(seen) == len(examples)
