"""The Train page's own HTML. Whatever comes from a user or a file is escaped here; buttons say what they are for in
`data-` attributes, which reach Python as an event's data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from sdlora.data.doctor import Report
from sdlora.files import size_text

from ..datasets.captions import Captioned
from ..datasets.thumbnails import thumbnail
from ..runs.reports import report_address
from ..runs.watching import Column, Doing, Standing
from ..text import duration

# One listener for all buttons, for what is inside is put there anew.
CLICKS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-do]');
  if (button && !button.disabled) trigger('click', {...button.dataset});
});"""
EDITS = """element.addEventListener('change', (event) => {
  const box = event.target.closest('textarea[data-file]');
  if (box) trigger('input', {file: box.dataset.file, text: box.value});
});"""

MOST_PLACES = 6
FOR_THE_PAGE = ("let `sdlora caption` do it", "have it written automatically, below")  # no command is needed here
SEVERITIES = {"error": "Error", "warning": "Warning", "note": "Note"}
WORDS: dict[Doing, str] = {
    "waiting": "waiting",
    "preparing": "preparing",
    "training": "training",
    "pausing": "saving, to pause",
    "stopping": "saving, to stop",
    "paused": "paused",
    "stopped": "stopped",
    "finished": "finished",
    "failed": "failed",
    "died": "its process is gone",
}


def findings(report: Report) -> str:
    """What the doctor found: facts, then the findings, errors first."""
    captions = report.captions
    held = f", {len(report.holdout.pictures)} held out" if report.holdout else ""
    facts = [f"{len(report.frames)} images to train on{held}", f"{captions.captioned} with a caption"]
    counts = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in report.counts.items() if count]
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in report.findings:
        sentence = finding.sentence.replace(*FOR_THE_PAGE)
        grouped[finding.severity, sentence] += [finding.place] if finding.place else []
    rows = "".join(_finding(severity, text, places) for (severity, text), places in grouped.items())
    summary = f"<p class='facts'>{escape(' · '.join([*facts, *counts]))}</p>"
    return f"{summary}<ul class='findings' aria-label='What the doctor found'>{rows}</ul>" if rows else summary


def _finding(severity: str, sentence: str, places: Sequence[str]) -> str:
    names = ", ".join(places[:MOST_PLACES])
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    where = f"<span class='where'>{escape(names + more)}</span>" if names else ""
    return f"<li class='{severity}'><b>{SEVERITIES[severity]}</b><span>{escape(sentence)}{where}</span></li>"


def captions(rows: Sequence[Captioned], editable: bool) -> str:
    """Thumbnails with their captions beside."""
    if not rows:
        return "<p class='facts'>No images are chosen yet.</p>"
    return f"<ul class='captions'>{''.join(_caption(row, editable) for row in rows)}</ul>"


def _caption(row: Captioned, editable: bool) -> str:
    name, text = escape(row.image.name), escape(row.text)
    mark = "<span class='chip'>not reviewed</span>" if row.unreviewed else ""
    # `value` too: it is what changes the text of a box that somebody has typed into
    return (
        f"<li><img src='{thumbnail(row.image)}' alt='' loading='lazy'><div><span class='name'>{name}{mark}</span>"
        f"<textarea rows='3' maxlength='4000' data-file='{escape(row.file)}' aria-label='Caption of {name}' "
        f"placeholder='no caption' value='{text}' {'' if editable else 'readonly'}>{text}</textarea></div></li>"
    )


def queue(standings: Sequence[Standing], chosen: str) -> str:
    """The runs that are under way, wait, or ended without having finished; each can be looked at."""
    if not standings:
        return "<p class='facts'>Nothing is trained and nothing waits.</p>"
    waiting = [one.run for one in standings if one.doing == "waiting"]
    return f"<ol class='runs'>{''.join(_row(one, chosen, waiting) for one in standings)}</ol>"


def _row(one: Standing, chosen: str, waiting: Sequence[str]) -> str:
    name = escape(one.run)
    current = "aria-current='true'" if one.run == chosen else ""
    chip = f"<span class='chip {one.doing}'>{WORDS[one.doing]}</span>"
    bar = _bar(one) if one.doing in ("preparing", "training", "pausing", "stopping", "paused") else ""
    buttons = ""
    if one.doing == "waiting":
        first, last = one.run == waiting[0], one.run == waiting[-1]
        buttons += _button("up", one.run, "↑", f"{one.run}: earlier", first)
        buttons += _button("down", one.run, "↓", f"{one.run}: later", last)
    if one.doing in ("waiting", "paused", "failed", "died"):
        buttons += _button("remove", one.run, "✕", f"Take {one.run} out of the queue", False)
    return (
        f"<li {current}><button class='name' data-do='open' data-run='{name}'>{name}</button>{chip}"
        f"<span class='buttons'>{buttons}</span>{bar}</li>"
    )


