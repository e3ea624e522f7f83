"""Which of Gradio's routes the pages need. It has many more: a proxy, a code editor, recording, direct calls."""

import re

API = "/gradio_api/"
_PAGES = frozenset({
    "/",
    "/config",
    "/theme.css",
    "/manifest.json",
    "/robots.txt",
    "/favicon.ico",
    *(
        API + name
        for name in (
            "app_id",
            "cancel",
            "component_server",
            "info",
            "login_check",
            "queue/data",
            "queue/join",
            "queue/status",
            "reset",
            "startup-events",
            "theme.css",
            "upload",
            "upload_progress",
        )
    ),
})
_BELOW = ("/assets/", "/static/", "/svelte/", API + "heartbeat/")
_OURS = re.compile(
    r"/(sdapi/v1/[a-z0-9-]+|docs|openapi\.json|healthz|library/(thumbnail|file|kit)/[^/\\]+|runs/report/[^/\\]+)/?"
)
_FILE = API + "file="


def is_open(path: str) -> bool:
    """Whether a path, its escapes decoded, is one that is answered at all."""
    if any(part == ".." for part in re.split(r"[/\\]", path)) or not path.isprintable():
        return False
    if path.startswith(_FILE):  # Gradio would fetch an address, and answer with what it finds there
        return "://" not in path
    return path in _PAGES or path.rstrip("/") in _PAGES or path.startswith(_BELOW) or bool(_OURS.fullmatch(path))


def takes_files(path: str) -> bool:
    """Whether large bodies are expected here."""
    return path.rstrip("/") == API + "upload"


def takes_events(path: str) -> bool:
    """Whether the body is what a page's event is called with."""
    return path.rstrip("/") in (API + "queue/join", API + "component_server")
