"""A mix that has been looked up: adapters for names, learned tokens, weights in units of strength."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..adapters import Adapter
from ..adapters import library as adapter_library
from ..bases import Base
from ..errors import Error
from .learned_tokens import LearnedTokens, learned_tokens
from .mix import Given, Weights, parse
from .modes import MODES, Mix, Mode
from .tags import Tag

Factor = Callable[[Adapter], float]


@dataclass(frozen=True)
class Entry:
    """One adapter of a mix: the name or path that it was given by, and the weights as they were given."""

    key: str
    adapter: Adapter
    weights: Weights


@dataclass(frozen=True)
class MixInForce:
    """The entries, found by name in `library`, and what follows from them: adapters with the weights that they have,
    and their learned tokens."""

    entries: tuple[Entry, ...] = ()
    library: adapter_library.Library | None = None
    mode: Mode = "blend"
    equalise: bool = False
    mix: Mix = ()
    tokens: LearnedTokens = field(default_factory=LearnedTokens)

    @property
    def active(self) -> list[tuple[Adapter, Weights]]:
        """Without what is off or at weight 0."""
        return [(adapter, weights) for adapter, weights in self.mix if weights.active]


@dataclass(frozen=True)
class Lookup:
    """Finds what a mix names. `paths` are the module paths of the base, `factor` is what equalises an adapter."""

    base: Base
    paths: Collection[str]
    factor: Factor

    def mix(
        self, given: Mapping[str, Given], library: adapter_library.Library | None, mode: Mode, *, equalise: bool
    ) -> MixInForce:
        """The mix of `{name or path: weights}`. Raises `Error` as `Mixer.set` does."""
        if not isinstance(given, Mapping):
            raise Error(f"a mix is {{name: weight}}, such as {{'ink': 0.8}}; this is {given!r}")
        if mode not in MODES:
            raise Error(f"there is no mode {mode!r}: give {', '.join(MODES)}")
        weights = {str(key): self._weights(str(key), value) for key, value in given.items()}
        entries = [Entry(key, self._load(adapter_library.find(key, library)), w) for key, w in weights.items()]
        return self._in_force(entries, library, mode, equalise=equalise)

    def with_tags(self, now: MixInForce, tags: Sequence[Tag], library: adapter_library.Library | None) -> MixInForce:
        """The mix with what a prompt's tags say of it: they change the weights of adapters that are in it, and add
        those that are in the library. Raises `Error` for a name that is in neither, naming near ones."""
        if not tags:
            return now
        entries = {entry.key: entry for entry in now.entries}
        for tag in tags:
            weights = self._weights(tag.name, tag.given())
            meant = [entry for entry in entries.values() if tag.name in (entry.adapter.name, entry.key)]
            for entry in meant or [Entry(tag.name, self._load(adapter_library.named(tag.name, library)), weights)]:
                entries[entry.key] = Entry(entry.key, entry.adapter, weights)
        return self._in_force(list(entries.values()), now.library, now.mode, equalise=now.equalise)

    def _weights(self, key: str, given: Given) -> Weights:
        return parse(key, given, self.paths, self.base.family)

    def _in_force(
        self, entries: Sequence[Entry], library: adapter_library.Library | None, mode: Mode, *, equalise: bool
    ) -> MixInForce:
        mix = [
            (entry.adapter, entry.weights.times(self.factor(entry.adapter)) if equalise else entry.weights)
            for entry in entries
        ]
        tokens = learned_tokens(self.base, [adapter for adapter, weights in mix if weights.active])
        return MixInForce(tuple(entries), library, mode, equalise, mix, tokens)

    def _load(self, path: Path) -> Adapter:
        adapter = adapter_library.load(path)
        if adapter.family not in (None, self.base.family):
            raise Error(
                f"adapter {adapter.name!r} is for {adapter.family}, the base {self.base.path} is {self.base.family}"
            )
        return adapter
