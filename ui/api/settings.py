"""From a client's request to the settings of pictures."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from sdlora.errors import Error
from sdlora.sampling.recipe import SecondPass
from sdlora.sampling.samplers import find_sampler

from ..engine import Engine
from ..job import LARGEST_SEED, LARGEST_SIDE, Settings
from .asked import MOST_PICTURES, Drawing, ImageToImage, TextToImage
from .checkpoints import Checkpoints
from .lists import AUTOMATIC
from .pictures import decoded


@dataclass(frozen=True)
class Reader:
    """Knows the engine's bases, and a folder for temporary files."""

    engine: Engine
    checkpoints: Checkpoints
    folder: Path

    def settings(self, asked: Drawing) -> list[Settings]:
        """One for each picture, of successive seeds. Raises `Error` for what can't work. May wait for the base."""
        if asked.script_name:
            raise Error(f"there is no script {asked.script_name!r}: sdlora has none")
        if asked.count > MOST_PICTURES:
            raise Error(f"{asked.count} pictures are asked for: {MOST_PICTURES} are drawn at once")
        seed = asked.seed
        if seed is None or seed < 0:
            seed = secrets.randbelow(LARGEST_SEED + 1 - asked.count)
        first = self._first(asked, seed)
        if isinstance(asked, ImageToImage):
            first = self._over(first, asked)
        elif isinstance(asked, TextToImage) and asked.enable_hr:
            first = replace(first, second_pass=_second_pass(asked))
        return [replace(first, seed=seed + number) for number in range(asked.count)]

    def _first(self, asked: Drawing, seed: int) -> Settings:
        options = asked.override_settings
        base, clip_skip = self.checkpoints.chosen, self.checkpoints.clip_skip
        if options and options.sd_model_checkpoint is not None:
            base = self.checkpoints.find(options.sd_model_checkpoint)
        if options and options.CLIP_stop_at_last_layers is not None:
            clip_skip = options.CLIP_stop_at_last_layers
        steps, guidance, sampler = asked.steps, asked.cfg_scale, _sampler(asked)
        if steps is None or guidance is None or sampler is None:
            usual = self.engine.usual(base)
            steps, sampler = steps or usual.steps, sampler or usual.sampler
            guidance = usual.guidance if guidance is None else guidance
        return Settings(
            base=base,
            mix={},
            prompt=asked.prompt,
            negative=asked.negative_prompt,
            seed=seed,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            width=asked.width,
            height=asked.height,
            clip_skip=clip_skip,
        )

    def _over(self, settings: Settings, asked: ImageToImage) -> Settings:
        if asked.mask is not None:
            raise Error("mask is given: sdlora draws over whole pictures only")
        picture = decoded(asked.init_images[0], "init_images", self.folder)
        width, height = asked.width or asked.height, asked.height or asked.width
        if asked.resize_mode == 0 and width and height:
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        elif max(picture.size) > LARGEST_SIDE:
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        return replace(settings, image=picture, strength=asked.denoising_strength)


def _sampler(asked: Drawing) -> str | None:
    """Its name, with the scheduler's where one is chosen. Raises `Error` for one that there is not."""
    name = asked.sampler_name or asked.sampler_index
    if name is None:
        return None
    schedule = asked.scheduler if asked.scheduler and asked.scheduler.lower() != AUTOMATIC else None
    sampler = find_sampler(name, schedule)
    return f"{sampler.name} {sampler.schedule or ''}".strip()


def _second_pass(asked: TextToImage) -> SecondPass:
    if asked.hr_resize_x or asked.hr_resize_y:
        raise Error("hr_resize_x and hr_resize_y are given: say with hr_scale how much larger the picture becomes")
    return SecondPass(asked.hr_scale, asked.denoising_strength, asked.hr_second_pass_steps or None)
