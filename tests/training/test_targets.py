"""Which modules a target stands for."""

import pytest
import torch

from sdlora.bases.geometry import meta_modules
from sdlora.errors import Error
from sdlora.training.targets import select


@pytest.mark.parametrize(
    ("family", "targets", "count"),
    [
        ("sd1", ["attention"], 128),
        ("sd1", ["attention", "feed_forward"], 192),
        ("sd1", ["text_attention", "text_mlp"], 72),
        ("sd2", ["attention", "feed_forward"], 192),
        ("sd2", ["text_attention", "text_mlp"], 138),
        ("sdxl", ["attention", "feed_forward"], 722),
    ],
)
def test_a_full_file_s_modules(family, targets, count):
    assert len(select(meta_modules(family), targets)) == count


def test_convolutions_are_those_of_resnets_and_samplers():
    modules = meta_modules("sd1")
    found = select(modules, ["convolutions"])
    assert all(isinstance(modules[path], torch.nn.Conv2d) for path in found)
    # 22 resnets with two convolutions each, 14 shortcuts, three samplers down and three up
    assert len(found) == 22 * 2 + 14 + 6
    assert not {"unet.conv_in", "unet.conv_out"} & set(found)


@pytest.mark.parametrize(("family", "count"), [("sd1", 72), ("sd2", 72), ("sdxl", 102)])
def test_style_and_content_are_parts_of_the_transformers(family, count):
    modules = meta_modules(family)
    style, content = (set(select(modules, [target])) for target in ("style", "content"))
    assert len(style) == count and content and not style & content
    assert style | content <= set(select(modules, ["attention", "feed_forward"]))
    assert len({path.split(".attentions.")[0] for path in style | content}) == (1 if family == "sdxl" else 5)


def test_prefixes_and_words_together_in_the_tree_s_order():
    modules = meta_modules("sd1")
    found = select(modules, ["text_attention", "unet.mid_block.resnets.0", "unet.conv_in"])
    assert found == [path for path in modules if path in set(found)]
    assert "unet.conv_in" in found and "unet.mid_block.resnets.0.time_emb_proj" in found
    assert not any(path.startswith("unet.mid_block.resnets.1") for path in found)


def test_a_prefix_ends_at_a_dot():
    modules = meta_modules("sd1")
    assert select(modules, ["unet.up_blocks.1"]) == select(modules, ["unet.up_blocks.1."])
    assert {path.split(".")[2] for path in select(modules, ["unet.up_blocks.1"])} == {"1"}
    with pytest.raises(Error):
        select(modules, ["unet.up_blo"])


def test_norms_and_embeddings_are_left_out():
    modules = meta_modules("sd1")
    found = [modules[path] for path in select(modules, ["unet", "text_encoder"])]
    assert all(isinstance(module, torch.nn.Linear | torch.nn.Conv2d) for module in found)
    everything = sum(isinstance(module, torch.nn.Linear | torch.nn.Conv2d) for module in modules.values())
    assert len(found) == everything


@pytest.mark.parametrize(("wrong", "near"), [("atention", "attention"), ("feedforward", "feed_forward")])
def test_a_misspelt_word_is_told_the_nearest(wrong, near):
    with pytest.raises(Error, match=f"'{wrong}'.*did you mean {near}"):
        select(meta_modules("sd1"), [wrong])


def test_an_unknown_path_is_told_what_there_is():
    with pytest.raises(Error, match="tokens or the start of a module path"):
        select(meta_modules("sd1"), ["unet.nowhere"])


def test_nothing_to_adapt():
    with pytest.raises(Error, match="targets is empty"):
        select(meta_modules("sd1"), [])
