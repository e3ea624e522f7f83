"""What a base's UNet predicts, the noise (epsilon) or the velocity (v), and how that was found out."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from sdlora.bases.base import PREDICTION_TYPES, Base, PredictionType
from sdlora.errors import Error
from sdlora.precision import fastest_dtype

ZERO_TERMINAL_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}  # as diffusers' schedulers say it
PROBE_SIDE = 32  # latent pixels: small enough for a CPU, large enough for four levels
PROBE_SEED = 0


class Prediction(NamedTuple):
    type: PredictionType
    reason: str


def checked(asked: str) -> PredictionType:
    """A user's word for the prediction type, or an `Error` that names the two there are."""
    for known in PREDICTION_TYPES:
        if asked == known:
            return known
    raise Error(f"prediction_type is {asked!r}; it can be {' or '.join(PREDICTION_TYPES)}.")


def stated_in_file(keys: Iterable[str], metadata: Mapping[str, str]) -> Prediction | None:
    """What a single file says of itself: the empty tensors `v_pred` and `ztsnr` that v-prediction SDXL models carry,
    or the metadata entry `modelspec.prediction_type` (github.com/Stability-AI/ModelSpec). None when it says nothing.
    """
    # With a zero terminal SNR the noise alone says nothing of the picture, so such a model can't predict epsilon.
    for key in ("v_pred", "ztsnr"):
        if key in keys:
            return Prediction("v_prediction", f"the file's {key} key")
    stated = metadata.get("modelspec.prediction_type", "").lower()
    if stated in ("v", "v_prediction", "v-prediction", "epsilon"):
        return Prediction("epsilon" if stated == "epsilon" else "v_prediction", "the file's modelspec.prediction_type")
    return None


@torch.no_grad()
def probe(base: Base) -> Prediction:
    """Look at one step: give the UNet pure noise at the last timestep, and correlate its answer with that noise.

    There the picture's share is 7 % (ᾱ = 0.0047), so an epsilon UNet can only give the noise back: correlation near 1.
    The velocity √ᾱ·ε − √(1−ᾱ)·x₀ is mostly the guessed picture, negative: correlation near 0. Half is the border.
    Limits: it says nothing of a zero terminal SNR, and an untrained UNet answers like one that predicts v.
    """
    generator = torch.Generator().manual_seed(PROBE_SEED)
    noise = torch.randn(1, base.unet.config["in_channels"], PROBE_SIDE, PROBE_SIDE, generator=generator)
    last = base.scheduler_config["num_train_timesteps"] - 1
    with _quick(base):
        context, added = _empty_prompt(base)
        given = noise.to(base.device, base.dtype)
        answer = base.unet(given, last, encoder_hidden_states=context, added_cond_kwargs=added).sample.float().cpu()
    correlation = torch.corrcoef(torch.stack([noise.flatten(), answer.flatten()]))[0, 1].item()
    found: PredictionType = "epsilon" if correlation > 0.5 else "v_prediction"
    return Prediction(found, f"a one-step probe: on pure noise its output correlates {correlation:.2f} with that noise")


@contextmanager
def _quick(base: Base) -> Iterator[None]:
    """Within it, a base on a CPU is in a precision that this CPU is fast in; fp32 holds all others' numbers."""
    dtype = base.dtype
    slow = base.device.type == "cpu" and dtype not in (torch.float32, fastest_dtype("cpu"))
    networks = [base.unet, *base.text_encoders] if slow else []
    for network in networks:
        nn.Module.to(network, torch.float32)
    yield
    for network in networks:
        nn.Module.to(network, dtype)


def _empty_prompt(base: Base) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The prompt "" as the UNet takes it: (1, tokens, width); for sdxl the pooled embedding and picture sizes too."""
    states, pooled = [], None
    for tokenizer, encoder in zip(base.tokenizers, base.text_encoders, strict=True):
        ids = tokenizer("", padding="max_length", truncation=True, return_tensors="pt").input_ids.to(base.device)
        output = encoder(ids, output_hidden_states=True)
        states.append(output.hidden_states[-2] if base.family == "sdxl" else output.last_hidden_state)
        pooled = output[0]
    if base.family != "sdxl" or pooled is None:
        return torch.cat(states, dim=-1), {}
    side = float(base.resolution)
    sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=base.device, dtype=base.dtype)
    return torch.cat(states, dim=-1), {"text_embeds": pooled, "time_ids": sizes}


def set_zero_terminal_snr(base: Base, on: bool) -> None:
    """Have the noise schedule end with noise alone, its betas rescaled (Lin et al., 2023, arXiv:2305.08891), or not.

    Raises `Error` for a base that predicts the noise: where nothing else is left, it says nothing of the picture.
    """
    if on and base.prediction_type == "epsilon":
        raise Error(
            f"zero_terminal_snr needs a base that predicts v, and {base.path} predicts the noise (epsilon): leave it "
            "out, or give prediction_type = v_prediction if that is what the base does"
        )
    base.scheduler_config |= ZERO_TERMINAL_SNR if on else {"rescale_betas_zero_snr": False}


def settle(base: Base, prediction: Prediction) -> None:
    """Write the prediction type where everybody reads it."""
    base.prediction_type, base.prediction_reason = prediction
    base.scheduler_config["prediction_type"] = prediction.type
