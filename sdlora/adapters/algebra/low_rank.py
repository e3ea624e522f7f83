"""Low-rank maths in fp64: singular values from factors alone, truncation, and factors that fp16 files can hold."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import Error
from ..updates import LoRA
from .report import ModuleError

COLUMNS = 4096  # so many are turned into fp64 at once
COMFORTABLE = 6  # factors whose peaks lie within 2^±6 lose nothing to fp16's narrow range of exponents


@dataclass(frozen=True)
class Reduction:
    """How small to make each module: the smallest rank that keeps what `keep` and `max_error` ask for.

    `keep` is the kept share of the energy Σσ² (0.99: the error is √0.01 of ‖ΔW‖), `max_error` the largest relative
    error ‖ΔW' − ΔW‖ / ‖ΔW‖. Two limits may make it smaller: `ratio`, the largest over the smallest singular value kept
    (sd-scripts' `sv_ratio`), and `rank`.
    """

    rank: int | None = None
    keep: float | None = None
    ratio: float | None = None
    max_error: float | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise Error(f"rank is {self.rank}: give 1 or more")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise Error(f"keep is {self.keep}, a share of the energy: give more than 0 and at most 1, such as 0.99")
        if self.max_error is not None and not 0 <= self.max_error < 1:
            raise Error(f"max_error is {self.max_error}, a relative error: give 0 or more and less than 1")
        if self.ratio is not None and not self.ratio >= 1:
            raise Error(f"ratio is {self.ratio}, the largest over the smallest singular value kept: give 1 or more")

    def __bool__(self) -> bool:
        return any(wish is not None for wish in (self.rank, self.keep, self.ratio, self.max_error))

    def rank_of(self, values: Tensor) -> int:
        """The rank to keep of these falling singular values, at least 1."""
        energies, whole = tails(values), max(1, int((values > 0).sum()))
        ranks = [whole if self.rank is None else min(self.rank, whole)]
        allowed = [1 - self.keep] if self.keep is not None else []
        allowed += [self.max_error**2] if self.max_error is not None else []
        if allowed:
            ranks.append(int((energies > min(allowed) * energies[0]).sum()))
        if self.ratio is not None:
            ranks.append(int((values * self.ratio >= values[0]).sum()))
        return max(1, min(ranks))


def tails(values: Tensor) -> Tensor:
    """(r + 1,): the energy Σσ² that is lost when the first 0, 1, … r singular values are kept."""
    return torch.cat([values.square().flip(0).cumsum(0).flip(0), values.new_zeros(1)])


def reduced(left: Tensor, right: Tensor, size: Reduction, shape: tuple[int, ...]) -> tuple[LoRA, ModuleError]:
    """The LoRA nearest to left (out, r) · right (r, n) that `size` asks for (Eckart and Young, 1936).

    By QR of both and an SVD of the small core, which costs (out + n) · r² instead of the out · n · min(out, n) of an
    SVD of the product, and loses nothing. The shorter side's vectors V give the other's: ΔW · V = left · right · V.
    """
    if left.shape[0] < right.shape[1]:
        vectors, values = _singular(right.T, left.T, size)
        return _cut(vectors, (vectors.T @ left) @ right, values, shape)
    vectors, values = _singular(left, right, size)
    return _cut(left @ (right @ vectors), vectors.T, values, shape)


def _singular(left: Tensor, right: Tensor, size: Reduction) -> tuple[Tensor, Tensor]:
    """The right singular vectors (n, rank) of left · right that `size` keeps, and all singular values."""
    q, r_right = torch.linalg.qr(right.T)
    r_left = torch.linalg.qr(left, mode="r").R
    _, values, v = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    values = _without_noise(values, max(left.shape[0], right.shape[1]) * torch.finfo(values.dtype).eps)
    return q @ v[: size.rank_of(values)].T, values


def reduced_matrix(matrix: Tensor, size: Reduction, shape: tuple[int, ...]) -> tuple[LoRA, ModuleError]:
    """The same of a whole ΔW (out, n), for kinds that have no factors.

    By the eigenvectors of the smaller Gram matrix, several times faster than an SVD and in little more memory than the
    matrix; that leaves the singular values an error of 1e-8 of the largest one, below fp32's.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = torch.zeros(len(wide), len(wide), dtype=torch.float64)
    for columns in wide.split(COLUMNS, dim=1):
        gram.addmm_(columns.double(), columns.double().T)
    energies, vectors = torch.linalg.eigh(gram)
    values = _without_noise(energies.flip(0), len(gram) * torch.finfo(gram.dtype).eps).sqrt()
    rank = size.rank_of(values)
    left = vectors.flip(1)[:, :rank]
    right = torch.cat([left.T @ columns.double() for columns in wide.split(COLUMNS, dim=1)], dim=1)
    return _cut(left, right, values, shape) if wide is matrix else _cut(right.T, left.T, values, shape)


def _cut(left: Tensor, right: Tensor, values: Tensor, shape: tuple[int, ...]) -> tuple[LoRA, ModuleError]:
    """The LoRA of factors that hold the first singular values, and the error of leaving the others out."""
    update, rounding = lora_from(left, right, shape)
    energies = tails(values)
    lost = math.hypot(float(energies[update.rank].sqrt()), rounding.error)
    return update, ModuleError(float(energies[0].sqrt()), lost, update.rank)


def lora_from(left: Tensor, right: Tensor, shape: tuple[int, ...]) -> tuple[LoRA, ModuleError]:
    """An fp32 LoRA with ΔW = left · right, for a weight of `shape`, and what rounding to fp32 changed.

    Each rank's column and row are made equally large by powers of two, which round nothing, so that neither falls
    below fp16's smallest numbers when the file is written. Alpha is the rank, so that the scale is 1, unless the
    factors are tiny or huge: then alpha takes a power of two.
    """
    peaks_left, peaks_right = left.abs().amax(0), right.abs().amax(1)
    both = (peaks_left > 0) & (peaks_right > 0)
    shift = torch.where(both, (peaks_left / peaks_right).log2() / 2, 0).round()
    peak = float((peaks_left * peaks_right).amax())
    level = round(math.log2(peak) / 2) if peak else 0
    level = 0 if abs(level) <= COMFORTABLE else level
    left, right = left * 2.0 ** (-shift - level), right * 2.0 ** (shift - level)[:, None]
    up, down = left.float(), right.float()
    rank, scale = up.shape[1], 4.0**level
    changed = torch.cat([up - left, up.double()], dim=1), torch.cat([right, down - right])
    error = ModuleError(scale * product_norm(left, right), scale * product_norm(*changed), rank)
    kernel = shape[2:]
    update = LoRA(down.reshape(rank, *shape[1:]), up.reshape(-1, rank, *(1 for _ in kernel)), rank * scale)
    return update, error


def product_norm(left: Tensor, right: Tensor) -> float:
    """‖left · right‖ (Frobenius) from two small matrices, without the product."""
    return math.sqrt(max(0.0, product_dot(left, right, left, right)))


def product_dot(left: Tensor, right: Tensor, other_left: Tensor, other_right: Tensor) -> float:
    """⟨left · right, other_left · other_right⟩ = ⟨leftᵀ · other_left, right · other_rightᵀ⟩, (r, s) matrices both."""
    return float(((left.T @ other_left) * (right @ other_right.T)).sum())


def _without_noise(values: Tensor, relative: float) -> Tensor:
    """Falling values with those set to zero that are nothing but rounding of the first."""
    return torch.where(values > relative * values[:1], values, 0)
