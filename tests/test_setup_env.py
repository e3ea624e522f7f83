import importlib.util
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "tools" / "setup_env.py"


@pytest.fixture
def setup_env():
    spec = importlib.util.spec_from_file_location("setup_env", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["setup_env"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["setup_env"]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put an nvidia-smi alone on PATH that knows `query` (or fails on any, when None) and else prints `header`."""

    def install(query=None, header=None):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "query.txt").write_text(query or "", encoding="utf-8")
        (folder / "header.txt").write_text(header or "", encoding="utf-8")
        code = "\n".join([
            "import pathlib, sys",
            f"folder = pathlib.Path({str(folder)!r})",
            "text = (folder / ('query.txt' if sys.argv[1:] else 'header.txt')).read_text(encoding='utf-8')",
            "print(text)",
            "sys.exit(not text)",
        ])
        (folder / "fake.py").write_text(code, encoding="utf-8")
        if os.name == "nt":
            text = f'@"{sys.executable}" "{folder / "fake.py"}" %*\n'
            (folder / "nvidia-smi.bat").write_text(text, encoding="utf-8")
        else:
            command = folder / "nvidia-smi"
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "fake.py"}" "$@"\n', encoding="utf-8")
            command.chmod(command.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    return install


@pytest.mark.parametrize(
    ("query", "header", "tag"),
    [
        ("580.65.06, 8.6", None, "cu130"),
        ("595.10, 12.0\n595.10, 8.9", None, "cu130"),
        ("580.65.06, 8.6\n580.65.06, 6.1", None, "cu126"),  # CUDA 13 left the GTX 10 behind
        ("551.86, 8.9", None, "cu126"),
        (None, "| NVIDIA-SMI 470.82  Driver Version: 470.82  CUDA Version: 11.4 |", "cpu"),
        ("| NVIDIA-SMI 580.82  Driver Version: 580.82  CUDA Version: 13.0 |", None, "cu130"),
        ("something else", "", "cu126"),
        (None, None, "cpu"),  # nvidia-smi is there and fails: no driver runs
    ],
)
def test_the_driver_and_the_gpu_choose_the_build(setup_env, nvidia_smi, query, header, tag):
    nvidia_smi(query, header)
    build = setup_env.choose_build("", platform="linux")
    assert build.index == f"https://download.pytorch.org/whl/{tag}"
    assert build.tag == tag


def test_without_a_gpu_the_cpu_build(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_env.choose_build("", platform="linux").tag == "cpu"
    assert setup_env.choose_build("", platform="win32").tag == "cpu"


def test_a_mac_takes_the_ordinary_wheel(setup_env):
    assert setup_env.choose_build("", platform="darwin").index is None


def test_an_old_driver_is_named(setup_env, nvidia_smi):
    nvidia_smi(None, "Driver Version: 470.82")
    assert "470 is too old" in setup_env.choose_build("", platform="linux").reason


@pytest.mark.parametrize(
    ("override", "index"),
    [
        ("cpu", "https://download.pytorch.org/whl/cpu"),
        ("pip", None),
        ("mps", None),
        ("https://mirror.example/whl/rocm6.4", "https://mirror.example/whl/rocm6.4"),
    ],
)
def test_the_override_wins_over_the_gpu(setup_env, nvidia_smi, override, index):
    nvidia_smi("580.65.06, 8.6")
    assert setup_env.choose_build(override, platform="linux").index == index


def test_cuda_asked_for_without_a_gpu(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_env.choose_build("cuda", platform="linux").tag == "cu126"


def test_cuda_asked_for_with_a_gpu_asks_the_driver(setup_env, nvidia_smi):
    nvidia_smi("580.65.06, 8.6")
    assert setup_env.choose_build("cuda", platform="linux").tag == "cu130"


def test_an_unknown_override_is_one_sentence(setup_env):
    with pytest.raises(setup_env.SetupError, match="SDLORA_TORCH=gpu is not known"):
        setup_env.choose_build("gpu")


def test_an_index_that_refuses(setup_env):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/whl/cpu"
        assert not setup_env.reachable(closed)


def test_an_index_that_never_answers_is_given_up(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env, "PROBE_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not setup_env.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/whl/cpu")


@pytest.fixture
def recorded_pip(setup_env, monkeypatch, tmp_path):
    """The arguments of each pip that `install_torch` starts: a stand-in for the venv's Python writes them down."""
    calls = tmp_path / "calls.txt"
    if os.name == "nt":
        pytest.skip("the stand-in is a shell script")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "$@" >> "{calls}"\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(setup_env, "PYTHON", python)
    monkeypatch.setattr(setup_env, "LOG", tmp_path / "log.txt")
    return lambda: calls.read_text(encoding="utf-8").splitlines()


def test_plain_pip_steps_in_at_once_and_says_so(setup_env, recorded_pip, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{free.getsockname()[1]}/whl/cpu"
        setup_env.install_torch(setup_env.Build(index, "a test"))
    assert f"{index} cannot be reached" in capsys.readouterr().out
    (call,) = recorded_pip()
    assert "install" in call and "torch==" in call and "--index-url" not in call


def test_what_pip_says_last_reaches_the_user(setup_env, recorded_pip, monkeypatch):
    setup_env.PYTHON.write_text("#!/bin/sh\necho 'ERROR: No space left on device'\nexit 1\n", encoding="utf-8")
    with pytest.raises(setup_env.SetupError, match=r"No space left on device.*log\.txt"):
        setup_env.install_torch(setup_env.Build(None, "a test"))
