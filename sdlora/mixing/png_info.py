"""What a picture file says of its making: what `sdlora png-info` prints and another generation can begin from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Error
from ..pictures import read_texts
from .infotext import Infotext, parse_infotext


@dataclass(frozen=True)
class PictureParameters:
    """The text as it stands, what A1111's rules read in it, and the chunk `sdlora`."""

    text: str
    infotext: Infotext
    details: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the prompts with their tags, the facts as text, the details."""
        return {
            "parameters": self.text,
            "prompt": self.infotext.prompt,
            "negative": self.infotext.negative,
            "facts": dict(self.infotext.facts),
            "sdlora": self.details,
        }


def read_parameters(path: str | Path) -> PictureParameters:
    """Read a PNG, JPEG or WebP by any program. Raises `Error` when it is no picture or says nothing of its making."""
    texts = read_texts(Path(path))
    if not texts.parameters and not texts.details:
        raise Error(
            f"{path} says nothing of how it was made: it was made otherwise, or saved anew without its metadata"
        )
    return PictureParameters(texts.parameters, parse_infotext(texts.parameters), texts.details)
