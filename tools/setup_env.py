"""Make or update `.venv` with the tested versions: `python tools/setup_env.py [--dev]`, on Linux, macOS and Windows.

Standard library only: it runs before anything is installed. When nothing has changed since the last time it ends at
once. The environment variable SDLORA_TORCH overrides the choice of the torch build: cpu, cuda, mps, pip (whatever plain
pip takes) or the address of an index.
"""

import sys

if sys.version_info < (3, 11):  # before anything that an older Python could stumble over; the file must parse in 3.6
    sys.exit(
        "sdlora needs Python 3.11 or later, and this is %d.%d: install one from python.org." % sys.version_info[:2]
    )

import argparse
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "sdlora-setup.json"
LOG = VENV / "sdlora-setup.log"
PYTORCH = "https://download.pytorch.org/whl/"
PROBE_SECONDS = 4.0


class SetupError(Exception):
    """One sentence: what is wrong and what to do."""


@dataclass(frozen=True)
class Build:
    """A build of torch: `index` is where it lies, None for plain pip; `reason` says why it was chosen."""

    index: str | None
    reason: str

    @property
    def tag(self) -> str:
        """What torch's version ends on after the `+`: cpu, cu126, cu130."""
        return (self.index or "").rstrip("/").rpartition("/")[2]


def say(text: str) -> None:
    print(text, flush=True)


# -- which build of torch ---------------------------------------------------------------------------------------------


def choose_build(override: str, platform: str = sys.platform) -> Build:
    """The build for this machine; `override` is what SDLORA_TORCH says, empty for nothing."""
    if "://" in override:
        return Build(override, "SDLORA_TORCH names the index")
    if override == "cpu":
        return Build(PYTORCH + "cpu", "SDLORA_TORCH asks for the CPU build")
    if override == "pip":
        return Build(None, "SDLORA_TORCH asks for plain pip's build")
    if override not in ("", "cuda", "mps"):
        raise SetupError(f"SDLORA_TORCH={override} is not known: use cpu, cuda, mps, pip or the address of an index.")
    if override != "cuda" and (override == "mps" or platform == "darwin"):
        return Build(None, "on a Mac the ordinary wheel has MPS")
    answer = ask_nvidia_smi()
    if answer is None and override == "cuda":
        return Build(PYTORCH + "cu126", "SDLORA_TORCH asks for CUDA, and no driver says which: 12.6 runs on most")
    return choose_cuda(answer) if answer is not None else Build(PYTORCH + "cpu", "no NVIDIA GPU answers")


def ask_nvidia_smi() -> str | None:
    """What nvidia-smi says of the driver and the GPUs, as `580.65.06, 8.6` a line; None where there is no GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    # Drivers before 510 do not know compute_cap and fail; the bare command then still tells that a GPU is there.
    for arguments in (["--query-gpu=driver_version,compute_cap", "--format=csv,noheader"], []):
        try:
            done = subprocess.run([command, *arguments], capture_output=True, text=True, errors="replace", timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            return done.stdout
    return None


def choose_cuda(answer: str) -> Build:
    """CUDA 13 needs a driver from 580 on and a GPU from Turing (7.5) on; CUDA 12.6 a driver from 525 on."""
    gpus = re.findall(r"^(\d+)\.[\d.]+, *(\d+\.\d+)", answer, re.MULTILINE)
    drivers = [driver for driver, _ in gpus] or re.findall(r"Driver Version: *(\d+)", answer)
    oldest_gpu = min((float(capability) for _, capability in gpus), default=None)
    if not drivers:
        return Build(PYTORCH + "cu126", "an NVIDIA GPU answers, its driver unknown: CUDA 12.6 runs on most")
    driver = int(drivers[0])
    if driver < 525:
        old = f"the NVIDIA driver {driver} is too old for this torch: update it, then set SDLORA_TORCH=cuda"
        return Build(PYTORCH + "cpu", old)
    newer = driver >= 580 and (oldest_gpu is None or oldest_gpu >= 7.5)
    return Build(PYTORCH + ("cu130" if newer else "cu126"), f"an NVIDIA GPU answers, driver {driver}")


def reachable(index: str) -> bool:
    """Whether the index has a page for torch; answers within PROBE_SECONDS, a hanging name look-up included."""
    found = threading.Event()

    def probe() -> None:
        try:
            with urllib.request.urlopen(index.rstrip("/") + "/torch/", timeout=PROBE_SECONDS):
                found.set()
        except urllib.error.URLError as problem:
            if isinstance(problem.reason, ssl.SSLCertVerificationError):
                found.set()  # this Python lacks certificates (python.org's on a Mac); pip brings its own
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return found.is_set()


# -- installing -------------------------------------------------------------------------------------------------------


def pip(what: str, *arguments: str) -> None:
    """Run the venv's pip; the whole output goes to LOG, its last line to a terminal while it works."""
    say(f"{what} ...")
    begin = time.monotonic()
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        error = follow(process, begin)
    if process.returncode:
        raise SetupError(f"{what}: pip says '{error}'; all it said is in {LOG}.")
    say(f"  done in {time.monotonic() - begin:.0f} s")


