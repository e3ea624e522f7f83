"""What a page says of an adapter: a Hugging Face card (README.md) and a text to paste into Civitai's form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData

from .samples import Sample

# The hub's names of the bases that most people use, by family and prediction; v-prediction is told by the metadata.
HUB_BASES = {
    ("sd15", False): "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ("sd2", False): "stabilityai/stable-diffusion-2-1-base",
    ("sd2", True): "stabilityai/stable-diffusion-2-1",
    ("sdxl", False): "stabilityai/stable-diffusion-xl-base-1.0",
}
CIVITAI_BASES = {
    ("sd15", False): "SD 1.5",
    ("sd2", False): "SD 2.1",
    ("sd2", True): "SD 2.1 768",
    ("sdxl", False): "SDXL 1.0",
}
TAGS = ["text-to-image", "diffusers", "lora", "template:sd-lora", "stable-diffusion"]


@dataclass(frozen=True)
class Facts:
    """What the pages are made from. `base_model` is a hub id or None, `civitai_base` is as in Civitai's list."""

    file: Path
    kind: str
    title: str
    description: str
    trigger: str
    weight: float
    license: str | None
    base_model: str | None
    civitai_base: str
    rank: str
    size: str
    autov2: str
    samples: Sequence[Sample]


def hugging_face_card(facts: Facts) -> str:
    """README.md: the front matter that the hub reads, then a gallery, trigger words and how to use the file."""
    widget = [
        {"text": sample.prompt or facts.trigger or facts.title, "output": {"url": f"images/{sample.path.name}"}}
        for sample in facts.samples
    ]
    front = ModelCardData(
        tags=[*TAGS, *(["stable-diffusion-xl"] if facts.civitai_base.startswith("SDXL") else [])],
        library_name="diffusers",
        base_model=facts.base_model,
        license=facts.license,
        instance_prompt=facts.trigger or None,
        widget=widget or None,
    )
    parts = [
        f"---\n{front.to_yaml()}\n---",
        f"# {facts.title}",
        facts.description,
        "<Gallery />" if widget else "",
        f"## Trigger words\n\nUse `{facts.trigger}` in the prompt." if facts.trigger else "",
        f"## Weight\n\nMade for a weight of about {facts.weight:g}.",
        _how_to_use(facts),
        f"{facts.kind} for {facts.civitai_base}{facts.rank and f', rank {facts.rank}'}, {facts.size}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def civitai_text(facts: Facts) -> str:
    """What Civitai's form asks for, line by line, to be copied into it."""
    lines = [
        f"Name: {facts.title}",
        f"Type: {_civitai_type(facts.kind)}",
        f"Base model: {facts.civitai_base}",
        f"Trigger words: {facts.trigger or 'none'}",
        f"Recommended weight: {facts.weight:g}",
        f"File: {facts.file.name}, {facts.size}, AutoV2 {facts.autov2}",
        f"License: {facts.license or 'not stated'}",
        "",
        "Description:",
        facts.description or f"{facts.title}, a {facts.kind} for {facts.civitai_base}.",
        f"Use it at a weight of about {facts.weight:g}: <lora:{facts.file.stem}:{facts.weight:g}>"
        + (f" with the words {facts.trigger}." if facts.trigger else "."),
    ]
    if facts.samples:
        lines += ["", "Pictures (their files say how they were made):"]
        lines += [f"- {sample.path.name}: {sample.prompt or 'no prompt in the file'}" for sample in facts.samples]
    return "\n".join(lines) + "\n"


def _civitai_type(kind: str) -> str:
    """Civitai knows LoRA, LoCon (its word for LyCORIS kinds), DoRA and embeddings."""
    return kind if kind in ("LoRA", "DoRA", "Embedding") else "LoCon"


def _how_to_use(facts: Facts) -> str:
    """A few lines of diffusers for what diffusers can load, a tag for everybody else."""
    tag = f"In ComfyUI, A1111 or Forge put `{facts.file.name}` with the other adapters"
    tag += f" and write `<lora:{facts.file.stem}:{facts.weight:g}>` where the prompt takes tags."
    if facts.base_model is None or facts.kind != "LoRA":
        return f"## Use\n\n{tag}"
    code = f"""```python
from diffusers import AutoPipelineForText2Image

pipeline = AutoPipelineForText2Image.from_pretrained({facts.base_model!r})
pipeline.load_lora_weights("USER/REPO", weight_name={facts.file.name!r}, adapter_name="style")
pipeline.set_adapters("style", {facts.weight:g})
image = pipeline({(facts.trigger or facts.title)!r}).images[0]
```"""
    return f"## Use\n\n{code}\n\n{tag}"
