"""The command as a user runs it, in this process."""

import json
import sys
from dataclasses import dataclass

import pytest

from sdlora.adapters import save_adapter
from sdlora.cli import main
from tests.adapters.made import ATTENTION, random_adapter


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def sdlora(monkeypatch, capsys, tmp_path):
    """`sdlora("list", folder)` runs the command in an empty folder and gives its exit code and what it printed."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SDLORA_CACHE", str(tmp_path / "cache"))

    def run(*words):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["sdlora", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def library(tmp_path, mini):
    """adapters/ of a workspace with `ink` and `oil`, both for mini."""
    folder = tmp_path / "workspace" / "adapters"
    folder.mkdir(parents=True)
    for seed, name in enumerate(["ink", "oil"]):
        adapter = random_adapter(mini, ATTENTION, name=name, seed=seed)
        adapter.metadata |= {"modelspec.trigger_phrase": f"in {name} style", "ss_output_name": name}
        save_adapter(adapter, folder / f"{name}.safetensors", dtype="fp32")
    return folder


@pytest.fixture
def workspace(library):
    """Options that name the workspace."""
    return ("--workspace", library.parent)
