"""Captions as token ids and as what the UNet reads in training: plain text, cut at the context's end.

Prompts to draw have a language of their own and go as far as they like, see `conditioning`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..bases import Base
from ..errors import Error


def tokenize(base: Base, texts: Sequence[str]) -> Tensor:
    """Token ids (n, context length) of an SD 1 or SD 2 base; longer prompts are cut at the tokenizer's own length."""
    tokenizer = base.tokenizers[0]
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length)
    return torch.tensor(encoded.input_ids)


def encode_ids(text_encoder: nn.Module, ids: Tensor) -> Tensor:
    """Token ids (n, length) -> (n, length, width): the last hidden state after the final norm, as SD 1 and 2 use."""
    return text_encoder(ids).last_hidden_state


@torch.no_grad()
def encode(base: Base, texts: Sequence[str]) -> Tensor:
    """Captions -> (n, context length, width) in the base's dtype, on its device."""
    refuse_sdxl(base)
    return encode_ids(base.text_encoders[0], tokenize(base, texts).to(base.device))


def refuse_sdxl(base: Base) -> None:
    """Training with SDXL's second encoder and sizes is not built yet: a wrong file would be worse than a sentence."""
    if base.family == "sdxl":
        raise Error(f"{base.path} is an SDXL base: sdlora draws with it, but trains SD 1.x and SD 2.x so far")
