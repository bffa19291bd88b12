"""The command line: one command a stage."""

from .app import app, main

__all__ = ["app", "main"]
