"""The pages in a real browser, with a password, and with no way to any other computer."""

import pytest
from playwright.sync_api import expect

from tests.ui.serving import serve

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("workspace"), PASSWORD) as served:
        yield served


def test_pages_work_with_a_password_and_ask_nobody_else(browser, served):
    context = browser.new_context(http_credentials={"username": "sdlora", "password": PASSWORD})
    asked, said, refused = [], [], []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("response", lambda answer: answer.status >= 400 and refused.append((answer.status, answer.url)))
    page.goto(served.address)
    generate = page.get_by_role("button", name="Generate", exact=True)
    expect(generate).to_be_visible(timeout=60_000)
    expect(page.get_by_label("Width").first).not_to_have_value("", timeout=60_000)
    for tab in page.get_by_role("tab").all():  # a policy that is too strict would show on any of them
        tab.click()
        page.wait_for_timeout(300)
    page.get_by_role("tab", name="Mix", exact=True).click()
    generate.click()
    expect(page.locator("#picture img").first).to_be_visible(timeout=90_000)
    errors = list(said)  # leaving a page breaks off what it listens to, which it says
    page.goto(f"{served.address}/docs")
    page.get_by_text("/sdapi/v1/txt2img").click()
    expect(page.get_by_text("negative_prompt", exact=True).first).to_be_visible()
    context.close()
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []
    assert errors == []
    assert refused == []
