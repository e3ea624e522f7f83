"""Captions of tags by an ONNX tagger in the layout of SmilingWolf's WD14: `model.onnx` and `selected_tags.csv`."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import Error
from .subjects import Subject, Wanted, fitting

MODEL, TAGS = "model.onnx", "selected_tags.csv"
GENERAL, CHARACTER = "0", "4"  # categories of Danbooru; 9 is the rating, which says nothing of the picture
SURE_OF_A_NAME = 0.85


class Tagger:
    """Names what it sees, the surest first."""

    def __init__(self, session: Any, tags: list[tuple[str, str]], threshold: float) -> None:
        self._session, self._tags, self._threshold = session, tags, threshold
        self._input = session.get_inputs()[0]

    @classmethod
    def load(cls, folder: Path, threshold: float = 0.35) -> "Tagger":
        """From a folder with both files. Raises `Error` where onnxruntime or a file is missing, or they do not fit."""
        try:
            import onnxruntime
        except ImportError:
            raise Error("A tagger needs onnxruntime: install it with  pip install 'sdlora[tag]'") from None
        for name in (MODEL, TAGS):
            if not (folder / name).is_file():
                raise Error(f"{folder} is no tagger: {name} is missing.")
        try:
            session = onnxruntime.InferenceSession(str(folder / MODEL), providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's own kinds of errors
            raise Error(f"{folder / MODEL} could not be read: {' '.join(str(problem).split())[:200]}") from problem
        shape, outputs = session.get_inputs()[0].shape, session.get_outputs()[0].shape
        tags = _read_tags(folder / TAGS)
        if len(shape) != 4 or shape[3] != 3 or outputs[-1] != len(tags):
            sizes = f"its input is {shape}, its output {outputs}, its tags {len(tags)}"
            raise Error(f"{folder} is no tagger of WD14's kind: {sizes}.")
        return cls(session, tags, threshold)

    def describe(self, image: Image.Image, wanted: Wanted) -> str:
        """Tags for an RGB image, separated by commas; of a character neither its name nor its traits."""
        chances = self._session.run(None, {self._input.name: self._pixels(image)})[0][0]
        found = sorted(zip(chances, self._tags, strict=True), key=lambda pair: -pair[0])
        sure = [name for chance, (name, kind) in found if self._says(float(chance), kind, wanted.subject)]
        return ", ".join(fitting(sure, wanted.subject))

    def _says(self, chance: float, kind: str, subject: Subject) -> bool:
        if kind == CHARACTER:
            return subject != "character" and chance >= max(SURE_OF_A_NAME, self._threshold)
        return kind == GENERAL and chance >= self._threshold

    def _pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """(1, side, side, 3), BGR from 0 to 255, on a white square: what these models were trained on."""
        side = self._input.shape[1] if isinstance(self._input.shape[1], int) else 448
        square = Image.new("RGB", (max(image.size),) * 2, "white")
        square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
        pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
        return np.ascontiguousarray(pixels[None, :, :, ::-1])


def _read_tags(path: Path) -> list[tuple[str, str]]:
    """(name, category) of each output."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"name", "category"} <= rows[0].keys():
        raise Error(f"{path} is no list of tags: it needs the columns `name` and `category`.")
    return [(_spaced(row["name"]), row["category"]) for row in rows]


def _spaced(name: str) -> str:
    """`long_hair` -> `long hair`; faces such as `^_^` stay as they are."""
    return name.replace("_", " ") if sum(letter.isalpha() for letter in name) > 2 else name
