"""What LyCORIS and PEFT make of a weight: files that they saved, and in fp64 the weights that their layers then have.

Each case is a small model of one linear layer, one 1 × 1 and one 3 × 3 convolution and two norm layers. Its adapter
gets random numbers, is saved by its library in fp32, and is then run by that library in fp64.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sdlora.adapters.updates import InputOFT, Update, update_from

LAYERS = ("linear", "conv1", "conv3")
NORMS = ("layer_norm", "group_norm")
# PEFT's names for what Kohya's and LyCORIS' files call otherwise
FROM_PEFT = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora_magnitude_vector": "dora_scale",
}


@dataclass(frozen=True)
class Case:
    """A kind as one library makes it: its settings there, and which of the model's layers it can be asked for."""

    name: str
    library: str
    options: dict[str, Any]
    layers: tuple[str, ...] = LAYERS
    relative_to_weight: bool = False  # how errors are measured: for kinds computed from W, relative to ‖W‖


@dataclass(frozen=True)
class Reference:
    """One layer of a case: the parts in the file, the weight W and bias in fp32, their changes in fp64."""

    parts: dict[str, Tensor]
    weight: Tensor
    delta: Tensor
    bias: Tensor
    bias_delta: Tensor
    settings: dict[str, Any] = field(default_factory=dict)  # what PEFT's own config file says


def _lycoris(name: str, algo: str, relative_to_weight: bool = False, **options: Any) -> Case:
    layers = options.pop("layers", LAYERS)
    return Case(f"{name}, LyCORIS", "lycoris", {"network_module": algo, **options}, layers, relative_to_weight)


def _peft(name: str, config: str, relative_to_weight: bool = False, **options: Any) -> Case:
    layers = options.pop("layers", LAYERS)
    return Case(f"{name}, PEFT", "peft", {"config": config, **options}, layers, relative_to_weight)


CASES = (
    _lycoris("LoRA / LoCon", "locon"),
    _lycoris("LoRA / LoCon, rank-stabilised", "locon", rs_lora=True),
    _lycoris("LoRA / LoCon, with scalar", "locon", use_scalar=True),
    _lycoris("LoCon, Tucker", "locon", use_tucker=True, layers=("conv3",)),
    _peft("LoRA / LoCon", "LoraConfig", r=4, lora_alpha=3),
    _lycoris("DoRA, by output", "locon", True, weight_decompose=True),
    _lycoris("DoRA, by input", "locon", True, weight_decompose=True, wd_on_out=False),
    _lycoris("DoRA of Tucker", "locon", True, weight_decompose=True, use_tucker=True, layers=("conv3",)),
    _lycoris("DoRA of LoHa", "loha", True, weight_decompose=True),
    _lycoris("DoRA of LoKr", "lokr", True, weight_decompose=True, wd_on_out=False, factor=4),
    _peft("DoRA", "LoraConfig", True, r=4, lora_alpha=3, use_dora=True),
    _lycoris("LoHa", "loha"),
    _lycoris("LoHa, rank-stabilised, with scalar", "loha", rs_lora=True, use_scalar=True),
    _lycoris("LoHa, Tucker", "loha", use_tucker=True, layers=("conv3",)),
    _peft("LoHa", "LoHaConfig", r=4, alpha=3),
    _peft("LoHa, Tucker", "LoHaConfig", r=4, alpha=3, use_effective_conv2d=True, layers=("conv3",)),
    _lycoris("LoKr", "lokr", lora_dim=2, conv_lora_dim=2),
    _lycoris("LoKr, factor 4", "lokr", factor=4, lora_dim=2, conv_lora_dim=2),
    _lycoris("LoKr, both of low rank", "lokr", factor=4, lora_dim=1, conv_lora_dim=1, decompose_both=True),
    _lycoris("LoKr, unbalanced", "lokr", factor=4, lora_dim=2, conv_lora_dim=2, unbalanced_factorization=True),
    _lycoris("LoKr, both whole", "lokr", full_matrix=True),
    _lycoris("LoKr, Tucker", "lokr", factor=4, lora_dim=2, conv_lora_dim=2, use_tucker=True, layers=("conv3",)),
    _lycoris("LoKr, with scalar", "lokr", factor=4, lora_dim=2, conv_lora_dim=2, use_scalar=True, rs_lora=True),
    _peft("LoKr", "LoKrConfig", r=2, alpha=3, decompose_factor=4),
    _peft("LoKr, both of low rank", "LoKrConfig", r=1, alpha=3, decompose_factor=4, decompose_both=True),
    _peft("LoKr, both whole", "LoKrConfig", r=64, alpha=64),
    _peft("LoKr, Tucker", "LoKrConfig", r=2, alpha=3, decompose_factor=4, use_effective_conv2d=True, layers=("conv3",)),
    _lycoris("IA³, outputs", "ia3", True),
    _lycoris("IA³, inputs", "ia3", True, train_on_input=True),
    _lycoris("GLoRA", "glora", True),
    _lycoris("OFT", "diag-oft", True),
    _lycoris("OFT, rescaled", "diag-oft", True, rescaled=True, constraint=0.01),
    _peft("OFT, series", "OFTConfig", True, oft_block_size=4),
    _peft("OFT, exact", "OFTConfig", True, oft_block_size=4, use_cayley_neumann=False),
    _peft("OFT, shared blocks", "OFTConfig", True, oft_block_size=4, block_share=True, num_cayley_neumann_terms=3),
    _peft("OFT, constrained", "OFTConfig", True, oft_block_size=4, coft=True, eps=0.3, num_cayley_neumann_terms=7),
    _lycoris("BOFT", "boft", True, lora_dim=10, conv_lora_dim=10),
    _lycoris("BOFT, rescaled", "boft", True, lora_dim=10, conv_lora_dim=10, rescaled=True, constraint=0.01),
    _lycoris("full", "full"),
    _lycoris("norm", "full", train_norm=True, layers=NORMS),
)


