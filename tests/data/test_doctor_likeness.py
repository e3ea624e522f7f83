"""Which pictures count as nearly the same, and the short doctor that is asked before each training."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sdlora.data.doctor import short
from sdlora.data.doctor.likeness import Fingerprint, fingerprint, mirrored, near
from sdlora.data.folder import read_folder
from sdlora.data.images import open_image
from sdlora.resources import shipped
from tests.data.planted import Planter


def pictures(name: str) -> list[Image.Image]:
    return [open_image(path) for path in sorted((shipped("datasets") / name).rglob("*.png"))]


@pytest.mark.parametrize("name", ["clay", "ink", "blob"])
def test_different_pictures_of_a_style_are_not_alike(name):
    images = pictures(name)
    prints = [fingerprint(image) for image in images]
    assert len(images) >= 36
    assert [pair for pair in near(prints, prints) if pair[0] != pair[1]] == []
    turned = [mirrored(image) for image in images]
    assert [pair for pair in near(prints, turned) if pair[0] != pair[1]] == []


@pytest.mark.parametrize("name", ["clay", "ink", "blob"])
def test_copies_that_are_smaller_compressed_or_blurred_are_found(name):
    def compressed(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=50)
        return Image.open(file).convert("RGB")

    changes = [
        lambda image: image.resize((97, 97)),
        compressed,
        lambda image: image.filter(ImageFilter.GaussianBlur(2)),
        lambda image: image.point(lambda value: value * 0.9),
    ]
    images = pictures(name)
    found = [any(near([fingerprint(i)], [fingerprint(change(i))])) for i in images for change in changes]
    assert np.mean(found) >= 0.9


def test_hashes_differ_where_bits_do():
    one = Fingerprint(0, 0)
    assert list(near([one], [Fingerprint(0b111111, 0b111111), Fingerprint(0b1111111, 0), one])) == [(0, 0), (0, 2)]
    assert list(near([one], [])) == []


def test_short_says_nothing_of_a_sound_folder():
    assert short(read_folder("sample:clay/train").examples, read_folder("sample:clay/holdout").examples) == []


def test_short_counts_copies_and_leaks(tmp_path):
    at, held = Planter(tmp_path / "images"), Planter(tmp_path / "held")
    for number in range(5):
        at.picture(f"{number}.png")
    at.picture("copy.png", image=Image.open(at.root / "0.png"))
    at.picture("near.jpg", image=Image.open(at.root / "1.png"))
    held.picture("leak.png", image=Image.open(at.root / "2.png"))
    said = short(read_folder(at.root).examples, read_folder(held.root).examples)
    assert said[0].startswith("2 images that are trained on are there twice") and said[1].startswith(
        "1 image that is held out"
    )
    assert short(read_folder(at.root).examples)[0] == said[0]
