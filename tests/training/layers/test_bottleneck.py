"""Bottlenecks are trained, saved, resumed and drawn with."""

import pytest
import torch
from PIL import Image, ImageChops

import sdlora
from sdlora.adapters.updates import Bottleneck
from sdlora.errors import Error
from sdlora.training.run_folder import RunFolder

SETTINGS = {"kind": "bottleneck", "targets": ["unet.mid_block", "text_attention"], "alpha": "auto", "choose": "last"}


def test_a_run_from_start_to_picture(small, images, tmp_path, mini):
    prompt = "a disc"
    settings = SETTINGS | {
        "holdout": images.parent / "holdout",
        "steps": 6,
        "checkpoint_every": 3,
        "sample_every": 6,
        "sample_prompts": [f"{prompt} --s 3"],
    }
    run = sdlora.train(small(tmp_path, **settings), quiet=True)
    adapter = sdlora.load_adapter(run.adapter_path)
    assert adapter.metadata["ss_network_module"] == "sdlora.bottleneck", "no other program is to take it for a LoRA"
    whole = adapter.updates
    assert all(isinstance(update, Bottleneck) and update.rank == 4 for update in whole.values())
    assert {path.rpartition("attn")[2] for path in whole} > {"1.to_out.0", "2.to_out.0"}
    assert run.holdout_loss_after < run.holdout_loss_before
    (sample,) = (run.folder / "samples").glob("step-000006-*.png")
    mixer = sdlora.Mixer(mini)
    mixer.set({str(run.adapter_path): 1.0})
    drawn = mixer.generate(prompt, seed=1, steps=3, size=64)[0].image
    mixer.clear()
    difference = ImageChops.difference(drawn, Image.open(sample).convert("RGB"))
    assert max(band[1] for band in difference.getextrema()) <= 1
    folder = RunFolder(run.folder)
    (folder.checkpoints / "step-000006.safetensors").unlink()
    folder.write_status("stopped", 3, 6)
    again = sdlora.train(small(tmp_path, **settings), resume="disc", quiet=True)
    for path, update in sdlora.load_adapter(again.adapter_path).updates.items():
        assert all(torch.equal(t, whole[path].tensors()[name]) for name, t in update.tensors().items())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"targets": ["convolutions"]}, "goes behind attention and feed-forward blocks: convolutions has none"),
        ({"alpha": 8.0}, "no scale of its own: leave alpha out"),
    ],
)
def test_what_can_t_be_is_a_sentence(small, tmp_path, settings, sentence):
    with pytest.raises(Error, match=sentence):
        sdlora.train(small(tmp_path, **(SETTINGS | settings)), quiet=True)
