"""Answers that end early because nobody waits for them any more are no mistakes, and leave no traceback; one that has
ended of itself is none that nobody waits for."""

import asyncio
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GOODBYE = b'data: {"msg":"close_stream"'  # how Gradio's stream of events begins its last one


class CutShort:
    """Ends in order what is cut short: a stream of events that is still open when the server stops, and one of a page
    that has gone, where Gradio refuses within an answer that it has begun, or forgets the page's session twice because
    the page listened twice (a `KeyError` of the session's name).

    A page ends the connection when it is told that nothing more comes. Gradio, not quite done, would take it for gone
    and forget what it has asked for since, so that a click is never answered: Gradio is not told.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, _still_there(receive, answer), answer)
        except asyncio.CancelledError:
            if answer.begun:
                await answer.end()
            else:
                await JSONResponse({"detail": "sdlora is being stopped."}, 503)(scope, receive, send)
        except RuntimeError as problem:
            if not (answer.begun and isinstance(problem.__cause__, HTTPException)):
                raise
            await answer.end()
        except KeyError as problem:
            if not (answer.begun and problem.args == (_session(scope),)):
                raise
            await answer.end()


def _still_there(receive: Receive, answer: "_Answer") -> Receive:
    """`receive`, but for the end of a connection on which everything has been said."""

    async def until_goodbye() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect" and answer.goodbye:
            await asyncio.Event().wait()  # until the answer is done, which ends this
        return message

    return until_goodbye


def _session(scope: Scope) -> str | None:
    """The page's session, as Gradio's streams are asked for by it."""
    return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [None])[0]


class _Answer:
    """Sends on, and knows how far it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = self.goodbye = self._ended = False

    async def __call__(self, message: Message) -> None:
        self.begun = self.begun or message["type"] == "http.response.start"
        self._ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.goodbye = self.goodbye or message.get("body", b"").startswith(GOODBYE)
        await self._send(message)

    async def end(self) -> None:
        if not self._ended:
            await self({"type": "http.response.body", "body": b"", "more_body": False})
