"""diffusers' and PEFT's keys, of today and of old.

`unet.….to_q.lora_A.weight` (down) and `lora_B` (up); older `….processor.to_q_lora.down.weight`, `….lora.down.weight`,
`….q_proj.lora_linear_layer.down.weight`; a PEFT folder's `base_model.model.…`. Alphas and ranks: peft_config.py.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from ...errors import Error
from .. import tables
from ..adapter import Adapter
from ..updates import LoRA, Update
from ..updates.dora import DoRA
from ..updates.input_oft import InputOFT
from .dotted import DOWN, split
from .kohya import family_for_names, stored
from .peft_config import COMPONENTS, PeftConfig
from .placing import Format, Parts, Place, families_of

UNET = re.compile(r"(down_blocks|up_blocks|mid_block|conv_in|conv_out|conv_norm_out|time_embedding|add_embedding)\.")
TEXT = re.compile(r"(text_model|encoder\.layers|text_projection)\b")
OLD_TEXT_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
WITHOUT_BIAS = re.compile(r"unet\..*\.to_[qkv]")  # the modules whose outputs IA³ can scale by the weight alone
STARTS = ("unet.", "text_encoder.", "text_encoder_2.", "base_model.model.")


def format_for(configs: Mapping[str, PeftConfig], component: str | None = None) -> Format:
    """The format with each component's settings. `component` is that of a folder with one network's adapter."""
    return Format("diffusers", partial(place, component=component), partial(_kohyas_parts, configs))


def place(key: str, component: str | None = None) -> Place | None:
    """`unet.mid_block.attentions.0.proj_in.lora_A.weight` → `unet.mid_block.attentions.0.proj_in`."""
    if component is None and not key.startswith(STARTS) and not UNET.match(key) and not TEXT.match(key):
        return None
    if (taken := split(key)) is None:
        return Place(key, None, "")
    module, part = taken
    path = _path(module, component)
    return Place(module, path, part, families_of(path))


def _path(module: str, component: str | None) -> str | None:
    name = module.replace("base_model.model.", "", 1).replace(".processor.", ".")
    named = next((start for start in COMPONENTS if name.startswith(f"{start}.")), None)
    inner = name.removeprefix(f"{named}.") if named else name
    inner = inner.replace("base_model.model.", "", 1)
    component = named or component or ("text_encoder" if TEXT.match(inner) else "unet")
    if component == "unet":
        path = f"unet.{inner}.0" if inner.endswith(".to_out") else f"unet.{inner}"
    else:
        stem, _, last = inner.rpartition(".")
        inner = f"{stem}.{OLD_TEXT_NAMES.get(last, last)}".removeprefix(".")
        start = "" if inner.startswith(("text_model.", "text_projection")) else "text_model."
        path = f"{component}.{start}{inner}"
    return path if families_of(path) else None


def _kohyas_parts(configs: Mapping[str, PeftConfig], path: str, parts: Parts) -> Parts:
    """The parts as `update_from` knows them: alpha from the settings, DoRA's norms as a column, PEFT's own kinds."""
    component, inner = path.split(".", 1)
    config = configs.get(component, PeftConfig())
    found = dict(parts)
    if "oft_R.weight" in parts:
        return found | _oft(config, parts["oft_R.weight"])
    if "ia3_l" in parts:
        return {**{k: v for k, v in found.items() if k != "ia3_l"}, **_ia3(path, parts["ia3_l"])}
    if "lora_magnitude_vector" in parts:
        magnitude = found.pop("lora_magnitude_vector")
        down = found.get(DOWN)
        found["dora_scale"] = magnitude.reshape(-1, *(1,) * (down.ndim - 1 if down is not None else 1))
    if (alpha := config.alpha(inner)) is not None and "alpha" not in found:
        found |= _scaled(config, inner, found, alpha)
    return found


def _scaled(config: PeftConfig, module: str, parts: Parts, alpha: float) -> Parts:
    """The alpha that makes alpha / rank PEFT's scale; LoKr of two whole sides, which has none, is multiplied by it."""
    if "lokr_w1" in parts and "lokr_w2" in parts:
        rank = config.rank(module)
        if rank is None:
            raise Error("its rank is not said, so there is no telling what alpha scales")
        return {"lokr_w1": parts["lokr_w1"].float() * (alpha / rank)}
    if config.rank_stabilised and DOWN in parts and parts[DOWN].ndim:
        alpha *= math.sqrt(parts[DOWN].shape[0])
    return {"alpha": torch.tensor(alpha, dtype=torch.float32)}


