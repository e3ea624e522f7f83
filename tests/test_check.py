import dataclasses
import io
import json

import pytest
import torch
from rich.console import Console

from sdlora import check


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return check.collect(tmp_path_factory.mktemp("check") / "not yet made" / "workspace")


def printed(report):
    console = Console(file=io.StringIO(), width=300)
    check.render(report, console)
    return console.file.getvalue()


def test_it_tells_versions_device_memory_and_mini(report):
    assert report.versions["torch"] == torch.__version__
    assert report.device in {device.type for device in report.devices}
    assert report.devices[-1].type == "cpu" and report.devices[-1].dtype in ("fp32", "bf16")
    assert 0 < report.memory_free_gib <= report.memory_gib
    assert report.disk_free_gib > 0
    assert [base["family"] for base in report.bases if base["name"] == "mini"] == ["sd1"]


def test_the_json_is_the_whole_report(report):
    assert json.loads(report.json()) == dataclasses.asdict(report)


def test_what_is_printed_names_all_of_it_and_survives_brackets(report):
    remedy = 'run `pip install "sdlora[ui]"`.'
    odd = dataclasses.replace(report, workspace="/a [bold]/b", remedies=[remedy])
    text = printed(odd)
    assert torch.__version__ in text and "mini (sd1)" in text
    assert "/a [bold]/b" in text and remedy in text
    assert "Nothing is wrong." in printed(dataclasses.replace(report, remedies=[]))


def test_looking_makes_no_folder(tmp_path):
    check.collect(tmp_path / "workspace")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.version.cuda is not None, reason="needs a build of PyTorch without CUDA")
def test_an_nvidia_gpu_with_a_cpu_build_has_a_remedy():
    (remedy,) = check._device_remedies(nvidia_answers=True)
    assert "without CUDA" in remedy and "SDLORA_TORCH=cuda" in remedy
    assert not check._device_remedies(nvidia_answers=False)


def test_little_room_has_a_remedy():
    assert len(check._room_remedies(memory_free=1, disk_free=1)) == 2
    assert not check._room_remedies(memory_free=16, disk_free=100)


def test_a_missing_package_has_a_remedy(report):
    installed = dict.fromkeys(check.PACKAGES, "1.0")
    assert not check._package_remedies(installed)
    assert not check._package_remedies(installed | {"bitsandbytes": None})
    assert "sdlora[ui]" in check._package_remedies(installed | {"gradio": None})[0]
    assert "pip install pydantic" in check._package_remedies(installed | {"pydantic": None})[0]


def test_mini_missing_has_a_remedy():
    assert "install sdlora again" in check._base_remedies([])[0]
