"""Protocols: which of a person's films are hidden, and what is known while they are guessed."""

from tastevec.evaluation.protocol.cases import cases
from tastevec.evaluation.protocol.task import Task

__all__ = ["Task", "cases"]