def install(what: str, *arguments: str) -> None:
    """Python compiles what is imported when it is; compiling all of torch and transformers here takes far longer."""
    pip(what, "install", "--no-compile", *arguments)


def follow(process: "subprocess.Popen[str]", begin: float) -> str:
    """Log what the process says until it ends; the last line that is an error."""
    error = ""
    with LOG.open("a", encoding="utf-8") as log:
        for line in process.stdout or ():
            log.write(line)
            show_passing(f"  {time.monotonic() - begin:.0f} s  {line.strip()}")
            if line.startswith("ERROR:"):
                error = line[len("ERROR:") :].strip()
    show_passing("")
    return error


def show_passing(line: str) -> None:
    """Show a line that the next one overwrites; in a file or a CI's log, nothing."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + line[:width].ljust(width) + ("" if line else "\r"), end="", flush=True)


def make_venv() -> None:
    """Make `.venv`, or make it anew where its Python or pip no longer works (a moved folder, an interrupted set-up)."""
    if PYTHON.exists():
        check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([str(PYTHON), "-c", check], capture_output=True).returncode == 0:
            return
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError("This Python cannot make virtual environments: on Debian and Ubuntu install python3-venv.")
    say(f"Making {VENV.name} with Python {sys.version.split()[0]} ...")
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"Making {VENV} failed: {(done.stderr or done.stdout).strip()}")


def install_torch(build: Build) -> None:
    """Install the pinned torch first, so that nothing later brings another build of it."""
    pinned = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    if pinned is None:
        raise SetupError("constraints.txt names no version of torch: add a line such as torch==2.13.0.")
    requirement = pinned.group()
    if build.index is not None and not reachable(build.index):
        say(f"{build.index} cannot be reached: going on with the {requirement} that plain pip finds.")
        build = Build(None, "the build that plain pip takes")
    if build.index is None:
        return install(f"Installing {requirement} ({build.reason})", requirement)
    installed = installed_torch()
    if installed and installed.partition("+")[2] != build.tag:  # the same version number would satisfy pip
        pip(f"Removing torch {installed}", "uninstall", "--yes", "torch")
    what = f"Installing {requirement}, build {build.tag} ({build.reason})"
    try:
        install(what, requirement, "--index-url", build.index)
    except SetupError as problem:
        say(f"{problem} Going on with the {requirement} that plain pip finds.")
        install(f"Installing {requirement}", requirement)


def installed_torch() -> str:
    """The venv's version of torch, such as `2.13.0+cpu`; empty without one."""
    code = "import importlib.metadata as m; print(m.version('torch'))"
    return subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True).stdout.strip()


def set_up(extras: set[str]) -> None:
    override = os.environ.get("SDLORA_TORCH", "").strip()
    content = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    key = hashlib.sha256(b"\0".join([*content, override.encode(), str(ROOT).encode()])).hexdigest()
    stamp = json.loads(STAMP.read_text(encoding="utf-8")) if STAMP.exists() else {"key": "", "extras": []}
    if PYTHON.exists() and stamp["key"] == key and extras <= set(stamp["extras"]):
        return
    extras |= set(stamp["extras"])
    begin = time.monotonic()
    build = choose_build(override)
    make_venv()
    LOG.unlink(missing_ok=True)
    install_torch(build)
    project = f".[{','.join(sorted(extras))}]"
    install(f"Installing sdlora{project[1:]}", "--editable", project, "--constraint", "constraints.txt")
    STAMP.write_text(json.dumps({"key": key, "extras": sorted(extras)}), encoding="utf-8")
    command = PYTHON.with_name("sdlora").relative_to(ROOT)
    say(f"Ready after {time.monotonic() - begin:.0f} s, with torch {installed_torch()}: {command} --help")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make or update .venv with the tested versions.")
    parser.add_argument("--dev", action="store_true", help="also what tests, linting and type checks need")
    dev = parser.parse_args().dev
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a Windows console's code page lacks letters that pip may print
    try:
        set_up({"ui", "dev"} if dev else {"ui"})
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; run it again to go on.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
