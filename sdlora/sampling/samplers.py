"""Samplers by the names people know, each one of diffusers' schedulers."""

from difflib import get_close_matches
from typing import Any, NamedTuple

import diffusers

from ..bases import Base
from ..errors import Error


class Sampler(NamedTuple):
    """A diffusers scheduler class with its options; `name` and `schedule` are how A1111's image metadata writes it."""

    name: str
    schedule: str | None
    scheduler: str
    options: dict[str, Any]


SAMPLERS = {
    "Euler": Sampler("Euler", None, "EulerDiscreteScheduler", {}),
    "Euler a": Sampler("Euler a", None, "EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": Sampler("DPM++ 2M", None, "DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": Sampler("DPM++ 2M", "Karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "Heun": Sampler("Heun", None, "HeunDiscreteScheduler", {}),
    "UniPC": Sampler("UniPC", None, "UniPCMultistepScheduler", {}),
    "DDIM": Sampler("DDIM", None, "DDIMScheduler", {}),
}
DEFAULT = "DPM++ 2M Karras"
SCHEDULE_KEYS = (
    "beta_start",
    "beta_end",
    "beta_schedule",
    "num_train_timesteps",
    "prediction_type",
    "rescale_betas_zero_snr",
    "set_alpha_to_one",
    "steps_offset",
    "timestep_spacing",
    "trained_betas",
)


def find_sampler(name: str) -> Sampler:
    """Raises `Error` naming near names when there is none of this one."""
    by_folded = {key.casefold(): key for key in SAMPLERS}
    key = by_folded.get(name.casefold())
    if key is None:
        near = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.4)
        hint = f"did you mean {by_folded[near[0]]}? " if near else ""
        raise Error(f"There is no sampler {name!r}: {hint}sdlora has {', '.join(SAMPLERS)}")
    return SAMPLERS[key]


def make_scheduler(base: Base, name: str) -> Any:
    """A fresh diffusers scheduler with the base's noise schedule and prediction type.

    Only what describes the noise schedule is carried over: a base's config is written for another scheduler class, and
    that one's options (clipping, thresholding) would leak into this one.
    """
    sampler = find_sampler(name)
    described = {key: base.scheduler_config[key] for key in SCHEDULE_KEYS if key in base.scheduler_config}
    cls = getattr(diffusers, sampler.scheduler)
    return cls.from_config(described | {"clip_sample": False} | sampler.options)
