"""Settings of kohya's sd-scripts as ours: what can be carried over, and a sentence for each key that can't.

A training's TOML or JSON (the web interface's too), with the dataset config that it names; or a dataset config alone.
"""

import ast
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import tomlkit

from ..data.captions import SUFFIXES
from ..errors import Error
from .config import TrainConfig, read_toml
from .config_values import TARGETS, Schedule
from .kohya_keys import HINTS, LYCORIS_TARGETS, NEEDLESS, NEUTRAL, OPTIMISERS, SAME, THEIR_DEFAULTS, WORDS

LAST = ("unet_lr", "network_args")  # which win over learning_rate, and say more of the network and its rank


class NotCarried(Exception):
    """Why a key has no like here; caught where the keys are gone through."""


@dataclass
class Imported:
    """Our settings, and a sentence for each of theirs that is not among them."""

    settings: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def toml(self) -> str:
        """The settings as a config file."""
        return tomlkit.dumps(self.settings)


def import_kohya(path: Path) -> Imported:
    """Read a config of sd-scripts. Raises `Error` for a file that can't be read, or has nothing of a training in it."""
    theirs = _read(path)
    dataset: dict[str, Any] = {key: theirs.pop(key) for key in ("general", "datasets") if key in theirs}
    theirs = _flattened(theirs)
    if named := theirs.pop("dataset_config", None):
        dataset |= _read(next((p for p in (Path(named), path.parent / named) if p.is_file()), Path(named)))
    found = Imported()
    _Carrier(found).carry(theirs, dataset)
    if not found.settings:
        raise Error(f"{path} has no setting of sd-scripts that is known here: give a training's config, .toml or .json")
    if "class_images" in found.settings:
        found.settings.setdefault("prior_preservation", 1.0)
    else:
        found.settings.pop("prior_preservation", None)  # a weight of nothing
    ours = (THEIR_DEFAULTS if theirs else {}) | {"name": path.stem} | found.settings
    if "epochs" not in ours and theirs:
        ours.setdefault("steps", 1600)
    ours.setdefault("text_encoder_learning_rate", ours.get("learning_rate", "auto"))
    checked = TrainConfig(**({"images": "."} | ours))
    found.settings = {key: getattr(checked, key) for key in TrainConfig.model_fields if key in ours}
    if "images" not in ours:
        found.left_out.append("no folder of images is named: add images = …")
    return found


