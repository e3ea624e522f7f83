"""Extracting: an adapter that was applied comes out again, and what it can't hold is said."""

import weakref

import pytest
import torch
from torch import nn

from sdlora.adapters import Adapter
from sdlora.adapters.updates import update_from
from sdlora.bases import load_base
from sdlora.bases.base import FAMILIES
from sdlora.bases.whole import WholeCheckpoint, apply, extract
from sdlora.errors import Error
from tests.adapters.made import ATTENTION, FULL, numbers, random_adapter, random_lora
from tests.bases.written import narrow, write_folder, write_single_file

FEW = rf"(?=unet\.(mid_block|conv_in|.*blocks\.0\.resnets\.0)|text_encoder.*layers\.[01]\.)(?:{FULL})"
CONVOLUTIONS = r"unet\.(mid_block|down_blocks\.1)\..*\.(conv1|conv2|conv_shortcut|time_emb_proj)|unet\.conv_in"
PROJECTION = r"text_encoder_2\.text_projection"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_applied_comes_out(family, tmp_path):
    base, tuned = write_single_file(narrow(family), tmp_path / "base.safetensors"), tmp_path / "tuned.safetensors"
    adapter = random_adapter(narrow(family), f"{FEW}|{CONVOLUTIONS}|{PROJECTION}", rank=3)
    apply(base, [adapter], [1.0], tuned)
    found, report = extract(base, tuned, rank=3)
    assert found.updates.keys() == adapter.updates.keys() == report.modules.keys()
    assert (found.family, found.name, report.notes) == (family, "tuned", ())
    assert report.relative < 1e-4 and report.modules[report.worst].relative < 1e-3
    for path, update in adapter.updates.items():
        weight = torch.zeros(update.shape)
        assert found.updates[path].rank == 3
        assert (found.updates[path].delta(weight) - update.delta(weight)).norm() < 1e-3 * update.delta(weight).norm()
    assert extract(base, tuned, rank=2)[1].relative > 0.05


def test_folders_and_files_go_together(tmp_path):
    base = write_folder(narrow("sd1"), tmp_path / "base")
    file = write_single_file(narrow("sd1"), tmp_path / "base.safetensors")
    adapter = random_adapter(narrow("sd1"), FEW, rank=2)
    tuned = apply(file, [adapter], [0.5], tmp_path / "tuned.safetensors").path
    found, report = extract(base, tuned, keep=0.9999)
    assert found.updates.keys() == adapter.updates.keys() and report.relative < 0.011
    assert max(update.rank for update in found.updates.values()) == 2


def test_memory_stays_near_one_module(tmp_path, monkeypatch):
    file = write_single_file(narrow("sd1"), tmp_path / "base.safetensors")
    tuned = apply(file, [random_adapter(narrow("sd1"), ATTENTION, rank=1)], [1.0], tmp_path / "tuned.safetensors").path
    references, most, read = [], 0, WholeCheckpoint.read

    def watched(self, name):
        nonlocal most, references
        tensor = read(self, name)
        references = [*(reference for reference in references if reference() is not None), weakref.ref(tensor)]
        most = max(most, len(references))
        return tensor

    monkeypatch.setattr(WholeCheckpoint, "read", watched)
    extract(file, tuned, rank=1)
    assert most <= 3  # a module's difference, and its bias in both


def changed(tmp_path, change):
    """A base on disk and the same with something changed."""
    file = write_single_file(narrow("sd1"), tmp_path / "base.safetensors")
    base = load_base(file, prediction_type="epsilon")
    with torch.no_grad():
        change(base.modules())
    return file, write_single_file(base, tmp_path / "tuned.safetensors")


def test_norms_are_kept_and_biases_and_embeddings_are_named(tmp_path):
    norm, conv, linear = "unet.conv_norm_out", "unet.conv_in", "unet.time_embedding.linear_1"
    table = "text_encoder.text_model.embeddings.token_embedding"

    def change(modules: dict[str, nn.Module]) -> None:
        modules[norm].weight += 0.5
        modules[norm].bias -= 0.25
        modules[conv].weight += 1e-2 * random_lora((32, 4, 3, 3), 1, 1.0, 1).delta(modules[conv].weight)
        modules[conv].bias += 0.125
        modules[linear].bias += 0.125
        modules[table].weight += 1

    base, tuned = changed(tmp_path, change)
    adapter, report = extract(base, tuned, rank=4)
    assert adapter.updates.keys() == {norm, conv}
    assert adapter.updates[norm].kind == "norm" and adapter.updates[conv].kind == "LoCon"
    assert torch.allclose(adapter.updates[norm].delta(torch.zeros(32)), torch.tensor(0.5))
    assert torch.allclose(adapter.updates[norm].bias_delta(torch.zeros(32)), torch.tensor(-0.25))
    assert [note.split(" differ")[0] for note in report.notes] == ["1 norm layers", "2 biases", "1 embedding tables"]
    whole, report = extract(base, tuned, rank=4, full=True)
    assert {path: update.kind for path, update in whole.updates.items()} == {norm: "norm", conv: "full", linear: "full"}
    assert torch.allclose(whole.updates[linear].bias_delta(torch.zeros(128)), torch.tensor(0.125))
    assert not any("biases" in note for note in report.notes)


def test_mistakes_are_sentences(tmp_path):
    base = write_single_file(narrow("sd1"), tmp_path / "base.safetensors")
    with pytest.raises(Error, match="say how large"):
        extract(base, base)
    with pytest.raises(Error, match="does not differ"):
        extract(base, base, rank=4)
    with pytest.raises(Error, match=r"is sd1 and .* is sd2"):
        extract(base, write_single_file(narrow("sd2"), tmp_path / "other.safetensors"), rank=4)
    with pytest.raises(Error, match="give two models of one size"):
        extract("mini", base, rank=4)


def test_an_adapter_with_whole_deltas_survives(tmp_path):
    base = write_single_file(narrow("sd1"), tmp_path / "base.safetensors")
    update = update_from({"diff": 0.1 * numbers((32, 4, 3, 3), 1), "diff_b": numbers((32,), 2)})[0]
    tuned = apply(base, [Adapter("a", {"unet.conv_in": update})], [1.0], tmp_path / "tuned.safetensors").path
    found, report = extract(base, tuned, rank=1, full=True)
    assert torch.allclose(found.updates["unet.conv_in"].delta(update.diff), update.diff, atol=1e-6)
    assert report.relative < 1e-6
