"""The page itself: everything that the run's folder tells, put into `page.html`."""

import time
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ...files import write_text
from ...version import VERSION
from ..by_heart import gaps
from ..run_folder import RunFolder
from .adapter_card import card
from .curves import curves
from .dataset import read_dataset
from .settings import settings_of
from .timeline import timeline
from .told import STATES, measures, messages, tiles
from .trials import search

HERE = Path(__file__).parent


def write_report(run: RunFolder) -> Path:
    """Write `report.html` into the run's folder, for a run in any state; nothing but the folder is asked."""
    config, rows, state = run.config(), list(run.metrics()), run.state
    file, found = card(run, state), measures(rows)
    said = messages(run)
    marked = [step for step in (file.step, found.best_step if found else None) if step]
    page = _template().render(
        run=run.name,
        config=config,
        base_name=Path(config.base).name,
        state=state,
        state_words=STATES.get(state, state),
        message=run.status().get("message", ""),
        started=time.strftime("%d %B %Y, %H:%M", time.localtime(run.started)),
        written=time.strftime("%d %B %Y, %H:%M", time.localtime()),
        version=VERSION,
        tiles=tiles(run, config, rows, file.step),
        warnings=[entry for entry in said if entry["level"] == "warning"],
        said=said,
        timeline=timeline(run, marked),
        curves=curves(rows, file.step),
        measures=found,
        gaps=gaps(rows),
        card=file,
        dataset=read_dataset(run),
        settings=settings_of(run, config),
        search=search(run),
    )
    write_text(run.report_file, page)
    return run.report_file


def _template() -> Template:
    loader = FileSystemLoader(HERE, encoding="utf-8")
    # everything is escaped: captions, prompts and names come from anywhere
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")
