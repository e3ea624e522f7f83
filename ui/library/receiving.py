"""Files that are dropped on the library."""

from pathlib import Path

import gradio as gr

from sdlora.adapters.keeping import PICKLED, bring_in
from sdlora.adapters.library import SUFFIX
from sdlora.errors import Error

from ..toast import warn
from .acting import HEAVY, Desk, Updates, Values, one_sentence, says


class Receiving:
    """The place to drop files on. Each is checked before it comes into the library."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._files = gr.File(
            label="Drop adapter files here to import them",
            file_count="multiple",
            file_types=[SUFFIX, *PICKLED],
            height=130,
            elem_id="import",
        )
        self._files.upload(self._receive, {self._files, desk.chosen}, [*desk.outputs, self._files], **HEAVY)

    @one_sentence
    def _receive(self, values: Values) -> Updates:
        """Bring in what can be; each of the others is a sentence of its own."""
        came: list[Path] = []
        for upload in values[self._files] or []:
            path = Path(str(upload))
            try:
                came.append(bring_in(path, path.name, self.desk.engine.adapters_folder))
            except Error as problem:
                warn(problem)
            finally:
                path.unlink(missing_ok=True)  # Gradio would keep it for a day
        if came:
            says(f"{', '.join(file.stem for file in came)}: in the library now.")
        chosen = self.desk.id_of(came[-1]) if came else values[self.desk.chosen]
        return self.desk.now(chosen) | {self._files: None}
