"""What goes wrong becomes a status and a sentence, never a traceback."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from sdlora.errors import Error, printable

from ..engine import Busy

LATER = {"Retry-After": "5"}  # seconds

log = logging.getLogger(__name__)


def add_refusals(app: FastAPI) -> None:
    """422 for what can't work, 503 where too many wait, 500 for mistakes of ours. A1111's field for it is `detail`."""

    @app.exception_handler(Error)
    async def mistake(_: Request, problem: Error) -> JSONResponse:
        return _refusal(422, "Error", str(problem))

    @app.exception_handler(Busy)
    async def busy(_: Request, problem: Busy) -> JSONResponse:
        return _refusal(503, "Busy", str(problem), LATER)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, problem: RequestValidationError) -> JSONResponse:
        return _refusal(422, "Error", "; ".join(_sentence(error) for error in problem.errors()[:3]))

    @app.exception_handler(Exception)
    async def ours(_: Request, problem: Exception) -> JSONResponse:
        log.error("A request failed", exc_info=problem)
        return _refusal(500, "Error", "Something went wrong inside sdlora; the terminal in which it runs has details.")


def _refusal(status: int, kind: str, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    said = printable(sentence).encode("utf-8", "replace").decode("utf-8")
    return JSONResponse({"error": kind, "detail": said}, status, headers=headers)


def _sentence(error: dict[str, object]) -> str:
    place = error["loc"]
    where = ".".join(str(part) for part in place if part != "body") if isinstance(place, tuple) else ""
    return f"{where or 'the request'}: {error['msg']}"
