import pytest

from sdlora import Error
from ui.compare.axes import CHOICES, written

KNOWN = {"adapters": ["ink", "a, b"], "runs": ["first"]}


def title(kind):
    return CHOICES[kind].title


@pytest.mark.parametrize(
    ("kind", "of", "values", "axis"),
    [
        ("", None, "", None),
        ("weight", "ink", "0-1[5]", "weight:ink=0-1[5]"),
        ("weight", None, "0.5, 1", "weight=0.5, 1"),
        ("checkpoint", "first", "all", "checkpoint:first=all"),
        ("adapter", None, 'ink:0.5, none, "a, b"', 'adapter=ink:0.5, none, "a, b"'),
        ("seed", "ink", "1-4", "seed=1-4"),
    ],
)
def test_menus_write_what_the_command_line_takes(kind, of, values, axis):
    assert written(title(kind), of, values, **KNOWN) == axis


@pytest.mark.parametrize(
    ("kind", "of", "values"),
    [
        ("weight", "/etc/passwd", "1"),
        ("checkpoint", "../elsewhere", "all"),
        ("checkpoint", None, "all"),
        ("adapter", None, "ink, /tmp/other.safetensors"),
        ("adapter", None, "../ink:0.5"),
    ],
)
def test_only_what_is_listed_is_taken(kind, of, values):
    with pytest.raises(Error):
        written(title(kind), of, values, **KNOWN)
