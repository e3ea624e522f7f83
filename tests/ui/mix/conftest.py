"""The app as `sdlora ui` starts it, with two real adapters of mini."""

import pytest

import sdlora
from tests.ui.mix.acting import TRIGGERS, ready
from tests.ui.serving import Server, write_adapter


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def address(workspace, tmp_path_factory):
    server = Server(workspace, tmp_path_factory.mktemp("server") / "log.txt")
    base = sdlora.load_base("mini")
    for seed, (name, trigger) in enumerate(TRIGGERS.items()):
        write_adapter(base, workspace / "adapters" / f"{name}.safetensors", seed, trigger)
    server.start()
    yield server.address
    server.stop()


@pytest.fixture
def open_page(browser, address):
    """Opens the page in a browser of its own; none may ask anything of another host."""
    contexts, requests = [], []

    def open_page(width=1280, height=860, scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme))
        contexts[-1].on("request", lambda request: requests.append(request.url))
        page = contexts[-1].new_page()
        page.goto(address)
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    assert requests


@pytest.fixture
def page(open_page):
    return open_page()
