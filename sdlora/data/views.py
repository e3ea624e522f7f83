"""Views: which part of an image is trained on, and at which size."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from PIL import Image

from .buckets import Size

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the upright image
# What SDXL is told of a picture (Podell et al., 2023, arXiv:2307.01952): height and width of the image that it was cut
# from, top and left of the cut in that image as resized, height and width of what is seen.
Sizes = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class View:
    """The `box` of an image, resized to `size`, mirrored or not."""

    size: Size
    box: Box
    mirrored: bool = False

    @property
    def upscaled(self) -> float:
        """By how much it is enlarged; 1.0: not at all."""
        return max(1.0, self.size[0] / (self.box[2] - self.box[0]))

    def lost(self, width: int, height: int) -> float:
        """The share of the image's area that is outside of the box."""
        left, top, right, bottom = self.box
        return max(0.0, 1 - (right - left) * (bottom - top) / (width * height))

    def sizes(self, width: int, height: int) -> Sizes:
        """Of an image so large; a mirrored one is cut after it was mirrored."""
        left, top, right, _ = self.box
        scale = self.size[0] / (right - left)
        left = width - right if self.mirrored else left
        return height, width, round(top * scale), round(left * scale), self.size[1], self.size[0]

    def of(self, image: Image.Image) -> Image.Image:
        """What is seen of the image (Lanczos). Resampling straight from the fractional box keeps the proportions exact,
        which rounding the resized side would not."""
        seen = image.resize(self.size, Image.Resampling.LANCZOS, box=self.box)
        return seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else seen


def centred(width: int, height: int, size: Size) -> View:
    """The largest box of the size's shape, in the middle."""
    return View(size, _box(width, height, size, 1.0, 0.5, 0.5))


def uncut(size: Size) -> Sizes:
    """Of a picture that is as large as it was made."""
    return View(size, (0, 0, *size)).sizes(*size)


def cut(image: Image.Image, size: Size) -> Image.Image:
    """The centre of the size's shape, resized to it."""
    return centred(*image.size, size).of(image)


def views(
    width: int, height: int, size: Size, *, crops: int, smallest: float, mirrored: bool, chance: Random
) -> Iterator[View]:
    """The centred view, then `crops` - 1 random ones, each of at least `smallest` of its sides; all of them mirrored
    as well where that is asked for."""
    for number in range(crops):
        scale, x, y = chance.random(), chance.random(), chance.random()
        box = _box(width, height, size, smallest + (1 - smallest) * scale, x, y) if number else None
        view = View(size, box) if box else centred(width, height, size)
        yield view
        if mirrored:
            yield View(view.size, view.box, mirrored=True)


def _box(width: int, height: int, size: Size, scale: float, x: float, y: float) -> Box:
    """A box of the size's shape, `scale` times the largest, at the share x, y of the room that there is."""
    fit = max(size[0] / width, size[1] / height)
    box_width, box_height = min(size[0] / fit, width) * scale, min(size[1] / fit, height) * scale
    left, top = (width - box_width) * x, (height - box_height) * y
    return left, top, min(left + box_width, width), min(top + box_height, height)
