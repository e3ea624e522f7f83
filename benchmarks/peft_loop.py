"""The peer: a LoRA training step with PEFT and diffusers, in the manner of diffusers' train_text_to_image_lora.py.

Its order of work is that script's main loop: image and prompt are encoded anew each step, `add_noise`, the UNet under
autocast, mean squared error, AdamW, clipping. The pictures are in memory and the captions tokenized beforehand: reading
and tokenizing, which that script does too, are not held against it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from peft import LoraConfig

from sdlora.bases import Base
from sdlora.sampling.prompts import tokenize

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def peft_step(base: Base, dtype: torch.dtype, resolution: int, rank: int) -> Callable[[], float]:
    """Put PEFT's layers into `base` and return its training step, which returns the loss.

    As in the script, all weights are in `dtype`, those of the adapter too; bf16 means bf16 autocast around the UNet.
    """
    base.to(dtype=dtype)
    unet, vae, text_encoder = base.unet, base.vae, base.text_encoders[0]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=ATTENTION))
    unet.train()
    parameters = [p for p in unet.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    schedule = DDPMScheduler.from_config(base.scheduler_config)
    pixels = torch.rand(1, 3, resolution, resolution) * 2 - 1
    (ids,) = tokenize(base, ["a red apple, flat style"])

    def step() -> float:
        latents = vae.encode(pixels.to(dtype)).latent_dist.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),))
        noisy = schedule.add_noise(latents, noise, timesteps)
        context = text_encoder(ids, return_dict=False)[0]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            prediction = unet(noisy, timesteps, context, return_dict=False)[0]
        loss = F.mse_loss(prediction.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return loss.item()

    return step
