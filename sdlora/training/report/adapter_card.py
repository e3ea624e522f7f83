"""The file of a run: what it says of itself, and how strong it is where."""

from dataclasses import dataclass
from typing import Any

from ...adapters import Adapter
from ...adapters.algebra import Strengths, strength
from ...adapters.inspection import Inspection, inspect
from ...errors import Error
from ...files import size_text
from ..checkpoint_adapters import adapter_of
from ..checkpoints import Checkpoint
from ..run_folder import RunFolder


@dataclass(frozen=True)
class Bar:
    """A block's strength, and its share of the greatest."""

    block: str
    norm: float
    share: float


@dataclass(frozen=True)
class Card:
    """`facts` are words and values, `step` is what the file is of, `use` is its tag. None and "" without a file."""

    facts: dict[str, str]
    bars: tuple[Bar, ...]
    step: int | None
    use: str


def card(run: RunFolder, state: str) -> Card:
    """Of the adapter's file. Where a run failed before there was one, the strengths are the newest checkpoint's."""
    if run.adapter_file.is_file():
        try:
            found = inspect(run.adapter_file)
        except Error as problem:
            return Card({"file": f"{run.adapter_file.name}: {problem}"}, (), None, "")
        step = found.facts.get("steps", "")
        use = f"<lora:{run.adapter_file.stem}:1>"
        return Card(_facts(found), _bars(found.strength), int(step) if step.isdigit() else None, use)
    if state == "failed" and (saved := _newest(run)):
        return Card({}, _bars(_strengths(saved)), None, "")
    return Card({}, (), None, "")


def _newest(run: RunFolder) -> Adapter | None:
    try:
        checkpoint = Checkpoint.newest(run.checkpoints)
        return adapter_of(checkpoint, run) if checkpoint else None
    except Error:
        return None


def _strengths(adapter: Adapter) -> Strengths | None:
    """None for kinds that need the base's weights for it, or have none."""
    try:
        return strength(adapter)
    except Error:
        return None


def _facts(found: Inspection) -> dict[str, str]:
    adapter, hashes = found.adapter, found.hashes
    told: dict[str, Any] = {
        "file": f"{found.path.name}, {size_text(found.size)}",
        "trigger words": adapter.trigger,
        "kind": ", ".join(f"{kind} ({count} modules)" for kind, count in found.kinds.items()),
        "family": adapter.family,
        "base": found.facts.get("base"),
        "rank": f"{found.ranks.most_common:g}" if found.ranks else "",
        "alpha": f"{found.alphas.most_common:g}" if found.alphas else "",
        "precision": ", ".join(found.dtypes),
        "trained": f"{found.facts.get('steps', '?')} steps, {found.facts.get('epochs', '?')} epochs",
        "AutoV2 (Civitai)": hashes and hashes.autov2,
        "short hash (A1111)": hashes and hashes.short,
        "sha256": hashes and hashes.sha256,
        "license": found.facts.get("license"),
    }
    return {key: str(value) for key, value in told.items() if value}


def _bars(strengths: Strengths | None) -> tuple[Bar, ...]:
    blocks = {name: one.delta for name, one in strengths.blocks.items()} if strengths else {}
    greatest = max(blocks.values(), default=0.0) or 1.0
    return tuple(Bar(name.removeprefix("unet."), norm, norm / greatest) for name, norm in blocks.items())
