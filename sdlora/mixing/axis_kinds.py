"""What can vary along an axis of a grid, written as `KIND=VALUES` or `KIND:NAME=VALUES`: `weight:ink=0-1[5]`."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..adapters import library as adapter_library
from ..errors import Error
from ..sampling.samplers import find_sampler
from .axis_values import numbers, texts, whole_numbers
from .tags import number
from .xyz import Axes, Axis, Cell, Value

NONE = "none"  # as an adapter: the picture without one
ALL = "all"  # as checkpoints: all that there are
# A run's folder or name and the steps that are asked for (None: all) -> adapter file by step, None where there is none
# to put in, before the first step. Raises `Error` where there is no such run or step.
Checkpoints = Callable[[str, Sequence[int] | None], Mapping[int, Path | None]]


class Given(NamedTuple):
    """What axes refer to: the cell that they vary, the folder of adapters, and the runs. `prompts` are all whole
    prompts of the grid; `varied` says whether an axis puts in adapters of its own."""

    cell: Cell
    library: adapter_library.Library | None
    checkpoints: Checkpoints
    prompts: list[str]
    varied: bool


class Kind(NamedTuple):
    """`named`: whether there may be a NAME."""

    title: str
    named: bool
    read: Callable[[str, str, Given], list[Value]]


def read_axes(
    written: Sequence[str | None],
    cell: Cell,
    *,
    library: adapter_library.Library | None = None,
    checkpoints: Checkpoints | None = None,
) -> Axes:
    """The axes x, y and z of a grid whose pictures are `cell` where no axis says otherwise.

    Raises `Error`, naming the axis, for a kind, a name or a value that there is not.
    """
    parts_of = {place: _taken_apart(place, text) for place, text in zip("xyz", written, strict=True) if text}
    if not parts_of:
        raise Error("a grid needs an axis: give --x, such as --x seed=1,2,3")
    kinds = {kind: values for kind, _, values in parts_of.values()}
    prompts = [*(texts(kinds["prompt"]) if "prompt" in kinds else [cell.prompt]), cell.negative]
    given = Given(cell, library, checkpoints or _no_runs, prompts, not kinds.keys().isdisjoint(PUTTING_IN))
    axes = {place: _read(place, *parts, given) for place, parts in parts_of.items()}
    for (a, one), (b, other) in itertools.combinations(axes.items(), 2):
        if _subject(one) == _subject(other):
            raise Error(f"--{a} and --{b} both vary {_subject(one)}: write all values into one of them")
    return Axes(axes.get("x"), axes.get("y"), axes.get("z"))


def _taken_apart(place: str, text: str) -> tuple[str, str, str]:
    """(kind, name, values). What follows a name are numbers, so a name may have a `=` in it, as a prompt may."""
    match = re.match(r"\s*([\w/ -]+?)\s*([:=])", text)
    if match is None or "=" not in text:
        raise Error(f"--{place} {text!r}: write KIND=VALUES, such as --{place} seed=1,2,3")
    kind, rest = match[1].casefold(), text[match.end() :]
    name, _, values = rest.rpartition("=") if match[2] == ":" else ("", "", rest)
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1, cutoff=0.5)
        raise Error(
            f"--{place}: there is no axis {kind!r}: {f'did you mean {near[0]}? ' if near else ''}There are "
            f"{', '.join(KINDS)}"
        )
    if name and not KINDS[kind].named:
        raise Error(f"--{place}: {kind} has no name after it: write {kind}=VALUES")
    return kind, name.strip(), values.strip()


def _read(place: str, kind: str, name: str, written: str, given: Given) -> Axis:
    title, _, read = KINDS[kind]
    try:
        values = tuple(read(name, written, given))
    except Error as problem:
        raise Error(f"--{place} {kind}: {problem}") from None
    return Axis(kind, name, written, values, f"{title} {name}".strip(), list(KINDS).index(kind))


def _subject(axis: Axis) -> str:
    """What an axis varies, in words; words to replace are each a subject of their own."""
    return f"{axis.labels[0]!r}" if axis.kind == "replace" else f"the {axis.kind} {axis.name}".strip()


def _no_runs(run: str, steps: Sequence[int] | None) -> Mapping[int, Path | None]:
    raise Error(f"there is no run {run!r} here: give adapter files instead")


def _put_in(file: str | None, weight: float, cell: Cell) -> Cell:
    return replace(cell.weighing(file, weight) if file else cell, varied=file)


def _adapters(name: str, written: str, given: Given) -> list[Value]:
    values = []
    for text in filter(None, texts(written)):
        if text == NONE:
            values.append(Value("no adapter", partial(_put_in, None, 0.0)))
            continue
        adapter, weight = adapter_library.parse_weight(text)
        file = adapter_library.find(adapter, given.library)
        label = file.stem if weight == 1 else f"{file.stem} {number(weight)}"
        values.append(Value(label, partial(_put_in, str(file), weight)))
    return values


def _checkpoints(name: str, written: str, given: Given) -> list[Value]:
    if not name:
        raise Error("name the run: checkpoint:RUN=100,200 or checkpoint:RUN=all")
    found = given.checkpoints(name, None if written == ALL else whole_numbers(written))
    return [Value(f"step {step}", partial(_put_in, str(file) if file else None, 1.0)) for step, file in found.items()]


def _weights(name: str, written: str, given: Given) -> list[Value]:
    """Of the adapter that is named; else of the one that an axis puts in, or of the only one there is."""
    mix = [file for file, _ in given.cell.mix]
    if not name and not given.varied and len(mix) != 1:
        raise Error(f"name the adapter: weight:NAME={written}")
    file = str(adapter_library.find(name, given.library)) if name else None if given.varied else mix[0]
    label = name or (Path(file).stem if file else "weight")

    def weigh(weight: float, cell: Cell) -> Cell:
        varied = file or cell.varied
        return cell.weighing(varied, weight) if varied else cell

    return [Value(f"{label} {number(weight)}", partial(weigh, weight)) for weight in numbers(written)]


def _prompts(name: str, written: str, given: Given) -> list[Value]:
    return [Value(text, partial(_set, "prompt", text)) for text in texts(written)]


def _replacing(name: str, written: str, given: Given) -> list[Value]:
    """As A1111's Prompt S/R: the first are the words to look for, and stay in the first picture."""
    wanted, *_ = words = texts(written)
    if not wanted or not any(wanted in prompt for prompt in given.prompts):
        raise Error(f"{wanted!r} is not in the prompt: begin with words that are, then write what to put there instead")

    def put(text: str, cell: Cell) -> Cell:
        return replace(cell, prompt=cell.prompt.replace(wanted, text), negative=cell.negative.replace(wanted, text))

    return [Value(text or f"without {wanted}", partial(put, text)) for text in words]


