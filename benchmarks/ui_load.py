"""Many clients at the web UI's API at once, a third of whom go away: `python -m benchmarks.ui_load`.

Each client asks for pictures of its own prompts and mixes, one after the other, through the real server in a process of
its own. Every picture that arrives is compared with what `Mixer.generate` makes of the same prompt, seed and mix.
"""

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
import torch
from PIL import Image

import sdlora
from sdlora.adapters.updates import LoRA
from ui.server import free_port

from .machine import machine

SUBJECTS = ("red apple", "blue fish", "green house", "yellow star")
NAMES = ("clay", "ink", "wood")
STEPS, SIDE, GUIDANCE, SAMPLER = 4, 64, 4.0, "Euler a"
MOST_SECONDS = 120.0  # that an answer may take
SETTLING = 0.25  # of the time: memory is counted from then on, when all has been loaded


@dataclass(frozen=True)
class Wish:
    """What one request asks for; equal wishes must give equal pictures."""

    prompt: str
    seed: int

    def body(self) -> dict[str, Any]:
        size = {"width": SIDE, "height": SIDE, "steps": STEPS, "cfg_scale": GUIDANCE, "sampler_name": SAMPLER}
        return {"prompt": self.prompt, "seed": self.seed, **size}


@dataclass
class Report:
    """What came of it. `answers` counts statuses, `aborted` the requests that a client left."""

    answers: Counter[int] = field(default_factory=Counter)
    aborted: int = 0
    problems: list[str] = field(default_factory=list)
    pictures: dict[Wish, bytes] = field(default_factory=dict)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds, bytes
    longest: float = 0.0  # seconds
    dtype: str = "float32"  # of the server's base
    left: int = -1  # pictures in the queue when all clients are gone
    wrong: int = 0


def write_adapters(folder: Path) -> None:
    """Three adapters for mini, random and strong enough to be seen."""
    base = sdlora.load_base("mini")
    for seed, name in enumerate(NAMES):
        generator = torch.Generator().manual_seed(seed)
        updates = {}
        for path, module in base.modules().items():
            if path.startswith("unet.") and path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
                rows, columns = module.weight.shape  # type: ignore[union-attr,misc]
                up = torch.randn(rows, 4, generator=generator) * module.weight.float().std() / 6  # type: ignore
                updates[path] = LoRA(torch.randn(4, columns, generator=generator), up, alpha=4.0)
        sdlora.save_adapter(sdlora.Adapter(name, updates), folder / f"{name}.safetensors")


