"""What `sdlora check` tells: device, memory, precision, versions, bases found, and a remedy for whatever is wrong."""

import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sdlora.bases.found import FoundBase, find_bases
from sdlora.devices import pick_device
from sdlora.precision import cpu_times, fastest_dtype
from sdlora.resources import MINI
from sdlora.version import VERSION

GIB = 2**30
PACKAGES = (
    *("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub", "numpy", "pillow"),
    *("pydantic", "gradio", "bitsandbytes", "torchao"),
)
OPTIONAL = {"gradio", "bitsandbytes", "torchao"}
CPU_FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "bf16", "sve_bf16")


@dataclass(frozen=True)
class Device:
    """`memory_gib` is None where the device shares the computer's memory."""

    type: str
    name: str
    memory_gib: float | None
    free_gib: float | None
    dtype: str


@dataclass(frozen=True)
class Report:
    """All that `sdlora check` says; sizes in GiB, times in milliseconds. `device` is the type that sdlora takes."""

    sdlora: str
    python: str
    system: str
    versions: dict[str, str | None]
    device: str
    devices: list[Device]
    cpu: str
    cores: int
    threads: int
    cpu_features: list[str]
    cpu_milliseconds: dict[str, float]
    memory_gib: float
    memory_free_gib: float
    workspace: str
    disk_free_gib: float
    bases: list[dict[str, str]]
    remedies: list[str]

    def json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def collect(workspace: Path = Path("workspace")) -> Report:
    """Look around; takes about a second, and writes nothing."""
    memory = psutil.virtual_memory()
    fp32, bf16 = cpu_times()
    disk_free = _disk_free(workspace)
    versions = {package: _version(package) for package in PACKAGES}
    bases = find_bases([Path("models"), workspace / "bases"])
    return Report(
        sdlora=VERSION,
        python=platform.python_version(),
        system=platform.platform(),
        versions=versions,
        device=pick_device().type,
        devices=_devices(),
        cpu=_cpu_name(),
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        threads=torch.get_num_threads(),
        cpu_features=[name for name in CPU_FEATURES if _cpu_capabilities().get(name)],
        cpu_milliseconds={"fp32": round(1000 * fp32, 1), "bf16": round(1000 * bf16, 1)},
        memory_gib=round(memory.total / GIB, 1),
        memory_free_gib=round(memory.available / GIB, 1),
        workspace=str(workspace.absolute()),
        disk_free_gib=round(disk_free / GIB, 1),
        bases=[{"name": base.name, "family": base.family, "place": str(base.place)} for base in bases],
        remedies=[
            *_package_remedies(versions),
            *_device_remedies(nvidia_answers=_nvidia_answers()),
            *_room_remedies(memory.available / GIB, disk_free / GIB),
            *_base_remedies(bases),
        ],
    )


def render(report: Report, console: Console) -> None:
    """The report as a table, then the remedies."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("sdlora", f"{report.sdlora}, Python {report.python}, {report.system}")
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in report.versions.items() if version))
    for device in report.devices:
        chosen = " (used)" if device.type == report.device else ""
        room = "" if device.memory_gib is None else f", {device.free_gib} of {device.memory_gib} GiB free"
        table.add_row("device", f"{device.type}: {device.name}{room}, frozen base in {device.dtype}{chosen}")
    features = ", ".join(report.cpu_features) or "no vector extensions"
    table.add_row("CPU", f"{report.cores} cores, {report.threads} threads used by PyTorch, {features}")
    times = report.cpu_milliseconds
    table.add_row(
        "measured on CPU", f"fp32 {times['fp32']} ms, bf16 {times['bf16']} ms (matrix product and convolution)"
    )
    table.add_row("memory", f"{report.memory_free_gib} of {report.memory_gib} GiB free")
    table.add_row("workspace", f"{escape(report.workspace)}, {report.disk_free_gib} GiB free")
    for base in report.bases:
        table.add_row("base", f"{escape(base['name'])} ({base['family']})")
    console.print(table)
    for remedy in report.remedies:
        console.print(Text("! ", style="yellow").append(remedy, style="default"))
    if not report.remedies:
        console.print("Nothing is wrong.")


def _devices() -> list[Device]:
    """Every device that PyTorch can use, the CPU last."""
    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        sizes = (round(total / GIB, 1), round(free / GIB, 1))
        devices.append(Device("cuda", name, *sizes, _dtype_name(torch.device("cuda", index))))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", _cpu_name(), None, None, _dtype_name(torch.device("mps"))))
    devices.append(Device("cpu", _cpu_name(), None, None, _dtype_name(torch.device("cpu"))))
    return devices


def _dtype_name(device: torch.device) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[fastest_dtype(device)]


def _cpu_capabilities() -> dict[str, object]:
    """PyTorch's own look at the CPU; older versions do not tell."""
    tell = getattr(torch.cpu, "get_capabilities", dict)
    return dict(tell())


def _cpu_name() -> str:
    name = _cpu_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return str(name)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _disk_free(folder: Path) -> int:
    """Free bytes where the folder is or would be made."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _nvidia_answers() -> bool:
    command = shutil.which("nvidia-smi")
    try:
        return command is not None and subprocess.run([command, "-L"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _package_remedies(versions: dict[str, str | None]) -> list[str]:
    remedies = [
        f"{package} is not installed: run `pip install {package}`."
        for package, version in versions.items()
        if version is None and package not in OPTIONAL
    ]
    if versions["gradio"] is None:
        remedies.append('The user interface needs gradio: run `pip install "sdlora[ui]"`.')
    return remedies


def _device_remedies(nvidia_answers: bool) -> list[str]:
    if nvidia_answers and not torch.cuda.is_available():
        why = (
            "this PyTorch is a build without CUDA"
            if torch.version.cuda is None
            else f"this PyTorch is built for CUDA {torch.version.cuda}, which the driver does not run"
        )
        return [
            f"An NVIDIA GPU answers, but {why}: in a checkout run `python tools/setup_env.py` with the environment "
            "variable SDLORA_TORCH=cuda, elsewhere install torch as pytorch.org says for your CUDA version."
        ]
    if sys.platform == "darwin" and platform.machine() == "arm64" and not torch.backends.mps.is_available():
        return ["This Mac has a GPU that PyTorch cannot use: update macOS to 14 or later and use an arm64 Python."]
    return []


def _room_remedies(memory_free: float, disk_free: float) -> list[str]:
    """Free GiB against what is needed at the least: SD 1.5's weights are 4 GiB in fp32, on disk and in memory."""
    remedies = []
    if memory_free < 2:
        remedies.append(f"Only {memory_free:.1f} GiB of memory are free: close other programs before you train.")
    elif memory_free < 8 and pick_device().type == "cpu":
        remedies.append(f"{memory_free:.1f} GiB of free memory are enough for mini; for SD 1.5 close other programs.")
    if disk_free < 5:
        remedies.append(f"Only {disk_free:.1f} GiB of disk are free for the workspace: name another with --workspace.")
    return remedies


def _base_remedies(bases: list[FoundBase]) -> list[str]:
    if any(base.name == "mini" for base in bases):
        return []
    return [f"The embedded base mini is missing from {MINI}: install sdlora again."]
