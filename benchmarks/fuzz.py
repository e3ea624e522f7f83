"""Adapter files gone wrong by the hundred thousand: each must be read or refused in a sentence, within a second.

    python -m benchmarks.fuzz --files 100000 --real FILE.safetensors

Hypothesis draws a specimen of some format and kind and what is done to it (`tests/adapters/mutations.py`); the file is
opened, looked through, printed, its changes computed, written anew (`tests/adapters/trial.py`). A slice is so many
files of one seed; finished slices are kept in `.work/fuzz`, so that a later run goes on after them. What comes out
other than a sentence is written there with the file that did it. A file that hangs ends the process with a traceback.
Writes benchmarks/results/fuzz.md.
"""

import faulthandler
import hashlib
import json
import os
import resource
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import click
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from safetensors import safe_open

from benchmarks.machine import machine
from sdlora.files import write_text
from tests.adapters.mutations import Draft, drafts
from tests.adapters.trial import survive, write

PLACE = Path(".work/fuzz")
HANGS_AFTER = 60  # seconds on the clock
SLOW = 1.0  # seconds of the processor
SLICE = 2000
RESULTS = Path(__file__).parent / "results" / "fuzz.md"


@click.command()
@click.option("--files", type=int, default=100_000, show_default=True, help="How many in all, earlier runs included.")
@click.option("--real", type=click.Path(path_type=Path), help="A real adapter file, to be changed like the others.")
@click.option("--anew", is_flag=True, help="Forget the slices that earlier runs finished.")
def main(files: int, real: Path | None, anew: bool) -> None:
    """Run the slices that are not there yet, then tell what all of them found."""
    torch.set_num_threads(1)
    PLACE.mkdir(parents=True, exist_ok=True)
    if anew:
        for old in PLACE.glob("*"):
            old.unlink()
    own = real_pieces(real) if real else {}
    for number in range(-(-files // SLICE)):
        if not (PLACE / f"slice-{number:04}.json").exists():
            run_slice(number, own)
            print(summary(), flush=True)
    made = f"{machine('safetensors', 'hypothesis')}. Made by `python -m benchmarks.fuzz`."
    write_text(RESULTS, f"# Adapter files gone wrong\n\n{made}\n\n{summary()}.\n")
    print(summary())


def real_pieces(path: Path) -> dict[str, tuple[dict[str, object], bytes]]:
    """Header and data of a few modules of a real file, whose own metadata they keep."""
    with safe_open(path, "pt") as file:
        metadata, keys = file.metadata() or {}, sorted(file.keys())
        header: dict[str, object] = {"__metadata__": metadata}
        data = b""
        for key in keys[:: max(1, len(keys) // 8)]:
            tensor = file.get_tensor(key)
            content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            name = {torch.float16: "F16", torch.bfloat16: "BF16"}.get(tensor.dtype, "F32")
            header[key] = {
                "dtype": name,
                "shape": list(tensor.shape),
                "data_offsets": [len(data), len(data) + len(content)],
            }
            data += content
    return {f"real {path.stem}": (header, data)}


def run_slice(number: int, own: dict[str, tuple[dict[str, object], bytes]]) -> None:
    """Try the files of one seed, and write down how it went."""
    counts: Counter[str] = Counter()
    slowest = 0.0

    @seed(number)
    @settings(
        max_examples=SLICE,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drafts(own))
    def attempt(draft: Draft) -> None:
        nonlocal slowest
        start = time.process_time()  # other programs' load is not the file's doing
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        path = write(draft, folder)
        try:
            outcome = survive(path)
            spent = time.process_time() - start
            assert spent < SLOW, f"it took {spent:.1f} s"
            counts[outcome] += 1
            slowest = max(slowest, spent)
        except Exception as problem:
            counts["found"] += 1
            keep(problem, draft)
        finally:
            faulthandler.cancel_dump_traceback_later()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attempt()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    facts = {**counts, "seconds": round(time.perf_counter() - start), "slowest": round(slowest, 3), "peak_mb": memory}
    write_text(PLACE / f"slice-{number:04}.json", json.dumps(facts))


def keep(problem: Exception, draft: Draft) -> None:
    """One file for each place in our code that something came out of."""
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "site-packages" not in frame.filename]
    place = f"{type(problem).__name__} {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    name = hashlib.sha256(place.encode()).hexdigest()[:8]
    if not (PLACE / f"found-{name}.txt").exists():
        text = "".join(traceback.format_exception(problem))
        write_text(PLACE / f"found-{name}.txt", f"{place}\n{draft.done}\n{draft.settings!r}\n{text}")
        (PLACE / f"found-{name}.safetensors").write_bytes(draft.file())


def summary() -> str:
    """All slices together, in one line."""
    slices = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(PLACE.glob("slice-*.json"))]
    total: Counter[str] = Counter()
    for facts in slices:
        total.update({name: facts.get(name, 0) for name in ("refused", "partly", "whole", "found", "seconds")})
    files = total.total() - total["seconds"]
    slowest, peak = (max((facts[name] for facts in slices), default=0) for name in ("slowest", "peak_mb"))
    findings = len(list(PLACE.glob("found-*.txt")))
    return (
        f"{files} files in {total['seconds']} s: {total['whole']} read whole, {total['partly']} in part, "
        f"{total['refused']} refused, {total['found']} else (at {findings} places); slowest {slowest} s, peak {peak} MB"
    )


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(19)
    main()
