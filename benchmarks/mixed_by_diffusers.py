"""The peer: the same adapter files on the same base in diffusers' pipeline, which leaves them to PEFT."""

import copy
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import nn

from sdlora import save_adapter
from sdlora.bases import Base
from tests.adapters.made import random_adapter

RANK = 16


def adapter_files(base: Base, targets: str, count: int, folder: Path, size: float = 1e-3) -> list[Path]:
    """`a0.safetensors` …: adapters with random numbers, in fp16 as most files are."""
    made = (random_adapter(base, targets, rank=RANK, alpha=RANK, seed=10**6 * n, size=size) for n in range(count))
    return [save_adapter(adapter, folder / f"a{n}.safetensors") for n, adapter in enumerate(made)]


def pipeline_of(base: Base, files: Sequence[Path], unet: nn.Module | None = None) -> StableDiffusionPipeline:
    """A pipeline with the adapters loaded, on a copy of the base's UNet unless one is given."""
    pipeline = StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoders[0],
        tokenizer=base.tokenizers[0],
        unet=unet or copy.deepcopy(base.unet),
        scheduler=DDIMScheduler.from_config(base.scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    for file in files:
        pipeline.load_lora_weights(file, adapter_name=file.stem)
    return pipeline


def use(pipeline: StableDiffusionPipeline, weights: dict[str, float]) -> None:
    """Set these adapters; all others are left out."""
    pipeline.set_adapters(list(weights), list(weights.values()))


def quiet() -> None:
    """No word on each adapter that leaves the text encoder alone, is one of several, or is deleted."""
    diffusers.utils.logging.set_verbosity_error()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
    warnings.filterwarnings("ignore", message="Adapter .* was active which is now deleted")
    torch.set_grad_enabled(False)
