"""What browsers fetch of the library: thumbnails, adapter files, zips to share. All by id, none by a path."""

from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response

from sdlora.adapters.collection import Item
from sdlora.adapters.sidecar import preview_file
from sdlora.errors import Error
from sdlora.sharing.thumbnail import thumbnail

from ..engine import Engine

PREFIX = "/library"
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # another version has another address
NOW = {"Cache-Control": "no-store"}


def library_router(engine: Engine) -> APIRouter:
    """`/library/thumbnail/ID`, `/library/file/ID`, `/library/kit/ID`."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/thumbnail/{id}")
    def get_thumbnail(id: str) -> Response:
        picture = _thumbnail(*_key(_item(engine, id)))
        if picture is None:
            raise HTTPException(404, "This adapter has no picture that can be shown.")
        return Response(picture, media_type="image/webp", headers=FOR_EVER)

    @router.get("/file/{id}")
    def get_file(id: str) -> Response:
        return _download(_item(engine, id).path)

    @router.get("/kit/{id}")
    def get_kit(id: str) -> Response:
        return _download(kit_file(engine, _item(engine, id)))

    return router


def kit_file(engine: Engine, item: Item) -> Path:
    """Where the zip of an adapter is, once there is one."""
    return engine.workspace / "shared" / f"{item.id}.zip"


def address(kind: str, item: Item, version: int = 0) -> str:
    """The address of a `thumbnail`, `file` or `kit`, relative to the page."""
    return f"{PREFIX.lstrip('/')}/{kind}/{quote(item.id, safe='')}?v={version or _version(item)}"


def has_thumbnail(item: Item) -> bool:
    """Whether there is a picture, of which nobody has looked yet whether it can be shown."""
    return item.listed.summary.thumbnail or preview_file(item.path) is not None


def _item(engine: Engine, id: str) -> Item:
    try:
        engine.library.path(id)
        return engine.library.item(id)
    except Error as problem:
        raise HTTPException(404, str(problem)) from None


def _download(path: Path) -> Response:
    if not path.is_file():
        raise HTTPException(404, "There is no such file any more.")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers=NOW)


def _version(item: Item) -> int:
    return hash(_key(item)[1:]) & 0xFFFFFFFF


def _key(item: Item) -> tuple[Path, int, int]:
    """What a thumbnail depends on: the file, and the picture beside it."""
    beside = preview_file(item.path)
    return item.path, item.version, beside.stat().st_mtime_ns if beside else 0


@lru_cache(maxsize=256)
def _thumbnail(path: Path, _file: int, _picture: int) -> bytes | None:
    return thumbnail(path)
