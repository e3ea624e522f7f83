"""Buckets: the sizes that images are trained at, one of nearly the same area for every shape.

After NovelAI's aspect ratio bucketing (2022): cropping all to a square would cut off heads and feet.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True)
class Buckets:
    """All sizes whose sides are multiples of `step`, between `smallest` and `largest`, of at most `resolution`² pixels.

    Without `upscale`, an image that is smaller than its bucket gets the size below its own instead.
    """

    resolution: int
    step: int
    smallest: int
    largest: int
    upscale: bool = True

    @property
    def sizes(self) -> tuple[Size, ...]:
        """From the tallest to the widest; of each width the greatest height that fits."""
        return tuple(self._sizes())

    def size_for(self, width: int, height: int) -> Size:
        """The bucket of an image: the nearest in shape, by the logarithm of the aspect ratio, and of these the
        largest."""
        shape = math.log(width / height)
        found = min(self.sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - shape), -size[0] * size[1]))
        if self.upscale or (width >= found[0] and height >= found[1]):
            return found
        scale = min(1.0, math.sqrt(self.resolution**2 / (width * height)), self.largest / max(width, height))
        return self._below(width * scale), self._below(height * scale)

    def _sizes(self) -> Iterator[Size]:
        for width in range(self._below(self.smallest), self.largest + 1, self.step):
            height = min(self.largest, self.resolution**2 // width) // self.step * self.step
            if height >= self.smallest:
                yield width, height

    def _below(self, side: float) -> int:
        return max(self.step, int(side) // self.step * self.step)


def square(side: int) -> Buckets:
    """One bucket, a square."""
    return Buckets(side, side, side, side)
