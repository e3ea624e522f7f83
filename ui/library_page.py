"""The page on which adapters are kept: found, looked at, noted on, changed, merged, shared, thrown away."""

import threading
from functools import lru_cache
from pathlib import Path

import gradio as gr

from sdlora.adapters.collection import FAMILIES, ORDERS, OTHER, Item
from sdlora.adapters.inspection import inspect
from sdlora.adapters.trash import Trash
from sdlora.errors import Error
from sdlora.workspace_settings import FILE, read_settings

from .engine import Engine
from .library import cards, details
from .library.acting import HEAVY, QUIET, Desk, Updates, Values, one_sentence
from .library.changing import Changing
from .library.merging import Merging
from .library.notes import Notes
from .library.receiving import Receiving
from .library.sharing import Sharing
from .library.trash_box import TrashBox
from .to_mix import ForMix, ToMix

PAGE = 24  # cards at a time: with thousands of adapters a page is as quick as with ten
LONGEST_SEARCH = 200  # characters
ALL, OWN, FURTHER = "all", "own", "further"
FAMILY_CHOICES = [("All families", ALL), *((cards.FAMILY_NAMES[f], f) for f in FAMILIES), ("Not told", OTHER)]
PLACE_CHOICES = [("All folders", ALL), ("My own", OWN), ("Only read", FURTHER)]
ORDER_CHOICES = list(zip(("By name", "Newest first", "Largest first"), ORDERS, strict=True))
# On a narrow screen the details are below the cards.
SHOW_DETAILS = """() => {
    const details = document.querySelector('#library-details');
    details?.scrollTo({top: 0});
    if (details && window.innerWidth < 800) setTimeout(() => details.scrollIntoView({behavior: 'smooth'}), 150);
}"""


