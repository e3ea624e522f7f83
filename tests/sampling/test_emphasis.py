"""Attention emphasis, with the results that A1111 gives.

The grammar is that of the stable-diffusion-webui wiki ("Attention/emphasis"); the first six rows stand in the doctests
of its prompt_parser, the others were made by its rules as they are documented there.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora.sampling.emphasis import pieces_of

TABLE = [
    # A1111's doctests
    ("normal text", [("normal text", 1.0)]),
    ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
    ("(unbalanced", [("unbalanced", 1.1)]),
    ("\\(literal\\]", [("(literal]", 1.0)]),
    ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
    (
        "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
        [
            ("a ", 1.0),
            ("house", 1.573),
            (" ", 1.1),
            ("on", 1.0),
            (" a ", 1.1),
            ("hill", 0.55),
            (", sun, ", 1.1),
            ("sky", 1.4641),
            (".", 1.1),
        ],
    ),
    # nothing at all
    ("", [("", 1.0)]),
    ("()", [("", 1.0)]),
    ("[]", [("", 1.0)]),
    # nesting multiplies
    ("((a))", [("a", 1.21)]),
    ("[a]", [("a", 1 / 1.1)]),
    ("[[a]]", [("a", 1 / 1.21)]),
    ("[(a)]", [("a", 1.0)]),
    ("((a:1.5) b)", [("a", 1.65), (" b", 1.1)]),
    ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
    ("(a, [b], c:1.3)", [("a, ", 1.3), ("b", 1.3 / 1.1), (", c", 1.3)]),
    # numbers: any sign, a bare point, spaces around; in round brackets alone
    ("(a:1.5)", [("a", 1.5)]),
    ("(a:.5)", [("a", 0.5)]),
    ("(a:1.)", [("a", 1.0)]),
    ("(a: 1.5 )", [("a", 1.5)]),
    ("(a:-1)", [("a", -1.0)]),
    ("(a:0)", [("a", 0.0)]),
    ("[a:1.5]", [("a:1.5", 1 / 1.1)]),
    ("(a:b)", [("a:b", 1.1)]),
    ("(:1.5)", [("", 1.0)]),
    ("(a::1.5)", [("a:", 1.5)]),
    # left open, or closed without having been opened
    ("a:1.5)", [("a:1.5)", 1.0)]),
    ("(a:1.5", [("a:1.5", 1.1)]),
    ("a)", [("a)", 1.0)]),
    ("a]", [("a]", 1.0)]),
    ("(a]", [("a]", 1.1)]),
    ("[a)", [("a)", 1 / 1.1)]),
    # escapes
    ("\\((a:1.2)\\)", [("(", 1.0), ("a", 1.2), (")", 1.0)]),
    ("\\\\", [("\\", 1.0)]),
    ("\\a", [("a", 1.0)]),
    ("a\\", [("a", 1.0)]),
    # BREAK is a word of its own, in capitals, and takes the spaces around it
    ("a BREAK b", [("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]),
    ("BREAK", [("", 1.0), ("BREAK", -1.0), ("", 1.0)]),
    ("a BREAK", [("a", 1.0), ("BREAK", -1.0), ("", 1.0)]),
    ("a,BREAK,b", [("a,", 1.0), ("BREAK", -1.0), (",b", 1.0)]),
    ("aBREAK b", [("aBREAK b", 1.0)]),
    ("a break b", [("a break b", 1.0)]),
    ("(a BREAK b:1.2)", [("a", 1.2), ("BREAK", -1.2), ("b", 1.2)]),
    # neighbours of one weight are one piece
    ("(a:1.2)(b:1.2)", [("ab", 1.2)]),
    ("(a:1.1)(b)", [("ab", 1.1)]),
    # lines and letters
    ("café (ü:1.2) 🦊", [("café ", 1.0), ("ü", 1.2), (" 🦊", 1.0)]),
    ("a\n(b)\nc", [("a\n", 1.0), ("b", 1.1), ("\nc", 1.0)]),
    # A1111 stops with an error here; ours reads what is no number as text
    ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
]


@pytest.mark.parametrize(("prompt", "pieces"), TABLE, ids=[row[0] for row in TABLE])
def test_pieces_are_a1111s(prompt, pieces):
    found = pieces_of(prompt)
    assert [piece.text for piece in found] == [text for text, _ in pieces]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in pieces])


def test_a_break_in_a_weighted_bracket_is_a_word():
    """As in A1111, where the factor makes it another than the mark that it looks for."""
    assert [piece.is_break for piece in pieces_of("a BREAK b")] == [False, True, False]
    assert not any(piece.is_break for piece in pieces_of("(a BREAK b:1.2)"))


@given(st.text("()[]:\\ab .15\n", max_size=40))
def test_any_text_has_pieces_and_loses_no_letter(text):
    pieces = pieces_of(text)
    assert pieces
    assert [c for piece in pieces for c in piece.text if c in "ab"] == [c for c in text if c in "ab"]


@given(st.text("ab c,.é\n", max_size=40))
def test_text_without_marks_is_one_piece(text):
    assert pieces_of(text) == [(text, 1.0)]
