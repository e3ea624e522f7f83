"""A mix as tags, as far as tags can say it."""

from collections.abc import Mapping

from sdlora.mixing.mix import Given
from sdlora.mixing.tags import Tag
from sdlora.mixing.timeline import read_moment


def with_tags(prompt: str, mix: Mapping[str, Given]) -> str:
    """The prompt with a tag for each adapter. Ramps and factors by module path have no place in a tag."""
    return " ".join([prompt.strip(), *(str(tag_of(name, given)) for name, given in mix.items())]).strip()


def tag_of(name: str, given: Given) -> Tag:
    """The tag of one adapter."""
    if not isinstance(given, Mapping):
        return Tag(name, given, given)
    blocks = given.get("blocks")
    start, stop = (None if given.get(key) is None else read_moment(given[key]) for key in ("start", "stop"))
    return Tag(
        name, given.get("text", 1.0), given.get("unet", 1.0), blocks if isinstance(blocks, str) else None, start, stop
    )
