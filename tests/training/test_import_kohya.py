"""Settings of sd-scripts as ours: what is carried over, and that nothing is lost in silence."""

import json
import re
import tomllib

import pytest
import tomlkit

from sdlora.errors import Error
from sdlora.training.config import TrainConfig
from sdlora.training.import_kohya import import_kohya
from sdlora.training.kohya_keys import NEEDLESS, SAME, WORDS


@pytest.fixture
def imported(tmp_path):
    def make(settings, name="theirs.toml"):
        path = tmp_path / name
        text = json.dumps(settings) if name.endswith("json") else tomlkit.dumps(settings)
        path.write_text(text, encoding="utf-8")
        return import_kohya(path)

    return make


TRAINING = {
    "pretrained_model_name_or_path": "base.safetensors",
    "train_data_dir": "pictures",
    "output_name": "my cat",
    "resolution": "512,512",
    "train_batch_size": 2,
    "max_train_steps": 1000,
    "network_module": "networks.lora",
    "network_dim": 16,
    "network_alpha": 8,
    "learning_rate": 1e-4,
    "unet_lr": 2e-4,
    "text_encoder_lr": [5e-5],
    "optimizer_type": "AdamW8bit",
    "optimizer_args": ["weight_decay=0.1", "betas=0.9,0.99"],
    "lr_scheduler": "cosine_with_restarts",
    "lr_scheduler_num_cycles": 3,
    "lr_scheduler_power": 2,
    "lr_warmup_steps": 0.1,
    "min_snr_gamma": 5,
    "noise_offset": 0.05,
    "loss_type": "huber",
    "huber_c": 0.2,
    "huber_schedule": "exponential",
    "max_timestep": 900,
    "mixed_precision": "bf16",
    "save_precision": "float",
    "max_grad_norm": 0,
    "shuffle_caption": True,
    "keep_tokens": 1,
    "bucket_no_upscale": True,
    "enable_bucket": True,
    "v_parameterization": True,
    "xformers": True,
    "cache_latents": True,
    "clip_skip": 1,
    "scale_weight_norms": 0,
    "seed": 7,
}
OURS = {
    "base": "base.safetensors",
    "images": "pictures",
    "name": "my cat",
    "resolution": 512,
    "batch_size": 2,
    "steps": 1000,
    "rank": 16,
    "alpha": 8.0,
    "targets": ["attention", "feed_forward", "text_attention", "text_mlp"],
    "learning_rate": 2e-4,
    "text_encoder_learning_rate": 5e-5,
    "optimiser": "adamw8bit",
    "optimiser_args": {"betas": [0.9, 0.99]},
    "weight_decay": 0.1,
    "schedule": "cosine_with_restarts",
    "schedule_args": {"num_cycles": 3},
    "warmup": 100,
    "min_snr_gamma": 5.0,
    "offset_noise": 0.05,
    "loss": "huber",
    "huber_delta": 0.2,
    "huber_schedule": "exponential",
    "timestep_max": 900,
    "precision": "bf16",
    "save_dtype": "fp32",
    "max_grad_norm": 1e9,
    "shuffle_tags": True,
    "keep_tags": 1,
    "upscale": False,
    "buckets": True,
    "prediction_type": "v_prediction",
    "seed": 7,
}


@pytest.mark.parametrize("name", ["theirs.toml", "theirs.json"])
def test_a_whole_training(imported, name):
    found = imported(TRAINING, name)
    assert found.left_out == []
    assert {key: found.settings.get(key) for key in OURS} == OURS
    assert TrainConfig(**tomllib.loads(found.toml())).optimiser == "adamw8bit"


def test_sections_mean_nothing(imported):
    flat = imported(TRAINING)
    assert imported({"model": dict(list(TRAINING.items())[:5]), "rest": dict(list(TRAINING.items())[5:])}) == flat


def test_what_they_take_for_granted_is_written_down(imported):
    found = imported({"train_data_dir": "pictures", "learning_rate": 1e-3}).settings
    assert (found["rank"], found["alpha"], found["batch_size"], found["steps"]) == (4, 1.0, 1, 1600)
    assert found["schedule"] == "constant" and found["warmup"] == 0 and found["name"] == "theirs"
    assert found["text_encoder_learning_rate"] == 1e-3


def test_epochs_win_over_steps_that_are_not_named(imported):
    found = imported({"train_data_dir": "pictures", "max_train_epochs": 10}).settings
    assert found["epochs"] == 10 and "steps" not in found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"multires_noise_iterations": 6}, "multires_noise_iterations = 6: there is nothing like it here"),
        ({"network_module": "networks.oft"}, "network_module = 'networks.oft': kind is one of lora, locon"),
        ({"network_module": "lycoris.kohya", "network_args": ["algo=boft"]}, "network_args = .*algo .lora, loha, lokr"),
        ({"optimizer_type": "DAdaptation"}, "optimizer_type = 'DAdaptation': optimiser is one of adamw"),
        ({"lr_scheduler": "adafactor"}, "lr_scheduler = 'adafactor': schedule is one of"),
        ({"resolution": "512,768"}, "resolution = '512,768': resolution is the side of a square"),
        ({"text_encoder_lr": [1e-5, 2e-5]}, "both text encoders have the rate of the first"),
        ({"network_args": ["conv_dim=8", "conv_alpha=4"]}, "network_args = .*conv_dim and conv_alpha as the others"),
        ({"loss_type": "l1"}, "loss_type = 'l1': loss is one of l2, huber, smooth_l1"),
        ({"clip_skip": 2}, "clip_skip = 2"),
        ({"caption_extension": ".cap"}, "caption_extension = '.cap': captions are in .txt and .caption files"),
        ({"optimizer_type": "Adafactor", "optimizer_args": ["relative_step=True"]}, "without relative_step"),
    ],
)
def test_what_has_no_like_is_named_and_why(imported, changes, says):
    found = imported(TRAINING | changes)
    assert len(found.left_out) == 1
    assert re.search(says, found.left_out[0])


