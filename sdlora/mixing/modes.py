"""How the adapters of a mix act together: all at once, in turns, or each on its own prediction.

Switch and composite are those of Zhong et al. (2024, arXiv:2402.16843), with weights.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from ..adapters import Adapter
from .mix import Weights

Mode = Literal["blend", "switch", "composite"]
MODES: tuple[Mode, ...] = get_args(Mode)
Mix: TypeAlias = Sequence[tuple[Adapter, Weights]]
Shares: TypeAlias = list[tuple[float, int]]  # (share of the prediction, position among the voices)


def voices(mode: Mode, mix: Mix) -> list[Mix]:
    """The mixes that predict in turn or side by side, each with a text encoder of its own.

    In `blend` it is the mix itself. Otherwise each adapter on its own, all equally loud: as the loudest of the mix, for
    their weights are their shares; at the end the base alone, for steps in which none acts.
    """
    if mode == "blend":
        return [mix]
    active = _active(mix)
    loudest = max((weights.loudness for _, weights in active), default=0.0)
    return [*([(adapter, weights.times(loudest / weights.loudness))] for adapter, weights in active), []]


def shares(mode: Mode, mix: Mix, positions: Sequence[int], steps: int) -> list[Shares]:
    """For each step, at a position of `steps`: which voices are asked, and each one's share of the prediction.

    The first position is 0; at `steps` and beyond the time is over, see `Span.factor`.
    """
    if mode == "blend":
        return [[(1.0, 0)] for _ in positions]
    pulls = [[w.loudness * w.span.factor(position, steps) for _, w in _active(mix)] for position in positions]
    return [_composite(pull) for pull in pulls] if mode == "composite" else _turns(pulls)


def during(mix: Mix, position: int, steps: int) -> Mix:
    """The mix as it is at a step; the text encoder's weights stay, for a prompt is encoded once."""
    return [(adapter, weights.during(position, steps)) for adapter, weights in mix]


def _active(mix: Mix) -> list[tuple[Adapter, Weights]]:
    """In an order that neither names nor the mix's own order change."""
    found = [(adapter, weights) for adapter, weights in mix if weights.active]
    return sorted(found, key=lambda entry: (entry[0].content_hash, entry[1].unet, entry[1].text))


def _composite(pull: Sequence[float]) -> Shares:
    total = sum(pull)
    return [(one / total, voice) for voice, one in enumerate(pull) if one] or [(1.0, len(pull))]


def _turns(pulls: Sequence[Sequence[float]]) -> list[Shares]:
    """Smooth weighted round robin: at each step all gain credit by their pull, who has most has the turn and pays."""
    credit = [0.0] * len(pulls[0]) if pulls else []
    turns: list[Shares] = []
    for pull in pulls:
        total = sum(pull)
        if not total:
            turns.append([(1.0, len(pull))])
            continue
        credit = [had + one / total for had, one in zip(credit, pull, strict=True)]
        # rounded, so that what is equal on paper is a tie, and a tie is the first one's
        turn = max((i for i, one in enumerate(pull) if one), key=lambda i: (round(credit[i], 9), -i))
        credit[turn] -= 1
        turns.append([(1.0, turn)])
    return turns
