"""Captions by a model of transformers that reads an image and writes text: BLIP, Florence-2, SmolVLM and their kin."""

from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, Idefics3Processor

from ..errors import Error
from .subjects import Wanted, without_style

FLORENCE_TASK = "<MORE_DETAILED_CAPTION>"
LONGEST = 100  # tokens; a caption that is cut off in training is of no use


class LanguageModel:
    """Describes an image in a sentence, always the same one."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    @classmethod
    def load(cls, name: str, device: torch.device | str = "cpu") -> "LanguageModel":
        """From a folder or the hub. Raises `Error` where that can't be, or where weights are missing."""
        try:
            processor = _processor(name)
            # fp32: small models, and on a CPU without bf16 units anything else is slower
            model, info = AutoModelForImageTextToText.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
        except Exception as problem:  # transformers raises a dozen kinds
            reason = " ".join(str(problem).split())[:200]
            raise Error(
                f"The captioner {name} could not be loaded ({reason}): give an image-to-text model's folder or hub id."
            ) from problem
        if info["missing_keys"]:
            raise Error(f"The captioner {name} is incomplete: {sorted(info['missing_keys'])[0]} is missing.")
        return cls(model.eval().to(device), processor)

    @torch.no_grad()
    def describe(self, image: Image.Image, wanted: Wanted) -> str:
        """A caption for an RGB image."""
        text = self._text(wanted.instruction)
        words = {} if text is None else {"text": text}
        inputs = self._processor(images=image, return_tensors="pt", **words).to(self._model.device)
        made = self._model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
        if text is not None and not self._model.config.is_encoder_decoder:
            made = made[:, inputs["input_ids"].shape[1] :]  # these repeat the prompt before they answer
        said = " ".join(self._processor.batch_decode(made, skip_special_tokens=True)[0].split())
        return without_style(said) if wanted.subject == "style" else said

    def _text(self, asked: str) -> str | None:
        """What is written to the model: a conversation, Florence's task, or nothing for a plain captioner."""
        if self._model.config.model_type == "florence2":
            return FLORENCE_TASK
        if not getattr(self._processor, "chat_template", None):
            return None
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        chat = [{"role": "user", "content": content}]
        said: str = self._processor.apply_chat_template(chat, add_generation_prompt=True)
        return said


def _processor(name: str) -> Any:
    """With Pillow's image processing, so that torchvision is not needed."""
    if AutoConfig.from_pretrained(name).model_type == "smolvlm":
        # SmolVLM's own processor wants torchvision and num2words, for videos; for images it writes what Idefics3's does
        return Idefics3Processor.from_pretrained(name, backend="pil")
    return AutoProcessor.from_pretrained(name, backend="pil")
