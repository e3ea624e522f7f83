"""What any file must survive: it is opened, looked through, printed and written anew, or refused in one sentence."""

import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.inspection import inspect
from sdlora.adapters.summary import summarise
from sdlora.errors import Error
from sdlora.printed import show_inspection
from tests.adapters.mutations import Draft

FORBIDDEN = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "pickle.find_class",
    "socket.connect",
    "subprocess.Popen",
)
_watching = False


class CodeRan(Exception):
    """A file made the program do what no file may."""


def _audit(event, _):
    if _watching and event in FORBIDDEN:
        raise CodeRan(event)


@contextmanager
def nothing_runs():
    """Raises `CodeRan` where reading a file starts a program, opens a connection or unpickles a class."""
    global _watching
    if not getattr(sys, "_sdlora_audited", False):
        sys.addaudithook(_audit)  # can't be taken away again: one is enough
        sys._sdlora_audited = True
    _watching = True
    try:
        yield
    finally:
        _watching = False


def write(draft: Draft, folder: Path) -> Path:
    """The draft as a file, or as PEFT's folder where it has settings."""
    if draft.settings is None:
        path = folder / "a.safetensors"
        path.write_bytes(draft.file())
        return path
    path = folder / "peft"
    path.mkdir(exist_ok=True)
    (path / "adapter_config.json").write_text(json.dumps(draft.settings), encoding="utf-8", errors="surrogatepass")
    (path / "adapter_model.safetensors").write_bytes(draft.file())
    return path


def survive(path: Path) -> str:
    """ "refused", "partly" or "whole": what became of the file. Raises what should never have come out of it."""
    with nothing_runs():
        return _outcome(path)


def _outcome(path: Path) -> str:
    if path.is_file():
        json.dumps(vars(summarise(path))).encode()
    try:
        found = inspect(path)
    except Error as refusal:
        _check_sentence(str(refusal))
        return "refused"
    json.dumps(found.as_json()).encode()
    console = Console(file=io.StringIO(), width=100)
    show_inspection(found, console)
    assert "\x1b" not in console.file.getvalue(), "a file may not steer the terminal"
    for sentence in found.warnings:
        _check_sentence(sentence)
    _use(found.adapter, path.parent)
    return "whole" if found.adapter.report.complete else "partly"


def _use(adapter: Adapter, folder: Path) -> None:
    """Every update's change is finite or refused; a file written of them reads as the same."""
    for update in adapter.updates.values():
        shape = update.shape or (8, 6)
        if torch.Size(shape).numel() > 1_000_000:
            continue
        try:
            update.delta(torch.ones(shape))
        except Error as refusal:
            _check_sentence(str(refusal))
    try:
        save_adapter(adapter, folder / "again.safetensors", dtype=None)
    except Error as refusal:
        _check_sentence(str(refusal))
        return
    again = load_adapter(folder / "again.safetensors")
    assert again.updates.keys() == adapter.updates.keys()


def _check_sentence(sentence: str) -> None:
    sentence.encode()
    assert sentence and sentence.isprintable(), f"no sentence to print: {sentence!r}"
    assert len(sentence) < 2000, "no sentence that anybody reads"
