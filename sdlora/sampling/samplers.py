"""Samplers by the names people know, each one of diffusers' schedulers."""

import re
from difflib import get_close_matches
from inspect import signature
from typing import Any, NamedTuple

import diffusers

from ..bases import Base
from ..errors import Error


class Sampler(NamedTuple):
    """A diffusers scheduler class with its options; `name` and `schedule` are how A1111's image metadata writes it.

    `evaluations` is how often the UNet is asked for a step where people count two and diffusers counts one.
    """

    name: str
    schedule: str | None
    scheduler: str
    options: dict[str, Any]
    evaluations: int = 1

    def most_steps(self, base: Base) -> int:
        """How many steps there can be on a base's noise schedule."""
        if self.scheduler == "LCMScheduler":
            return 50  # those that it was distilled from (Luo et al., 2023, arXiv:2310.04378)
        return (int(base.scheduler_config.get("num_train_timesteps", 1000)) - 1) // self.evaluations


KARRAS: dict[str, Any] = {"use_karras_sigmas": True}
# DPM-Solver++ as a stochastic equation (Lu et al., 2022, arXiv:2211.01095); noise comes from the picture's generator
MULTISTEP_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}
# k-diffusion's DPM++ SDE is the single-step solver of order two. diffusers has a scheduler of that name too, but it
# draws from a Brownian tree of another library and on the device.
SINGLESTEP_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++", "lower_order_final": True}

SAMPLERS = {
    "Euler": Sampler("Euler", None, "EulerDiscreteScheduler", {}),
    "Euler a": Sampler("Euler a", None, "EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": Sampler("DPM++ 2M", None, "DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": Sampler("DPM++ 2M", "Karras", "DPMSolverMultistepScheduler", KARRAS),
    "DPM++ 2M SDE": Sampler("DPM++ 2M SDE", None, "DPMSolverMultistepScheduler", MULTISTEP_SDE),
    "DPM++ 2M SDE Karras": Sampler("DPM++ 2M SDE", "Karras", "DPMSolverMultistepScheduler", MULTISTEP_SDE | KARRAS),
    "DPM++ 3M SDE": Sampler("DPM++ 3M SDE", None, "DPMSolverMultistepScheduler", MULTISTEP_SDE | {"solver_order": 3}),
    "DPM++ 3M SDE Karras": Sampler(
        "DPM++ 3M SDE", "Karras", "DPMSolverMultistepScheduler", MULTISTEP_SDE | KARRAS | {"solver_order": 3}
    ),
    "DPM++ SDE": Sampler("DPM++ SDE", None, "DPMSolverSinglestepScheduler", SINGLESTEP_SDE, evaluations=2),
    "DPM++ SDE Karras": Sampler(
        "DPM++ SDE", "Karras", "DPMSolverSinglestepScheduler", SINGLESTEP_SDE | KARRAS, evaluations=2
    ),
    "Heun": Sampler("Heun", None, "HeunDiscreteScheduler", {}),
    "UniPC": Sampler("UniPC", None, "UniPCMultistepScheduler", {}),
    "DDIM": Sampler("DDIM", None, "DDIMScheduler", {}),
    "PLMS": Sampler("PLMS", None, "PNDMScheduler", {"skip_prk_steps": True}),
    "LCM": Sampler("LCM", None, "LCMScheduler", {}),
}
# Spellings of ComfyUI, k-diffusion and diffusers become ours; what is left of them is listed.
RESPELLED = [(r"[_\s]+", " "), (r"^(k|sample) ", ""), (r"dpmpp", "dpm++"), (r" ?ancestral", " a"), (r"\bk$", "karras")]
ALIASES = {"pndm": "plms", "uni pc": "unipc", "eulera": "euler a"}
PLAIN_SCHEDULES = ("", "Automatic", "Uniform")
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


def find_sampler(name: str, schedule: str | None = None) -> Sampler:
    """A sampler by its name in any case and the usual spellings (`dpmpp_2m_karras`), or as image metadata has it, with
    its schedule type beside it.

    Raises `Error` naming near names when there is none of this one.
    """
    wanted = name if schedule is None or schedule in PLAIN_SCHEDULES else f"{name} {schedule}"
    by_spelling = {_spelled(key): key for key in SAMPLERS}
    spelled = _spelled(wanted)
    key = by_spelling.get(ALIASES.get(spelled, spelled))
    if key is None:
        near = get_close_matches(spelled, by_spelling, n=1, cutoff=0.4)
        hint = f"did you mean {by_spelling[near[0]]}? " if near else ""
        raise Error(f"There is no sampler {wanted!r}: {hint}sdlora has {', '.join(SAMPLERS)}")
    return SAMPLERS[key]


def _spelled(name: str) -> str:
    spelled = name.casefold().strip()
    for pattern, ours in RESPELLED:
        spelled = re.sub(pattern, ours, spelled)
    return spelled


def takes_generator(scheduler: Any) -> bool:
    """Whether the sampler may draw noise at its steps, from a generator that is given to it."""
    return "generator" in signature(scheduler.step).parameters


def make_scheduler(base: Base, name: str) -> Any:
    """A fresh diffusers scheduler with the base's noise schedule and prediction type.

    Only what describes the noise schedule is carried over: a base's config is written for another scheduler class, and
    that one's options (clipping, thresholding) would leak into this one.
    """
    sampler = find_sampler(name)
    described = {key: base.scheduler_config[key] for key in SCHEDULE_KEYS if key in base.scheduler_config}
    cls = getattr(diffusers, sampler.scheduler)
    return cls.from_config(described | {"clip_sample": False} | sampler.options)
