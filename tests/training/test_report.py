"""The page that tells a run, from real short trainings."""

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

import sdlora
from sdlora.errors import Error
from sdlora.training.report import write_report
from sdlora.training.report.timeline import MOST_STEPS, timeline
from sdlora.training.report.told import duration
from sdlora.training.run_folder import RunFolder
from tests.training.conftest import draw_images

NASTY = "<script>alert('x')</script> & \"disc\""
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser sees: the text, the tags with their attributes, whether all is closed."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.open, self.style = [], "", [], ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        else:
            self.style += data

    def images(self, alt=""):
        return [one["src"] for tag, one in self.tags if tag == "img" and alt in one["alt"]]


def page_of(run):
    page = Page(RunFolder(run.folder).report_file)
    assert page.open == [], "all tags are closed"
    return page


@pytest.fixture(scope="module")
def told(small, images, tmp_path_factory):
    """A finished run with everything that a page can show, and with names that are no markup."""
    folder = draw_images(tmp_path_factory.mktemp("told") / "discs")
    (folder / "red-0.txt").write_text(NASTY, encoding="utf-8")
    (folder / "stray.txt").write_text("no image", encoding="utf-8")
    config = small(
        tmp_path_factory.mktemp("workspace"),
        images=folder,
        holdout=images.parent / "holdout",
        trigger="wug <b>",
        steps=6,
        rank=3,
        batch_size="auto",
        validate_every=2,
        sample_every=2,
        sample_prompts=["a red disc --s 2", f"{NASTY} --s 2"],
        sample_weights=[0.5, 1.0],
    )
    return sdlora.train(config, quiet=True)


def test_the_page_needs_nothing_else(told):
    page = page_of(told)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#")), (tag, attributes)
    assert "url(" not in page.style and "@import" not in page.style
    assert len(page.source) < 600_000


def test_nothing_of_captions_and_prompts_is_markup(told):
    page = page_of(told)
    assert page.text.count(NASTY) >= 2 and "wug <b>" in page.text
    assert html.escape(NASTY, quote=False)[:20] in page.source


def test_samples_lie_side_by_side_the_base_s_first(told):
    page = page_of(told)
    assert [text for text in ("the base", "step 2", "step 4", "step 6") if text in page.text] == [
        *("the base", "step 2", "step 4", "step 6")
    ]
    assert len(page.images("a red disc, the base")) == 2 and len(page.images("a red disc, step 4, weight 0.5")) == 1
    shown = timeline(RunFolder(told.folder), [told.steps])
    assert shown.steps == (0, 2, 4, 6) and [row.weight for row in shown.prompts[0].rows] == ["0.5", "1"]
    assert [shot.step for shot in shown.prompts[1].rows[1].shots if shot.marked] == [told.steps]


def test_curves_gaps_and_the_best_step(told):
    page = page_of(told)
    assert sum(tag == "svg" for tag, _ in page.tags) == 4  # loss, parts of the noise, learning rate, drift
    for words in ("held out", "fine detail (timesteps 0 to 299)", "composition (timesteps 700 to 999)", "drift"):
        assert words in page.text
    measured = {row["step"]: row["holdout_loss"] for row in RunFolder(told.folder).metrics() if "holdout_loss" in row}
    best = min(measured, key=measured.get)
    assert f"{measured[best]:.4f}" in page.text and f"against the base, at step {best}" in page.text
    assert f"the adapter step {told.steps:,}" in page.text or f"step {told.steps} the adapter" in page.text


def test_the_file_s_card_and_its_strengths(told):
    page, adapter = page_of(told), sdlora.load_adapter(told.adapter_path)
    from sdlora.adapters.algebra import strength
    from sdlora.adapters.inspection import inspect

    found = inspect(RunFolder(told.folder).adapter_file)
    for value in (found.hashes.autov2, found.hashes.short, found.hashes.sha256, "<lora:disc:1>", "wug <b>"):
        assert value in page.text
    for block, one in strength(adapter).blocks.items():
        assert f"{block.removeprefix('unet.')} {one.delta:.3g}" in re.sub(r"\s+", " ", page.text)


def test_images_captions_buckets_and_what_the_doctor_found(told):
    page = page_of(told)
    assert len(page.images(".png")) == 8  # six and two held out
    assert "green disc" in page.text and "64×64 → 64×64" in page.text and "6 at 64 × 64" in page.text
    assert "stray.txt" in page.text and "2 held out" in page.text


