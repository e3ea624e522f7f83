"""Short memory: parts in turn on a device, the VAE in tiles, one more try."""

import copy
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from sdlora.adapters import save_adapter
from sdlora.data.folder import Example
from sdlora.data.latents import Viewing
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.pictures import save_picture
from sdlora.sampling import memory
from sdlora.sampling.denoise import always, decode, denoise, prompt_context
from sdlora.sampling.recipe import Recipe
from sdlora.training.encoding import latents_of
from tests.adapters.made import ATTENTION, TEXT_ATTENTION, random_adapter
from tests.conftest import all_tensors
from tests.second_device import second_device

RECIPE = Recipe("octopus, flat style", "red", 5, 3, 4.0, "DPM++ 2M Karras", (64, 96))
CPU = torch.device("cpu")


@pytest.fixture
def base(mini):
    """mini to move about."""
    return copy.deepcopy(mini)


def places(base):
    """Part -> the kinds of devices that it is on."""
    return {
        part: {tensor.device.type for network in networks for tensor in network.parameters()}
        for part, networks in base.parts.items()
    }


def draw_in_turn(base, recipe=RECIPE):
    with memory.working(base, "text_encoders"):
        context = prompt_context(base, recipe)
    with memory.working(base, "unet"):
        latents = denoise(base, recipe, asked=always(context))
    with memory.working(base, "vae", recipe.size[0] * recipe.size[1]):
        return decode(base, latents)


def numbers(picture):
    return np.asarray(picture, dtype=float)


def load(mini, room):
    """Reads mini onto a device, where there is room for it."""

    def onto(device):
        if device.type not in room:
            raise torch.OutOfMemoryError("out of memory")
        return copy.deepcopy(mini).to(device)

    return onto


def test_a_base_that_fits_is_whole_on_its_device(mini):
    said = []
    with second_device() as device:
        base = memory.load_within(load(mini, {device.type}), device, said.append)
        assert base.device == device and base.visited is None and said == []
        assert set.union(*places(base).values()) == {device.type}


def test_one_that_does_not_waits_on_the_cpu(mini):
    said = []
    with second_device() as device:
        base = memory.load_within(load(mini, {"cpu"}), device, said.append)
        assert base.device == base.visited == device
        assert set.union(*places(base).values()) == {"cpu"}
    assert len(said) == 1 and "too small for all of mini at once" in said[0] and "in turn" in said[0]


def test_one_that_fits_nowhere_is_a_sentence(mini):
    with second_device() as device:
        for where in (device, CPU):
            with pytest.raises(Error, match="not enough memory to load this base"):
                memory.load_within(load(mini, set()), where)


def test_parts_that_wait_come_in_turn(base):
    with second_device() as device:
        base.visited = device
        for part in ("text_encoders", "unet", "vae", "unet"):
            with memory.working(base, part):
                assert places(base) == {name: {device.type if name == part else "cpu"} for name in base.parts}
                assert base.device == device
        base.to("cpu")
        assert base.device == CPU and base.visited is None


def test_an_outer_part_is_back_after_an_inner_one(base):
    """As for a preview that the VAE decodes between two steps."""
    with second_device() as device:
        base.visited = device
        with memory.working(base, "unet"):
            with memory.working(base, "vae"):
                assert places(base)["unet"] == {"cpu"}
            assert places(base) == {"text_encoders": {"cpu"}, "unet": {device.type}, "vae": {"cpu"}}


def test_a_picture_whose_parts_come_in_turn(base, mini):
    """An operation on tensors of two devices would fail, as on a GPU."""
    expected = numbers(draw_in_turn(mini))
    with second_device() as device, torch.no_grad():
        base.to(device)
        whole = numbers(draw_in_turn(base))
        base.to("cpu")
        base.visited = device
        in_turn = numbers(draw_in_turn(base))
        base.to("cpu")
    assert np.array_equal(whole, in_turn)
    assert np.abs(in_turn - expected).max() <= 1  # another attention kernel


def test_parts_come_back_with_their_bits(base, mini_values):
    with second_device() as device:
        base.visited = device
        for part in base.parts:
            with memory.working(base, part):
                pass
        base.to("cpu")
    assert all(torch.equal(tensor, mini_values[key]) for key, tensor in all_tensors(base).items())


