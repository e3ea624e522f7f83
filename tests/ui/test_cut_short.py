"""What is cut short leaves no traceback; what is a mistake of ours still does."""

import asyncio
import http.client
import logging
import time

import orjson
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from gradio.server_messages import CloseStreamMessage, HeartbeatMessage
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from tests.ui.serving import serve
from ui.cut_short import CutShort


def streaming(problem):
    app = FastAPI()
    app.add_middleware(CutShort)

    async def words():
        yield "first"
        raise problem

    @app.get("/")
    async def answer():
        return StreamingResponse(words())

    return TestClient(app)


def test_a_stream_that_refuses_half_way_ends_in_order():
    assert streaming(HTTPException(404)).get("/").text == "first"


def test_a_session_that_is_forgotten_twice_ends_in_order():
    assert streaming(KeyError("9b3u")).get("/?session_hash=9b3u").text == "first"


@pytest.mark.parametrize("problem", [RuntimeError("ours"), ValueError("ours"), KeyError("ours")])
def test_a_mistake_half_way_is_still_one(problem):
    with pytest.raises(type(problem), match="ours"):
        streaming(problem).get("/?session_hash=9b3u")


@pytest.mark.parametrize(("last", "ended"), [(CloseStreamMessage(), True), (HeartbeatMessage(), False)])
def test_who_leaves_after_the_last_word_has_not_gone(last, ended):
    """Gradio forgets what a page waits for when its stream is cancelled."""
    done, said = [], asyncio.Event()
    app = FastAPI()
    app.add_middleware(CutShort)

    async def words():
        yield f"data: {orjson.dumps(last.model_dump(), default=str).decode()}\n\n"  # as gradio.routes writes them
        await asyncio.sleep(0.2)  # in which the page's leave arrives
        done.append(True)

    @app.get("/")
    async def answer():
        return StreamingResponse(words())

    async def receive():
        await said.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message.get("body"):
            said.set()

    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET"}
    scope |= {"path": "/", "raw_path": b"/", "root_path": "", "query_string": b"", "headers": [], "scheme": "http"}
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 10))
    assert bool(done) == ended


def test_a_page_that_is_open_when_the_server_stops_leaves_no_traceback(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        with serve(tmp_path) as served:
            page = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
            page.request("GET", "/gradio_api/heartbeat/somebody", headers={"Host": f"127.0.0.1:{served.port}"})
            answer = page.getresponse()
            assert answer.status == 200 and answer.readline()
        time.sleep(0.1)
    assert not [record for record in caplog.records if record.exc_info]
