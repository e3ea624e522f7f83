"""Learned tokens (textual inversion): in files of their own, or bundled with an adapter.

`emb_params` (A1111), `{token: tensor}` (diffusers, cloneofsimo's `<s1>`), `clip_l` and `clip_g` (SDXL),
`bundle_emb.{token}.string_to_param.*` (A1111's bundles, as Kohya's tools write them).
"""

import re
from dataclasses import dataclass, field

from torch import Tensor

from ...errors import Error
from ..adapter import Adapter
from ..families import are_bare_tokens
from .container import Tensors
from .placing import LONGEST_KEY

# A token's vectors as files name them → for which text encoder.
FIRST = ("emb_params", "string_to_param.*", "clip_l", "text_encoders_0")
SECOND = ("clip_g", "text_encoders_1")
BUNDLED = re.compile(r"bundle_emb\.(.+)\.(string_to_param\.\*|emb_params|clip_l|clip_g)")
ANGLED = re.compile(r"<[^<>]+>")
SECOND_WIDTH = 1280
MOST_VECTORS = 1024


@dataclass
class Tokens:
    """Token → vectors (n, width), for the first and second text encoder; the keys they came from; what was wrong."""

    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def find(source: Tensors, name: str) -> Tokens:
    """The learned tokens of a file. One that the file does not name is called `name`, as in A1111."""
    tokens = Tokens()
    bare = are_bare_tokens({key: entry.shape for key, entry in source.entries.items()})
    for key, entry in source.entries.items():
        if (placed := _place(key, name, bare)) is None:
            continue
        token, second = placed
        tokens.keys.add(key)
        if (
            len(entry.shape) not in (1, 2)
            or 0 in entry.shape
            or (len(entry.shape) == 2 and entry.shape[0] > MOST_VECTORS)
        ):
            tokens.warnings.append(f"the token {token!r} was left out: its shape is {entry.shape}, not (n, width)")
            continue
        vectors = source.read(key)
        if not vectors.is_floating_point() or not vectors.float().isfinite().all():
            tokens.warnings.append(f"the token {token!r} was left out: it holds NaN, infinities or no real numbers")
            continue
        second = second or entry.shape[-1] == SECOND_WIDTH
        (tokens.second if second else tokens.first)[token] = vectors.reshape(-1, entry.shape[-1])
    return tokens


def _place(key: str, name: str, bare: bool) -> tuple[str, bool] | None:
    """(token, whether it is for the second text encoder), or None for a key that is no token's."""
    if len(key) > LONGEST_KEY:
        return None
    if match := BUNDLED.fullmatch(key):
        return match[1], match[2] in SECOND
    if key in FIRST or key in SECOND:
        return name, key in SECOND
    return (key, False) if bare or ANGLED.fullmatch(key) else None


def bundle(adapter: Adapter) -> dict[str, Tensor]:
    """The tokens as keys beside an adapter's, the way A1111 and Kohya's tools read them."""
    keys = {
        f"bundle_emb.{token}.string_to_param.*": t
        for token, t in adapter.tokens.items()
        if token not in adapter.tokens_2
    }
    for token in adapter.tokens_2:
        if token in adapter.tokens:
            keys[f"bundle_emb.{token}.clip_l"] = adapter.tokens[token]
        keys[f"bundle_emb.{token}.clip_g"] = adapter.tokens_2[token]
    return keys


def alone(adapter: Adapter) -> dict[str, Tensor]:
    """The tokens as a file of their own: `{token: tensor}`, or `clip_l` and `clip_g`, which hold one token.

    Tokens of an uncommon name or width are known as such only as they stand beside an adapter.
    """
    if not adapter.tokens_2:
        plain = are_bare_tokens({token: tuple(vectors.shape) for token, vectors in adapter.tokens.items()})
        return dict(adapter.tokens) if plain else bundle(adapter)
    if len({*adapter.tokens, *adapter.tokens_2}) > 1:
        raise Error(f"adapter {adapter.name!r}: a file of SDXL tokens holds one token; this one would hold several")
    (second,) = adapter.tokens_2.values()
    first = [("clip_l", vectors) for vectors in adapter.tokens.values()]
    return dict([*first, ("clip_g", second)])
