"""Prompts of sample images: their options, their seeds, the file that they may come from."""

import pytest

from sdlora.errors import Error
from sdlora.training.config import TrainConfig
from sdlora.training.sample_prompts import SEED, read_lines, recipes_of


def test_a_line_is_a_prompt_with_options(mini):
    plain, full = recipes_of(["a red disc", "a disc --n blurry, grey --d 7 --w 64 --h 128 --s 9 --l 2.5"], mini, 64)
    assert (plain.prompt, plain.negative, plain.seed, plain.size) == ("a red disc", "", SEED, (64, 64))
    assert (full.prompt, full.negative, full.seed, full.size) == ("a disc", "blurry, grey", 7, (64, 128))
    assert (full.steps, full.guidance) == (9, 2.5)


def test_prompts_share_a_seed_unless_they_are_the_same(mini):
    first, other, again = recipes_of(["a disc", "a cube", "a disc"], mini, 64)
    assert first.seed == other.seed == SEED and again.seed == SEED + 1


def test_no_prompt_at_all_is_a_prompt(mini):
    empty, with_option = recipes_of(["", "--d 3"], mini, 64)
    assert empty.prompt == with_option.prompt == "" and with_option.seed == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a disc --x 3", r"has an option --x: there are --n \(negative\)"),
        ("a disc --d seven", "--d 'seven': give a number"),
        ("a disc --w 63", "63x64: both sides must be multiples"),
        ("a disc --s 0", "steps is 0"),
    ],
)
def test_what_can_t_be_drawn_is_refused_with_its_line(mini, line, said):
    with pytest.raises(Error, match=said) as caught:
        recipes_of([line], mini, 64)
    assert repr(line) in str(caught.value)


def test_a_file_has_a_prompt_a_line(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff# for the report\n\n  a Münze  \na disc --d 2\n", encoding="utf-8")
    assert read_lines(str(file)) == ["a Münze", "a disc --d 2"]
    assert read_lines(["# this is a prompt", ""]) == ["# this is a prompt", ""]


def test_a_file_that_has_none_is_refused(tmp_path):
    file = tmp_path / "prompts.txt"
    with pytest.raises(Error, match="There is no file"):
        read_lines(str(file))
    file.write_bytes("café".encode("latin-1"))
    with pytest.raises(Error, match="not UTF-8"):
        read_lines(str(file))
    file.write_text("# nothing\n\n", encoding="utf-8")
    with pytest.raises(Error, match="no sample prompt in"):
        read_lines(str(file))


@pytest.mark.parametrize("given", ["some/prompts.txt", ("some/prompts.txt",), ["some/prompts.TXT"]])
def test_a_config_takes_a_file_or_prompts(given):
    """A command line gives a tuple of one."""
    config = TrainConfig(name="disc", images="discs", sample_prompts=given)
    assert str(config.sample_prompts).lower() == "some/prompts.txt"
    assert TrainConfig(name="disc", images="discs", sample_prompts=["a", "b"]).sample_prompts == ["a", "b"]


@pytest.mark.parametrize(("given", "read"), [(0.5, [0.5]), ("0.5,1", [0.5, 1.0]), ([0, 1], [0.0, 1.0])])
def test_weights_of_samples(given, read):
    assert TrainConfig(name="disc", images="discs", sample_weights=given).sample_weights == read


@pytest.mark.parametrize("given", [[], "much", [float("nan")]])
def test_weights_that_can_t_be(given):
    with pytest.raises(Error, match="sample_weights"):
        TrainConfig(name="disc", images="discs", sample_weights=given)
