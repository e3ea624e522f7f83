"""Fitting an adapter to a folder of images: config, injection, loss, the loop, checkpoints, the run folder."""
