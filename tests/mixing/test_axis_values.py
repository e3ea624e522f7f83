"""Values of an axis as A1111's X/Y/Z plot takes them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora.errors import Error
from sdlora.mixing.axis_values import MOST, numbers, texts, whole_numbers


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Euler a,DDIM", ["Euler a", "DDIM"]),
        (' a , "b, c" ,d', ["a", "b, c", "d"]),
        ('"say ""hi"", you",b', ['say "hi", you', "b"]),
        ('a 5" nail,b', ['a 5" nail', "b"]),
        ('"never closed, a', ["never closed, a"]),
        ("fox,", ["fox", ""]),
        ("a,b,a", ["a", "b"]),
        ("a\nb,c", ["a", "b", "c"]),
    ],
)
def test_texts(written, found):
    assert texts(written) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("0, 0.5,1", [0, 0.5, 1]),
        ("0-1[5]", [0, 0.25, 0.5, 0.75, 1]),
        ("0.0-1.0 [6]", [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ("0-1(+0.1)", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("1-3 (+0.5)", [1, 1.5, 2, 2.5, 3]),
        ("0-1(+0.3)", [0, 0.3, 0.6, 0.9]),
        ("-1-1[3], 1.5", [-1, 0, 1, 1.5]),
        ("-.5 - -2(-.5)", [-0.5, -1, -1.5, -2]),
        ("3-1", [3, 2, 1]),
        ("1-3[1]", [1]),
        ("-1, 1e-3", [-1, 0.001]),
    ],
)
def test_numbers(written, found):
    assert numbers(written) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [  # those with brackets are the examples of A1111's own wiki
        ("1-5", [1, 2, 3, 4, 5]),
        ("1-5 (+2)", [1, 3, 5]),
        ("10-5 (-3)", [10, 7]),
        ("1-10 [5]", [1, 3, 5, 7, 10]),
        ("1-3[9]", [1, 2, 3]),
        ("-1, 18446744073709551615", [-1, 2**64 - 1]),
    ],
)
def test_whole_numbers(written, found):
    assert whole_numbers(written) == found


@given(st.decimals(-100, 100, places=2), st.decimals(-100, 100, places=2), st.integers(2, 50))
def test_evenly_spaced(start, end, count):
    found = numbers(f"{start}-{end}[{count}]")
    assert len(found) == (count if start != end else 1)
    assert (found[0], found[-1]) == (float(start), float(end))
    assert found == sorted(found, reverse=start > end)


@given(st.decimals(-100, 100, places=2), st.decimals("0.01", 9, places=2), st.integers(0, 50))
def test_stepped(start, step, count):
    end = start + step * count
    assert numbers(f"{start}-{end}(+{step})") == [float(start + step * i) for i in range(count + 1)]
    assert numbers(f"{end}-{start}(-{step})")[-1] == float(start)
    assert all(value <= float(end) for value in numbers(f"{start}-{end + step * Decimal('0.99')}({step})"))


@pytest.mark.parametrize(
    ("read", "written", "sentence"),
    [
        (texts, "", "there are no values"),
        (numbers, " , ", "there are no values"),
        (numbers, "a", "'a' is no number and no range"),
        (numbers, "0-1[x]", "no number and no range"),
        (numbers, "nan", "not finite"),
        (numbers, "1" * 400, "not finite"),
        (numbers, f"0-{'1' * 400}[2]", "too large"),
        (numbers, "0-1(-1)", "never comes to its end"),
        (numbers, "0-1(+0)", "never comes to its end"),
        (numbers, "0-1[0]", "at least 1"),
        (numbers, f"0-1[{MOST + 1}]", f"more than {MOST}"),
        (numbers, "0-1(+0.000001)", f"more than {MOST}"),
        (whole_numbers, "0.5", "is not whole"),
        (whole_numbers, "1-2(+0.5)", "is not whole"),
    ],
)
def test_what_is_none(read, written, sentence):
    with pytest.raises(Error) as caught:
        read(written)
    assert sentence in str(caught.value)
