"""Which bucket each image goes into, what the crop loses, and what is enlarged."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..buckets import Buckets, Size
from ..views import View, centred
from .base_facts import BaseFacts
from .findings import Finding
from .study import Picture

MUCH_LOST = 0.2
MUCH_ENLARGED = 1.25  # a quarter more is not seen in what a style learns


@dataclass(frozen=True)
class Framed:
    """A picture in its bucket."""

    picture: Picture
    view: View

    @property
    def bucket(self) -> Size:
        """Width and height that it is trained at."""
        return self.view.size

    @property
    def lost(self) -> float:
        """The share of its area that is cut off."""
        return self.view.lost(*self.picture.look.size)


def usual_buckets(facts: BaseFacts, resolution: int | None) -> Buckets:
    """Those of a training that leaves them to `auto`."""
    side = resolution or facts.resolution
    return Buckets(side, facts.step, max(facts.step, side // 2), 2 * side)


def framed(picture: Picture, buckets: Buckets) -> Framed:
    """The picture's centred view in its bucket."""
    size = picture.look.size
    return Framed(picture, centred(*size, buckets.size_for(*size)))


def framing_findings(frames: tuple[Framed, ...]) -> Iterator[Finding]:
    """What is cut off or enlarged by much."""
    for frame in frames:
        width, height = frame.picture.look.size
        into = f"{frame.bucket[0]} × {frame.bucket[1]}"
        if frame.lost > MUCH_LOST:
            sentence = f"Its bucket {into} cuts off {frame.lost:.0%} of it: crop it yourself to keep what matters."
            yield Finding("much-lost", frame.picture.name, sentence)
        if (by := frame.view.upscaled) > MUCH_ENLARGED:
            sentence = f"It is {width} × {height} and enlarged {by:.1f} times for {into}: a larger original is sharper."
            yield Finding("upscaled", frame.picture.name, sentence)
