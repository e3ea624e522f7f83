"""What `auto` becomes: explicit settings win over the preset, the preset over what is computed."""

from dataclasses import replace

import pytest
import torch

from sdlora.errors import Error
from sdlora.training.config import ResolvedConfig, TrainConfig
from sdlora.training.defaults import resolve, with_sample_facts
from sdlora.training.lengths import arithmetic
from sdlora.training.material import gather
from sdlora.training.without_effect import without_effect

CPU = torch.device("cpu")


@pytest.fixture
def resolved(mini, small, tmp_path):
    """Resolve the small settings with some left out or changed: (the config, {key: reason})."""

    def make(*left_out, processes=1, **changes):
        values = {**small(tmp_path).model_dump(exclude_unset=True), **changes}
        config = TrainConfig(**{key: value for key, value in values.items() if key not in left_out})
        result, choices = resolve(config, mini, gather(config), CPU, processes)
        return result, {choice.key: choice.reason for choice in choices}

    return make


@pytest.fixture
def preset(tmp_path):
    def write(text):
        path = tmp_path / "own.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_nothing_is_left_to_choose_and_every_choice_has_a_reason(mini, images):
    config = TrainConfig(name="disc", images=images)
    result, choices = resolve(config, mini, gather(config), CPU, 1)
    assert isinstance(result, ResolvedConfig)
    assert [choice.key for choice in choices if not choice.reason] == []
    still_auto = [key for key in TrainConfig.model_fields if getattr(result, key) == "auto"]
    limits = {"memory", "time_budget"}  # which are no choices
    assert set(still_auto) == limits
    chosen = {key for key in TrainConfig.model_fields if getattr(config, key) == "auto"}
    assert chosen - limits <= {choice.key for choice in choices}


def test_explicit_wins_over_the_preset_and_that_over_the_rest(resolved, preset):
    path = preset("rank = 7\nalpha = 3.5\nflip = true\ncaption_dropout = 0.25\n")
    result, reasons = resolved("alpha", preset=path)
    assert result.rank == 4 and "rank" not in reasons
    assert result.alpha == 3.5 and result.caption_dropout == 0.25 and "own.toml" in reasons["alpha"]


def test_auto_in_a_preset_is_chosen_and_text_is_read(resolved, preset):
    result, _ = resolved("rank", "batch_size", "targets", preset=preset('rank = "auto"\nbatch_size = "2"\n'))
    assert isinstance(result.rank, int) and result.batch_size == 2


@pytest.mark.parametrize(
    ("text", "says"), [("rnak = 4", "'rnak'.*'rank'"), ("rank = 0", "rank = 0"), ("rank =", "TOML")]
)
def test_a_bad_preset_is_a_sentence_with_its_file(resolved, preset, text, says):
    with pytest.raises(Error, match=rf"own\.toml.*{says}"):
        resolved(preset=preset(text))


def test_an_unknown_preset_is_told_what_there_is(resolved):
    with pytest.raises(Error, match="no preset 'styl' for mini: choose auto or character or quality or style"):
        resolved(preset="styl")


def test_epochs_become_steps(resolved):
    result, reasons = resolved("steps", epochs=2.5, gradient_accumulation=2)
    assert result.steps == 4  # 2.5 × 6 images ÷ (2 × 2)
    assert "2.5 epochs × 6 images ÷ 4" in reasons["steps"]
    assert resolved("steps", epochs=2.5, processes=3)[0].steps == 3
    assert resolved("steps", epochs=0.01)[0].steps == 1


def test_epochs_win_over_the_preset_s_steps(resolved):
    assert resolved("steps", "preset", epochs=1)[0].steps == 3


def test_steps_and_epochs_together_are_refused(resolved):
    with pytest.raises(Error, match="steps = 3 and epochs = 2 are both given"):
        resolved(epochs=2)


def test_intervals_follow_the_steps(resolved):
    result, _ = resolved("checkpoint_every", "warmup", steps=200)
    assert (result.checkpoint_every, result.validate_every, result.sample_every, result.warmup) == (50, 50, 50, 10)


def test_sample_prompts_are_captions_and_an_empty_list_stays_empty(resolved):
    assert resolved("sample_prompts")[0].sample_prompts == ["yellow disc", "brown disc"][:2] or set(
        resolved("sample_prompts")[0].sample_prompts
    ) <= {f"{c} disc" for c in ("red", "green", "blue", "orange", "purple", "black")}
    assert resolved()[0].sample_prompts == []


def test_a_size_that_the_unet_can_t_halve_is_refused(resolved):
    with pytest.raises(Error, match="resolution = 100 can't be used: give a multiple of 64"):
        resolved(resolution=100)


def test_fp16_needs_a_gpu(resolved):
    with pytest.raises(Error, match="precision = fp16 needs a CUDA GPU, and this is cpu: use fp32 or bf16"):
        resolved("attention", precision="fp16")


