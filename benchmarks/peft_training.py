"""The peer as a whole: a training with PEFT and diffusers, with the defaults of diffusers' train_text_to_image_lora.py.

Those are: 100 epochs, batch 16, learning rate 1e-4 held constant, AdamW with weight decay 0.01, rank 4 on the UNet's
attention with a Gaussian start, fp32, gradients clipped at 1, random crops, no flips. Image and caption are read,
tokenized and encoded anew each time, as that script does; it writes no pictures unless asked, so none are here.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.optimization import get_scheduler
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor

from sdlora import load_base
from sdlora.bases import Base
from sdlora.data.folder import Example
from sdlora.sampling.prompts import tokenize

from .peft_loop import ATTENTION

EPOCHS, BATCH, RATE, DECAY, RANK, NORM = 100, 16, 1e-4, 1e-2, 4, 1.0


def train_as_diffusers(name: str, examples: Sequence[Example], folder: Path, epochs: int = EPOCHS) -> Path:
    """Train on the base `name`, from loading it to the written adapter; the file."""
    torch.manual_seed(0)
    random.seed(0)
    base = load_base(name)
    unet, vae, text_encoder = base.unet, base.vae, base.text_encoders[0]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=ATTENTION))
    unet.train()
    parameters = [p for p in unet.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    rate = get_scheduler("constant", optimiser)
    schedule = DDPMScheduler.from_config(base.scheduler_config)
    for pixels, captions in batches(examples, base.resolution, epochs):
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
            context = text_encoder(tokenize(base, captions)[0], return_dict=False)[0]
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),))
        noisy = schedule.add_noise(latents, noise, timesteps)
        loss = F.mse_loss(unet(noisy, timesteps, context, return_dict=False)[0], noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, NORM)
        optimiser.step()
        rate.step()
        optimiser.zero_grad()
    return written(base, folder)


def batches(examples: Sequence[Example], side: int, epochs: int) -> Iterator[tuple[Tensor, list[str]]]:
    """Pixels (n, 3, side, side) in −1 … 1 with their captions, each epoch in another order, its last batch smaller."""
    for _ in range(epochs):
        order = random.sample(examples, len(examples))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            yield torch.stack([pixels_of(one.path, side) for one in part]), [one.caption for one in part]


def pixels_of(path: Path, side: int) -> Tensor:
    """The picture with its shorter side resized, cut square at random."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    scale = side / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = random.randint(0, picture.width - side), random.randint(0, picture.height - side)
    values = np.asarray(picture.crop((left, top, left + side, top + side)), dtype=np.float32)
    return torch.from_numpy(values).permute(2, 0, 1) / 127.5 - 1


def written(base: Base, folder: Path) -> Path:
    """The adapter's file, as that script writes it."""
    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(base.unet))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=weights, safe_serialization=True)
    return folder / "pytorch_lora_weights.safetensors"
