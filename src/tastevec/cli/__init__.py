"""The command line: one command a stage."""

from tastevec.cli.app import main

__all__ = ["main"]
