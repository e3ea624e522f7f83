"""Which attention kernel is faster here: the fused one, or softmax(QKᵀ)V written out.

On CPUs the fused kernel's backward can take twice as long as the whole written-out attention; on GPUs it wins.
"""

import time

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

PROCESSORS = {"sdpa": AttnProcessor2_0, "plain": AttnProcessor}
LARGEST_MATRIX = 2**29  # bytes of attention weights above which writing them out costs more memory than it can save
REPETITIONS = 3


def fastest_attention(
    unet: UNet2DConditionModel, batch: int, side: int, dtype: torch.dtype, device: torch.device
) -> tuple[str, str]:
    """`sdpa` or `plain`, and why: forward and backward of the UNet's widest self-attention, over (batch, side²) tokens,
    are timed."""
    layer = next(m for name, m in unet.named_modules() if name.endswith("attn1") and isinstance(m, Attention))
    tokens = side * side
    if batch * layer.heads * tokens * tokens * 4 > LARGEST_MATRIX:
        return "sdpa", f"{tokens} × {tokens} attention weights, written out, would take too much memory"
    probe = Attention(layer.query_dim, heads=layer.heads, dim_head=layer.inner_dim // layer.heads).to(device, dtype)
    probe.requires_grad_(False)
    times: dict[str, list[float]] = {name: [] for name in PROCESSORS}
    for _ in range(REPETITIONS):
        for name, processor in PROCESSORS.items():
            probe.set_processor(processor())
            times[name].append(_forward_and_backward(probe, (batch, tokens, layer.query_dim), dtype, device))
    best = {name: min(values) for name, values in times.items()}
    name = min(best, key=lambda key: best[key])
    measured = ", ".join(f"{key} {1000 * value:.1f} ms" for key, value in best.items())
    return name, f"the faster at {tokens} tokens ({measured})"


def use_attention(unet: UNet2DConditionModel, name: str) -> None:
    """Have every attention layer of the UNet use this kernel."""
    unet.set_attn_processor(PROCESSORS[name]())


def _forward_and_backward(
    layer: Attention, shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> float:
    # ones, not random numbers: a measurement must not move the caller's random state
    hidden = torch.ones(shape, dtype=dtype, device=device, requires_grad=True)
    _wait_for(device)
    start = time.perf_counter()
    layer(hidden).sum().backward()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
