"""Asked before anything else of the app: is it us who are meant, a page of ours that asks, somebody with the password,
for something that there is, of a size that there may be?"""

from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .bodies import LARGEST_BODY, LARGEST_EVENT, LARGEST_UPLOAD, again, check_event, limited, whole
from .headers import with_headers
from .hosts import Hosts
from .password import Password
from .routes import is_open, takes_events, takes_files

OPEN_TO_ALL = "/healthz"
CHALLENGE = {"WWW-Authenticate": 'Basic realm="sdlora", charset="UTF-8"'}


class Gate:
    """The app behind it is reached by what passes alone; the rest gets a status and a sentence, as JSON.

    `uploads` is the folder into which browsers put files.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, password: Password | None, uploads: Path) -> None:
        self._app = app
        self._hosts = hosts
        self._password = password
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # there are none
        else:
            send = with_headers(send)
            try:
                self._check(scope)
                receive = await self._checked_body(scope, receive)
            except HTTPException as refusal:
                answer = JSONResponse({"detail": refusal.detail}, refusal.status_code, headers=refusal.headers)
                await answer(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises `HTTPException` for what the head of a request tells."""
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        named = [host, *headers.getlist("x-forwarded-host")]
        if len(headers.getlist("host")) != 1 or not all(map(self._hosts.allows, named)):
            raise HTTPException(403, "This is no name of this server: see --allow-host of sdlora ui.")
        if any(not self._hosts.allows_origin(origin, host) for origin in headers.getlist("origin")):
            raise HTTPException(403, "A page of another site asked for this.")
        if self._password and path != OPEN_TO_ALL and not self._password.opens(headers.get("authorization", "")):
            raise HTTPException(401, "User and password are asked for.", CHALLENGE)
        if not is_open(path):
            raise HTTPException(404, "There is no such page.")
        if (length := headers.get("content-length", "0")).isascii() and length.isdigit() and int(length[:18]):
            largest = _largest(path)
            if int(length[:18]) > largest:
                raise HTTPException(413, f"What was sent is larger than the {largest // 2**20} MB that are taken.")

    async def _checked_body(self, scope: Scope, receive: Receive) -> Receive:
        receive = limited(receive, _largest(scope["path"]))
        kind = Headers(scope=scope).get("content-type", "")
        if scope["method"] != "POST" or not takes_events(scope["path"]):
            return receive
        if kind.startswith("multipart/"):
            raise HTTPException(415, "Only JSON is taken here.")
        body = await whole(receive)
        check_event(body, self._uploads)
        return again(body, receive)


def _largest(path: str) -> int:
    if takes_files(path):
        return LARGEST_UPLOAD
    return LARGEST_EVENT if takes_events(path) else LARGEST_BODY
