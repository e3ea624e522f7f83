import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora import Error
from sdlora.mixing.mix import parse
from sdlora.mixing.tags import read_tags
from ui.mix.rows import MOST_ROWS, given_of, mix_of, row_of
from ui.mix.tagging import tag_of, with_tags

weights = st.floats(-5, 5, allow_nan=False)
PATHS = ("unet.down_blocks.0.attentions.0.to_q", "unet.mid_block.x", "unet.up_blocks.1.x", "text_encoder.text_model.x")
tables = st.fixed_dictionaries(
    {},
    optional={
        "unet": weights,
        "text": weights,
        "blocks": st.sampled_from(["style", {"unet.mid_block": 0.5}, [1.0] * 17]),
        "start": st.sampled_from([0.25, "3"]),
        "stop": st.sampled_from([0.75, "9"]),
        "ramp_in": st.floats(0.1, 1),
    },
)


@given(st.one_of(weights, tables))
def test_what_a_mix_says_comes_back_from_a_row(said):
    again = given_of(row_of("ink", said))
    assert parse("ink", again, PATHS, "sd1") == parse("ink", said, PATHS, "sd1")


def test_only_what_is_on_is_mixed():
    rows = [{"name": "ink", "on": False, "weight": 1.0}, {"name": "clay", "on": True, "weight": 0.5}]
    assert mix_of(rows) == {"clay": 0.5}
    assert mix_of(None) == {}


def test_times_typed_in_are_as_in_a_tag():
    row = {"name": "ink", "on": True, "weight": 1.0, "start": " 5 ", "stop": "0.75"}
    span = parse("ink", given_of(row), PATHS, "sd1").span
    assert (span.start.is_step, span.start.value, span.stop.value) == (True, 5.0, 0.75)


@pytest.mark.parametrize("rows", [[3], [{"on": True}], [{"name": 1, "on": True}]])
def test_what_is_no_row_is_refused(rows):
    with pytest.raises(Error, match=f"at most {MOST_ROWS} adapters"):
        mix_of(rows)


@given(st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([None, 0.25, "3"]))
def test_a_saved_prompt_carries_the_mix_as_tags(unet, text, start):
    said = {"unet": unet, "text": text} | ({"start": start} if start else {})
    prompt = read_tags(with_tags("a fox", {"ink": said}))
    assert prompt.text.strip() == "a fox"
    [tag] = prompt.tags
    assert tag == tag_of("ink", said)
    assert parse("ink", tag.given(), PATHS, "sd1") == parse("ink", said, PATHS, "sd1")
