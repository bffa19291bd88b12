"""A DuckDB of its own for each test of the readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibis.backends.duckdb import Backend


@pytest.fixture
def connection() -> Iterator[Backend]:
    """An empty database in memory."""
    backend = ibis.duckdb.connect(threads=1)
    yield backend
    backend.disconnect()
