import shutil

import torch
from safetensors.torch import save_file

from sdlora.bases.found import find_bases
from sdlora.resources import MINI


def hub_model(cache, hub_id, revisions, main=None):
    """A cached model as the hub's client lays it out: a folder a revision, and `refs/main` that names one."""
    model = cache / f"models--{hub_id.replace('/', '--')}"
    for revision in revisions:
        shutil.copytree(MINI, model / "snapshots" / revision)
    if main:
        (model / "refs").mkdir()
        (model / "refs" / "main").write_text(main, encoding="utf-8")
    return model


def test_mini_is_always_there(tmp_path):
    assert [base.name for base in find_bases([tmp_path / "none"], cache=tmp_path / "none")] == ["mini"]


def test_the_hubs_cache_is_searched_for_the_revision_of_main(tmp_path):
    model = hub_model(tmp_path, "someone/some--model", ["aaa", "bbb"], main="aaa")
    (found,) = find_bases([], cache=tmp_path)[1:]
    assert (found.name, found.family) == ("someone/some--model", "sd1")
    assert found.place == model / "snapshots" / "aaa"


def test_what_is_not_a_whole_base_is_left_out(tmp_path):
    unfinished = hub_model(tmp_path, "someone/unfinished", ["aaa"], main="aaa")
    for file in (unfinished / "snapshots" / "aaa" / "unet").glob("*.safetensors"):
        file.unlink()
    (tmp_path / "models--someone--language" / "snapshots" / "ccc").mkdir(parents=True)
    assert len(find_bases([], cache=tmp_path)) == 1


def test_checkpoint_files_and_folders_are_found_and_other_files_are_not(tmp_path):
    models = tmp_path / "models"
    shutil.copytree(MINI, models / "a folder")
    weights = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3),
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.zeros(1, 77),
    }
    save_file(weights, models / "xl.safetensors")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(4, 8)}, models / "adapter.safetensors")
    inpainting = weights | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)}
    save_file(inpainting, models / "inpainting.safetensors")
    (models / "broken.safetensors").write_bytes(b"\xff" * 40)
    (models / "broken.ckpt").write_bytes(b"nothing")
    (models / "notes.txt").write_text("nothing", encoding="utf-8")

    found = find_bases([models], cache=tmp_path / "none")[1:]

    assert [(base.name, base.family) for base in found] == [
        (str(models / "a folder"), "sd1"),
        (str(models / "xl.safetensors"), "sdxl"),
    ]
