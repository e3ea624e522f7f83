"""Imports point one way, and what is imported is declared."""

import ast
import re
import sys
import tomllib
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "sdlora").rglob("*.py"), *(ROOT / "ui").rglob("*.py")])

# ui -> training, mixing -> sampling, data -> bases -> adapters. A room may import from those of a lower number, and
# from its own. What lies right in sdlora/ is open to all, but for the two ends of the line: the API and the commands.
HEIGHT = {"adapters": 0, "bases": 1, "data": 2, "sampling": 2, "training": 3, "mixing": 3, "sharing": 4, "ui": 5}
FOR_ALL = {"devices", "errors", "files", "pictures", "precision", "resources", "version"}
DISTRIBUTION = {"PIL": "pillow"}


def imports(file):
    """The dotted names that a file imports anywhere, functions included; relative ones made absolute."""
    package = ".".join(file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def room(dotted):
    """The room that a dotted name of ours lies in: `adapters`, `ui`, a file right in sdlora/, or "" for the API."""
    parts = dotted.split(".")
    return "ui" if parts[0] == "ui" else parts[1] if len(parts) > 1 else ""


def room_of(file):
    return room(".".join(file.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_downwards(file):
    here = room_of(file)
    if here not in HEIGHT:
        return
    for name in imports(file):
        if name.split(".")[0] not in ("sdlora", "ui"):
            continue
        there = room(name)
        allowed = there in FOR_ALL or there == here or HEIGHT.get(there, 99) < HEIGHT[here] or here == "ui"
        assert allowed, f"{here} imports {name}"


def test_the_interface_is_imported_by_its_command_alone():
    users = {file.name for file in FILES if room_of(file) != "ui" and any(room(name) == "ui" for name in imports(file))}
    assert users <= {"cli.py"}


def test_adapters_need_torch_and_safetensors_alone():
    allowed = {"torch", "safetensors", "sdlora", *sys.stdlib_module_names}
    for file in FILES:
        if room_of(file) == "adapters":
            assert {name.split(".")[0] for name in imports(file)} <= allowed, file


def distributions(requirements):
    return {re.match(r"[\w-]+", requirement).group() for requirement in requirements}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_import_is_a_declared_dependency(project):
    extras = project["optional-dependencies"]
    shipped = [item for extra, items in extras.items() if extra != "dev" for item in items]
    declared = distributions([*project["dependencies"], *shipped])
    for file in FILES:
        for name in {name.split(".")[0] for name in imports(file)} - sys.stdlib_module_names - {"sdlora", "ui"}:
            assert DISTRIBUTION.get(name, name) in declared, f"{file} imports {name}"


def test_every_declared_dependency_has_a_tested_version(project):
    extras = project["optional-dependencies"]
    declared = distributions([*project["dependencies"], *(item for extra in extras.values() for item in extra)])
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared == set(pinned)
