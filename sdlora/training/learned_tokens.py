"""Learned tokens (textual inversion, Gal et al., 2022, arXiv:2208.01618): the trigger's own vectors, trained.

Alone they are a file of some kilobytes that says what the base can draw already; together with other targets (pivotal
tuning, Roich et al., 2021, arXiv:2106.05744) they carry the name of what the layers learn to draw.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..bases import Base
from ..errors import Error
from .config import ResolvedConfig
from .layers import Part

TOKENS = "tokens"  # the target, and where the parts stand among the others; SDXL's second encoder's: tokens_2


class LearnedEmbedding(Part):
    """A text encoder's token embedding with learned vectors (n, width) for the ids -1, -2, …

    While it is not enabled, the vectors are those that it began with, the embeddings of words.
    """

    start: Tensor

    def __init__(self, base: nn.Embedding, start: Tensor) -> None:
        super().__init__()
        self.base = base
        self.embedding_dim = base.embedding_dim
        self.vectors = nn.Parameter(start.detach().float().clone())
        self.register_buffer("start", start.detach().float().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) -> embeddings (…, width) in the encoder's dtype."""
        known = self.base(ids.clamp(min=0))
        vectors = (self.vectors if self.enabled else self.start).to(known.dtype)
        return torch.where((ids < 0)[..., None], vectors[(-1 - ids).clamp(min=0)], known)


def trains_token(config: ResolvedConfig) -> bool:
    """Whether the trigger's vectors are trained."""
    return TOKENS in config.targets


def start_words(trigger: str | None, token_start: str | None) -> str:
    """What the learned token begins as. Raises `Error` where there is no trigger to learn."""
    if not trigger:
        raise Error("targets has tokens, and no trigger says which word is to be learned: give trigger, such as: wug")
    return token_start or trigger


def tokens_in(base: Base, words: str) -> int:
    """How many tokens the words are; the most of any encoder."""
    return max(len(_ids(tokenizer, words)) for tokenizer in base.tokenizers)


def note_word(base: Base, config: ResolvedConfig) -> None:
    """Have captions with the trigger be read with the learned token in its place, if it is trained."""
    if trains_token(config):
        base.learned = {str(config.trigger): tuple(range(-1, -1 - config.token_vectors, -1))}


def put_tokens(base: Base, config: ResolvedConfig) -> dict[str, Part]:
    """The learned token in each of the text encoders: `tokens`, and SDXL's `tokens_2`; nothing where none is trained.

    Raises `Error` for more vectors than a prompt has room for.
    """
    if not trains_token(config):
        return {}
    note_word(base, config)
    words = start_words(config.trigger, config.token_start)
    room = min(tokenizer.model_max_length for tokenizer in base.tokenizers) - 2
    if config.token_vectors > room:
        raise Error(f"token_vectors = {config.token_vectors} is more than a prompt of this base has room for ({room})")
    return dict(_put(base, [_start(base, i, words, config.token_vectors) for i in range(len(base.text_encoders))]))


def take_tokens_out(base: Base, parts: Mapping[str, Part]) -> None:
    """The encoders' own embeddings are back in their places."""
    own = [part for part in parts.values() if isinstance(part, LearnedEmbedding)]
    for encoder in base.text_encoders if own else []:
        for parent in list(encoder.modules()):
            for name, child in list(parent.named_children()):
                if child in own:
                    setattr(parent, name, child.base)


def vectors_of(weights: Mapping[str, Tensor], trigger: str | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The token of `{path}.{name}` tensors, of the first and the second text encoder, as adapters hold them."""
    keys = (f"{TOKENS}.vectors", f"{TOKENS}_2.vectors")
    first, second = ({str(trigger): weights[key].detach().cpu().clone()} if key in weights else {} for key in keys)
    return first, second


def tokens_of(parts: Mapping[str, Part], trigger: str | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those among the parts of a training, as `vectors_of` gives them."""
    own = {path: part for path, part in parts.items() if isinstance(part, LearnedEmbedding)}
    return vectors_of({f"{path}.vectors": part.vectors for path, part in own.items()}, trigger)


@contextmanager
def tokens_put(base: Base, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it, plain captions are read with an adapter's learned tokens {name: vectors (n, width)}."""
    ids, learned = 0, {}
    for name, vectors in first.items():
        learned[name] = tuple(range(ids - 1, ids - 1 - len(vectors), -1))
        ids -= len(vectors)
    stacked = [torch.cat(list(one.values())) for one in (first, second) if one]
    parts = dict(_put(base, stacked)) if stacked else {}
    base.learned = learned
    try:
        yield
    finally:
        base.learned = {}
        take_tokens_out(base, parts)


def _put(base: Base, starts: list[Tensor]) -> Iterator[tuple[str, Part]]:
    for index, (encoder, start) in enumerate(zip(base.text_encoders, starts, strict=True)):
        embedding = _embedding(encoder)
        part = LearnedEmbedding(embedding, start.to(embedding.weight.device))
        for parent in list(encoder.modules()):
            for name, child in list(parent.named_children()):
                if child is embedding:
                    setattr(parent, name, part)
        yield f"{TOKENS}_{index + 1}" if index else TOKENS, part


def _start(base: Base, index: int, words: str, count: int) -> Tensor:
    """The embeddings of the words, again from the first one where there are fewer than vectors."""
    ids = _ids(base.tokenizers[index], words)
    weight = _embedding(base.text_encoders[index]).weight
    return weight[torch.tensor([ids[i % len(ids)] for i in range(count)], device=weight.device)]


def _ids(tokenizer: Any, words: str) -> list[int]:
    return list(tokenizer(words, add_special_tokens=False).input_ids)


def _embedding(encoder: Any) -> Any:
    return encoder.get_input_embeddings()
