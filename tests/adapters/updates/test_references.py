"""Every kind against the libraries that define it: files that they saved, weights that they make of them in fp64."""

import pytest
import torch

from sdlora.adapters.updates import update_from
from tests.adapters.updates.references import CASES, references, update_of


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_delta_is_what_the_library_adds(case, tmp_path):
    for layer, reference in references(case, tmp_path).items():
        update, understood = update_of(reference)
        assert understood == reference.parts.keys()
        delta = update.delta(reference.weight)
        assert delta.dtype == torch.float32 and delta.shape == reference.weight.shape, layer
        against = reference.weight if case.relative_to_weight else reference.delta
        assert reference.delta.norm() > 0.01 * reference.weight.norm(), f"{layer}: the reference changes nothing"
        assert (delta - reference.delta).norm() <= 1e-5 * against.norm(), layer
        assert update.needs_weight == case.relative_to_weight
        added = update.bias_delta(reference.bias)
        assert (added is not None) == update.changes_bias == (reference.bias_delta.norm() > 0), layer
        if added is not None:
            assert (added - reference.bias_delta).norm() <= 1e-5 * reference.bias_delta.norm()


@pytest.mark.parametrize("layer", [torch.nn.Linear(6, 5), torch.nn.Conv2d(6, 5, 3)], ids=["linear", "3x3"])
def test_dyloras_file_is_lora(layer):
    """LyCORIS runs DyLoRA at random ranks; what it saves is the whole rank's factors."""
    from lycoris.modules.dylora import DyLoraModule

    module = DyLoraModule("name", layer, lora_dim=4, alpha=2, block_size=2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    update, understood = update_from({name: tensor.detach() for name, tensor in module.custom_state_dict().items()})
    assert understood == {"lora_down.weight", "lora_up.weight", "alpha"}
    product = torch.cat(list(module.up_list), dim=1).double() @ torch.cat(list(module.down_list)).double()
    assert torch.allclose(update.delta(layer.weight).double(), 0.5 * product.reshape(layer.weight.shape), atol=1e-5)
