"""Judging: everything that is measured of one scorer on one task."""

from tastevec.evaluation.judging.answers import measure
from tastevec.evaluation.judging.judge import Judge

__all__ = ["Judge", "measure"]
