"""Small files of every format and kind, as bytes, for the fuzzer to change."""

import json
from dataclasses import dataclass, field

import torch
from safetensors.torch import save
from torch import Tensor

from tests.adapters.made import numbers

ATTENTION = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONTEXT = "mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
RESNET = "down_blocks_0_resnets_0_conv1"
NORM = "down_blocks_0_resnets_0_norm1"
SGM = "input_blocks_4_1_transformer_blocks_0_attn1_to_q"
TEXT = "text_model_encoder_layers_0_self_attn_q_proj"
DOTTED = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"
OUT, IN, R = 8, 6, 2


@dataclass(frozen=True)
class Specimen:
    """A file: its tensors by key, its metadata, and, for a PEFT folder, what its settings file says."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] | None = None

    def header_and_data(self) -> tuple[dict[str, object], bytes]:
        """The header as JSON would have it, and the bytes behind it."""
        content = save(self.tensors, self.metadata or None)
        end = 8 + int.from_bytes(content[:8], "little")
        return json.loads(content[8:end]), content[end:]


def _t(*shape: int, seed: int = 0) -> Tensor:
    return numbers(shape, seed)


def _parts(name: str, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{part}": tensor.clone() for part, tensor in parts.items()}


LINEAR = {"lora_down.weight": _t(R, IN), "lora_up.weight": _t(OUT, R), "alpha": torch.tensor(1.0)}
CONV = {"lora_down.weight": _t(R, 4, 3, 3), "lora_up.weight": _t(OUT, R, 1, 1), "alpha": torch.tensor(1.0)}
KINDS = {
    "lora": LINEAR,
    "locon": CONV,
    "tucker": {
        "lora_down.weight": _t(R, 4, 1, 1),
        "lora_up.weight": _t(OUT, R, 1, 1),
        "lora_mid.weight": _t(R, R, 3, 3),
    },
    "dora": LINEAR | {"dora_scale": _t(OUT, 1)},
    "dora per input": LINEAR | {"dora_scale": _t(1, IN)},
    "loha": {
        **{f"hada_w{i}_a": _t(OUT, R, seed=i) for i in (1, 2)},
        **{f"hada_w{i}_b": _t(R, IN, seed=i + 2) for i in (1, 2)},
        "alpha": torch.tensor(1.0),
    },
    "loha tucker": {
        **{f"hada_w{i}_a": _t(R, OUT, seed=i) for i in (1, 2)},
        **{f"hada_w{i}_b": _t(R, IN, seed=i + 2) for i in (1, 2)},
        **{f"hada_t{i}": _t(R, R, 3, 3, seed=i + 4) for i in (1, 2)},
    },
    "lokr": {"lokr_w1": _t(2, 2), "lokr_w2_a": _t(4, R), "lokr_w2_b": _t(R, 3), "alpha": torch.tensor(1.0)},
    "lokr full": {"lokr_w1": _t(2, 2), "lokr_w2": _t(4, 3)},
    "lokr tucker": {"lokr_w1": _t(2, 2), "lokr_t2": _t(R, R, 3, 3), "lokr_w2_a": _t(R, 4), "lokr_w2_b": _t(R, 2)},
    "ia3": {"weight": _t(1, IN), "on_input": torch.tensor(True)},
    "glora": {
        "a1.weight": _t(IN, R),
        "a2.weight": _t(R, IN),
        "b1.weight": _t(OUT, R),
        "b2.weight": _t(R, IN),
        "alpha": torch.tensor(1.0),
    },
    "oft": {"oft_blocks": _t(2, 4, 4), "alpha": torch.tensor(1.0), "rescale": _t(OUT, 1)},
    "boft": {"oft_blocks": _t(2, 2, 4, 4), "alpha": torch.tensor(1.0)},
    "full": {"diff": _t(OUT, IN), "diff_b": _t(OUT)},
    "norm": {"w_norm": _t(OUT), "b_norm": _t(OUT)},
}
FACTS = {
    "ss_base_model_version": "sd_v1",
    "ss_network_dim": "2",
    "ss_tag_frequency": json.dumps({"10_ink": {"ink": 10, "a house": 3}}),
    "ss_dataset_dirs": json.dumps({"10_ink": {"n_repeats": 10, "img_count": 4}}),
    "modelspec.architecture": "stable-diffusion-v1/lora",
    "modelspec.trigger_phrase": "in ink style",
    "modelspec.thumbnail": "data:image/jpeg;base64,AAAA",
    "sshs_model_hash": "0" * 64,
}


def _kohya() -> dict[str, Specimen]:
    found = {}
    for kind, parts in KINDS.items():
        names = [f"lora_unet_{RESNET if kind in ('locon', 'tucker') else NORM if kind == 'norm' else ATTENTION}"]
        names += [f"lora_te_{TEXT}"] if kind == "lora" else []
        tensors = {key: tensor for name in names for key, tensor in _parts(name, parts).items()}
        found[f"kohya {kind}"] = Specimen(tensors, FACTS)
        found[f"lycoris {kind}"] = Specimen(_parts(f"lycoris_{ATTENTION}", parts))
    return found


def _others() -> dict[str, Specimen]:
    peft = {f"{DOTTED}.to_q.lora_A.weight": _t(R, IN), f"{DOTTED}.to_q.lora_B.weight": _t(OUT, R)}
    settings = {"r": R, "lora_alpha": 1, "rank_pattern": {"to_q": R}, "alpha_pattern": {"attn1.to_q": 3}}
    stated = {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in settings.items()})}
    bare = {key.replace("unet.", "base_model.model.", 1): tensor for key, tensor in peft.items()}
    comfy = {f"lora_{side}.weight": tensor for side, tensor in (("down", _t(R, IN)), ("up", _t(OUT, R)))}
    numbered = {
        f"unet:{i}:{side}": _t(OUT, R) if side == "up" else _t(R, IN) for i in (0, 10) for side in ("up", "down")
    }
    return {
        "sgm": Specimen(_parts(f"lora_unet_{SGM}", LINEAR) | _parts(f"lora_te2_{TEXT}", LINEAR)),
        "context": Specimen(_parts(f"lora_unet_{CONTEXT}", {**LINEAR, "lora_down.weight": _t(R, 768)})),
        "diffusers": Specimen(peft, stated),
        "diffusers dora": Specimen(peft | {f"{DOTTED}.to_q.lora_magnitude_vector": _t(OUT)}, stated),
        "diffusers old": Specimen({
            f"{DOTTED}.processor.to_q_lora.down.weight": _t(R, IN),
            f"{DOTTED}.processor.to_q_lora.up.weight": _t(OUT, R),
        }),
        "peft folder": Specimen(bare, settings={**settings, "use_rslora": True, "peft_type": "LORA"}),
        "peft oft": Specimen(
            {f"base_model.model.{DOTTED.removeprefix('unet.')}.to_q.oft_R.weight": _t(3, 1)},
            settings={"peft_type": "OFT", "oft_block_size": 2, "r": 3, "use_cayley_neumann": True},
        ),
        "comfy": Specimen(
            _parts("diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q", comfy)
            | _parts("text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj", comfy)
        ),
        "cloneofsimo": Specimen(
            numbered | {"text_encoder:0:up": _t(OUT, R), "text_encoder:0:down": _t(R, IN), "<s1>": _t(768)},
            {"<s1>": "<embed>", "unet": '["CrossAttention"]', "unet:0:rank": "2"},
        ),
        "embedding": Specimen({"emb_params": _t(2, 768)}),
        "embedding of SDXL": Specimen({"clip_l": _t(2, 768), "clip_g": _t(2, 1280)}),
        "bundle": Specimen(
            _parts(f"lora_unet_{ATTENTION}", LINEAR) | {"bundle_emb.ink.string_to_param.*": _t(2, 768)}, FACTS
        ),
        "flux": Specimen({"double_blocks.0.img_attn.qkv.lora_A.weight": _t(R, IN)}),
        "nothing": Specimen({}),
    }


SPECIMENS: dict[str, Specimen] = _kohya() | _others()