def _seeds(name: str, written: str, given: Given) -> list[Value]:
    return [Value(f"seed {seed}", partial(_set, "seed", seed)) for seed in whole_numbers(written)]


def _samplers(name: str, written: str, given: Given) -> list[Value]:
    values = []
    for text in filter(None, texts(written)):
        sampler = find_sampler(text)
        values.append(Value(f"{sampler.name} {sampler.schedule or ''}".strip(), partial(_set, "sampler", text)))
    return values


def _guidances(name: str, written: str, given: Given) -> list[Value]:
    return [Value(f"guidance {number(value)}", partial(_set, "guidance", value)) for value in numbers(written)]


def _steps(name: str, written: str, given: Given) -> list[Value]:
    return [Value(f"{steps} steps", partial(_set, "steps", steps)) for steps in whole_numbers(written)]


def _set(key: str, value: object, cell: Cell) -> Cell:
    return replace(cell, **{key: value})  # type: ignore[arg-type]


# In the order in which they are applied: first what puts other weights into the base, then what is read anew.
KINDS = {
    "checkpoint": Kind("Checkpoint step", True, _checkpoints),
    "adapter": Kind("Adapter", False, _adapters),
    "weight": Kind("Adapter weight", True, _weights),
    "prompt": Kind("Prompt", False, _prompts),
    "replace": Kind("Prompt S/R", False, _replacing),
    "seed": Kind("Seed", False, _seeds),
    "sampler": Kind("Sampler", False, _samplers),
    "guidance": Kind("CFG Scale", False, _guidances),
    "steps": Kind("Steps", False, _steps),
}
PUTTING_IN = ("checkpoint", "adapter")
