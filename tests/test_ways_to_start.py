"""The notebook and the image start what there is: their commands are taken, and no file that they need is left out."""

import ast
import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from sdlora.cli import cli

ROOT = Path(__file__).parents[1]
CELLS = [
    "".join(cell["source"])
    for cell in json.loads((ROOT / "notebooks" / "colab.ipynb").read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def taken(words: list[str]) -> dict[str, object]:
    """The settings of a command line, as click understands it."""
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, words
    return command.make_context(words[0], words[1:]).params


def test_the_image_serves_its_volume_to_others():
    started = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    settings = taken(started)
    assert settings["workspace"] == re.search(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)[1]
    assert settings["host"] == "0.0.0.0"
    assert f"EXPOSE {settings['port']}\n" in DOCKERFILE and f":{settings['port']}/healthz" in DOCKERFILE


@pytest.mark.parametrize(
    "name",
    ["pyproject.toml", "constraints.txt", "README.md", "tools/setup_env.py", "sdlora", "ui", "configs", "datasets"],
)
def test_the_image_lacks_nothing_that_set_up_needs(name):
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert (ROOT / name).exists() and not any(fnmatch(name.split("/")[0], pattern) for pattern in left_out)


def test_the_notebook_shares_the_workspace_of_the_drive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"password": "secret"}
    exec(compile(ast.parse(CELLS[0]), "the first cell", "exec"), names)
    assert (tmp_path / "workspace").is_dir()  # not on Colab
    [line] = [line for line in CELLS[2].splitlines() if line.startswith("!")]
    plain = "\n".join(line for line in CELLS[2].splitlines() if not line.startswith("!"))
    exec(compile(ast.parse(plain.replace('password = ""', 'password = "secret"')), "the last cell", "exec"), names)
    written = re.sub(r"\{(.*?)\}(?=\s|$|\")", lambda found: str(eval(found[1], names)), line.removeprefix("!"))
    program, *words = shlex.split(written)
    settings = taken(words)
    assert (program, settings["workspace"], settings["share"]) == ("sdlora", "workspace", True)
    assert settings["password"] == "secret"
