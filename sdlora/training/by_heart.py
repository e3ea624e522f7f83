"""Where a run learns its training images by heart: held-out losses against those of training images, by parts of the
noise.

Little noise (low timesteps) hides fine detail alone, much noise (high timesteps) all but the composition. What is
learned by heart shows in the part of the noise where pictures that were never seen are predicted worse again, while
those that are trained on are predicted ever better.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

RISEN = 0.01  # by which share a held-out loss stands above its best


@dataclass(frozen=True)
class Part:
    """Some of the ten bands of the noise schedule, from `first` to before `end`."""

    name: str
    first: int
    end: int

    @property
    def words(self) -> str:
        """Its name and, for a schedule of 1,000 steps, its timesteps."""
        return f"{self.name} (timesteps {self.first * 100} to {self.end * 100 - 1})"

    def mean(self, bands: Sequence[float]) -> float:
        """The mean loss in it."""
        return sum(bands[self.first : self.end]) / (self.end - self.first)


PARTS = (Part("fine detail", 0, 3), Part("shapes", 3, 7), Part("composition", 7, 10))


@dataclass(frozen=True)
class Gap:
    """What became of one part of the noise, from the base to the last measurement, as shares of the base's losses.

    `best_step` is where the held-out loss was least, `past_best` whether it has risen since; `by_heart_since` the step
    from which on the part was learned by heart without interruption, None where it is not.
    """

    part: Part
    held: float
    seen: float
    best_step: int
    past_best: bool
    by_heart_since: int | None

    @property
    def gap(self) -> float:
        """By how much more the loss on training images fell."""
        return self.held - self.seen

    @property
    def words(self) -> str:
        """What it means."""
        if self.by_heart_since is not None:
            return f"learned by heart since step {self.by_heart_since}; best at step {self.best_step}"
        if self.held >= 0:
            return "nothing learned that helps with unseen pictures"
        if self.past_best:
            return f"learned, but past its best at step {self.best_step}"
        if self.gap > -self.held:
            return "learned, but more of the training images than of what carries over to others"
        return "learned, and it carries over to unseen pictures"


def gaps(rows: Iterable[dict[str, Any]]) -> list[Gap]:
    """One gap a part, from the rows of `metrics.jsonl`; none where less than two measurements are in them."""
    measured = [row for row in rows if "holdout_bands" in row and "train_bands" in row]
    return [_gap(part, measured) for part in PARTS] if len(measured) > 1 else []


def begins_in(rows: Iterable[dict[str, Any]]) -> Gap | None:
    """The part that is learned by heart, of several the first, and of these the one with the widest gap."""
    found = [(gap.by_heart_since, -gap.gap, gap) for gap in gaps(rows) if gap.by_heart_since is not None]
    return min(found, key=lambda one: one[:2])[2] if found else None


def is_by_heart(held: float, seen: float, best_held: float, best_seen: float) -> bool:
    """Whether pictures that were never seen are predicted worse than at the best, those that are trained on better."""
    return held > (1 + RISEN) * best_held and seen < best_seen


def _gap(part: Part, measured: Sequence[dict[str, Any]]) -> Gap:
    steps = [row["step"] for row in measured]
    held = [part.mean(row["holdout_bands"]) for row in measured]
    seen = [part.mean(row["train_bands"]) for row in measured]
    best, since = 0, None
    for now in range(1, len(measured)):
        if held[now] < held[best]:
            best = now
        if not is_by_heart(held[now], seen[now], held[best], seen[best]):
            since = None
        elif since is None:
            since = steps[now]
    past = held[-1] > (1 + RISEN) * held[best]
    return Gap(part, held[-1] / held[0] - 1, seen[-1] / seen[0] - 1, steps[best], past, since)
