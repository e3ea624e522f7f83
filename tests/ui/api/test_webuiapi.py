"""A client of A1111's API that people use, unmodified."""

import json
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from sdlora import Mixer, load_base
from tests.ui.serving import serve, write_adapter

webuiapi = pytest.importorskip("webuiapi")
PASSWORD = "open sesame"
SMALL = {"steps": 3, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def served(tmp_path_factory, mini):
    workspace = tmp_path_factory.mktemp("workspace")
    for seed, name in enumerate(("clay", "ink")):
        write_adapter(mini, workspace / "adapters" / f"{name}.safetensors", seed)
    with serve(workspace, PASSWORD) as served:
        yield served


@pytest.fixture
def client(served):
    return webuiapi.WebUIApi(port=served.port, username="sdlora", password=PASSWORD)


def in_background(function, **arguments):
    """The list that the result will be in, and the thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(**arguments)))
    thread.start()
    return results, thread


def mixer_like(picture, served):
    """A mixer on a base in the precision that the server has chosen."""
    dtype = getattr(torch, json.loads(picture.text["sdlora"])["dtype"])
    return Mixer(load_base("mini", dtype=dtype), served.workspace / "adapters")


def drawing(client):
    """Wait until the first step is done; what `progress` says then."""
    for _ in range(600):
        if (now := client.get_progress())["state"]["sampling_step"]:
            return now
        time.sleep(0.05)
    return pytest.fail("nothing is drawn")


def test_two_adapters_in_a_prompt_draw_what_the_mixer_draws(client, served):
    prompt = "red apple <lora:clay:0.8> <lora:ink:-0.4>"
    result = client.txt2img(prompt=prompt, seed=7, batch_size=2, cfg_scale=4, **SMALL)
    mixer = mixer_like(result.image, served)
    ours = mixer.generate(prompt, "", 7, count=2, steps=3, guidance=4, sampler="Euler a", size=64)
    for theirs, picture in zip(result.images, ours, strict=True):
        assert (np.asarray(theirs) == np.asarray(picture.image)).all()
        assert theirs.text["parameters"] == str(picture.parameters)
    assert result.info["all_seeds"] == [7, 8]
    assert result.info["prompt"] == prompt
    assert result.info["infotexts"][1] == result.images[1].text["parameters"]
    assert result.parameters["steps"] == 3
    assert "<lora:clay:0.8> <lora:ink:-0.4>" in result.images[0].text["parameters"]
    assert list((served.workspace / "outputs").glob("*.png")) == []  # nobody asked to keep them


def test_pictures_are_kept_where_that_is_asked_for(client, served):
    result = client.txt2img(prompt="blue fish", save_images=True, send_images=False, **SMALL)
    assert result.images == []
    [kept] = (served.workspace / "outputs").glob("*.png")
    assert Image.open(kept).text["parameters"] == result.info["infotexts"][0]
    kept.unlink()


def test_progress_and_interrupt(client):
    results, thread = in_background(client.txt2img, prompt="a", steps=150, width=128, height=128, n_iter=2)
    now = drawing(client)
    assert 0 < now["progress"] < 0.6
    assert now["state"]["sampling_steps"] == 150
    assert now["state"]["job_count"] == 2
    client.interrupt()
    thread.join(60)
    assert results[0].images == []
    assert results[0].info["interrupted"]
    client.util_wait_for_ready(check_interval=0.1)


def test_skip_leaves_out_one_picture(client):
    results, thread = in_background(client.txt2img, prompt="a", seed=3, batch_size=2, steps=100, width=64, height=64)
    drawing(client)
    client.skip()
    thread.join(120)
    assert results[0].info["all_seeds"] == [4]
    assert len(results[0].images) == 1


def test_a_client_that_goes_away_frees_the_device(client):
    client.session.request = lambda *_, request=client.session.request, **options: request(*_, **options, timeout=2)
    with pytest.raises(OSError, match=r"[Tt]imed out"):
        client.txt2img(prompt="a", steps=150, width=256, height=256, n_iter=8)
    for _ in range(100):
        if client.get_progress()["state"]["job_count"] == 0:
            return
        time.sleep(0.1)
    pytest.fail("its pictures are still drawn")


def test_options_and_lists(client):
    assert {entry["name"] for entry in client.get_loras()} >= {"clay", "ink"}
    assert "mini" in client.util_get_model_names()
    client.util_set_model("mini")
    assert client.util_get_current_model() == "mini"
    client.set_options({"CLIP_stop_at_last_layers": 2, "no_such_option": [1]})
    try:
        assert client.get_options()["CLIP_stop_at_last_layers"] == 2
        assert "Clip skip: 2" in client.txt2img(prompt="a", **SMALL).info["infotexts"][0]
    finally:
        client.set_options({"CLIP_stop_at_last_layers": 1})
    assert "DPM++ 2M Karras" in client.util_get_sampler_names()
    assert "karras" in client.util_get_scheduler_names()
    for empty in (client.get_upscalers(), client.get_sd_vae(), client.get_hypernetworks(), client.get_prompt_styles()):
        assert empty == []
    assert client.get_latent_upscale_modes() == client.get_face_restorers() == client.get_realesrgan_models() == []
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert client.get_scripts() == {"txt2img": [], "img2img": []}
    assert client.get_memory()["ram"]["total"] > 0
    assert client.get_cmd_flags()["api"] is True
    assert client.refresh_checkpoints() is None


def test_a_scheduler_beside_the_sampler(client):
    result = client.txt2img(prompt="a", sampler_name="DPM++ 2M", scheduler="Karras", **SMALL)
    assert "Sampler: DPM++ 2M, Schedule type: Karras" in result.info["infotexts"][0]
    with pytest.raises(RuntimeError, match=r"There is no sampler .*Euler Karras"):
        client.txt2img(prompt="a", sampler_name="Euler", scheduler="Karras", **SMALL)


def test_drawing_over_a_picture_and_reading_its_parameters(client, served):
    picture = Image.new("RGB", (64, 64), "green")
    result = client.img2img(images=[picture], prompt="a", seed=1, denoising_strength=0.5, **(SMALL | {"steps": 6}))
    mixer = mixer_like(result.image, served)
    [ours] = mixer.generate("a", "", 1, steps=6, guidance=7, sampler="Euler a", size=64, image=picture, strength=0.5)
    assert (np.asarray(result.image) == np.asarray(ours.image)).all()
    assert client.png_info(result.image).info == str(ours.parameters)
    assert client.png_info(picture).info == ""


def test_a_second_pass(client):
    result = client.txt2img(prompt="a", enable_hr=True, hr_scale=2, denoising_strength=0.7, **SMALL)
    assert result.image.size == (128, 128)


def test_what_is_left_out_is_the_bases_usual(served):
    import requests

    answer = requests.post(
        f"{served.address}/sdapi/v1/txt2img", json={"steps": 1, "unknown": {}}, auth=("sdlora", PASSWORD), timeout=60
    ).json()
    assert "CFG scale: 4, " in json.loads(answer["info"])["infotexts"][0]


def test_a_full_queue_is_one_sentence(client, monkeypatch):
    monkeypatch.setattr("ui.engine.MOST_WAITING", 0)
    with pytest.raises(RuntimeError, match=r"503.*try again"):
        client.txt2img(prompt="a", **SMALL)
