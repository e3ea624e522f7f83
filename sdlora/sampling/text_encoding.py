"""From chunks of tokens to what the UNet reads of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..bases import Base
from .chunks import Chunk, ids_of


class Encoded(NamedTuple):
    """Texts' states (…, tokens, width) and, for SDXL, their pooled embeddings (…, projection)."""

    states: Tensor
    pooled: Tensor | None = None


@torch.no_grad()
def encode_chunks(base: Base, index: int, chunks: Sequence[Chunk], clip_skip: int) -> Encoded:
    """Chunks through one of a base's text encoders, as `encode_ids`, their emphasis counted."""
    encoder, tokenizer = base.text_encoders[index], base.tokenizers[index]
    ids = torch.tensor([ids_of(tokenizer, chunk) for chunk in chunks]).to(base.device)
    with _learned_vectors(encoder, chunks):
        states, pooled = encode_ids(base, index, ids, clip_skip)
    return Encoded(_weighted(states, chunks), pooled)


def encode_ids(base: Base, index: int, ids: Tensor, clip_skip: int = 1) -> Encoded:
    """Token ids (n, length) through one of a base's text encoders: the states that its family reads, (n, length,
    width), and of SDXL's second one the pooled embeddings too. Gradients go through."""
    encoder: Any = base.text_encoders[index]
    if base.family != "sdxl":
        return Encoded(_last_states(encoder, ids, _layers_left_out(base, clip_skip)))
    output = encoder(ids, output_hidden_states=True)
    return Encoded(output.hidden_states[-max(2, clip_skip)], output.text_embeds if index == 1 else None)


def unread_layers(base: Base) -> tuple[str, ...]:
    """Beginnings of the module paths of layers that nothing depends on: SDXL reads its first encoder's last layer but
    one. Adapters in them can be trained by nobody, though files of others hold them too."""
    if base.family != "sdxl":
        return ()
    encoder: Any = base.text_encoders[0]
    return (f"text_encoder.text_model.encoder.layers.{encoder.config.num_hidden_layers - 1}.",)


def most_clip_skip(base: Base) -> int:
    """The largest clip skip that leaves a layer to read."""
    encoders: list[Any] = base.text_encoders
    layers = min(int(encoder.config.num_hidden_layers) for encoder in encoders)
    return layers + (base.family == "sd2")


def _layers_left_out(base: Base, clip_skip: int) -> int:
    """Counted as A1111 does, 1 = none, in the network as it was trained. Of SD 2.x the last layer is never read, so its
    files have it no more, and 1 and 2 are one; likewise of SDXL, whose files have it still."""
    return max(0, clip_skip - (2 if base.family == "sd2" else 1))


def _last_states(encoder: Any, ids: Tensor, left_out: int) -> Tensor:
    """The last hidden state that is read, after the final norm."""
    if not left_out:
        return encoder(ids).last_hidden_state
    states = encoder(ids, output_hidden_states=True).hidden_states[-1 - left_out]
    return getattr(encoder, "text_model", encoder).final_layer_norm(states)


def _weighted(states: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Each token's state times its weight, then each chunk scaled to the mean that it had: A1111's "Original"."""
    rows = []
    for row, chunk in zip(states, chunks, strict=True):
        if any(token.weight != 1 for token in chunk):
            weights = torch.ones(len(row), 1, device=row.device)
            weights[1 : len(chunk) + 1, 0] = torch.tensor([token.weight for token in chunk])
            whole = row.float() * weights
            row = (whole * (row.float().mean() / whole.mean())).to(row.dtype)
        rows.append(row)
    return torch.stack(rows)


@contextmanager
def _learned_vectors(encoder: Any, chunks: Sequence[Chunk]) -> Iterator[None]:
    """While this lasts, the encoder sees the learned vectors of these chunks where their placeholders stand."""
    places = [
        (row, column + 1, token.vector)
        for row, chunk in enumerate(chunks)
        for column, token in enumerate(chunk)
        if token.vector is not None
    ]

    def put(_module: nn.Module, _entry: object, embeddings: Tensor) -> Tensor:
        embeddings = embeddings.clone()
        for row, column, vector in places:
            embeddings[row, column] = vector.to(embeddings.device, embeddings.dtype)
        return embeddings

    handle = encoder.get_input_embeddings().register_forward_hook(put) if places else None
    try:
        yield
    finally:
        if handle:
            handle.remove()
