"""Files made to hurt: refused in a sentence, with little memory, whatever they claim to be."""

import json
import time
import tracemalloc

import pytest
import torch
from safetensors.torch import save

from sdlora.adapters import load_adapter
from sdlora.adapters.formats.header import LARGEST_HEADER, MOST_TENSORS
from sdlora.errors import Error
from tests.adapters.made import random_lora

ONE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
MOST_MEMORY = 50_000_000  # bytes
HANGS = 60  # seconds; a busy machine is no mistake


def write(path, header, data=b"", size=None, length=None):
    """A file with this header (JSON or raw bytes); `size` makes it that many bytes long without writing them."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    with path.open("wb") as file:
        file.write((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
        if size is not None:
            file.truncate(8 + len(raw) + size)
    return path


def entry(shape, start, dtype="F16"):
    count = 1
    for n in shape:
        count *= n
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + 2 * count]}


def load(path):
    """Load, and check that it took little memory: numbers are read into Python's own, so tracemalloc sees them."""
    started = time.monotonic()
    tracemalloc.start()
    try:
        return load_adapter(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY, f"{peak} bytes"
        assert time.monotonic() - started < HANGS


def refused(path):
    with pytest.raises(Error) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 500
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 10**12, LARGEST_HEADER + 1])
def test_a_header_length_out_of_all_measure(length, path):
    assert f"{length} bytes" in refused(write(path, b"{}", bytes(100), length=length))


@pytest.mark.parametrize("length", [LARGEST_HEADER + 1, 2 * 10**9])
def test_a_file_that_has_such_a_header(length, path):
    assert "no adapter" in refused(write(path, b"{}", size=length, length=length))


BLANK = b" " * 1000
HEADERS = {
    "empty lists": b"[" + b"[]," * 1_600_000 + b"[]]",
    "lists within the bound": b"[" + b"[]," * 90_000 + b"[]]",
    "empty objects": b"{" + b",".join(b'"%d":{}' % i for i in range(400_000)) + b"}",
    "objects within the bound": b"{" + b",".join(b'"%d":{}' % i for i in range(95_000)) + b"}",
    "metadata entries": b'{"__metadata__":{' + b",".join(b'"%d":"a"' % i for i in range(95_000)) + b"}}",
    "nesting": b"[" * 4_900_000,
    "nesting within the bound": b"[" * 150_000,
    "nested metadata": b'{"__metadata__":{"a":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_002,
    "one large text": b'{"__metadata__":{"a":"' + b"x" * 4_900_000 + b'"}}',
    "large characters": b'{"__metadata__":{"a":"' + b"x" * 4_900_000 + "😀".encode() + b'"}}',
    "escapes": b'{"__metadata__":{"a":"' + b"\\ud83d\\ude00" * 400_000 + b'"}}',
    "backslashes": b'{"a":"' + b"\\" * 4_900_000,
    "quotes": b'"' * 4_900_000,
    "escaped quotes": b'\\"a"' * 1_200_000,
    "texts": b"[" + b'"a",' * 199_000 + b'"a"]',
    "a number": b'{"a":' + b"9" * 4_900_000 + b"}",
    "half a character": b'{"__metadata__":{"a":"\\ud800"}}',
    "half a character in a key": b'{"\\udfff":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}}',
    "a shape of many": b'{"a":{"dtype":"F16","shape":[' + b"1," * 90_000 + b'1],"data_offsets":[0,2]}}',
    "NaN": b'{"a":{"dtype":"F16","shape":[NaN],"data_offsets":[0,Infinity]}}',
    "no UTF-8": b'{"\xff":1}',
    "blank": BLANK,
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_want_memory_or_time(name, path):
    refused(write(path, HEADERS[name]))


def test_a_million_tensors(path):
    one = b'"%d":{"dtype":"F16","shape":[],"data_offsets":[%d,%d]},'
    header = b"{" + b"".join(one % (i, 2 * i, 2 * i + 2) for i in range(1_000_000))[:-1] + b"}"
    assert len(header) > 10 * LARGEST_HEADER
    refused(write(path, header, size=2_000_000))


def test_more_tensors_than_any_adapter_has(path):
    header = {f"{ONE}.{i}": entry([], 2 * i) for i in range(MOST_TENSORS + 1)}
    assert f"more than {MOST_TENSORS} tensors" in refused(write(path, header, size=2 * len(header)))
    header.popitem()
    assert "holds no adapter" in refused(write(path, header, size=2 * len(header)))


def test_a_rank_of_100000(path):
    """The numbers are there (in a file with a hole), and are not read."""
    down, up = entry([100_000, 1280], 0), entry([1280, 100_000], 256_000_000)
    header = {f"{ONE}.lora_down.weight": down, f"{ONE}.lora_up.weight": up}
    assert "rank 100000 is more than any model" in refused(write(path, header, size=512_000_000))
    header = {f"{PATH}.lora_A.weight": down, f"{PATH}.lora_B.weight": up}
    assert "rank 100000 is more than any model" in refused(write(path, header, size=512_000_000))
    hada = {f"{ONE}.hada_w{i}_b": entry([100_000, 1280], 256_000_000 * (i - 1)) for i in (1, 2)}
    refused(write(path, hada, size=512_000_000))


@pytest.mark.parametrize("part", ["diff", "lokr_w1", "oft_blocks", "w_norm", "alpha"])
def test_a_tensor_larger_than_any_weight_is_not_read(part, path):
    assert "larger than any part" in refused(write(path, {f"{ONE}.{part}": entry([2**20, 2**10], 0)}, size=2**31))


def test_large_tensors_that_nobody_knows_are_not_read(path):
    lora = random_lora((12, 10), 4, 2.0, 1)
    content = save({f"{ONE}.lora_down.weight": lora.down, f"{ONE}.lora_up.weight": lora.up})
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header["who_knows"] = entry([2**26], len(data))
    read = load(write(path, header, data, size=len(data) + 2**27))
    assert read.updates.keys() == {PATH} and read.report.unknown == ("who_knows",)
    assert "sshs_model_hash" in read.metadata


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": entry([4], 0), "b": entry([4], 4)}, "overlap"),
        ({"a": entry([4], 0), "b": entry([4], 0)}, "overlap"),
        ({"a": entry([4], 0), "b": entry([2], 12)}, "gaps"),
        ({"a": entry([4], 8)}, "gaps"),
        ({"a": entry([4], 0), "b": entry([40], 8)}, "cut off"),
        ({"a": entry([4], 0)}, "8 bytes follow"),
        ({"a": {**entry([4], 0), "data_offsets": [8, 0]}}, "shape"),
        ({"a": {**entry([4], 0), "data_offsets": [-8, 0]}}, "no shape and place"),
        ({"a": {**entry([4], 0), "data_offsets": [0, 8, 16]}}, "no shape and place"),
        ({"a": {**entry([4], 0), "data_offsets": [0.0, 8.0]}}, "no shape and place"),
        ({"a": {**entry([4], 0), "shape": [2**62, 2**62]}}, "shape"),
        ({"a": {**entry([4], 0), "shape": [2**70]}}, "no shape and place"),
        ({"a": {**entry([4], 0), "shape": [True, 4]}}, "no shape and place"),
        ({"a": {**entry([4], 0), "shape": "4"}}, "no shape and place"),
        ({"a": {**entry([4], 0), "dtype": "F4"}}, "unknown dtype"),
        ({"a": {**entry([4], 0), "dtype": []}}, "unknown dtype"),
        ({"a": {"dtype": "F16"}}, "does not describe"),
        ({"a": None}, "does not describe"),
        ({"a": entry([8], 0), "__metadata__": {"a": {"b": "c"}}}, "not texts"),
        ({"a": entry([8], 0), "__metadata__": [1]}, "not texts"),
        (b'{"a":{"dtype":"F16","shape":[8],"data_offsets":[0,16]},"a":1}', "twice"),
        (b'{"a":{"dtype":"F16","dtype":"F16","shape":[8],"data_offsets":[0,16]}}', "twice"),
        (b'{"a":{"dtype":"F16","shape":[8],"data_offsets":[0,16]},"__metadata__":{"a":"1","a":"2"}}', "twice"),
        (b'{"a":{"dtype":"F16","shape":[8],"data_offsets":[0,16]}} x', "not JSON"),
    ],
)
def test_places_that_can_not_be(header, words, path):
    assert words in refused(write(path, header, bytes(16)))


