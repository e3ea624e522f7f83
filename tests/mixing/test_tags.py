"""Adapters named in a prompt."""

import pytest

from sdlora.errors import Error
from sdlora.mixing.tags import Moment, Tag, read_tags

TABLE = [
    # stable-diffusion-webui's Lora extension: one weight for both, unless there is a second; names or places
    ("<lora:ink>", Tag("ink", 1.0, 1.0)),
    ("<lora:ink:0.8>", Tag("ink", 0.8, 0.8)),
    ("<lora:ink:0.6:0.3>", Tag("ink", 0.6, 0.3)),
    ("<lora:ink:te=0.6:unet=0.3>", Tag("ink", 0.6, 0.3)),
    ("<lora:ink:te=0.6>", Tag("ink", 0.6, 0.6)),
    ("<lora:ink:unet=0.3>", Tag("ink", 1.0, 0.3)),
    ("<lora:ink:0.5:unet=0.3>", Tag("ink", 0.5, 0.3)),
    ("<lora:ink:unet=0.3:0.5>", Tag("ink", 0.5, 0.3)),
    ("<lora:ink:-0.5>", Tag("ink", -0.5, -0.5)),
    ("<lora:ink:1e-2>", Tag("ink", 0.01, 0.01)),
    ("<lora:ink: 0.5 >", Tag("ink", 0.5, 0.5)),
    ("<lyco:ink:0.5>", Tag("ink", 0.5, 0.5)),
    ("<lora:my ink, v2 (größer):0.5>", Tag("my ink, v2 (größer)", 0.5, 0.5)),
    # sd-webui-lora-block-weight's README: lists and presets, from a step on, up to a step
    ("<lora:ink:1:lbw=OUTD>", Tag("ink", 1.0, 1.0, "OUTD")),
    ("<lora:ink:1:1:lbw=1,0.5,0>", Tag("ink", 1.0, 1.0, "1,0.5,0")),
    ("<lora:ink:lbw=ALL:stop=10>", Tag("ink", 1.0, 1.0, "ALL", None, Moment(10, True))),
    ("<lora:ink:0.5:start=5:stop=10>", Tag("ink", 0.5, 0.5, None, Moment(5, True), Moment(10, True))),
    ("<lora:ink:start=0.25:stop=1.0>", Tag("ink", 1.0, 1.0, None, Moment(0.25, False), Moment(1.0, False))),
]


@pytest.mark.parametrize(("written", "tag"), TABLE, ids=[row[0] for row in TABLE])
def test_a_tag_is_read_and_written(written, tag):
    found = read_tags(f"a fox {written}, red")
    assert found.text == "a fox , red" and found.tags == (tag,)
    assert read_tags(str(tag)).tags == (tag,)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (Tag("ink", 1.0, 1.0), "<lora:ink:1>"),
        (Tag("ink", 1 / 3, 0.5), "<lora:ink:0.3333333333333333:0.5>"),
        (Tag("ink", 0.0, 1.0, "OUTD", Moment(3, True), Moment(0.5, False)), "<lora:ink:0:1:lbw=OUTD:start=3:stop=0.5>"),
    ],
)
def test_a_tag_is_written_short(tag, text):
    assert str(tag) == text


def test_several_stay_in_order_and_others_are_taken_out_but_told():
    found = read_tags("<lora:b:1>a<lora:a:0.5><hypernet:x:1> (c:1.2) <lora:b:2> <s1> < lora:c:1>")
    assert [(tag.name, tag.unet) for tag in found.tags] == [("b", 1.0), ("a", 0.5), ("b", 2.0)]
    assert found.others == ("<hypernet:x:1>",)
    assert found.text == "a (c:1.2)  <s1> < lora:c:1>"


def test_a_prompt_without_tags_is_as_it_was():
    assert read_tags(" a [b:c:3], (d:1.2) <3 ").text == " a [b:c:3], (d:1.2) <3 "


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("<lora: :1>", "names no adapter"),
        ("<lora:ink:strong>", "has 'strong' for a weight: give a finite number"),
        ("<lora:ink:nan>", "has 'nan' for a weight"),
        ("<lora:ink:1:2:3>", "has '3' in it, which is neither a weight nor one of te, unet, lbw, start, stop"),
        ("<lora:ink:1:size=3>", "has 'size=3' in it"),
        ("<lora:ink:start=1.5>", r"'1.5' is no time: give a fraction of the steps \(0.5\) or, as text, a step"),
        ("<lora:ink:stop=-1>", "'-1' is no time"),
    ],
)
def test_what_can_not_be_understood_is_a_sentence(prompt, sentence):
    with pytest.raises(Error, match=sentence):
        read_tags(prompt)


@pytest.mark.parametrize(
    ("moment", "done"),
    [
        (Moment(1, True), 0),  # step 10 begins when nine are done
        (Moment(10, True), 9),
        (Moment(0, True), 0),
        (Moment(99, True), 20),
        (Moment(0.0, False), 0),
        (Moment(0.25, False), 5),
        (Moment(1.0, False), 20),
    ],
)
def test_a_moment_in_steps_done(moment, done):
    assert moment.after_steps(20) == done
