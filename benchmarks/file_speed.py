"""How long an adapter file takes: to be read, and until the base has it. sdlora, diffusers, PEFT."""

import copy
import tempfile
from collections import defaultdict
from pathlib import Path

from peft import LoraConfig, get_peft_model

from sdlora import Mixer, load_adapter
from sdlora.adapters import library
from sdlora.bases import Base
from tests.adapters.made import ATTENTION

from .mixed_by_diffusers import RANK, adapter_files, pipeline_of
from .peft_loop import ATTENTION as PEFTS_ATTENTION
from .slider_speed import seconds


def file_times(base: Base, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's rounds, taken in turn. Every one has had another adapter before."""
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, file = adapter_files(base, ATTENTION, 2, folder)
        mixer, pipeline, peft = Mixer(base, folder), pipeline_of(base, [first]), peft_model(base, folder / "peft")
        mixer.set({"a0": 1.0})
        for _ in range(rounds):
            times["sdlora: `load_adapter`"].append(seconds(lambda: load_adapter(file)))
            library._load.cache_clear()  # the mixer remembers the files that it has read
            mixer.set({"a0": 1.0})
            times["sdlora: `Mixer.set` of it beside another"].append(seconds(lambda: mixer.set({"a0": 1.0, "a1": 1.0})))
            times["diffusers: `load_lora_weights` beside another"].append(
                seconds(lambda: pipeline.load_lora_weights(file, adapter_name="a1"))
            )
            pipeline.delete_adapters("a1")
            times["PEFT: `load_adapter` beside another"].append(
                seconds(lambda: peft.load_adapter(folder / "peft" / "saved", "a1"))
            )
            peft.delete_adapter("a1")
    return times


def peft_model(base: Base, folder: Path) -> object:
    """PEFT's model of a copy of the UNet, with one adapter, and the folder of another one."""
    settings = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=PEFTS_ATTENTION)
    model = get_peft_model(copy.deepcopy(base.unet), settings, adapter_name="saved")
    model.half().save_pretrained(folder, selected_adapters=["saved"])
    return model.float()
