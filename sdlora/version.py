"""The version, in the one place that `pyproject.toml`, files and pictures take it from."""

VERSION = "0.1.0"
