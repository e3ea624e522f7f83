"""Applying: the checkpoint that is written holds the Mixer's bits where an adapter is, and the base's elsewhere."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sdlora.adapters import Adapter, save_adapter
from sdlora.adapters.updates import update_from
from sdlora.bases import load_base
from sdlora.bases.base import FAMILIES
from sdlora.bases.whole import apply
from sdlora.errors import Error
from sdlora.mixing import Mixer
from tests.adapters.made import ATTENTION, FULL, numbers, random_adapter, random_lora
from tests.bases.written import narrow, original_weights, write_folder, write_single_file
from tests.conftest import all_tensors

FEW = rf"(?=unet\.mid_block|text_encoder.*layers\.[0-3]\.)(?:{FULL})"  # each layout's ways of storing
WEIGHTS = [0.8, -0.3]


def two_adapters(base):
    """One of every linear module and projection, one of some of them."""
    projection = r"text_encoder_2\.text_projection"
    return [
        random_adapter(base, f"{FULL if base.family == 'sd1' else FEW}|{projection}", name="a", seed=1),
        random_adapter(base, FEW, name="b", rank=2, seed=2),
    ]


def mixed(path, adapters, folder, dtype, **options):
    """All values of the base with the adapters put on by the Mixer."""
    base = load_base(path, dtype=dtype, **options)
    for adapter in adapters:
        save_adapter(adapter, folder / f"{adapter.name}.safetensors", dtype="fp32")
    Mixer(base, folder).set(dict(zip([adapter.name for adapter in adapters], WEIGHTS, strict=True)))
    return all_tensors(base)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert [key for key, tensor in found.items() if not torch.equal(tensor, expected[key])] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_has_the_mixers_bits(family, tmp_path):
    file = write_single_file(
        narrow(family), tmp_path / "model.safetensors", metadata={"a": "b", "sshs_model_hash": "x"}
    )
    adapters = two_adapters(narrow(family))
    applied = apply(file, adapters, WEIGHTS, tmp_path / "out" / "applied.safetensors")
    found = all_tensors(load_base(applied.path, prediction_type="epsilon"))
    assert_same(found, mixed(file, adapters, tmp_path, torch.float32, prediction_type="epsilon"))
    before, after = load_file(file), load_file(applied.path)
    assert before.keys() == after.keys()
    assert all(before[key].dtype == after[key].dtype and before[key].shape == after[key].shape for key in before)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and not any(key.startswith(("first_stage_model.", "betas", "model_ema")) for key in changed)
    with safe_open(applied.path, "pt") as opened:
        assert opened.metadata() == {"a": "b"}
    assert list((tmp_path / "out").iterdir()) == [applied.path]
    assert applied.modules == len(adapters[0].updates) and applied.notes == ()


def test_fused_and_turned_weights_of_open_clip(tmp_path):
    """By hand: only q's rows of the fused matrix move, and the projection moves by the transpose."""
    base = narrow("sdxl")
    q, projection = "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj", "text_encoder_2.text_projection"
    updates = {path: random_lora((64, 64), 2, 1.0, seed) for seed, path in enumerate([q, projection])}
    file = write_single_file(base, tmp_path / "model.safetensors")
    out = apply(file, [Adapter("a", updates, family="sdxl")], [0.5], tmp_path / "out.safetensors").path
    before, after = load_file(file), load_file(out)
    fused = "conditioner.embedders.1.model.transformer.resblocks.3.attn.in_proj_weight"
    turned = "conditioner.embedders.1.model.text_projection"
    assert {key for key in before if not torch.equal(before[key], after[key])} == {fused, turned}
    delta = {path: 0.5 * update.delta(torch.zeros(64, 64)) for path, update in updates.items()}
    assert torch.equal(after[fused][64:], before[fused][64:])
    assert torch.allclose(after[fused][:64], before[fused][:64] + delta[q], atol=1e-6)
    assert torch.allclose(after[turned], before[turned] + delta[projection].T, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_dtype_is_kept_and_rounded_to_once(dtype, tmp_path):
    weights = {key: t.to(dtype) if t.is_floating_point() else t for key, t in original_weights(narrow("sd2")).items()}
    file = tmp_path / "half.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, file)
    adapters = two_adapters(narrow("sd2"))
    out = apply(file, adapters, WEIGHTS, tmp_path / "out.safetensors").path
    assert {key: tensor.dtype for key, tensor in load_file(out).items()} == {k: t.dtype for k, t in weights.items()}
    found = all_tensors(load_base(out, dtype=dtype, prediction_type="epsilon"))
    assert_same(found, mixed(file, adapters, tmp_path, dtype, prediction_type="epsilon"))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])  # folders differ by their number of text encoders alone