def test_a_part_can_have_the_device_for_itself(base, mini_values):
    with second_device() as device:
        base.to(device)
        with memory.alone(base, "vae"):
            assert places(base) == {"text_encoders": {"cpu"}, "unet": {"cpu"}, "vae": {device.type}}
        assert all(kinds == {device.type} for kinds in places(base).values()) and base.visited is None
        base.to("cpu")
    assert all(torch.equal(tensor, mini_values[key]) for key, tensor in all_tensors(base).items())


def test_images_are_encoded_alone_and_alike_where_memory_is_short(base, tmp_path):
    save_picture(Image.effect_noise((96, 64), 60).convert("RGB"), tmp_path / "a.png", "")
    example, viewing = Example(tmp_path / "a.png", "a"), Viewing.square(64)
    seen = []
    base.vae.register_forward_pre_hook(lambda *_: seen.append(places(base)["unet"]))
    base.vae.encoder.register_forward_pre_hook(lambda *_: seen.append(places(base)["unet"]))
    memory.use_tiles(base.vae)
    [here] = latents_of(base, [example], viewing)
    with second_device() as device, torch.no_grad():
        base.to(device)
        [there] = latents_of(base, [example], viewing)
        assert places(base)["unet"] == {device.type}
        base.to("cpu")
    assert seen == [{"cpu"}, {"cpu"}]
    assert torch.equal(here.mean, there.mean)


# ------------------------------------------------------------------------------------------------------------- tiles


def test_tiles_give_nearly_the_same_picture(mini):
    recipe = Recipe("octopus, flat style, blue background", "", 5, 8, 4.0, "DPM++ 2M Karras", (96, 64))
    latents = functional.interpolate(denoise(mini, recipe), scale_factor=8, mode="bicubic")  # 768 x 512 pixels
    whole, tiled = numbers(decode(mini, latents)), tiled_decode(mini, latents)
    difference = np.abs(tiled - whole)
    print(f"mean {difference.mean():.3f}, max {difference.max():.0f} of 255")
    assert 0 < difference.mean() < 3 and difference.max() < 64


def tiled_decode(base, latents):
    memory.use_tiles(base.vae)
    try:
        return numbers(decode(base, latents))
    finally:
        base.vae.disable_tiling()


def test_one_tile_is_the_whole(mini):
    latents = torch.randn(1, 4, 24, 32, generator=torch.Generator().manual_seed(1))
    assert np.array_equal(tiled_decode(mini, latents), numbers(decode(mini, latents)))


def test_only_large_pictures_are_always_done_in_tiles(mini):
    for pixels, tiled in ((1024 * 1024, False), (memory.LARGE, False), (2048 * 2048, True)):
        with memory.working(mini, "vae", pixels):
            assert mini.vae.use_tiling == tiled
        assert not mini.vae.use_tiling


# ---------------------------------------------------------------------------------------------------------- one retry


class Work:
    """Runs out of memory as often as it is told to, and notes how the base stood each time."""

    def __init__(self, base, failures, error=None):
        self.base, self.failures, self.seen = base, failures, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def __call__(self):
        self.seen.append((self.base.vae.use_tiling, self.base.visited))
        if len(self.seen) <= self.failures:
            raise self.error
        return "picture"


def retry(base, work, pixels=1):
    said = []
    return memory.with_retry(base, work, pixels, said.append), said


def test_enough_memory_is_no_news(base):
    work = Work(base, failures=0)
    assert retry(base, work) == ("picture", [])
    assert work.seen == [(False, None)]


def test_out_of_memory_is_said_and_tried_once_more_in_tiles(base, mini_values):
    work = Work(base, failures=1)
    picture, said = retry(base, work)
    assert picture == "picture"
    assert len(said) == 1 and "memory of cpu ran out" in said[0] and "in tiles" in said[0]
    assert [tiled for tiled, _ in work.seen] == [False, True]
    assert not base.vae.use_tiling and base.visited is None
    assert all(torch.equal(tensor, mini_values[key]) for key, tensor in all_tensors(base).items())


