"""The training loop of both stages: seeded, resumable, paused by a file, with an average of the weights (EMA)."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from sdlora.errors import Error
from sdlora.files import write_atomically

Objective = Callable[[int, torch.Generator], tuple[Tensor, float]]
"""(step, generator) -> the loss to minimise, and the figure to report. All randomness comes from the generator."""


@dataclass(frozen=True)
class Plan:
    """Learning rate: linear warm-up, constant at `peak`, a cosine to zero over the last `anneal` share of the steps.

    The constant part is what lets a restart with other `steps` move the end: nothing before the anneal depends on it.
    """

    steps: int
    peak: float
    seed: int = 0
    warmup: int = 200
    anneal: float = 0.5
    checkpoint_seconds: float = 120
    dtype: torch.dtype | None = None  # float32, or bfloat16 for autocast; None: the faster one, by measuring

    @property
    def anneal_start(self) -> int:
        return round(self.steps * (1 - self.anneal))

    def learning_rate(self, step: int) -> float:
        done = max(0.0, (step - self.anneal_start) / max(1, self.steps - self.anneal_start))
        return self.peak * min(1.0, (step + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def average_decay(self) -> float:
        """Averages over a sixth of the anneal: a longer memory would keep the noise of what came before it."""
        return 1 - 1 / max(10.0, (self.steps - self.anneal_start) / 6)

    def generator(self, step: int) -> torch.Generator:
        """Randomness belongs to (seed, step), so that a resumed run needs no generator state."""
        return torch.Generator().manual_seed((self.seed << 32) + step)


@dataclass
class Training:
    """Modules being trained, their average, and where the checkpoint lies. Use `run`, then read `averaged`."""

    modules: dict[str, nn.Module]
    plan: Plan
    checkpoint: Path
    step: int = 0
    dtype: torch.dtype | None = field(init=False)
    average: list[Tensor] = field(init=False)
    optimiser: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        self.dtype = self.plan.dtype
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=self.plan.peak, weight_decay=0.01, betas=(0.9, 0.99), fused=True
        )
        if self.checkpoint.exists():
            self._load()

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for module in self.modules.values() for p in module.parameters()]

    def run(self, objective: Objective) -> None:
        """Train from `step` to the plan's end. After a kill, a new Training goes on from the last checkpoint."""
        if self.dtype is None:
            self.dtype = faster_dtype(lambda: objective(0, self.plan.generator(0))[0], self.parameters)
        say(f"step {self.step} of {self.plan.steps}, {self.dtype}, checkpoint {self.checkpoint}")
        saved, since, reported = time.monotonic(), time.monotonic(), []
        while self.step < self.plan.steps:
            self._pause()
            reported.append(self._step(objective))
            if self.step % 100 == 0:
                seconds = (time.monotonic() - since) / len(reported)
                rate, mean = self.plan.learning_rate(self.step), sum(reported) / len(reported)
                say(f"{self.step} loss {mean:.4f} lr {rate:.2e} {seconds:.2f} s/step")
                since, reported = time.monotonic(), []
            if time.monotonic() - saved > self.plan.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        self._save()

    def _step(self, objective: Objective) -> float:
        self.optimiser.param_groups[0]["lr"] = self.plan.learning_rate(self.step)
        with torch.autocast("cpu", self.dtype, enabled=self.dtype == torch.bfloat16):
            loss, reported = objective(self.step, self.plan.generator(self.step))
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if not norm.isfinite():
            raise Error(f"The loss became infinite at step {self.step}: lower --rate and start again.")
        self.optimiser.step()
        self.step += 1
        decay = min(self.plan.average_decay, (1 + self.step) / (10 + self.step))  # forget the first weights sooner
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        return reported

    def _pause(self) -> None:
        while (self.checkpoint.parent / "PAUSE").exists():
            time.sleep(1)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "dtype": self.dtype,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        write_atomically(self.checkpoint, lambda path: torch.save(state, path))

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step, self.dtype = state["average"], state["step"], state["dtype"]

    @torch.no_grad()
    def averaged(self) -> dict[str, nn.Module]:
        """The modules with the averaged weights in place of the trained ones: what is kept. Ends the training."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.copy_(average)
        return {name: module.eval() for name, module in self.modules.items()}


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def faster_dtype(loss: Callable[[], Tensor], parameters: list[nn.Parameter]) -> torch.dtype:
    """Measure a step in fp32 and under bf16 autocast, which is ten times slower on CPUs without AVX512-BF16 or AMX."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        times = []
        for _ in range(3):
            start = time.monotonic()
            with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
                value = loss()
            torch.autograd.grad(value, parameters, allow_unused=True)
            times.append(time.monotonic() - start)
        seconds[dtype] = min(times)
    return min(seconds, key=lambda dtype: seconds[dtype])
