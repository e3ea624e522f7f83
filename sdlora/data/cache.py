"""Latents on disk, so that a folder is encoded once and not again at each run.

A file is named by all that it follows from: the image's bytes, the view and the VAE's weights. So an edited image, or
another VAE, simply has another name. Files are written whole or not at all and carry their own checksum: two processes
may share a cache, and a damaged file is made anew.
"""

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..files import write_atomically
from .views import View

Encoded = tuple[Tensor, Tensor]  # mean and std (channels, height, width), fp32


class LatentCache:
    """The latents of one VAE in a folder."""

    def __init__(self, folder: Path, vae: AutoencoderKL) -> None:
        tiles = f"/tiles of {vae.tile_sample_min_size}" if vae.use_tiling else ""  # they have other latents
        self._folder, self._vae = folder, weights_hash(vae) + tiles

    def file(self, image_hash: str, view: View) -> Path:
        """Where the latents of a view of an image are, or would be."""
        name = hashlib.sha256(f"{self._vae}/{image_hash}/{view}".encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def load(self, image_hash: str, view: View) -> Encoded | None:
        """What was stored; None where nothing was, or where the file is not what was written."""
        try:
            with safetensors.safe_open(self.file(image_hash, view), "pt") as file:
                found = {key: file.get_tensor(key) for key in ("mean", "std")}
                checksum = (file.metadata() or {}).get("checksum")
        except (OSError, safetensors.SafetensorError):
            return None
        pair = found["mean"], found["std"]
        return pair if _checksum(pair) == checksum else None

    def store(self, image_hash: str, view: View, pair: Encoded) -> None:
        """Keep the latents of a view."""
        tensors = {"mean": pair[0].contiguous(), "std": pair[1].contiguous()}
        said = {"checksum": _checksum(pair)}
        write_atomically(
            self.file(image_hash, view), lambda path: safetensors.torch.save_file(tensors, path, metadata=said)
        )


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over all of a module's tensors, names and precisions."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}/{tensor.dtype}/{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _checksum(pair: Encoded) -> str:
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in pair)).hexdigest()
