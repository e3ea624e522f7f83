"""Learned tokens of a mix: there with their adapter, gone with it, and told apart where two have one name."""

import numpy as np
import pytest
import torch

from sdlora.adapters import Adapter, save_adapter
from sdlora.bases.random_base import random_base
from sdlora.errors import Error
from sdlora.mixing.learned_tokens import learned_tokens
from tests.adapters.made import TEXT_ATTENTION, numbers, random_adapter
from tests.conftest import all_tensors
from tests.mixing.test_mixer import assert_equal, refused

QUICK = {"steps": 1, "size": 64, "seed": 1}


def with_token(mini, name, token, seed, vectors=2):
    width = mini.text_encoders[0].config.hidden_size
    adapter = random_adapter(mini, TEXT_ATTENTION, name=name, rank=1, seed=seed)
    adapter.tokens[token] = numbers((vectors, width), seed, 0.5)
    return adapter


@pytest.fixture(scope="module")
def folder(mini, tmp_path_factory):
    """`a` and `b` both call theirs `<s1>`, `c` has a name of its own."""
    folder = tmp_path_factory.mktemp("tokens")
    for seed, (name, token) in enumerate({"a": "<s1>", "b": "<S1>", "c": "qux"}.items()):
        save_adapter(with_token(mini, name, token, seed), folder / f"{name}.safetensors", dtype="fp32")
    return folder


def pixels(mixer, prompt):
    return np.asarray(mixer.generate(prompt, **QUICK)[0].image)


def test_a_token_comes_and_goes_with_its_adapter(mixer, folder, mini_values):
    keys, size = list(mixer.base.text_encoders[0].state_dict()), len(mixer.base.tokenizers[0])
    without = pixels(mixer, "a qux")
    mixer.set({"c": 1e-30}, library=folder)  # too faint to be seen: what changes the picture is the token
    assert mixer.tokens == {"qux": ("c",)}
    assert not np.array_equal(pixels(mixer, "a qux"), without)
    assert list(mixer.base.text_encoders[0].state_dict()) == keys and len(mixer.base.tokenizers[0]) == size
    for gone in ({"c": 0.0}, {"c": {"enabled": False}}, {}):
        mixer.set(gone, library=folder)
        assert mixer.tokens == {}
        assert np.array_equal(pixels(mixer, "a qux"), without)
        assert_equal(mixer.base, mini_values)


def test_tokens_of_one_name_are_told_apart(mixer, folder):
    mixer.set({"a": 1e-30, "b": 1e-30}, library=folder)
    assert sorted(mixer.tokens.values()) == [("a",), ("a", "b"), ("b",)]
    by_owners = {owners: name for name, owners in mixer.tokens.items()}
    both, of_a, of_b = by_owners["a", "b"], by_owners["a",], by_owners["b",]
    assert (both.casefold(), of_a, of_b) == ("<s1>", "<s1>-a", "<S1>-b")
    pictures = [pixels(mixer, f"in {name}") for name in (of_a, of_b, both)]
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[1], pictures[2])
    mixer.set({"b": 1e-30, "a": 1e-30}, library=folder)
    assert all(np.array_equal(pixels(mixer, f"in {n}"), p) for n, p in zip((of_a, of_b, both), pictures, strict=True))
    mixer.set({"a": 1e-30}, library=folder)
    assert mixer.tokens == {"<s1>": ("a",)}
    assert np.array_equal(pixels(mixer, "in <s1>"), pictures[0])


def test_the_name_alone_stands_for_all_one_after_the_other(mini):
    a, b = with_token(mini, "a", "x", 1, vectors=1), with_token(mini, "b", "x", 2, vectors=3)
    for order in ([a, b], [b, a]):
        found = learned_tokens(mini, order)
        parts = [found.first["x-a"], found.first["x-b"]]
        assert any(torch.equal(found.first["x"], torch.cat(pair)) for pair in (parts, parts[::-1]))
        assert torch.equal(found.first["x"], learned_tokens(mini, [a, b]).first["x"])
        assert torch.equal(found.first["x-a"], a.tokens["x"]) and torch.equal(found.first["x-b"], b.tokens["x"])


def test_equal_vectors_do_not_clash(mini):
    a, b = with_token(mini, "a", "x", 1), with_token(mini, "b", "x", 1)
    assert learned_tokens(mini, [a, b]).owners == {"x": ("a", "b")}


def test_names_stay_distinct_whatever_adapters_are_called(mini):
    """Two adapters of one name, brackets in a name, and a token that has the name already."""
    names = [("ink (1):", "x"), ("ink (1):", "x"), ("o", "x-ink-1-")]
    made = [with_token(mini, name, token, seed) for seed, (name, token) in enumerate(names)]
    owners = learned_tokens(mini, made).owners
    assert owners == learned_tokens(mini, made[::-1]).owners
    assert owners == {"x": ("ink (1):",), "x-ink-1-": ("o",), "x-ink-1--2": ("ink (1):",), "x-ink-1--3": ("ink (1):",)}


def test_tokens_that_the_base_cannot_read_are_refused(mixer, mini, tmp_path):
    width = mini.text_encoders[0].config.hidden_size
    for name, vectors in {"wide": numbers((1, 768), 1), "long": numbers((80, width), 1)}.items():
        adapter = random_adapter(mini, TEXT_ATTENTION, rank=1)
        adapter.tokens["<x>"] = vectors
        save_adapter(adapter, tmp_path / f"{name}.safetensors")
    sentence = refused(mixer, {"wide": 1.0}, library=tmp_path)
    assert f"reads vectors of {width}: it was made for another base" in sentence
    sentence = refused(mixer, {"long": 1.0}, library=tmp_path)
    assert "has 80 vectors, but this base's prompts have room for" in sentence


def test_sdxl_tokens_have_vectors_for_both_encoders():
    base = random_base("sdxl", seed=5, narrow=True)
    widths = [encoder.config.hidden_size for encoder in base.text_encoders]
    first, second = (numbers((2, width), seed) for seed, width in enumerate(widths))
    good = Adapter("good", {}, {"x": first}, tokens_2={"x": second})
    found = learned_tokens(base, [good])
    assert torch.equal(found.first["x"], first) and torch.equal(found.second["x"], second)
    with pytest.raises(Error, match="no vectors for each of this base's text encoders"):
        learned_tokens(base, [Adapter("half", {}, {"x": first})])
    with pytest.raises(Error, match="2 vectors for the first text encoder and 1 for the second"):
        learned_tokens(base, [Adapter("uneven", {}, {"x": first}, tokens_2={"x": second[:1]})])


def test_sdxl_tokens_are_refused_by_a_base_of_one_encoder(mini):
    width = mini.text_encoders[0].config.hidden_size
    adapter = Adapter("xl", {}, {"x": numbers((1, width), 1)}, tokens_2={"x": numbers((1, width), 2)})
    with pytest.raises(Error, match="second text encoder, which this base has not"):
        learned_tokens(mini, [adapter])


def test_the_embedding_table_is_never_touched(mixer, folder):
    table = mixer.base.text_encoders[0].get_input_embeddings().weight
    version, values = table._version, all_tensors(mixer.base)
    mixer.set({"a": 1e-30, "c": 1e-30}, library=folder)
    pixels(mixer, "<s1> qux")
    mixer.clear()
    assert table._version == version
    assert_equal(mixer.base, values)
