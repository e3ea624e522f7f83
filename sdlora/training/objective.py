"""What a training step minimises."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..bases import Base
from ..sampling.prompts import Conditions
from .adaptive_rank import penalty
from .batches import Batch, Batches
from .config import ResolvedConfig
from .injection import Parts, name_examples, switched_off
from .loss import NoiseSchedule, huber_error, squared_error
from .prior import EVERY, Prior

Names = Sequence[object]
Predict = Callable[[Tensor, Tensor, Conditions], Tensor]


class Objective:
    """The denoising loss on the training's examples and, if asked for, how far the base's own pictures have moved, or
    the denoising loss on class images."""

    def __init__(
        self,
        config: ResolvedConfig,
        batches: Batches,
        prior: Prior | None,
        parts: Parts,
        base: Base,
        device: torch.device,
    ) -> None:
        self._config, self._batches, self._prior = config, batches, prior
        self._parts, self._device = parts, device
        self._schedule = NoiseSchedule.of(base)

    def loss(self, predict: Predict, indices: range) -> Tensor:
        """Mean loss, in fp32, over these global example indices."""
        loss = self._denoising(predict, self._batches.take(indices), indices)
        if self._prior and (kept := self._prior.take(indices)):
            names = [("prior", i) for i in self._prior.places(indices)]
            # by the prior's part in these examples: split into other batches, they have the same mean gradient
            weight = self._config.prior_preservation * EVERY * len(names) / len(indices)
            kept_loss = self._denoising if self._prior.learned else self._change
            loss = loss + weight * kept_loss(predict, kept, names)
        return loss + penalty(self._parts.values()) if self._config.adaptive_rank else loss

    def _denoising(self, predict: Predict, batch: Batch, names: Names) -> Tensor:
        """The mean weighted error against what was added."""
        target = self._schedule.target(batch.latents, batch.noise, batch.timesteps).to(self._device)
        masks = None if batch.masks is None else batch.masks.to(self._device)
        errors = self._errors(self._predicted(predict, batch, names), target, batch.timesteps, masks)
        return (errors * (batch.weights * self._weights(batch.timesteps)).to(self._device)).mean()

    def _change(self, predict: Predict, batch: Batch, names: Names) -> Tensor:
        """The mean squared error of the prediction against the base's own."""
        with torch.no_grad(), switched_off(self._parts):
            unchanged = self._predicted(predict, batch, names)
        return squared_error(self._predicted(predict, batch, names), unchanged).mean()

    def _predicted(self, predict: Predict, batch: Batch, names: Names) -> Tensor:
        name_examples(self._parts, names)
        noisy = self._schedule.noisy(batch.latents, batch.noise, batch.timesteps)
        prediction = predict(noisy.to(self._device), batch.timesteps.to(self._device), batch.prompts.to(self._device))
        if self._config.dropout and prediction.requires_grad:
            # Gradient checkpointing computes it again on the way back, when the parts have been told of others.
            prediction.register_hook(lambda _: name_examples(self._parts, names))
        return prediction

    def _errors(self, prediction: Tensor, target: Tensor, timesteps: Tensor, masks: Tensor | None) -> Tensor:
        config = self._config
        if config.loss == "l2":
            return squared_error(prediction, target, masks)
        delta = self._schedule.huber_delta(timesteps, config.huber_delta, config.huber_schedule).to(self._device)
        errors = huber_error(prediction, target, delta, masks)
        return errors / delta if config.loss == "smooth_l1" else errors

    def _weights(self, timesteps: Tensor) -> Tensor:
        if self._config.debiased:
            return self._schedule.debiased_weight(timesteps)
        gamma = self._config.min_snr_gamma
        return self._schedule.min_snr_weight(timesteps, gamma) if gamma else torch.ones(len(timesteps))
