"""The prompts of sample images: from the config, or from a text file that may be edited while the run goes on.

A line is a prompt, with options behind it as in the files of kohya's sd-scripts: `a red apple --n blurry --d 7`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..bases import Base
from ..errors import Error
from ..sampling.defaults import defaults_for
from ..sampling.recipe import Recipe

SEED = 1
# Option -> the recipe's field and its kind.
OPTIONS: dict[str, tuple[str, type]] = {
    "n": ("negative", str),
    "d": ("seed", int),
    "w": ("width", int),
    "h": ("height", int),
    "s": ("steps", int),
    "l": ("guidance", float),
}


def read_lines(prompts: Sequence[str] | str) -> list[str]:
    """The prompts of a config: its own, or its text file's lines without blank ones and those that begin with #.

    Raises `Error` for a file that is missing, unreadable or has no prompt.
    """
    if not isinstance(prompts, str):
        return list(prompts)
    try:
        lines = [line.strip() for line in Path(prompts).expanduser().read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise Error(f"There is no file {prompts} with sample prompts") from None
    except UnicodeDecodeError:
        raise Error(f"The sample prompts in {prompts} are not UTF-8: save the file as UTF-8") from None
    except OSError as problem:
        raise Error(f"The sample prompts in {prompts} can't be read ({problem.strerror})") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise Error(f"There is no sample prompt in {prompts}: write one a line")
    return found


def recipes_of(lines: Iterable[str], base: Base, side: int) -> list[Recipe]:
    """A recipe a line, at the base's usual settings and `side` pixels square where the line has no options.

    All have the same seed, so that prompts can be compared; a line that is there again is drawn from the next seed.
    Raises `Error` for an option that is not known or can't be.
    """
    found: list[Recipe] = []
    again: Counter[Recipe] = Counter()
    for line in lines:
        recipe = _recipe(line, base, side)
        found.append(replace(recipe, seed=recipe.seed + again[recipe]))
        again[recipe] += 1
    return found


def _recipe(line: str, base: Base, side: int) -> Recipe:
    prompt, *parts = f" {line}".split(" --")
    usual = defaults_for(base)
    values: dict[str, str | int | float] = {
        "negative": "",
        "seed": SEED,
        "width": side,
        "height": side,
        "steps": usual.steps,
        "guidance": usual.guidance,
    }
    for part in parts:
        option, _, text = part.partition(" ")
        name, kind = OPTIONS.get(option, ("", str))
        if not name:
            known = ", ".join(f"--{key} ({what})" for key, (what, _) in OPTIONS.items())
            raise Error(f"The sample prompt {line!r} has an option --{option}: there are {known}")
        try:
            values[name] = kind(text.strip())
        except ValueError:
            raise Error(f"The sample prompt {line!r} has --{option} {text.strip()!r}: give a number") from None
    size = (values.pop("width"), values.pop("height"))
    recipe = Recipe(prompt.strip(), sampler=usual.sampler, size=size, **values)  # type: ignore[arg-type]
    try:
        recipe.check(base)
    except Error as problem:
        raise Error(f"The sample prompt {line!r} can't be drawn: {problem}") from None
    return recipe