def references(case: Case, folder: Path, width: int = 16, seed: int = 0) -> dict[str, Reference]:
    """Each layer's reference, {layer name: Reference}; `folder` is where the library saves its files.

    `width` is the convolutions' number of inputs; a power of two times a multiple of 4.
    """
    torch.manual_seed(seed)
    model = _model(width)
    before = {name: (layer.weight.detach().clone(), layer.bias.detach().clone()) for name, layer in _layers(model)}
    make = {"lycoris": _through_lycoris, "peft": _through_peft}[case.library]
    parts, settings, after = make(case, model, folder)
    return {
        name: Reference(
            parts[name],
            before[name][0],
            (after[name][0] - before[name][0].double()),
            before[name][1],
            (after[name][1] - before[name][1].double()),
            settings,
        )
        for name in case.layers
    }


def update_of(reference: Reference) -> tuple[Update, set[str]]:
    """Our update of the file's parts, and those understood. PEFT keeps in its config what its OFT files lack."""
    packed = reference.parts.get("oft_R.weight")
    if packed is None:
        return update_from(reference.parts)
    names = ("use_cayley_neumann", "num_cayley_neumann_terms", "coft", "eps")
    return InputOFT.from_peft(packed, **{name: reference.settings[name] for name in names}), {"oft_R.weight"}


def _model(width: int) -> nn.Module:
    """Weights of about the size that trained layers have."""
    model = nn.Module()
    model.linear = nn.Linear(3 * width, 2 * width)
    model.conv1 = nn.Conv2d(width, 2 * width, 1)
    model.conv3 = nn.Conv2d(width, 2 * width, 3)
    model.layer_norm = nn.LayerNorm(width)
    model.group_norm = nn.GroupNorm(4, width)
    for _, layer in _layers(model):
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        nn.init.normal_(layer.bias)
    return model.eval().requires_grad_(False)


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, getattr(model, name)) for name in (*LAYERS, *NORMS)]


def _randomise(parameters: Iterator[tuple[str, Tensor]]) -> None:
    """Random numbers everywhere: magnitudes and what multiplies the rest not far from what they were, or from 1."""
    for name, parameter in parameters:
        if name.endswith("scalar"):
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
        elif "dora_scale" in name or "magnitude" in name or "rescale" in name:
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
        else:
            parameter.copy_(0.3 * torch.randn_like(parameter))