def test_regularisation_images_are_class_images(imported):
    found = imported(TRAINING | {"reg_data_dir": "reg"})
    assert found.left_out == [] and found.settings["class_images"] == "reg"
    assert found.settings["prior_preservation"] == 1.0
    weighed = imported(TRAINING | {"reg_data_dir": "reg", "prior_loss_weight": 0.5})
    assert weighed.settings["prior_preservation"] == 0.5
    assert imported(TRAINING | {"prior_loss_weight": 0.5}).settings["prior_preservation"] == 0.0


def test_base_weights_are_merged_with_their_multipliers(imported):
    theirs = {"base_weights": ["ink.safetensors", "clay.safetensors"], "base_weights_multiplier": [0.5]}
    found = imported(TRAINING | theirs)
    assert found.left_out == [] and found.settings["merged"] == ["ink.safetensors:0.5", "clay.safetensors:1"]


def test_what_is_switched_off_is_not_worth_a_word(imported):
    off = {"multires_noise_iterations": 0, "ip_noise_gamma": None, "weighted_captions": False, "vae": "", "bits": []}
    assert imported(TRAINING | off, "theirs.json").left_out == []


def test_adafactor_as_it_is_here_needs_no_word(imported):
    args = ["scale_parameter=False", "relative_step=False", "warmup_init=False"]
    found = imported(TRAINING | {"optimizer_type": "AdaFactor", "optimizer_args": args})
    assert found.left_out == [] and found.settings["optimiser"] == "adafactor"


def test_prompts_and_trackers(imported):
    found = imported(TRAINING | {"sample_prompts": "prompts.txt", "log_with": "wandb"})
    assert found.left_out == [] and found.settings["sample_prompts"] == "prompts.txt"
    assert found.settings["trackers"] == ["wandb"]
    (said,) = imported(TRAINING | {"sample_prompts": "prompts.toml"}).left_out
    assert said == "sample_prompts = 'prompts.toml': a text file is read, with one prompt a line"


def test_convolutions_of_the_same_rank(imported):
    found = imported(TRAINING | {"network_args": ["conv_dim=16", "conv_alpha=8"]})
    assert found.left_out == [] and "convolutions" in found.settings["targets"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], {"kind": "locon", "targets": ["attention", "feed_forward", "convolutions", "text_attention", "text_mlp"]}),
        (["algo=loha", "preset=attn-only"], {"kind": "loha", "targets": ["attention", "text_attention"]}),
        (["algo=lokr", "factor=4", "conv_dim=16"], {"kind": "lokr", "lokr_factor": 4}),
        (["algo=lora", "dora_wd=True", "loraplus_lr_ratio=16"], {"kind": "dora", "lora_plus": 16.0}),
    ],
)
def test_what_lycoris_trains(imported, arguments, says):
    found = imported({"network_args": arguments, **TRAINING, "network_module": "lycoris.kohya"})
    assert found.left_out == [] and says.items() <= found.settings.items()


DATASET = {
    "general": {"shuffle_caption": True, "keep_tokens": 1, "caption_extension": ".txt"},
    "datasets": [
        {
            "resolution": 768,
            "batch_size": 4,
            "keep_tokens": 2,
            "subsets": [
                {"image_dir": "cats", "num_repeats": 10, "flip_aug": True},
                {"image_dir": "reg", "is_reg": True},
            ],
        }
    ],
}


@pytest.mark.parametrize("beside", [True, False])
def test_a_dataset_config(imported, tmp_path, beside):
    """Named by a training's config, whose settings it overrides, or alone."""
    (tmp_path / "set.toml").write_text(tomlkit.dumps(DATASET), encoding="utf-8")
    found = imported(TRAINING | {"dataset_config": "set.toml"}) if beside else import_kohya(tmp_path / "set.toml")
    expected = {
        "images": "cats",
        "resolution": 768,
        "batch_size": 4,
        "keep_tags": 2,
        "shuffle_tags": True,
        "flip": True,
    }
    assert {key: found.settings[key] for key in expected} == expected
    assert ("rank" in found.settings) == beside
    said = "\n".join(found.left_out)
    assert "num_repeats = 10: name the folder REPEATS_NAME" in said
    assert "datasets[0].subsets[1].image_dir = 'reg'" in said and "is_reg" in said
    assert len(found.left_out) == 3


def test_no_folder_is_said(imported):
    found = imported({"learning_rate": 1e-4})
    assert "images" not in found.settings and "no folder of images" in found.left_out[-1]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", "x = = 1", "not valid TOML"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[]", "holds no settings"),
        ("a.toml", "colour = 'red'", "no setting of sd-scripts"),
    ],
)
def test_files_that_are_none(tmp_path, name, text, says):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(Error, match=says):
        import_kohya(tmp_path / name)
    with pytest.raises(Error, match="There is no config file"):
        import_kohya(tmp_path / "none.json")


def test_the_tables_name_settings_that_there_are():
    assert set(SAME.values()) | {ours for ours, _ in WORDS.values()} <= set(TrainConfig.model_fields)
    assert not NEEDLESS & (set(SAME) | set(WORDS))
