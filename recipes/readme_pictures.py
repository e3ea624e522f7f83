"""docs/hero.png, the README's first picture: `python -m recipes.readme_pictures ADAPTER [--dataset …]`.

Four training images, then one prompt and one seed on mini without and with the adapter.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sdlora import Mixer, load_base
from sdlora.data import cut, open_image, read_folder, sample_facts

CELL, GAP = 176, 8
TARGET = Path(__file__).parent.parent / "docs" / "hero.png"


def pictures(adapter: str, dataset: str, prompt: str, seed: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Four images that were trained on; the base's picture and the adapter's."""
    examples = read_folder(f"sample:{dataset}").examples
    four = [cut(open_image(e.path), (CELL, CELL)) for e in examples[:: len(examples) // 4][:4]]
    facts = sample_facts(f"sample:{dataset}")
    mixer = Mixer(load_base("mini"))
    drawn = []
    for mix in ({}, {adapter: 1.0}):
        mixer.set(mix)
        drawn.append(mixer.generate(f"{prompt}, {facts.trigger if facts else ''}", seed=seed)[0].image)
    return four, [picture.resize((CELL, CELL), Image.Resampling.LANCZOS) for picture in drawn]


def sheet(four: list[Image.Image], drawn: list[Image.Image]) -> Image.Image:
    """All six in a row, an arrow between what was learned from and what came of it."""
    wide = CELL // 4
    paper = Image.new("RGB", (6 * (CELL + GAP) + GAP + wide, CELL + 3 * GAP + 20), "white")
    pen = ImageDraw.Draw(paper)
    labels = ("training images", "", "", "", "without", "with the adapter")
    for i, (picture, label) in enumerate(zip([*four, *drawn], labels, strict=True)):
        left = GAP + i * (CELL + GAP) + (wide if i >= len(four) else 0)
        paper.paste(picture, (left, GAP))
        pen.text((left, CELL + 2 * GAP), label, fill="#333333", font=ImageFont.load_default(size=16))
    x, y = GAP + len(four) * (CELL + GAP) + (wide - GAP) // 2, GAP + CELL // 2
    pen.line((x - 12, y, x + 10, y), fill="#555555", width=3)
    pen.polygon(((x + 4, y - 8), (x + 16, y), (x + 4, y + 8)), fill="#555555")
    return paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter")
    parser.add_argument("--dataset", default="ink")
    parser.add_argument("--prompt", default="red apple")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    TARGET.parent.mkdir(exist_ok=True)
    sheet(*pictures(given.adapter, given.dataset, given.prompt, given.seed)).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