def test_on_a_device_the_parts_come_in_turn_the_second_time(base):
    with second_device() as device:
        base.to(device)
        work = Work(base, failures=1)
        picture, said = retry(base, work)
        assert picture == "picture" and "only the part that works" in said[0]
        assert [visited for _, visited in work.seen] == [None, device]
        assert base.device == device and base.visited is None
        assert set.union(*places(base).values()) == {device.type}


def test_what_the_first_try_held_is_let_go_of(base):
    left = []

    def run():
        held = torch.zeros(3)
        left.append(weakref.ref(held))
        if len(left) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return left[0]() is None

    assert retry(base, run)[0]


def test_a_size_that_there_was_no_memory_for_begins_in_tiles_the_next_time(base):
    retry(base, Work(base, failures=1), pixels=512 * 512)
    for pixels, tiled in ((512 * 512, True), (768 * 768, True), (256 * 256, False)):
        work = Work(base, failures=0)
        assert retry(base, work, pixels) == ("picture", [])
        assert [t for t, _ in work.seen] == [tiled]


def test_a_second_failure_is_a_sentence_that_says_what_to_do(base, mini_values):
    work = Work(base, failures=9)
    with pytest.raises(Error, match=r"not enough memory on cpu for this picture.*smaller size.*close other programs"):
        retry(base, work)
    assert len(work.seen) == 2 and not base.vae.use_tiling
    assert all(torch.equal(tensor, mini_values[key]) for key, tensor in all_tensors(base).items())


def test_a_base_that_waited_before_goes_on_waiting(base):
    with second_device() as device:
        base.visited = device
        retry(base, Work(base, failures=1))
        assert base.visited == device
        base.to("cpu")


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyboardInterrupt()])
def test_other_errors_pass(base, error):
    work = Work(base, failures=1, error=error)
    with pytest.raises(type(error)):
        retry(base, work)
    assert len(work.seen) == 1


def test_an_error_of_the_second_try_passes_and_leaves_the_base_in_order(base):
    def run():
        if not base.vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        raise ValueError("another one")

    with second_device() as device:
        base.to(device)
        with pytest.raises(ValueError, match="another one"):
            retry(base, run)
        assert base.device == device and base.visited is None and not base.vae.use_tiling


def test_without_a_way_to_say_it_it_is_a_warning(base):
    with pytest.warns(UserWarning, match="memory of cpu ran out"):
        memory.with_retry(base, Work(base, failures=1), 1)


def test_what_allocators_say():
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 55)
    assert memory.ran_out(error.value)
    for words in (
        "MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 2 MB, max allowed: 9.07 GB).",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.",
    ):
        assert memory.ran_out(RuntimeError(words))
        assert not memory.ran_out(ValueError(words))
    assert memory.ran_out(torch.OutOfMemoryError("")) and memory.ran_out(MemoryError())
    assert not memory.ran_out(RuntimeError("expected scalar type Half but found Float"))


def test_a_mix_is_unharmed_by_running_out(base, tmp_path):
    file = save_adapter(random_adapter(base, f"{ATTENTION}|{TEXT_ATTENTION}", seed=1), tmp_path / "ink.safetensors")
    own = all_tensors(base)
    mixer = Mixer(base)
    mixer.set({str(file): 0.7})
    mixed = all_tensors(base)
    assert any(not torch.equal(tensor, own[key]) for key, tensor in mixed.items())
    with second_device() as device, torch.no_grad():
        base.to(device)
        retry(base, Work(base, failures=1))
        base.to("cpu")
    assert all(torch.equal(tensor, mixed[key]) for key, tensor in all_tensors(base).items())
    mixer.clear()
    assert all(torch.equal(tensor, own[key]) for key, tensor in all_tensors(base).items())


def test_tiles_are_wanted_for_large_pictures_and_where_little_is_free():
    one = 1024 * 1024
    assert memory.wants_tiles(1600 * 1600, None) and not memory.wants_tiles(one, None)
    assert memory.wants_tiles(one, one * memory.VAE_BYTES - 1) and not memory.wants_tiles(one, one * memory.VAE_BYTES)
