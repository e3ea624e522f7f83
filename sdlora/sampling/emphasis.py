"""Attention emphasis, `(word)`, `(word:1.2)`, `[word]`, and `BREAK`, as A1111 reads them."""

import re
from typing import NamedTuple

MORE = 1.1
LESS = 1 / MORE
# In the order in which they are tried. A number that is none, as in `(a:1.2.3)`, is text.
_PARTS = re.compile(
    r"""
    \\ (?P<escaped> [()\[\]\\]? )
    | (?P<opening> [(\[] )
    | : \s* (?P<weight> [+-]? (?: \d+\.?\d* | \.\d+ ) ) \s* \)
    | (?P<closing> [)\]] )
    | [^\\()\[\]:]+ | :
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


class Piece(NamedTuple):
    """A run of text with the factor on its tokens' embeddings."""

    text: str
    weight: float

    @property
    def is_break(self) -> bool:
        """Whether a new chunk begins here. Inside of a weighted bracket it does not, as in A1111: the factor then
        falls on `BREAK` itself, which is read as a word."""
        return self == BREAK


BREAK = Piece("BREAK", -1.0)


def pieces_of(text: str) -> list[Piece]:
    """Pieces of a prompt, neighbours of equal weight in one; at least one.

    Brackets multiply what is in them by 1.1 (round), 1 / 1.1 (square) or the number at their end; one that is never
    closed goes to the end; a backslash takes a bracket as it is. The grammar is that of stable-diffusion-webui's wiki
    ("Attention/emphasis"); of its details this follows the program.
    """
    pieces: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        pieces[start:] = [Piece(piece.text, piece.weight * factor) for piece in pieces[start:]]

    for part in _PARTS.finditer(text):
        if part["escaped"] is not None:
            pieces.append(Piece(part["escaped"], 1.0))
        elif part["opening"]:
            opened[part["opening"]].append(len(pieces))
        elif part["weight"] and opened["("]:
            weigh(opened["("].pop(), float(part["weight"]))
        elif part["closing"] == ")" and opened["("]:
            weigh(opened["("].pop(), MORE)
        elif part["closing"] == "]" and opened["["]:
            weigh(opened["["].pop(), LESS)
        else:
            pieces += _broken(part[0])
    for starts, factor in ((opened["("], MORE), (opened["["], LESS)):
        for start in starts:
            weigh(start, factor)
    return _merged(pieces) or [Piece("", 1.0)]


def _broken(text: str) -> list[Piece]:
    first, *others = _BREAK.split(text)
    return [Piece(first, 1.0), *(piece for other in others for piece in (BREAK, Piece(other, 1.0)))]


def _merged(pieces: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        if merged and merged[-1].weight == piece.weight:
            merged[-1] = Piece(merged[-1].text + piece.text, piece.weight)
        else:
            merged.append(piece)
    return merged
