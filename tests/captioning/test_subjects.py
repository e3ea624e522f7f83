"""What is left unsaid, so that the trigger word stands for it."""

import pytest

from sdlora.captioning.subjects import Wanted, fitting, without_style


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("a black and white drawing of a fox in the snow", "a fox in the snow"),
        ("a painting of a house by the sea, in the style of van gogh", "a house by the sea"),
        ("The image shows a cartoon illustration of two dogs", "two dogs"),
        ("a close up of a flower", "a close up of a flower"),
        ("an emoji of a smiling face", "a smiling face"),
        ("a cat drawn in a flat cartoon style of the sixties, with a hat", "a cat, with a hat"),
        ("a woman holding a painting of a ship", "a woman holding a painting of a ship"),
        ("a drawing of", "a drawing of"),
        ("", ""),
    ],
)
def test_style_words_are_left_out_where_captioners_put_them(said, left):
    assert without_style(said) == left


def test_tags_that_the_trigger_stands_for():
    tags = ["1girl", "blue eyes", "long hair", "smile", "watercolor (medium)", "monochrome", "hat", "cat ears"]
    assert fitting(tags, "style") == ["1girl", "blue eyes", "long hair", "smile", "hat", "cat ears"]
    assert fitting(tags, "character") == ["1girl", "smile", "watercolor (medium)", "monochrome", "hat"]
    assert fitting(tags, "everything") == tags


def test_instructions_name_the_character_and_give_way_to_the_user_s():
    assert "Mila's face" in Wanted("character", "Mila").instruction
    assert "style" in Wanted("style").instruction and "style" not in Wanted("everything").instruction
    assert Wanted("style", None, "Say it in rhyme.").instruction == "Say it in rhyme."
