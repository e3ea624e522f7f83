"""The cards of the library as HTML. Whatever comes from a file is escaped here."""

from collections.abc import Sequence
from html import escape

from sdlora.adapters.collection import Item
from sdlora.errors import printable
from sdlora.files import size_text
from sdlora.resources import SAMPLE_ADAPTERS

from .pictures import address, has_thumbnail

FAMILY_NAMES = {"sd1": "SD 1", "sd2": "SD 2", "sdxl": "SDXL", "other": "?"}
PLACES = {SAMPLE_ADAPTERS: "comes with sdlora"}
LONGEST = 90  # characters of the trigger words on a card
# One listener for all cards, which stays when they are drawn anew.
ON_LOAD = """
element.addEventListener('click', event => {
    const card = event.target.closest('[data-adapter]');
    if (!card) return;
    element.querySelectorAll('[aria-pressed=true]').forEach(other => other.setAttribute('aria-pressed', 'false'));
    card.setAttribute('aria-pressed', 'true');
    trigger('choose', {adapter: card.dataset.adapter});
});
"""


def cards(items: Sequence[Item], chosen: str) -> str:
    """A list of cards; each is a button."""
    if not items:
        return '<p class="nothing">No adapter is like that.</p>'
    return f'<ul class="cards" aria-label="Adapters">{"".join(_card(item, item.id == chosen) for item in items)}</ul>'


def picture(item: Item) -> str:
    """The thumbnail, or the name's first letter on a coloured ground."""
    if has_thumbnail(item):
        return f'<span class="thumb"><img loading="lazy" alt="" src="{escape(address("thumbnail", item))}"></span>'
    hue = sum(map(ord, item.id)) * 47 % 360
    return f'<span class="thumb letter" style="--hue: {hue}" aria-hidden="true">{escape(item.id[:1].upper())}</span>'


def chips(item: Item) -> str:
    """Family, preferred weight, size, hash and where it lies, in a row."""
    found = [("family", FAMILY_NAMES[item.family])]
    if item.sidecar.weight is not None:
        found.append(("weight", f"× {item.sidecar.weight:g}"))
    found.append(("size", size_text(item.listed.size)))
    if item.short_hash:
        found.append(("hash", item.short_hash))
    if not item.own:
        found.append(("place", PLACES.get(item.folder, item.folder.name)))
    return "".join(f'<span class="chip {kind}">{shown(text)}</span>' for kind, text in found)


def shown(text: str) -> str:
    """A file's text on one line, for HTML."""
    return escape(printable(text))


def _card(item: Item, chosen: bool) -> str:
    problem = item.listed.summary.problem
    words = "can't be read" if problem else item.trigger
    words = words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
    return (
        f'<li><button type="button" class="card{" broken" if problem else ""}" data-adapter="{escape(item.id)}" '
        f'aria-pressed="{str(chosen).lower()}">{picture(item)}<span class="name">{shown(item.id)}</span>'
        f'<span class="words">{shown(words)}</span><span class="chips">{chips(item)}</span></button></li>'
    )
