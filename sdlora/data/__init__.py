"""Folder -> examples: captions, pictures, what is held out. Needs Pillow and numpy, not torch."""

from sdlora.data.folder import Dataset, Example, Skipped, read_folder
from sdlora.data.images import open_image, to_array
from sdlora.data.sample import Sample, holdout_beside, resolve_folder, sample_facts, sample_names
from sdlora.data.split import Split, split_holdout
from sdlora.data.views import cut

__all__ = [
    "Dataset",
    "Example",
    "Sample",
    "Skipped",
    "Split",
    "cut",
    "holdout_beside",
    "open_image",
    "read_folder",
    "resolve_folder",
    "sample_facts",
    "sample_names",
    "split_holdout",
    "to_array",
]
