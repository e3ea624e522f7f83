"""Where pristine copies go, by what is free."""

import psutil
import pytest
import torch

from sdlora.mixing.room import RESERVE_OF_HOST, Room, where
from sdlora.sampling.memory import RESERVE

GIB = 1 << 30


@pytest.mark.parametrize(
    ("of_device", "of_host", "expected"),
    [
        (None, RESERVE_OF_HOST + GIB, "beside"),
        (None, RESERVE_OF_HOST + GIB - 1, "nowhere"),
        (RESERVE + GIB, 0, "beside"),
        (RESERVE + GIB - 1, RESERVE_OF_HOST + GIB, "host"),
        (0, RESERVE_OF_HOST + GIB - 1, "nowhere"),
    ],
)
def test_beside_the_weights_then_in_the_host_then_nowhere(of_device, of_host, expected):
    assert where(GIB, of_device, of_host) == expected


def test_what_was_taken_is_gone():
    room, cpu = Room(), torch.device("cpu")
    half = psutil.virtual_memory().available // 2
    assert room.where(half, cpu) == room.where(half, cpu) == room.take(half, cpu) == "beside"
    assert room.where(half, cpu) == room.take(half, cpu) == "nowhere"
    assert room.take(0, cpu) == "beside"
