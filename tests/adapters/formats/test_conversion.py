"""Conversions: what is kept, what is made anew, what a private file no longer says."""

import hashlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.formats import convert
from sdlora.adapters.formats.metadata import describe
from sdlora.errors import Error
from tests.adapters.made import ATTENTION, TEXT_ATTENTION, kohya_file, random_adapter, random_lora
from tests.adapters.test_metadata import facts
from tests.adapters.updates.references import CASES, references, update_of
from tests.bases.written import narrow

PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def metadata_of(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


@pytest.fixture
def file(tmp_path):
    metadata = describe(facts(name="secret-dog", base_name="my-base.safetensors")) | {
        "ss_datasets": '[{"image_dir": "secret"}]',
        "ss_bucket_info": "{}",
        "training_comment": "secret",
        "modelspec.tags": "secret",
        "modelspec.merged_from": "secret.safetensors",
        "modelspec.license": "CC0",
    }
    return kohya_file(tmp_path / "a.safetensors", {KOHYA: random_lora((12, 10), 4, 2.0, 1)}, metadata)


@pytest.mark.parametrize("format", ["kohya", "diffusers"])
def test_metadata_is_kept_and_hashes_are_made_anew(format, file, tmp_path):
    convert(file, tmp_path / "b.safetensors", format=format, dtype="fp16")
    before, after = metadata_of(file), metadata_of(tmp_path / "b.safetensors")
    made = {"sshs_model_hash", "modelspec.hash_sha256", "format", "lora_adapter_metadata"}
    assert {k: v for k, v in after.items() if k not in made} == {k: v for k, v in before.items() if k not in made}
    content = (tmp_path / "b.safetensors").read_bytes()
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert after["sshs_model_hash"] == digest and after["modelspec.hash_sha256"] == f"0x{digest}"


def test_a_private_file_names_nobody(file, tmp_path):
    convert(file, tmp_path / "b.safetensors", private=True)
    after = metadata_of(tmp_path / "b.safetensors")
    text = json.dumps(after, ensure_ascii=False)
    for word in ("secret", "größe", "fox", "蓝色", "my-base"):
        assert word not in text
    gone = {"ss_tag_frequency", "ss_dataset_dirs", "ss_num_train_images", "ss_output_name", "modelspec.tags"}
    assert not gone & after.keys()
    assert after["ss_network_dim"] == "8" and after["ss_base_model_version"] == "sd_v1"
    assert after["modelspec.trigger_phrase"] == "clay style" and after["modelspec.license"] == "CC0"
    assert load_adapter(tmp_path / "b.safetensors").content_hash == load_adapter(file).content_hash


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_tensor_keeps_its_dtype_unless_told(dtype, tmp_path):
    lora = random_lora((12, 10), 4, 11.3, 1)
    tensors = {f"{KOHYA}.lora_down.weight": lora.down.to(dtype), f"{KOHYA}.lora_up.weight": lora.up.to(dtype)}
    save_file(tensors, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    again = load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(again[key], tensor) and again[key].dtype == dtype for key, tensor in tensors.items())
    convert(tmp_path / "a.safetensors", tmp_path / "c.safetensors", dtype="fp32")
    assert {tensor.dtype for tensor in load_file(tmp_path / "c.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_kohya_to_diffusers_and_back(family, tmp_path):
    adapter = random_adapter(narrow(family), f"{ATTENTION}|{TEXT_ATTENTION}", rank=2, alpha=3.0)
    first = save_adapter(adapter, tmp_path / "a.safetensors", dtype="fp16")
    convert(first, tmp_path / "b.safetensors", format="diffusers")
    convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    one, again = load_file(first), load_file(tmp_path / "c.safetensors")
    assert one.keys() == again.keys() and all(torch.equal(tensor, again[key]) for key, tensor in one.items())
    assert len(adapter.updates) == len(load_adapter(tmp_path / "b.safetensors").updates)


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".bin"])
def test_kohyas_pickled_files_are_converted(ending, tmp_path):
    file = kohya_file(tmp_path / "a.safetensors", {KOHYA: random_lora((12, 10), 4, 2.0, 1)})
    torch.save(load_file(file), tmp_path / f"a{ending}")
    with pytest.raises(Error, match="sdlora convert"):
        load_adapter(tmp_path / f"a{ending}")
    convert(tmp_path / f"a{ending}", tmp_path / "b.safetensors")
    assert load_adapter(tmp_path / "b.safetensors").content_hash == load_adapter(file).content_hash


class Attack:
    """Unpickled, it would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_pickled_code_is_not_run(tmp_path):
    target = tmp_path / "written"
    for name, write in (("zip", torch.save), ("bare", lambda content, file: file.write_bytes(pickle.dumps(content)))):
        write({"a": Attack(target)}, tmp_path / f"{name}.pt")
        with pytest.raises(Error, match="without running code"):
            convert(tmp_path / f"{name}.pt", tmp_path / "b.safetensors")
        with pytest.raises(Error, match="sdlora convert"):
            load_adapter(tmp_path / f"{name}.pt")
        (tmp_path / f"{name}.pt").rename(tmp_path / f"{name}.safetensors")
        with pytest.raises(Error):
            load_adapter(tmp_path / f"{name}.safetensors")
    assert not target.exists() and not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02}q\x00.", bytes(1000)])
def test_pickled_rubbish_is_one_sentence(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(Error) as caught:
        convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    assert str(tmp_path / "a.pt") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], [torch.ones(2, 2), "x"], [1, 2], 5, {"a": 1}, [torch.ones(2, 2)] * 3]
)
def test_pickles_of_other_things_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(Error):
        convert(tmp_path / "a.pt", tmp_path / "b.safetensors")


PLACES = {
    "linear": PATH,
    "conv1": "unet.mid_block.attentions.0.proj_in",
    "conv3": "unet.mid_block.resnets.0.conv1",
    "layer_norm": f"{PATH.removesuffix('attn1.to_q')}norm1",
    "group_norm": "unet.mid_block.resnets.0.norm1",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_kind_survives_bit_for_bit(case, tmp_path):
    """Kohya's format has a key for all that an update can say: files that LyCORIS and PEFT saved, read and written."""
    found = {PLACES[layer]: reference for layer, reference in references(case, tmp_path).items()}
    updates = {path: update_of(reference)[0] for path, reference in found.items()}
    saved = save_adapter(Adapter("a", updates, family="sd1"), tmp_path / "ours.safetensors", dtype=None)
    again = load_adapter(saved)
    assert again.updates.keys() == updates.keys() and again.report.complete
    for path, reference in found.items():
        assert torch.equal(again.updates[path].delta(reference.weight), updates[path].delta(reference.weight))
        assert again.updates[path].kind == updates[path].kind


def test_reading_and_writing_import_no_model_library(file, tmp_path):
    script = (
        "import sys; from pathlib import Path; from sdlora.adapters.formats import convert, load_adapter;"
        f"convert(Path({str(file)!r}), Path({str(tmp_path / 'b.safetensors')!r}), format='diffusers');"
        f"load_adapter({str(tmp_path / 'b.safetensors')!r});"
        "print([name for name in ('diffusers', 'transformers', 'peft', 'numpy.testing') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