class _Carrier:
    """Goes through their keys, one method for each that needs more than another name."""

    def __init__(self, found: Imported) -> None:
        self._ours, self._left_out = found.settings, found.left_out
        self._special: dict[str, Callable[[Any], None]] = {
            "resolution": self._resolution,
            "max_resolution": self._resolution,
            "text_encoder_lr": self._text_encoder_rate,
            "max_grad_norm": lambda value: self._ours.update(max_grad_norm=value or 1e9),  # 0 switches it off
            "optimizer_type": self._optimiser,
            "optimizer": self._optimiser,
            "optimizer_args": self._optimiser_args,
            "lr_scheduler": self._schedule,
            "lr_warmup_steps": self._warmup,
            "lr_scheduler_num_cycles": lambda value: self._curve_argument("cosine_with_restarts", "num_cycles", value),
            "lr_scheduler_power": lambda value: self._curve_argument("polynomial", "power", value),
            "lr_scheduler_args": lambda value: self._ours.setdefault("schedule_args", {}).update(_pairs(value)),
            "caption_extension": self._caption_files,
            "enable_wildcard": lambda value: self._ours.update(wildcards=value, caption_lines="choose"),
            "network_args": self._network_args,
            "sample_prompts": self._sample_prompts,
            "base_weights": self._base_weights,
        }

    def carry(self, theirs: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
        """Their training's keys, then their dataset's, which win as they do there."""
        self._schedule_name = theirs.get("lr_scheduler", "constant")
        self._steps = theirs.get("max_train_steps", 1600)
        self._multipliers = _listed(theirs.get("base_weights_multiplier") or [])
        for key in sorted(theirs, key=lambda key: key in LAST):
            self._one(key, theirs[key])
        for where, key, value in _of_dataset(dataset):
            if where and where not in ("datasets[0]", "datasets[0].subsets[0]"):
                self._left_out.append(f"{where}.{key} = {value!r}: there is one folder and one set of settings here")
            else:
                self._one(key, value)
        if self._ours.get("kind", "lora") != "lora":
            self._ours.setdefault("targets", LYCORIS_TARGETS["full"])

    def _one(self, key: str, value: Any) -> None:
        try:
            if key in SAME and value not in (None, ""):
                self._ours[SAME[key]] = value
            elif key in self._special and value not in (None, ""):
                self._special[key](value)
            elif key in WORDS:
                self._word(key, value)
            elif key not in NEEDLESS and value and NEUTRAL.get(key) != value:
                raise NotCarried(HINTS.get(key, "there is nothing like it here"))
        except NotCarried as problem:
            self._left_out.append(f"{key} = {value!r}: {problem}")

    def _word(self, key: str, value: Any) -> None:
        ours, words = WORDS[key]
        if value in words:
            self._ours[ours] = words[value]
        elif value:
            raise NotCarried(f"{ours} is one of {', '.join(map(str, words.values()))}")

    def _resolution(self, value: Any) -> None:
        parts = [int(part) for part in (value.split(",") if isinstance(value, str) else _listed(value))]
        if len(set(parts)) > 1:
            raise NotCarried("resolution is the side of a square; buckets = true makes other shapes of the same area")
        self._ours["resolution"] = parts[0]

    def _sample_prompts(self, value: Any) -> None:
        if not str(value).lower().endswith(".txt"):
            raise NotCarried(HINTS["sample_prompts"])
        self._ours["sample_prompts"] = str(value)

    def _base_weights(self, value: Any) -> None:
        files = _listed(value)
        weights = [*self._multipliers, *[1.0] * len(files)]  # as theirs are filled up
        self._ours["merged"] = [f"{file}:{weight:g}" for file, weight in zip(files, weights, strict=False)]

    def _text_encoder_rate(self, value: Any) -> None:
        rates = _listed(value)
        self._ours["text_encoder_learning_rate"] = rates[0]
        if len(set(rates)) > 1:
            raise NotCarried("both text encoders have the rate of the first here")

    def _optimiser(self, value: str) -> None:
        name = OPTIMISERS.get(value.lower(), value if "." in value else None)
        if name is None:
            raise NotCarried(
                "optimiser is one of adamw, adamw8bit, adafactor, lion, prodigy, schedule-free, or a class"
            )
        self._ours["optimiser"] = name

    def _optimiser_args(self, value: Any) -> None:
        arguments = _pairs(value)
        if "weight_decay" in arguments:
            self._ours["weight_decay"] = arguments.pop("weight_decay")
        adafactor_s = {key for key in ("relative_step", "scale_parameter", "warmup_init") if key in arguments}
        changed = sorted(key for key in adafactor_s if arguments[key])
        kept = {key: argument for key, argument in arguments.items() if key not in adafactor_s}
        if kept:
            self._ours["optimiser_args"] = kept
        if changed:
            raise NotCarried(f"adafactor here has the learning rate as it is, without {', '.join(changed)}")

    def _schedule(self, value: str) -> None:
        if value not in get_args(Schedule):
            raise NotCarried(f"schedule is one of {', '.join(get_args(Schedule))}")
        self._ours["schedule"] = value

    def _warmup(self, value: float) -> None:
        if self._schedule_name == "constant":
            return  # where sd-scripts have none
        self._ours["warmup"] = round(value if value >= 1 else value * self._steps)

    def _curve_argument(self, curve: str, name: str, value: Any) -> None:
        if self._schedule_name == curve:
            self._ours.setdefault("schedule_args", {})[name] = value

    def _caption_files(self, value: str) -> None:
        if value not in SUFFIXES:
            raise NotCarried(f"captions are in {' and '.join(SUFFIXES)} files here: rename them")

    def _network_args(self, value: Any) -> None:
        arguments = _pairs(value)
        self._lycoris(arguments)
        if ratio := arguments.pop("loraplus_lr_ratio", None):
            self._ours["lora_plus"] = ratio
        rank, alpha = arguments.pop("conv_dim", None), arguments.pop("conv_alpha", None)
        if rank:
            self._ours["targets"] = [t for t in TARGETS if t in (*THEIR_DEFAULTS["targets"], "convolutions")]
        same = rank in (None, self._ours.get("rank", 4)) and alpha in (None, self._ours.get("alpha", 1.0))
        if arguments or not same:
            raise NotCarried(HINTS["network_args"])

    def _lycoris(self, arguments: dict[str, Any]) -> None:
        """Take out what only LyCORIS' trainings have."""
        if arguments.get("algo") in ("lora", "locon", "loha", "lokr"):
            algo = str(arguments.pop("algo"))
            self._ours["kind"] = "locon" if algo == "lora" else algo
        if str(arguments.get("dora_wd")).lower() == "true" and self._ours.get("kind") == "locon":
            self._ours["kind"] = "dora"
            arguments.pop("dora_wd")
        if self._ours.get("kind") == "lokr" and arguments.get("factor", -1) > 0:
            self._ours["lokr_factor"] = arguments.pop("factor")
        if arguments.get("preset") in LYCORIS_TARGETS:
            self._ours["targets"] = LYCORIS_TARGETS[arguments.pop("preset")]


def _of_dataset(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(place, key, value), from what holds for all to what holds for one folder."""
    yield from (("", key, value) for key, value in config.get("general", {}).items())
    for i, dataset in enumerate(config.get("datasets", ())):
        place = f"datasets[{i}]"
        yield from ((place, key, value) for key, value in dataset.items() if key != "subsets")
        for j, subset in enumerate(dataset.get("subsets", ())):
            yield from ((f"{place}.subsets[{j}]", key, value) for key, value in subset.items())


def _read(path: Path) -> dict[str, Any]:
    if path.suffix.lower() != ".json":
        return read_toml(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Error(f"There is no config file {path}") from None
    except ValueError as problem:
        raise Error(f"{path} is not valid JSON: {problem}") from None
    if not isinstance(found, dict):
        raise Error(f"{path} holds no settings: give a training's config")
    return found


def _flattened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """sd-scripts look through sections: their names mean nothing."""
    inner = [part for part in settings.values() if isinstance(part, dict)]
    flat = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    for part in inner:
        flat |= part
    return flat


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pairs(value: Any) -> dict[str, Any]:
    """`key=value` pairs, in a list or one text, their values read as Python's."""
    items = value.split() if isinstance(value, str) else value
    found = {}
    for item in items:
        key, _, text = item.partition("=")
        try:
            read = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            read = text
        found[key.strip()] = list(read) if isinstance(read, tuple) else read
    return found
