"""Stage: the autoencoder. Factor 8, 4 latent channels, trained on random crops of the icons on coloured paper."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from recipes.mini.captions import BACKGROUNDS
from recipes.mini.icons import Icons
from recipes.mini.loop import Plan, Training

WIDTHS = (32, 64, 128, 128)


def build(widths: tuple[int, ...] = WIDTHS) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=128,
        mid_block_add_attention=False,
    )


def train(vae: AutoencoderKL, icons: Icons, plan: Plan, checkpoint: Path, batch: int = 12) -> AutoencoderKL:
    """Train `vae`; the loss is L1 on pixels and on edges, and a light KL. Sets the scaling factor (latents' std 1)."""
    vae.train().to(memory_format=torch.channels_last)
    pixels = torch.from_numpy(icons.pixels)

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, float]:
        x = crops(pixels, batch, generator)
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample(generator)).sample.float()
        error = (y - x).abs().mean()
        edges = sum((y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (2, 3))
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        return error + 0.5 * edges + 2e-3 * kl, error.item()

    training = Training({"vae": vae}, plan, checkpoint)
    training.run(objective)
    training.averaged()
    vae.register_to_config(scaling_factor=1 / latent_deviation(vae, pixels, plan.generator(plan.steps)))
    return vae


def crops(pixels: Tensor, count: int, generator: torch.Generator, size: int = 64) -> Tensor:
    """(count, 3, size, size) in -1…1: random icons on random paper, a third white, cropped on the latents' grid."""
    papers = torch.tensor([BACKGROUNDS["white"]] * 3 + list(BACKGROUNDS.values()), dtype=torch.float)
    chosen = pixels[torch.randint(len(pixels), (count,), generator=generator)]
    paper = papers[torch.randint(len(papers), (count,), generator=generator)]
    top, left = (8 * torch.randint((pixels.shape[1] - size) // 8 + 1, (2,), generator=generator)).tolist()
    return on_paper(chosen, paper)[:, :, top : top + size, left : left + size].contiguous(
        memory_format=torch.channels_last
    )


def on_paper(rgba: Tensor, paper: Tensor) -> Tensor:
    """Composite (N, H, W, 4) uint8 on (N, 3) colours in 0…255: (N, 3, H, W) in -1…1."""
    rgba = rgba.permute(0, 3, 1, 2).float()
    alpha = rgba[:, 3:] / 255
    return (rgba[:, :3] * alpha + paper[:, :, None, None] * (1 - alpha)) / 127.5 - 1


@torch.no_grad()
def latent_deviation(vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator) -> float:
    images = crops(pixels, 64, generator, size=pixels.shape[1])
    return vae.encode(images).latent_dist.mode().std().item()
