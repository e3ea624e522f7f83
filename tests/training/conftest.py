"""Small trainings on mini: a few images of 64 pixels, a few modules, no measuring of kernels and precision."""

import pytest
from PIL import Image, ImageDraw

from sdlora.training.config import TrainConfig
from tests import forked

COLOURS = ("red", "green", "blue", "orange", "purple", "black")


def draw_images(folder, colours=COLOURS, side=64):
    """A folder of discs with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, colour in enumerate(colours):
        image = Image.new("RGB", (side, side), "white")
        ImageDraw.Draw(image).ellipse((8 + index, 8, side - 12, side - 8 - index), fill=colour)
        image.save(folder / f"{colour}-{index}.png")
        (folder / f"{colour}-{index}.txt").write_text(f"{colour} disc", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Six discs to train on, and two to hold out that training does not take by itself."""
    root = tmp_path_factory.mktemp("discs")
    draw_images(root / "holdout", ("yellow", "brown"))
    return draw_images(root / "discs")


@pytest.fixture(scope="session")
def small(images):
    """Settings of a training that takes seconds: `small(workspace, steps=3, …)`."""

    def settings(workspace, **changes):
        values = {
            "name": "disc",
            "images": images,
            "workspace": workspace,
            "resolution": 64,
            "batch_size": 2,
            "steps": 3,
            "rank": 4,
            "prior_preservation": 0.0,
            "alpha": 4.0,
            "targets": ["unet.mid_block", "text_encoder.text_model.encoder.layers.0"],
            "learning_rate": 1e-3,
            "text_encoder_learning_rate": 1e-3,
            "schedule": "constant",
            "warmup": 0,
            "weight_decay": 0.01,
            "precision": "fp32",
            "attention": "sdpa",
            "device": "cpu",
            "checkpoint_every": 100,
            "sample_prompts": [],
            "save_dtype": "fp32",
            "seed": 5,
        }
        return TrainConfig(**(values | changes))

    return settings


@pytest.fixture(scope="session")
def processes():
    """How to start a process that can be killed."""
    return forked.processes()