Made = tuple[dict[str, dict[str, Tensor]], dict[str, Any], dict[str, tuple[Tensor, Tensor]]]


@torch.no_grad()
def _through_lycoris(case: Case, model: nn.Module, folder: Path) -> Made:
    from lycoris.logging import logger
    from lycoris.wrapper import LycorisNetwork

    logger.setLevel(logging.ERROR)

    before = {name: (layer.weight.double(), layer.bias.double()) for name, layer in _layers(model)}
    options = {"lora_dim": 4, "conv_lora_dim": 4, "alpha": 3, "conv_alpha": 3, "warn_on_unmatched": False}
    network = LycorisNetwork(model, **options | case.options)
    network.apply_to()
    if case.options["network_module"] == "full":  # its parameters are the new weights by now
        for _, parameter in network.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    else:
        _randomise(network.named_parameters())
    network.save_weights(str(folder / "lycoris.safetensors"), torch.float32, {})
    network.double().eval()
    with _fp64_where_lycoris_says_float():
        after = {name: _effective(module, before[name]) for name, module in _layers(model.double())}
    parts: dict[str, dict[str, Tensor]] = {name: {} for name, _ in _layers(model)}
    for key, tensor in load_file(folder / "lycoris.safetensors").items():
        module, _, part = key.removeprefix("lycoris_").partition(".")
        parts[module][part] = tensor
    return parts, {}, after


@torch.no_grad()
def _through_peft(case: Case, model: nn.Module, folder: Path) -> Made:
    import peft

    options = {key: value for key, value in case.options.items() if key != "config"}
    config = getattr(peft, case.options["config"])(target_modules=list(case.layers), **options)
    wrapped = peft.get_peft_model(model, config)
    _randomise((name, parameter) for name, parameter in wrapped.named_parameters() if "default" in name.split("."))
    wrapped.save_pretrained(folder)
    wrapped.double().eval()
    merged = wrapped.merge_and_unload()
    after = {name: (getattr(merged, name).weight.clone(), getattr(merged, name).bias.clone()) for name in case.layers}
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in case.layers}
    settings = config.to_dict()
    alpha = settings.get("lora_alpha", settings.get("alpha"))
    for key, tensor in load_file(folder / "adapter_model.safetensors").items():
        module, _, part = key.removeprefix("base_model.model.").partition(".")
        part = FROM_PEFT.get(part, part)
        if part == "dora_scale":  # (out,) or (1, out, 1, 1) in PEFT's files
            tensor = tensor.reshape(-1, 1)
        parts[module][part] = tensor
    if alpha is not None:
        for found in parts.values():
            found["alpha"] = torch.tensor(float(alpha))
    return parts, settings, after


def _effective(layer: nn.Module, before: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The weight and bias that the layer's output shows, whatever is hooked into its forward. fp64."""
    weight, bias = before
    if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
        return _effective_norm(layer, weight, bias)
    inputs = weight[0].numel()
    impulses = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *weight.shape[1:])
    new_bias = layer(torch.zeros_like(impulses[:1])).flatten()
    answers = layer(impulses).flatten(1) - new_bias
    return answers.T.reshape(weight.shape), new_bias


def _effective_norm(layer: nn.Module, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised values are known beside the layer, so two answers tell weight and bias."""
    x = torch.randn(1, len(weight), 2, 2, dtype=torch.float64)
    if isinstance(layer, nn.LayerNorm):
        x = x[..., 0, 0]
        normalised = nn.functional.layer_norm(x, x.shape[1:], eps=layer.eps)
    else:
        normalised = nn.functional.group_norm(x, layer.num_groups, eps=layer.eps)
    plus, minus = layer(x), layer(-x)  # the norm of −x is minus the norm of x
    first = (..., *(0,) * (x.ndim - 2))
    return ((plus - minus) / 2 / normalised)[first].flatten(), ((plus + minus) / 2)[first].flatten()


@contextmanager
def _fp64_where_lycoris_says_float() -> Iterator[None]:
    """LyCORIS inverts OFT's matrices in fp32, whatever it computes in; a reference is to be in fp64 throughout."""
    original = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.Tensor.float = original  # type: ignore[method-assign]
