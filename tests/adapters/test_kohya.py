"""Adapter files in Kohya's format: what is written is what is read, and what is odd is said."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlora.adapters import Adapter, LoRA, load_adapter, save_adapter, tables
from sdlora.bases.base import FAMILIES
from sdlora.bases.geometry import meta_modules
from sdlora.errors import Error
from tests.adapters.made import ATTENTION, FULL, TEXT_ATTENTION, kohya_file, numbers, random_adapter, random_lora
from tests.bases.written import narrow

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ONE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
TWO = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
ONE_PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TWO_PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_k"


@pytest.fixture
def lora():
    return random_lora((12, 10), 4, 2.0, 1)


def assert_same(one, other):
    assert one.updates.keys() == other.updates.keys()
    for path, update in one.updates.items():
        twin = other.updates[path]
        assert torch.equal(update.down, twin.down) and torch.equal(update.up, twin.up), path
        assert (update.down.dtype, update.up.dtype, update.alpha) == (twin.down.dtype, twin.up.dtype, twin.alpha)


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_bit_for_bit(family, tmp_path):
    written = random_adapter(narrow(family), FULL, rank=2, alpha=11.3125)
    read = load_adapter(save_adapter(written, tmp_path / "a.safetensors", dtype="fp32"))
    assert_same(read, written)
    assert (read.name, read.family, read.report.format) == ("a", family, "kohya")
    assert read.report.complete and read.geometry == "custom"
    again = load_adapter(save_adapter(read, tmp_path / "b.safetensors", dtype="fp32"))
    assert again.content_hash == read.content_hash == written.content_hash


def test_round_trip_of_mini(mini, tmp_path):
    written = random_adapter(mini, f"{ATTENTION}|{TEXT_ATTENTION}", rank=3, alpha=1.5)
    assert_same(load_adapter(save_adapter(written, tmp_path / "a.safetensors", dtype="fp32")), written)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_rounded_once_and_alpha_not_at_all(dtype, tmp_path):
    written = Adapter("a", {ONE_PATH: random_lora((12, 10), 4, 8 * 2**0.5, 1)}, family="sd1")
    file = save_adapter(written, tmp_path / "a.safetensors", dtype=dtype)
    tensors = load_file(file)
    assert tensors.keys() == {f"{ONE}.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha")}
    assert tensors[f"{ONE}.alpha"].shape == ()
    read, expected = load_adapter(file).updates[ONE_PATH], written.updates[ONE_PATH]
    assert torch.equal(read.down, expected.down.to(DTYPES[dtype])) and read.down.dtype == DTYPES[dtype]
    assert torch.equal(read.up, expected.up.to(DTYPES[dtype]))
    assert read.alpha == pytest.approx(expected.alpha, rel=2**-24)


def test_fp16_is_the_default_and_a_torch_dtype_will_do(lora, tmp_path):
    adapter = Adapter("a", {ONE_PATH: lora}, family="sd1")
    assert load_adapter(save_adapter(adapter, tmp_path / "a.safetensors")).updates[ONE_PATH].up.dtype == torch.float16
    file = save_adapter(adapter, tmp_path / "b.safetensors", dtype=torch.bfloat16)
    assert load_adapter(file).updates[ONE_PATH].up.dtype == torch.bfloat16
    with pytest.raises(Error, match="'fp8' is not known: use one of fp16, bf16, fp32"):
        save_adapter(adapter, tmp_path / "c.safetensors", dtype="fp8")


def test_ranks_and_alphas_differ_from_module_to_module(tmp_path):
    one, two = random_lora((12, 10), 4, 2.0, 1), random_lora((12, 10), 7, 16.0, 2)
    read = load_adapter(kohya_file(tmp_path / "a.safetensors", {ONE: one, TWO: two}))
    assert [(u.rank, u.alpha) for u in (read.updates[ONE_PATH], read.updates[TWO_PATH])] == [(4, 2.0), (7, 16.0)]
    again = load_adapter(save_adapter(read, tmp_path / "b.safetensors", dtype="fp32"))
    assert_same(again, read)


def test_a_missing_alpha_is_the_rank(tmp_path):
    two = random_lora((12, 10), 7, 16.0, 2)
    more = {f"{ONE}.lora_down.weight": numbers((5, 10), 1), f"{ONE}.lora_up.weight": numbers((12, 5), 2)}
    read = load_adapter(kohya_file(tmp_path / "a.safetensors", {TWO: two}, **more))
    assert read.updates[ONE_PATH].alpha == 5 and read.updates[ONE_PATH].scale == 1
    assert read.updates[TWO_PATH].alpha == 16


def test_an_alpha_in_a_list_of_one_is_read(lora, tmp_path):
    file = kohya_file(tmp_path / "a.safetensors", {ONE: lora}, **{f"{TWO}.alpha": torch.tensor([3.0])})
    tensors = load_file(file) | {f"{TWO}.lora_{part}.weight": getattr(lora, part) + 1 for part in ("down", "up")}
    save_file(tensors, file)
    assert load_adapter(file).updates[TWO_PATH].alpha == 3


def test_unknown_keys_are_reported_and_do_no_harm(lora, tmp_path):
    odd = {
        "lora_unet_no_such_module.lora_down.weight": numbers((4, 10), 1),
        "lora_unet_no_such_module.alpha": torch.tensor(1.0),
        f"{ONE}.extra": numbers((3,), 2),
        "nodot": numbers((3,), 3),
        "": numbers((3,), 3),
        "x" * 100_000: numbers((3,), 3),
    }
    read = load_adapter(kohya_file(tmp_path / "a.safetensors", {ONE: lora}, **odd))
    assert read.updates.keys() == {ONE_PATH} and torch.equal(read.updates[ONE_PATH].down, lora.down)
    assert read.report.unknown == tuple(sorted(odd)) and not read.report.complete


def test_a_module_that_makes_no_sense_is_left_out_with_the_reason(lora, tmp_path):
    nan = LoRA(lora.down + 1, lora.up.clone().index_fill_(0, torch.tensor([3]), float("nan")), 2.0)
    infinite = LoRA(lora.down.clone().index_fill_(0, torch.tensor([1]), float("inf")), lora.up + 2, 2.0)
    block = ONE.removesuffix("attn1_to_q")
    more = {
        f"{block}attn1_to_v.lora_down.weight": numbers((4, 10), 1),
        f"{block}attn1_to_v.lora_up.weight": numbers((12, 5), 2),
        f"{block}attn2_to_q.lora_down.weight": torch.zeros(0, 10),
        f"{block}attn2_to_q.lora_up.weight": torch.zeros(12, 0),
        f"{block}attn2_to_k.lora_down.weight": numbers((4, 10), 4),
    }
    file = kohya_file(tmp_path / "a.safetensors", {ONE: lora, TWO: nan, f"{block}attn2_to_v": infinite}, **more)
    read = load_adapter(file)
    block = ONE_PATH.removesuffix("attn1.to_q")
    reasons = {path.removeprefix(block): reason for path, reason in read.report.left_out.items()}
    assert read.updates.keys() == {ONE_PATH} and not read.report.complete
    assert reasons.keys() == {"attn1.to_k", "attn1.to_v", "attn2.to_q", "attn2.to_k", "attn2.to_v"}
    assert "NaN" in reasons["attn1.to_k"] and "NaN" in reasons["attn2.to_v"]
    assert "(4, 10)" in reasons["attn1.to_v"] and "lora_up.weight" in reasons["attn2.to_k"]


@pytest.mark.parametrize("alpha", [torch.tensor(float("nan")), torch.tensor([1.0, 2.0])], ids=["nan", "two numbers"])
def test_an_alpha_that_makes_no_sense_costs_its_module(alpha, lora, tmp_path):
    file = kohya_file(tmp_path / "a.safetensors", {ONE: lora, TWO: random_lora((12, 10), 4, 2.0, 2)})
    save_file(load_file(file) | {f"{TWO}.alpha": alpha}, file)
    read = load_adapter(file)
    assert read.updates.keys() == {ONE_PATH} and "alpha" in read.report.left_out[TWO_PATH]


def test_a_part_that_its_kind_has_not_is_reported(lora, tmp_path):
    odd = {f"{TWO}.lora_mid": numbers((4, 4), 2), f"{TWO}.rescale": numbers((12, 1), 2)}
    two = random_lora((12, 10), 4, 2.0, 2)
    read = load_adapter(kohya_file(tmp_path / "a.safetensors", {ONE: lora, TWO: two}, **odd))
    assert read.updates.keys() == {ONE_PATH, TWO_PATH} and read.report.unknown == tuple(sorted(odd))


def test_one_module_under_two_names_is_taken_once(lora, tmp_path):
    again = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"
    read = load_adapter(kohya_file(tmp_path / "a.safetensors", {ONE: lora, again: random_lora((12, 10), 4, 2.0, 2)}))
    assert read.updates.keys() == {ONE_PATH} and "twice" in read.report.warnings[0]


def test_fp8_files_are_read(lora, tmp_path):
    file = kohya_file(tmp_path / "a.safetensors", {ONE: lora})
    save_file({k: t if k.endswith("alpha") else t.to(torch.float8_e4m3fn) for k, t in load_file(file).items()}, file)
    read = load_adapter(file)
    assert read.updates[ONE_PATH].delta(torch.zeros(12, 10)).abs().sum() > 0
    assert len(read.content_hash) == 64


@pytest.mark.parametrize("family", FAMILIES)
def test_text_encoder_keys_say_text_model_and_both_forms_are_read(family, tmp_path):
    written = random_adapter(narrow(family), TEXT_ATTENTION, rank=2)
    file = save_adapter(written, tmp_path / "a.safetensors", dtype="fp32")
    tensors = load_file(file)
    assert all(re.match(r"lora_te[12]?_text_model_encoder_layers_", key) for key in tensors)
    assert {key.split("_")[1] for key in tensors} == ({"te1", "te2"} if family == "sdxl" else {"te"})
    flat = tmp_path / "flat.safetensors"
    save_file({key.replace("text_model_", ""): tensor for key, tensor in tensors.items()}, flat)
    assert_same(load_adapter(flat), written)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_file_of_either_naming_is_read_whole(family, tmp_path):
    """As many modules as kohya's scripts write for this family, under the names of both layouts."""
    full = [row for row in tables.rows(family) if re.fullmatch(FULL, row.path)]
    for pick in (0, -1):
        modules = {row.names[pick]: random_lora((4, 4), 1, 1.0, i) for i, row in enumerate(full)}
        read = load_adapter(kohya_file(tmp_path / f"{pick}.safetensors", modules))
        assert read.updates.keys() == {row.path for row in full}
        counts = [sum(p.startswith(part) for p in read.updates) for part in ("unet.", "text_encoder")]
        assert counts == {"sd1": [192, 72], "sd2": [192, 138], "sdxl": [722, 264]}[family]
        assert read.report.complete


