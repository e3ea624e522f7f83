"""What clients send, as A1111 names it. Fields that are unknown or have no meaning here are ignored."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..job import LARGEST_SEED, LARGEST_SIDE, LONGEST_PROMPT, MOST_STEPS

MOST_PICTURES = 16  # of one request
LONGEST_NAME = 500
Finite = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Prompt = Annotated[str, Field(max_length=LONGEST_PROMPT)]


class Asked(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(extra="ignore")


class Options(Asked):
    """A1111's settings, as far as they mean something here."""

    sd_model_checkpoint: Name | None = Field(None, description="A base: its title, name or hash.")
    CLIP_stop_at_last_layers: int | None = Field(None, ge=1, le=12, description="Clip skip; 1 is none.")


class Drawing(Asked):
    """What `txt2img` and `img2img` share. What is left out is the base's usual."""

    prompt: Prompt = Field("", description="With tags for adapters: `<lora:NAME:WEIGHT>`.")
    negative_prompt: Prompt = ""
    seed: int | None = Field(-1, ge=-1, le=LARGEST_SEED, description="Of the first picture; -1: a random one.")
    steps: Steps | None = None
    cfg_scale: Finite | None = None
    width: Side | None = None
    height: Side | None = None
    sampler_name: Name | None = None
    sampler_index: Name | None = Field(None, description="An old name of `sampler_name`.")
    scheduler: Name | None = None
    batch_size: int = Field(1, ge=1, le=MOST_PICTURES)
    n_iter: int = Field(1, ge=1, le=MOST_PICTURES)
    override_settings: Options | None = None
    override_settings_restore_afterwards: bool = True
    script_name: Name | None = None
    send_images: bool = True
    save_images: bool = Field(False, description="Keep the pictures in the workspace's outputs/.")

    @property
    def count(self) -> int:
        """How many pictures."""
        return self.batch_size * self.n_iter


class TextToImage(Drawing):
    """`POST txt2img`."""

    enable_hr: bool = Field(False, description="Draw again, larger, over the first picture.")
    hr_scale: float = Field(2.0, ge=1, le=8, allow_inf_nan=False)
    hr_second_pass_steps: int = Field(0, ge=0, le=MOST_STEPS, description="0: as many as in the first pass.")
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    denoising_strength: float = Field(0.75, ge=0, le=1, allow_inf_nan=False)


class ImageToImage(Drawing):
    """`POST img2img`. Pictures are base64, with or without `data:image/png;base64,` before it."""

    init_images: list[str] = Field(min_length=1, max_length=1)
    denoising_strength: float = Field(0.75, ge=0, le=1, allow_inf_nan=False)
    resize_mode: int = Field(0, ge=0, le=1, description="0: stretch to the size; 1: cut to its shape.")
    mask: str | None = None
    include_init_images: bool = False


class PngInfo(Asked):
    """`POST png-info`."""

    image: str


def echo(asked: Drawing) -> dict[str, Any]:
    """What an answer repeats of the request; pictures are left out unless they are asked for."""
    given = asked.model_dump(mode="json")
    if not getattr(asked, "include_init_images", True):
        given["init_images"] = None
    return given
