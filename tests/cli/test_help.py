"""What `sdlora` says before it does anything."""

import subprocess
import sys

from sdlora.cli import cli

ALL = {
    *("train", "keep", "import-config", "generate", "grid", "evaluate", "demo", "check", "ui"),
    *("caption", "doctor", "inspect", "list", "card", "push"),
    *("convert", "merge", "resize", "extract", "apply", "compare"),
}


def test_help_names_every_command_with_a_whole_sentence(sdlora, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = sdlora("--help").out
    assert "…" not in shown and "..." not in shown.partition("Commands:")[2]
    assert set(cli.commands) >= ALL
    words = " ".join(shown.split())
    for name, command in cli.commands.items():
        sentence = " ".join(command.help.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert f"{name} {sentence}" in words


def test_help_imports_no_torch():
    code = "import sys, sdlora.cli as c\ntry: c.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "--help"], check=True, stdout=subprocess.DEVNULL)


def test_list_imports_no_torch(library):
    code = "import sys, sdlora.cli as c\nc.main()\nassert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code, "list", str(library)], check=True, stdout=subprocess.PIPE)
    assert b"in oil style" in shown.stdout


def test_inspect_imports_no_diffusers(library):
    code = "import sys, sdlora.cli as c\nc.main()\nassert 'diffusers' not in sys.modules"
    command = [sys.executable, "-c", code, "inspect", str(library / "ink.safetensors")]
    assert b"geometry mini" in subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def test_every_command_on_files_has_json_and_explains_itself(sdlora):
    for name in sorted(ALL - {"train", "demo", "ui"}):
        assert "--json" in sdlora(name, "--help").out, name
