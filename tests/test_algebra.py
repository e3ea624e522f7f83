"""The public algebra: bases by name, path or object, and no model library where none is needed."""

import subprocess
import sys

import pytest
import torch
from PIL import Image

import sdlora
from sdlora import algebra
from sdlora.adapters import Adapter, save_adapter
from sdlora.adapters.updates import update_from
from tests.adapters.made import ATTENTION, FEED_FORWARD, random_adapter, random_lora

Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def test_merging_and_resizing_import_no_model_library(tmp_path):
    for seed in (1, 2):
        adapter = Adapter("a", {Q: random_lora((8, 6), 2, 1.0, seed)}, family="sd1")
        save_adapter(adapter, tmp_path / f"{seed}.safetensors")
    code = f"""
import sys
import sdlora
adapters = [sdlora.load_adapter(r"{tmp_path}/" + f"{{n}}.safetensors") for n in (1, 2)]
merged, report = sdlora.algebra.merge(adapters, [1.0, 0.5])
sdlora.algebra.resize(merged, rank=2)
sdlora.algebra.compare(*adapters)
sdlora.algebra.strength(merged)
heavy = {{"diffusers", "transformers", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("how", ["name", "object"])
def test_a_base_is_a_name_or_an_object(how, mini):
    base = "mini" if how == "name" else mini
    size = mini.modules()[Q].weight.shape[0]
    scaled = Adapter("a", {Q: update_from({"weight": torch.full((size,), 0.25), "on_input": torch.tensor(0)})[0]})
    assert algebra.strength(scaled, base).total.ratio == pytest.approx(0.25, rel=1e-3)
    assert algebra.compare(scaled, scaled, base).total.cosine == pytest.approx(1)
    merged, report = algebra.merge([scaled], [2.0], base=base, rank=size)
    weight = mini.modules()[Q].weight
    assert (merged.updates[Q].delta(weight) - 0.5 * weight).norm() < 1e-3 * weight.norm() and report.relative < 1e-3
    assert algebra.resize(scaled, rank=2, base=base)[0].updates[Q].rank == 2


def test_mini_out_and_in(tmp_path):
    """Applied to mini, written, extracted again, merged away."""
    mini = sdlora.load_base("mini")
    adapter = random_adapter(mini, ATTENTION, rank=2)
    out = algebra.apply("mini", [adapter], [1.0], tmp_path / "tuned").path
    found, report = algebra.extract("mini", out, rank=2)
    assert found.updates.keys() == adapter.updates.keys()
    # mini is stored in half precision, which rounds what was applied
    assert report.relative < 0.1 and algebra.compare(adapter, found).total.cosine > 0.99


def test_a_picture_of_a_comparison(tmp_path, mini):
    a, b = random_adapter(mini, ATTENTION, name="clay", seed=1), random_adapter(mini, FEED_FORWARD, name="ink", seed=2)
    picture = algebra.draw_comparison(algebra.compare(a, b), tmp_path / "comparison.png")
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 200
