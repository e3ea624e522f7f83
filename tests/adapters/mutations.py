"""Files gone wrong: hypothesis draws a specimen and what is done to its tensors, header, bytes and settings."""

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.adapters.specimens import SPECIMENS, Specimen

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "I16": 2}
# What float fields are overwritten with, little-endian: NaN, infinities, the largest, subnormal, −0 in several widths.
BIT_PATTERNS = ("0000c07f", "0000807f", "000080ff", "ffff7f7f", "01000000", "00000080", "007e", "007c", "ffff")
HEADERS = {name: specimen.header_and_data() for name, specimen in SPECIMENS.items()}
ALL_KEYS = sorted({key for specimen in SPECIMENS.values() for key in specimen.tensors})
MODULES = sorted({key.partition(".")[0] for key in ALL_KEYS if key.startswith(("lora_", "lycoris_"))})
PARTS = sorted({key.partition(".")[2] for key in ALL_KEYS if key.startswith(("lora_", "lycoris_"))})
METADATA_KEYS = sorted({key for specimen in SPECIMENS.values() for key in specimen.metadata})

TEXT = st.text(max_size=12) | st.sampled_from(["", " ", "\0", "\x1b[31m", "\n", "‮", "é" * 300, "../x", "a" * 5000])
COUNTS = st.integers(-3, 70) | st.sampled_from([
    2**14,
    2**14 + 1,
    100_000,
    2**31,
    2**32,
    2**53,
    2**63 - 1,
    2**64,
    -(2**63),
])
JSON = st.recursive(
    st.none() | st.booleans() | COUNTS | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NESTED = st.sampled_from([10, 900, 5000]).map(lambda depth: "[" * depth + "]" * depth)


@dataclass
class Draft:
    """A file in the making."""

    header: dict[str, Any]
    data: bytes
    settings: Any = None
    raw: bytes | None = None  # the whole file, once it is more than header and data
    done: list[str] = field(default_factory=list)  # what was done to it, for a person to read

    def file(self) -> bytes:
        if self.raw is not None:
            return self.raw
        text = json.dumps(self.header, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return len(text).to_bytes(8, "little") + text + self.data

    @property
    def keys(self) -> list[str]:
        return [key for key in self.header if key != "__metadata__"]


@st.composite
def drafts(draw: Any, own: dict[str, tuple[dict[str, Any], bytes]] | None = None) -> Draft:
    """A specimen (or one of `own`: header and data by name) after one to four changes."""
    sources = HEADERS | (own or {})
    name = draw(st.sampled_from(sorted(sources)))
    header, data = sources[name]
    specimen = SPECIMENS.get(name, Specimen({}))
    draft = Draft(json.loads(json.dumps(header)), data, settings=specimen.settings, done=[name])
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4)):
        draft.done.append(change.__name__)
        change(draw, draft)
    for change in draw(st.lists(st.sampled_from(CHANGES_OF_BYTES), max_size=1) | st.just([])):
        draft.done.append(change.__name__)
        draft.raw = change(draw, draft.file())
    return draft


def _entry(draw: Any, draft: Draft) -> tuple[str, Any]:
    if not draft.keys:
        return "", {}
    key = draw(st.sampled_from(draft.keys))
    return key, draft.header[key]


def _relaid(draft: Draft, contents: dict[str, bytes]) -> None:
    """Lay the tensors out anew, one behind the other, so that only what was meant to be wrong is wrong."""
    draft.data = b""
    for key in draft.keys:
        content = contents.get(key, b"")
        draft.header[key]["data_offsets"] = [len(draft.data), len(draft.data) + len(content)]
        draft.data += content


def _contents(draft: Draft) -> dict[str, bytes]:
    """Each tensor's bytes; those of an entry that makes no sense are none."""
    found = {}
    for key in draft.keys:
        try:
            start, end = draft.header[key]["data_offsets"]
            found[key] = draft.data[max(start, 0) : end]
        except (TypeError, KeyError, ValueError, IndexError):
            draft.header[key] = {"dtype": "F32", "shape": [0]}
    return found


