"""Prompts that change on the way: `[from:to:when]`, `[to:when]`, `[from::when]` and `[a|b]`, as A1111 reads them.

The grammar is that of stable-diffusion-webui's wiki ("Prompt editing", "Alternating words"). A bracket that begins none
of these is text, emphasis for instance, and stays as it stands; a prompt with a `|` outside of `[a|b]`, or with a lone
backslash at its end, is no such prompt at all and is taken as one text, as A1111 takes it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
DEEPEST = 100  # brackets in brackets; more are text


class Stage(NamedTuple):
    """The text that is in force up to and with step `last`; the first step is 1."""

    last: int
    text: str


def stages_of(prompt: str, steps: int, first_pass: int | None = None) -> list[Stage]:
    """The texts of a prompt over `steps` steps, in order; one stage where nothing changes.

    A `when` with a point is a fraction of the steps, one without it a step. In a second pass, after one of `first_pass`
    steps, fractions count from 1 and steps go on from the first pass's, as in A1111's high-resolution fix.
    """
    nodes = _parse(prompt)
    if nodes is None:
        return [Stage(steps, prompt)]
    clock = _Clock(steps, first_pass)
    ends = {steps, *(end for end in clock.changes(nodes) if end >= 1)}
    return [Stage(end, "".join(clock.text(nodes, end))) for end in sorted(ends)]


def stage_at(stages: list[Stage], index: int, total: int) -> int:
    """The position of the stage for evaluation `index` (from 0) of `total`: samplers that look twice a step have more
    evaluations than the prompt has steps.

    A1111's own counter starts at 0 where its schedules start at 1, so that there the first stage lasts one step longer
    than its documentation says; here it is as documented.
    """
    step = index * stages[-1].last // total + 1
    return next(i for i, stage in enumerate(stages) if step <= stage.last)


@dataclass(frozen=True)
class _Scheduled:
    before: "Nodes"
    after: "Nodes"
    when: str


@dataclass(frozen=True)
class _Alternate:
    options: "list[Nodes]"


Nodes: TypeAlias = list["str | _Scheduled | _Alternate"]


@dataclass(frozen=True)
class _Clock:
    steps: int
    first_pass: int | None

    def last_before(self, when: str) -> int:
        """The last step before the change; 0 or less: it has happened before the first."""
        value = float(when)
        if "." in when:
            value = (value - (self.first_pass is not None)) * self.steps
        else:
            value -= self.first_pass or 0
        return int(max(-1.0, min(float(self.steps), value)))

    def changes(self, nodes: Nodes) -> Iterator[int]:
        for node in nodes:
            if isinstance(node, _Scheduled):
                yield self.last_before(node.when)
                yield from self.changes(node.before)
                yield from self.changes(node.after)
            elif isinstance(node, _Alternate):
                yield from range(1, self.steps + 1)

    def text(self, nodes: Nodes, step: int) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, str):
                yield node
            elif isinstance(node, _Alternate):
                yield from self.text(node.options[(step - 1) % len(node.options)], step)
            else:
                yield from self.text(node.before if step <= self.last_before(node.when) else node.after, step)


def _parse(prompt: str) -> Nodes | None:
    """The prompt's nodes, stray brackets and colons among them as text; None for one that the grammar does not take."""
    nodes: Nodes = []
    position = 0
    while position < len(prompt):
        found, position = _sequence(prompt, position, 0)
        nodes += found
        if position < len(prompt):
            if prompt[position] in "|\\":
                return None
            nodes.append(prompt[position])
            position += 1
    return nodes


def _sequence(prompt: str, start: int, depth: int) -> tuple[Nodes, int]:
    """As many nodes as there are from `start` on, and where they end: at a character that begins none."""
    nodes: Nodes = []
    while start < len(prompt):
        if plain := PLAIN.match(prompt, start):
            nodes.append(plain[0])
            start = plain.end()
            continue
        bracketed = _bracketed(prompt, start, depth + 1) if prompt[start] in "[(" and depth < DEEPEST else None
        if bracketed is None:
            break
        found, start = bracketed
        nodes += found
    return nodes, start


def _bracketed(prompt: str, start: int, depth: int) -> tuple[Nodes, int] | None:
    """What a whole bracket at `start` means, and where it ends; None where it is not closed or holds something else."""
    parts: list[tuple[Nodes, str]] = []
    separators = ""
    position = start
    while not separators.endswith(("]", ")")):
        begin = position + 1
        nodes, position = _sequence(prompt, begin, depth)
        if position >= len(prompt) or prompt[position] in "[(\\":
            return None
        parts.append((nodes, prompt[begin:position]))
        separators += prompt[position]
    meaning = _meaning(prompt[start] + separators, parts)
    return None if meaning is None else (meaning, position + 1)


def _meaning(shape: str, parts: list[tuple[Nodes, str]]) -> Nodes | None:
    """`shape` is the bracket without what stands in it: `[::]`, `[|]`, `(:)`, …"""
    if shape in ("[:]", "[::]") and (when := NUMBER.fullmatch(parts[-1][1])):
        return [_Scheduled(parts[0][0] if shape == "[::]" else [], parts[-2][0], when[1])]
    if re.fullmatch(r"\[\|+\]", shape):
        return [_Alternate([nodes for nodes, _ in parts])]
    if shape in ("()", "[]", "(:)"):
        nodes: Nodes = []
        for mark, (inner, _) in zip(shape, parts, strict=False):
            nodes += [mark, *inner]
        return [*nodes, shape[-1]]
    return None