class LibraryPage:
    """Builds the page inside the current `gr.Blocks`, and answers what is done on it."""

    def __init__(self, engine: Engine, blocks: gr.Blocks, to_mix: ToMix) -> None:
        self._engine, self._to_mix = engine, to_mix
        self.desk = Desk(engine)
        # a folder that was never looked into takes seconds: begin before somebody waits for it
        threading.Thread(target=engine.library.refresh, name="library", daemon=True).start()
        trash = Trash(engine.workspace / "trash")
        self._page = gr.State(0)
        self._shown = gr.State("")  # whose details are in the fields
        with gr.Row(elem_id="library"):
            with gr.Column(scale=6, min_width=320):
                self._search()
                self._cards = gr.HTML(js_on_load=cards.ON_LOAD, container=False, elem_id="library-cards")
                self._pager()
                _missing_folders(engine)
                self._trash = TrashBox(self.desk, trash)
                self._receiving = Receiving(self.desk)
            with gr.Column(scale=5, min_width=320, elem_id="library-details"):
                self._merging = Merging(self.desk)
                self._nothing = gr.HTML(_nothing_chosen(), container=False)
                with gr.Column(visible=False) as self._details:
                    self._detail_parts(trash)
        self._connect(blocks)

    def _search(self) -> None:
        with gr.Group(elem_id="library-search"):
            self._text = gr.Textbox(label="Search", placeholder="name, trigger words, tags, notes, hash")
            with gr.Row():
                self._family = gr.Dropdown(FAMILY_CHOICES, value=ALL, label="Family", min_width=130)
                self._place = gr.Dropdown(PLACE_CHOICES, value=ALL, label="Folder", min_width=130)
                self._order = gr.Dropdown(ORDER_CHOICES, value=ORDERS[0], label="Order", min_width=130)

    def _pager(self) -> None:
        with gr.Row(elem_id="library-pager"):
            self._previous = gr.Button("Previous", size="sm", min_width=80)
            self._count = gr.HTML(container=False)
            self._refresh = gr.Button("Refresh", size="sm", min_width=80)
            self._next = gr.Button("Next", size="sm", min_width=80)

    def _detail_parts(self, trash: Trash) -> None:
        self._head = gr.HTML(container=False, elem_id="library-head")
        with gr.Row():
            self._use = gr.Button("Use in Mix", variant="primary", size="sm", min_width=110)
            self._to_merge = gr.Button("Add to merge", size="sm", min_width=110)
        with gr.Tabs():
            with gr.Tab("About"):
                self._about = gr.HTML(container=False, elem_id="library-about")
            with gr.Tab("Notes"):
                self._notes = Notes(self.desk)
            with gr.Tab("Change"):
                self._changing = Changing(self.desk, trash)
            with gr.Tab("Share"):
                self._sharing = Sharing(self.desk)

    def _connect(self, blocks: gr.Blocks) -> None:
        desk = self.desk
        asked = {self._text, self._family, self._place, self._order, self._page, desk.chosen}
        listing = [self._cards, self._count, self._previous, self._next, self._page]
        blocks.load(self._open, asked, [*listing, *self._trash.outputs], **QUIET)
        self._refresh.click(self._open, asked, [*listing, *self._trash.outputs], **QUIET)
        # Gradio's `input` of a text box comes with keys that write alone: not with Backspace, not with pasting
        self._text.change(self._first, asked, listing, trigger_mode="always_last", **QUIET)
        for choice in (self._family, self._place, self._order):
            choice.input(self._first, asked, listing, **QUIET)
        self._previous.click(lambda values: self._list(values, -1), asked, listing, **QUIET)
        self._next.click(lambda values: self._list(values, 1), asked, listing, **QUIET)
        shown = [desk.chosen, self._shown, self._details, self._nothing, self._head, self._about]
        fields = [*self._notes.outputs, *self._changing.outputs, *self._sharing.outputs]
        everything = [*listing, *self._trash.outputs, *shown, *fields]
        changed = desk.changed.change(self._changed, {*asked, self._shown}, everything, **QUIET)
        choice = self._cards.choose(self._choose, None, [*shown, *fields], **QUIET)
        for before in (changed, choice):
            before.then(self._inspect, {desk.chosen}, self._about, **HEAVY | QUIET)
        self._cards.choose(None, None, None, js=SHOW_DETAILS)
        merge = {desk.chosen, self._merging.ids, *self._merging.weights}
        self._to_merge.click(self._add_to_merge, merge, [*self._merging.outputs, desk.changed], **QUIET)
        self._to_merge.click(None, None, None, js=SHOW_DETAILS)
        self._use.click(self._send, {desk.chosen}, [*self._to_mix.outputs, desk.changed], **QUIET)

    def _open(self, values: Values) -> Updates:
        """Look into the folders; what was searched for stays."""
        self._engine.library.refresh()
        return self._list(values) | self._trash.show()

    def _changed(self, values: Values) -> Updates:
        """Files have changed, or another adapter is chosen. What is typed into fields stays where it can."""
        updates, chosen = self._list(values) | self._trash.show(), values[self.desk.chosen]
        if chosen == values[self._shown] and chosen:
            return updates | self._head_of(chosen)
        return updates | self._show(chosen)

    def _first(self, values: Values) -> Updates:
        return self._list({**values, self._page: 0})

    def _list(self, values: Values, step: int = 0) -> Updates:
        """One page of cards of what is searched for; no file is read."""
        family, place = values[self._family], values[self._place]
        found = self._engine.library.search(
            (values[self._text] or "")[:LONGEST_SEARCH],
            family=None if family == ALL else family,
            own=None if place == ALL else place == OWN,
            order=values[self._order],
        )
        last = max(0, (len(found) - 1) // PAGE)
        page = min(max(0, values[self._page] + step), last)
        shown = found[page * PAGE : (page + 1) * PAGE]
        first = page * PAGE + 1
        count = f"{first}–{first + len(shown) - 1} of {len(found)}" if found else "none"
        return {
            self._cards: cards.cards(shown, values[self.desk.chosen]),
            self._count: f'<span role="status">{count}</span>',
            self._previous: gr.update(interactive=page > 0),
            self._next: gr.update(interactive=page < last),
            self._page: page,
        }

    def _choose(self, event: gr.EventData) -> Updates:
        """A card was pressed: at once what the list knows. The id is looked up before anything is done with it."""
        return self._show(str(event._data.get("adapter", "")))

    def _show(self, id: str) -> Updates:
        item = self._item(id)
        if item is None:
            hidden = {self._details: gr.update(visible=False), self._nothing: gr.update(visible=True)}
            return {self.desk.chosen: "", self._shown: "", **hidden}
        shown: Updates = {self._details: gr.update(visible=True), self._nothing: gr.update(visible=False)}
        shown |= {self.desk.chosen: id, self._shown: id, self._about: "<p>Reading the file …</p>"}
        fields = self._notes.show(item) | self._changing.show(item) | self._sharing.show(item)
        return shown | self._head_of(id) | fields

    def _inspect(self, values: Values) -> str:
        """What the whole file tells."""
        item = self._item(values[self.desk.chosen])
        return _inspected(item) if item else ""

    def _head_of(self, id: str) -> Updates:
        item = self._item(id)
        return {self._head: details.head(item) if item else ""}

    def _item(self, id: str) -> Item | None:
        """None where there is no such adapter any more."""
        try:
            return self.desk.item({self.desk.chosen: id})
        except Error:
            return None

    @one_sentence
    def _add_to_merge(self, values: Values) -> Updates:
        return self._merging.add(values)

    @one_sentence
    def _send(self, values: Values) -> Updates:
        item = self.desk.item(values)
        weight = 1.0 if item.sidecar.weight is None else item.sidecar.weight
        sent = self._to_mix.send(ForMix(mix={item.id: weight}, add=True, words=item.trigger))
        return dict(zip(self._to_mix.outputs, sent, strict=True))


def _missing_folders(engine: Engine) -> None:
    """Say which folders of settings.toml are not there; what is in them is not in the library."""
    if missing := read_settings(engine.workspace).missing():
        names = ", ".join(cards.shown(str(folder)) for folder in missing)
        gr.HTML(f'<p class="alert" role="note">{FILE} names what is not there now: {names}</p>', container=False)


def _nothing_chosen() -> str:
    return '<p class="nothing">Choose a card to see all about an adapter, to note, change, merge or share it.</p>'


def _inspected(item: Item) -> str:
    try:
        facts = item.path.stat()
        return _inspection(item.path, facts.st_mtime_ns, facts.st_size)
    except Error as problem:
        return details.alert(str(problem))
    except OSError as problem:
        return details.alert(f"The file can't be read ({problem.strerror}).")


@lru_cache(maxsize=64)
def _inspection(path: Path, _modified: int, _size: int) -> str:
    """As HTML: an inspection itself holds all tensors of the file."""
    return details.inspected(inspect(path))
