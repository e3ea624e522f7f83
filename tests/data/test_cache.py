"""Encoded images on disk: found again, made anew where they must be, safe to share."""

import copy

import pytest
import torch
from PIL import Image

from sdlora.bases import load_base
from sdlora.data.buckets import square
from sdlora.data.cache import LatentCache
from sdlora.data.folder import read_folder
from sdlora.data.latents import Viewing, encode_images
from sdlora.sampling.memory import use_tiles
from tests import forked

VIEWING = Viewing((square(64),), mirrored=True)


@pytest.fixture
def examples(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.effect_noise((64, 64), 40 + 20 * i).convert("RGB").save(tmp_path / "images" / f"{i}.png")
    return read_folder(tmp_path / "images").examples


class Counting:
    """A VAE that counts what it encodes."""

    def __init__(self, vae):
        self.vae, self.encoded = vae, 0
        self.config, self.device, self.dtype = vae.config, vae.device, vae.dtype

    def encode(self, pixels):
        self.encoded += 1
        return self.vae.encode(pixels)


def run(vae, examples, folder, viewing=VIEWING):
    """(latents, how many views were encoded) with the cache in `folder`."""
    counting = Counting(vae)
    return encode_images(counting, examples, viewing, cache=LatentCache(folder, vae)), counting.encoded


def equal(one, other):
    views = zip((v for x in one for v in x.views), (v for x in other for v in x.views), strict=True)
    return all(torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) for a, b in views)


def test_a_second_run_encodes_nothing(mini, examples, tmp_path):
    first, encoded = run(mini.vae, examples, tmp_path / "cache")
    again, none = run(mini.vae, examples, tmp_path / "cache")
    assert (encoded, none) == (6, 0) and equal(first, again)
    assert equal(first, encode_images(mini.vae, examples, VIEWING))


def test_a_vae_in_tiles_has_latents_of_its_own(mini, examples, tmp_path):
    vae = copy.deepcopy(mini.vae)
    run(vae, examples, tmp_path / "cache")
    use_tiles(vae)
    assert run(vae, examples, tmp_path / "cache")[1] == 6 and run(vae, examples, tmp_path / "cache")[1] == 0


def test_what_was_done_before_an_interruption_is_kept(mini, examples, tmp_path):
    run(mini.vae, examples[:2], tmp_path / "cache")
    assert run(mini.vae, examples, tmp_path / "cache")[1] == 2


def test_an_edited_image_another_size_and_another_vae_are_encoded_anew(mini, examples, tmp_path):
    run(mini.vae, examples, tmp_path / "cache")
    Image.new("RGB", (64, 64), "red").save(examples[0].path)
    edited, encoded = run(mini.vae, examples, tmp_path / "cache")
    assert encoded == 2 and equal(edited, encode_images(mini.vae, examples, VIEWING))
    assert run(mini.vae, examples, tmp_path / "cache", Viewing.square(32))[1] == 3
    other = load_base("mini").vae
    with torch.no_grad():
        other.encoder.conv_in.weight[0, 0, 0, 0] += 1
    assert run(other, examples, tmp_path / "cache")[1] == 6


@pytest.mark.parametrize("damage", [b"", b"no safetensors", "a byte", "half"])
def test_a_damaged_file_is_made_anew(damage, mini, examples, tmp_path):
    first, _ = run(mini.vae, examples, tmp_path / "cache")
    file = sorted((tmp_path / "cache").rglob("*.safetensors"))[0]
    content = bytearray(file.read_bytes())
    if damage == "a byte":
        content[-5] ^= 1
        damage = bytes(content)
    file.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    again, encoded = run(mini.vae, examples, tmp_path / "cache")
    assert encoded == 1 and equal(first, again)
    assert run(mini.vae, examples, tmp_path / "cache")[1] == 0


def _share(images, cache, rounds, barrier):
    torch.set_num_threads(1)
    vae = load_base("mini").vae
    examples = read_folder(images).examples
    pair = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)).unbind()
    shared = LatentCache(cache, vae)
    view = None
    for number in range(rounds):
        barrier.wait()
        shared.store(f"image {number}", view, pair)
        found = shared.load(f"image {number}", view)
        assert found is not None and all(torch.equal(a, b) for a, b in zip(found, pair, strict=True))
    encode_images(vae, examples, VIEWING, cache=shared)


def test_two_processes_may_share_a_cache(mini, examples, tmp_path):
    """A hundred times both write and read the same file at once."""
    context = forked.processes()
    barrier = context.Barrier(2)
    given = (examples[0].path.parent, tmp_path / "cache", 100, barrier)
    both = [context.Process(target=_share, args=given) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    found, encoded = run(mini.vae, examples, tmp_path / "cache")
    assert encoded == 0
    for latents, own in zip(found, encode_images(mini.vae, examples, VIEWING), strict=True):
        torch.testing.assert_close(latents.mean, own.mean, rtol=1e-3, atol=1e-3)  # theirs were made by one thread
