"""The commands that make adapter files of adapter files. Nothing heavy is imported before one of them runs."""

COMMANDS = ()
