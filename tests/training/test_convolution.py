"""Wide convolutions over small maps, computed as products."""

import pytest
import torch
from torch import nn

from sdlora.training.convolution import SMALL, WIDE, SmallMapConv2d, use_small_map_convolutions


def gradients(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The output, and the gradient of a fixed function of it with respect to the input."""
    x = x.clone().requires_grad_()
    out = layer(x)
    out.square().sum().backward()
    assert x.grad is not None
    return out, x.grad


@pytest.mark.parametrize("side", [4, 8, 24])
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (1, 0)])
def test_the_product_is_the_convolution(side: int, stride: int, padding: int) -> None:
    """On both sides of the size at which the kernel is used again, forward and backward."""
    torch.manual_seed(0)
    layer = nn.Conv2d(WIDE, 16, 3, stride, padding).to(memory_format=torch.channels_last)
    x = torch.randn(1, WIDE, side, side).contiguous(memory_format=torch.channels_last)
    expected = gradients(layer, x)
    network = nn.Sequential(layer)
    use_small_map_convolutions(network)
    assert type(layer) is SmallMapConv2d
    for found, wanted in zip(gradients(layer, x), expected, strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert 8 * 8 <= SMALL < 22 * 22, "the parametrised sides no longer lie on both sides of it"


def test_modules_weights_and_keys_stay() -> None:
    network = nn.Sequential(nn.Conv2d(WIDE, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(WIDE, 8, 1))
    modules, state = list(network), network.state_dict(keep_vars=True)
    use_small_map_convolutions(network)
    assert [type(m) for m in network] == [SmallMapConv2d, nn.Conv2d, nn.Conv2d]
    assert all(a is b for a, b in zip(network, modules, strict=True))
    assert all(network.state_dict(keep_vars=True)[key] is tensor for key, tensor in state.items())
