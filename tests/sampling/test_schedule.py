"""Prompts that change on the way, with the results that A1111 gives.

The results are A1111's own: its published grammar (stable-diffusion-webui wiki, "Prompt editing" and "Alternating
words"; the first thirteen stand in the doctests of its prompt_parser) was run on these prompts.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora.sampling.schedule import Stage, stage_at, stages_of

TABLE = [
    # A1111's doctests, 10 steps
    ("test", 10, [(10, "test")]),
    ("a [b:3]", 10, [(3, "a "), (10, "a b")]),
    ("a [b: 3]", 10, [(3, "a "), (10, "a b")]),
    ("a [[[b]]:2]", 10, [(2, "a "), (10, "a [[b]]")]),
    ("[(a:2):3]", 10, [(3, ""), (10, "(a:2)")]),
    ("a [b : c : 1] d", 10, [(1, "a b  d"), (10, "a  c  d")]),
    ("a[b:[c:d:2]:1]e", 10, [(1, "abe"), (2, "ace"), (10, "ade")]),
    ("a [unbalanced", 10, [(10, "a [unbalanced")]),
    ("a [b:.5] c", 10, [(5, "a  c"), (10, "a b c")]),
    ("((a][:b:c [d:3]", 10, [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
    ("[a|(b:1.1)]", 4, [(1, "a"), (2, "(b:1.1)"), (3, "a"), (4, "(b:1.1)")]),
    ("[fe|]male", 4, [(1, "female"), (2, "male"), (3, "female"), (4, "male")]),
    ("[fe|||]male", 5, [(1, "female"), (2, "male"), (3, "male"), (4, "male"), (5, "female")]),
    # when: a point makes it a fraction of the steps, `.0` too; no point a step; cut to the steps
    ("a [b:0.5] c", 10, [(5, "a  c"), (10, "a b c")]),
    ("a [b::3] c", 10, [(3, "a b c"), (10, "a  c")]),
    ("[b:c:1.0]", 10, [(10, "b")]),
    ("[b:c:0]", 10, [(10, "c")]),
    ("[b:c:-1]", 10, [(10, "c")]),
    ("[b:c:99]", 10, [(10, "b")]),
    ("[b:c:0.99]", 10, [(9, "b"), (10, "c")]),
    ("[b:c:3.]", 10, [(10, "b")]),
    ("[b:c:+3]", 10, [(3, "b"), (10, "c")]),
    ("[b:c:1e0]", 10, [(1, "b"), (10, "c")]),
    # an empty side
    ("[:b:3]", 10, [(3, ""), (10, "b")]),
    ("[b::3]", 10, [(3, "b"), (10, "")]),
    ("[:3]", 10, [(3, ""), (10, "")]),
    # spaces belong to the texts, not to the number
    ("a [b: c :0.25 ]", 10, [(2, "a b"), (10, "a  c ")]),
    # one in the other, and with emphasis
    ("[a:[b:c:0.75]:0.25]", 10, [(2, "a"), (7, "b"), (10, "c")]),
    ("[[a:b:2]:c:4]", 10, [(2, "a"), (4, "b"), (10, "c")]),
    ("[(red:1.3):[blue]:5]", 10, [(5, "(red:1.3)"), (10, "[blue]")]),
    ("(a [b:c:2]:1.2)", 10, [(2, "(a b:1.2)"), (10, "(a c:1.2)")]),
    ("[a,(b:1.1):c:3] d", 10, [(3, "a,(b:1.1) d"), (10, "c d")]),
    ("[a|b|c]", 4, [(1, "a"), (2, "b"), (3, "c"), (4, "a")]),
    ("[a|[b:c:2]]", 4, [(1, "a"), (2, "b"), (3, "a"), (4, "c")]),
    ("[a|]x", 4, [(1, "ax"), (2, "x"), (3, "ax"), (4, "x")]),
    # what is no schedule stays as it is
    ("(a:1.2) [b]", 10, [(10, "(a:1.2) [b]")]),
    ("a [b:c]", 10, [(10, "a [b:c]")]),
    ("a [b:c:d]", 10, [(10, "a [b:c:d]")]),
    ("a [b:c:3:4]", 10, [(10, "a [b:c:3:4]")]),
    ("a] b [c:3", 10, [(10, "a] b [c:3")]),
    ("<x:1> [a:3]", 10, [(3, "<x:1> "), (10, "<x:1> a")]),
    # a bar outside of an alternation, or a last backslash: the grammar takes nothing of the prompt
    ("a | b [c:3]", 4, [(4, "a | b [c:3]")]),
    ("[a|b:3]", 4, [(4, "[a|b:3]")]),
    ("[a:3] \\", 10, [(10, "[a:3] \\")]),
    # escapes stay for the emphasis, which reads the text next
    ("\\[a:3\\]", 10, [(10, "\\[a:3\\]")]),
    ("[a\\:b:3]", 10, [(3, ""), (10, "a\\:b")]),
    ("[a\\|b:3]", 4, [(3, ""), (4, "a\\|b")]),
    # lines and letters
    ("[a\nb:3]", 10, [(3, ""), (10, "a\nb")]),
    ("[é:ü:2]", 10, [(2, "é"), (10, "ü")]),
]


@pytest.mark.parametrize(("prompt", "steps", "stages"), TABLE, ids=[row[0] for row in TABLE])
def test_stages_are_a1111s(prompt, steps, stages):
    assert stages_of(prompt, steps) == stages


@pytest.mark.parametrize(
    ("prompt", "stages"),
    [
        ("a [b:.5] c", [(10, "a b c")]),  # the first two are A1111's doctests
        ("a [b:1.5] c", [(5, "a  c"), (10, "a b c")]),
        ("a [b:15] c", [(5, "a  c"), (10, "a b c")]),
        ("a [b:5] c", [(10, "a b c")]),
        ("a [b:c:1.0]", [(10, "a c")]),
    ],
)
def test_a_second_pass_goes_on_from_the_first(prompt, stages):
    assert stages_of(prompt, 10, first_pass=10) == stages


def test_a_stage_is_in_force_up_to_its_last_step():
    stages = stages_of("[a:b:3]", 10)
    assert [stages[stage_at(stages, i, 10)].text for i in range(10)] == ["a"] * 3 + ["b"] * 7
    alternating = stages_of("[a|b]", 4)
    assert [alternating[stage_at(alternating, i, 4)].text for i in range(4)] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("total", [19, 20, 21])
def test_samplers_that_look_twice_a_step_change_at_the_same_place(total):
    stages = stages_of("[a:b:0.5]", 10)
    texts = [stages[stage_at(stages, i, total)].text for i in range(total)]
    assert texts.count("a") in (total // 2, total // 2 + 1) and texts == sorted(texts)


@given(st.text("[]():|\\ab .135\n", max_size=40), st.integers(1, 12))
def test_any_prompt_has_stages_to_the_last_step(prompt, steps):
    stages = stages_of(prompt, steps)
    lasts = [stage.last for stage in stages]
    assert lasts == sorted(set(lasts)) and lasts[-1] == steps and lasts[0] >= 1
    assert all(0 <= stage_at(stages, i, steps) < len(stages) for i in range(steps))


def test_a_prompt_of_brackets_alone_ends_soon():
    for bracket in "[(":
        deep = bracket * 3000
        assert stages_of(deep, 5) == [Stage(5, deep)]
