"""What many tests share."""

import os
import tempfile

import pytest
import torch
from hypothesis import settings

from sdlora.bases import Base, load_base

settings.register_profile("sdlora", deadline=None)  # a busy machine is no mistake
settings.load_profile("sdlora")


# Trainings of tests take turns with nobody else's on this machine. Processes that tests start inherit it.
_locks = tempfile.TemporaryDirectory(prefix="sdlora-locks-")
os.environ["SDLORA_LOCKS"] = _locks.name


def all_tensors(base: Base) -> dict[str, torch.Tensor]:
    """Copies of all of a base's values, by a name that says where they are."""
    networks = {"unet": base.unet, "vae": base.vae} | {f"text_encoder_{i}": e for i, e in enumerate(base.text_encoders)}
    return {f"{part}.{key}": t.clone() for part, network in networks.items() for key, t in network.state_dict().items()}


@pytest.fixture(scope="session")
def mini():
    """mini in fp32 on the CPU, loaded once for all tests. Leave it as you found it: `pristine_mini` looks."""
    return load_base("mini")


@pytest.fixture(scope="session")
def mini_values(mini):
    """What mini's values are when nobody has changed them."""
    return all_tensors(mini)


@pytest.fixture(autouse=True)
def pristine_mini(request):
    """Fails the test that leaves the shared mini changed, rather than one that comes later."""
    if "mini" not in request.fixturenames:
        yield
        return
    mini, values = request.getfixturevalue("mini"), request.getfixturevalue("mini_values")
    yield
    left = all_tensors(mini)
    assert left.keys() == values.keys()
    assert [key for key, tensor in left.items() if not torch.equal(tensor, values[key])] == []