def test_an_overflow_is_refused_and_no_file_is_left(lora, tmp_path):
    large = Adapter("a", {ONE_PATH: LoRA(lora.down * 1e6, lora.up, 1.0)}, family="sd1")
    file = save_adapter(Adapter("a", {ONE_PATH: lora}, family="sd1"), tmp_path / "a.safetensors")
    before = file.read_bytes()
    with pytest.raises(Error, match="save as fp32 or bf16"):
        save_adapter(large, file, dtype="fp16")
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
    assert torch.equal(load_adapter(save_adapter(large, file, dtype="fp32")).updates[ONE_PATH].down, lora.down * 1e6)


def test_a_path_that_the_family_has_not_is_refused(lora, tmp_path):
    with pytest.raises(Error, match=r"unet\.nowhere is no module of a sd2 model"):
        save_adapter(Adapter("a", {"unet.nowhere": lora}, family="sd2"), tmp_path / "a.safetensors")


def test_one_tensor_in_two_modules_is_written_twice(lora, tmp_path):
    file = save_adapter(
        Adapter("a", {ONE_PATH: lora, TWO_PATH: lora}, family="sd1"), tmp_path / "a.safetensors", dtype="fp32"
    )
    assert torch.equal(load_adapter(file).updates[TWO_PATH].down, lora.down)