def _oft(config: PeftConfig, packed: Tensor) -> Parts:
    """PEFT's rotation of the inputs, with its settings."""
    given = config.settings
    terms, eps = given.get("num_cayley_neumann_terms", 5), given.get("eps", 6e-5)
    if type(terms) is not int or not isinstance(eps, int | float):
        raise Error("its settings make no sense")
    # written by PEFT before it had the series, a folder does not name it
    series = given.get("use_cayley_neumann", "num_cayley_neumann_terms" in given) is True
    return InputOFT.from_peft(
        packed,
        use_cayley_neumann=series,
        num_cayley_neumann_terms=terms,
        coft=given.get("coft") is True,
        eps=float(eps),
    ).tensors()


def _ia3(path: str, factors: Tensor) -> Parts:
    """PEFT's factors around 1 as LyCORIS' around 0. Scaled outputs scale the bias too, so there must be none."""
    on_input = factors.ndim == 2 and factors.shape[0] == 1
    if factors.ndim != 2 or not (on_input or WITHOUT_BIAS.fullmatch(path)):
        raise Error("it is an IA³ update that scales the bias or a convolution, which sdlora does not put on")
    return {"weight": (factors.float() - 1).flatten(), "on_input": torch.tensor(int(on_input))}


def write(adapter: Adapter, dtype: torch.dtype | None) -> tuple[Parts, dict[str, object]]:
    """Keys with tensors, and the content of the metadata entry. Raises `Error` for what diffusers can't load."""
    if adapter.tokens or adapter.tokens_2:
        raise Error(
            f"adapter {adapter.name!r} has learned tokens, which diffusers' format has no place for: save in Kohya's "
            "format"
        )
    shapes = {row.path: row.shape for row in tables.rows(family_for_names(adapter))}
    tensors: Parts = {}
    settings: dict[str, object] = {}
    for component in COMPONENTS:
        own = {path: update for path, update in sorted(adapter.updates.items()) if path.startswith(f"{component}.")}
        if not own:
            continue
        for path, update in own.items():
            for part, tensor in _pefts_parts(path, update, shapes.get(path, ())[2:]).items():
                tensors[f"{path}.{part}"] = stored(tensor, dtype, f"{path} {part}")
        settings |= {f"{component}.{key}": value for key, value in _settings(component, own).items()}
    return tensors, settings


def _pefts_parts(path: str, update: Update, kernel: tuple[int, ...]) -> Parts:
    """`kernel` is the module's: a 1 × 1 convolution's update may be a linear layer's, or the other way round."""
    lora = update.direction if isinstance(update, DoRA) and update.per_output else update
    if not isinstance(lora, LoRA):
        raise Error(
            f"{path} is {update.kind}{' by input' if isinstance(update, DoRA) else ''}, which diffusers' format has no "
            "keys for: save in Kohya's format, or make it LoRA first with `sdlora resize --rank N`"
        )
    kernel = kernel if lora.down.shape[2:] in ((), (1, 1)) else tuple(lora.down.shape[2:])
    ones = (1,) * len(kernel)
    parts = {
        "lora_A.weight": lora.down.reshape(*lora.down.shape[:2], *kernel),
        "lora_B.weight": lora.up.reshape(*lora.up.shape[:2], *ones),
    }
    if isinstance(update, DoRA):
        outputs = update.magnitude.numel()
        # with `.weight`, which PEFT itself leaves out, transformers 5 finds it in text encoders too
        parts["lora_magnitude_vector.weight"] = update.magnitude.reshape((1, outputs, 1, 1) if kernel else (outputs,))
    return parts


def _settings(component: str, updates: Mapping[str, Update]) -> dict[str, object]:
    """PEFT's LoraConfig of a component. Text encoders' module names lack `text_model`, so they match both forms."""
    dora = {isinstance(update, DoRA) for update in updates.values()}
    if len(dora) > 1:
        raise Error(
            f"{component} has both LoRA and DoRA updates, which diffusers' format can't tell apart: save as kohya"
        )
    names = {path: path.removeprefix(f"{component}.").removeprefix("text_model.") for path in updates}
    rank = Counter(update.rank for update in updates.values()).most_common(1)[0][0]
    alpha = Counter(update.alpha for update in updates.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {names[path]: update.rank for path, update in updates.items() if update.rank != rank},
        "alpha_pattern": {names[path]: _number(u.alpha) for path, u in updates.items() if u.alpha != alpha},
        "target_modules": sorted(names.values()),
        "use_dora": dora == {True},
        "bias": "none",
    }


def _number(value: float | None) -> float | int:
    """A whole number as one: 8, not 8.0."""
    return int(value) if value is not None and float(value).is_integer() else float(value or 0)
