"""How much an adapter helps on images that it was not trained on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .bases import load_base
from .data.folder import read_folder
from .data.latents import Viewing
from .data.sample import holdout_beside
from .devices import pick_device
from .mixing import Mixer
from .precision import PRECISIONS, fastest_dtype
from .training.holdout import Holdout
from .training.learned_tokens import tokens_put
from .training.loss import Denoiser


@dataclass(frozen=True)
class Evaluation:
    """Unweighted denoising losses over `draws` fixed draws; `improvement` is the share by which the adapter's is lower.

    The bands are ten equal parts of the noise schedule, least noise first.
    """

    base_loss: float
    adapter_loss: float
    improvement: float
    images: int
    draws: int
    seed: int
    folder: str
    precision: str
    base_bands: tuple[float, ...]
    adapter_bands: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """For people."""
        lines = [f"{self.images} images of {self.folder}, {self.draws} draws, seed {self.seed}, {self.precision}"]
        lines.append(f"{'timesteps':>12} {'base':>8} {'adapter':>8} {'change':>8}")
        rows = [("all", self.base_loss, self.adapter_loss)]
        for i, (before, after) in enumerate(zip(self.base_bands, self.adapter_bands, strict=True)):
            rows.append((f"{i * 100}-{i * 100 + 99}", before, after))
        lines += [f"{name:>12} {before:8.4f} {after:8.4f} {after / before - 1:+8.1%}" for name, before, after in rows]
        return "\n".join(lines)


def evaluate(
    adapter: str | Path,
    images: str | Path,
    base: str = "mini",
    *,
    weight: float = 1.0,
    trigger: str | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    prediction_type: str | None = None,
    zero_terminal_snr: bool | None = None,
) -> Evaluation:
    """Compare the held-out loss with and without an adapter: the same images, captions, timesteps and noise for both.

    Where `images` has a `holdout` folder in it, that is what is read. Raises `Error` for what can't be read or does
    not fit.
    """
    where = pick_device(device)
    dtype = fastest_dtype(where) if precision == "auto" else PRECISIONS[precision]
    folder = holdout_beside(images) or images
    examples = read_folder(folder, trigger).examples
    loaded = load_base(base, device=where, prediction_type=prediction_type, zero_terminal_snr=zero_terminal_snr)
    mixer = Mixer(loaded)
    mixer.set({str(adapter): weight})  # refused now, if it is to be refused, not after the first half
    mixer.clear()
    viewing = Viewing.square(loaded.resolution)
    holdout = Holdout(loaded, examples, viewing, seed=seed, encoder_trains=True)
    for module in (loaded.unet, *loaded.text_encoders):
        nn.Module.to(module, dtype)  # diffusers' own `to` warns without a reason
    denoiser = Denoiser(loaded)
    before = holdout.measure(denoiser, where)
    mixer.set({str(adapter): weight})
    ((found, _),) = mixer.adapters
    if found.tokens:
        with tokens_put(loaded, found.tokens, found.tokens_2):
            after = Holdout(loaded, examples, viewing, seed=seed, encoder_trains=True).measure(denoiser, where)
    else:
        after = holdout.measure(denoiser, where)
    return Evaluation(
        before.loss,
        after.loss,
        1 - after.loss / before.loss,
        len(examples),
        holdout.draws,
        seed,
        str(folder),
        next(name for name, d in PRECISIONS.items() if d == dtype),
        before.bands,
        after.bands,
    )
