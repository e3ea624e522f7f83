"""What a training sets up before its first step: the base as it will run, and every image and caption encoded."""

import torch
from torch import nn

from ..bases import Base
from ..bases.base import vae_dtype
from ..data.latents import Latents, encode_images
from .attention import use_attention
from .batches import Batches, Prompts
from .config import ResolvedConfig
from .convolution import use_small_map_convolutions
from .defaults import PRECISIONS
from .gated_gelu import use_lean_gates
from .holdout import Holdout
from .loss import NoiseSchedule
from .material import MUCH_LOST, Material
from .progress import Reporter


def ready_base(base: Base, config: ResolvedConfig, device: torch.device, *, encoder_trains: bool) -> None:
    """The base on its device; UNet and text encoder in the run's precision, the VAE (used once) in fp32."""
    base.to(device=device)
    for module in (base.unet, *base.text_encoders):
        nn.Module.to(module, PRECISIONS[config.precision])  # diffusers' own `to` warns without a reason
    base.unet.to(memory_format=torch.channels_last)
    use_attention(base.unet, config.attention)
    use_lean_gates(base.unet)
    if device.type == "cpu":
        use_small_map_convolutions(base.unet)
    if config.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
        for encoder in base.text_encoders if encoder_trains else []:
            _checkpoint_gradients(encoder)


def _checkpoint_gradients(encoder: nn.Module) -> None:
    # Renamed within transformers 5. The reentrant kind loses all gradients where the embedding is frozen.
    old, new = "gradient_checkpointing_enable", "activation_checkpointing_enable"
    getattr(encoder, new if hasattr(encoder, new) else old)({"use_reentrant": False})


def ready_batches(
    base: Base,
    config: ResolvedConfig,
    material: Material,
    reporter: Reporter,
    *,
    encoder_trains: bool,
    examples_per_step: int,
) -> Batches:
    """The stream of training examples; says which images do not suit the resolution."""
    examples = material.train
    with reporter.console.status(f"encoding {len(examples)} images"):
        latents = encode_images(base.vae, examples, config.resolution, mirrored=config.flip)
    for warning in _unsuited(latents, config.resolution):
        reporter.warn(warning)
    return Batches(
        examples,
        latents,
        Prompts(base, [e.caption for e in examples], encoder_trains=encoder_trains),
        NoiseSchedule.of(base),
        seed=config.seed,
        caption_dropout=config.caption_dropout,
        global_batch=examples_per_step,
    )


def ready_holdout(base: Base, config: ResolvedConfig, material: Material, *, encoder_trains: bool) -> Holdout | None:
    """The fixed draws that the held-out loss is measured on; None where nothing is held out."""
    if not material.holdout:
        return None
    return Holdout(base, material.holdout, config.resolution, seed=config.seed, encoder_trains=encoder_trains)


def let_go(base: Base, config: ResolvedConfig, *, encoder_trains: bool) -> None:
    """Give back memory once everything is encoded: the VAE is left for previews alone, so the run's precision does for
    it, and a frozen text encoder is left for nothing."""
    nn.Module.to(base.vae, vae_dtype(base.family, PRECISIONS[config.precision]))
    if not encoder_trains:
        for encoder in base.text_encoders:
            encoder.to("meta")


def _unsuited(latents: Latents, resolution: int) -> list[str]:
    images, warnings = len(latents.lost), []
    if cut := sum(lost > MUCH_LOST for lost in latents.lost):
        warnings.append(f"{cut} of {images} images lose over a fifth of their area to the square crop")
    if enlarged := sum(scale > 1 for scale in latents.upscaled):
        warnings.append(f"{enlarged} of {images} images are smaller than {resolution} px: enlarged")
    return warnings
