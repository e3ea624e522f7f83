"""What was pasted into the prompt: tags become rows, another picture's parameters become settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sdlora.adapters.collection import Collection
from sdlora.errors import Error
from sdlora.mixing.generated import model_name
from sdlora.mixing.infotext import parse_infotext
from sdlora.mixing.like import likeness_of
from sdlora.mixing.mix import Given
from sdlora.mixing.tags import read_tags
from sdlora.sampling.samplers import SAMPLERS, find_sampler

from ..to_mix import ForMix, like_picture

DIGITS = 8  # of a hash that are enough to know an adapter by


@dataclass(frozen=True)
class Absorbed:
    """What the page is to be filled with, and a sentence for each thing that had to be left out."""

    settings: ForMix
    left_out: tuple[str, ...] = ()


def absorb(prompt: str, library: Collection, bases: Sequence[str]) -> Absorbed | None:
    """None where the prompt is nothing but a prompt. Raises `Error` for a tag that can't be understood."""
    info = parse_infotext(prompt)
    if "Steps" in info.facts or "Seed" in info.facts:  # other last lines with commas and colons are words
        like = likeness_of(info, {})
        settings = like_picture(like)
        mix, lost = known(like.mix, library, like.adapters)
        settings = replace(settings, mix=mix, base=_base(like.base, bases))
        return _with_sampler(settings, like.base, lost)
    tagged = read_tags(prompt)
    if not tagged.tags and not tagged.others:
        return None
    mix, lost = known({tag.name: tag.given() for tag in tagged.tags}, library)
    text = " ".join(tagged.text.split()).strip(" ,") if "\n" not in tagged.text else tagged.text.strip(" ,\n")
    return Absorbed(ForMix(prompt=text, mix=mix, add=True), lost)


def known(
    mix: Mapping[str, Given], library: Collection, hashes: Mapping[str, str] | None = None
) -> tuple[dict[str, Given], tuple[str, ...]]:
    """The adapters that the library has, by name or else by hash, and a sentence for those that it has not."""
    names, found, lost = set(library.names()), {}, []
    for name, given in mix.items():
        if name not in names and (same := _by_hash((hashes or {}).get(name, ""), library)):
            name = same
        if name in names:
            found[name] = given
        else:
            lost.append(f"the library has no adapter {name}: it was left out")
    return found, tuple(lost)


def _by_hash(digits: str, library: Collection) -> str | None:
    if len(digits) < DIGITS:
        return None
    return next((item.id for item in library.items() if item.short_hash.startswith(digits[:12])), None)


def _base(name: str, bases: Iterable[str]) -> str | None:
    return next((base for base in bases if name and model_name(base) == name), None)


def _with_sampler(settings: ForMix, base: str, lost: tuple[str, ...]) -> Absorbed:
    left_out = [*lost]
    if base and settings.base is None:
        left_out.append(f"the base {base} is not on this computer: the one that is chosen stays")
    if settings.sampler:
        try:
            sampler = find_sampler(settings.sampler)
            ours = f"{sampler.name} {sampler.schedule or ''}".strip()
            settings = replace(settings, sampler=ours if ours in SAMPLERS else None)
        except Error as problem:
            settings = replace(settings, sampler=None)
            left_out.append(str(problem))
    return Absorbed(settings, tuple(left_out))
