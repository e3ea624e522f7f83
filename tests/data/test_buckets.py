"""Sizes by shape."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdlora.data.buckets import Buckets, square

SD = Buckets(512, 64, 256, 1024)
SIDES = st.integers(1, 5000)


def test_the_sizes_of_sd_15():
    assert SD.sizes[0] == (256, 1024) and (512, 512) in SD.sizes and SD.sizes[-1] == (1024, 256)
    assert {(height, width) for width, height in SD.sizes} >= {(512, 512), (256, 1024), (1024, 256)}
    for width, height in SD.sizes:
        assert width % 64 == height % 64 == 0 and width * height <= 512**2
        assert width * (height + 64) > 512**2 or height == 1024


@pytest.mark.parametrize(
    ("image", "size"),
    [((512, 512), (512, 512)), ((3000, 2000), (640, 384)), ((1000, 4000), (256, 1024)), ((100, 9000), (256, 1024))],
)
def test_an_image_gets_the_size_of_its_shape(image, size):
    assert SD.size_for(*image) == size


@example(64, 5000, False)
@given(SIDES, SIDES, st.booleans())
@settings(max_examples=500, deadline=None)
def test_every_image_has_a_size_that_the_unet_can_halve(width, height, upscale):
    found = Buckets(512, 64, 256, 1024, upscale).size_for(width, height)
    assert found[0] % 64 == found[1] % 64 == 0 and found[0] * found[1] <= 512**2 and max(found) <= 1024
    if not upscale and min(width, height) >= 64:
        assert found[0] <= width and found[1] <= height


def test_one_size_for_all():
    assert square(128).sizes == ((128, 128),) and square(128).size_for(10, 3000) == (128, 128)
