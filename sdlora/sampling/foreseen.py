"""The picture that a step foresees: latents without their noise, whatever the sampler."""

from typing import Any

import torch
from torch import Tensor

LEAST = 1e-4  # of the picture in the latents; below, an epsilon prediction says nothing of it


def foreseen(scheduler: Any, entry: Tensor, guess: Tensor, t: Tensor) -> Tensor:
    """x₀ as a prediction has it, in the shape of the latents, in fp32.

    `entry` is what the UNet was given at timestep `t`, which is √ᾱ·x₀ + √(1−ᾱ)·ε for every scheduler once its
    `scale_model_input` was called, and `guess` what it answered: ε, or the velocity √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans & Ho,
    2022, arXiv:2202.00512).
    """
    kept = _kept(scheduler.alphas_cumprod, float(t))
    signal, noise = kept**0.5, (1 - kept) ** 0.5
    entry, guess = entry.float(), guess.float()
    if scheduler.config["prediction_type"] == "v_prediction":
        return signal * entry - noise * guess
    return (entry - noise * guess) / max(signal, LEAST)


def _kept(alphas_cumprod: Tensor, t: float) -> float:
    """ᾱ at a timestep, some of which lie between two of the schedule."""
    below = min(max(int(t), 0), len(alphas_cumprod) - 1)
    above = min(below + 1, len(alphas_cumprod) - 1)
    return float(torch.lerp(alphas_cumprod[below].double(), alphas_cumprod[above].double(), t - below))