def test_a_folder_has_the_mixers_bits(family, tmp_path):
    folder = write_folder(narrow(family), tmp_path / "model")
    (folder / "README.md").write_text("kept", encoding="utf-8")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("hidden", encoding="utf-8")
    shutil.copy(folder / "vae" / "config.json", folder / "old.ckpt")
    adapters = two_adapters(narrow(family))
    out = apply(folder, adapters, WEIGHTS, tmp_path / "out").path
    assert_same(all_tensors(load_base(out)), mixed(folder, adapters, tmp_path, torch.float32))
    names = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert names == {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and file.name not in ("HEAD", "old.ckpt")
    }
    assert all(
        key.startswith(("text_model.", "text_projection")) for key in load_file(out / "text_encoder/model.safetensors")
    )


def test_other_copies_of_the_weights_stay_behind(tmp_path):
    """They would be the base's own, and whoever asks for fp16 would get those."""
    folder = write_folder(narrow("sd1"), tmp_path / "model")
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(unet, unet.with_name("diffusion_pytorch_model.fp16.safetensors"))
    index = {"weight_map": {"conv_in.weight": "diffusion_pytorch_model-00001-of-00009.safetensors"}}
    (unet.parent / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    out = apply(folder, two_adapters(narrow("sd1")), WEIGHTS, tmp_path / "out").path
    assert sorted(file.name for file in (out / "unet").iterdir()) == ["config.json", unet.name]


def test_a_sharded_folder_stays_sharded(tmp_path):
    base = narrow("sd1")
    folder = write_folder(base, tmp_path / "model")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    base.unet.save_pretrained(folder / "unet", max_shard_size="3MB")
    adapters = two_adapters(base)
    out = apply(folder, adapters, WEIGHTS, tmp_path / "out").path
    names = [sorted(file.name for file in (place / "unet").iterdir()) for place in (folder, out)]
    assert names[0] == names[1] and len(names[0]) > 3
    assert_same(all_tensors(load_base(out)), mixed(folder, adapters, tmp_path, torch.float32))


def test_text_model_is_always_written(tmp_path):
    weights = {k.replace("r.text_model.", "r."): t.contiguous() for k, t in original_weights(narrow("sd1")).items()}
    save_file(weights, tmp_path / "bare.safetensors")
    adapters = two_adapters(narrow("sd1"))
    out = apply(tmp_path / "bare.safetensors", adapters, WEIGHTS, tmp_path / "out.safetensors").path
    texts = [key for key in load_file(out) if key.startswith("cond_stage_model.") and not key.endswith("position_ids")]
    assert texts and all(key.startswith("cond_stage_model.transformer.text_model.") for key in texts)
    found = all_tensors(load_base(out, prediction_type="epsilon"))
    assert_same(
        found, mixed(tmp_path / "bare.safetensors", adapters, tmp_path, torch.float32, prediction_type="epsilon")
    )


def test_biases_norms_and_kinds_of_all_sorts(tmp_path):
    file = write_single_file(narrow("sd1"), tmp_path / "model.safetensors")
    base = load_base(file, prediction_type="epsilon")
    conv, norm, q = "unet.conv_in", "unet.conv_norm_out", "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    weights = {path: base.modules()[path].weight for path in (conv, norm, q)}
    updates = {
        conv: update_from({"diff": numbers((32, 4, 3, 3), 1), "diff_b": numbers((32,), 2)})[0],
        norm: update_from({"w_norm": numbers((32,), 3), "b_norm": numbers((32,), 4)})[0],
        q: update_from({"weight": numbers((96,), 5), "on_input": torch.tensor(0)})[0],
    }
    tokens = {"<s>": numbers((1, 64), 6)}
    applied = apply(file, [Adapter("a", updates, tokens, family="sd1")], [0.5], tmp_path / "out.safetensors")
    assert applied.notes == ("the learned tokens <s> are not in it: a checkpoint has no place for them",)
    found = load_base(applied.path, prediction_type="epsilon").modules()
    for path, weight in weights.items():
        assert torch.equal(found[path].weight, weight + 0.5 * updates[path].delta(weight)), path
    for path in (conv, norm):
        bias = base.modules()[path].bias
        assert torch.equal(found[path].bias, bias + 0.5 * updates[path].bias_delta(bias))


@pytest.fixture
def file(tmp_path):
    return write_single_file(narrow("sd1"), tmp_path / "model.safetensors")


def test_nothing_is_overwritten_without_force(file, tmp_path):
    adapters, out = two_adapters(narrow("sd1")), tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    with pytest.raises(Error, match=r"exists.*--force"):
        apply(file, adapters, WEIGHTS, out)
    assert out.read_bytes() == b"old"
    apply(file, adapters, WEIGHTS, out, force=True)
    assert load_file(out).keys() == load_file(file).keys()


def test_only_a_model_folder_is_replaced(tmp_path):
    folder, adapters = write_folder(narrow("sd1"), tmp_path / "model"), two_adapters(narrow("sd1"))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo.jpg").write_bytes(b"x")
    with pytest.raises(Error, match="is no diffusers folder"):
        apply(folder, adapters, WEIGHTS, precious, force=True)
    out = apply(folder, adapters, WEIGHTS, tmp_path / "out").path
    (out / "left.txt").write_text("of the old one", encoding="utf-8")
    with pytest.raises(Error, match="--force"):
        apply(folder, adapters, WEIGHTS, out)
    apply(folder, adapters, WEIGHTS, out, force=True)
    assert not (out / "left.txt").exists() and (out / "model_index.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"model", "precious", "out"}


def test_a_failure_leaves_nothing(file, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr("sdlora.bases.whole.writing._copy", full_disk)
    with pytest.raises(OSError, match="no space"):
        apply(file, two_adapters(narrow("sd1")), WEIGHTS, tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == [file]


def test_what_does_not_fit_is_refused_by_name(file, tmp_path):
    out = tmp_path / "out.safetensors"
    q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    cases = {
        "'a' is for sd2": Adapter("a", random_adapter(narrow("sd2"), ATTENTION).updates, family="sd2"),
        r"another size: its .*to_q is for .*\(97, 96\)": Adapter("a", {q: random_lora((97, 96), 1, 1.0, 1)}),
        "has no module unet.nowhere": Adapter("a", {"unet.nowhere": random_lora((96, 96), 1, 1.0, 1)}),
        "changes the bias": Adapter(
            "a", {q: update_from({"diff": numbers((96, 96), 1), "diff_b": numbers((96,), 2)})[0]}
        ),
    }
    for sentence, adapter in cases.items():
        with pytest.raises(Error, match=sentence):
            apply(file, [adapter], [1.0], out)
    good = two_adapters(narrow("sd1"))
    for target, sentence in ((file, "base itself"), (tmp_path / "out", "name in .safetensors")):
        with pytest.raises(Error, match=sentence):
            apply(file, good, WEIGHTS, target, force=True)
    ckpt = write_single_file(narrow("sd1"), tmp_path / "model.ckpt")
    with pytest.raises(Error, match="pickled file"):
        apply(ckpt, good, WEIGHTS, out)
    assert not out.exists()
