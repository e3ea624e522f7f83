"""Pictures of every kind of file become upright RGB on white, at the wanted size."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sdlora.data.images import broken_because, open_image, to_array
from sdlora.data.views import centred, cut
from sdlora.errors import Error

ORIENTATION = 0x0112
RED, BLUE = (254, 0, 0), (0, 0, 254)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def quadrants() -> Image.Image:
    """64 × 32, its four quarters of four colours: every rotation and reflection looks different."""
    image = Image.new("RGB", (64, 32), "white")
    for box, colour in (((0, 0, 32, 16), "red"), ((32, 0, 64, 16), "lime"), ((0, 16, 32, 32), "blue")):
        image.paste(colour, box)
    return image


# What has to be done to the stored picture to see it upright, by the EXIF standard (CIPA DC-008, 4.6.4).
UPRIGHT = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: ImageOps.mirror(image.rotate(-90, expand=True)),
    6: lambda image: image.rotate(-90, expand=True),
    7: lambda image: ImageOps.mirror(image.rotate(90, expand=True)),
    8: lambda image: image.rotate(90, expand=True),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = (
        {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    )
    path = saved(quadrants(), tmp_path / f"a{suffix}", exif=exif, **options)
    expected = np.asarray(UPRIGHT[orientation](quadrants()), dtype=int)
    found = np.asarray(open_image(path), dtype=int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= (8 if suffix == ".jpg" else 0)


def test_garbled_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = saved(quadrants(), tmp_path / "a.png", exif=b"Exif\0\0garbled as could be")
    assert open_image(path).size == (64, 32)


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))  # transparent pixels are often black underneath
    image.putpixel((1, 0), (255, 0, 0, 128))
    pixels = open_image(saved(image, tmp_path / "a.png"))
    assert pixels.getpixel((0, 0)) == (255, 255, 255)
    assert pixels.getpixel((1, 0)) == (255, 127, 127)


def test_grey_with_alpha(tmp_path: Path) -> None:
    image = Image.new("LA", (2, 1), (0, 0))
    image.putpixel((1, 0), (40, 255))
    pixels = open_image(saved(image, tmp_path / "a.png"))
    assert [pixels.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 40, 40)]


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 200, 10, 20])
    image.putpixel((1, 0), 1)
    pixels = open_image(saved(image, tmp_path / "a.png", transparency=0))
    assert [pixels.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 10, 20)]


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    levels = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    pixels = np.asarray(open_image(saved(Image.fromarray(levels), tmp_path / "a.png")))
    assert pixels[0].tolist() == [[0] * 3, [100] * 3, [255] * 3]


@pytest.mark.parametrize(("mode", "colour", "seen"), [("1", 1, 255), ("L", 77, 77), ("P", 0, 0)])
def test_grey_modes(tmp_path: Path, mode: str, colour: int, seen: int) -> None:
    image = open_image(saved(Image.new(mode, (3, 3), colour), tmp_path / "a.png"))
    assert image.mode == "RGB"
    assert image.getpixel((1, 1)) == (seen, seen, seen)


def test_cmyk(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=100)
    red, green, blue = open_image(path).getpixel((8, 8))  # type: ignore[misc]
    assert red > 240 and green < 15 and blue < 15


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    path = saved(first, tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert open_image(path).getpixel((4, 4)) == RED


def truncated() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


def bomb() -> bytes:
    """A PNG of a few bytes that claims 100,000 × 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("content", [b"", b"no picture", truncated(), bomb()], ids=["empty", "text", "cut", "bomb"])
def test_a_broken_image_is_one_sentence_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    assert broken_because(path)
    with pytest.raises(Error, match=r"broken\.jpg.*cannot be read"):
        open_image(path)


def test_a_large_picture_below_pillows_own_limit_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other libraries set it
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert "100000 × 100000" in str(broken_because(path))


sides = st.integers(1, 90)


@given(sides, sides, sides, sides)
def test_a_cut_has_the_size_and_tells_what_is_lost(source_w: int, source_h: int, width: int, height: int) -> None:
    view = centred(source_w, source_h, (width, height))
    assert view.of(Image.new("RGB", (source_w, source_h))).size == (width, height)
    kept = min(source_w / source_h, width / height) / max(source_w / source_h, width / height)
    assert view.lost(source_w, source_h) == pytest.approx(1 - kept, abs=1e-6)
    assert view.upscaled == pytest.approx(max(1.0, width / source_w, height / source_h))


def test_a_cut_keeps_the_centre() -> None:
    image = Image.new("RGB", (100, 50), RED)
    image.paste(BLUE, (35, 0, 65, 50))
    view = centred(100, 50, (50, 50))
    assert (view.lost(100, 50), view.upscaled) == (0.5, 1.0)
    assert [view.of(image).getpixel((x, 25)) for x in (9, 10, 39, 40)] == [RED, BLUE, BLUE, RED]


def test_a_cut_leaves_the_right_size_alone() -> None:
    assert cut(quadrants(), (64, 32)).tobytes() == quadrants().tobytes()


def test_array_is_channels_first_from_minus_one_to_one() -> None:
    image = Image.new("RGB", (3, 2), (0, 255, 51))
    array = to_array(image)
    assert array.shape == (3, 2, 3) and array.dtype == np.float32
    assert array[:, 0, 0] == pytest.approx([-1, 1, -0.6])
