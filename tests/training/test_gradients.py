"""What an optimiser step does, read from the checkpoint after it: AdamW's first moment is a tenth of the gradient."""

import pytest
import torch

import sdlora
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.run_folder import RunFolder


def after(config):
    """(gradients after clipping, weights, metrics rows) of a run's last checkpoint."""
    run = RunFolder(sdlora.train(config, quiet=True).folder)
    checkpoint = Checkpoint.newest(run.checkpoints)
    assert checkpoint is not None
    state = checkpoint.states["optimizer"]["state"]
    gradients = [state[i]["exp_avg"] * 10 for i in sorted(state)]
    return gradients, dict(checkpoint.weights), list(run.metrics())


def norm(tensors):
    return torch.stack([t.norm() for t in tensors]).norm().item()


def close(a, b, tolerance=2e-3):
    """Equal up to the noise that another order of sums makes, which is small against the whole."""
    return norm([x - y for x, y in zip(a, b, strict=True)]) < tolerance * norm(a)


def test_clipping_clips(small, tmp_path):
    free, _, rows = after(small(tmp_path / "free", steps=1, max_grad_norm=1e6))
    clipped, _, clipped_rows = after(small(tmp_path / "clipped", steps=1, max_grad_norm=1e-4))
    assert norm(free) == pytest.approx(rows[0]["grad_norm"], rel=1e-3) and norm(free) > 1e-3
    assert norm(clipped) == pytest.approx(1e-4, rel=1e-3)
    assert clipped_rows[0]["grad_norm"] == rows[0]["grad_norm"]  # what is logged is the norm before


def test_each_component_has_its_learning_rate(small, tmp_path):
    _, weights, _ = after(
        small(tmp_path, steps=1, learning_rate=1e-2, text_encoder_learning_rate=1e-4, max_grad_norm=1e6)
    )
    largest = {"unet": 0.0, "text_encoder": 0.0}
    for key, tensor in weights.items():
        if key.endswith(".up"):  # zero at first, and AdamW's first step is its rate, or less where gradients are tiny
            component = key.split(".")[0]
            largest[component] = max(largest[component], tensor.abs().max().item())
    assert 0.5e-2 < largest["unet"] <= 1.01e-2
    assert 0.5e-4 < largest["text_encoder"] <= 1.01e-4


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0, 0.5, 1, 1, 1, 1]), ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25])],
)
def test_the_warm_up_comes_before_either_schedule(small, tmp_path, schedule, expected):
    _, _, rows = after(small(tmp_path, steps=6, batch_size=1, warmup=2, schedule=schedule, targets=["text_mlp"]))
    # with the text encoder alone its rate is the one that is logged
    assert [row["learning_rate"] / 1e-3 for row in rows] == pytest.approx(expected)


def test_accumulation_is_a_larger_batch(small, tmp_path):
    settings = {"steps": 2, "max_grad_norm": 1e6, "dropout": 0.3, "offset_noise": 0.1}
    whole = after(small(tmp_path / "whole", batch_size=4, gradient_accumulation=1, **settings))
    parts = after(small(tmp_path / "parts", batch_size=2, gradient_accumulation=2, **settings))
    assert [r["loss"] for r in whole[2]] == pytest.approx([r["loss"] for r in parts[2]], rel=1e-4)
    assert close(whole[0], parts[0])


PRIOR = {"trigger": "wug", "prior_preservation": 10.0, "learning_rate": 1e-2, "dropout": 0.3}


def test_accumulation_is_a_larger_batch_with_prior_preservation_too(small, tmp_path):
    """One example of the prior in four images, also where a pass has but one image."""
    settings = {"steps": 2, "max_grad_norm": 1e6, "targets": ["unet.mid_block"], **PRIOR}
    whole = after(small(tmp_path / "whole", batch_size=4, **settings))
    parts = after(small(tmp_path / "parts", batch_size=1, gradient_accumulation=4, **settings))
    assert [r["loss"] for r in whole[2]] == pytest.approx([r["loss"] for r in parts[2]], rel=1e-3)
    assert close(whole[0], parts[0], 1e-2)


def test_gradient_checkpointing_drops_out_the_same_beside_a_prior(small, tmp_path):
    """Passes of two kinds are computed again on the way back, each with what it dropped out."""
    settings = {"steps": 2, "targets": ["unet.mid_block", "unet.down_blocks.0"], **PRIOR}
    plain = after(small(tmp_path / "plain", batch_size=1, **settings))
    saving = after(small(tmp_path / "saving", batch_size=1, gradient_checkpointing=True, **settings))
    assert close(plain[0], saving[0], 1e-4)


def test_accumulation_is_not_at_the_mercy_of_the_environment(small, tmp_path, monkeypatch):
    expected = after(small(tmp_path / "a", gradient_accumulation=2, steps=1))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    assert close(expected[0], after(small(tmp_path / "b", gradient_accumulation=2, steps=1))[0], 1e-9)


def test_gradient_checkpointing_changes_no_gradient(small, tmp_path):
    targets = ["unet.down_blocks.0", "unet.mid_block", "text_attention"]
    plain = after(small(tmp_path / "plain", steps=1, targets=targets, dropout=0.3))
    saving = after(small(tmp_path / "saving", steps=1, targets=targets, dropout=0.3, gradient_checkpointing=True))
    assert close(plain[0], saving[0], 1e-5) and plain[2][0]["loss"] == saving[2][0]["loss"]


@pytest.mark.slow
def test_both_attention_kernels_give_the_same_gradients(small, tmp_path):
    fused = after(small(tmp_path / "sdpa", steps=1, attention="sdpa"))
    written = after(small(tmp_path / "plain", steps=1, attention="plain"))
    assert close(fused[0], written[0])


def test_layer_s_dropout_differs_from_step_to_step_and_follows_the_seed(small, tmp_path):
    config = small(tmp_path / "a", steps=2, dropout=0.5)
    torch.manual_seed(1)
    first = after(config)
    torch.manual_seed(2)
    second = after(config.model_copy(update={"workspace": str(tmp_path / "b")}))
    without = after(config.model_copy(update={"workspace": str(tmp_path / "c"), "dropout": 0.0}))
    assert close(first[0], second[0], 1e-9) and not close(first[0], without[0], 0.05)


def test_settings_of_the_loss_arrive(small, tmp_path):
    """With a delta far above all errors Huber's loss is the squared one, and the smooth L1 loss that divided by it."""

    def loss(name, **changes):
        return after(small(tmp_path / name, steps=1, **changes))[2][0]["loss"]

    squared = loss("l2")
    far = {"huber_delta": 100.0, "huber_schedule": "constant"}
    assert loss("huber", loss="huber", **far) == pytest.approx(squared, rel=1e-3)
    assert loss("smooth", loss="smooth_l1", **far) == pytest.approx(squared / 100, rel=1e-3)
    assert loss("near", loss="huber", huber_delta=0.01) < loss("snr", loss="huber", huber_delta=0.1) < squared
    noisy, clean = loss("noisy", timestep_min=800), loss("clean", timestep_max=200)
    assert noisy < squared < clean, "what noise was added is easily told where there is little else"
    others = [loss("debiased", debiased=True), loss("offset", offset_noise=0.5)]
    assert len({squared, *others}) == 3
