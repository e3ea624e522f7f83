"""All that is made ready once for a base and its images, whatever layers are then trained on it, and how often."""

from dataclasses import dataclass

from accelerate import Accelerator

from ..bases import Base
from .batches import Batches
from .config import ResolvedConfig
from .learned_tokens import note_word
from .material import Material
from .preparation import let_go, ready_base, ready_batches, ready_validation
from .prior import Prior, ready_prior
from .progress import Reporter
from .run_folder import RunFolder
from .targets import text_encoder_trains
from .validation import Validation
from .views import Views


@dataclass(frozen=True)
class Prepared:
    """A base as it will run, with every image and caption encoded. `views` are the main process's alone; `validation`
    and `prior` are None where nothing is held out or preserved."""

    base: Base
    material: Material
    encoder_trains: bool
    batches: Batches
    validation: Validation | None
    views: Views | None
    prior: Prior | None


def prepare(
    config: ResolvedConfig,
    base: Base,
    material: Material,
    run: RunFolder,
    accelerator: Accelerator,
    reporter: Reporter,
) -> Prepared:
    """Encode everything. The base is the run's own: parts that are done are let go."""
    note_word(base, config)
    encoder_trains = text_encoder_trains(base.modules(), config.targets)
    ready_base(base, config, accelerator.device, encoder_trains=encoder_trains)
    batches = ready_batches(
        base,
        config,
        material,
        reporter,
        encoder_trains=encoder_trains,
        examples_per_step=config.batch_size * config.gradient_accumulation * accelerator.num_processes,
    )
    validation = ready_validation(base, config, material, encoder_trains=encoder_trains)
    main = accelerator.is_main_process
    views = Views(base, config, material, run, reporter, encoder_trains=encoder_trains) if main else None
    prior = ready_prior(base, config, material, run.path / "prior.safetensors", reporter, encoder_trains=encoder_trains)
    let_go(base, config, encoder_trains=encoder_trains)
    return Prepared(base, material, encoder_trains, batches, validation, views, prior)
