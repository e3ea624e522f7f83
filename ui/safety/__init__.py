"""What stands between the network and the app: who may ask, for what, and how much."""

from .gate import Gate
from .hosts import Hosts
from .password import Password

__all__ = ["Gate", "Hosts", "Password"]
