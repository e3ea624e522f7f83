import pytest

from sdlora import Error
from sdlora.mixing.mix_file import read_mix
from ui.engine import Engine
from ui.mix.saved import Saved


@pytest.fixture
def saved(tmp_path):
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "own.safetensors").write_bytes(b"")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.safetensors").write_bytes(b"")
    (tmp_path / "settings.toml").write_text('adapter_folders = ["elsewhere"]', encoding="utf-8")
    engine = Engine(tmp_path)
    engine.adapters()
    yield Saved(engine)
    engine.close()


def test_a_mix_is_what_the_command_line_reads(saved, tmp_path):
    mix = {"own": 0.5, "sample-ink": {"unet": 0.3, "text": 0.6, "blocks": "style"}, "far": 1.0}
    path = saved.save_mix("both", mix, "switch", equalise=True)
    found = read_mix(path, tmp_path / "adapters")
    assert (found.mode, found.equalise) == ("switch", True)
    assert found.adapters["own"] == 0.5
    assert found.adapters["sample-ink"]["blocks"] == "style"
    assert str((tmp_path / "elsewhere" / "far.safetensors").resolve()) in map(str, found.adapters)
    assert saved.read_mix(path) == (mix, "switch", True)
    assert saved.names() == ["mix: both"]


@pytest.mark.parametrize("name", ["", "../out", "a/b", "con", ".hidden", "x" * 101])
def test_a_name_that_is_no_files_is_refused(saved, tmp_path, name):
    with pytest.raises(Error, match="name first"):
        saved.save_mix(name, {"own": 1.0}, "blend", equalise=False)
    with pytest.raises(Error, match="name first"):
        saved.save_prompt(name, "a fox")
    assert saved.names() == []


def test_a_mix_of_adapters_that_are_not_in_the_library_is_refused(saved, tmp_path):
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"")
    file = tmp_path / "mix.toml"
    file.write_text(f"[adapters]\n'{outside}' = 1.0\n", encoding="utf-8")
    with pytest.raises(Error, match="the adapter outside, which is not in the library"):
        saved.read_mix(file)


@pytest.mark.parametrize("chosen", ["mix: gone", "mix: ../settings", "nonsense", ""])
def test_only_what_is_listed_is_opened(saved, chosen):
    with pytest.raises(Error, match="no longer there"):
        saved.path(chosen)
