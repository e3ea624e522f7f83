"""The routes, each a line or two over the file that does the work."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from sdlora.mixing.infotext import parse_infotext

from ..engine import Engine
from . import lists
from .asked import ImageToImage, Options, PngInfo, TextToImage
from .checkpoints import Checkpoints
from .desk import Desk
from .drawing import Drawer
from .machine import memory
from .pictures import texts
from .progress import progress
from .settings import Reader

PREFIX = "/sdapi/v1"


def api_router(engine: Engine, temporary: Path) -> APIRouter:
    """All of `/sdapi/v1`. `temporary` is a folder for files that live for a moment."""
    router = APIRouter(prefix=PREFIX)
    desk, checkpoints = Desk(), Checkpoints(engine)
    _add_drawing(router, Drawer(engine, desk, Reader(engine, checkpoints, temporary)), checkpoints)
    _add_desk(router, desk)
    _add_lists(router, engine, checkpoints)

    @router.post("/png-info")
    def png_info(asked: PngInfo) -> dict[str, Any]:
        """What a picture says of its making; "" where it says nothing."""
        found = texts(asked.image, "image", temporary)
        items = {"parameters": found.parameters} if found.parameters else {}
        return {"info": found.parameters, "items": items, "parameters": _parameters(found.parameters)}

    @router.get("/memory")
    def get_memory() -> dict[str, Any]:
        """Bytes, of the machine and of its GPU."""
        return memory()

    return router


def _add_drawing(router: APIRouter, drawer: Drawer, checkpoints: Checkpoints) -> None:
    @router.post("/txt2img")
    async def txt2img(asked: TextToImage, request: Request) -> dict[str, Any]:
        """Draw pictures of a prompt. Answers when they are drawn: `images` are PNGs, `info` is JSON."""
        return await drawer.answer(asked, request)

    @router.post("/img2img")
    async def img2img(asked: ImageToImage, request: Request) -> dict[str, Any]:
        """Draw over a picture."""
        return await drawer.answer(asked, request)

    @router.get("/options")
    def get_options() -> dict[str, Any]:
        """The base and the clip skip of requests that say nothing else."""
        return {
            "sd_model_checkpoint": checkpoints.title,
            "sd_checkpoint_hash": None,
            "CLIP_stop_at_last_layers": checkpoints.clip_skip,
            "sd_vae": "Automatic",
            "samples_format": "png",
        }

    @router.post("/options")
    def set_options(options: Options) -> None:
        """Change them, for all clients; the pages have their own."""
        checkpoints.choose(options)


def _add_desk(router: APIRouter, desk: Desk) -> None:
    @router.get("/progress")
    def get_progress(skip_current_image: bool = False) -> dict[str, Any]:
        """Of the request that is drawn now."""
        return progress(desk, with_picture=not skip_current_image)

    @router.post("/interrupt")
    def interrupt() -> dict[str, Any]:
        """The request that is drawn now is answered with the pictures that it has."""
        desk.interrupt()
        return {}

    @router.post("/skip")
    def skip() -> None:
        """The picture that is drawn now is left out."""
        desk.skip()


def _add_lists(router: APIRouter, engine: Engine, checkpoints: Checkpoints) -> None:
    router.add_api_route("/sd-models", checkpoints.listed, methods=["GET"], summary="Bases")
    router.add_api_route("/samplers", lists.samplers, methods=["GET"], summary="Samplers")
    router.add_api_route("/schedulers", lists.schedulers, methods=["GET"], summary="Schedulers")

    @router.get("/loras")
    def loras() -> list[dict[str, Any]]:
        """The library's adapters, by the names that tags take."""
        return lists.adapters(engine)

    @router.get("/cmd-flags")
    def cmd_flags() -> dict[str, Any]:
        """How the server was started, as far as a client may care."""
        return {"api": True, "nowebui": False, "listed_bases_only": engine.listed_bases_only}

    for name, nothing in lists.EMPTY.items():
        router.add_api_route(f"/{name}", _always(nothing), methods=["GET"], summary="Nothing: sdlora has none")
    for name in ("refresh-loras", "refresh-checkpoints"):
        router.add_api_route(f"/{name}", _always(None), methods=["POST"], summary="Nothing: lists are always new")


def _always(answer: Any) -> Any:
    def same() -> Any:
        return answer

    return same


def _parameters(text: str) -> dict[str, Any]:
    """A1111's `parameters`: the prompts, and the facts under their names."""
    if not text:
        return {}
    info = parse_infotext(text)
    return {"Prompt": info.prompt, "Negative prompt": info.negative, **info.facts}