def test_a_loaded_adapter_does_not_change_with_its_file(lora, tmp_path):
    file = kohya_file(tmp_path / "a.safetensors", {ONE: lora})
    read = load_adapter(file)
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    assert torch.equal(read.updates[ONE_PATH].down, lora.down)


def test_a_file_of_nothing_that_is_known_is_refused(lora, tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"model.layers.0.weight": numbers((3, 3), 1)}, file)
    with pytest.raises(Error, match=r"no adapter in a format sdlora knows \(first key: model.layers.0.weight\)"):
        load_adapter(file)
    save_file({"lora_unet_nowhere.alpha": torch.tensor(1.0)}, file)
    with pytest.raises(Error, match=r"no adapter in a format sdlora knows \(first key: lora_unet_nowhere.alpha\)"):
        load_adapter(file)
    kohya_file(file, {ONE: LoRA(lora.down * float("nan"), lora.up, 1.0)})
    with pytest.raises(Error, match=r"none of its 1 modules could be read; .*NaN"):
        load_adapter(file)


# One module of each kind that tells, at full size: which families can it be of?
@pytest.mark.parametrize(
    ("pattern", "family", "expected"),
    [
        (r".*mid_block.*attn2\.to_k", "sd1", "sd1"),
        (r".*mid_block.*attn2\.to_k", "sd2", "sd2"),
        (r".*mid_block.*blocks\.0\.attn2\.to_k", "sdxl", "sdxl"),
        (r".*mid_block.*blocks\.[19]\.attn1\.to_q", "sdxl", "sdxl"),
        (r".*mid_block.*proj_in", "sd1", "sd1"),
        (r".*mid_block.*attn1\.to_q", "sd1", None),
        (r".*mid_block.*attn1\.to_q", "sd2", None),
        (r".*mid_block.*blocks\.0\.attn1\.to_q", "sdxl", None),
        (r"text_encoder\..*layers\.3\.self_attn\.q_proj", "sd1", "sd1"),
        (r"text_encoder\..*layers\.3\.self_attn\.q_proj", "sd2", "sd2"),
        (r"text_encoder\..*layers\.3\.mlp\.fc2", "sd2", "sd2"),
        (r"text_encoder\..*layers\.3\.self_attn\.q_proj", "sdxl", "sdxl"),
        (r"text_encoder_2\..*layers\.3\.self_attn\.q_proj", "sdxl", "sdxl"),
    ],
)
def test_family_from_names_and_shapes(pattern, family, expected, tmp_path):
    updates = {
        path: random_lora(tuple(module.weight.shape), 1, 1.0, 1)
        for path, module in meta_modules(family).items()
        if re.fullmatch(pattern, path)
    }
    file = save_adapter(Adapter("a", updates, family=family), tmp_path / "a.safetensors")
    assert load_adapter(file).family == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"ss_base_model_version": "sd_v1"}, "sd1"),
        ({"ss_base_model_version": "sd_v2_v"}, "sd2"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({"ss_v2": "True"}, "sd2"),
        ({"ss_v2": "False"}, None),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, "sd2"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, None),
    ],
)
def test_the_headers_word_counts_where_shapes_do_not_tell(metadata, expected, lora, tmp_path):
    assert load_adapter(kohya_file(tmp_path / "a.safetensors", {ONE: lora}, metadata)).family == expected


def test_shapes_count_more_than_the_header(tmp_path):
    of_sd1 = {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k": random_lora((1280, 768), 1, 1.0, 1)}
    file = kohya_file(tmp_path / "a.safetensors", of_sd1, {"ss_base_model_version": "sd_v2"})
    assert load_adapter(file).family == "sd1"


def test_content_hash_follows_numbers_not_names(lora):
    one = Adapter("one", {ONE_PATH: lora, TWO_PATH: lora}, metadata={"a": "b"})
    same = Adapter("same", {TWO_PATH: lora, ONE_PATH: LoRA(lora.down.clone(), lora.up.clone(), lora.alpha)})
    assert one.content_hash == same.content_hash
    only_one, only_two = Adapter("one", {ONE_PATH: lora}), Adapter("one", {TWO_PATH: lora})
    stronger = Adapter("one", {ONE_PATH: LoRA(lora.down, lora.up, lora.alpha + 1), TWO_PATH: lora})
    assert len({adapter.content_hash for adapter in (one, only_one, only_two, stronger)}) == 4
