"""The text by which others say what made a picture, with the results that A1111 gives.

The rules are those of stable-diffusion-webui's `parse_generation_parameters` and `quote`, its published behaviour; the
expected results are what it makes of these texts.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora.mixing.infotext import Infotext, parse_infotext, quote, unquote

# text, (prompt, negative prompt, facts)
TABLE = [
    (
        "a fox\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 45dee52b",
        (
            "a fox",
            "",
            {
                "Steps": "20",
                "Sampler": "Euler a",
                "CFG scale": "7",
                "Seed": "1",
                "Size": "512x512",
                "Model hash": "45dee52b",
            },
        ),
    ),
    (
        "a fox\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Seed: 1",
        ("a fox", "blurry", {"Steps": "20", "Sampler": "Euler a", "Seed": "1"}),
    ),
    (
        "a\nb\nNegative prompt: c\nd\nSteps: 1, Sampler: X, Seed: 2",
        ("a\nb", "c\nd", {"Steps": "1", "Sampler": "X", "Seed": "2"}),
    ),
    ("a fox", ("a fox", "", {})),
    ("", ("", "", {})),
    ("Steps: 20, Sampler: Euler a, Seed: 1", ("", "", {"Steps": "20", "Sampler": "Euler a", "Seed": "1"})),
    ("a fox\nSteps: 20, Seed: 1", ("a fox\nSteps: 20, Seed: 1", "", {})),
    (
        "Negative prompt: blurry\nSteps: 1, Sampler: X, Seed: 2",
        ("", "blurry", {"Steps": "1", "Sampler": "X", "Seed": "2"}),
    ),
    ("a\nNegative prompt:\nSteps: 1, Sampler: X, Seed: 2", ("a", "", {"Steps": "1", "Sampler": "X", "Seed": "2"})),
    (
        "a\nNegative prompt: b\nNegative prompt: c\nSteps: 1, Sampler: X, Seed: 2",
        ("a", "b\nc", {"Steps": "1", "Sampler": "X", "Seed": "2"}),
    ),
    ('a\nSteps: 1, Model: "a, b: c", Seed: 2', ("a", "", {"Steps": "1", "Model": "a, b: c", "Seed": "2"})),
    ('a\nSteps: 1, Model: "a \\"b\\", c", Seed: 2', ("a", "", {"Steps": "1", "Model": 'a "b", c', "Seed": "2"})),
    ('a\nSteps: 1, Model: "a\\nb", Seed: 2', ("a", "", {"Steps": "1", "Model": "a\nb", "Seed": "2"})),
    ('a\nSteps: 1, Model: a "b" c, Seed: 2', ("a", "", {"Steps": "1", "Model": 'a "b" c', "Seed": "2"})),
    (
        'a\nSteps: 1, Model: "a, Seed: 2, Size: 8x8',
        ("a", "", {"Steps": "1", "Model": '"a', "Seed": "2", "Size": "8x8"}),
    ),
    ("a\nSteps: 1, RNG, Sampler: X, Seed: 2", ("a", "", {"Steps": "1", "Sampler": "X", "Seed": "2"})),
    ("a\nSteps: 1, Steps: 2, Steps: 3", ("a", "", {"Steps": "3"})),
    ("a\nSteps: , Sampler: X, Seed: 2", ("a", "", {"Sampler": "X", "Seed": "2"})),
    ("  a  \n\n b \nSteps: 1, Sampler: X, Seed: 2\n\n", ("a\n\nb", "", {"Steps": "1", "Sampler": "X", "Seed": "2"})),
    ("red: one, blue: two, green: three", ("", "", {"red": "one", "blue": "two", "green": "three"})),
    ("a, b: c\nSteps: 1, Sampler: X, Seed: 2", ("a, b: c", "", {"Steps": "1", "Sampler": "X", "Seed": "2"})),
    (
        'a\nSteps: 1, Lora hashes: "ink: 0123456789ab, oil: ba98", TI hashes: "x: 1", Version: v1.9.4',
        (
            "a",
            "",
            {"Steps": "1", "Lora hashes": "ink: 0123456789ab, oil: ba98", "TI hashes": "x: 1", "Version": "v1.9.4"},
        ),
    ),
    (
        "a\nNegative prompt: b\nTemplate: x\nSteps: 1, Sampler: X, Seed: 2",
        ("a", "b\nTemplate: x", {"Steps": "1", "Sampler": "X", "Seed": "2"}),
    ),
    (
        "a\nSteps: 1,Sampler: X,Seed:2,Version: 1",
        ("a", "", {"Steps": "1", "Sampler": "X", "Seed": "2", "Version": "1"}),
    ),
    (
        "größer, 蓝 🦊\nSteps: 1, Sampler: X, Seed: 2",
        ("größer, 蓝 🦊", "", {"Steps": "1", "Sampler": "X", "Seed": "2"}),
    ),
    ('a\nSteps: 1, Model: "", Seed: 2', ("a", "", {"Steps": "1", "Model": "", "Seed": "2"})),
    ("a\nK: 1, Steps: 1, Sampler: X, Seed: 2", ("a", "", {"Steps": "1", "Sampler": "X", "Seed": "2"})),
    (
        "a\r\nNegative prompt: b\r\nSteps: 1, Sampler: X, Seed: 2",
        ("a", "b", {"Steps": "1", "Sampler": "X", "Seed": "2"}),
    ),
    (
        "a\nSteps: 1, Face restoration: CodeFormer, Hires upscaler: R-ESRGAN 4x+, Denoising strength: 0.7",
        (
            "a",
            "",
            {
                "Steps": "1",
                "Face restoration": "CodeFormer",
                "Hires upscaler": "R-ESRGAN 4x+",
                "Denoising strength": "0.7",
            },
        ),
    ),
]


@pytest.mark.parametrize(("text", "expected"), TABLE, ids=[repr(row[0])[:60] for row in TABLE])
def test_texts_are_read_as_a1111_reads_them(text, expected):
    found = parse_infotext(text)
    assert (found.prompt, found.negative, dict(found.facts)) == expected


# A1111 quotes what holds a comma, a colon or a line break, and nothing else.
@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("Euler a", "Euler a"),
        ("a, b", '"a, b"'),
        ("a: b", '"a: b"'),
        ("a\nb", '"a\\nb"'),
        ('a "b"', 'a "b"'),
        ('a, "b"', '"a, \\"b\\""'),
        ("größer, 蓝", '"größer, 蓝"'),
        ("a\\b", "a\\b"),
        (7, "7"),
        ("", ""),
    ],
)
def test_values_are_quoted_as_a1111_quotes_them(value, written):
    assert quote(value) == written
    assert unquote(written) == str(value)


@pytest.mark.parametrize("text", ['"', '""', '"a', 'a"', '"a" b"', '"\\x"', "[1]", '"1" "2"'])
def test_what_is_no_json_string_stays(text):
    assert unquote(text) == ("" if text == '""' else text)


def test_the_text_is_a1111s():
    """The layout of the example in its documentation; what says nothing more than its name stands alone."""
    facts = {"Steps": "20", "Sampler": "Euler a", "RNG": "RNG", "Lora hashes": "ink: 01, oil: 02"}
    assert str(Infotext("a fox\nred", "blurry", facts)) == (
        'a fox\nred\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, RNG, Lora hashes: "ink: 01, oil: 02"'
    )
    assert str(Infotext("a fox", "", {"Steps": "20"})) == "a fox\nSteps: 20"
    assert str(Infotext("", "", {"Steps": "20"})) == "Steps: 20"


LINES = st.lists(st.text("ab c(:1.2)<>,.é蓝🦊\\", max_size=20).map(str.strip), max_size=4).map("\n".join).map(str.strip)
VALUES = (
    st
    .text('ab ,:"é\\\n1', min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda value: value and not (value[0] == '"' and value[-1] == '"'))
)


@given(LINES, LINES, st.lists(VALUES, min_size=3, max_size=3))
def test_what_is_written_is_read_back(prompt, negative, values):
    facts = {"Steps": "20", "Seed": "1", **dict(zip(("Model", "Sampler", "VAE"), values, strict=True))}
    found = parse_infotext(str(Infotext(prompt, negative, facts)))
    assert (found.prompt, found.negative) == (prompt, negative)
    # A1111's rule does not quote a value that begins with a quotation mark and holds no comma or colon
    kept = {key: value for key, value in facts.items() if value != key}
    assert {key: found.facts[key] for key in kept} == kept


def test_facts_as_numbers_sizes_and_hashes():
    text = 'a\nSteps: 20, CFG scale: 6.5, Seed: 1, Size: 512x768, Model: x, Lora hashes: "ink: 01ab, my, oil: 02cd"'
    found = parse_infotext(text)
    assert (found.number("Steps"), found.number("CFG scale"), found.number("Model"), found.number("?")) == (
        20,
        6.5,
        None,
        None,
    )
    assert found.size() == (512, 768) and found.size("Model") is None
    assert found.lora_hashes()["ink"] == "01ab" and parse_infotext("a").lora_hashes() == {}
