"""How long the library's page takes with 2,000 adapters: looking into the folder, and each thing one does on the page.

    python -m benchmarks.library_speed

The files have the header of a full-target SD 1.5 adapter of 100 MB (their data are holes), one in four has notes and a
picture beside it. On the page: from the event in the browser (headless Chromium) to the changed page, both on this
machine. Writes benchmarks/results/library_speed.md. Needs Playwright and Chromium.
"""

import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.list_speed import full_header, write_sparse
from benchmarks.machine import load, machine
from sdlora.adapters.collection import Collection

FILES, TIMES = 2000, 15
RESULTS = Path(__file__).parent / "results" / "library_speed.md"
# Runs `act`, resolves with the milliseconds until `done` holds; looked at whenever the page has changed.
MEASURE = """([act, done]) => new Promise(resolve => {
    const holds = new Function(`return ${done}`), start = performance.now();
    const watch = new MutationObserver(() => {
        if (holds()) { watch.disconnect(); resolve(performance.now() - start); }
    });
    watch.observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
    new Function(act)();
})"""
TYPE = "const box = document.querySelector('#library-search input, #library-search textarea'); box.value = {0!r}; box.dispatchEvent(new InputEvent('input', {{bubbles: true}}))"  # noqa: E501
COUNT = "document.querySelector('#library-pager').innerText.includes({0!r})"


def main() -> None:
    """Make the files, measure, write the table, remove the files."""
    with tempfile.TemporaryDirectory(prefix="sdlora-library-") as name:
        workspace = Path(name) / "workspace"
        os.environ["SDLORA_CACHE"] = str(Path(name) / "cache")
        fill(workspace / "adapters")
        rows = folder_rows(workspace / "adapters", Path(name) / "cache" / "list.json") + page_rows(workspace)
    lines = [
        f"# The library with {FILES:,} adapters",
        "",
        f"{machine('gradio')}, load {load()}. Made by `python -m benchmarks.library_speed`.",
        "",
        "Milliseconds, median and slowest of several. On the page: from the event in the browser to the changed",
        "page, both on this machine.",
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


def page_rows(workspace: Path) -> list[str]:
    """On the page, in a browser."""
    from ui.engine import Engine
    from ui.safety import Hosts
    from ui.server import free_port
    from ui.web import web_app

    port = free_port("127.0.0.1", 18860)
    (workspace / "outputs").mkdir()
    app = web_app(Engine(workspace), Hosts("127.0.0.1"))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", ws="none"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.1)
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_role("tab", name="Library", exact=True).click(timeout=120_000)
        page.wait_for_selector("[data-adapter='adapter-0000']", timeout=120_000)
        page.wait_for_timeout(2000)
        rows = measured(page)
        browser.close()
    server.should_exit = True
    return rows


def measured(page: Page) -> list[str]:
    """Each interaction, many times."""
    found: dict[str, list[float]] = {"a letter into the search": [], "next page": [], "choose a card": []}
    for number in range(TIMES):
        digits = f"{number + 4:02}"
        term, first = f"adapter-00{digits}", f"adapter-00{digits}"
        found["a letter into the search"].append(timed(page, TYPE.format(term), COUNT.format("1–1 of 1")))
        card = f"document.querySelector('[data-adapter=\"{first}\"]')"
        head = f"document.querySelector('#library-head h2')?.innerText === '{first}'"
        found["choose a card"].append(timed(page, f"{card}.click()", head))
        page.wait_for_selector("#library-about dl, #library-about .alert")
        timed(page, TYPE.format(""), COUNT.format("1–24 of"))
        next_page = "[...document.querySelectorAll('#library-pager button')].at(-1).click()"
        found["next page"].append(timed(page, next_page, COUNT.format("25–48")))
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
