"""When adapters act."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora.errors import Error
from sdlora.mixing.timeline import ALWAYS, Moment, Span, read_moment, read_span

FRACTIONS = st.floats(0, 1)


def factors(steps, **span):
    return [read_span(span).factor(step, steps) for step in range(steps)]


def test_start_and_stop_are_fractions_of_the_steps():
    assert factors(5) == [1] * 5
    assert factors(5, start=0.2, stop=0.6) == [0, 1, 1, 0, 0]
    assert factors(10, start=0.2, stop=0.6) == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]


def test_text_with_a_whole_number_is_a_step_the_first_of_which_is_one():
    assert factors(5, start="2", stop="4") == [0, 1, 1, 0, 0]
    assert factors(5, start="1") == [1] * 5 and factors(5, start="9") == [0] * 5


def test_ramps_rise_and_fall_evenly():
    assert factors(4, ramp_in=1.0) == [0.125, 0.375, 0.625, 0.875]
    assert factors(4, ramp_out=0.5) == [1, 1, 0.75, 0.25]
    assert factors(8, start=0.5, ramp_in=0.25, ramp_out=0.25) == [0, 0, 0, 0, 0.25, 0.75, 0.75, 0.25]


@given(start=FRACTIONS, stop=FRACTIONS, ramp_in=FRACTIONS, ramp_out=FRACTIONS, steps=st.integers(1, 60))
def test_a_factor_is_between_none_and_all_and_is_told_again(start, stop, ramp_in, ramp_out, steps):
    if start >= stop:
        with pytest.raises(Error, match="start must come before"):
            read_span({"start": start, "stop": stop})
        return
    span = read_span({"start": start, "stop": stop, "ramp_in": ramp_in, "ramp_out": ramp_out})
    assert read_span(span.given()) == span
    for step in range(steps + 1):
        assert 0 <= span.factor(step, steps) <= 1


def test_after_the_end_what_was_in_force_stays():
    assert ALWAYS.factor(8, 8) == 1 and read_span({"start": 0.9}).factor(8, 8) == 1
    assert read_span({"stop": 0.9}).factor(8, 8) == 0 and read_span({"ramp_out": 0.1}).factor(8, 8) == 0


def test_moments_are_read_back():
    for moment in (Moment(0.25, is_step=False), Moment(7, is_step=True)):
        assert read_moment(moment.given()) == moment
    assert Span(Moment(3, is_step=True)).given() == {"start": "3"}


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan"), True, "soon", None, [1], 12])
def test_what_is_no_time_is_refused(wrong):
    with pytest.raises(Error, match="is no time"):
        read_moment(wrong)


@pytest.mark.parametrize("wrong", [2, -0.5, "long", True, float("nan")])
def test_what_is_no_ramp_is_refused(wrong):
    with pytest.raises(Error, match="is no ramp"):
        read_span({"ramp_in": wrong})
