"""An upload, against a hub on this computer; small files take the same way to the real one."""

import pytest

from sdlora.errors import Error
from sdlora.sharing import make_kit, push
from tests.sharing.conftest import use_hub


def test_file_card_and_samples_go_up_in_one_commit(ink, picture, hub):
    kit = make_kit(ink, samples=[picture])
    assert push(ink, "me/ink") == f"{hub.address}/me/ink"
    assert hub.files == {
        "ink.safetensors": ink.read_bytes(),
        "README.md": (kit.folder / "README.md").read_bytes(),
        "civitai.txt": (kit.folder / "civitai.txt").read_bytes(),
        "images/ink-1.png": picture.read_bytes(),
    }
    assert hub.tokens == {"Bearer hf_of_the_tests"}
    assert sum(request.endswith("/commit/main") for request in hub.requests) == 1


def test_without_a_kit_the_file_goes_alone(ink, hub):
    push(ink, "me/ink")
    assert set(hub.files) == {"ink.safetensors"}


def test_what_is_no_adapter_is_not_uploaded(tmp_path, hub):
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(Error):
        push(tmp_path / "a.safetensors", "me/a")
    assert hub.requests == []


@pytest.mark.parametrize(("status", "sentence"), [(401, "hf auth login"), (403, "may not write"), (422, "refused")])
def test_a_refusal_is_a_sentence(ink, hub, status, sentence):
    hub.status = status
    with pytest.raises(Error, match=sentence):
        push(ink, "me/ink")


def test_no_name_of_a_repository(ink, hub):
    with pytest.raises(Error, match="USER/NAME"):
        push(ink, "no/such/name")
    assert hub.requests == []


def test_offline(ink, monkeypatch):
    use_hub(monkeypatch, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(Error, match="are you online"):
        push(ink, "me/ink")


def test_not_logged_in(ink, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(Error, match="hf auth login"):
        push(ink, "me/ink")
    assert hub.requests == []
