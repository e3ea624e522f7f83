"""How long the pages take with 2,000 adapters: to be there, to mix, to find and choose in the library.

    python -m benchmarks.ui_speed

The files have the header of a full-target SD 1.5 adapter of 100 MB (their data are holes), one in four has notes and a
picture beside it. On the pages: from the event in the browser (headless Chromium) to the changed page; `sdlora ui` and
the browser are both on this machine. Writes benchmarks/results/ui_speed.md in about two minutes. Needs Playwright and
Chromium.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.list_speed import full_header, write_sparse
from benchmarks.machine import load, machine
from sdlora.adapters.collection import Collection

FILES, TIMES, STARTS = 2000, 15, 3
RESULTS = Path(__file__).parent / "results" / "ui_speed.md"
SEARCH, ADDING = "#library-search input, #library-search textarea", "#adapters .chooser input"
# Runs `act`, resolves with the milliseconds until `done` holds; looked at whenever the page has changed.
MEASURE = """([act, done]) => new Promise((resolve, reject) => {
    const holds = new Function(`return ${done}`), start = performance.now();
    const watch = new MutationObserver(() => {
        if (holds()) { watch.disconnect(); resolve(performance.now() - start); }
    });
    watch.observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
    setTimeout(() => reject(new Error(`${done} never held after ${act}`)), 30000);
    new Function(act)();
    if (holds()) { watch.disconnect(); resolve(performance.now() - start); }  // an input's value is no mutation
})"""
PAINTED = "#adapters li .name, #adapters .no-rows"
TYPE = "const box = document.querySelector({1!r}); box.value = {0!r}; box.dispatchEvent(new InputEvent('input', {{bubbles: true}}))"  # noqa: E501
SLIDE = """const slider = document.querySelector('[aria-label="range slider for Weight of NAME"]');
slider.value = 0.35;
for (const kind of ['input', 'change']) slider.dispatchEvent(new Event(kind, {bubbles: true}));"""
VALUE = """document.querySelector('[aria-label="number input for Weight of NAME"]').value === '0.35'"""
COUNT = "document.querySelector('#library-pager').innerText.includes({0!r})"
MIXING = {
    "Mix: open the list of adapters": (
        "document.querySelector('#adapters .add').click()",
        "document.querySelectorAll('#adapters .result').length > 5",
    ),
    "Mix: search it": (
        TYPE.format("NAME", ADDING),
        "document.querySelectorAll('#adapters .result').length === 1",
    ),
    "Mix: add one, with its words": (
        "document.querySelector('#adapters .result').click()",
        "document.querySelector('#adapters [data-name=\"NAME\"] .chip') !== null",
    ),
    "Mix: move a slider": (SLIDE, VALUE),
    "Mix: remove one": (
        "document.querySelector('[aria-label=\"Remove NAME\"]').click()",
        "document.querySelector('#adapters [data-name=\"NAME\"]') === null",
    ),
}


def main() -> None:
    """Make the files, measure, write the table, remove the files."""
    before = load()
    with tempfile.TemporaryDirectory(prefix="sdlora-library-") as name:
        workspace = Path(name) / "workspace"
        os.environ["SDLORA_CACHE"] = str(Path(name) / "cache")
        fill(workspace / "adapters")
        rows = folder_rows(workspace / "adapters", Path(name) / "cache" / "list.json")
        with sync_playwright() as playwright:
            found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            rows += page_rows(browser, workspace)
            browser.close()
    lines = [
        f"# The pages with {FILES:,} adapters",
        "",
        f"{machine('gradio')}; load {before} before, {load()} after. Made by `python -m benchmarks.ui_speed`.",
        "",
        "Milliseconds, median and slowest of several. On the pages: from the event in the browser to the changed",
        "page; server and browser are both on this machine.",
        "",
        "| | median | slowest | asked |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


def fill(folder: Path) -> None:
    """2,000 adapters; one in four has notes and a picture."""
    header = full_header()
    picture = Image.effect_noise((512, 512), 60).convert("RGB")
    for number in range(FILES):
        path = folder / f"adapter-{number:04}.safetensors"
        write_sparse(path, header)
        if number % 4 == 0:
            notes = {"activation text": f"style number {number}", "preferred weight": 0.8}
            path.with_suffix(".json").write_text(json.dumps(notes), encoding="utf-8")
            picture.save(path.with_suffix(".preview.png"))


def folder_rows(folder: Path, memory: Path) -> list[str]:
    """Without a page: looking into the folder, for the first time, after a restart, again; searching."""
    collection = Collection(folder, memory=memory)
    first = milliseconds(collection.refresh, 1)
    restarted = [spent for _ in range(3) for spent in milliseconds(Collection(folder, memory=memory).refresh, 1)]
    again = milliseconds(collection.refresh)
    search = milliseconds(lambda: collection.search("style number 7", order="newest"))
    return [
        row("look into the folder, never seen before", first),
        row("the same after a restart of the server", restarted),
        row("the same again (Refresh, opening the page)", again),
        row("search all of them", search, 200),
    ]


def page_rows(browser: Browser, workspace: Path) -> list[str]:
    """On the pages, in a browser."""
    painted = []
    for _ in range(STARTS):
        with served(workspace) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            painted += milliseconds(lambda page=page, address=address: paint(page, address), 1)  # type: ignore[misc]
            page.close()
    rows = [row("Mix is there, from the moment that the server answers", painted, 5000)]
    with served(workspace) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        paint(page, address)
        page.wait_for_timeout(3000)
        rows += mixing(page)
        page.get_by_role("tab", name="Library", exact=True).click(timeout=120_000)
        page.wait_for_selector("[data-adapter='adapter-0000']", timeout=120_000)
        page.wait_for_timeout(2000)
        rows += keeping(page)
    return rows


def paint(page: Page, address: str) -> None:
    """Open Mix and wait until it can be worked with."""
    page.goto(address)
    page.wait_for_selector("#generate", timeout=120_000)
    page.wait_for_selector(PAINTED, timeout=120_000)


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """`sdlora ui` on the workspace; its address."""
    command = [sys.executable, "-m", "sdlora.cli", "ui", "--workspace", str(workspace), "--port", "18860"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        try:
            yield address
        finally:
            process.terminate()


def mixing(page: Page) -> list[str]:
    """Each interaction with the rows of Mix, many times."""
    found: dict[str, list[float]] = {label: [] for label in MIXING}
    for number in range(TIMES):
        name = f"adapter-00{4 * number + 4:02}"
        for label, steps in MIXING.items():
            found[label].append(timed(page, *(step.replace("NAME", name) for step in steps)))
    return [row(name, spent, 200) for name, spent in found.items()]


def keeping(page: Page) -> list[str]:
    """Each interaction with the library, many times."""
    names = ("Library: search", "Library: choose a card", "Library: next page")
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(TIMES):
        name = f"adapter-00{number + 4:02}"
        card, head = (
            f"document.querySelector('[data-adapter=\"{name}\"]')",
            "document.querySelector('#library-head h2')",
        )
        found[names[0]].append(timed(page, TYPE.format(name, SEARCH), COUNT.format("1–1 of 1")))
        found[names[1]].append(timed(page, f"{card}.click()", f"{head}?.innerText === '{name}'"))
        page.wait_for_selector("#library-about dl, #library-about .alert", timeout=60_000)
        timed(page, TYPE.format("", SEARCH), COUNT.format("1–24 of"))
        next_page = "[...document.querySelectorAll('#library-pager button')].at(-1).click()"
        found[names[2]].append(timed(page, next_page, COUNT.format("25–48")))
        timed(page, "document.querySelector('#library-pager button').click()", COUNT.format("1–24 of"))
    return [row(name, spent, 200) for name, spent in found.items()]


def timed(page: Page, act: str, done: str) -> float:
    spent: Any = page.evaluate(MEASURE, [act, done])
    page.wait_for_timeout(150)
    return float(spent)


def milliseconds(call: Callable[[], object], times: int = TIMES) -> list[float]:
    """How long a call takes, each time."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - start))
    return found


def row(name: str, spent: list[float], asked: int | None = None) -> str:
    return f"| {name} | {statistics.median(spent):.0f} | {max(spent):.0f} | {f'≤ {asked}' if asked else ''} |"


if __name__ == "__main__":
    main()
