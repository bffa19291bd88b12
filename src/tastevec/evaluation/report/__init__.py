"""Reports: what an evaluation measured, as tables, as pictures and as files."""

from tastevec.evaluation.report.comparison import compare
from tastevec.evaluation.report.report import Report

__all__ = ["Report", "compare"]
