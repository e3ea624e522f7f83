"""Pictures as diffusers' own pipelines draw them, for comparison with ours."""

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from sdlora.resources import MINI


def mini_pipeline():
    """mini, as its folder says."""
    pipeline = StableDiffusionPipeline.from_pretrained(MINI, safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sdxl_pipeline(base):
    """The networks of an SDXL base of ours; layers that diffusers puts into them stay there."""
    pipeline = StableDiffusionXLPipeline(
        vae=base.vae,
        text_encoder=base.text_encoders[0],
        text_encoder_2=base.text_encoders[1],
        tokenizer=base.tokenizers[0],
        tokenizer_2=base.tokenizers[1],
        unet=base.unet,
        scheduler=EulerDiscreteScheduler.from_config(base.scheduler_config),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline, prompt, negative=None, *, size, steps, guidance, seed):
    """One picture, (height, width, 3) from 0 to 255, not rounded; `size` is (width, height), None the base's own."""
    width, height = size or (None, None)
    (picture,) = pipeline(
        prompt,
        negative_prompt=negative,
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).images
    return 255.0 * np.asarray(picture, dtype=float)
