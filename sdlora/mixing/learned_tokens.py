"""The learned tokens of a mix: what a prompt may call them, and their vectors.

Nothing is put into the tokenizer or the text encoder, whose embedding table stays as it is: while a prompt is encoded,
the vectors stand where the names did (`sampling.text_encoding`). So a token is gone when its adapter is.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..adapters import Adapter
from ..bases import Base
from ..errors import Error
from ..sampling.chunks import room_of

_UNSAFE = re.compile(r"[^\w.]+")  # in a prompt, brackets, colons and the like mean something else
Pair = tuple[Tensor | None, Tensor | None]  # vectors (n, width) for the first and the second text encoder


@dataclass(frozen=True)
class LearnedTokens:
    """Name → vectors (n, width) for the first text encoder and for SDXL's second; name → whose token it is."""

    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    owners: dict[str, tuple[str, ...]] = field(default_factory=dict)


def learned_tokens(base: Base, adapters: Sequence[Adapter]) -> LearnedTokens:
    """The tokens of all adapters, the same whatever their order.

    Where adapters call different vectors by one name (in any case), each is called `name-adapter` as well, and the name
    alone stands for all of them, one after the other. Raises `Error` for tokens that this base can't read.
    """
    found: dict[str, list[tuple[str, Adapter, Pair]]] = defaultdict(list)
    for adapter in adapters:
        for token in dict.fromkeys([*adapter.tokens, *adapter.tokens_2]):
            pair = adapter.tokens.get(token), adapter.tokens_2.get(token)
            _check(base, adapter, token, pair)
            found[token.casefold()].append((token, adapter, pair))
    named: dict[str, Pair] = {}
    owners: dict[str, tuple[str, ...]] = {}
    for _, of_one_name in sorted(found.items()):
        ordered = sorted(of_one_name, key=lambda entry: (entry[0], entry[1].name), reverse=True)
        distinct = {_digest(entry[2]): entry for entry in ordered}
        clashing = [distinct[digest] for digest in sorted(distinct)]
        name = clashing[0][0]
        named[name] = _joined([pair for _, _, pair in clashing])
        owners[name] = tuple(sorted({adapter.name for _, adapter, _ in of_one_name}))
        for token, adapter, pair in clashing if len(clashing) > 1 else ():
            own = _free(f"{token}-{_UNSAFE.sub('-', adapter.name)}", {*found, *map(str.casefold, named)})
            named[own], owners[own] = pair, (adapter.name,)
    first, second = (
        {name: vectors for name, pair in named.items() if (vectors := pair[i]) is not None} for i in (0, 1)
    )
    return LearnedTokens(first, second, owners)


def _check(base: Base, adapter: Adapter, token: str, pair: Pair) -> None:
    what = f"the learned token {token!r} of {adapter.name!r}"
    for encoder, tokenizer, vectors in zip(base.text_encoders, base.tokenizers, pair, strict=False):
        if vectors is None:
            raise Error(f"{what} has no vectors for each of this base's text encoders: it was made for another family")
        config: Any = encoder.config
        width, room = config.hidden_size, room_of(tokenizer)
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise Error(
                f"{what} is {tuple(vectors.shape)}, but this base's text encoder reads vectors of {width}: it was made "
                f"for another base"
            )
        if not 1 <= len(vectors) <= room:
            raise Error(f"{what} has {len(vectors)} vectors, but this base's prompts have room for {room} at once")
    first, second = pair
    if len(base.text_encoders) == 1 and second is not None:
        raise Error(f"{what} has vectors for a second text encoder, which this base has not: it was made for SDXL")
    if first is not None and second is not None and len(first) != len(second):
        raise Error(f"{what} has {len(first)} vectors for the first text encoder and {len(second)} for the second")


def _digest(pair: Pair) -> str:
    return hashlib.sha256(b"|".join(_bytes(vectors) for vectors in pair)).hexdigest()


def _bytes(vectors: Tensor | None) -> bytes:
    return b"" if vectors is None else vectors.detach().cpu().float().contiguous().numpy().tobytes()


def _joined(pairs: Sequence[Pair]) -> Pair:
    first, second = ([vectors for vectors in parts if vectors is not None] for parts in zip(*pairs, strict=True))
    return torch.cat(first) if first else None, torch.cat(second) if second else None


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, numbered where it is taken."""
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free
