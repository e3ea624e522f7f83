"""Requests that nobody honest makes: each is refused with a sentence, writes nothing elsewhere, calls nobody."""

import base64
import http.client
import json
import os
import pathlib
import struct
import sys
import zlib
from io import BytesIO

import pytest
from PIL import Image

from tests.ui.serving import serve, write_adapter

PASSWORD = "open sesame"
RIGHT = {"Authorization": "Basic " + base64.b64encode(f"sdlora:{PASSWORD}".encode()).decode()}
API, GRADIO = "/sdapi/v1/", "/gradio_api/"


def basic(pair):
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def as_json(content, **headers):
    """Method, headers and body of a POST."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return {"method": "POST", "headers": {**RIGHT, "Content-Type": "application/json", **headers}, "body": text}


def drawing(**fields):
    return {"path": API + "txt2img", **as_json({"prompt": "a", "steps": 1, **fields})}


def over(picture, **fields):
    text = picture if isinstance(picture, str) else base64.b64encode(picture).decode()
    return {"path": API + "img2img", **as_json({"init_images": [text], "steps": 2, **fields})}


def event(value):
    return {
        "path": GRADIO + "queue/join",
        **as_json({"data": [value], "fn_index": 0, "session_hash": "x", "event_data": None}),
    }


def file_data(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}


def page(path, **headers):
    return {"path": path, "headers": {**RIGHT, **headers}}


def png_of_size(width, height):
    """A picture of a few hundred bytes that says it is as large as this."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def picture_file(kind="PNG"):
    file = BytesIO()
    Image.new("RGB", (64, 64)).save(file, kind)
    return file.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'

