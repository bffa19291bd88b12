"""Preparation on Spark: the same expressions as on DuckDB, for interactions that outgrow one machine."""

from typing import Literal

__all__ = ["Engine"]

Engine = Literal["duckdb", "spark"]  # what may run a preparation
