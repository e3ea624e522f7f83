"""What an update adds, as factors where it has them and as a whole ΔW where not, and updates made of a ΔW."""

from collections.abc import Iterable, Mapping
from functools import cache

import torch
from torch import Tensor

from ...errors import Error
from .. import tables
from ..updates import LoRA, Update, update_from
from ..updates.tucker import Tucker
from .low_rank import Reduction, lora_from, reduced, reduced_matrix
from .report import ModuleError

Weights = Mapping[str, Tensor]  # a base's weights by module path; they may be read from a file when asked for
Factors = tuple[Tensor, Tensor]  # fp64 matrices (out, rank) and (rank, in·kh·kw) whose product is ΔW


def factors_of(update: Update) -> Factors | None:
    """The update's factors on the CPU, scale and all; None for kinds that are not low-rank."""
    if not isinstance(update, LoRA | Tucker):
        return None
    up, down = (t.detach().to("cpu", torch.float64).flatten(1) for t in (update.up, update.down))
    if isinstance(update, Tucker):
        down = torch.einsum("abhw,bi->aihw", update.mid.to("cpu", torch.float64), down).flatten(1)
    return up * update.scale, down


def delta_of(path: str, update: Update, shape: tuple[int, ...] | None, weights: Weights | None) -> Tensor:
    """ΔW in fp64 on the CPU. `shape` is the module weight's, None where nobody knows.

    Raises `Error` naming `base` for a kind that needs the base's weight when there is none.
    """
    if not update.mergeable:
        return update.delta(torch.zeros(()))  # raises, and says why
    if update.needs_weight or shape is None:
        weight = weight_of(path, weights, f"{path} is a {update.kind} update, whose change depends on the base")
    else:
        weight = torch.zeros(shape)
    return update.delta(weight.detach().cpu()).double()


def weight_of(path: str, weights: Weights | None, why: str) -> Tensor:
    """The base's weight of a module. Raises `Error`, beginning with `why`, when there is no base or no such module."""
    if weights is None:
        raise Error(f"{why}: give the base that it was made for (base=…, --base)")
    if path not in weights:
        raise Error(f"the base has no module {path}: give the base that the adapter was made for")
    return weights[path]


def shape_of(
    path: str, updates: Iterable[Update], family: str | None, weights: Weights | None
) -> tuple[int, ...] | None:
    """The shape of the module's weight; None when neither the updates nor a base tell.

    Some kinds keep a convolution as one matrix (out, in·kh·kw); then the family's table knows the kernel. Raises
    `Error` when the updates were made for weights of different shapes.
    """
    shapes = {shape for update in updates if (shape := update.shape) is not None}
    kernel = _kernels(family).get(path, ()) if family else ()
    known = next((shape for shape in shapes if len(shape) == 4), None) or next(iter(shapes), None)
    if known is None:
        return tuple(weights[path].shape) if weights is not None and path in weights else None
    if len(known) == 2 and len(kernel) == 2 and known[1] % (kernel[0] * kernel[1]) == 0:
        known = (known[0], known[1] // (kernel[0] * kernel[1]), *kernel)
    like = torch.empty(known, device="meta")
    if not all(update.fits(like) for update in updates):
        raise Error(f"{path} has different shapes in these adapters, which were made for bases of different sizes")
    return known


@cache
def _kernels(family: str) -> dict[str, tuple[int, ...]]:
    """The kernel (kh, kw) of each convolution of a family, by module path."""
    return {row.path: row.shape[2:] for row in tables.rows(family) if len(row.shape) == 4}


def low_rank_update(factors: Factors, shape: tuple[int, ...], size: Reduction) -> tuple[Update, ModuleError]:
    """A LoRA of the factors' product, as small as asked for."""
    if not size:
        return lora_from(*factors, shape)
    return reduced(*factors, size, shape)


def whole_update(delta: Tensor, bias: Tensor | None, size: Reduction) -> tuple[Update, ModuleError]:
    """An update of a whole ΔW (fp32 or fp64) and of Δbias (out,), where there is one; a LoRA if `size` asks for it.

    What a LoRA can't hold stays whole: vectors (norm layers) and changes of biases.
    """
    if delta.ndim > 1 and size and bias is None:
        return reduced_matrix(delta.flatten(1), size, tuple(delta.shape))
    weight_part, bias_part = ("w_norm", "b_norm") if delta.ndim == 1 else ("diff", "diff_b")
    tensors = {weight_part: delta.float()} | ({} if bias is None else {bias_part: bias.float()})
    error = ModuleError(float(delta.norm()), float((tensors[weight_part] - delta).norm()))
    return update_from(tensors)[0], error
