"""Stage: UNet and text encoder, trained together on cached latents."""

from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from recipes.mini.latents import Examples
from recipes.mini.loop import Objective, Plan, Training

WIDTHS = (64, 96, 128, 128)
TEXT_WIDTH = 160

WHITE_SHARE = 2 / 3
STYLELESS_SHARE = 0.2
EMPTY_SHARE = 0.1  # what classifier-free guidance needs (Ho and Salimans, 2022, arXiv:2207.12598)
SNR_LIMIT = 5.0  # min-SNR weighting (Hang et al., 2023, arXiv:2303.09556)


def schedule() -> DDPMScheduler:
    """The noise schedule of Stable Diffusion 1.x."""
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


def build_text_encoder(tokenizer: CLIPTokenizer, width: int = TEXT_WIDTH, layers: int = 4) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(widths: tuple[int, ...] = WIDTHS, text_width: int = TEXT_WIDTH) -> UNet2DConditionModel:
    """Stable Diffusion 1.x' topology, only narrower, so that module paths and adapter keys are the same."""
    return UNet2DConditionModel(
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=widths,
        layers_per_block=2,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def train(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    full: Examples,
    half: Examples,
    plan: Plan,
    checkpoint: Path,
    batch: int = 16,
) -> Training:
    """Train both. Until the anneal every second step is at half size, where a concept costs a quarter to learn."""
    unet.train().to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # the backward of SDPA's CPU kernel takes 42 % of a step
    text_encoder.train()
    at_full, at_half = (objective(unet, text_encoder, x, n) for x, n in ((full, batch), (half, 2 * batch)))

    def alternate(step: int, generator: torch.Generator) -> tuple[Tensor, float]:
        small = step < plan.anneal_start and step % 2 == 1
        return (at_half if small else at_full)(step, generator)

    training = Training({"unet": unet, "text_encoder": text_encoder}, plan, checkpoint)
    training.run(alternate)
    return training


def objective(unet: UNet2DConditionModel, text_encoder: CLIPTextModel, examples: Examples, batch: int) -> Objective:
    """Mean squared error of the predicted noise, stratified timesteps; weighted by min-SNR, reported unweighted."""
    alphas = schedule().alphas_cumprod

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, float]:
        clean, ids = draw(examples, batch, generator)
        t = stratified_timesteps(batch, generator)
        noise = torch.randn(clean.shape, generator=generator)
        guess = unet(add_noise(clean, noise, alphas[t]), t, text_encoder(ids)[0]).sample
        error = ((guess.float() - noise) ** 2).mean((1, 2, 3))
        snr = alphas[t] / (1 - alphas[t])
        return (error * snr.clamp(max=SNR_LIMIT) / snr).mean(), error.mean().item()

    return loss


def draw(examples: Examples, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents (batch, 4, h, w) and token ids (batch, length) of random icons on random papers."""
    papers, icons = examples.latents.shape[:2]
    chance = torch.rand(3, batch, generator=generator)
    icon = torch.randint(icons, (batch,), generator=generator)
    coloured = torch.randint(1, papers, (batch,), generator=generator)
    paper = torch.where(chance[0] < WHITE_SHARE, 0, coloured)
    ids = examples.ids[paper, icon, (chance[1] < STYLELESS_SHARE).long()]
    return examples.latents[paper, icon], torch.where((chance[2] < EMPTY_SHARE)[:, None], examples.empty, ids)


def stratified_timesteps(batch: int, generator: torch.Generator, total: int = 1000) -> Tensor:
    """One timestep from each of `batch` equal bands: most of a loss's noise comes from chance in the timesteps."""
    return ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * total).long().clamp(max=total - 1)


def add_noise(clean: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """√ᾱ·x₀ + √(1 − ᾱ)·ε (Ho et al., 2020, arXiv:2006.11239, equation 4), channels last."""
    a = alphas.view(-1, 1, 1, 1)
    return (a.sqrt() * clean + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
