"""The right half of the Mix page: the buttons, what is drawn, and the session's pictures."""

from typing import Any

import gradio as gr

from ..job import Picture
from .fields import Updates

HISTORY = 24  # pictures of a session that stay in sight


class Result:
    """Builds it, and says how it changes."""

    def __init__(self) -> None:
        self.history = gr.State([])  # the session's pictures, newest first
        self.shown = gr.State(None)  # the one that is looked at, or the draft
        with gr.Row(elem_id="go"):
            self.generate = gr.Button("Generate", variant="primary", scale=3, min_width=140, elem_id="generate")
            self.cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80, elem_id="cancel")
            self.live = gr.Checkbox(False, label="Live", container=False, scale=0, min_width=70, elem_id="live")
        self.status = gr.HTML(container=False, elem_id="status")
        self.picture = gr.Image(
            type="filepath",
            interactive=False,
            label="Picture",
            show_label=False,
            buttons=["download", "fullscreen"],
            elem_id="picture",
        )
        with gr.Row(visible=False, elem_id="pair") as self.pair:
            self.sides = [self._side(label) for label in ("without adapters", "with adapters")]
        with gr.Row(visible=False, elem_id="act") as self.actions:
            self.use = gr.Button("Use these settings", size="sm", min_width=110)
            self.vary = gr.Button("Vary", size="sm", min_width=60)
            self.compare = gr.Button("With / without adapters", size="sm", min_width=130)
        self.gallery = gr.Gallery(
            label="Pictures of this session",
            show_label=False,
            visible=False,
            interactive=False,
            allow_preview=False,
            columns=6,
            fit_columns=False,
            object_fit="cover",
            buttons=[],
            elem_id="gallery",
        )
        self.parameters = gr.Textbox(
            label="Parameters (they are in the PNG file too)",
            interactive=False,
            visible=False,
            lines=2,
            buttons=["copy"],
            elem_id="parameters",
        )
        self.outputs = [self.status, self.generate, self.cancel, self.picture, self.pair, *self.sides, self.actions]
        self.outputs += [self.gallery, self.parameters, self.history, self.shown]

    def single(self, picture: Any) -> Updates:
        """One picture in sight; None for none."""
        return {self.picture: gr.update(value=picture, visible=True), self.pair: gr.update(visible=False)}

    def looked_at(self, picture: Picture) -> Updates:
        """One of the pictures with what made it."""
        return self.single(str(picture.path)) | {
            self.parameters: gr.update(visible=True, value=picture.parameters),
            self.actions: gr.update(visible=True),
            self.shown: picture,
        }

    def drafted(self, picture: Picture) -> Updates:
        """A draft is looked at, but stays no longer than that."""
        return self.looked_at(picture)

    def finished(self, pictures: list[Picture]) -> Updates:
        """The newest is looked at, the others are below."""
        pictures = pictures[:HISTORY]
        if not pictures:
            return self.single(None)
        gallery = gr.update(visible=len(pictures) > 1, value=[str(picture.path) for picture in pictures])
        return self.looked_at(pictures[0]) | {self.gallery: gallery, self.history: pictures}

    def side_by_side(self, without: Picture, mixed: Picture) -> Updates:
        """Two pictures of the same seed."""
        paths = (str(without.path), str(mixed.path))
        return {
            self.picture: gr.update(visible=False),
            self.pair: gr.update(visible=True),
            **dict(zip(self.sides, paths, strict=True)),
        }

    def _side(self, label: str) -> gr.Image:
        return gr.Image(
            type="filepath", interactive=False, label=label, buttons=["download", "fullscreen"], min_width=120
        )