def test_the_arithmetic_is_right(resolved):
    result, _ = resolved(gradient_accumulation=3, steps=10)
    line = arithmetic(result, images=6, repeats=12, processes=2)
    assert line == (
        "6 images (12 with repeats), batch 2 × accumulation 3 × 2 processes = 12 a step; "
        "10 steps × 12 = 120 examples = 10.0 epochs"
    )


def test_rank_stabilised_scale_is_what_a_file_s_alpha_says(resolved):
    plain, stabilised = resolved(rank=16, alpha=8.0)[0], resolved(rank=16, alpha=8.0, rank_stabilised=True)[0]
    assert plain.effective_alpha / 16 == 8 / 16 and stabilised.effective_alpha / 16 == 8 / 16**0.5


def test_sample_facts_fill_in_trigger_and_preset():
    config = TrainConfig(name="x", images="sample:blob")
    known = with_sample_facts(config)
    assert known.trigger and known.preset == "character"
    assert (
        with_sample_facts(TrainConfig(name="x", images="sample:blob", trigger="mine", preset="style")).trigger == "mine"
    )


@pytest.mark.parametrize("rates", ["learning_rate = 5e-4\ntext_encoder_learning_rate = 1e-4\n", ""])
def test_lion_s_rates_are_a_fifth_of_adamw_s(resolved, preset, rates):
    left_out = ("learning_rate", "text_encoder_learning_rate", "weight_decay")
    adamw, _ = resolved(*left_out, preset=preset(rates))
    lion, reasons = resolved(*left_out, preset=preset(rates), optimiser="lion")
    assert lion.learning_rate == pytest.approx(adamw.learning_rate / 5)
    assert lion.text_encoder_learning_rate == pytest.approx(adamw.text_encoder_learning_rate / 5)
    assert lion.learning_rate * lion.weight_decay == pytest.approx(adamw.learning_rate * adamw.weight_decay)
    assert "AdamW" in reasons["learning_rate"]


def test_prodigy_finds_its_rate_itself(resolved):
    pytest.importorskip("prodigyopt")
    left_out = ("learning_rate", "text_encoder_learning_rate", "schedule", "warmup")
    result, reasons = resolved(*left_out, optimiser="prodigy", steps=200)
    assert result.learning_rate == result.text_encoder_learning_rate == 1.0
    assert result.schedule == "constant" and result.warmup == 0
    assert "prodigy" in reasons["learning_rate"] and "prodigy" in reasons["schedule"]
    changes = {"learning_rate": 0.5, "schedule": "cosine"}
    given, _ = resolved("text_encoder_learning_rate", "warmup", optimiser="prodigy", **changes)
    assert given.text_encoder_learning_rate == 0.5 and given.schedule == "cosine"


def test_what_a_prodigy_preset_leaves_untrained_stays_so(resolved, preset):
    pytest.importorskip("prodigyopt")
    left_out = ("text_encoder_learning_rate", "schedule", "warmup")
    text = 'optimiser = "prodigy"\nlearning_rate = 1.0\ntext_encoder_learning_rate = '
    assert resolved(*left_out, preset=preset(f"{text}0.0"), learning_rate=0.5)[0].text_encoder_learning_rate == 0
    assert resolved(*left_out, preset=preset(f"{text}1.0"), learning_rate=0.5)[0].text_encoder_learning_rate == 0.5


def test_schedule_free_has_a_constant_rate_after_the_warm_up(resolved):
    pytest.importorskip("schedulefree")
    result, reasons = resolved("schedule", "warmup", optimiser="schedule-free", steps=200)
    assert result.schedule == "constant" and result.warmup == 10 and "averages" in reasons["schedule"]


def test_a_preset_with_another_optimiser_keeps_its_rates(resolved, preset):
    path = preset('optimiser = "lion"\nlearning_rate = 3e-5\n')
    result, _ = resolved("learning_rate", "text_encoder_learning_rate", preset=path)
    assert result.optimiser == "lion" and result.learning_rate == 3e-5
    assert result.text_encoder_learning_rate == pytest.approx(1e-5), "a fifth of what is usual"


@pytest.mark.parametrize(
    ("text", "rate"), [('optimiser = "lion"\nlearning_rate = 3e-5\n', 15e-5), ('optimiser = "prodigy"', 1e-4)]
)
def test_a_preset_s_rates_for_another_optimiser_are_not_adamw_s(resolved, preset, text, rate):
    result, _ = resolved("learning_rate", "text_encoder_learning_rate", preset=preset(text), optimiser="adamw")
    assert result.learning_rate == pytest.approx(rate) and result.text_encoder_learning_rate == pytest.approx(5e-5)


def test_an_optimiser_that_is_not_there_is_told_before_a_run_begins(resolved):
    with pytest.raises(Error, match="did you mean adamw"):
        resolved(optimiser="adam")


