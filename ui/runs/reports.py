"""The page that each run writes about itself, for browsers. By the run's name, never by a path."""

from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response

from .queue import RunQueue

PREFIX = "/runs/report"


def reports_router(queue: RunQueue) -> APIRouter:
    """`/runs/report/RUN`."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/{run}")
    def get_report(run: str) -> Response:
        file = queue.run_folder(run).report_file if run in queue.runs() else None
        if file is None or not file.is_file():
            raise HTTPException(404, "This run has no report: it has not begun, or it is gone.")
        return FileResponse(file, media_type="text/html", headers={"Cache-Control": "no-store"})

    return router


def report_address(run: str) -> str:
    """Where a run's report is, relative to the page."""
    return f"{PREFIX.lstrip('/')}/{quote(run, safe='')}"
