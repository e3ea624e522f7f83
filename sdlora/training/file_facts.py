"""What a trained adapter's file says of its training."""

from pathlib import Path

from ..adapters.formats.metadata import TrainingFacts, describe
from ..bases import Base
from ..version import VERSION
from .config import ResolvedConfig
from .material import Material
from .optimiser import kind_of
from .run_folder import RunFolder


def file_metadata(
    config: ResolvedConfig, base: Base, material: Material, run: RunFolder, steps: int, examples: int
) -> dict[str, str]:
    """Metadata entries. Folders and the base go in by their last name only: paths and user names stay here."""
    facts = TrainingFacts(
        name=run.name,
        family=base.family,
        prediction_type=base.prediction_type,
        base_name=Path(base.path).name,
        base_hash=base.model_hash,
        resolution=config.resolution,
        rank=config.rank,
        alpha=config.effective_alpha,
        targets=config.targets,
        steps=steps,
        epochs=examples / material.repeated,
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
        zero_terminal_snr=bool(base.scheduler_config.get("rescale_betas_zero_snr")),
        folders=material.folders(),
        tags=material.tags(),
    )
    return describe(facts)
