"""Captions as token ids and as what the UNet reads in training: plain text, cut at the context's end.

Prompts to draw have a language of their own and go as far as they like, see `conditioning`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..bases import Base
from .chunks import parts_of
from .text_encoding import Encoded, encode_ids


class Conditions(NamedTuple):
    """What the UNet is told of n pictures beside their latents and timesteps.

    `texts` are their captions: for each text encoder the token ids (n, length), to be encoded at each step, or what the
    encoders made of them, states (n, length, width) and for SDXL pooled embeddings (n, projection). `sizes` (n, 6) are
    read by SDXL alone, see `data.views.Sizes`.
    """

    texts: tuple[Tensor, ...]
    sizes: Tensor | None = None

    def to(self, device: torch.device) -> "Conditions":
        """On another device."""
        sizes = None if self.sizes is None else self.sizes.to(device)
        return Conditions(tuple(ids_or_states.to(device) for ids_or_states in self.texts), sizes)


def no_text(base: Base) -> str | None:
    """What a base was trained with in the place of captions that were left out: SD 1 and 2 with the empty text, SDXL
    with none (zeros, diffusers' `force_zeros_for_empty_prompt`)."""
    return None if base.family == "sdxl" else ""


def tokenize(base: Base, texts: Sequence[str | None]) -> tuple[Tensor, ...]:
    """Token ids (n, context length) for each of a base's text encoders; longer texts are cut at the tokenizer's own
    length, and None is a row of padding without a start."""
    learned = base.learned
    return tuple(torch.tensor([_ids(tokenizer, text, learned) for text in texts]) for tokenizer in base.tokenizers)


def _ids(tokenizer: Any, text: str | None, learned: Mapping[str, Sequence[int]]) -> list[int]:
    length = tokenizer.model_max_length
    if text is None:
        return [tokenizer.pad_token_id] * length
    if learned:
        ids: list[int] = []
        for name, part in parts_of(text, learned):
            ids += tokenizer(part, add_special_tokens=False).input_ids if name is None else learned[name]
        kept = ids[: length - 2]
        padding = [tokenizer.pad_token_id] * (length - 2 - len(kept))
        return [tokenizer.bos_token_id, *kept, tokenizer.eos_token_id, *padding]
    return list(tokenizer(text, padding="max_length", truncation=True, max_length=length).input_ids)


def read_ids(base: Base, ids: Sequence[Tensor]) -> Encoded:
    """Token ids as `tokenize` gives them -> what the UNet reads of all encoders together. Gradients go through."""
    read = [encode_ids(base, index, rows) for index, rows in enumerate(ids)]
    states, pooled = torch.cat([one.states for one in read], dim=-1), read[-1].pooled
    if pooled is None:
        return Encoded(states)
    told = ids[0][:, :1] == base.tokenizers[0].bos_token_id  # (n, 1)
    return Encoded(states * told[..., None], pooled * told)


@torch.no_grad()
def encode(base: Base, texts: Sequence[str | None]) -> tuple[Tensor, ...]:
    """Captions -> states (n, context length, width) and, for SDXL, pooled embeddings (n, projection), in the base's
    dtype, on its device."""
    ids = tuple(rows.to(base.device) for rows in tokenize(base, texts))
    return tuple(part for part in read_ids(base, ids) if part is not None)
