"""What a training step minimises."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..bases import Base
from .batches import Batch, Batches
from .config import ResolvedConfig
from .injection import Layers, name_examples, switched_off
from .loss import NoiseSchedule, huber_error, squared_error
from .prior import Prior

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


class Objective:
    """The denoising loss on the training's examples and, if asked for, how far the base's own pictures have moved."""

    def __init__(
        self,
        config: ResolvedConfig,
        batches: Batches,
        prior: Prior | None,
        layers: Layers,
        base: Base,
        device: torch.device,
    ) -> None:
        self._config, self._batches, self._prior = config, batches, prior
        self._layers, self._device = layers, device
        self._schedule = NoiseSchedule.of(base)

    def loss(self, predict: Predict, indices: range) -> Tensor:
        """Mean loss, in fp32, over these global example indices."""
        batch = self._batches.take(indices)
        name_examples(self._layers, indices)
        target = self._schedule.target(batch.latents, batch.noise, batch.timesteps).to(self._device)
        masks = None if batch.masks is None else batch.masks.to(self._device)
        errors = self._errors(self._predicted(predict, batch), target, batch.timesteps, masks)
        loss = (errors * (batch.weights * self._weights(batch.timesteps)).to(self._device)).mean()
        if self._prior and (kept := self._prior.take(indices)):
            name_examples(self._layers, [("prior", i) for i in self._prior.places(indices)])
            loss = loss + self._config.prior_preservation * self._change(predict, kept)
        return loss

    def _change(self, predict: Predict, batch: Batch) -> Tensor:
        """The mean squared error of the prediction against the base's own."""
        with torch.no_grad(), switched_off(self._layers):
            unchanged = self._predicted(predict, batch)
        return squared_error(self._predicted(predict, batch), unchanged).mean()

    def _predicted(self, predict: Predict, batch: Batch) -> Tensor:
        noisy = self._schedule.noisy(batch.latents, batch.noise, batch.timesteps)
        return predict(noisy.to(self._device), batch.timesteps.to(self._device), batch.prompts.to(self._device))

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
