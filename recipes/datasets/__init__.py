"""Renders the images and captions of `datasets/` from npm's icon packages: `python -m recipes.datasets`."""
