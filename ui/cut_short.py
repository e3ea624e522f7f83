"""Answers that end early because nobody waits for them any more are no mistakes, and leave no traceback."""

import asyncio
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CutShort:
    """Ends in order what is cut short: a stream of events that is still open when the server stops, and one of a page
    that has gone, where Gradio refuses within an answer that it has begun, or forgets the page's session twice because
    the page listened twice (a `KeyError` of the session's name)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer)
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


def _session(scope: Scope) -> str | None:
    """The page's session, as Gradio's streams are asked for by it."""
    return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [None])[0]


class _Answer:
    """Sends on, and knows how far it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = self._ended = False

    async def __call__(self, message: Message) -> None:
        self.begun = self.begun or message["type"] == "http.response.start"
        self._ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        if not self._ended:
            await self({"type": "http.response.body", "body": b"", "more_body": False})
