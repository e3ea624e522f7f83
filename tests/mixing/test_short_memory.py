"""Pictures in short memory: on a device of its own the same, whole, part by part, and when memory ran out midway."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from sdlora.adapters import save_adapter
from sdlora.bases.random_base import random_base
from sdlora.mixing import Mixer
from sdlora.sampling.recipe import SecondPass
from tests.adapters.made import ATTENTION, TEXT_ATTENTION, random_adapter
from tests.second_device import second_device

TIMED = {"unet": 0.7, "text": 0.4, "start": 0.4}
PICTURE = Image.new("RGB", (64, 96), "red")


class Fails:
    """Runs out of memory once, after the first step."""

    def __init__(self):
        self.failed = False

    def __call__(self, step):
        if not self.failed and step.index == 1:
            self.failed = True
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("family", "weights", "mode", "more"),
    [
        ("mini", [0.7, 0.5], "blend", {"image": PICTURE, "strength": 0.7}),
        ("mini", [TIMED, 0.5], "switch", {}),
        pytest.param("sdxl", [TIMED, 0.5], "blend", {"second_pass": SecondPass(1.5, 0.5)}, marks=pytest.mark.slow),
        pytest.param("sdxl", [0.7, 0.5], "composite", {}, marks=pytest.mark.slow),
    ],
)
def test_the_same_picture_wherever_the_parts_are(family, weights, mode, more, mini, tmp_path):
    base = copy.deepcopy(mini) if family == "mini" else random_base(family, seed=5, narrow=True)
    pattern = f"{ATTENTION}|{TEXT_ATTENTION}"
    files = [
        save_adapter(random_adapter(base, pattern, seed=seed), tmp_path / f"{seed}.safetensors") for seed in (1, 2)
    ]
    said = []
    mixer = Mixer(base, say=said.append)
    mixer.set({str(file): weight for file, weight in zip(files, weights, strict=True)}, mode)

    def draw(on_step=None):
        settings = {"seed": 3, "steps": 3, "guidance": 4.0, "size": (64, 96), "sampler": "Euler a"}
        (drawn,) = mixer.generate("a fox", "red", **settings, **more, on_step=on_step)
        return np.asarray(drawn.image, dtype=float)

    on_cpu = draw()
    with second_device() as device, torch.no_grad():
        base.to(device)
        whole = draw()
        after_failure = draw(Fails())
        assert len(said) == 1 and "ran out" in said[0]
        assert base.device == device and base.visited is None
        base.to("cpu")
        base.visited = device
        in_turn = draw()
        base.to("cpu")
    assert np.array_equal(whole, in_turn) and np.array_equal(whole, after_failure)
    assert np.abs(whole - on_cpu).max() <= 2  # another attention kernel
