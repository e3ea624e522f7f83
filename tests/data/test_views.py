"""What SDXL is told of how a picture was cut."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdlora.data.views import centred, uncut, views

side = st.integers(32, 400)


def test_the_middle_of_a_wide_image():
    assert centred(200, 100, (64, 64)).sizes(200, 100) == (100, 200, 0, 32, 64, 64)


def test_a_picture_that_was_not_cut():
    assert uncut((96, 64)) == centred(96, 64, (96, 64)).sizes(96, 64) == (64, 96, 0, 0, 64, 96)


@given(side, side, st.integers(0, 10**6))
def test_the_cut_lies_within_the_resized_image(width, height, seed):
    for view in views(width, height, (64, 96), crops=3, smallest=0.5, mirrored=True, chance=Random(seed)):
        tall, wide, top, left, target_height, target_width = view.sizes(width, height)
        assert (tall, wide, target_height, target_width) == (height, width, 96, 64)
        scale = 64 / (view.box[2] - view.box[0])
        assert 0 <= top <= height * scale - 96 + 1 and 0 <= left <= width * scale - 64 + 1


@pytest.mark.parametrize("number", range(1, 6))
def test_they_are_those_of_resizing_first_and_cutting_then(number):
    """A gradient that tells where it was cut: 5 grey levels a pixel, in the image as resized and, if so, mirrored."""
    image = Image.linear_gradient("L").rotate(90).resize((256, 128)).convert("RGB")  # as grey as its column
    chosen = list(views(256, 128, (64, 64), crops=3, smallest=0.6, mirrored=True, chance=Random(number)))
    for view in chosen:
        _, _, _, left, _, _ = view.sizes(256, 128)
        scale = 64 / (view.box[2] - view.box[0])
        column = left / scale  # of the image that was cut
        grey = 255 - column if view.mirrored else column
        assert abs(view.of(image).getpixel((0, 32))[0] - grey) < 5
