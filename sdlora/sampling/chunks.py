"""Prompts of any length as chunks of tokens, each as long as the text encoder's context."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import Error
from .emphasis import pieces_of

BACKTRACK = 20  # tokens: a comma so near to a chunk's end takes what follows it into the next one, as A1111's default
PLACEHOLDER = 0  # stands in the ids where a learned vector takes the token's place


class Token(NamedTuple):
    """A token id with the factor on its embedding; `vector` (width,) replaces the encoder's own input for it."""

    id: int
    weight: float = 1.0
    vector: Tensor | None = None


Chunk = list[Token]


def room_of(tokenizer: Any) -> int:
    """How many tokens a chunk holds between its start and its end."""
    return int(tokenizer.model_max_length) - 2


def chunks_of(tokenizer: Any, text: str, learned: Mapping[str, Tensor]) -> list[Chunk]:
    """The chunks of one prompt without start, end and padding; at least one, which may be empty.

    `learned` maps names to vectors (n, width), which stand in a prompt for n tokens. Raises `Error` for a learned
    token of more vectors than a chunk holds.
    """
    comma = tokenizer(",", add_special_tokens=False).input_ids
    packing = _Packing(room_of(tokenizer), comma[0] if len(comma) == 1 else None)
    for piece in pieces_of(text):
        if piece.is_break:
            packing.close()
            continue
        for name, part in parts_of(piece.text, learned):
            if name is None:
                for id in tokenizer(part, add_special_tokens=False, verbose=False).input_ids:
                    packing.add([Token(id, piece.weight)])
            else:
                vectors = [Token(PLACEHOLDER, piece.weight, vector) for vector in learned[name]]
                if len(vectors) > packing.room:
                    raise Error(f"{name} has {len(vectors)} vectors, but a prompt's chunk holds {packing.room} tokens")
                packing.add(vectors)
    if packing.chunk or not packing.chunks:
        packing.close()
    return packing.chunks


def ids_of(tokenizer: Any, chunk: Chunk) -> list[int]:
    """The ids of a whole chunk: start, tokens, end, padding."""
    padding = [tokenizer.pad_token_id] * (room_of(tokenizer) - len(chunk))
    return [tokenizer.bos_token_id, *(token.id for token in chunk), tokenizer.eos_token_id, *padding]


class _Packing:
    """Fills one chunk after the other."""

    def __init__(self, room: int, comma: int | None) -> None:
        self.room = room
        self.chunks: list[Chunk] = []
        self.chunk: Chunk = []
        self._comma_id = comma
        self._comma: int | None = None  # where this chunk's last comma is

    def add(self, tokens: Sequence[Token]) -> None:
        """Tokens that must not be parted."""
        if tokens and tokens[0].vector is None and tokens[0].id == self._comma_id:
            self._comma = len(self.chunk)
        elif len(self.chunk) == self.room and self._comma is not None and self.room - self._comma <= BACKTRACK:
            self.chunk, moved = self.chunk[: self._comma + 1], self.chunk[self._comma + 1 :]
            self.close()
            self.chunk = moved
        if len(self.chunk) == self.room or len(self.chunk) + len(tokens) > self.room:
            self.close()
        self.chunk += tokens

    def close(self) -> None:
        self.chunks.append(self.chunk)
        self.chunk = []
        self._comma = None


def parts_of(text: str, learned: Collection[str]) -> Iterator[tuple[str | None, str]]:
    """The text cut at the names of learned tokens, in any case, the longest name first: (name or None, text)."""
    names = {name.casefold(): name for name in learned}
    # a name that ends in a letter must end there: `ink` is no part of `drinking`
    any_name = "|".join(
        (r"(?<!\w)" if name[0].isalnum() else "") + re.escape(name) + (r"(?!\w)" if name[-1].isalnum() else "")
        for name in sorted(learned, key=len, reverse=True)
        if name
    )
    for part in re.split(f"({any_name})", text, flags=re.IGNORECASE) if any_name else [text]:
        if part:
            yield names.get(part.casefold()), part