def test_a_schedule_of_rules_has_no_warm_up(resolved):
    rules = {"step_rules": "1:10,0.1"}
    result, _ = resolved("warmup", schedule="piecewise_constant", schedule_args=rules, steps=200)
    assert result.warmup == 0


def test_a_run_s_own_settings_can_be_trained_again(resolved, preset):
    """Its config.toml names all of them, also what is as usual and what has become something else."""
    ways = ({"kind": "full"}, {"kind": "bottleneck"}, {"kind": "lokr"}, {}, {"epochs": 2}, {"class_prompt": "a disc"})
    for changes in ways:
        left_out = {"rank", "alpha", *(["steps"] if "epochs" in changes else []), "prior_preservation"}
        first, _ = resolved(*left_out, **changes)
        values = first.model_dump(exclude_none=True)
        assert resolved(**values)[0] == first, changes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adaptive_rank": True, "targets": ["tokens"], "trigger": "wug"}, "adaptive_rank is for layers"),
        ({"start": "pissa", "targets": ["tokens"], "trigger": "wug"}, "start = pissa is for layers"),
        ({"timestep_min": 1000}, "timestep_min = 1000 leaves nothing: this base has timesteps up to 999"),
    ],
)
def test_what_leaves_nothing_to_do_is_refused(resolved, changes, says):
    with pytest.raises(Error, match=says):
        resolved(**changes)


def test_an_optimiser_with_one_rate_takes_none_for_tokens(resolved):
    pytest.importorskip("prodigyopt")
    rates = ("learning_rate", "text_encoder_learning_rate", "schedule", "warmup")
    settings = {"optimiser": "prodigy", "targets": ["unet.mid_block", "tokens"], "trigger": "wug"}
    assert resolved(*rates, **settings)[0].token_learning_rate == 1.0
    with pytest.raises(Error, match="one learning rate for all: leave those of text encoder and tokens out"):
        resolved(*rates, **settings, token_learning_rate=1e-3)


def test_words_have_no_spaces_around_them(resolved):
    result, _ = resolved(targets=["tokens"], trigger=" wug ", token_start=" ")
    assert result.trigger == "wug" and result.token_start is None


@pytest.mark.parametrize(
    ("text", "kind", "rate"),
    [
        ('kind = "full"', None, 1e-5),
        ('kind = "full"\nlearning_rate = 2e-5', None, 2e-5),
        ('kind = "full"\nlearning_rate = 2e-5', "lora", 2e-4),
        ('optimiser = "lion"\nlearning_rate = 2e-5', "full", 2e-6),
        ('kind = "locon"', None, 1e-4),
        ('optimiser = "prodigy"\nlearning_rate = 1.0', "full", 1.0),
        ('optimiser = "prodigy"\nlearning_rate = 0.5', None, 0.5),
    ],
)
def test_rates_are_those_of_the_kind_that_is_trained(resolved, preset, text, kind, rate):
    if "prodigy" in text:
        pytest.importorskip("prodigyopt")
    left_out = ("learning_rate", "text_encoder_learning_rate", "rank", "alpha", "targets")
    result, _ = resolved(*left_out, preset=preset(text), **({"kind": kind} if kind else {}))
    assert result.learning_rate == pytest.approx(rate)
    assert ("convolutions" in result.targets) == (result.kind == "locon")


def test_another_way_to_weigh_the_loss_takes_the_preset_s_place(resolved, preset):
    path = preset("min_snr_gamma = 5.0")
    assert resolved(preset=path)[0].min_snr_gamma == 5
    assert resolved(preset=path, debiased=True)[0].min_snr_gamma is None


def test_what_has_no_effect_is_named(resolved, mini, small, tmp_path):
    result, _ = resolved(targets=["unet.mid_block"], patience=2)
    material = gather(small(tmp_path))
    asked = {"text_encoder_learning_rate", "token_learning_rate", "class_count", "patience", "rank"}
    material = replace(material, holdout=[])

    def named(config):
        return [sentence.split()[0] for sentence in without_effect(config, asked, mini, material)]

    assert named(result) == ["text_encoder_learning_rate", "token_learning_rate", "class_count", "patience"]
    assert "rank" in named(result.model_copy(update={"kind": "full"}))
    alone = result.model_copy(update={"targets": ["tokens"]})
    assert named(alone) == ["text_encoder_learning_rate", "class_count", "patience"], "a token is no layer"
    every, _ = resolved(
        targets=["text_attention", "tokens"], trigger="wug", class_prompt="a disc", prior_preservation=1
    )
    assert not without_effect(every, asked, mini, gather(small(tmp_path)))


def test_more_resolutions_are_counted(resolved):
    result, _ = resolved("steps", epochs=3, more_resolutions=[128])
    assert arithmetic(result, images=6, repeats=6, processes=1).endswith("= 3.0 epochs")
