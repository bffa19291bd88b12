"""The command line: one command a stage."""

from .application import app, main

__all__ = ["app", "main"]
