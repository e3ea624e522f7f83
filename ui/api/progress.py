"""Where the order stands that is drawn, as A1111 tells it."""

from datetime import datetime
from typing import Any

from .desk import Desk
from .pictures import encoded_preview


def progress(desk: Desk, *, with_picture: bool) -> dict[str, Any]:
    """`progress` is a share of the whole order, `eta_relative` seconds of the picture that is drawn."""
    order = desk.current
    job = order.current if order else None
    if order is None or job is None:
        return {"progress": 0.0, "eta_relative": 0.0, "state": _state(), "current_image": None, "textinfo": None}
    now, finished, count = job.progress, order.finished, len(order.jobs)
    drawing = now.stage == "drawing"
    step, steps = (now.done, now.total) if drawing else (0, 0)
    state = _state(
        interrupted=order.interrupted,
        skipped=bool(order.skipped),
        job=f"picture {finished + 1} of {count}" if drawing else now.stage,
        job_count=desk.waiting,
        job_no=finished,
        job_timestamp=f"{datetime.fromtimestamp(order.begun):%Y%m%d%H%M%S}",
        sampling_step=step,
        sampling_steps=steps,
    )
    return {
        "progress": (finished + (step / steps if steps else 0.0)) / count,
        "eta_relative": now.seconds_left or 0.0,
        "state": state,
        "current_image": encoded_preview(now.preview) if with_picture and now.preview else None,
        "textinfo": None if drawing else now.stage,
    }


def _state(**known: Any) -> dict[str, Any]:
    nothing = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "",
        "job_count": 0,
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    }
    return nothing | known
