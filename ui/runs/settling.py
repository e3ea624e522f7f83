"""What became of a run's process, and what follows for its place in the queue."""

import json
from collections.abc import Callable

from sdlora.files import write_text
from sdlora.training.run_folder import RunFolder
from sdlora.training.run_status import WORKING

from . import processes
from .ticket import Ticket

ASKED_TO_STOP = json.dumps({"stop": True, "pause": False})


def settle(tickets: list[Ticket], folder_of: Callable[[str], RunFolder]) -> None:
    """Pass wishes on to processes that live, and settle the tickets of those that are gone, in place."""
    for ticket in list(tickets):
        if ticket.state != "running":
            continue
        run = folder_of(ticket.run)
        if processes.is_alive(ticket.pid, ticket.created):
            if ticket.wish:
                _ask(ticket, run)
        else:
            _settle_gone(tickets, ticket, run)


def _ask(ticket: Ticket, run: RunFolder) -> None:
    """A run that trains saves first; one that still prepares itself can't hear yet, and has nothing to lose."""
    status = run.status()
    own = bool(status) and processes.belongs(int(status.get("pid", 0)), ticket.pid)
    if not own or status.get("state") == "preparing":
        processes.end(ticket.pid, ticket.created)
    elif status.get("state") in WORKING and not run.control().stop:
        write_text(run.control_file, ASKED_TO_STOP + "\n")


def _settle_gone(tickets: list[Ticket], ticket: Ticket, run: RunFolder) -> None:
    status = run.status() if run.status().get("heartbeat", 0) >= ticket.started else {}
    state, wish = status.get("state"), ticket.wish
    ticket.pid, ticket.wish = 0, ""
    if status:  # it came so far as to be longer already
        ticket.more = 0
    if state == "finished" or (wish == "stop" and state != "failed"):
        tickets.remove(ticket)
    elif wish == "lend":
        ticket.state = "waiting"  # it stands before all others that wait, for it has run
    elif wish == "pause" or state == "stopped":
        ticket.state = "paused"
    else:
        ticket.state = "failed"
        ticket.message = str(status.get("message") or "") if state == "failed" else ""
