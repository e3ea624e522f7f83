"""What the doctor knows of a base without loading it: the same as the loaded base would say."""

import pytest

from sdlora.bases import load_base
from sdlora.data.doctor.base_facts import base_facts
from sdlora.errors import Error
from tests.bases.written import narrow, write_folder, write_single_file


def of_loaded(base):
    halvings = len(base.unet.config["block_out_channels"]) - 1
    lengths = [tokenizer.model_max_length for tokenizer in base.tokenizers]
    return base.resolution, base.vae_factor * 2**halvings, lengths


def of_facts(name):
    facts = base_facts(str(name))
    return facts.resolution, facts.step, [tokenizer.model_max_length for tokenizer in facts.tokenizers]


def test_mini(mini):
    assert of_facts("mini") == of_loaded(mini) == (128, 64, [32])


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_folder_and_a_single_file(family, tmp_path):
    write_folder(narrow(family), tmp_path / "folder")
    assert of_facts(tmp_path / "folder") == of_loaded(load_base(tmp_path / "folder"))
    file = write_single_file(narrow(family), tmp_path / "file.safetensors")
    facts = of_facts(file)
    assert facts[2] == [77] * (2 if family == "sdxl" else 1)
    assert facts[:2] == ((1024, 32) if family == "sdxl" else (512, 64))


def test_no_base(tmp_path):
    with pytest.raises(Error):
        base_facts(str(tmp_path / "nothing.safetensors"))
