"""A folder with 40 faults, each planted by a line that says what it is."""

import hashlib
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def scene(seed: int, size: tuple[int, int] = (160, 160)) -> Image.Image:
    """A coloured picture unlike those of other seeds."""
    chance = np.random.default_rng(seed)
    image = Image.new("RGB", (160, 160), tuple(int(c) for c in chance.integers(0, 255, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        left, top, width, height = (int(side) for side in chance.integers((0, 0, 15, 15), (140, 140, 80, 80)))
        pen.ellipse((left, top, left + width, top + height), fill=tuple(int(c) for c in chance.integers(0, 255, 3)))
    return image.resize(size)


def hashes(folder: Path) -> dict[str, str]:
    """Every name below a folder, with what is there: bytes, target of a link, or that it is a folder."""
    found = {}
    for here, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(here, name)
            if path.is_symlink():
                found[str(path)] = f"-> {path.readlink()}"
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "folder" if path.is_dir() else "other"
    return found


class Planter:
    """Writes images and captions; `faults` are (place, kind) that the doctor has to name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[tuple[str, str]] = []
        self._seed = 0

    def picture(self, name: str, caption: str | None = "a thing, clay style", **options) -> Path:
        """A sound picture with its caption."""
        self._seed += 1
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = options.pop("image", None) or scene(self._seed, options.pop("size", (160, 160)))
        image.save(path, options.pop("format", None), **options)
        if caption is not None:
            path.with_suffix(".txt").write_text(f"{self._seed} {caption}" if caption else "", encoding="utf-8")
        return path

    def write(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def fault(self, kind: str, place: str) -> None:
        self.faults.append((place, kind))


def plant(parent: Path) -> Planter:
    """Make the folder `3_faults` with 8 sound pictures and 40 faults."""
    at = Planter(parent / "3_faults")
    for number in range(8):
        at.picture(f"sound-{number}.png")
    _files(at)
    _pictures(at)
    _texts(at)
    _metadata(at)
    _folders(at)
    assert len(at.faults) == 40 and len(set(at.faults)) == 40
    return at


def _files(at: Planter) -> None:
    at.write("empty.png", b"")
    at.fault("empty-file", "empty.png")
    whole = at.picture("cut.jpg", quality=95).read_bytes()
    at.write("cut.jpg", whole[: len(whole) // 2])
    at.fault("truncated", "cut.jpg")
    at.write("words.png", b"this is no picture at all")
    at.fault("no-picture", "words.png")
    at.write("bomb.png", _bomb(40_000, 40_000))
    at.fault("too-large", "bomb.png")
    (at.root / "gone.png").symlink_to(at.root / "nowhere.png")
    at.fault("broken-link", "gone.png")
    at.picture("phone.heic", format="PNG")
    at.fault("format-not-read", "phone.heic")
    at.picture("scan.tiff", None)
    at.fault("format-not-read", "scan.tiff")
    at.picture(".secret.png", None)
    at.fault("hidden", ".secret.png")
    at.write("notes.docx", b"PK")
    at.fault("not-used", "notes.docx")
    at.picture("Füchse.png")
    at.fault("non-ascii-name", "Füchse.png")
    at.picture("Bear.png")
    at.picture("bear.png")
    at.fault("case-collision", "Bear.png")
    at.picture("con.png")
    at.fault("windows-name", "con.png")


def _pictures(at: Planter) -> None:
    at.picture("really-a.png", format="JPEG")
    at.fault("wrong-extension", "really-a.png")
    at.picture("speck.png", size=(24, 24))
    at.fault("tiny", "speck.png")
    at.picture("small.png", size=(80, 80))
    at.fault("upscaled", "small.png")
    at.picture("long.png", size=(900, 130))
    at.fault("extreme-shape", "long.png")
    at.picture("wide.png", size=(900, 170))
    at.fault("much-lost", "wide.png")
    glass = scene(900).convert("RGBA")
    glass.paste((0, 0, 0, 0), (0, 0, 80, 160))
    at.picture("glass.png", image=glass)
    at.fault("alpha", "glass.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    at.picture("lying.jpg", exif=exif)
    at.fault("rotated", "lying.jpg")
    at.picture("grey.png", image=scene(901).convert("L"))
    at.fault("greyscale", "grey.png")
    at.picture("print.jpg", image=scene(902).convert("CMYK"))
    at.fault("cmyk", "print.jpg")
    at.picture("deep.png", image=Image.fromarray(np.asarray(scene(903).convert("L")).astype(np.uint16) * 257))
    at.fault("sixteen-bit", "deep.png")
    at.picture("moving.webp", image=scene(904), save_all=True, append_images=[scene(905)])
    at.fault("animated", "moving.webp")
    at.picture("white.png", image=Image.new("RGB", (160, 160), "white"))
    at.fault("blank", "white.png")
    at.picture("copy.png", image=Image.open(at.root / "sound-0.png"))
    at.fault("duplicate", "sound-0.png")
    at.picture("again.jpg", image=Image.open(at.root / "sound-1.png").resize((120, 120)), quality=70)
    at.fault("near-duplicate", "sound-1.png")
    at.picture("holdout/leaked.png", image=Image.open(at.root / "sound-2.png"))
    at.fault("leak", "sound-2.png")
    at.picture("sound-3-mask.png", None, image=Image.new("L", (160, 160), 0))
    at.fault("mask-black", "sound-3-mask.png")
    at.picture("sound-4-mask.png", None, image=Image.new("L", (50, 50), 255))
    at.fault("mask-size", "sound-4-mask.png")


def _texts(at: Planter) -> None:
    at.picture("mute.png", None)
    at.fault("no-caption", "mute.png")
    at.picture("hollow.png", "")
    at.fault("empty-caption", "hollow.txt")
    at.picture("wide-letters.png", None)
    at.write("wide-letters.txt", "ein Würfel, clay style".encode("utf-16"))
    at.fault("caption-not-utf8", "wide-letters.txt")
    at.write("sound-5.png.txt", b"a thing")
    at.fault("orphan-caption", "sound-5.png.txt")
    at.picture("twice.png", "one thing, clay style")
    at.write("twice.caption", b"another thing, clay style")
    at.fault("two-captions", "twice.png")
    at.picture("endless.png", "clay style, " + ", ".join(f"thing number {n}" for n in range(40)))
    at.fault("over-context", "endless.png")


def _metadata(at: Planter) -> None:
    rows = ["{not json", json.dumps({"file_name": "sound-6.png", "weight": "heavy"})]
    at.write("metadata.jsonl", "\n".join([*rows, json.dumps({"file_name": "lost.png", "text": "x"})]).encode())
    at.fault("metadata-not-json", "metadata.jsonl, line 1")
    at.fault("metadata-bad-weight", "metadata.jsonl, line 2")


def _folders(at: Planter) -> None:
    at.picture("0_never/a.png")
    at.fault("no-repeats", "0_never")
    at.picture("20240131_trip/b.png")
    at.fault("many-repeats", "20240131_trip")
    at.fault("kohya-leaf", "")


def _bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes whose header asks for 1.6 billion pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
