"""Preparation on Spark: the same expressions as on DuckDB, for interactions that need several machines."""

from typing import Literal

__all__ = ["Engine"]

Engine = Literal["duckdb", "spark"]  # the engines of a preparation
