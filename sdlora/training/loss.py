"""The denoising loss: noise a latent, ask for what was added, compare."""

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ..bases import Base
from ..sampling.prompts import Conditions, read_ids
from ..sampling.text_encoding import Encoded


@dataclass(frozen=True)
class NoiseSchedule:
    """ᾱ(t) of a base (steps,), fp32, and what its UNet predicts.

    x_t = √ᾱ · x₀ + √(1 − ᾱ) · ε (Ho et al., 2020, arXiv:2006.11239); v = √ᾱ · ε − √(1 − ᾱ) · x₀ (Salimans & Ho, 2022,
    arXiv:2202.00512).
    """

    alphas: Tensor
    prediction_type: str

    @staticmethod
    def of(base: Base) -> "NoiseSchedule":
        schedule = DDPMScheduler.from_config(base.scheduler_config)
        return NoiseSchedule(schedule.alphas_cumprod.float(), base.prediction_type)

    def timesteps(self, positions: Tensor) -> Tensor:
        """Positions in [0, 1) -> timesteps."""
        return (positions * len(self.alphas)).long().clamp(max=len(self.alphas) - 1)

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Latents (n, channels, h, w) at their timesteps (n,)."""
        signal, sigma = self._factors(timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the UNet should answer."""
        if self.prediction_type == "epsilon":
            return noise
        signal, sigma = self._factors(timesteps)
        return signal * noise - sigma * latents

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Weight of each example's error, min(SNR, γ) / SNR for ε and min(SNR, γ) / (SNR + 1) for v.

        Hang et al., 2023, arXiv:2303.09556.
        """
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        if self.prediction_type == "epsilon":
            return (gamma / snr).clamp(max=1)  # so written, a zero terminal SNR is no 0 / 0
        return snr.clamp(max=gamma) / (snr + 1)

    def debiased_weight(self, timesteps: Tensor) -> Tensor:
        """Weight of each example's error, 1 / √SNR for ε, which is √SNR / (SNR + 1) for v. Where no signal is left, SNR
        counts as a thousandth. Yu et al., 2023, arXiv:2310.08442."""
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        return snr.clamp(min=1e-3).rsqrt() if self.prediction_type == "epsilon" else snr.sqrt() / (snr + 1)

    def huber_delta(self, timesteps: Tensor, delta: float, schedule: str) -> Tensor:
        """δ of each example (n,): `constant`; `exponential`, δ^(t/T), from 1 down to δ (Khrapov et al., 2024,
        arXiv:2403.16728); `snr`, δ + (1 − δ) / (1 + 1/√SNR)², which falls early (kohya's sd-scripts)."""
        if schedule == "constant":
            return torch.full((len(timesteps),), delta)
        if schedule == "exponential":
            return delta ** (timesteps / len(self.alphas))
        alpha = self.alphas[timesteps]
        sigma = ((1 - alpha) / alpha).sqrt()  # infinite where no signal is left, and δ is `delta` then
        return delta + (1 - delta) / (1 + sigma).square()

    def _factors(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()


def squared_error(prediction: Tensor, target: Tensor, masks: Tensor | None = None) -> Tensor:
    """Mean squared error of each example, (n, channels, h, w) -> (n,), in fp32; within its mask (n, 1, h, w), where a
    small one counts as much as a large one."""
    return _mean((prediction.float() - target.float()).square(), masks)


def huber_error(prediction: Tensor, target: Tensor, delta: Tensor, masks: Tensor | None = None) -> Tensor:
    """Mean pseudo-Huber error, 2δ(√(e² + δ²) − δ), with each example's δ (n,); else as `squared_error`.

    Much below δ it is e², much above 2δ|e|: a few wrong pixels do not outweigh the rest. Charbonnier et al., 1997; with
    a δ that falls with the timestep Khrapov et al., 2024, arXiv:2403.16728. Divided by δ it is the smooth L1 error.
    """
    delta = delta.view(-1, 1, 1, 1)
    squared = (prediction.float() - target.float()).square()
    # √(e² + δ²) − δ, without the difference of near numbers
    return _mean(2 * delta * squared / ((squared + delta.square()).sqrt() + delta), masks)


def _mean(error: Tensor, masks: Tensor | None) -> Tensor:
    if masks is None:
        return error.mean(dim=(1, 2, 3))
    return (error * masks).sum(dim=(1, 2, 3)) / (masks.sum(dim=(1, 2, 3)) * error.shape[1])


class Denoiser(torch.nn.Module):
    """The UNet with, unless every prompt comes encoded, the text encoders before it: one module for one wrapper."""

    def __init__(self, base: Base, *, encodes: bool = True) -> None:
        super().__init__()
        self.unet = base.unet
        self.text_encoders = torch.nn.ModuleList(base.text_encoders if encodes else [])
        self.dtype = base.dtype
        self._base = base

    def forward(self, noisy: Tensor, timesteps: Tensor, told: Conditions) -> Tensor:
        """noisy (n, channels, h, w), timesteps (n,), what is told of them -> the prediction (n, channels, h, w) in the
        base's dtype."""
        texts = told.texts
        states, pooled = Encoded(*texts) if texts[0].is_floating_point() else read_ids(self._base, texts)
        entry = noisy.to(self.dtype).contiguous(memory_format=torch.channels_last)
        added = None if pooled is None else {"text_embeds": pooled.to(self.dtype), "time_ids": told.sizes}
        return self.unet(entry, timesteps, states.to(self.dtype), added_cond_kwargs=added).sample