@contextmanager
def server(workspace: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`sdlora ui` in a process of its own: its address and the process."""
    port = free_port("127.0.0.1", 18860)
    command = [sys.executable, "-m", "sdlora.cli", "ui", "--workspace", str(workspace), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                requests.get(f"{address}/healthz", timeout=5)
                break
            except requests.ConnectionError:
                if process.poll() is not None:
                    raise SystemExit("sdlora ui did not start") from None
                time.sleep(0.2)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def a_wish(chance: random.Random) -> Wish:
    """One of 152, so that some come again."""
    names = sorted(chance.sample(NAMES, chance.randrange(3)))
    tags = [f"<lora:{name}:{chance.choice((-0.5, 1))}>" for name in names]
    return Wish(" ".join([chance.choice(SUBJECTS), *tags]), chance.randrange(2))


def client(number: int, address: str, until: float, report: Report, lock: threading.Lock) -> None:
    """Asks until the time is over. Every third one goes away in the middle of every other request."""
    chance = random.Random(number)
    aborting = number % 3 == 0
    while time.monotonic() < until:
        wish, leaving = a_wish(chance), aborting and chance.random() < 0.5
        begun = time.monotonic()
        body = wish.body() | ({"steps": 150, "n_iter": 8} if leaving else {})
        patience = chance.uniform(0.2, 2) if leaving else MOST_SECONDS
        try:
            answer = requests.post(f"{address}/sdapi/v1/txt2img", json=body, timeout=patience)
        except requests.Timeout:
            with lock:
                report.aborted += 1
                if not leaving:
                    report.problems.append(f"no answer in {patience} s")
            continue
        except requests.RequestException as problem:
            with lock:
                report.problems.append(str(problem))
            continue
        with lock:
            report.longest = max(report.longest, time.monotonic() - begun)
            take(answer, wish, report, compare=not leaving)
        if answer.status_code in (429, 503):
            time.sleep(1)


def take(answer: requests.Response, wish: Wish, report: Report, *, compare: bool) -> None:
    """Count an answer, and keep its picture; the same wish must give the same one again."""
    report.answers[answer.status_code] += 1
    content = answer.json()
    if answer.status_code in (429, 503):
        if " " not in content.get("detail", ""):
            report.problems.append(f"{answer.status_code} without a sentence")
    elif answer.status_code != 200:
        report.problems.append(f"{answer.status_code}: {content}")
    elif compare:
        [text] = content["images"]
        picture = Image.open(BytesIO(base64.b64decode(text)))
        report.dtype = json.loads(picture.info["sdlora"])["dtype"]
        pixels = np.asarray(picture).tobytes()
        if json.loads(content["info"])["prompt"] != wish.prompt or report.pictures.setdefault(wish, pixels) != pixels:
            report.wrong += 1


def watch_memory(process: psutil.Process, begun: float, done: threading.Event, report: Report) -> None:
    """The server's own memory, twice a second."""
    while not done.wait(0.5):
        report.memory.append((time.monotonic() - begun, process.memory_info().rss))


def compare_with_mixer(report: Report, adapters: Path) -> None:
    """Draw every picture again, directly."""
    mixer = sdlora.Mixer(sdlora.load_base("mini", dtype=getattr(torch, report.dtype)), adapters)
    for wish, pixels in report.pictures.items():
        [picture] = mixer.generate(
            wish.prompt, "", wish.seed, steps=STEPS, guidance=GUIDANCE, sampler=SAMPLER, size=SIDE
        )
        report.wrong += np.asarray(picture.image).tobytes() != pixels


def load(clients: int, seconds: float) -> Report:
    """`clients` at once for so long."""
    report, lock, done = Report(), threading.Lock(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        write_adapters(workspace / "adapters")
        with server(workspace) as (address, process):
            begun = time.monotonic()
            watcher = threading.Thread(target=watch_memory, args=(process, begun, done, report))
            arguments = (address, begun + seconds, report, lock)
            threads = [threading.Thread(target=client, args=(number, *arguments)) for number in range(clients)]
            for thread in (watcher, *threads):
                thread.start()
            for thread in threads:
                thread.join()
            done.set()
            watcher.join()
            report.left = emptied(address)
        compare_with_mixer(report, workspace / "adapters")
    return report


def emptied(address: str) -> int:
    """How many pictures are in the queue ten seconds after the last client, or as soon as there is none."""
    for _ in range(100):
        left: int = requests.get(f"{address}/sdapi/v1/progress", timeout=30).json()["state"]["job_count"]
        if not left:
            return 0
        time.sleep(0.1)
    return left


def growth(report: Report) -> tuple[float, float]:
    """The server's memory after the settling and at the end, in MB: medians of a tenth of the time each."""
    settled = [size for at, size in report.memory if at >= SETTLING * report.memory[-1][0]]
    tenth = max(1, len(settled) // 10)
    first, last = (float(np.median(part)) / 1e6 for part in (settled[:tenth], settled[-tenth:]))
    return first, last


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--seconds", type=float, default=120.0)
    given = options.parse_args()
    report = load(given.clients, given.seconds)
    first, last = growth(report)
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(report.answers.items()))
    print(machine("gradio", "fastapi"))
    work = f"{SIDE}² pixels in {STEPS} steps; 8 × 150 steps by those who leave"
    print(f"{given.clients} clients for {given.seconds:.0f} s; {work}\n")
    print("| what | figure |\n| --- | --- |")
    print(f"| answers | {statuses} |")
    print(f"| requests that the client left | {report.aborted} |")
    print(f"| other errors | {len(report.problems)} {'; '.join(report.problems[:3])} |")
    print(f"| different pictures compared with `Mixer.generate` | {len(report.pictures)} |")
    print(f"| wrong pictures | {report.wrong} |")
    print(f"| longest answer | {report.longest:.1f} s |")
    print(f"| in the queue when all were gone | {report.left} |")
    print(f"| server's memory after a quarter of the time, at the end | {first:.0f} MB, {last:.0f} MB |")


if __name__ == "__main__":
    main()