REQUESTS = {
    # who asks
    "no password": {"path": "/"},
    "no password for the API": {"path": API + "options"},
    "no password for the docs": {"path": "/docs"},
    "no password for the schema": {"path": "/openapi.json"},
    "no password for Gradio's settings": {"path": "/config"},
    "no password for Gradio's assets": {"path": "/assets/index.js"},
    "no password for the queue": {"path": GRADIO + "queue/join", "method": "POST", "body": b"{}"},
    "no password for events": {"path": GRADIO + "queue/data?session_hash=x"},
    "no password for uploads": {"path": GRADIO + "upload", "method": "POST", "body": b""},
    "no password for heartbeats": {"path": GRADIO + "heartbeat/x"},
    "no password for files": {"path": GRADIO + "file=/etc/passwd"},
    "no password for what is not there": {"path": "/nothing"},
    "wrong password": {"path": "/", "headers": basic("sdlora:open")},
    "wrong user": {"path": "/", "headers": basic(f"admin:{PASSWORD}")},
    "empty password": {"path": "/", "headers": basic("sdlora:")},
    "password with a null": {"path": "/", "headers": basic(f"sdlora:{PASSWORD}\0")},
    "password as a token": {"path": "/", "headers": {"Authorization": f"Bearer {PASSWORD}"}},
    "broken base64": {"path": "/", "headers": {"Authorization": "Basic %%%"}},
    "password in the address": {"path": "/?user=sdlora&password=open%20sesame"},
    # from where
    "wrong host": page("/", Host="evil.example"),
    "wrong host for the API": page(API + "options", Host="evil.example:7860"),
    "wrong host for health": {"path": "/healthz", "headers": {"Host": "evil.example"}},
    "a host that begins as ours": page("/", Host="127.0.0.1.evil.example"),
    "a host with a user": page("/", Host="127.0.0.1@evil.example"),
    "empty host": page("/", Host=""),
    "wrong forwarded host": page("/", **{"X-Forwarded-Host": "evil.example"}),
    "wrong origin": {"path": API + "interrupt", **as_json({}, Origin="https://evil.example")},
    "no origin to speak of": {"path": API + "interrupt", **as_json({}, Origin="null")},
    "another program's origin": {"path": API + "options", **as_json({}, Origin="http://127.0.0.1:3000")},
    "wrong origin for events": {"path": GRADIO + "queue/join", **as_json({}, Origin="https://evil.example")},
    # paths
    "traversal": page("/../../etc/passwd"),
    "traversal below assets": page("/assets/../../../etc/passwd"),
    "encoded traversal": page("/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    "twice encoded traversal": page("/assets/%252e%252e/%252e%252e/etc/passwd"),
    "traversal with backslashes": page("/assets/..%5c..%5cwindows"),
    "a null in a path": page("/assets/x%00.js"),
    "a line break in a path": page("/assets/x%0d%0aSet-Cookie:y"),
    "a file of the system": page(GRADIO + "file=/etc/passwd"),
    "a file beside the outputs": page(GRADIO + "file=WORKSPACE/outputs/../adapters/ink.safetensors"),
    "an adapter as a file": page(GRADIO + "file=WORKSPACE/adapters/ink.safetensors"),
    "a link out of the outputs": page(GRADIO + "file=WORKSPACE/outputs/link.png"),
    "our own code": page(GRADIO + "file=ui/server.py"),
    "an address as a file": page(GRADIO + "file=http://127.0.0.1:1/x.png"),
    "an encoded address as a file": page(GRADIO + "file=http%3A%2F%2F127.0.0.1:1/x.png"),
    "the cloud's metadata as a file": page(GRADIO + "file=http://169.254.169.254/latest/meta-data"),
    "Gradio's proxy": page(GRADIO + "proxy=https://x.hf.space/"),
    "Gradio's editor": {"path": GRADIO + "vibe-code", **as_json({"code": "import os"})},
    "Gradio's recorder": {"path": GRADIO + "process_recording", **as_json({})},
    "Gradio's direct calls": {"path": GRADIO + "run/predict", **as_json({"data": [], "fn_index": 0})},
    "Gradio's other calls": {"path": GRADIO + "call/_make", **as_json({"data": []})},
    "Gradio's login": {"path": "/login", **as_json({})},
    "Gradio's monitoring": page("/monitoring"),
    # what pages send
    "a system's file in an event": event(file_data("/etc/passwd")),
    "an adapter in an event": event(file_data("WORKSPACE/adapters/ink.safetensors")),
    "traversal in an event": event(file_data("WORKSPACE/cache/uploads/../../adapters/ink.safetensors")),
    "an address in an event": event(file_data("http://127.0.0.1:1/x.png")),
    "a null in an event's path": event(file_data("x\0.png")),
    "a file deep in an event": event({"value": [{"image": file_data("/etc/passwd")}]}),
    "an event too deep to read": {"path": GRADIO + "queue/join", **as_json(b"[" * 100_000)},
    "an event that is no JSON": {"path": GRADIO + "queue/join", **as_json(b"{")},
    "an event that is too large": {"path": GRADIO + "queue/join", **as_json(b" " * (17 * 2**20))},
    "a component's server with a form": {
        "path": GRADIO + "component_server",
        "method": "POST",
        "headers": {**RIGHT, "Content-Type": "multipart/form-data; boundary=x"},
        "body": b"--x--\r\n",
    },
    "an upload that says it is huge": {
        "path": GRADIO + "upload",
        "method": "POST",
        "headers": {**RIGHT, "Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(2**40)},
        "body": b"",
    },
    "an upload that is none": {"path": GRADIO + "upload", **as_json({})},
    # absurd wishes
    "no steps": drawing(steps=0),
    "a million steps": drawing(steps=1_000_000),
    "steps beyond all numbers": {"path": API + "txt2img", **as_json(b'{"steps": 1e999}')},
    "steps of 5,000 digits": {"path": API + "txt2img", **as_json(b'{"steps": ' + b"9" * 5000 + b"}")},
    "NaN for guidance": drawing(cfg_scale=float("nan")),
    "infinite guidance": drawing(cfg_scale=float("inf")),
    "a size beyond memory": drawing(width=100_000, height=100_000),
    "a negative size": drawing(width=-64),
    "a size of odd pixels": drawing(width=65, height=65),
    "a second pass beyond memory": drawing(width=2048, height=2048, enable_hr=True, hr_scale=4),
    "NaN for the second pass": drawing(enable_hr=True, hr_scale=float("nan")),
    "a thousand pictures": drawing(n_iter=1000),
    "too many pictures by parts": drawing(n_iter=16, batch_size=16),
    "a seed beyond all": drawing(seed=2**64),
    "a sampler that is none": drawing(sampler_name="../../x"),
    "a script": drawing(script_name="custom code", script_args=["import os"]),
    "a prompt of a megabyte": drawing(prompt="a" * 2**20),
    "a null in the prompt": drawing(prompt="a\0b"),
    "half a character in the prompt": drawing(prompt="\ud800"),
    "an escape in the negative prompt": drawing(negative_prompt="\x1b[31m"),
    "a body of 49 MB": {"path": API + "txt2img", **as_json(b" " * (49 * 2**20))},
    "a body without a length of 49 MB": {"path": API + "txt2img", **as_json(b" " * (49 * 2**20)), "chunked": True},
    "no JSON": {"path": API + "txt2img", **as_json(b"{")},
    "JSON too deep to read": {"path": API + "txt2img", **as_json(b"[" * 100_000)},
    "a list for a request": {"path": API + "txt2img", **as_json([])},
    "another method": {"path": API + "txt2img", "method": "DELETE", "headers": RIGHT},
    # adapters and bases
    "an adapter that is not there": drawing(prompt="<lora:nothing:1>"),
    "an adapter by path": drawing(prompt="<lora:../outside:1>"),
    "an adapter by absolute path": drawing(prompt="<lora:OUTSIDE/outside:1>"),
    "an adapter through a link": drawing(prompt="<lora:link:1>"),
    "NaN for a weight": drawing(prompt="<lora:ink:nan>"),
    "an infinite weight": drawing(prompt="<lora:ink:inf>"),
    "a weight of a googol": drawing(prompt="<lora:ink:1e100>"),
    "blocks that are none": drawing(prompt="<lora:ink:1:lbw=../x>"),
    "a tag without a name": drawing(prompt="<lora::1>"),
    "an adapter that is no adapter": drawing(prompt="<lora:broken:1>"),
    "an adapter with a header of terabytes": drawing(prompt="<lora:huge:1>"),
    "an adapter with a tensor of terabytes": drawing(prompt="<lora:tensor:1>"),
    "a base by path": drawing(override_settings={"sd_model_checkpoint": "/etc/passwd"}),
    "a base by traversal": {"path": API + "options", **as_json({"sd_model_checkpoint": "../../outside"})},
    "a base of the hub": {"path": API + "options", **as_json({"sd_model_checkpoint": "someone/model"})},
    # pictures
    "an address for a picture": over("http://127.0.0.1:1/x.png"),
    "a file for a picture": over("file:///etc/passwd"),
    "no base64": over("%%%"),
    "no picture": over(b"no picture"),
    "an empty picture": over(b""),
    "a vector picture": over(SVG),
    "a cut off picture": over(picture_file()[:60]),
    "a picture that unpacks to gigabytes": over(png_of_size(60_000, 60_000)),
    "a picture that says it is large": over(png_of_size(5000, 5000)),
    "a picture without a side": over(png_of_size(0, 100)),
    "a format that decoders are rarely tried with": over(picture_file("PCX")),
    "no pictures at all": {"path": API + "img2img", **as_json({"init_images": []})},
    "a hundred pictures": {"path": API + "img2img", **as_json({"init_images": ["x"] * 100})},
    "a mask": over(picture_file(), mask="x"),
    "a strength of NaN": over(picture_file(), denoising_strength=float("nan")),
    "a strength beyond 1": over(picture_file(), denoising_strength=7),
    "parameters of no picture": {"path": API + "png-info", **as_json({"image": "bm8="})},
    "parameters of an address": {"path": API + "png-info", **as_json({"image": "http://127.0.0.1:1/x.png"})},
    "parameters of a picture that unpacks to gigabytes": {
        "path": API + "png-info",
        **as_json({"image": base64.b64encode(png_of_size(60_000, 60_000)).decode()}),
    },
}

WATCHED = {"on": False, "written": [], "called": []}
WRITING = {
    "os.mkdir": 0,
    "os.rename": 1,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.symlink": 1,
    "os.link": 1,
    "os.truncate": 0,
}


def watch(name, arguments):
    """An audit hook: which files are opened for writing, made, moved and removed; who is called."""
    if not WATCHED["on"]:
        return
    if name == "open" and isinstance(arguments[0], str | bytes):
        mode, flags = arguments[1], arguments[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            WATCHED["written"].append(os.fsdecode(arguments[0]))
    elif name in WRITING and isinstance(arguments[WRITING[name]], str | bytes):
        path = os.fsdecode(arguments[WRITING[name]])
        if pathlib.Path(path).is_absolute() or arguments[-1] == -1:  # else it lies in a folder that was opened before
            WATCHED["written"].append(path)
    elif name == "socket.connect":
        WATCHED["called"].append(arguments[1])
    elif name == "socket.getaddrinfo":
        WATCHED["called"].append(arguments[:2])


@pytest.fixture(scope="module")
def served(tmp_path_factory, mini):
    outer = tmp_path_factory.mktemp("outer")
    workspace, adapters = outer / "workspace", outer / "workspace" / "adapters"
    (workspace / "outputs").mkdir(parents=True)
    write_adapter(mini, adapters / "ink.safetensors", 0)
    write_adapter(mini, outer / "outside.safetensors", 1)
    (adapters / "broken.safetensors").write_bytes(b"no adapter")
    (adapters / "huge.safetensors").write_bytes(struct.pack("<Q", 2**43) + b"{}")
    header = json.dumps({"x.lora_down.weight": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}})
    (adapters / "tensor.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    (adapters / "link.safetensors").symlink_to(outer / "outside.safetensors")
    (workspace / "outputs" / "link.png").symlink_to(outer / "outside.safetensors")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SDLORA_CACHE", str(workspace / "cache"))  # where headers that were read are remembered
        with serve(workspace, PASSWORD) as served:
            sys.addaudithook(watch)
            yield served
            WATCHED["on"] = False


def ask(served, path, method="GET", headers=RIGHT, body=None, chunked=False):
    """Status and content, of a request sent exactly so."""
    outer = served.workspace.parent.as_posix()

    def filled(text):
        return text.replace("WORKSPACE", f"{outer}/workspace").replace("OUTSIDE", outer)

    if body is not None and len(body) < 10_000:
        body = filled(body.decode("latin-1")).encode("latin-1")
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.putrequest(method, filled(path), skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None and "Content-Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        try:
            pieces = (body[start : start + 2**20] for start in range(0, len(body or b""), 2**20))
            connection.endheaders(pieces if chunked else body, encode_chunked=chunked)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered before all was sent
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def everything(folder):
    """All below a folder but temporary uploads, with sizes and times."""
    found = {}
    for path in folder.rglob("*"):
        if "cache" not in path.relative_to(folder).parts:
            facts = path.lstat()
            found[path] = (facts.st_size, facts.st_mtime_ns) if path.is_file() else None
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_hostile_requests_are_refused_and_change_nothing(served, name):
    before = everything(served.workspace.parent)
    WATCHED.update(on=True, written=[], called=[])
    status, content = ask(served, **{"headers": {}, **REQUESTS[name]})
    WATCHED["on"] = False
    assert 400 <= status < 500, content[:500]
    assert b"Traceback" not in content
    assert b"root:" not in content
    detail = json.loads(content)["detail"] if content.startswith(b"{") else content.decode()
    assert detail
    assert everything(served.workspace.parent) == before
    allowed = (str(served.workspace / "cache"), os.devnull)
    assert [path for path in WATCHED["written"] if not path.startswith(allowed)] == []
    ours = {("127.0.0.1", served.port)}
    assert [called for called in WATCHED["called"] if tuple(called[:2]) not in ours] == []


def test_the_table_is_long_enough():
    assert len(REQUESTS) >= 50


def test_after_all_of_them_the_server_draws(served):
    status, content = ask(served, **drawing(prompt="red apple <lora:ink:0.5>"))
    assert status == 200
    assert len(json.loads(content)["images"]) == 1
    assert list((served.workspace / "cache" / "uploads").glob("tmp*")) == []


def test_health_needs_no_password(served):
    assert ask(served, "/healthz", headers={})[0] == 200


@pytest.mark.parametrize("name", ["../../../evil.png", "..\\..\\evil.png", "/etc/evil.png", "x\0.png", "", "." * 300])
def test_uploads_with_hostile_names_stay_in_their_folder(served, name):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.encode()
        + b'"\r\n\r\nevil\r\n--x--\r\n'
    )
    headers = {**RIGHT, "Content-Type": "multipart/form-data; boundary=x"}
    before = everything(served.workspace.parent)
    WATCHED.update(on=True, written=[], called=[])
    status, content = ask(served, GRADIO + "upload", "POST", headers, body)
    WATCHED["on"] = False
    assert status in (200, 400)
    uploads = str(served.workspace / "cache" / "uploads")
    assert [path for path in WATCHED["written"] if not path.startswith((uploads, os.devnull))] == []
    assert everything(served.workspace.parent) == before
    if status == 200:
        assert all(path.startswith(uploads) for path in json.loads(content))


def test_answers_tell_the_browser_to_load_nothing_from_elsewhere(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    for path in ("/", "/docs", API + "options", "/nothing"):
        connection.request("GET", path, headers=RIGHT)
        answer = connection.getresponse()
        answer.read()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "*" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    connection.close()
