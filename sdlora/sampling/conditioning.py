"""What the UNet reads at each step: the prompts' stages, encoded, and for SDXL the pooled embeddings and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..bases import Base
from ..errors import Error
from .chunks import Chunk, chunks_of
from .schedule import Stage, stage_at, stages_of
from .text_encoding import encode_chunks

Tokens = Mapping[str, Tensor]


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt's stages; of each its states (tokens, width) and, for SDXL, its pooled embedding (projection,)."""

    stages: list[Stage]
    states: list[Tensor]
    pooled: list[Tensor]


@dataclass(frozen=True)
class Conditioning:
    """The prompts of one picture, the negative one first where guided, and SDXL's sizes (6,)."""

    prompts: list[EncodedPrompt]
    sizes: Tensor | None

    def at(self, index: int, total: int) -> tuple[Tensor, dict[str, Tensor] | None]:
        """What the UNet gets at evaluation `index` (from 0) of `total`: the context (prompts, tokens, width) and
        SDXL's `added_cond_kwargs`."""
        here = [(prompt, stage_at(prompt.stages, index, total)) for prompt in self.prompts]
        context = torch.stack([prompt.states[stage] for prompt, stage in here])
        if self.sizes is None:
            return context, None
        pooled = torch.stack([prompt.pooled[stage] for prompt, stage in here])
        return context, {"text_embeds": pooled, "time_ids": self.sizes.expand(len(here), -1)}


def condition(
    base: Base,
    prompt: str,
    negative: str | None,
    *,
    steps: int,
    size: tuple[int, int],
    clip_skip: int = 1,
    tokens: Tokens | None = None,
    tokens_2: Tokens | None = None,
) -> Conditioning:
    """Encode a prompt and, unless it is None, a negative prompt, both in A1111's language without tags.

    `size` is (width, height) in pixels; `tokens` are learned tokens {name: vectors (n, width)} of the first text
    encoder, `tokens_2` those of SDXL's second. Texts of fewer chunks are filled up with those of an empty prompt.
    Raises `Error` for learned tokens that do not fit the encoders.
    """
    learned = [tokens or {}, tokens_2 or {}][: len(base.text_encoders)]
    _check_tokens(base, learned)
    texts = [text for text in (negative, prompt) if text is not None]
    stages = [stages_of(text, steps) for text in texts]
    distinct = [list(dict.fromkeys(stage.text for stage in of_one)) for of_one in stages]
    states, pooled = _encode(base, [text for of_one in distinct for text in of_one], learned, clip_skip)
    prompts = []
    for of_one, own in zip(stages, distinct, strict=True):
        positions = [sum(map(len, distinct[: len(prompts)])) + own.index(stage.text) for stage in of_one]
        prompts.append(
            EncodedPrompt(of_one, [states[i] for i in positions], [pooled[i] for i in positions] if pooled else [])
        )
    if base.family != "sdxl":
        return Conditioning(prompts, None)
    if negative == "":  # as A1111 and, where no negative prompt is given, diffusers: SDXL was trained with zeros there
        first = prompts[0]
        prompts[0] = EncodedPrompt(first.stages, _zeros(first.states), _zeros(first.pooled))
    width, height = size
    sizes = torch.tensor([height, width, 0, 0, height, width], device=base.device, dtype=base.dtype)
    return Conditioning(prompts, sizes)


def _encode(
    base: Base, texts: list[str], learned: list[Tokens], clip_skip: int
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Each text's states (tokens, width of all encoders together), and pooled embeddings where there is a second."""
    chunked = [
        [chunks_of(tokenizer, text, tokens) for text in texts]
        for tokenizer, tokens in zip(base.tokenizers, learned, strict=True)
    ]
    most = max(len(chunks) for of_one in chunked for chunks in of_one)
    states, pooled = [], None
    for index, of_one in enumerate(chunked):
        empty: Chunk = []
        rows = [chunk for chunks in of_one for chunk in chunks + [empty] * (most - len(chunks))]
        encoded, pools = encode_chunks(base, index, rows, clip_skip)
        states.append(encoded.reshape(len(texts), most * encoded.shape[1], encoded.shape[2]))
        pooled = None if pools is None else list(pools[::most])  # of a prompt's first chunk
    return list(torch.cat(states, dim=-1)), pooled


def _zeros(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(tensor) for tensor in tensors]


def _check_tokens(base: Base, learned: list[Tokens]) -> None:
    for encoder, tokens in zip(base.text_encoders, learned, strict=True):
        width = encoder.config.hidden_size
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
