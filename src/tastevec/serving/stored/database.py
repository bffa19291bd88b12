"""A database of people: reached, its tables made, and its refusals told without a word of anybody's data."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tastevec.errors import FormatError, SettingsError, TastevecError
from tastevec.extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from psycopg_pool import ConnectionPool

__all__ = ["CONNECTIONS", "StoreError", "answering", "connection_pool", "migrated", "told_by_url"]

CONNECTIONS: Final = 4  # held at most, and so many questions at once
_WAIT_S, _CONNECT_S, _STATEMENT_MS, _SILENT_MS = 1.0, 2, 5_000, 5_000
_LOCK = 7_461_257  # any number, the same for all who open such a database

# One step a version. A step that was released is never changed: a change is another step.
_MIGRATIONS: Final = (
    """
    CREATE TABLE tastevec.spaces (
        number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        space text NOT NULL,
        horizon text NOT NULL,
        dim integer NOT NULL,
        indexed boolean NOT NULL DEFAULT false,
        UNIQUE (space, horizon)
    );
    CREATE TABLE tastevec.people (
        number integer NOT NULL REFERENCES tastevec.spaces ON DELETE CASCADE,
        user_id text COLLATE "C" NOT NULL,
        vector vector NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (number, user_id)
    );
    CREATE INDEX people_user_id ON tastevec.people (user_id);
    """,
)


class StoreError(TastevecError):
    """The database of people does not answer, or not in time; nothing of the attempt was kept."""


@contextmanager
def answering() -> Iterator[None]:
    """Let what the database refuses be a `StoreError`, without its own words, which may repeat an id."""
    import psycopg  # noqa: PLC0415  an extra

    try:
        yield
    except psycopg.Error as error:
        kind = type(error).__name__
        raise StoreError(
            f"the database of people did not answer as it should ({kind}); expected it to be reachable and not too busy: "
            "ask again in a few seconds"
        ) from None


def told_by_url(url: str) -> dict[str, Any]:
    """How the database is reached.

    Raises:
        SettingsError: That cannot be read from the address, which the message does not repeat.
        MissingExtraError: psycopg or pgvector is not installed.
    """
    for module in ("psycopg", "psycopg_pool", "pgvector"):
        need(module)
    import psycopg  # noqa: PLC0415  an extra
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415  as above

    try:
        told = conninfo_to_dict(url)
    except psycopg.Error:
        raise SettingsError(
            "the address of the database cannot be read; expected one such as postgresql://user:password@host/name"
        ) from None
    # A host that has vanished without a word is given up as well as one that refuses.
    ours = {"application_name": "tastevec", "connect_timeout": _CONNECT_S, "tcp_user_timeout": _SILENT_MS}
    return {**ours, **told, "autocommit": True}


def migrated(connection: psycopg.Connection) -> None:
    """Make the tables, or carry them from an older version to this one.

    Raises:
        FormatError: They are of a later version.
        SettingsError: The database lacks pgvector.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(connection)
        if version > len(_MIGRATIONS):
            raise FormatError(
                f"the database of people is of version {version}; expected {len(_MIGRATIONS)} or older: use a later tastevec"
            )
        if version == 0:
            _extend(connection)
            connection.execute(
                "CREATE SCHEMA tastevec; CREATE TABLE tastevec.version (version integer NOT NULL)"
            )
            connection.execute("INSERT INTO tastevec.version VALUES (0)")
        for script in _MIGRATIONS[version:]:
            connection.execute(script)
        if version < len(_MIGRATIONS):
            connection.execute("UPDATE tastevec.version SET version = %s", (len(_MIGRATIONS),))


def connection_pool(told: dict[str, Any]) -> ConnectionPool[psycopg.Connection]:
    """Connections for short questions, checked before each, so that a database that was away is found again."""
    from psycopg_pool import ConnectionPool  # noqa: PLC0415  an extra

    return ConnectionPool(
        kwargs=told,
        min_size=0,
        max_size=CONNECTIONS,
        timeout=_WAIT_S,
        reconnect_timeout=0,  # the next question tries again, instead of after a pause that doubles
        configure=_configure,
        check=ConnectionPool.check_connection,
        open=True,
    )


def _configure(connection: psycopg.Connection) -> None:
    from pgvector.psycopg import register_vector  # noqa: PLC0415  an extra

    connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(_STATEMENT_MS),))
    register_vector(connection)


def _version(connection: psycopg.Connection) -> int:
    """Of the tables; 0 where there are none."""
    [there] = connection.execute("SELECT to_regclass('tastevec.version')").fetchall()
    if there == (None,):
        return 0
    [(version,)] = connection.execute("SELECT version FROM tastevec.version").fetchall()
    return int(version)


def _extend(connection: psycopg.Connection) -> None:
    import psycopg  # noqa: PLC0415  an extra

    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise SettingsError(
            f"the database has no extension vector, and it cannot be made from here ({type(error).__name__}); expected "
            "pgvector: install it on the server, and have its owner run CREATE EXTENSION vector"
        ) from None
