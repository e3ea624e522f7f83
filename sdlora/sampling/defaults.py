"""What a picture is drawn with when nobody says."""

from typing import NamedTuple

from ..bases import Base
from .samplers import DEFAULT


class SamplingDefaults(NamedTuple):
    """Steps, guidance scale, sampler and side in pixels."""

    steps: int
    guidance: float
    sampler: str
    side: int


def defaults_for(base: Base) -> SamplingDefaults:
    """By family and geometry: mini was looked at with a guidance of 4, SD 1.x and 2.x are used with 7, SDXL with 5."""
    guidance = 4.0 if base.geometry == "mini" else 5.0 if base.family == "sdxl" else 7.0
    return SamplingDefaults(25, guidance, DEFAULT, base.resolution)
