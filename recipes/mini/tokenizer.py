"""Stage: a small byte-pair vocabulary in CLIP's form, learned from the captions."""

import json

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from recipes.mini.captions import BACKGROUNDS, caption
from recipes.mini.icons import Icons

MERGES = 2708
CONTEXT = 32  # tokens: the longest caption and a trigger word; CLIP's 77 would be padding that attention pays for
END = "</w>"
MARKS = ["<|startoftext|>", "<|endoftext|>"]


def train(icons: Icons, merges: int = MERGES) -> CLIPTokenizer:
    """Learn `merges` merges from all icons' captions.

    Each byte's letter is in the vocabulary with and without the end-of-word mark: a comma that lacks its `,</w>` would
    become `<|endoftext|>`, at which CLIP pools the prompt.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = MARKS + letters + [letter + END for letter in letters]
    clip = CLIPTokenizer()
    learner = Tokenizer(BPE(end_of_word_suffix=END))
    learner.normalizer = clip.backend_tokenizer.normalizer
    learner.pre_tokenizer = clip.backend_tokenizer.pre_tokenizer
    size = len(alphabet) + merges
    trainer = BpeTrainer(
        vocab_size=size, initial_alphabet=letters, end_of_word_suffix=END, min_frequency=1, show_progress=False
    )
    learner.train_from_iterator(texts(icons), trainer)
    pairs = merge_pairs(learner)[:merges]
    vocabulary = dict.fromkeys(alphabet + ["".join(pair) for pair in pairs])
    ids = {token: i for i, token in enumerate(vocabulary)}
    return CLIPTokenizer(ids, pairs, model_max_length=CONTEXT)


def texts(icons: Icons) -> list[str]:
    papers = list(BACKGROUNDS)
    return [caption(*name, papers[i % len(papers)]) for i, name in enumerate(icons.names)]


def merge_pairs(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The merges in the order in which they were learned."""
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
