"""A tagger in ONNX, made here of one matrix product: the real code on a real session."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from sdlora.captioning.captioners import load_captioner
from sdlora.captioning.subjects import Wanted
from sdlora.errors import Error

TAGS = [("general", 9), ("red_thing", 0), ("blue_eyes", 0), ("^_^", 0), ("mila_(book)", 4), ("sketch", 0)]
CSV = "tag_id,name,category,count\n" + "".join(f"{n},{name},{kind},1\n" for n, (name, kind) in enumerate(TAGS))
needed = pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")), reason="onnx is not installed"
)


def tagger(folder, chances, tags=CSV):
    """Chances that hold for a picture that is all red: the mean of BGR (0, 0, 255) picks the row of red."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3, len(chances)), dtype=np.float32)
    weights[2] = np.asarray(chances, dtype=np.float32) / 255
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["output"]),
    ]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 16, 16, 3])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, len(chances)])
    graph = helper.make_graph(nodes, "tagger", [picture], [output], [numpy_helper.from_array(weights, "weights")])
    folder.mkdir(exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "model.onnx"
    )
    (folder / "selected_tags.csv").write_text(tags, encoding="utf-8")
    return folder


@needed
def test_tags_in_the_order_of_their_chances_without_what_the_trigger_stands_for(tmp_path):
    made = load_captioner(str(tagger(tmp_path / "t", [1, 0.5, 0.9, 0.6, 0.95, 0.8])))
    red = Image.new("RGB", (40, 40), "red")
    assert made.describe(red, Wanted("everything")) == "mila (book), blue eyes, sketch, ^_^, red thing"
    assert made.describe(red, Wanted("style")) == "mila (book), blue eyes, ^_^, red thing"
    assert made.describe(red, Wanted("character")) == "sketch, ^_^, red thing"


@needed
def test_the_picture_is_put_on_a_white_square_in_bgr(tmp_path):
    made = load_captioner(str(tagger(tmp_path / "t", [0, 1, 0, 0, 0, 0])), threshold=0.9)
    blue = Image.new("RGB", (16, 16), "blue")
    assert (
        made.describe(blue, Wanted()) == ""
        and made.describe(Image.new("RGB", (16, 16), "red"), Wanted()) == "red thing"
    )
    assert made.describe(Image.new("RGB", (1, 64), "blue"), Wanted()) == "red thing"  # nearly all of it white


@needed
def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(Error, match="no tagger of WD14's kind"):
        load_captioner(str(tagger(tmp_path / "a", [1, 1])))
    with pytest.raises(Error, match="no list of tags"):
        load_captioner(str(tagger(tmp_path / "b", [1] * 6, "a,b\n1,2\n")))
    (tmp_path / "b" / "model.onnx").write_bytes(b"no model")
    (tmp_path / "b" / "selected_tags.csv").write_text(CSV, encoding="utf-8")
    with pytest.raises(Error, match="could not be read"):
        load_captioner(str(tmp_path / "b"))
    (tmp_path / "b" / "selected_tags.csv").unlink()
    with pytest.raises(Error, match=r"selected_tags\.csv is missing"):
        load_captioner(str(tmp_path / "b"))


def test_without_onnxruntime_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(Error, match=r"sdlora\[tag\]"):
        load_captioner(str(tmp_path))
