"""Where a run learns by heart, from measurements made up here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlora.training.by_heart import PARTS, begins_in, gaps

DETAIL, SHAPES, COMPOSITION = PARTS


def rows(held, seen):
    """One measurement every ten steps; `held` and `seen` are, for each of them, losses of the three parts."""

    def bands(losses):
        return [loss for part, loss in zip(PARTS, losses, strict=True) for _ in range(part.first, part.end)]

    pairs = enumerate(zip(held, seen, strict=True))
    return [{"step": 10 * i, "holdout_bands": bands(h), "train_bands": bands(s)} for i, (h, s) in pairs]


def test_the_parts_are_all_of_the_noise():
    assert [band for part in PARTS for band in range(part.first, part.end)] == list(range(10))
    assert COMPOSITION.words == "composition (timesteps 700 to 999)"


def test_the_part_where_unseen_pictures_get_worse_is_named_with_its_step():
    held = [(0.9, 0.5, 0.2), (0.8, 0.45, 0.18), (0.83, 0.44, 0.17), (0.85, 0.43, 0.17)]
    seen = [(0.9, 0.5, 0.2), (0.8, 0.44, 0.18), (0.7, 0.42, 0.17), (0.6, 0.4, 0.16)]
    detail, shapes, composition = gaps(rows(held, seen))
    assert (detail.best_step, detail.by_heart_since) == (10, 20)
    assert detail.words == "learned by heart since step 20; best at step 10"
    assert shapes.by_heart_since is None and shapes.words == "learned, and it carries over to unseen pictures"
    assert composition.held == pytest.approx(0.17 / 0.2 - 1) and composition.seen == pytest.approx(-0.2)
    assert begins_in(rows(held, seen)) == detail


def test_of_several_parts_the_first_is_named():
    held = [(0.9, 0.5, 0.2), (0.8, 0.4, 0.1), (0.8, 0.4, 0.12), (0.9, 0.5, 0.13)]
    seen = [(0.9, 0.5, 0.2), (0.8, 0.4, 0.1), (0.7, 0.3, 0.09), (0.6, 0.2, 0.08)]
    assert begins_in(rows(held, seen)).part == COMPOSITION


def test_a_part_that_recovers_is_not_learned_by_heart():
    held = [(0.9, 0.5, 0.2), (0.8, 0.4, 0.1), (0.85, 0.4, 0.1), (0.79, 0.4, 0.1)]
    seen = [(0.9, 0.5, 0.2), (0.8, 0.4, 0.1), (0.7, 0.4, 0.1), (0.7, 0.4, 0.1)]
    assert begins_in(rows(held, seen)) is None


def test_a_part_that_was_better_before_is_told():
    held = [(0.9, 0.5, 0.2), (0.8, 0.4, 0.1), (0.8, 0.45, 0.1)]
    detail, shapes, _ = gaps(rows(held, [(0.9, 0.5, 0.2)] * 3))
    assert not detail.past_best and shapes.past_best and shapes.words == "learned, but past its best at step 10"


def test_getting_worse_at_everything_is_something_else():
    held, seen = [(0.9, 0.5, 0.2), (1.2, 0.8, 0.4)], [(0.9, 0.5, 0.2), (1.3, 0.9, 0.5)]
    assert begins_in(rows(held, seen)) is None
    assert {gap.words for gap in gaps(rows(held, seen))} == {"nothing learned that helps with unseen pictures"}


def test_less_than_two_measurements_say_nothing():
    assert gaps([]) == gaps(rows([(0.9, 0.5, 0.2)], [(0.9, 0.5, 0.2)])) == []


@given(st.lists(st.lists(st.floats(0.01, 2), min_size=3, max_size=3), min_size=2, max_size=6), st.floats(0.1, 10))
def test_what_is_said_does_not_depend_on_the_losses_scale(losses, scale):
    seen = [[1 / (i + 1)] * 3 for i in range(len(losses))]
    scaled = [[scale * loss for loss in three] for three in losses]
    told = [[(gap.by_heart_since is None, gap.part) for gap in gaps(rows(held, seen))] for held in (losses, scaled)]
    close = any(abs(a / b - 1.01) < 1e-6 for three in zip(*losses, strict=True) for a in three for b in three)
    assert close or told[0] == told[1]
