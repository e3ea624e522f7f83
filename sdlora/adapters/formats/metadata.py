"""What an adapter file says about itself: the `ss_*` entries that Kohya's tools read and ModelSpec 1.0.1.

ModelSpec: https://github.com/Stability-AI/ModelSpec. All values are strings. Absolute paths and user names stay out.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from torch import Tensor

from .container import tensor_bytes_hash

BASE_VERSION = {
    ("sd1", "epsilon"): ("sd_v1", "stable-diffusion-v1/lora"),
    ("sd1", "v_prediction"): ("sd_v1", "stable-diffusion-v1/lora"),
    ("sd2", "epsilon"): ("sd_v2", "stable-diffusion-v2-512/lora"),
    ("sd2", "v_prediction"): ("sd_v2_v", "stable-diffusion-v2-768-v/lora"),
    ("sdxl", "epsilon"): ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
    ("sdxl", "v_prediction"): ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
}
# Kind → how LyCORIS' trainings tell of it; the other kinds are sd-scripts' own.
LYCORIS = {
    "dora": {"algo": "lora", "dora_wd": "True"},
    "loha": {"algo": "loha"},
    "lokr": {"algo": "lokr"},
    "full": {"algo": "full"},
}
# What a file that was read said of its own bytes, which are no longer these.
OUTDATED_HASHES = ("sshs_legacy_hash", "modelspec.hash_sha256")
# What a private file still says: how it was trained and how it is used. All else could name files, people or captions.
_PUBLIC_SS = """base_model_version v2 network_module network_dim network_alpha clip_skip new_sd_model_hash sd_model_hash
new_vae_hash vae_hash learning_rate unet_lr text_encoder_lr steps max_train_steps epoch num_epochs optimizer
lr_scheduler lr_warmup_steps mixed_precision full_fp16 seed batch_size_per_device total_batch_size
gradient_accumulation_steps gradient_checkpointing noise_offset min_snr_gamma zero_terminal_snr
prior_loss_weight cache_latents lowram max_grad_norm keep_tokens max_token_length scale_weight_norms
network_dropout training_started_at training_finished_at sd_scripts_commit_hash"""
_PUBLIC_MODELSPEC = """sai_model_spec architecture implementation title description author date license usage_hint
thumbnail trigger_phrase prediction_type resolution timestep_range encoder_layer"""
PUBLIC = frozenset(
    ["format", "sdlora_version"]
    + [f"ss_{key}" for key in _PUBLIC_SS.split()]
    + [f"modelspec.{key}" for key in _PUBLIC_MODELSPEC.split()]
)


@dataclass(frozen=True)
class TrainingFacts:
    """What a training knows and a file should say."""

    name: str
    family: str
    prediction_type: str
    base_name: str
    base_hash: str
    resolution: int
    rank: int | str | None  # None where the kind has none, `Dynamic` where each module has its own
    alpha: float | str | None
    targets: list[str]
    steps: int
    epochs: float
    seed: int
    batch_size: int
    gradient_accumulation: int
    learning_rate: float
    text_encoder_learning_rate: float
    optimizer: str
    schedule: str
    precision: str
    started_at: float
    trigger: str | None
    version: str
    kind: str = "lora"
    more_args: dict[str, object] = field(default_factory=dict)  # of the kind
    zero_terminal_snr: bool = False
    merged: str = ""  # NAME:WEIGHT of what lay in the base while this was learned
    folders: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: (repeats, images)
    tags: dict[str, dict[str, int]] = field(default_factory=dict)  # folder name: {tag: count}

    @property
    def network_module(self) -> str | None:
        """What could have trained it, as sd-scripts call such modules; None where no layer was trained."""
        if self.targets == ["tokens"]:
            return None
        if self.kind == "bottleneck":
            return "sdlora.bottleneck"
        return "lycoris.kohya" if self.kind in LYCORIS else "networks.lora"


def describe(facts: TrainingFacts) -> dict[str, str]:
    """The metadata of a freshly trained adapter, hashes apart (they are made when the file is written)."""
    version, architecture = BASE_VERSION[facts.family, facts.prediction_type]
    started = datetime.fromtimestamp(facts.started_at, UTC)
    entries: dict[str, object] = {
        "ss_output_name": facts.name,
        "ss_base_model_version": version,
        "ss_v2": facts.family == "sd2",
        "ss_network_module": facts.network_module,
        "ss_network_dim": facts.rank,
        "ss_network_alpha": facts.alpha,
        "ss_network_args": {**LYCORIS.get(facts.kind, {}), **facts.more_args, "targets": facts.targets},
        "ss_sd_model_name": facts.base_name,
        "ss_new_sd_model_hash": facts.base_hash,
        "ss_training_started_at": facts.started_at,
        "ss_tag_frequency": facts.tags,
        "ss_dataset_dirs": {n: {"n_repeats": r, "img_count": c} for n, (r, c) in facts.folders.items()},
        "ss_num_train_images": sum(r * c for r, c in facts.folders.values()),
        "ss_resolution": f"({facts.resolution}, {facts.resolution})",
        "ss_learning_rate": facts.learning_rate,
        "ss_unet_lr": facts.learning_rate,
        "ss_text_encoder_lr": facts.text_encoder_learning_rate,
        "ss_steps": facts.steps,
        "ss_max_train_steps": facts.steps,
        "ss_epoch": round(facts.epochs, 2),
        "ss_seed": facts.seed,
        "ss_batch_size_per_device": facts.batch_size,
        "ss_gradient_accumulation_steps": facts.gradient_accumulation,
        "ss_optimizer": facts.optimizer,
        "ss_lr_scheduler": facts.schedule,
        "ss_mixed_precision": facts.precision,
        "ss_zero_terminal_snr": facts.zero_terminal_snr,
        "ss_clip_skip": None,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": "diffusers",
        "modelspec.title": facts.name,
        "modelspec.date": started.isoformat(timespec="seconds"),
        "modelspec.resolution": f"{facts.resolution}x{facts.resolution}",
        "modelspec.prediction_type": {"epsilon": "epsilon", "v_prediction": "v"}[facts.prediction_type],
        "sdlora_version": facts.version,
    }
    if facts.trigger:
        entries["modelspec.trigger_phrase"] = facts.trigger
    if facts.merged:
        entries["sdlora_trained_on_top_of"] = facts.merged
    return {key: _text(value) for key, value in entries.items()}


def without_private(metadata: dict[str, str]) -> dict[str, str]:
    """The metadata without file names, tags, captions and facts about the dataset.

    A title that is the file's name goes too; ModelSpec wants one, so it becomes `adapter`.
    """
    kept = {key: value for key, value in metadata.items() if key in PUBLIC}
    if kept.get("modelspec.title") and kept["modelspec.title"] == metadata.get("ss_output_name"):
        kept["modelspec.title"] = "adapter"
    return kept


def with_hashes(metadata: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, str]:
    """The metadata with the hash of exactly these tensors' bytes: `sshs_` for A1111 and Forge, and ModelSpec's."""
    digest = tensor_bytes_hash(tensors)
    kept = {key: value for key, value in metadata.items() if key not in OUTDATED_HASHES}
    hashes = {"format": "pt", "sshs_model_hash": digest}
    if "modelspec.sai_model_spec" in metadata:
        hashes["modelspec.hash_sha256"] = f"0x{digest}"
    return kept | hashes


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
