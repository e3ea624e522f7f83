"""What UNet and text encoder learn from: each icon's latents on several papers, and its captions as token ids."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from recipes.mini.captions import BACKGROUNDS, caption
from recipes.mini.icons import Icons
from recipes.mini.vae import on_paper
from sdlora.files import write_atomically

PAPERS = 6  # the first is white, the others are drawn for each icon


@dataclass(frozen=True)
class Examples:
    """What batches are drawn from."""

    latents: Tensor  # (papers, icons, 4, h, w), scaled to unit variance
    ids: Tensor  # (papers, icons, 2, length): token ids of the caption with style, without
    empty: Tensor  # (length,): the token ids of the empty caption


def prepare(icons: Icons, vae: AutoencoderKL, tokenizer: CLIPTokenizer, size: int, cache: Path) -> Examples:
    """Encode all icons at `size` pixels; latents are kept in `cache`, under the digest of what they depend on."""
    papers = draw_papers(len(icons.names))
    file = cache / f"latents-{size}-{digest(icons, vae)}.safetensors"
    if not file.exists():
        tensors = {"latents": torch.stack([encode(icons, vae, row, size) for row in papers])}
        write_atomically(file, lambda path: save_file(tensors, path))
    captions = [
        caption(*name, paper, with_style)
        for row in papers
        for name, paper in zip(icons.names, row, strict=True)
        for with_style in (True, False)
    ]
    ids = tokenise(tokenizer, captions).view(PAPERS, len(icons.names), 2, -1)
    return Examples(load_file(file)["latents"], ids, tokenise(tokenizer, [""])[0])


def draw_papers(count: int) -> list[list[str]]:
    colours = [name for name in BACKGROUNDS if name != "white"]
    draw = np.random.default_rng(0)
    return [["white"] * count] + [[str(c) for c in draw.choice(colours, count)] for _ in range(PAPERS - 1)]


def tokenise(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length)
    return torch.tensor(tokens.input_ids)


@torch.no_grad()
def encode(icons: Icons, vae: AutoencoderKL, papers: list[str], size: int) -> Tensor:
    """(icons, 4, size / 8, size / 8), scaled."""
    vae.to(memory_format=torch.channels_last)
    latents = []
    for at in range(0, len(papers), 32):
        rgba = torch.from_numpy(icons.pixels[at : at + 32])
        colours = torch.tensor([BACKGROUNDS[paper] for paper in papers[at : at + 32]]).float()
        images = torch.nn.functional.interpolate(on_paper(rgba, colours), size=size, mode="area")
        latents.append(vae.encode(images.contiguous(memory_format=torch.channels_last)).latent_dist.mode())
    return torch.cat(latents).contiguous() * vae.config.scaling_factor


def digest(icons: Icons, vae: AutoencoderKL) -> str:
    sha = hashlib.sha256(icons.pixels.tobytes())
    for tensor in vae.state_dict().values():
        sha.update(tensor.contiguous().numpy().tobytes())
    sha.update(repr((vae.config.scaling_factor, draw_papers(len(icons.names)))).encode())
    return sha.hexdigest()[:12]