def _of_size(content: bytes, size: int) -> bytes:
    return (content * (size // len(content) + 1) if content else bytes(size))[:size]


def new_shape(draw: Any, draft: Draft) -> None:
    """A tensor of another shape, with as many bytes as that takes."""
    key, _ = _entry(draw, draft)
    if not key:
        return
    contents = _contents(draft)
    old = draft.header[key].get("shape")
    old = old if isinstance(old, list) else []
    shape = draw(
        st.permutations(old)
        | st.lists(st.integers(0, 9), max_size=6)
        | st.just([*old, 1])
        | st.just([*old, 3, 3])
        | st.just(old[1:])
        | st.sampled_from([[0], [100_000, 0], [20_000, 1], [1, 20_000], [0, 2**62], [], [1], [768], [1] * 17])
    )
    draft.header[key]["shape"] = list(shape)
    numbers = 1
    for side in shape:
        numbers = min(numbers * side, 40_000) if isinstance(side, int) and side >= 0 else 0
    size = numbers * BYTES.get(str(draft.header[key].get("dtype")), 4)
    contents[key] = _of_size(contents.get(key, b""), size)
    _relaid(draft, contents)


def new_dtype(draw: Any, draft: Draft) -> None:
    """A tensor's bytes read as another dtype, its shape kept."""
    key, entry = _entry(draw, draft)
    if not key or not isinstance(entry, dict):
        return
    contents = _contents(draft)
    old = BYTES.get(str(draft.header[key].get("dtype")), 4)
    dtype = draw(st.sampled_from(sorted(BYTES)))
    draft.header[key]["dtype"] = dtype
    contents[key] = _of_size(contents.get(key, b""), len(contents.get(key, b"")) // old * BYTES[dtype])
    _relaid(draft, contents)


def new_numbers(draw: Any, draft: Draft) -> None:
    """Some of a tensor's numbers overwritten with NaN, infinities or nonsense."""
    key, _ = _entry(draw, draft)
    contents = _contents(draft)
    content = bytearray(contents.get(key, b""))
    if not content:
        return
    pattern = draw(st.sampled_from(BIT_PATTERNS).map(bytes.fromhex) | st.binary(min_size=1, max_size=8))
    if draw(st.booleans()):
        content = bytearray(_of_size(pattern, len(content)))
    else:
        at = draw(st.integers(0, len(content) - 1))
        content[at : at + len(pattern)] = pattern[: len(content) - at]
    contents[key] = bytes(content)
    _relaid(draft, contents)


def new_name(draw: Any, draft: Draft) -> None:
    """A tensor under another name: of another part, module or format, with a mistake in it, or any text."""
    key, _ = _entry(draw, draft)
    if not key:
        return
    module, _, part = key.partition(".")
    at = draw(st.integers(0, len(key)))
    name = draw(
        st.sampled_from(ALL_KEYS)
        | st.sampled_from(PARTS).map(lambda other: f"{module}.{other}")
        | st.sampled_from(MODULES).map(lambda other: f"{other}.{part}")
        | TEXT
        | TEXT.map(lambda text: key[:at] + text + key[at:])
        | st.just(key[:at])
    )
    draft.header = {(name if other == key else other): value for other, value in draft.header.items()}


def fewer_tensors(draw: Any, draft: Draft) -> None:
    """A tensor is missing."""
    key, _ = _entry(draw, draft)
    contents = _contents(draft)
    draft.header.pop(key, None)
    _relaid(draft, contents)


def more_tensors(draw: Any, draft: Draft) -> None:
    """Tensors of another specimen beside."""
    header, data = HEADERS[draw(st.sampled_from(sorted(HEADERS)))]
    contents = _contents(draft)
    for key, entry in header.items():
        if key != "__metadata__":
            draft.header[key] = dict(entry)
            start, end = entry["data_offsets"]
            contents[key] = data[start:end]
    _relaid(draft, contents)


def wrong_entry(draw: Any, draft: Draft) -> None:
    """The header says something else, or nonsense, of a tensor; its bytes stay."""
    key, entry = _entry(draw, draft)
    if not key:
        return
    if draw(st.booleans()) or not isinstance(entry, dict):
        draft.header[key] = draw(JSON)
        return
    name = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
    entry[name] = draw(JSON | st.lists(COUNTS, max_size=4))
    if draw(st.booleans()):
        entry.pop(draw(st.sampled_from(sorted(entry))))


def new_metadata(draw: Any, draft: Draft) -> None:
    """Other metadata: other texts, JSON of another form, deep or long, or what is no text at all."""
    metadata = draft.header.get("__metadata__")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    value = draw(
        TEXT | JSON.map(json.dumps) | NESTED | st.sampled_from(["9" * 5000, "NaN", "1e999", "-1", '{"a":' * 500])
    )
    metadata[draw(st.sampled_from([*METADATA_KEYS, "lora_adapter_metadata", "ss_v2"]) | TEXT)] = value
    draft.header["__metadata__"] = draw(st.just(metadata) | st.just(metadata) | JSON)


def new_peft_settings(draw: Any, draft: Draft) -> None:
    """Other settings of PEFT's, in their folder or in the metadata."""
    settings = dict(draft.settings) if isinstance(draft.settings, dict) else {"r": 2}
    names = [
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "peft_type",
        "init_lora_weights",
        "alpha",
    ]
    names += ["oft_block_size", "auto_mapping", "target_modules", "use_cayley_neumann", "coft", "eps", "block_share"]
    patterns = st.dictionaries(
        st.sampled_from(["to_q", "^.*to_q$", "(a+)+$", "[", "(" * 300, ".*.*.*"]) | TEXT, JSON, max_size=3
    )
    settings[draw(st.sampled_from(names))] = draw(JSON | patterns)
    if draft.settings is not None:
        draft.settings = draw(st.just(settings) | st.just(settings) | JSON)
    metadata = draft.header.get("__metadata__")
    if draft.settings is None and isinstance(metadata, dict | None):
        stated = json.dumps({f"unet.{key}": value for key, value in settings.items()})
        draft.header["__metadata__"] = {**(metadata or {}), "lora_adapter_metadata": stated}


CHANGES = (
    *(new_shape, new_shape, new_dtype, new_numbers, new_name, new_name, fewer_tensors, more_tensors),
    *(wrong_entry, new_metadata, new_peft_settings),
)


def flipped(draw: Any, content: bytes) -> bytes:
    """A few bytes are others; the header's more often than the data's."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(content), 12) - 1) | st.integers(0, len(content) - 1))
        changed[at] = draw(st.integers(0, 255))
    return bytes(changed)


def cut(draw: Any, content: bytes) -> bytes:
    """The end is missing."""
    return content[: draw(st.integers(0, len(content)))]


def longer(draw: Any, content: bytes) -> bytes:
    """There is more behind, or in between."""
    at = draw(st.just(len(content)) | st.integers(0, len(content)))
    return content[:at] + draw(st.binary(min_size=1, max_size=20)) + content[at:]


def header_rewritten(draw: Any, content: bytes) -> bytes:
    """A piece of the header's text replaced, its length kept right or not."""
    end = 8 + int.from_bytes(content[:8], "little")
    text = content[8:end]
    at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 30))
    new = draw(
        st.sampled_from([b"", b'"', b"{", b"}", b"[", b",", b":", b"\\", b"\\ud800", b"1e999", b"-", b"null", b"NaN"])
    )
    text = text[:at] + new + text[at + length :]
    size = draw(st.just(len(text)) | st.integers(0, 2**64 - 1))
    return size.to_bytes(8, "little") + text + content[end:]


def entry_twice(draw: Any, content: bytes) -> bytes:
    """A key stands twice in the header."""
    end = 8 + int.from_bytes(content[:8], "little")
    text = content[8:end].rstrip()
    first = draw(st.sampled_from([b'"__metadata__":{}', b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}']))
    text = b"{" + first + b"," + first + b"," + text[1:]
    return len(text).to_bytes(8, "little") + text + content[end:]


CHANGES_OF_BYTES = (flipped, cut, longer, header_rewritten, entry_twice)
