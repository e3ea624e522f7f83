"""Names that lead to no model."""

import pytest

from sdlora.bases import load_base
from sdlora.errors import Error


@pytest.mark.parametrize("name", ["nothing.safetensors", "models/nothing.ckpt", "/no/such/folder", "minni", ""])
def test_no_such_model_names_the_ways_there_are(name):
    with pytest.raises(Error) as error:
        load_base(name)
    for way in ("mini", "folder", ".safetensors", "hub id"):
        assert way in str(error.value)


def test_a_hub_model_that_is_not_there_or_out_of_reach_names_the_other_ways():
    with pytest.raises(Error) as error:
        load_base("nobody-here/no-such-model-at-all")
    for way in ("nobody-here/no-such-model-at-all", ".safetensors", "folder", "mini"):
        assert way in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(Error, match=r"picture\.png"):
        load_base(tmp_path / "picture.png")
