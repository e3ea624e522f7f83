"""The queue of trainings: one at a time, each a process of its own that outlives the page and the server. No Gradio."""

from .dispatcher import Dispatcher
from .queue import RunQueue
from .ticket import Ticket

__all__ = ["Dispatcher", "RunQueue", "Ticket"]
