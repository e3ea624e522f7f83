import pytest

from ui.safety.routes import is_open


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/config",
        "/assets/index-1.js",
        "/gradio_api/queue/join",
        "/gradio_api/heartbeat/abc",
        "/gradio_api/file=C:\\workspace\\outputs\\1.png",
        "/gradio_api/file=/home/ä/outputs/1.png",
        "/sdapi/v1/txt2img",
        "/docs",
        "/healthz",
        "/runs/report/ink",
    ],
)
def test_what_pages_and_clients_need_is_open(path):
    assert is_open(path)


@pytest.mark.parametrize(
    "path",
    [
        "/runs/report/../ink",
        "/runs/report/a/b",
        "/gradio_api/proxy=https://x.hf.space/",
        "/gradio_api/file=http://elsewhere.example/x.png",
        "/gradio_api/file=HTTPS://elsewhere.example/x.png",
        "/gradio_api/file=/workspace/outputs/../../x",
        "/gradio_api/file=\\..\\x",
        "/gradio_api/file=/x\0.png",
        "/gradio_api/run/predict",
        "/gradio_api/call/predict",
        "/gradio_api/vibe-edit",
        "/gradio_api/vibe-code/",
        "/gradio_api/process_recording",
        "/gradio_api/deep_link",
        "/gradio_api/token",
        "/gradio_api/dev/reload",
        "/gradio_api/custom_component/1/client/component/index.js",
        "/monitoring",
        "/login",
        "/sdapi/v1/../v2",
        "/sdapi/v2/txt2img",
        "/assets/../config",
    ],
)
def test_all_else_is_closed(path):
    assert not is_open(path)
