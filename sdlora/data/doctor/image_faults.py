"""What is unusual about each image, and what training makes of it."""

from collections.abc import Iterator

from .findings import Finding
from .looking import ENDINGS, Fault, Look

TINY = 64  # pixels of the shorter side
SLENDER = 3.0  # long side to short side
BLANK = 0.97
_HELP = {
    "empty-file": "copy it again or remove it",
    "no-picture": "replace or remove it",
    "truncated": "copy or download it again",
    "too-large": "make it smaller",
}


def broken(fault: Fault, name: str) -> Finding:
    """The finding for an image that can't be used."""
    return Finding(fault.kind, name, f"It is left out: {fault.reason}; {_HELP[fault.kind]}.")


def image_findings(look: Look, name: str) -> Iterator[Finding]:
    """All that is to be said of one sound image."""
    for kind, sentence in (*_of_its_file(look), *_of_its_pixels(look)):
        yield Finding(kind, name, sentence)


def _of_its_file(look: Look) -> Iterator[tuple[str, str]]:
    if look.path.suffix.lower() not in ENDINGS.get(look.header.format, (look.path.suffix.lower(),)):
        yield (
            "wrong-extension",
            f"It is a {look.header.format} file by content and is read as one; other tools may refuse it: rename it to "
            f"{ENDINGS[look.header.format][0]}.",
        )
    if look.header.frames > 1:
        yield "animated", f"Only the first of its {look.header.frames} frames is used: save the others as images."
    if look.header.rotated:
        yield "rotated", "It is turned upright by its EXIF orientation, as viewers do; some other trainers do not."
    if look.header.profile:
        yield "colour-profile", f"Its colours are those of {look.header.profile} and are read as sRGB: save it as sRGB."


def _of_its_pixels(look: Look) -> Iterator[tuple[str, str]]:
    width, height = look.size
    if look.header.mode == "CMYK":
        yield "cmyk", "Its colours are for print (CMYK) and become others: convert it to sRGB with its profile."
    if look.header.deep:
        yield "sixteen-bit", "Its 16 bits a channel become 8."
    if look.header.clear is not None and look.header.clear > 0.99:
        yield "transparent", "It is all transparent, so white is all there is: replace or remove it."
    elif look.header.clear:
        yield (
            "alpha",
            f"{look.header.clear:.0%} of it is transparent: white is put behind; --masked trains on the rest.",
        )
    if look.plain >= BLANK and not (look.header.clear is not None and look.header.clear > 0.99):
        yield "blank", f"{look.plain:.0%} of it is one colour: is anything in it?"
    if min(width, height) < TINY:
        yield "tiny", f"It is {width} × {height} pixels small: there is next to nothing in it to learn."
    if (ratio := max(width, height) / min(width, height)) > SLENDER:
        yield "extreme-shape", f"It is {width} × {height}, {ratio:.1f} to 1: cut it into more usual shapes."
