"""What is held out: enough, by seed, steadily, and never a copy of what is trained."""

from pathlib import Path

import pytest

from sdlora.data.folder import Example
from sdlora.data.split import split_holdout


def examples(folder: Path, count: int) -> list[Example]:
    """Files of different bytes; splitting looks at nothing else."""
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [Example(path, "x") for path in paths]


@pytest.mark.parametrize(("count", "held"), [(20, 2), (24, 2), (50, 5), (104, 10)])
def test_a_tenth_and_at_least_two(tmp_path: Path, count: int, held: int) -> None:
    given = examples(tmp_path, count)
    train, holdout, warning = split_holdout(given, seed=1)
    assert len(holdout) == held and warning is None
    assert sorted(train + holdout, key=given.index) == given
    assert list(train) == [example for example in given if example in train]


def test_fewer_than_twenty_are_all_trained_and_warned(tmp_path: Path) -> None:
    given = examples(tmp_path, 19)
    train, holdout, warning = split_holdout(given, seed=1)
    assert train == tuple(given) and holdout == ()
    assert warning and "19" in warning


def test_the_seed_chooses(tmp_path: Path) -> None:
    given = examples(tmp_path, 60)
    assert split_holdout(given, seed=1) == split_holdout(given, seed=1)
    assert len({split_holdout(given, seed=seed).holdout for seed in range(5)}) > 1


def test_one_more_file_moves_at_most_one_other(tmp_path: Path) -> None:
    given = examples(tmp_path, 61)
    for without in given[:10]:
        before = set(split_holdout([example for example in given if example != without], seed=3).holdout)
        assert len(before - set(split_holdout(given, seed=3).holdout)) <= 1


def test_renaming_changes_nothing(tmp_path: Path) -> None:
    given = examples(tmp_path, 30)
    held = {example.path.read_bytes() for example in split_holdout(given, seed=2).holdout}
    renamed = [Example(example.path.rename(tmp_path / f"new-{example.path.name}"), "x") for example in given]
    assert {example.path.read_bytes() for example in split_holdout(renamed[::-1], seed=2).holdout} == held


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    given = examples(tmp_path, 30)
    copies = []
    for example in given:
        copy = tmp_path / f"copy-{example.path.name}"
        copy.write_bytes(example.path.read_bytes())
        copies.append(Example(copy, "x"))
    train, holdout, _ = split_holdout(given + copies, seed=5)
    contents = [{example.path.read_bytes() for example in side} for side in (train, holdout)]
    assert len(contents[1]) == 3 and not contents[0] & contents[1]
