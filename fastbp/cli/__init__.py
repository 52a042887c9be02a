"""The command ``fastbp``."""

from fastbp.cli.command import main

__all__ = ["main"]
