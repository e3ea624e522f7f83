"""What training makes of captions."""

from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sdlora.data.folder import Example
from sdlora.data.wording import PLAIN, Wording

TAGS = "ink style, fox, red, running, white background"


def written(text, lines=(), times=200, **settings):
    example = Example(Path("a.png"), text, lines=lines)
    return [Wording(**settings).written(example, Random(seed)) for seed in range(times)]


def test_by_itself_a_caption_stays_as_it_is():
    assert set(written(TAGS)) == {TAGS} and PLAIN.plain(Example(Path("a"), TAGS)) == TAGS and not PLAIN.varies


def test_prefix_and_suffix():
    assert set(written("fox", prefix="photo of a", suffix=", 4k ")) == {"photo of a fox , 4k"}
    assert Wording("a").plain(Example(Path("x"), "")) == "a"


def test_tags_are_shuffled_but_for_the_first():
    found = written(TAGS, shuffle=True, keep=2)
    assert all(text.startswith("ink style, fox, ") for text in found)
    assert len(set(found)) == 6 and {tuple(sorted(text.split(", "))) for text in found} == {
        tuple(sorted(TAGS.split(", ")))
    }


@given(st.floats(0.0, 1.0), st.integers(0, 3))
def test_tags_are_left_out_but_neither_the_kept_nor_the_trigger(share, keep):
    for text in written(TAGS, times=10, tag_dropout=share, keep=keep, trigger="running"):
        assert "running" in text and text.split(", ")[:keep] == TAGS.split(", ")[:keep]


def test_half_of_the_tags_are_left_out():
    kept = sum(len(text.split(", ")) for text in written(TAGS, times=1000, tag_dropout=0.5, keep=1)) / 1000
    assert 2.8 < kept < 3.2


def test_wildcards_are_chosen_from_the_inside_out():
    found = set(written("a {red|{dark |light }blue} {fox}", wildcards=True))
    assert found == {"a red {fox}", "a dark blue {fox}", "a light blue {fox}"}
    assert set(written("a {red|blue} fox")) == {"a {red|blue} fox"}


def test_one_of_several_lines():
    lines = ("ink style, one", "ink style, two")
    assert set(written("ink style, one two", lines, choose_line=True)) == set(lines)
    assert set(written("ink style, one two", lines)) == {"ink style, one two"}
    assert set(written("alone", (), choose_line=True)) == {"alone"}
