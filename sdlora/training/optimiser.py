"""AdamW over the trainable layers, and its learning rate over the steps."""

import torch
from diffusers.optimization import get_scheduler
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .config import ResolvedConfig
from .injection import Layers

# diffusers' plain "constant" leaves the warm-up out
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def make_optimiser(layers: Layers, config: ResolvedConfig, device: torch.device) -> AdamW:
    """One parameter group for the UNet and one for the text encoder, each with its own learning rate."""
    rates = {"unet": config.learning_rate, "text_encoder": config.text_encoder_learning_rate}
    groups = []
    for component, rate in rates.items():
        own = [layer for path, layer in layers.items() if path.startswith(component)]
        if own:
            groups.append({"params": [p for layer in own for p in (layer.down, layer.up)], "lr": rate})
    return AdamW(groups, weight_decay=config.weight_decay, fused=device.type != "mps")


def make_schedule(optimiser: AdamW, config: ResolvedConfig) -> LambdaLR:
    """The learning rate of each optimiser step: a linear warm-up, then the curve that was asked for."""
    return get_scheduler(
        SCHEDULES[config.schedule],
        optimiser,
        num_warmup_steps=config.warmup,
        num_training_steps=config.steps,
    )