def test_every_truncation_of_a_file_is_refused(path):
    lora = random_lora((12, 10), 4, 2.0, 1)
    content = save({
        f"{ONE}.lora_down.weight": lora.down,
        f"{ONE}.lora_up.weight": lora.up,
        f"{ONE}.alpha": torch.ones(()),
    })
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(Error):
            load_adapter(path)
    path.write_bytes(content)
    assert load_adapter(path).updates.keys() == {PATH}


def test_keys_of_any_length_and_kind_are_only_reported(path):
    lora = random_lora((12, 10), 4, 2.0, 1)
    odd = [
        "x" * 1_000_000,
        "lora_unet_" + "_" * 100_000,
        "unet." * 50_000,
        "unet.lora_A." * 20_000 + "weight",
        "<" * 50_000,
    ]
    odd += [
        "lycoris_" * 10_000 + ".alpha",
        "bundle_emb." * 10_000,
        "\x00",
        "../../a",
        "\u202e",
        "unet:99999999999:up",
        "​",
    ]
    tensors = {key: torch.zeros(1) for key in odd}
    path.write_bytes(save(tensors | {f"{ONE}.lora_down.weight": lora.down, f"{ONE}.lora_up.weight": lora.up}))
    read = load(path)
    assert read.updates.keys() == {PATH} and read.report.unknown == tuple(sorted(odd))


@pytest.mark.parametrize(
    "key", ["ss_network_args", "ss_tag_frequency", "ss_base_model_version", "lora_adapter_metadata"]
)
@pytest.mark.parametrize("text", ["[" * 2_000_000, '{"a":' * 100_000, "9" * 1_000_000, "😀" * 100_000, "\x00"])
def test_metadata_of_any_kind_do_no_harm(key, text, path):
    lora = random_lora((12, 10), 4, 2.0, 1)
    path.write_bytes(save({f"{ONE}.lora_down.weight": lora.down, f"{ONE}.lora_up.weight": lora.up}, {key: text}))
    assert load(path).updates.keys() == {PATH}
