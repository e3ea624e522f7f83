"""Our training step, as `sdlora train` runs it, and the floor beneath it."""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from PIL import Image

from sdlora.bases import Base
from sdlora.precision import PRECISIONS
from sdlora.training.config import ResolvedConfig, TrainConfig
from sdlora.training.defaults import resolve
from sdlora.training.interrupts import Interrupts
from sdlora.training.material import Material, gather
from sdlora.training.preparation import ready_base
from sdlora.training.prepared import prepare
from sdlora.training.progress import Reporter
from sdlora.training.run_folder import RunFolder
from sdlora.training.trainer import Trainer

CPU = torch.device("cpu")


def one_picture(folder: Path, resolution: int) -> Material:
    """A data set of one picture with its caption."""
    Image.effect_mandelbrot((resolution, resolution), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(folder / "image.png")
    (folder / "image.txt").write_text("a red apple, flat style", encoding="utf-8")
    return gather(TrainConfig(name="benchmark", images=str(folder)))


def our_config(base: Base, material: Material, folder: Path, resolution: int, rank: int) -> ResolvedConfig:
    """Batch 1 with the attention adapted; precision and attention kernel are measured as in `sdlora train`."""
    config = TrainConfig(
        name="benchmark",
        images=str(folder),
        workspace=str(folder),
        device="cpu",
        steps=1000,
        batch_size=1,
        resolution=resolution,
        rank=rank,
        alpha=rank,
        targets=["attention"],
    )
    return resolve(config, base, material, CPU, processes=1)[0]


def our_trainer(base: Base, config: ResolvedConfig, material: Material, *, compiled: bool) -> Trainer:
    """A run of our own trainer, ready for its first step."""
    config = config.model_copy(update={"compile": compiled})
    plugin = GradientAccumulationPlugin(num_steps=config.gradient_accumulation)
    accelerator = Accelerator(cpu=True, gradient_accumulation_plugin=plugin)
    run, reporter = RunFolder.create(config), Reporter(visible=False)
    ready = prepare(config, base, material, run, accelerator, reporter)
    return Trainer(config, ready, run, accelerator, reporter, Interrupts(reporter))


def floor_step(base: Base, config: ResolvedConfig) -> Callable[[], None]:
    """Two forwards of the frozen UNet, made ready as for our training (dtype, layout, kernels), and never compiled.

    No training step that goes back through the network costs less.
    """
    ready_base(base, config, CPU, encoder_trains=False)
    dtype, side = PRECISIONS[config.precision], config.resolution // base.vae_factor
    noisy = torch.randn(1, base.unet.config.in_channels, side, side, dtype=dtype)
    noisy = noisy.to(memory_format=torch.channels_last)
    context = torch.randn(1, base.tokenizers[0].model_max_length, base.unet.config.cross_attention_dim, dtype=dtype)
    timestep = torch.tensor([500])

    @torch.no_grad()
    def step() -> None:
        for _ in range(2):
            base.unet(noisy, timestep, context)

    return step
