"""The command `qkd`. Slow libraries are imported inside the commands: help appears at once."""

from controller.cli.entry import main

__all__ = ["main"]
