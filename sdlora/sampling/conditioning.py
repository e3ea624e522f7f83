"""What the UNet reads at each step: the prompts' stages, encoded, and for SDXL the pooled embeddings and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..bases import Base
from ..errors import Error
from .chunks import Chunk, chunks_of
from .schedule import Stage, stage_at, stages_of
from .text_encoding import Encoded, encode_chunks

Tokens = Mapping[str, Tensor]


class EncodedPrompt(NamedTuple):
    """A prompt's stages, and what each is encoded as."""

    stages: list[Stage]
    encoded: list[Encoded]


@dataclass(frozen=True)
class Conditioning:
    """The prompts of one picture, the negative one first where guided, and SDXL's sizes (6,)."""

    prompts: list[EncodedPrompt]
    sizes: Tensor | None

    def at(self, index: int, total: int) -> tuple[Tensor, dict[str, Tensor] | None]:
        """What the UNet gets at evaluation `index` (from 0) of `total`: the context (prompts, tokens, width) and
        SDXL's `added_cond_kwargs`."""
        here = [prompt.encoded[stage_at(prompt.stages, index, total)] for prompt in self.prompts]
        context = torch.stack([encoded.states for encoded in here])
        if self.sizes is None:
            return context, None
        pooled = torch.stack([encoded.pooled for encoded in here if encoded.pooled is not None])
        return context, {"text_embeds": pooled, "time_ids": self.sizes.expand(len(here), -1)}


def condition(
    base: Base,
    prompt: str,
    negative: str | None,
    *,
    steps: int,
    size: tuple[int, int],
    first_pass: int | None = None,
    clip_skip: int = 1,
    tokens: Tokens | None = None,
    tokens_2: Tokens | None = None,
) -> Conditioning:
    """Encode a prompt and, unless it is None, a negative prompt, both in A1111's language without tags.

    `size` is (width, height) in pixels; `first_pass` is that of `stages_of`; `tokens` are learned tokens {name: vectors
    (n, width)} of the first text encoder, `tokens_2` those of SDXL's second. Texts of fewer chunks are filled up
    with those of an empty prompt. Raises `Error` for learned tokens that do not fit the encoders.
    """
    learned = [tokens or {}, tokens_2 or {}][: len(base.text_encoders)]
    _check_tokens(base, learned)
    stages = [stages_of(text, steps, first_pass) for text in (negative, prompt) if text is not None]
    # each text once, though alternation comes back to it at every other step
    texts = [list(dict.fromkeys(stage.text for stage in of_one)) for of_one in stages]
    encoded = iter(_encode(base, [text for of_one in texts for text in of_one], learned, clip_skip))
    by_text = [{text: next(encoded) for text in of_one} for of_one in texts]
    if base.family == "sdxl" and negative == "":
        # as A1111 and, where no negative prompt is given, diffusers: SDXL was trained with zeros for no prompt
        by_text[0] = {"": Encoded(*(torch.zeros_like(part) for part in by_text[0][""] if part is not None))}
    prompts = [
        EncodedPrompt(of_one, [found[stage.text] for stage in of_one])
        for of_one, found in zip(stages, by_text, strict=True)
    ]
    if base.family != "sdxl":
        return Conditioning(prompts, None)
    width, height = size
    return Conditioning(
        prompts, torch.tensor([height, width, 0, 0, height, width], device=base.device, dtype=base.dtype)
    )


def _encode(base: Base, texts: list[str], learned: list[Tokens], clip_skip: int) -> list[Encoded]:
    """Each text by all encoders, side by side, all as long as the longest."""
    chunked = [
        [chunks_of(tokenizer, text, tokens) for text in texts]
        for tokenizer, tokens in zip(base.tokenizers, learned, strict=True)
    ]
    most = max(len(chunks) for of_one in chunked for chunks in of_one)
    states: list[Tensor] = []
    pooled: list[Tensor] | list[None] = [None] * len(texts)
    for index, of_one in enumerate(chunked):
        empty: Chunk = []
        rows = [chunk for chunks in of_one for chunk in chunks + [empty] * (most - len(chunks))]
        encoded, pools = encode_chunks(base, index, rows, clip_skip)
        states.append(encoded.reshape(len(texts), most * encoded.shape[1], encoded.shape[2]))
        if pools is not None:
            pooled = list(pools[::most])  # of a prompt's first chunk
    return [Encoded(*pair) for pair in zip(torch.cat(states, dim=-1), pooled, strict=True)]


def _check_tokens(base: Base, learned: list[Tokens]) -> None:
    encoders: list[Any] = base.text_encoders
    for encoder, tokens in zip(encoders, learned, strict=True):
        width = encoder.get_input_embeddings().embedding_dim
        for name, vectors in tokens.items():
            if vectors.dim() != 2 or vectors.shape[1] != width:
                raise Error(
                    f"the learned token {name} is {tuple(vectors.shape)}, but this base's text encoder reads vectors "
                    f"of {width}: it was made for another base"
                )
    if len(learned) == 2:
        for name in learned[0].keys() | learned[1].keys():
            if len(learned[0].get(name, ())) != len(learned[1].get(name, ())):
                raise Error(f"the learned token {name} needs as many vectors for each of SDXL's two text encoders")
