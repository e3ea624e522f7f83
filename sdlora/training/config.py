"""`TrainConfig`: the one schema behind the TOML files, the command line, the UI's form and the docs."""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import Error
from .config_values import (
    TARGETS,
    Auto,
    Bits,
    Duration,
    Kind,
    Listed,
    Memory,
    Name,
    Place,
    Positive,
    Prompts,
    Ranks,
    Rate,
    Rates,
    Scale,
    Schedule,
    Share,
    Table,
    Weights,
    Words,
)


class TrainConfig(BaseModel):
    """All settings of a training. `auto` is chosen by family, device and image count when the run starts.

    Raises `Error` for an unknown key (naming the nearest) and for a value that can't be.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    name: Name = Field(description="name of the adapter: its file, its run folder, its tag in prompts")
    images: Place = Field(description="folder of training images with captions, or sample:NAME")
    base: Place = Field("mini", description="mini, a hub id, a diffusers folder or a checkpoint file")
    preset: Place = Field(
        "style", description="style, character, quality, low-memory (SDXL), auto (short trials choose), or a TOML file"
    )
    time_budget: Duration = Field(
        "auto", description="with preset auto: how long all may take, as 90s, 20min or 2h; auto: twice the usual steps"
    )
    trigger: Words = Field(None, description="words that call the adapter up; put in front of captions without them")
    holdout: Place | None = Field(
        None, description="folder of held-out images; unset: a `holdout` folder beside the images, else 10 % of them"
    )
    holdout_images: Positive = Field(32, description="measure at most so many held-out images: each takes 40 forwards")
    workspace: Place = Field("workspace", description="folder for runs, adapters and outputs")
    seed: int = Field(0, ge=0, description="all randomness follows from it")

    steps: Positive | Auto = Field("auto", description="optimiser steps")
    epochs: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="passes over the images, instead of steps"
    )
    batch_size: Positive | Auto = Field("auto", description="images per forward pass and process")
    gradient_accumulation: Positive = Field(1, description="forward passes per optimiser step")
    resolution: Positive | Auto = Field("auto", description="side of the training images in pixels")
    more_resolutions: list[Positive] = Field([], description="train each image at these sides as well")
    buckets: bool = Field(True, description="sizes by the images' shapes, of equal area; off: all are cut square")
    bucket_step: Positive | Auto = Field("auto", description="sides of buckets are multiples of it, in pixels")
    bucket_min: Positive | Auto = Field("auto", description="shortest side of a bucket")
    bucket_max: Positive | Auto = Field("auto", description="longest side of a bucket")
    upscale: bool = Field(True, description="enlarge small images; off: they get a smaller bucket")
    crops: Positive = Field(1, description="views of each image: the middle, and random crops beside it")
    crop_min: float = Field(0.8, gt=0, le=1, description="random crops have at least this share of an image's sides")
    flip: bool | Auto = Field("auto", description="mirror half of the images")
    masked: bool = Field(False, description="train on what masks leave: NAME-mask.png beside the image, or its alpha")
    cache: Literal["disk", "memory"] = Field("disk", description="where encoded images are kept; disk: for later runs")

    caption_prefix: str = Field("", description="put before every caption")
    caption_suffix: str = Field("", description="put after every caption")
    caption_lines: Literal["join", "choose"] = Field("join", description="several lines: one caption, or one of them")
    wildcards: bool = Field(False, description="{red|blue} in a caption is one of them, anew each time")
    shuffle_tags: bool = Field(False, description="what commas separate in another order each time")
    keep_tags: Annotated[int, Field(ge=0)] = Field(0, description="so many tags stay in front")
    tag_dropout: Share = Field(0.0, description="share of tags left out each time; never the trigger")
    caption_dropout: Share | Auto = Field("auto", description="share of examples trained without their caption")

    merged: Listed = Field(
        [],
        description="adapters that are merged into the base first, NAME_OR_FILE:WEIGHT (comma-separated): the new one "
        "learns on top of them, and is used together with them",
    )
    kind: Kind = Field(
        "lora",
        description="what is trained: lora; locon: in convolutions as well; dora: directions and lengths apart; loha, "
        "lokr: other small forms; full: every number of the targets, the largest file; bottleneck: "
        "small networks behind them, with which only sdlora draws",
    )
    targets: Listed | Auto = Field(
        "auto", description=f"what is adapted: {', '.join(TARGETS)}, or module-path prefixes (comma-separated)"
    )
    start: Literal["usual", "pissa", "orthogonal"] = Field(
        "usual",
        description="how updates begin: usual is at nothing; pissa (arXiv:2404.02948) at the strongest part of the "
        "base's own weights, orthogonal (arXiv:2406.01775) at another; then the file has twice the rank",
    )
    adaptive_rank: bool = Field(
        False, description="modules that matter more get higher ranks, `rank` on average (AdaLoRA, arXiv:2303.10512)"
    )
    rank: Positive | Auto = Field("auto", description="rank of the updates")
    alpha: Scale | Auto = Field("auto", description="updates are scaled by alpha / rank")
    block_ranks: Ranks = Field(
        {}, description="other ranks by block: MODULE-PATH=RANK, the longest wins, such as unet.up_blocks=32"
    )
    lokr_factor: Positive = Field(8, description="size of lokr's first factor, where it divides a layer; smaller: more")
    rank_stabilised: bool = Field(False, description="scale by alpha / sqrt(rank) instead (arXiv:2312.03732)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the input of the updates while training")

    token_vectors: Positive | Auto = Field(
        "auto", description="with the target tokens: so many learned vectors stand for the trigger in prompts"
    )
    token_start: Words = Field(
        None, description="with the target tokens: the word that the trigger begins as, such as dog; unset: as it is"
    )
    token_learning_rate: Rate | Auto = Field("auto", description="peak learning rate of learned tokens")

    prior_preservation: Rate | Auto = Field(
        "auto", description="weight of keeping what the trigger does not call up as the base draws it; 0: off"
    )
    class_prompt: str | None = Field(
        None,
        description="what your subject is one of (a photo of a dog): the base draws class images of it, and they are "
        "learned beside yours (DreamBooth); unset: the base's own answers are kept, which needs a trigger",
    )
    class_images: Place | None = Field(
        None, description="folder of class images; the base draws missing ones into it; unset: the workspace has one"
    )
    class_count: Positive = Field(100, description="so many class images")
    learning_rate: Rate | Auto = Field("auto", description="peak learning rate")
    text_encoder_learning_rate: Rate | Auto = Field("auto", description="peak learning rate of the text encoder")
    block_learning_rates: Rates = Field(
        {}, description="other learning rates by block: MODULE-PATH=RATE, the longest wins; 0 leaves it as it is"
    )
    lora_plus: Scale = Field(
        1.0, description="how many times faster the up matrices learn (LoRA+, arXiv:2402.12354); 16 is usual"
    )
    optimiser: str = Field(
        "adamw", description="adamw, adamw8bit, adafactor, lion, prodigy, schedule-free, or a class's dotted path"
    )
    optimiser_args: Table = Field({}, description="further arguments of the optimiser: KEY=VALUE, or a TOML table")
    schedule: Schedule | Auto = Field("auto", description="learning rate after the warm-up")
    schedule_args: Table = Field(
        {}, description="arguments of the schedule: num_cycles=3, power=2, step_rules=1:100,0.1, lr_end=1e-6, f_min=0.1"
    )
    warmup: Annotated[int, Field(ge=0)] | Auto = Field("auto", description="steps in which the learning rate rises")
    weight_decay: Rate | Auto = Field("auto", description="how fast weights shrink, as a share of the learning rate")
    max_grad_norm: Scale = Field(1.0, description="gradients are clipped to this norm")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average, which is saved; 0: off")

    loss: Literal["l2", "huber", "smooth_l1"] = Field("l2", description="how errors count; huber: outliers less")
    huber_delta: Scale = Field(0.1, description="errors beyond it count linearly (pseudo-Huber, arXiv:2403.16728)")
    huber_schedule: Literal["constant", "exponential", "snr"] = Field(
        "snr", description="delta over the timesteps: the same, or from 1 at little noise down to huber_delta"
    )
    min_snr_gamma: Scale | None = Field(None, description="min-SNR weighting (arXiv:2303.09556); 5 is usual")
    debiased: bool = Field(False, description="weight the loss by 1 / sqrt(SNR) (arXiv:2310.08442)")
    offset_noise: Rate = Field(0.0, description="share of noise that shifts a whole image; 0.05 learns brightness")
    timestep_min: Annotated[int, Field(ge=0)] = Field(0, description="train from this timestep on; 0 is no noise")
    timestep_max: Positive | None = Field(None, description="train below this timestep; unset: all, usually 1000")
    timestep_distribution: Literal["uniform", "logit_normal", "low", "high"] = Field(
        "uniform", description="which timesteps are trained more; logit_normal: the middle (arXiv:2403.03206)"
    )
    logit_mean: Annotated[float, Field(allow_inf_nan=False)] = Field(
        0.0, description="of logit_normal; above 0: more noise"
    )
    logit_std: Scale = Field(1.0, description="of logit_normal; larger: flatter")
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(
        None, description="what the base predicts, where it is not found out by itself"
    )
    zero_terminal_snr: bool | None = Field(
        None,
        description="train up to noise alone, which very dark and bright pictures need (arXiv:2305.08891); unset: as "
        "the base says; only for bases that predict v",
    )

    device: str = Field("auto", description="cuda, cuda:1, mps or cpu; auto takes the first there is")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="of the frozen base")
    attention: Literal["auto", "sdpa", "plain"] = Field("auto", description="attention kernel; auto measures")
    memory: Memory = Field(
        "auto", description="what training may take: auto is what is free, or a size as 6GB; off: nothing is measured"
    )
    vae_tiles: bool | Auto = Field(
        "auto", description="encode and decode large pictures tile by tile: less memory, slightly other pixels"
    )
    gradient_checkpointing: bool | Auto = Field("auto", description="less memory for about a third more time")
    quantised: Bits | Auto = Field(
        "auto", description="the frozen UNet's linear layers in 8 or 4 bits (QLoRA): less memory, slower"
    )
    compile: bool = Field(False, description="torch.compile the transformer blocks: minutes once, then faster steps")

    checkpoint_every: Positive | Auto = Field("auto", description="steps between checkpoints")
    keep_checkpoints: Positive = Field(3, description="newest checkpoints to keep; older ones are removed")
    validate_every: Positive | Auto = Field("auto", description="steps between measurements of the held-out loss")
    choose: Literal["best", "last"] = Field("best", description="which step the adapter is of, by the held-out loss")
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="stop when so many measurements in a row were no better than the best; 0: never"
    )
    sample_every: Positive | Auto = Field("auto", description="steps between sample images")
    sample_prompts: Prompts = Field(
        "auto", description="prompts of the sample images, or a .txt file with one a line; an empty list draws none"
    )
    sample_weights: Weights = Field([1.0], description="the adapter's weights in sample images; the base's come first")
    save_dtype: Literal["fp16", "bf16", "fp32"] = Field("fp16", description="of the adapter file")
    trackers: Listed = Field([], description="who is told of losses and samples as well: tensorboard, wandb, trackio")

    def __init__(self, **values: Any) -> None:
        unknown = [key for key in values if key not in type(self).model_fields]
        if unknown:
            raise Error(f"There is no setting {unknown[0]!r}: did you mean {_nearest(unknown[0])!r}?")
        try:
            super().__init__(**values)
        except ValidationError as problem:
            raise Error(_sentence(problem)) from None

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> "TrainConfig":
        """The settings of a TOML file, with `overrides` winning. Raises `Error` naming the file and the key."""
        values = read_toml(Path(path)) | overrides
        try:
            return cls(**values)
        except Error as problem:
            raise Error(f"{path}: {problem}") from None

    def toml(self) -> str:
        """The settings as a TOML file; what is unset is left out."""
        return tomlkit.dumps({k: v for k, v in self.model_dump().items() if v is not None})

    def asked_toml(self) -> str:
        """Only what was given, so that a preset decides on all else."""
        return tomlkit.dumps({k: v for k, v in self.model_dump(exclude_unset=True).items() if v is not None})


class ResolvedConfig(TrainConfig):
    """A config with nothing left to choose: what a run's `config.toml` holds and a resume uses again."""

    steps: Positive
    batch_size: Positive
    resolution: Positive
    bucket_step: Positive
    bucket_min: Positive
    bucket_max: Positive
    flip: bool
    caption_dropout: Share
    targets: Listed
    rank: Positive
    alpha: Scale
    token_vectors: Positive = 1
    token_learning_rate: Rate = 0.0
    prior_preservation: Rate
    learning_rate: Rate
    text_encoder_learning_rate: Rate
    schedule: Schedule
    warmup: int
    weight_decay: Rate
    precision: Literal["fp32", "bf16", "fp16"]
    attention: Literal["sdpa", "plain"]
    vae_tiles: bool = False
    gradient_checkpointing: bool
    quantised: Bits = "off"
    checkpoint_every: Positive
    validate_every: Positive
    sample_every: Positive
    sample_prompts: Prompts

    @property
    def effective_alpha(self) -> float:
        """Alpha as files mean it (scale = alpha / rank), also when training scales by alpha / sqrt(rank)."""
        return self.alpha * self.rank**0.5 if self.rank_stabilised else self.alpha


def _nearest(key: str) -> str:
    """The setting that somebody may have meant: one of the words that were written, else what is written alike."""
    parts = [part for part in key.replace("-", "_").split("_") if part in TrainConfig.model_fields]
    return parts[0] if parts else get_close_matches(key, TrainConfig.model_fields, n=1, cutoff=0.0)[0]


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's keys. Raises `Error` with the file and the line of what can't be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Error(f"There is no config file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise Error(f"{path} is not valid TOML: {problem}") from None


def _sentence(problem: ValidationError) -> str:
    first = problem.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else "config"
    if first["type"] == "missing":
        return f"The setting {key!r} is missing: give it as {key} = … or --{key.replace('_', '-')}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"The setting {key} = {first['input']!r} can't be used: {reason[0].lower()}{reason[1:]}"
