"""The kinds' formulas written out in fp64, index by index where that is what the paper says."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from sdlora.adapters.updates import BOFT, IA3, OFT, DoRA, Full, GLoRA, InputOFT, LoKr, LoRA, Norm, Tucker, update_from
from sdlora.adapters.updates.lokr import Factor
from sdlora.errors import Error
from tests.adapters.made import numbers, random_lora

sizes, ranks, seeds = st.integers(1, 9), st.integers(1, 5), st.integers(0, 10_000)
kernels = st.sampled_from([(), (1, 1), (3, 3), (1, 3)])


def close(ours, exact, size=1.0):
    return (ours.double() - exact).norm() <= 1e-5 * (exact.norm() + size)


@given(out=sizes, inputs=sizes, rank=ranks, seed=seeds)
def test_tucker_does_what_the_three_convolutions_do(out, inputs, rank, seed):
    down, mid, up = (
        numbers((rank, inputs, 1, 1), seed),
        numbers((rank, rank, 3, 3), seed + 1),
        numbers((out, rank), seed),
    )
    update = Tucker(down, mid, up, 2.0)
    x = numbers((2, inputs, 5, 5), seed).double()
    three = F.conv2d(F.conv2d(F.conv2d(x, down.double()), mid.double()), up.double()[:, :, None, None]) * 2 / rank
    assert update.shape == (out, inputs, 3, 3)
    assert close(F.conv2d(x, update.delta(torch.zeros(update.shape)).double()), three)


@given(a=sizes, b=sizes, c=sizes, d=sizes, kernel=kernels, seed=seeds)
def test_lokr_is_the_kronecker_product(a, b, c, d, kernel, seed):
    first, second = numbers((a, c), seed), numbers((b, d, *kernel), seed + 1)
    delta = LoKr(Factor(first), Factor(second)).delta(torch.zeros(a * b, c * d, *kernel))
    for i, j, k, m in itertools.product(range(a), range(b), range(c), range(d)):
        assert torch.equal(delta[i * b + j, k * d + m], first[i, k] * second[j, m])


@given(out=sizes, inputs=sizes, kernel=kernels, rank=ranks, per_output=st.booleans(), seed=seeds)
def test_dora_gives_the_norms_that_its_magnitude_says(out, inputs, kernel, rank, per_output, seed):
    weight, direction = numbers((out, inputs, *kernel), seed), random_lora((out, inputs, *kernel), rank, 1, seed)
    count = out if per_output else inputs
    magnitude = (0.5 + numbers((count,), seed + 7).abs()).reshape(count, 1) if per_output else numbers((1, count), seed)
    update = DoRA(direction, magnitude)
    turned = weight.double() + direction.delta(weight).double()
    new = weight.double() + update.delta(weight).double()
    slices, old = (new, turned) if update.per_output else (new.transpose(0, 1), turned.transpose(0, 1))
    for row, before, length in zip(slices, old, magnitude.flatten().double(), strict=True):
        assert torch.allclose(row, length * before / before.norm(), rtol=1e-4, atol=1e-5)


def test_dora_leaves_a_row_of_zeros_alone():
    direction = LoRA(torch.zeros(1, 3), torch.zeros(2, 1), 1.0)
    weight = torch.tensor([[0.0, 0, 0], [3, 0, 4]])
    new = weight + DoRA(direction, torch.tensor([[2.0], [10.0]])).delta(weight)
    assert torch.equal(new, torch.tensor([[0.0, 0, 0], [6, 0, 8]]))


@given(out=sizes, inputs=sizes, kernel=kernels, on_input=st.booleans(), seed=seeds)
def test_ia3_scales_outputs_or_inputs(out, inputs, kernel, on_input, seed):
    weight, factors = numbers((out, inputs, *kernel), seed), numbers((inputs if on_input else out,), seed + 1)
    delta = IA3(factors, on_input).delta(weight)
    for i, j in itertools.product(range(out), range(inputs)):
        assert torch.equal(delta[i, j], weight[i, j] * factors[j if on_input else i])


@given(out=sizes, inputs=sizes, kernel=kernels, rank=ranks, seed=seeds)
def test_glora_reads_changed_inputs_and_adds(out, inputs, kernel, rank, seed):
    weight, added = numbers((out, inputs, *kernel), seed), random_lora((out, inputs, *kernel), rank, 2, seed + 1)
    update = GLoRA(numbers((inputs, rank), seed + 2), numbers((rank, inputs), seed + 3), added)
    changed = torch.eye(inputs).double() + 2 / rank * update.a1.double() @ update.a2.double()
    exact = torch.einsum("oi...,ij->oj...", weight.double(), changed) - weight + added.delta(weight)
    assert close(update.delta(weight), exact, rank)


@given(out=st.integers(2, 9), inputs=st.integers(2, 9), rank=st.integers(1, 4), seed=seeds)
def test_glora_files_of_either_naming_are_the_same(out, inputs, rank, seed):
    """LyCORIS' first versions called a1 what is a2 now, and b1 what is b2."""
    assume(out != inputs or rank < inputs)
    a1, a2, b1, b2 = (
        numbers(shape, seed + n)
        for n, shape in enumerate([(inputs, rank), (rank, inputs), (out, rank), (rank, inputs)])
    )
    new = {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2}
    old = {"a1.weight": a2, "a2.weight": a1, "b1.weight": b2, "b2.weight": b1}
    weight = numbers((out, inputs), seed)
    assert torch.equal(update_from(new)[0].delta(weight), update_from(old)[0].delta(weight))


