"""Changes to a folder of adapters: a file that comes in, another name. What is kept beside a file goes along."""

import shutil
from functools import partial
from pathlib import Path

from ..errors import Error
from ..files import is_safe_name, replace, size_text, write_atomically
from .library import SUFFIX
from .sidecar import companions

LARGEST_IMPORT = 4_000_000_000  # bytes; the largest honest adapters have 2 GB
PICKLED = (".pt", ".ckpt", ".bin")


def new_file(name: str, folder: Path) -> Path:
    """Where a new adapter of this name goes. Raises `Error` where the name can't be a file's, or is taken."""
    path = _named(name, folder)
    # asked of the folder, for where capitals make no difference the other name is taken too
    if path.exists():
        raise Error(f"There is an adapter {path.stem} already: give another name.")
    return path


def rename(adapter: Path, name: str) -> Path:
    """Give the file and what is kept beside it another name in the same folder. Raises `Error` as `new_file` does."""
    target = _named(name, adapter.parent)
    if target == adapter:
        return adapter
    if not _same_file(adapter, target):
        new_file(name, adapter.parent)
    renamed = {file: target.with_name(target.stem + _ending(file, adapter)) for file in companions(adapter)}
    if taken := next((new for file, new in renamed.items() if new.exists() and not _same_file(file, new)), None):
        raise Error(f"{taken.name} is there already: give another name.")
    replace(adapter, target)
    for file, new in renamed.items():
        replace(file, new)
    return target


def bring_in(upload: Path, name: str, folder: Path) -> Path:
    """Check a file from elsewhere and copy it into the folder as it is; pickled ones (.pt, .ckpt) become safetensors.

    The whole file is read, so that what lies in the folder can be used. Raises `Error` for what is no adapter, damaged,
    hostile or too large, and as `new_file` does.
    """
    from .formats import convert, load_adapter

    ending = upload.suffix.lower()
    if ending not in (SUFFIX, *PICKLED):
        raise Error(f"{name} is no adapter file: give one that ends in {SUFFIX}, .pt, .ckpt or .bin")
    size = upload.stat().st_size
    if size > LARGEST_IMPORT:
        raise Error(f"{name} has {size_text(size)}, more than an adapter: at most {size_text(LARGEST_IMPORT)} come in")
    target = new_file(name.removesuffix(upload.suffix), folder)
    try:
        if ending == SUFFIX:
            load_adapter(upload)
            write_atomically(target, partial(shutil.copyfile, upload))
        else:
            convert(upload, target)
    except Error as problem:
        raise Error(str(problem).replace(str(upload), name)) from None  # the user knows it by this name
    return target


def move_with_companions(adapter: Path, folder: Path) -> None:
    """Put the file and what is kept beside it into another folder, on another disk too."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*companions(adapter), adapter):  # the adapter last: where it is, all of it is
        shutil.move(file, folder / file.name)


def _named(name: str, folder: Path) -> Path:
    name = name.strip().removesuffix(SUFFIX)
    if not is_safe_name(name):
        raise Error(f"{name!r} can't be an adapter's name, for it becomes a file: use letters, digits, spaces, - and _")
    return folder / f"{name}{SUFFIX}"


def _ending(file: Path, adapter: Path) -> str:
    return file.name[len(adapter.stem) :]


def _same_file(one: Path, other: Path) -> bool:
    """Whether both are one file, as `Ink` and `ink` may be."""
    return one.exists() and other.exists() and one.samefile(other)
