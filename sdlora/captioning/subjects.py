"""What a caption should say, by what the adapter is to learn: it learns what captions leave unsaid."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Subject = Literal["style", "character", "everything"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)

_LENGTH = "in one sentence of at most 40 words"
_MEDIA = (
    "painting|drawing|sketch|illustration|cartoon|picture|image|photo|photograph|render|rendering|watercolou?r|artwork|art"
    "|print|engraving|etching|woodcut|screenshot|anime|comic|icon|emoji"
)
_DESCRIBING = (
    r"(?!(?:an?|the|of|with|in|on|at|by|\w+ing)\b)[\w-]+"  # a woman holding a painting is no painting of a woman
)
# "a black and white drawing of a fox" -> "a fox"; "The image shows a fox" -> "a fox"
_OPENING = re.compile(
    rf"^(?:(?:this|the) (?:{_MEDIA}) (?:is|shows|depicts|features)\s+(?:of\s+)?)?"
    rf"(?:(?:an?|the)\s+(?:{_DESCRIBING}\s+){{0,5}}?(?:{_MEDIA})\s+(?:of|showing|depicting|featuring)\s+)?",
    re.IGNORECASE,
)
_IN_STYLE = re.compile(
    r",?\s*\b(?:drawn |painted |rendered )?in (?:the|an?) (?:[\w-]+ ){0,4}style(?: of [^,.]+)?", re.IGNORECASE
)
_STYLE_TAGS = re.compile(
    r"monochrome|greyscale|sketch|traditional media|.*\(medium\)|.*\(style\)|lineart|line art|comic|3d|realistic"
    r"|photorealistic|official art|pixel art|chibi|flat color|ink|watercolor.*|art nouveau|ukiyo-e"
    r"|retro artstyle|.* style|.* artstyle"
)
# what a character always has; clothes and expressions change, so they are said
_TRAIT_TAGS = re.compile(
    r".* hair|.* eyes|.* skin|.* ears|.* tail|.* horns?|.* wings|hair .*|bangs|.* bangs|ponytail|twintails|braid"
    r"|.* braid|ahoge|heterochromia|freckles|mole .*|scar .*|dark-skinned .*|.* breasts|fangs?"
)


@dataclass(frozen=True)
class Wanted:
    """What captions are for: the subject, the trigger word that stands for it, and a prompt of the user's own for
    models that take instructions."""

    subject: Subject = "style"
    trigger: str | None = None
    prompt: str | None = None

    @property
    def instruction(self) -> str:
        """What such a model is asked."""
        if self.prompt:
            return self.prompt
        if self.subject == "style":
            return (
                f"Describe what is in this picture {_LENGTH}: subjects, actions, clothes, setting, composition. Say "
                "nothing of its style, medium, technique, artist or mood. Begin with the subject itself."
            )
        if self.subject == "character":
            name = self.trigger or "the character"
            return (
                f"Describe this picture {_LENGTH} and call the main character {name}. Say what {name} does and wears, "
                f"the pose, the expression, the setting, and how the picture is made. Say nothing of {name}'s face, "
                "hair, eyes, skin or body."
            )
        return f"Describe this picture {_LENGTH}."


def without_style(sentence: str) -> str:
    """A sentence without the words that name its medium or style, as far as these stand where captioners put them."""
    shorter = _IN_STYLE.sub("", _OPENING.sub("", sentence.strip()))
    return shorter.strip(" ,") or sentence.strip()


def fitting(tags: Iterable[str], subject: Subject) -> list[str]:
    """Tags without those that the trigger is to stand for."""
    unsaid = {"style": _STYLE_TAGS, "character": _TRAIT_TAGS}.get(subject)
    return [tag for tag in tags if not (unsaid and unsaid.fullmatch(tag))]
