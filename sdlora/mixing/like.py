"""A picture again: from what its file says to the settings of another generation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..adapters import library as adapter_library
from ..bases import Base
from ..data.images import open_image
from ..data.views import cut
from ..errors import Error
from ..sampling.recipe import SecondPass
from .generated import picture_hash
from .infotext import Infotext
from .mix import Given
from .modes import Mode
from .png_info import read_parameters
from .tags import read_tags

NUMBERS = {"Seed": ("seed", int), "Steps": ("steps", int), "CFG scale": ("guidance", float)}


@dataclass(frozen=True)
class Likeness:
    """What a picture was made with. `settings` are keywords of `Mixer.generate`, `mix` and `mode` go to `Mixer.set`,
    `adapters` are the hashes that its adapters had, `image` that of the picture it was drawn over."""

    prompt: str
    settings: dict[str, Any]
    base: str
    base_hash: str
    dtype: str | None
    mix: dict[str, Given] = field(default_factory=dict)
    mode: Mode = "blend"
    adapters: dict[str, str] = field(default_factory=dict)
    image: str | None = None
    vae: str = ""
    vae_hash: str = ""
    ours: bool = False
    batch: int = 1


def read_likeness(path: str | Path) -> Likeness:
    """What a picture file says of its making, by sdlora, A1111 and others that write as these do.

    Raises `Error` when it is no picture, says nothing, or has no facts beside its prompt.
    """
    found = read_parameters(path)
    if not found.infotext.facts:
        raise Error(f"{path} has a prompt, but says nothing of seed, steps and sampler: give these yourself")
    return likeness_of(found.infotext, found.details)


def likeness_of(info: Infotext, details: Mapping[str, Any]) -> Likeness:
    """What such a text tells; `details` are what a picture file of ours says beside it, {} where there is no file."""
    tagged = read_tags(info.prompt)
    return Likeness(
        prompt=tagged.text.strip(),
        settings={"negative": info.negative} | _settings(info, details),
        base=info.facts.get("Model", ""),
        base_hash=info.facts.get("Model hash", ""),
        dtype=details.get("dtype"),
        # the tags of our own pictures say in part what the mix says in whole
        mix=details.get("mix") or {tag.name: tag.given() for tag in tagged.tags},
        mode=details.get("mode", "blend"),
        adapters=info.lora_hashes(),
        image=details.get("image"),
        vae=info.facts.get("VAE", ""),
        vae_hash=info.facts.get("VAE hash", ""),
        ours=info.facts.get("Version", "").startswith("sdlora "),
        batch=int(info.number("Batch size") or 1),
    )


def check_image(path: str | Path, likeness: Likeness, image: str | Path | None) -> None:
    """Raises `Error` unless `image` is the picture that `path` was drawn over, if it was drawn over one."""
    if likeness.image is None:
        return
    if image is None:
        raise Error(f"{path} was drawn over another picture: give that one with --image")
    if picture_hash(cut(open_image(Path(image)), likeness.settings["size"])) != likeness.image:
        raise Error(f"{path} was drawn over another picture than {image}: give that one with --image")


def differences(path: Path, like: Likeness, base: Base, library: Path) -> list[str]:
    """What is known to keep a picture from being made again exactly, a sentence each."""
    found = []
    if not like.ours:
        found.append(f"{path} was not made by sdlora: the new picture will be alike, not the same")
    if like.base_hash and base.short_hash and like.base_hash != base.short_hash:
        found.append(f"{path} was made with another base: {like.base} {like.base_hash}, this is {base.short_hash}")
    if like.batch > 1:
        found.append(f"{path} was one of {like.batch} drawn at once: alone, its pixels may differ by one in 255")
    if like.vae_hash != base.vae_hash:
        was, now = (
            f"{name} {digits}".strip() or "the base's own"
            for name, digits in ((like.vae, like.vae_hash), (base.vae_name, base.vae_hash))
        )
        found.append(f"{path} was made with another VAE: {was}, this is {now}; name it with --vae")
    for name, digits in like.adapters.items():
        if (file := library / f"{name}{adapter_library.SUFFIX}").is_file():
            now = adapter_library.load(file).metadata.get("sshs_model_hash", "")
            if now and not now.startswith(digits):
                found.append(f"{file} is another adapter than {path} was made with: {now[:12]} instead of {digits}")
    return found


def _settings(info: Infotext, details: Mapping[str, Any]) -> dict[str, Any]:
    facts = info.facts
    found: dict[str, Any] = {}
    for key, (name, kind) in NUMBERS.items():
        if (value := info.number(key)) is not None:
            found[name] = int(facts[key]) if kind is int and facts[key].isdigit() else kind(value)
    if "Sampler" in facts:
        schedule = facts.get("Schedule type", "")
        found["sampler"] = f"{facts['Sampler']} {schedule}".strip() if schedule != "Automatic" else facts["Sampler"]
    if size := info.size():
        found["size"] = size
    if skip := info.number("Clip skip"):
        found["clip_skip"] = int(skip)
    return found | _over_a_picture(info, details)


def _over_a_picture(info: Infotext, details: Mapping[str, Any]) -> dict[str, Any]:
    strength = info.number("Denoising strength")
    if (scale := info.number("Hires upscale")) is not None:
        steps = info.number("Hires steps")
        second = SecondPass(scale, 0.5 if strength is None else strength, int(steps) if steps else None)
        return {"second_pass": second} | ({"strength": details["strength"]} if "image" in details else {})
    return {"strength": strength} if "image" in details and strength is not None else {}
