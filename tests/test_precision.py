import os
import platform
import subprocess
import sys

import pytest
import torch

from sdlora.precision import cpu_times, fastest_dtype


def test_the_cpu_gets_the_faster_precision_and_keeps_its_answer():
    fp32, bf16 = cpu_times()
    assert fastest_dtype("cpu") == (torch.bfloat16 if bf16 < 0.9 * fp32 else torch.float32)
    assert cpu_times() == (fp32, bf16)


def test_measuring_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    fp32, bf16 = cpu_times.__wrapped__()
    assert fp32 > 0 and bf16 > 0
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the limit below is one for x86")
def test_a_cpu_without_fast_bf16_runs_fp32():
    """oneDNN kept to AVX2 emulates bf16, some twenty times slower than fp32, as on any older CPU."""
    code = "from sdlora.precision import fastest_dtype; print(fastest_dtype('cpu'))"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.float32"


@pytest.mark.parametrize(
    ("capability", "supported", "expected"),
    [
        ((7, 5), True, torch.float16),  # T4, RTX 20: PyTorch says yes, and emulates
        ((8, 0), True, torch.bfloat16),
        ((9, 0), True, torch.bfloat16),
        ((8, 6), False, torch.float16),
    ],
)
def test_cuda_runs_bf16_only_where_the_hardware_has_it(monkeypatch, capability, supported, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: supported)
    assert fastest_dtype("cuda") == expected


def test_other_devices_stay_in_fp32():
    assert fastest_dtype("mps") == torch.float32
