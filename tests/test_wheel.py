"""The wheel carries all that an installed sdlora needs, and works from a directory that is not a checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"sdlora": "sdlora", "ui": "ui", "configs": "sdlora/configs", "datasets": "sdlora/datasets"}


def run(command, **options):
    """The finished process; its whole output is in the failure's message."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, encoding="utf-8", **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT])
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The scripts folder of a clean environment with the wheel in it.

    The heavy dependencies are this environment's, lent by a `.pth` file: installing torch anew would take minutes, and
    the checkout that this environment has in editable mode is not lent with them.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel])
    own = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.strip()
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(own) / "lent.pth").write_text("\n".join(sorted(lent)), encoding="utf-8")
    return scripts


def environment():
    """This process's, less what would put the checkout on the import path."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def test_the_wheel_holds_every_file_of_the_packages_presets_and_datasets(wheel):
    expected = {
        f"{target}/{path.relative_to(ROOT / source).as_posix()}"
        for source, target in PLACES.items()
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".tmp"
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert "sdlora/bases/mini/unet/diffusion_pytorch_model.safetensors" in held
    assert any(name.startswith("sdlora/datasets/") and name.endswith(".txt") for name in held)


def test_the_wheel_is_small_enough_to_share_and_names_its_command(wheel):
    assert wheel.stat().st_size < 100e6
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "sdlora = sdlora.cli:main" in archive.read(entry_points).decode()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())


def test_an_installed_wheel_finds_its_own_files_from_another_directory(installed, tmp_path):
    code = (
        "import sdlora.resources as r, ui;"
        "print(r.PACKAGE); print(r.shipped('configs')); print(r.shipped('datasets')); print(r.MINI);"
        "print(ui.__path__[0])"
    )
    lines = run([installed / "python", "-c", code], cwd=tmp_path, env=environment()).stdout.splitlines()
    for line in lines:
        assert Path(line).is_dir()
        assert installed.parent.resolve() in Path(line).resolve().parents
    help_text = run([installed / "sdlora", "--help"], cwd=tmp_path, env=environment()).stdout
    assert "train" in help_text


@pytest.mark.slow
def test_an_installed_wheel_runs_the_demo_from_another_directory(installed, tmp_path):
    run([installed / "sdlora", "demo", "--quick"], cwd=tmp_path, env=environment())
    adapters = list((tmp_path / "workspace" / "adapters").glob("*.safetensors"))
    assert len(adapters) >= 2
    assert not [path for path in tmp_path.iterdir() if path.name != "workspace"]
