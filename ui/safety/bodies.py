"""What comes with a request: how large it may be, and which files it may name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

LARGEST_BODY = 48 * 2**20  # bytes; a picture of 2048 × 2048 pixels as base64 has at most 22 MB
LARGEST_EVENT = 16 * 2**20
LARGEST_UPLOAD = 2 * 2**30  # a file with what is around it; adapters and zipped datasets are large


def limited(receive: Receive, largest: int) -> Receive:
    """The same body, up to `largest` bytes. Raises `HTTPException` 413 where it goes on."""
    seen = 0

    async def read() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > largest:
            raise HTTPException(413, f"What was sent is larger than the {largest // 2**20} MB that are taken.")
        return message

    return read


async def whole(receive: Receive) -> bytes:
    """All of a body. Raises `HTTPException` when it breaks off."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400, "The request broke off.")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more; then whatever else comes."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


def check_event(body: bytes, uploads: Path) -> None:
    """Raises `HTTPException` unless all the files that an event's data name lie in the folder of uploads.

    Gradio would download what has an address for its path. What a page shows comes back with the path of its copy,
    which lies there, too.
    """
    try:
        content = json.loads(body)
        named = list(_paths(content))
    except (ValueError, RecursionError):
        raise HTTPException(400, "What was sent is not JSON that can be read.") from None
    for path in named:
        if not _lies_in(path, uploads):
            raise HTTPException(403, "A file is named that was not uploaded here: choose it anew.")


def _paths(value: Any) -> Iterator[str]:
    """Whatever stands as the path of a file, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        for entry in value.values():
            yield from _paths(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _paths(entry)


def _lies_in(path: str, folder: Path) -> bool:
    try:
        return Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a name that the system can't have: too long, with a null in it
        return False
