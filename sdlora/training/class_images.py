"""Class images: pictures of what the subject is one of (other dogs than yours), which are to stay as they are.

DreamBooth's prior preservation (Ruiz et al., 2022, arXiv:2208.12242). They come from a folder; what is missing of them
the base draws into it, once: another run finds them there.
"""

import re
from hashlib import sha256
from pathlib import Path

from ..bases import Base
from ..data.folder import SUFFIXES, Example, read_folder
from ..data.masks import without_masks
from ..errors import Error
from ..files import write_text
from ..pictures import save_picture
from ..sampling.defaults import defaults_for
from ..sampling.denoise import draw
from ..sampling.recipe import Recipe
from .config import ResolvedConfig, TrainConfig
from .merged import contents
from .progress import Reporter
from .randomness import derived_seed


def are_wanted(config: TrainConfig) -> bool:
    """Whether the prior is learned from class images; else it is the base's own answers that are kept."""
    return bool(config.class_prompt or config.class_images)


def class_examples(base: Base, config: ResolvedConfig, reporter: Reporter) -> list[Example]:
    """`class_count` pictures with their captions; one without a caption shows the class prompt.

    Raises `Error` for a folder without pictures and without a prompt to draw them by, and for one without a caption.
    """
    folder = _folder(base, config)
    if config.class_prompt:
        _draw_missing(base, config, config.class_prompt, folder, reporter)
    elif not folder.is_dir():
        raise Error(f"There is no folder {folder} of class images: give class_prompt, and the base draws them")
    found = list(read_folder(folder).examples)[: config.class_count]
    bare = [example for example in found if not example.caption]
    if bare and not config.class_prompt:
        raise Error(f"The class image {bare[0].path} has no caption: give class_prompt, such as: a photo of a dog")
    return [Example(example.path, example.caption or str(config.class_prompt)) for example in found]


def _folder(base: Base, config: ResolvedConfig) -> Path:
    """The one that was given, or the workspace's own for this base, size and prompt."""
    if config.class_images:
        return Path(config.class_images).expanduser()
    merged = contents(config)  # with which the base draws otherwise
    told = "/".join([str(base.path), str(base.model_hash), str(config.resolution), str(config.class_prompt), *merged])
    name = re.sub(r"[^a-z0-9]+", "-", str(config.class_prompt).lower()).strip("-")[:40]
    return Path(config.workspace) / "class-images" / f"{name}-{sha256(told.encode()).hexdigest()[:8]}".lstrip("-")


def _draw_missing(base: Base, config: ResolvedConfig, prompt: str, folder: Path, reporter: Reporter) -> None:
    """The base's pictures of the prompt, each with its caption beside it; one that is drawn is never drawn again."""
    there = without_masks([path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES])
    missing = config.class_count - len(there)
    if missing <= 0:
        return
    taken = {path.stem for path in there}
    free = [n for n in range(1, config.class_count + 1) if f"class-{n:04d}" not in taken]
    usual = defaults_for(base)
    with reporter.console.status(f"drawing {missing} class images into {folder}"):
        for number in free[-missing:]:
            seed = derived_seed("class image", prompt, number)
            size = config.resolution, config.resolution
            recipe = Recipe(prompt, "", seed, usual.steps, usual.guidance, usual.sampler, size)
            path = folder / f"class-{number:04d}.png"
            write_text(path.with_suffix(".txt"), prompt)
            save_picture(draw(base, recipe), path, prompt)