def rotations(skew):
    """(I + Q)(I − Q)⁻¹ in fp64."""
    skew = skew.double()
    identity = torch.eye(skew.shape[-1], dtype=torch.float64)
    return (identity + skew) @ torch.linalg.inv(identity - skew)


@given(
    count=st.integers(1, 4), size=st.integers(1, 5), kernel=kernels, scale=st.sampled_from([1e-4, 0.1, 1.0]), seed=seeds
)
def test_oft_rotates_blocks_of_outputs(count, size, kernel, scale, seed):
    blocks, weight = numbers((count, size, size), seed, scale), numbers((count * size, 3, *kernel), seed + 1)
    turned = torch.block_diag(*rotations(blocks - blocks.mT)).T @ weight.double().flatten(1)
    delta = OFT(blocks).delta(weight)
    assert close(weight + delta, turned.reshape(weight.shape))
    change = turned.reshape(weight.shape) - weight.double()
    assert (delta - change).norm() <= 1e-5 * change.norm() or size == 1, "small rotations are not rounded away"
    assert torch.allclose((weight + delta).norm(), weight.norm(), rtol=1e-4)


@given(limit=st.floats(0.001, 10), rescale=st.booleans(), seed=seeds)
def test_ofts_constraint_limits_the_rotation_of_all_blocks_together(limit, rescale, seed):
    blocks, weight = numbers((2, 3, 3), seed), numbers((6, 4), seed + 1)
    skew = blocks - blocks.mT
    skew = skew * min(1, limit * 6 / skew.norm())
    factors = numbers((6, 1), seed + 2) if rescale else torch.ones(6, 1)
    turned = factors.double() * (torch.block_diag(*rotations(skew)).T @ weight.double())
    update = OFT(blocks, factors if rescale else None, limit)
    assert close(weight + update.delta(weight), turned)


@given(stages=st.integers(1, 3), odd=st.sampled_from([1, 3]), half=st.integers(1, 3), seed=seeds)
def test_boft_lets_every_output_meet_every_other_of_its_group(stages, odd, half, seed):
    """Each stage keeps norms; after m stages an output has been mixed with all of its 2ᵐ⁻¹ blocks."""
    size, count = 2 * half, odd * 2 ** (stages - 1)
    weight = torch.eye(count * size)
    rotation = weight + BOFT(numbers((stages, count, size, size), seed)).delta(weight)
    assert torch.allclose(rotation @ rotation.T, weight, atol=1e-4)
    group = torch.arange(count * size) // (count * size // odd)
    assert torch.equal(rotation.abs() > 0, group[:, None] == group[None])