def _button(do: str, run: str, sign: str, label: str, disabled: bool) -> str:
    off = "disabled" if disabled else ""
    return (
        f"<button class='small' data-do='{do}' data-run='{escape(run)}' aria-label='{escape(label)}' "
        f"title='{escape(label)}' {off}>{sign}</button>"
    )


def status(one: Standing | None) -> str:
    """Where a run stands, in a sentence with a bar."""
    if one is None:
        return "<p class='facts'>Choose a run, or start one.</p>"
    said = [WORDS[one.doing].capitalize()]
    if one.place is not None:
        said = [f"Waiting for {one.place} before it" if one.place else "Next, as soon as the device is free"]
    if one.steps and one.doing != "waiting":
        said.append(f"step {one.step} of {one.steps}")
    if one.seconds_left is not None:
        said.append(f"{duration(one.seconds_left)} left")
    if one.memory and not one.over:
        said.append(size_text(one.memory))
    problem = f"<p class='problem'>{escape(one.message)}</p>" if one.message else ""
    name = f"<h3>{escape(one.run)}</h3>"
    link = f"<a href='{report_address(one.run)}' target='_blank' rel='noopener'>Report</a>" if one.reported else ""
    facts = f"<p class='facts'>{escape(' · '.join(said))} {link}</p>"
    return f"<div role='status'>{name}{_bar(one)}{facts}{problem}</div>"


def _bar(one: Standing) -> str:
    value = f"value='{one.step}' max='{one.steps}'" if one.steps and one.doing != "preparing" else ""
    if one.doing == "waiting":
        value = "value='0' max='1'"
    return f"<progress aria-label='Progress of {escape(one.run)}' {value}></progress>"


def previews(run: str, columns: Sequence[Column], prompts: Mapping[int, str]) -> str:
    """The preview grid: steps across, the base first; prompts (at each weight) down."""
    seen = [column for column in columns if column.pictures or column.keepable]
    if not any(column.pictures for column in seen):
        return "<p class='facts'>The first pictures come with the first measurement.</p>"
    weights = {number: _weights(number, seen) for number in prompts}
    lines = [(number, weight) for number in prompts for weight in weights[number]]
    head = "".join(f"<th scope='col'>{_head(column)}</th>" for column in seen)
    body = "".join(_line(number, weight, prompts, seen, len(weights[number]) > 1) for number, weight in lines)
    foot = "".join(f"<td>{_choices(run, column)}</td>" for column in seen)
    return (
        f"<div class='scroller' tabindex='0' role='region' aria-label='Previews of {escape(run)}'>"
        f"<table class='previews'>"
        f"<thead><tr><th scope='col'><span class='hidden'>Prompt</span></th>{head}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot><tr><td></td>{foot}</tr></tfoot></table></div>"
    )


def _weights(number: int, columns: Sequence[Column]) -> list[float]:
    """The weights at which the prompt was drawn; the base's own pictures stand in each of these rows."""
    found = {weight for column in columns if column.step for prompt, weight in column.pictures if prompt == number}
    return sorted(found) or [1.0]


def _head(column: Column) -> str:
    marks = "<span class='chip best' title='The lowest held-out loss'>★ best</span>" if column.best else ""
    marks += "<span class='chip kept'>yours</span>" if column.kept else ""
    loss = f"<span class='loss'>{column.holdout_loss:.4f}</span>" if column.holdout_loss is not None else ""
    return f"{'Base' if not column.step else f'Step {column.step}'}{loss}{marks}"


def _line(number: int, weight: float, prompts: Mapping[int, str], columns: Sequence[Column], told: bool) -> str:
    cells = "".join(_cell(number, 0.0 if not column.step else weight, prompts[number], column) for column in columns)
    at = f"<span class='loss'>weight {weight:g}</span>" if told else ""
    return f"<tr><th scope='row'><span class='prompt'>{escape(prompts[number])}</span>{at}</th>{cells}</tr>"


def _cell(number: int, weight: float, prompt: str, column: Column) -> str:
    path: Path | None = column.pictures.get((number, weight))
    if path is None:
        return "<td></td>"
    what = f"{prompt}, {f'step {column.step}' if column.step else 'the base'}"
    return (
        f"<td><button class='picture' data-do='look' data-file='{escape(path.name)}' "
        f"aria-label='Enlarge: {escape(what)}'><img src='{thumbnail(path)}' alt='{escape(what)}'></button></td>"
    )


def _choices(run: str, column: Column) -> str:
    """Try and keep, under a step."""
    if not column.step:
        return ""
    gone = "" if column.keepable else "disabled title='Its checkpoint is no longer there'"
    kept = gone or ("disabled" if column.kept else "")
    data = f"data-run='{escape(run)}' data-step='{column.step}'"
    return (
        f"<button class='small' data-do='try' {data} {gone} aria-label='Try: step {column.step}'>Try</button>"
        f"<button class='small' data-do='keep' {data} {kept} "
        f"aria-label='Keep this one: step {column.step}'>Keep this one</button>"
    )
