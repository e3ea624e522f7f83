"""What a training sets up before its first step: the base as it will run, and every image and caption encoded."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..bases import Base
from ..bases.base import usual_vae_dtype
from ..data.buckets import Buckets, square
from ..data.cache import LatentCache
from ..data.latents import Latents, Viewing
from ..data.wording import Wording
from ..precision import PRECISIONS
from ..sampling.memory import use_tiles
from .attention import use_attention
from .batches import Batches, Prompts
from .config import ResolvedConfig
from .convolution import use_small_map_convolutions
from .encoding import latents_of
from .gated_gelu import use_lean_gates
from .loss import NoiseSchedule
from .material import MUCH_LOST, Material
from .progress import Reporter
from .quantised import is_quantised, quantise
from .timesteps import Timesteps
from .validation import Validation


def ready_base(base: Base, config: ResolvedConfig, device: torch.device, *, encoder_trains: bool) -> None:
    """The base on its device; UNet and text encoder in the run's precision, the VAE (used once) in fp32."""
    for module in (base.unet, *base.text_encoders):
        if not is_quantised(module):  # then it was cast before, and 4 bits would be made whole by another cast
            # cast on the way: in fp32 SDXL's UNet alone would fill a small GPU. diffusers' own `to` warns for nothing
            nn.Module.to(module, device=device, dtype=PRECISIONS[config.precision])
    base.to(device=device)
    base.unet.to(memory_format=torch.channels_last)
    use_attention(base.unet, config.attention)
    use_lean_gates(base.unet)
    if device.type == "cpu":
        use_small_map_convolutions(base.unet)
    save_memory(base, config, encoder_trains=encoder_trains)


def save_memory(base: Base, config: ResolvedConfig, *, encoder_trains: bool) -> None:
    """What a config asks of the base for memory's sake; checkpointing that it does not ask for is off again."""
    if config.vae_tiles:
        use_tiles(base.vae)
    if config.quantised != "off":
        quantise(base.unet, config.quantised)
    if config.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    else:
        base.unet.disable_gradient_checkpointing()
    for encoder in base.text_encoders if encoder_trains else []:
        checkpoint_gradients(encoder, config.gradient_checkpointing)


def checkpoint_gradients(encoder: Any, on: bool) -> None:
    """Have a text encoder compute its activations again on the way back, or keep them."""
    # Renamed within transformers 5. The reentrant kind loses all gradients where the embedding is frozen.
    verb, arguments = ("enable", [{"use_reentrant": False}]) if on else ("disable", [])
    old, new = (f"{kind}_checkpointing_{verb}" for kind in ("gradient", "activation"))
    getattr(encoder, new if hasattr(encoder, new) else old)(*arguments)


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
    examples, wording = material.train, wording_of(config)
    with reporter.console.status(f"encoding {len(examples)} images"):
        latents = latents_of(base, examples, viewing_of(config), cache=_cache(base, config))
    for sentence in _told(latents, len(examples)):
        reporter.warn(sentence)
    texts = [] if wording.varies else [wording.plain(example) for example in examples]
    schedule = NoiseSchedule.of(base)
    return Batches(
        latents,
        Prompts(base, texts, encoder_trains=encoder_trains),
        schedule,
        seed=config.seed,
        caption_dropout=config.caption_dropout,
        global_batch=examples_per_step,
        wording=wording,
        timesteps=timesteps_of(config, len(schedule.alphas)),
        offset_noise=config.offset_noise,
    )


def timesteps_of(config: ResolvedConfig, steps: int) -> Timesteps:
    """Which of a noise schedule's `steps` the run is trained on."""
    last = min(config.timestep_max or steps, steps)
    first = min(config.timestep_min, last - 1)
    mean, std = config.logit_mean, config.logit_std
    return Timesteps(first / steps, last / steps, config.timestep_distribution, mean, std)


def viewing_of(config: ResolvedConfig) -> Viewing:
    """How the run looks at its images."""
    return Viewing(
        tuple(_buckets(config, side) for side in (config.resolution, *config.more_resolutions)),
        config.crops,
        config.crop_min,
        config.flip,
        config.masked,
        config.seed,
    )


def wording_of(config: ResolvedConfig) -> Wording:
    """What the run makes of captions."""
    return Wording(
        config.caption_prefix,
        config.caption_suffix,
        config.caption_lines == "choose",
        config.wildcards,
        config.shuffle_tags,
        config.keep_tags,
        config.tag_dropout,
        config.trigger or "",
    )


def _buckets(config: ResolvedConfig, side: int) -> Buckets:
    if not config.buckets:
        return square(side)
    scale = side / config.resolution
    smallest, largest = (round(limit * scale) for limit in (config.bucket_min, config.bucket_max))
    return Buckets(side, config.bucket_step, smallest, largest, config.upscale)


def _cache(base: Base, config: ResolvedConfig) -> LatentCache | None:
    return LatentCache(Path(config.workspace) / "cache" / "latents", base.vae) if config.cache == "disk" else None


def ready_validation(
    base: Base, config: ResolvedConfig, material: Material, *, encoder_trains: bool
) -> Validation | None:
    """The fixed draws that a run is judged by; None where nothing is held out."""
    if not material.holdout:
        return None
    viewing = Viewing((_buckets(config, config.resolution),))
    cache = _cache(base, config)
    return Validation(base, config, material, viewing, wording_of(config), cache, encoder_trains=encoder_trains)


def nothing_to_encode(config: ResolvedConfig, *, encoder_trains: bool) -> bool:
    """Whether the steps read no caption that was not encoded before the first of them."""
    return not encoder_trains and not wording_of(config).varies


def let_go(base: Base, config: ResolvedConfig, *, encoder_trains: bool) -> None:
    """Give back memory once everything is encoded: the VAE is left for previews alone, so the run's precision does for
    it, and a frozen text encoder is left for nothing, unless sample prompts are read anew from a file."""
    nn.Module.to(base.vae, usual_vae_dtype(base.family, PRECISIONS[config.precision]))
    if nothing_to_encode(config, encoder_trains=encoder_trains):
        for encoder in base.text_encoders:
            encoder.to("cpu" if isinstance(config.sample_prompts, str) else "meta")


def freed_bytes(base: Base, config: ResolvedConfig, device: torch.device, *, encoder_trains: bool) -> int:
    """What `let_go` would give back of this device's memory."""
    after = usual_vae_dtype(base.family, PRECISIONS[config.precision]).itemsize
    freed = sum(p.numel() * (p.itemsize - after) for p in base.vae.parameters())
    stays = device.type == "cpu" and isinstance(config.sample_prompts, str)
    if nothing_to_encode(config, encoder_trains=encoder_trains) and not stays:
        weights = (p for encoder in base.text_encoders for p in encoder.parameters())
        freed += sum(p.numel() * p.itemsize for p in weights if p.device.type == device.type)
    return freed


def _told(latents: Sequence[Latents], images: int) -> list[str]:
    """The buckets where there are several, and which images do not suit theirs; of the first resolution."""
    first, found = latents[:: len(latents) // images], []
    buckets = Counter(one.size for one in latents)
    if len(buckets) > 1:
        sizes = ", ".join(f"{width}x{height}: {n}" for (width, height), n in sorted(buckets.items()))
        found.append(f"buckets {sizes}")
    if cut := sum(one.lost > MUCH_LOST for one in first):
        found.append(f"{cut} of {images} images lose over a fifth of their area where they are cut to their bucket")
    if enlarged := sum(one.upscaled > 1 for one in first):
        found.append(f"{enlarged} of {images} images are smaller than their bucket: enlarged")
    return found
