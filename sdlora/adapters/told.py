"""What an adapter's metadata tells its user: trigger words, tags, training facts. No torch.

Files come from anywhere: an entry of another form than usual is left out, never an error.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

# Title for people → the entries that tell it, the first one present counts.
TRAINING_FACTS = {
    "title": ("modelspec.title", "ss_output_name"),
    "author": ("modelspec.author",),
    "license": ("modelspec.license",),
    "description": ("modelspec.description",),
    "usage hint": ("modelspec.usage_hint",),
    "date": ("modelspec.date", "ss_training_started_at"),
    "made by": ("sdlora_version", "ss_network_module"),
    "network arguments": ("ss_network_args",),
    "base": ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture"),
    "base's hash": ("ss_new_sd_model_hash", "ss_sd_model_hash"),
    "prediction": ("modelspec.prediction_type",),
    "clip skip": ("ss_clip_skip",),
    "resolution": ("modelspec.resolution", "ss_resolution"),
    "images": ("ss_num_train_images",),
    "steps": ("ss_steps", "ss_max_train_steps"),
    "epochs": ("ss_epoch", "ss_num_epochs"),
    "batch size": ("ss_batch_size_per_device", "ss_total_batch_size"),
    "learning rate": ("ss_unet_lr", "ss_learning_rate"),
    "text encoder's learning rate": ("ss_text_encoder_lr",),
    "optimizer": ("ss_optimizer",),
    "schedule": ("ss_lr_scheduler",),
    "seed": ("ss_seed",),
    "precision": ("ss_mixed_precision",),
    "merged from": ("modelspec.merged_from",),
}
NOTHING = ("", "None", "null", "{}", "[]")
LONGEST = 300  # characters of one fact; a person reads no more
TRIGGER, THUMBNAIL = "modelspec.trigger_phrase", "modelspec.thumbnail"


def training_facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """Title → value, in a fixed order, of what the `ss_*` and `modelspec.*` entries say of how the file was made."""
    facts = {}
    for title, keys in TRAINING_FACTS.items():
        told = (metadata[key] for key in keys if metadata.get(key, "") not in NOTHING)
        if value := next(told, None):
            facts[title] = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    return facts


def tag_counts(metadata: Mapping[str, str]) -> dict[str, int]:
    """Tag → in how many captions, most frequent first, summed over the folders of `ss_tag_frequency`."""
    counts: Counter[str] = Counter()
    for tags in _folders(metadata.get("ss_tag_frequency", "")):
        counts.update({tag.strip(): n for tag, n in tags.items() if isinstance(n, int) and tag.strip()})
    return dict(counts.most_common())


def has_thumbnail(metadata: Mapping[str, str]) -> bool:
    """Whether a picture is in the header."""
    return metadata.get(THUMBNAIL, "").startswith("data:image/")


def _folders(text: str) -> list[dict[str, Any]]:
    """The inner dictionaries of `{"dir": {"tag": n}}`."""
    try:
        folders = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return []
    return [tags for tags in folders.values() if isinstance(tags, dict)] if isinstance(folders, dict) else []