@pytest.mark.parametrize("shared", [False, True])
@given(count=st.integers(1, 4), size=st.integers(2, 5), seed=seeds)
def test_pefts_oft_rotates_blocks_of_inputs(shared, count, size, seed):
    packed = numbers((1 if shared else count, size * (size - 1) // 2), seed)
    weight = numbers((3, count * size), seed + 1)
    skew = torch.zeros(len(packed), size, size)
    for block, numbers_above in zip(skew, packed, strict=True):
        above = iter(numbers_above)
        for row, column in itertools.combinations(range(size), 2):
            block[row, column] = next(above)
    turn = torch.block_diag(*rotations(skew.mT - skew).expand(count, size, size))
    assert close(weight + InputOFT(packed, terms=0).delta(weight), weight.double() @ turn.T)


@pytest.mark.parametrize("terms", [1, 2, 4, 6, 9])
def test_pefts_series_is_the_exact_rotation_cut_off(terms):
    """(I + Q)(I − Q)⁻¹ = I + 2Q + 2Q² + …; what is cut off is of the order of ‖Q‖ to the number of terms − 1."""
    packed, weight, size = numbers((2, 3), 1, 0.01), numbers((4, 6), 2), 0.03
    exact = InputOFT(-packed, terms=0).delta(weight)
    error = (InputOFT(packed, terms=terms).delta(weight) - exact).norm() / weight.norm()
    assert error <= 4 * size ** max(1, terms - 1) + 1e-6


def test_full_and_norm_add_themselves_and_their_bias():
    for kind, shape in ((Full, (4, 3)), (Full, (4, 3, 3, 3)), (Norm, (4,))):
        diff, bias = numbers(shape, 1).half(), numbers((4,), 2).half()
        update = kind(diff, bias)
        assert torch.equal(update.delta(torch.zeros(shape)), diff.float())
        assert torch.equal(update.bias_delta(torch.zeros(4)), bias.float()) and update.changes_bias
        assert kind(diff).bias_delta(torch.zeros(4)) is None and not kind(diff).changes_bias


def test_what_is_returned_can_be_changed_without_changing_the_update():
    update = Full(numbers((4, 3), 1))
    update.delta(torch.zeros(4, 3)).zero_()
    assert update.diff.norm() > 0


@pytest.mark.parametrize(
    ("update", "weight", "words"),
    [
        (IA3(torch.ones(5), on_input=True), (5, 4), "with 5 inputs"),
        (IA3(torch.ones(5), on_input=False), (4, 5), "with 5 outputs"),
        (OFT(torch.ones(2, 3, 3)), (5, 6), "with 6 outputs"),
        (OFT(torch.ones(2, 3, 3)), (6,), "with 6 outputs"),
        (InputOFT(torch.ones(2, 3)), (6, 5), "with 6 inputs"),
        (InputOFT(torch.ones(1, 3)), (6, 5), "a multiple of 3 inputs"),
        (Full(torch.ones(4, 3)), (3, 4), r"weight \(4, 3\)"),
        (Norm(torch.ones(4)), (4, 4), r"weight \(4,\)"),
        (LoKr(Factor(torch.ones(2, 2)), Factor(torch.ones(2, 18))), (4, 6, 3, 3), r"weight \(4, 36\)"),
        (DoRA(random_lora((5, 6), 1, 1, 0), torch.ones(1, 6)), (6, 5), "with 6 inputs"),
        (DoRA(random_lora((5, 6), 1, 1, 0), torch.ones(6, 1)), (5, 6), "with 6 outputs"),
    ],
)
def test_a_weight_that_does_not_fit_is_refused(update, weight, words):
    assert not update.fits(torch.zeros(weight))
    with pytest.raises(Error, match=words):
        update.delta(torch.zeros(weight))
