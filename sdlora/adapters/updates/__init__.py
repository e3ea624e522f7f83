"""What an adapter does to one module: one small class a kind, each able to say its `delta(W)`."""

from .bottleneck import Bottleneck
from .dora import DoRA
from .full import Full, Norm
from .glora import GLoRA
from .ia3 import IA3
from .input_oft import InputOFT
from .loha import LoHa
from .lokr import LoKr
from .lora import LoRA
from .oft import BOFT, OFT
from .reading import update_from
from .tucker import Tucker
from .update import Update

__all__ = [
    "BOFT",
    "IA3",
    "OFT",
    "Bottleneck",
    "DoRA",
    "Full",
    "GLoRA",
    "InputOFT",
    "LoHa",
    "LoKr",
    "LoRA",
    "Norm",
    "Tucker",
    "Update",
    "update_from",
]
