"""A few files gone wrong, other ones each time the mutations change; `python -m benchmarks.fuzz` tries 100,000."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from sdlora.adapters.formats import convert
from sdlora.errors import Error
from tests.adapters.mutations import Draft, drafts
from tests.adapters.specimens import SPECIMENS
from tests.adapters.trial import survive, write


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimens_are_what_they_should_be(name, tmp_path):
    header, data = SPECIMENS[name].header_and_data()
    outcome = survive(write(Draft(header, data, SPECIMENS[name].settings), tmp_path))
    assert outcome == ("refused" if name in ("flux", "nothing") else "whole")


@given(drafts())
@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
def test_files_gone_wrong(draft):
    with tempfile.TemporaryDirectory() as folder:
        survive(write(draft, Path(folder)))


# What the fuzzer found, by what was wrong; each file once ended in something else than a sentence.
KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
PEFT = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
FOUND = {
    "no rank where PEFT's scale needs one": Draft(
        {
            f"{PEFT}.lora_A.weight": F32 | {"shape": []},
            f"{PEFT}.lora_B.weight": F32 | {"shape": [1, 1], "data_offsets": [4, 8]},
        },
        bytes(8),
        {"r": 1, "lora_alpha": 1, "use_rslora": True},
    ),
    "an empty tensor with sides beyond all numbers": Draft(
        {f"{KEY}.lora_down.weight": F32 | {"shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b""
    ),
    "a name that is a page long": Draft({f"{KEY}.alpha": F32, "a" * 5000: F32 | {"data_offsets": [4, 8]}}, bytes(8)),
    "a name that steers the terminal": Draft(
        {"<s1>": F32, "\x1b[31m\n\u202e": F32 | {"data_offsets": [4, 8]}}, bytes(8)
    ),
    "metadata that steer the terminal": Draft(
        {"<s1>": F32, "__metadata__": {"modelspec.title": "\x1b]0;x\x07", "modelspec.trigger_phrase": "\x1b[2J"}},
        bytes(4),
    ),
    "a name of two lines": Draft(
        {"bundle_emb.ink.string_to_param\n.*": F32, "<s1>": F32 | {"data_offsets": [4, 8]}}, bytes(8)
    ),
    "a token of a width that no text encoder has": Draft({"bundle_emb.ink.string_to_param.*": F32}, bytes(4)),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name, tmp_path):
    survive(write(FOUND[name], tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        {"string_to_param": torch.nn.ParameterDict.__new__(torch.nn.ParameterDict)},
        {"string_to_param": torch.ones(2)},
        {"string_to_param": {"*": 5}},
        {"state_dict": 5, "a": 5},
        [torch.ones(2, 2)],
        5,
    ],
    ids=["no dictionary at all", "a tensor", "a number", "numbers", "one matrix", "5"],
)
def test_pickled_files_gone_wrong(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(Error):
        convert(tmp_path / "a.pt", tmp_path / "out.safetensors")
