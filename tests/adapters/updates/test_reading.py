"""Parts become updates and updates parts; what makes no sense is refused in a sentence."""

import pytest
import torch

from sdlora.adapters.updates import InputOFT, Norm, update_from
from sdlora.errors import Error
from tests.adapters.made import numbers
from tests.adapters.updates.references import CASES, references, update_of

LORA = {"lora_down.weight": torch.ones(2, 6), "lora_up.weight": torch.ones(5, 2)}
LOHA = {f"hada_w{n}_{side}": torch.ones(2, 2) for n in (1, 2) for side in "ab"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tensors_say_all_there_is(case, tmp_path):
    for reference in references(case, tmp_path).values():
        update, _ = update_of(reference)
        again, understood = update_from(update.tensors())
        assert understood == update.tensors().keys()
        assert type(again) is type(update) and again.rank == update.rank and again.kind == update.kind
        assert torch.equal(again.delta(reference.weight), update.delta(reference.weight))


def test_the_kinds_have_the_fields_names(tmp_path):
    for case in CASES:
        kinds = {update_from(reference.parts)[0].kind for reference in references(case, tmp_path).values()}
        name = case.name.partition(",")[0].partition(" of ")[0]
        assert kinds == set(name.split(" / "))


def test_a_1x1_convolution_is_lora_and_a_larger_one_locon():
    def of(kernel):
        return update_from({"lora_down.weight": torch.ones(2, 6, *kernel), "lora_up.weight": torch.ones(5, 2, 1, 1)})[0]

    assert [of(kernel).kind for kernel in ((1, 1), (3, 3))] == ["LoRA", "LoCon"]


def test_a_missing_alpha_is_the_rank():
    assert update_from(LORA)[0].alpha == 2
    assert update_from(LOHA)[0].scale == 1
    core = torch.ones(3, 3, 1, 1)
    assert (
        update_from({
            "lora_down.weight": torch.ones(3, 2),
            "lora_mid.weight": core,
            "lora_up.weight": torch.ones(2, 3),
        })[0].scale
        == 1
    )
    assert (
        update_from({"lokr_w1": torch.ones(2, 2), "lokr_w2_a": torch.ones(2, 1), "lokr_w2_b": torch.ones(1, 2)})[
            0
        ].scale
        == 1
    )


def test_alpha_scales_no_lokr_whose_sides_are_whole():
    update = update_from({"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(2, 2), "alpha": torch.tensor(64.0)})[0]
    assert torch.equal(update.delta(torch.zeros(4, 4)), torch.ones(4, 4))
    assert update.tensors()["alpha"] == 64  # kept for those who write it again


def test_parts_that_are_not_understood_are_left_over():
    update, understood = update_from(LORA | {"scalar": torch.ones(()), "diff_b": torch.ones(5)})
    assert understood == LORA.keys() and update.kind == "LoRA"
    assert update_from({"w_norm": torch.ones(3), "dora_scale": torch.ones(3, 1)})[1] == {"w_norm"}
    assert isinstance(update_from({"w_norm": torch.ones(3)})[0], Norm)


def with_a_bad_number(parts, name, value):
    bad = parts[name].clone()
    bad.view(-1)[0] = value
    return parts | {name: bad}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_that_are_no_numbers_are_refused_by_name(case, value, tmp_path):
    for reference in references(case, tmp_path).values():
        for name in reference.parts:
            if name == "on_input":
                continue
            with pytest.raises(Error, match=rf"{name.removesuffix('.weight')}|alpha"):
                update_from(with_a_bad_number(reference.parts, name, value))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_shape_of_any_part_breaks_the_reader(case, tmp_path):
    """Whatever shape a part has, it makes an update or a sentence."""
    reference = next(iter(references(case, tmp_path).values()))
    for name in reference.parts:
        for shape in [
            (),
            (0,),
            (1,),
            (7,),
            (0, 5),
            (3, 0),
            (7, 5),
            (1, 1, 1),
            (2, 3, 3, 3),
            (2, 1, 1, 1, 1),
            (0, 0, 0),
        ]:
            try:
                update = update_from(reference.parts | {name: torch.zeros(shape)})[0]
                if update.fits(reference.weight):
                    assert update.delta(reference.weight).shape == reference.weight.shape
                assert update.kind and update.made_for and update.tensors()
            except Error as problem:
                assert str(problem)
        without = {other: tensor for other, tensor in reference.parts.items() if other != name}
        try:
            update_from(without)
        except Error as problem:
            assert str(problem)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "make no kind"),
        ({"alpha": torch.ones(())}, "alpha make no kind"),
        ({f"part{n}": torch.ones(1) for n in range(9)}, "part0, part1, part2 and 6 more make no kind"),
        ({"lora_down.weight": torch.ones(2, 6)}, "lora_up.weight is missing"),
        (
            {"q_layer.weight": torch.ones(2, 6), "p_layer.weight": torch.ones(5, 2), "lambda_layer": torch.ones(1, 2)},
            "T-LoRA",
        ),
        ({"hada_w1_a": torch.ones(2, 2), "hada_w1_b": torch.ones(2, 2)}, "hada_w2_a is missing"),
        (LOHA | {"hada_w2_b": torch.ones(2, 3)}, r"\(2, 2\) and \(2, 3\)"),
        (LORA | {"alpha": torch.ones(2)}, r"not one number but \(2,\)"),
        (LORA | {"dora_scale": torch.ones(2, 3)}, "dora_scale is"),
        (LORA | {"lora_up.weight": torch.ones(5, 2, dtype=torch.complex64)}, "no real numbers"),
        (LORA | {"lora_up.weight": torch.ones(5, 3)}, "do not make a LoRA"),
        ({"lora_down.weight": torch.ones(100_000, 6), "lora_up.weight": torch.ones(5, 100_000)}, "rank 100000"),
        (
            {f"hada_w{n}_{s}": torch.ones((2, 100_000)[:: 1 if s == "a" else -1]) for n in (1, 2) for s in "ab"},
            "rank 100000",
        ),
        ({"oft_blocks": torch.ones(2, 3, 4)}, "no square blocks"),
        ({"oft_blocks": torch.ones(3, 3)}, "three dimensions, BOFT four"),
        ({"oft_blocks": torch.ones(2, 3, 3, 3)}, "no BOFT"),
        ({"oft_R.weight": torch.ones(2, 4)}, "no packed skew matrices"),
        ({"oft_R.weight": torch.ones(2, 3), "oft_R.neumann_terms": torch.tensor(10**9)}, "series of"),
        ({"lokr_w1_a": torch.ones(2, 1), "lokr_w1_b": torch.ones(1, 2)}, "lokr_w2_a is missing"),
        ({"diff": torch.ones(4, 3), "diff_b": torch.ones(3)}, r"diff_b is \(3,\)"),
        ({"on_input": torch.tensor(1)}, "weight is missing"),
    ],
)
def test_what_makes_no_update_is_refused_in_a_sentence(parts, words):
    with pytest.raises(Error, match=words) as refusal:
        update_from(parts)
    assert "\n" not in str(refusal.value)


def test_a_large_delta_is_not_made_for_a_small_weight():
    """A file of a few kilobytes may describe a matrix of gigabytes: what does not fit is refused before it is made."""
    parts = {"lokr_w1": numbers((2000, 2000), 0), "lokr_w2": numbers((1000, 1000), 1)}
    with pytest.raises(Error, match=r"\(2000000, 2000000\)"):
        update_from(parts)[0].delta(torch.zeros(4, 4))


def test_pefts_oft_is_read_back_as_it_was():
    update = InputOFT.from_peft(numbers((2, 3), 0), use_cayley_neumann=False)
    assert update.terms == 0 and update_from(update.tensors())[0].terms == 0
