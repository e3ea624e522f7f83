"""From a client's request to its pictures."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from sdlora.mixing.generated import model_name
from sdlora.mixing.infotext import Infotext, parse_infotext
from sdlora.sampling.denoise import Cancelled
from sdlora.version import VERSION

from ..engine import Busy, Engine
from ..job import Job, Picture, Settings
from .asked import Drawing, echo
from .desk import Desk, Order
from .pictures import encoded
from .settings import Reader

LOOK = 0.1  # seconds between two looks at the picture and at the client
READERS = 8  # requests that are read at once: pictures take memory, and a base may have to be waited for


@dataclass(frozen=True)
class Drawer:
    """Draws through the engine's queue, as the pages do."""

    engine: Engine
    desk: Desk
    reader: Reader
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))

    async def answer(self, asked: Drawing, request: Request) -> dict[str, Any]:
        """What `txt2img` and `img2img` answer. A client that goes away has its pictures cancelled.

        Raises `Error` for what can't work, `Busy` where too many wait.
        """
        async with self.reading:
            settings = await run_in_threadpool(self.reader.settings, asked)
        order = self.desk.add(Order(await run_in_threadpool(self._start, settings)))
        try:
            while order.current:
                if await request.is_disconnected():
                    break
                await asyncio.sleep(LOOK)
            return await run_in_threadpool(self._answer, asked, settings, order)
        finally:
            order.cancel()
            self.desk.remove(order)

    def _start(self, settings: list[Settings]) -> list[Job[Picture]]:
        jobs: list[Job[Picture]] = []
        try:
            for each in settings:
                jobs.append(self.engine.start(each))
        except Busy:
            for job in jobs:
                job.cancel()
            raise
        return jobs

    def _answer(self, asked: Drawing, settings: list[Settings], order: Order) -> dict[str, Any]:
        order.cancel()  # nothing, unless the client is gone
        done, files = [], []
        for each, job in zip(settings, order.jobs, strict=True):
            try:
                picture = job.result()
            except Cancelled:
                continue
            done.append((each, picture))
            files.append(_taken(picture.path, keep=asked.save_images))
        images = [encoded(file) for file in files] if asked.send_images else []
        return {"images": images, "parameters": echo(asked), "info": json.dumps(_info(done, settings[0], order))}


def _taken(path: Path, *, keep: bool) -> bytes:
    """The file's content; it is the client's then."""
    content = path.read_bytes()
    if not keep:
        path.unlink()
    return content


def _info(done: list[tuple[Settings, Picture]], first: Settings, order: Order) -> dict[str, Any]:
    """What A1111 tells of the pictures, lists for all of them and single values for the first."""
    told = [parse_infotext(picture.parameters) for _, picture in done]
    facts = told[0].facts if told else {}
    width, height = (told[0].size() if told else None) or (first.width, first.height)
    return {
        "prompt": first.prompt,
        "all_prompts": [each.prompt for each, _ in done],
        "negative_prompt": first.negative,
        "all_negative_prompts": [each.negative for each, _ in done],
        "seed": first.seed,
        "all_seeds": [each.seed for each, _ in done],
        "subseed": -1,
        "all_subseeds": [-1 for _ in done],
        "subseed_strength": 0,
        "width": width,
        "height": height,
        "sampler_name": first.sampler,
        "cfg_scale": first.guidance,
        "steps": first.steps,
        "batch_size": len(done),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": facts.get("Model", model_name(first.base)),
        "sd_model_hash": facts.get("Model hash"),
        "sd_vae_name": facts.get("VAE"),
        "sd_vae_hash": facts.get("VAE hash"),
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": first.strength,
        "extra_generation_params": _extra(told),
        "index_of_first_image": 0,
        "infotexts": [picture.parameters for _, picture in done],
        "styles": [],
        "job_timestamp": f"{datetime.fromtimestamp(order.begun):%Y%m%d%H%M%S}",
        "clip_skip": first.clip_skip,
        "is_using_inpainting_conditioning": False,
        "interrupted": order.interrupted,
        "version": f"sdlora {VERSION}",
    }


def _extra(told: list[Infotext]) -> dict[str, str]:
    return {key: told[0].facts[key] for key in ("Lora hashes",) if told and key in told[0].facts}
