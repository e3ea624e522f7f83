"""Trainings as processes that do not end with whoever started them."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

_children: dict[int, subprocess.Popen[bytes]] = {}  # kept to be asked for their end: else they stay as zombies


def start(arguments: Sequence[str], log: Path) -> tuple[int, float]:
    """Run `sdlora ARGUMENTS`, its output appended to `log`; process id, and when it was created (s since 1970).

    Raises OSError where no process can be made.
    """
    command = [sys.executable, "-m", "sdlora.cli", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment, **apart
        )
    _children[child.pid] = child
    try:
        return child.pid, psutil.Process(child.pid).create_time()
    except psutil.Error:  # it is over already
        return child.pid, time.time()


def is_alive(pid: int, created: float) -> bool:
    """Whether the process that was created then still runs."""
    if pid in _children and _children[pid].poll() is not None:
        del _children[pid]
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def belongs(writer: int, pid: int) -> bool:
    """Whether the process `writer` is `pid` or was started by it: on Windows a virtual environment's python is a
    launcher, with the real one below it."""
    if writer == pid:
        return True
    try:
        return pid in [parent.pid for parent in psutil.Process(writer).parents()]
    except psutil.Error:
        return False


def end(pid: int, created: float) -> None:
    """End a process and what it started; a run's folder is whole at any moment."""
    if not is_alive(pid, created):
        return
    try:
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            one.terminate()
    except psutil.Error:
        pass
