"""convert, merge, resize, extract, apply and compare, as a user runs them on small files."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sdlora.adapters import load_adapter
from sdlora.adapters.formats.header import read_header
from sdlora.resources import MINI


def deltas(path, weight=1.0):
    """Module path → weight · ΔW of an adapter file."""
    updates = load_adapter(path).updates
    return {name: weight * update.delta(torch.zeros(update.shape)).double() for name, update in updates.items()}


def assert_sum(path, parts, tolerance):
    """The file's ΔW are the sums of the parts', relative to the norm of all of them."""
    found = deltas(path)
    assert found.keys() == set().union(*parts)
    wanted = {name: sum(part[name] for part in parts if name in part) for name in found}
    off = sum(float((found[name] - wanted[name]).norm()) ** 2 for name in found)
    assert off <= tolerance**2 * sum(float(delta.norm()) ** 2 for delta in wanted.values())


def test_convert_to_diffusers_and_back(sdlora, workspace, library, tmp_path):
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    ended = sdlora("convert", "ink", "--format", "diffusers", "--out", there, *workspace, "--json")
    assert ended.code == 0 and ended.json["read"] == "kohya" and ended.json["path"] == str(there)
    assert any(key.startswith("unet.") and ".lora_A." in key for key in read_header(there).entries)
    assert sdlora("convert", there, "--out", back).code == 0
    before, after = deltas(library / "ink.safetensors"), deltas(back)
    assert before.keys() == after.keys() and all(torch.equal(before[path], after[path]) for path in before)


def test_convert_private(sdlora, workspace, library, tmp_path):
    path, out = library / "ink.safetensors", tmp_path / "a.safetensors"
    save_file(load_file(path), path, {"ss_tag_frequency": '{"my secret folder": {"me": 1}}', "ss_seed": "1"})
    assert sdlora("convert", "ink", "--private", "--out", out, *workspace).code == 0
    assert b"secret" not in out.read_bytes() and b"ss_seed" in out.read_bytes()


def test_convert_a_pickled_file(sdlora, library, tmp_path):
    torch.save(load_file(library / "ink.safetensors"), tmp_path / "old.pt")
    refused = sdlora("inspect", tmp_path / "old.pt")
    assert refused.code == 1 and "sdlora convert" in refused.err
    ended = sdlora("convert", tmp_path / "old.pt")
    assert ended.code == 0 and ended.out.strip() == str(tmp_path / "old-kohya.safetensors")
    assert_sum(tmp_path / "old-kohya.safetensors", [deltas(library / "ink.safetensors")], 0)


def test_nothing_is_overwritten(sdlora, workspace, library, tmp_path):
    out = tmp_path / "out.safetensors"
    out.write_text("mine", encoding="utf-8")
    commands = [
        ("convert", "ink"),
        ("merge", "ink", "oil"),
        ("resize", "ink", "--rank", "1"),
        ("extract", "mini", "mini", "--rank", "1"),
        ("apply", "mini", "ink"),
        ("compare", "ink", "oil"),
    ]
    for command in commands:
        ended = sdlora(*command, "--out", out, *workspace)
        assert ended.code == 1 and "--force" in ended.err and out.read_text(encoding="utf-8") == "mine", command
    assert sdlora("convert", "ink", "--out", out, "--force", *workspace).code == 0
    assert load_adapter(out).updates


def test_merge_with_weights(sdlora, workspace, library):
    ink, oil = library / "ink.safetensors", library / "oil.safetensors"
    ended = sdlora("merge", "ink:0.8", "oil:-0.5", "--dtype", "fp32", *workspace, "--json")
    assert ended.code == 0 and ended.json["relative_error"] < 1e-6 and ended.json["rounding_error"] < 1e-6
    assert ended.json["path"] == str(library / "ink+oil.safetensors")
    assert_sum(library / "ink+oil.safetensors", [deltas(ink, 0.8), deltas(oil, -0.5)], 1e-6)


def test_the_rounding_of_the_file_is_told_apart(sdlora, workspace, tmp_path):
    ended = sdlora("merge", "ink", "oil", "--out", tmp_path / "a.safetensors", *workspace, "--json")
    assert ended.json["relative_error"] < 1e-6 < 1e-5 < ended.json["rounding_error"] < 1e-3


def test_resize(sdlora, workspace, library):
    ended = sdlora("resize", "ink", "--rank", "2", *workspace)
    assert ended.code == 0 and "relative error" in ended.out
    out = load_adapter(library / "ink-resized.safetensors")
    assert {update.rank for update in out.updates.values()} == {2}
    assert sdlora("resize", "ink", "--out", library / "b.safetensors", *workspace).code == 1  # to what?


def test_apply_then_extract_gives_the_adapter_back(sdlora, workspace, library, tmp_path):
    merged, out = tmp_path / "merged", tmp_path / "found.safetensors"
    applied = sdlora("apply", MINI, "ink:0.5", "--out", merged, *workspace, "--json")
    assert applied.code == 0 and applied.json["modules"] == 128
    ended = sdlora("extract", MINI, merged, "--rank", "4", "--dtype", "fp32", "--out", out, *workspace, "--json")
    assert ended.code == 0
    # mini's weights are kept in half precision: a rounding of theirs is in what is found
    assert_sum(out, [deltas(library / "ink.safetensors", 0.5)], 0.3)


def test_compare(sdlora, workspace, tmp_path, library):
    ended = sdlora("compare", "ink", "ink", "--out", tmp_path / "a.png", *workspace, "--json")
    assert ended.code == 0 and ended.json["total"]["cosine"] == pytest.approx(1)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 500
    assert abs(sdlora("compare", "ink", "oil", *workspace, "--json").json["total"]["cosine"]) < 0.5
    assert "cosine" in sdlora("compare", "ink", "oil", *workspace).out


def test_what_was_left_out_ends_in_exit_code_3(sdlora, workspace, library, tmp_path):
    path = library / "ink.safetensors"
    tensors = load_file(path)
    broken = next(key for key in tensors if key.endswith("lora_up.weight"))
    tensors[broken][0] = float("nan")
    save_file(tensors, path, {})
    for command in (
        ("convert", "ink"),
        ("merge", "ink", "oil"),
        ("resize", "ink", "--rank", "1"),
        ("compare", "ink", "oil"),
    ):
        out = () if command[0] == "compare" else ("--out", tmp_path / f"{command[0]}.safetensors")
        ended = sdlora(*command, *out, *workspace, "--json")
        assert ended.code == 3, ended
        assert "NaN" in ended.err and "NaN" in " ".join(ended.json["warnings"])


def test_kinds_that_need_a_base_name_it(sdlora, workspace, library, tmp_path):
    path = library / "ink.safetensors"
    scales = {
        key.replace("lora_up.weight", "dora_scale"): torch.ones(len(tensor), 1)
        for key, tensor in load_file(path).items()
        if key.endswith("lora_up.weight") and tensor.ndim == 2
    }
    save_file(load_file(path) | scales, path, {})
    out = ("--out", tmp_path / "a.safetensors")
    refused = sdlora("resize", "ink", "--rank", "1", *out, *workspace)
    assert refused.code == 1 and "--base" in refused.err
    assert sdlora("resize", "ink", "--rank", "1", "--base", "mini", *out, *workspace).code == 0
    told = sdlora("inspect", "ink", *workspace, "--json").json
    assert told["strength"] is None and "--base" in told["strength_missing"]
    assert sdlora("inspect", "ink", "--base", "mini", *workspace, "--json").json["strength"]["total"]["ratio"] > 0
