"""The first picture after the start: a process that imports, loads mini and an adapter, and draws; ours, diffusers."""

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from sdlora import load_base
from tests.adapters.made import ATTENTION

from .mixed_by_diffusers import adapter_files
from .slider_speed import seconds

PROMPT, STEPS = "octopus, flat style, blue background", 4
SDLORA = f"""
import sys
from sdlora import Mixer, load_base
mixer = Mixer(load_base("mini"))
mixer.set({{sys.argv[1]: 1.0}})
mixer.generate({PROMPT!r}, seed=1, steps={STEPS}, guidance=1.0, sampler="DDIM")
"""
DIFFUSERS = f"""
import sys
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from sdlora.resources import MINI
pipeline = StableDiffusionPipeline.from_pretrained(MINI, safety_checker=None, local_files_only=True)
pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
pipeline.set_progress_bar_config(disable=True)
pipeline.load_lora_weights(sys.argv[1], adapter_name="a0")
side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
generator = torch.Generator().manual_seed(1)
pipeline({PROMPT!r}, num_inference_steps={STEPS}, guidance_scale=1.0, width=side, height=side, generator=generator)
"""


def start_times(rounds: int) -> dict[str, list[float]]:
    """Seconds of each one's whole processes, taken in turn, after one of each that warms the disk's cache."""
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        (file,) = adapter_files(load_base("mini"), ATTENTION, 1, Path(folder))
        for n in range(rounds + 1):
            for name, program in (("sdlora", SDLORA), ("diffusers", DIFFUSERS)):
                command = [sys.executable, "-W", "ignore", "-c", program, str(file)]
                taken = seconds(lambda command=command: subprocess.run(command, check=True, stderr=subprocess.PIPE))
                if n:
                    times[name].append(taken)
    return times
