"""The queue of runs, a file in the workspace: it outlives the server, and several servers may share it."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from sdlora.adapters import library
from sdlora.errors import Error
from sdlora.files import write_text
from sdlora.training.config import TrainConfig
from sdlora.training.run_folder import RunFolder

from . import processes
from .settling import settle
from .ticket import Ticket

MOST = 50  # runs that may wait
LEASE = 20.0  # seconds from the last picture until a run that made room goes on


class RunQueue:
    """Which runs come next, which one runs, and what is asked of it. `workspace/queue/` has the queue itself, each
    run's settings before it begins, and what its process says."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.folder = workspace / "queue"
        self._file = self.folder / "queue.json"

    # --- looking ------------------------------------------------------------------------------------------------

    def tickets(self) -> list[Ticket]:
        """In the order in which they run."""
        return self._read()[0]

    def ticket(self, run: str) -> Ticket | None:
        """The run's place in the queue, None where it has none."""
        return next((ticket for ticket in self.tickets() if ticket.run == run), None)

    def running(self) -> Ticket | None:
        """The one that has a process."""
        return next((ticket for ticket in self.tickets() if ticket.state == "running"), None)

    def waiting(self) -> Ticket | None:
        """The first one that waits."""
        return next((ticket for ticket in self.tickets() if ticket.state == "waiting"), None)

    def next(self) -> Ticket | None:
        """The one that would start now: none while another runs, or while the device is lent."""
        tickets, lent = self._read()
        if lent > time.time() or any(ticket.state == "running" for ticket in tickets):
            return None
        return next((ticket for ticket in tickets if ticket.state == "waiting"), None)

    def lent(self) -> bool:
        """Whether runs wait for somebody who draws."""
        return self._read()[1] > time.time()

    def run_folder(self, run: str) -> RunFolder:
        """Where the run is, or will be. `run` is one of `runs` or of a ticket, never what somebody typed."""
        return RunFolder(self.workspace / "runs" / run)

    def runs(self) -> list[str]:
        """All runs of the workspace, newest first; those that have not begun yet come before."""
        begun = [RunFolder(file.parent) for file in (self.workspace / "runs").glob("*/config.toml")]
        names = [run.name for run in sorted(begun, key=lambda run: run.started, reverse=True)]
        return [*(ticket.run for ticket in self.tickets() if ticket.run not in names), *names]

    def log_file(self, run: str) -> Path:
        """What the run's process says."""
        return self.folder / f"{run}.log"

    def config_file(self, run: str) -> Path:
        """The settings that a run is begun with."""
        return self.folder / f"{run}.toml"

    # --- asking -------------------------------------------------------------------------------------------------

    def add(self, config: TrainConfig) -> Ticket:
        """Put a new training at the end. Raises `Error` where too many wait."""
        with self._changed() as tickets:
            _refuse_too_many(tickets)
            name = self._free_name(config.name, {ticket.run for ticket in tickets})
            own = config.model_copy(update={"name": name, "workspace": str(self.workspace)})
            write_text(self.config_file(name), own.asked_toml())
            self.log_file(name).unlink(missing_ok=True)
            tickets.append(Ticket(name))
            return tickets[-1]

    def resume(self, run: str) -> None:
        """Go on with a run that was paused, stopped, or has died, before those that wait."""
        self._again(run, 0)

    def longer(self, run: str, steps: int) -> None:
        """Train a finished run so many steps more."""
        if steps < 1:
            raise Error(f"{steps} more steps: give 1 or more")
        self._again(run, steps)

    def move(self, run: str, by: int) -> None:
        """Earlier (below 0) or later among those that wait."""
        with self._changed() as tickets:
            waiting = [index for index, ticket in enumerate(tickets) if ticket.state == "waiting"]
            at = next((place for place, index in enumerate(waiting) if tickets[index].run == run), None)
            if at is not None and 0 <= at + by < len(waiting):
                here, there = waiting[at], waiting[at + by]
                tickets[here], tickets[there] = tickets[there], tickets[here]

    def pause(self, run: str) -> None:
        """Have it save what it has and free the device, to go on when it is resumed."""
        self._wish(run, "pause")

    def stop(self, run: str) -> None:
        """Have it end here and leave the queue."""
        self._wish(run, "stop")

    def remove(self, run: str) -> None:
        """Take a run out of the queue that has no process; what it has done stays in its folder."""
        with self._changed() as tickets:
            tickets[:] = [ticket for ticket in tickets if ticket.run != run or ticket.state == "running"]

    # --- the device ---------------------------------------------------------------------------------------------

    def lend(self) -> None:
        """Have the run that runs make room, and start none, until `LEASE` seconds after the last call."""
        with self._locked() as (tickets, _):
            for ticket in tickets:
                if ticket.state == "running" and not ticket.wish:
                    ticket.wish = "lend"
            self._write(tickets, time.time() + LEASE)

    def give_back(self) -> None:
        """Nobody draws any more."""
        with self._locked() as (tickets, _):
            self._write(tickets, 0.0)

    def settle(self) -> list[str]:
        """Look what became of the process, and pass on what is asked of it; names of the runs that have ended."""
        if not any(ticket.state == "running" for ticket in self.tickets()):
            return []
        with self._changed() as tickets:
            before = {ticket.run for ticket in tickets}
            settle(tickets, self.run_folder)
            return sorted(before - {ticket.run for ticket in tickets})

    def start_next(self) -> Ticket | None:
        """Start the process of the next run, if there is one."""
        if self.next() is None:
            return None
        with self._changed() as tickets:
            ticket = self.next()  # once more, now that nobody else can change it
            if ticket is None:
                return None
            ticket = next(one for one in tickets if one.run == ticket.run)
            try:
                ticket.pid, ticket.created = processes.start(self._command(ticket), self.log_file(ticket.run))
                ticket.state, ticket.started, ticket.wish = "running", time.time(), ""
            except OSError as problem:
                ticket.state, ticket.message = "failed", f"no process could be started: {problem}"
            return ticket

    # --- inside -------------------------------------------------------------------------------------------------

    def _command(self, ticket: Ticket) -> Sequence[str]:
        folder = self.run_folder(ticket.run)
        workspace = ["--workspace", str(self.workspace)]
        if not folder.config_file.is_file():
            return ["train", str(self.config_file(ticket.run)), *workspace]
        if ticket.more:
            return ["train", "--continue", str(folder.path), "--steps", f"+{ticket.more}", *workspace]
        return ["train", "--resume", str(folder.path)]

    def _again(self, run: str, more: int) -> None:
        with self._changed() as tickets:
            old = next((ticket for ticket in tickets if ticket.run == run), None)
            if old and old.state in ("running", "waiting"):
                return
            if old is None:
                _refuse_too_many(tickets)
            rest = [ticket for ticket in tickets if ticket.run != run]
            first = next((index for index, one in enumerate(rest) if one.state == "waiting"), len(rest))
            rest.insert(first, Ticket(run, more=more or (old.more if old else 0)))
            tickets[:] = rest

    def _wish(self, run: str, wish: Any) -> None:
        with self._changed() as tickets:
            for ticket in tickets:
                if ticket.run != run:
                    continue
                if ticket.state == "running":
                    ticket.wish = wish
                elif ticket.state == "waiting" and wish == "pause":
                    ticket.state = "paused"

    def _free_name(self, name: str, waiting: set[str]) -> str:
        taken = waiting | set(library.names(self.workspace / "adapters"))
        for number in itertools.count(1):
            own = name if number == 1 else f"{name}-{number}"
            if own not in taken and not (self.workspace / "runs" / own).exists():
                return own
        raise AssertionError("numbers never run out")

    @contextmanager
    def _changed(self) -> Iterator[list[Ticket]]:
        """The tickets, written when the block has changed them."""
        with self._locked() as (tickets, lent):
            before = [ticket.as_dict() for ticket in tickets]
            yield tickets
            if [ticket.as_dict() for ticket in tickets] != before:
                self._write(tickets, lent)

    @contextmanager
    def _locked(self) -> Iterator[tuple[list[Ticket], float]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "queue.lock"):
            yield self._read()

    def _read(self) -> tuple[list[Ticket], float]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return [Ticket.read(row) for row in found["runs"]], float(found["lent_until"])
        except FileNotFoundError:
            return [], 0.0
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise Error(f"{self._file} can't be read ({problem}): delete it, the runs themselves are safe") from None

    def _write(self, tickets: Sequence[Ticket], lent: float) -> None:
        rows = [ticket.as_dict() for ticket in tickets]
        write_text(self._file, json.dumps({"runs": rows, "lent_until": lent}, indent=1) + "\n")


def _refuse_too_many(tickets: Sequence[Ticket]) -> None:
    if len(tickets) >= MOST:
        raise Error(f"{MOST} runs are in the queue already: wait, or take some out")
