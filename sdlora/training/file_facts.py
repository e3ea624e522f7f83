"""What a trained adapter's file says of its training."""

from pathlib import Path

from ..adapters.formats.metadata import TrainingFacts, describe
from ..bases import Base
from ..version import VERSION
from .config import ResolvedConfig
from .material import Material
from .merged import described
from .optimiser import kind_of
from .run_folder import RunFolder


def file_metadata(
    config: ResolvedConfig, base: Base, material: Material, run: RunFolder, steps: int, examples: int
) -> dict[str, str]:
    """Metadata entries. Folders and the base go in by their last name only: paths and user names stay here."""
    rank, alpha = _rank_and_alpha(config)
    facts = TrainingFacts(
        name=run.name,
        family=base.family,
        prediction_type=base.prediction_type,
        base_name=Path(base.path).name,
        base_hash=base.model_hash,
        resolution=config.resolution,
        rank=rank,
        alpha=alpha,
        targets=config.targets,
        steps=steps,
        epochs=examples / (material.repeated * (1 + len(config.more_resolutions))),
        seed=config.seed,
        batch_size=config.batch_size,
        gradient_accumulation=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        text_encoder_learning_rate=config.text_encoder_learning_rate,
        optimizer=kind_of(config.optimiser).place,
        schedule=config.schedule,
        precision=config.precision,
        started_at=run.started,
        trigger=config.trigger,
        version=VERSION,
        kind=config.kind,
        more_args=_kind_s_args(config),
        zero_terminal_snr=bool(base.scheduler_config.get("rescale_betas_zero_snr")),
        merged=described(config.merged),
        folders=material.folders(),
        tags=material.tags(),
    )
    return describe(facts)


def _rank_and_alpha(config: ResolvedConfig) -> tuple[int | str | None, float | str | None]:
    """Of the file's updates; None where they have none, and what sd-scripts write where each has its own."""
    if config.kind == "full" or config.targets == ["tokens"]:
        return None, None
    if config.kind == "bottleneck":
        return config.rank, None
    if config.adaptive_rank:
        return "Dynamic", "Dynamic"
    times = 1 if config.start == "usual" else 2
    return times * config.rank, times * config.effective_alpha


def _kind_s_args(config: ResolvedConfig) -> dict[str, object]:
    """What the trainings of sd-scripts and LyCORIS are told beside the rank, by their names."""
    conv = config.kind != "full" and "convolutions" in config.targets
    rank, alpha = _rank_and_alpha(config)
    args: dict[str, object] = {"conv_dim": rank, "conv_alpha": alpha} if conv else {}
    args |= {"factor": config.lokr_factor} if config.kind == "lokr" else {}
    return args | ({"block_ranks": config.block_ranks} if config.block_ranks else {})
