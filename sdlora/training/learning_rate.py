"""The learning rate over a run's steps: diffusers' schedules."""

import inspect

from diffusers.optimization import TYPE_TO_SCHEDULER_FUNCTION, SchedulerType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..errors import Error
from .config import ResolvedConfig

# diffusers' plain "constant" leaves the warm-up out; a warm-up of 0 does so too
OTHERWISE = {"constant": "constant_with_warmup"}


def make_schedule(optimiser: Optimizer, config: ResolvedConfig) -> LambdaLR:
    """The learning rate of each optimiser step: a linear warm-up, then the curve that was asked for.

    Raises `Error` for arguments that the curve does not have, or can't use.
    """
    name = config.schedule
    curve = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(OTHERWISE.get(name, name))]
    own = {"num_warmup_steps": config.warmup, "num_training_steps": config.steps}
    known = set(inspect.signature(curve).parameters) - {"optimizer", "last_epoch"}
    arguments = {key: value for key, value in own.items() if key in known} | config.schedule_args
    if unknown := sorted(set(arguments) - known):
        takes = ", ".join(sorted(known - set(own))) or "none"
        raise Error(f"The schedule {name} has no argument {unknown[0]!r}: it takes {takes}")
    if missing := [k for k in known if k not in arguments and _is_needed(curve, k)]:
        raise Error(f"The schedule {name} needs {missing[0]}: give it in schedule_args")
    if config.warmup and "num_warmup_steps" not in known:
        raise Error(f"The schedule {name} has no warm-up: set warmup = 0, its rules say everything")
    try:
        made = curve(optimiser, **arguments)
        for step in (config.warmup, config.steps):  # what is wrong with an argument may show late
            made.lr_lambdas[0](step)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as problem:
        raise Error(f"The schedule {name} can't be made ({problem}): correct schedule_args, warmup or steps") from None
    return made


def _is_needed(curve: object, name: str) -> bool:
    return inspect.signature(curve).parameters[name].default is inspect.Parameter.empty  # type: ignore[arg-type]
