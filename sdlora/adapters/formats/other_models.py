"""Adapters and other files for models that are none of ours, known by their keys. Imports no torch."""

import re
from collections.abc import Iterable
from itertools import islice

# (what it is, a piece that its keys alone have, dots or underscores between names), the first found counts.
_KINDS = tuple(
    (kind, re.compile(piece))
    for kind, piece in (
        ("an AnimateDiff motion adapter", r"motion_modules"),
        ("a ControlNet-LLLite", r"^lllite_"),
        ("a ControlNet or a Control-LoRA", r"control_model\.|controlnet_cond_embedding|lora_controlnet"),
        ("an IP-Adapter", r"^(ip_adapter|image_proj)\.|to_[kv]_ip\b"),
        ("an adapter for Stable Video Diffusion", r"time_stack|temporal_transformer_blocks"),
        ("an adapter for Stable Cascade", r"clip_txt_mapper|^lora_prior_unet|effnet_mapper"),
        ("an adapter for Chroma", r"distilled_guidance_layer"),
        ("an adapter for HiDream", r"double_stream_blocks|single_stream_blocks"),
        ("an adapter for Flux 2", r"single_stream_modulation|double_stream_modulation"),
        ("an adapter for AuraFlow", r"joint_transformer_blocks|double_layers[._]\d+[._]attn"),
        (
            "an adapter for Hunyuan Video",
            r"(double|single)_blocks[._]\d+[._].*(mlp[._]fc\d|mod[._]linear|modulation[._]linear)|token_refiner",
        ),
        (
            "an adapter for Flux",
            r"single_transformer_blocks|(double|single)_blocks[._]\d+[._].*(mlp[._][02]|mod[._]lin|modulation[._]lin)\b",
        ),
        ("an adapter for Flux or Hunyuan Video", r"(double|single)_blocks[._]\d+"),
        ("an adapter for Qwen-Image", r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)"),
        ("an adapter for Stable Diffusion 3", r"joint_blocks[._]\d+"),
        (
            "an adapter for Stable Diffusion 3 or another model with joint attention",
            r"transformer_blocks[._]\d+[._]attn[._]add_[qkv]_proj",
        ),
        (
            "an adapter for Wan (video)",
            r"blocks[._]\d+[._](cross_attn|self_attn)[._](q|k|v|o|k_img|v_img|norm_q)\b|blocks[._]\d+[._]ffn[._]",
        ),
        (
            "an adapter for Lumina or Z-Image",
            r"(noise|context)_refiner|cap_embedder|layers[._]\d+[._](attention|feed_forward)[._]",
        ),
        ("an adapter for Sana", r"conv_inverted|conv_point"),
        (
            "an adapter for PixArt",
            r"blocks[._]\d+[._]cross_attn[._](kv_linear|q_linear)|caption_projection|adaln_single",
        ),
        (
            "an adapter for a transformer model such as PixArt, LTX-Video or CogVideoX",
            r"^transformer[._]|^(lora|lycoris)_transformer_",
        ),
        ("an adapter for a language model", r"model[._]layers[._]\d+[._](self_attn|mlp)|(gate|up|down)_proj[._]lora"),
        ("an adapter for a T5 text encoder", r"^lora_te3_|SelfAttention|DenseReluDense"),
        (
            "a base, not an adapter (give it with --base)",
            r"^model\.diffusion_model\.input_blocks\.\d+\.\d.*\.(weight|bias)$",
        ),
        (
            "one network of a base, not an adapter",
            r"^(down_blocks|up_blocks|text_model|decoder|encoder)\..*(?<!lora_[AB]\.)(?<!down\.)(?<!up\.)weight$",
        ),
    )
)
LONGEST_KEY, MOST_KEYS = 300, 4000  # a file's keys are all alike: the first ones tell


def kind_of(keys: Iterable[str]) -> str | None:
    """What a file of these keys is, with its article (`an adapter for Flux`); None when they tell nothing."""
    names = [key for key in islice(keys, MOST_KEYS) if len(key) <= LONGEST_KEY]
    return next((kind for kind, piece in _KINDS if any(piece.search(name) for name in names)), None)