def test_settings_say_why(told):
    page = page_of(told)
    chosen = page.text.partition("Chosen when the run began, and why")[2].partition("As usual")[0]
    assert "batch_size" in chosen and "rank" not in chosen.split()
    reasons = {one["key"]: one["reason"] for one in json.loads(RunFolder(told.folder).choices_file.read_text("utf-8"))}
    assert reasons["batch_size"] in chosen
    given = page.text.partition("As given")[2].partition("Chosen when")[0]
    assert "learning_rate 0.001" in " ".join(given.split()) and "sample_weights 0.5, 1" in given


def test_it_is_made_from_the_folder_alone(told, tmp_path):
    moved = shutil.copytree(told.folder, tmp_path / "moved" / "disc")
    (moved / "report.html").unlink()
    config = moved / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(re.sub(r"^images = .*$", 'images = "/gone"', text, flags=re.M), encoding="utf-8")
    page = Page(write_report(RunFolder(moved)))
    assert len(page.images(".png")) == 8 and "green disc" in page.text


def test_a_run_without_anything_to_show(small, tmp_path):
    page = page_of(sdlora.train(small(tmp_path, steps=1), quiet=True))
    assert "Samples" not in page.text and "carries over" not in page.text and "finished" in page.text


def test_a_run_that_fails_says_so_and_shows_what_it_has(small, images, tmp_path):
    """The learning rate is absurd: the loss is no number soon."""
    given = {"steps": 30, "learning_rate": 1e30, "max_grad_norm": 1e30, "checkpoint_every": 1, "optimiser": "lion"}
    with pytest.raises(Error, match="became"):
        sdlora.train(small(tmp_path, holdout=images.parent / "holdout", **given), quiet=True)
    page = Page(tmp_path / "runs" / "disc" / "report.html")
    assert "failed" in page.text and "It failed: The" in page.text and "lower learning_rate" in page.text


def test_a_run_that_was_killed_can_be_told(small, images, tmp_path, monkeypatch):
    append = RunFolder.append_metrics

    def killed(self, row):
        append(self, row)
        if row["step"] == 3:
            raise SystemExit

    monkeypatch.setattr(RunFolder, "append_metrics", killed)
    config = small(tmp_path, steps=5, holdout=images.parent / "holdout", validate_every=2)
    with pytest.raises(SystemExit):
        sdlora.train(config, quiet=True)
    assert "held-out loss" in page_of(sdlora.TrainedRun(tmp_path / "runs" / "disc", None, "", 0, None, None)).text


def test_it_is_written_during_the_run(small, images, tmp_path, monkeypatch):
    seen = {}
    append = RunFolder.append_metrics

    def look(self, row):
        append(self, row)
        seen[row["step"]] = self.report_file.is_file()

    monkeypatch.setattr(RunFolder, "append_metrics", look)
    sdlora.train(small(tmp_path, steps=4, holdout=images.parent / "holdout", validate_every=2), quiet=True)
    assert not seen[1] and seen[3] and seen[4]


def test_damaged_files_of_a_run_leave_the_rest(told, tmp_path):
    broken = RunFolder(shutil.copytree(told.folder, tmp_path / "broken" / "disc"))
    broken.adapter_file.write_bytes(b"no adapter")
    broken.dataset_file.write_text("{", encoding="utf-8")
    broken.choices_file.write_text("[1]", encoding="utf-8")
    (broken.samples / "step-000002-prompt-1-weight-1.png").write_bytes(b"no picture")
    with broken.messages_file.open("a", encoding="utf-8") as file:
        file.write('{"time": 1, "lev')
    page = Page(write_report(broken))
    assert "disc.safetensors:" in page.text and "step 2" in page.text and not page.images(".png")


def test_of_many_steps_some_are_shown(told, tmp_path):
    run = RunFolder(shutil.copytree(told.folder, tmp_path / "many"))
    one = run.samples / "step-000002-prompt-1-weight-1.png"
    for step in range(10, 40):
        shutil.copyfile(one, run.samples / f"step-{step:06d}-prompt-1-weight-1.png")
    shown = timeline(run, [17])
    assert shown.steps[0] == 0 and shown.steps[-1] == 39 and 17 in shown.steps
    assert MOST_STEPS <= len(shown.steps) <= MOST_STEPS + 1 and shown.left_out == 34 - len(shown.steps)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1234, "0.123 s"), (59.4, "59.4 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
