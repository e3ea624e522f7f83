"""The picture of what a base can do: five rows of styles and backgrounds, eight columns of concepts, fixed seeds."""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont

from sdlora.files import write_atomically

CONCEPTS = ("red apple", "octopus", "cat face", "evergreen tree", "lady beetle", "bus", "rocket", "guitar")
ENDINGS = ("noto style", "twemoji style", "flat style", "fx style", "flat style, blue background")
CELL, LEFT, TOP = 128, 124, 22


def draw(base: Path, steps: int = 30, guidance: float = 4.0) -> Image.Image:
    """Every prompt once, at its column's seed, labelled; nothing is picked by hand."""
    pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, torch_dtype=torch.float32)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    rows = []
    for ending in ENDINGS:
        prompts = [f"{concept}, {ending}" for concept in CONCEPTS]
        seeds = [torch.Generator().manual_seed(column) for column in range(len(CONCEPTS))]
        rows.append(pipe(prompts, generator=seeds, num_inference_steps=steps, guidance_scale=guidance).images)
    return labelled(rows)


def labelled(rows: list[list[Image.Image]]) -> Image.Image:
    sheet = Image.new("RGB", (LEFT + CELL * len(CONCEPTS), TOP + CELL * len(ENDINGS)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, concept in enumerate(CONCEPTS):
        pen.text((LEFT + CELL * (column + 0.5), TOP / 2), concept, "black", font, anchor="mm")
    for row, (ending, images) in enumerate(zip(ENDINGS, rows, strict=True)):
        middle = (LEFT - 6, TOP + CELL * (row + 0.5))
        pen.text(middle, ending.replace(", ", ",\n"), "black", font, anchor="rm", align="right")
        for column, image in enumerate(images):
            sheet.paste(image, (LEFT + CELL * column, TOP + CELL * row))
    return sheet


def save(sheet: Image.Image, out: Path) -> None:
    palette = sheet.quantize(256, kmeans=4)
    small = sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)  # a third of the size; no bands
    write_atomically(out, lambda path: small.save(path, "PNG", optimize=True))
