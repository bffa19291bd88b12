"""Tables of the stored user vectors in PostgreSQL: connections, errors, migrations and checks.

`user_store` reads and writes their rows. A version of the tables is part of every stored backup.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tastevec.errors import FormatError, SettingsError, TastevecError
from tastevec.extras import require

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool


SEARCH_CONNECTIONS: Final = 4  # the most at once for searches, which are slow
CONNECTIONS: Final = SEARCH_CONNECTIONS + 4  # the most at once in total, but for migrations and indexes
_WAIT_S, _CONNECT_S, _LOCK_MS, _STATEMENT_MS, _SILENT_MS = 1.0, 2, 5_000, 5_000, 5_000
_LOCK = 7_461_257  # any number, the same in all processes

# One step per version. A released step never changes; a change is a new step.
MIGRATIONS: Final = (
    """
    CREATE TABLE tastevec.spaces (
        number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        space text NOT NULL,
        horizon text NOT NULL,
        dim integer NOT NULL,
        indexed boolean NOT NULL DEFAULT false,
        UNIQUE (space, horizon)
    );
    CREATE TABLE tastevec.users (
        number integer NOT NULL REFERENCES tastevec.spaces ON DELETE CASCADE,
        user_id text COLLATE "C" NOT NULL,
        vector vector NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (number, user_id)
    );
    CREATE INDEX users_user_id ON tastevec.users (user_id);
    """,
    "ALTER TABLE tastevec.users ADD COLUMN norm real",
)


# What the tables of the latest version consist of, as `_LAYOUT` finds it; c: deleted with its row of spaces.
_TABLES: Final = frozenset(
    {
        "version.version int4",
        *(
            "spaces.number int4",
            "spaces.space text",
            "spaces.horizon text",
            "spaces.dim int4",
            "spaces.indexed bool",
        ),
        *("spaces: p on number", "spaces: u on space, horizon"),
        *("users.number int4", "users.user_id text", "users.vector vector", "users.updated_at timestamptz"),
        "users.norm float4",
        *("users: p on number, user_id", "users: fc on number"),
    }
)
_LAYOUT: Final = """
    SELECT relname || '.' || attname || ' ' || typname
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid JOIN pg_type ON pg_type.oid = atttypid
    WHERE relnamespace = to_regnamespace('tastevec') AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT relname || ': ' || trim(contype::text || confdeltype::text) || ' on ' || (
        SELECT string_agg(attname, ', ' ORDER BY place) FROM unnest(conkey) WITH ORDINALITY AS keys (key, place)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = key
    )
    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    WHERE connamespace = to_regnamespace('tastevec') AND contype IN ('p', 'u', 'f')
"""

# Codes of a missing schema, table, column, type, operator or key.
_MISSING: Final = frozenset({"3F000", "42P01", "42703", "42704", "42883", "42P10"})


class StoreError(TastevecError):
    """The user database is unavailable or too slow; nothing was written.

    Attributes:
        kind: The name of the database's error, which contains no data.
        reachable: Whether the database responded, and other statements may succeed.
    """

    def __init__(self, kind: str, *, reachable: bool = False) -> None:
        message = "unavailable ({}). Expected a response in time. Try again in a few seconds, then check the database URL."
        if kind == "QueryCanceled":
            message = "a statement was too slow ({}). Expected a faster one. Try again, or build an index: UserStore.index."
        elif reachable:
            message = (
                "a statement failed ({}). Expected success. Try again, then read the log of the database."
            )
        super().__init__(f"the user database: {message.format(kind)}")
        self.kind, self.reachable = kind, reachable


def translated(error: psycopg.Error) -> TastevecError:
    """Return the error for a database error, without its text, which can contain an ID."""
    kind, code = type(error).__name__, error.sqlstate
    if code == "42501":
        return SettingsError(
            f"the user database: the role lacks a right ({kind}). Expected CREATE on the database at the first start, then USAGE "
            "on the schema tastevec and SELECT, INSERT, UPDATE and DELETE on its tables; an index needs their owner. Grant them to the "
            "role."
        )
    if code == "25006":
        return SettingsError(
            f"the user database: read-only ({kind}). Expected one that can be written. Use the address of the primary server."
        )
    if code in _MISSING:
        return not_ours(kind)
    # Without a code it is the connection; 57P: the server is shutting down or starting.
    return StoreError(kind, reachable=code is not None and not code.startswith("57P"))


def not_ours(found: str) -> FormatError:
    """Return the error for other tables than those of this version."""
    return FormatError(
        f"the user database: the schema tastevec is not complete, or another one ({found}). Expected the tables of this "
        "version of tastevec, or none. Restore them from a backup, or use another database."
    )


def connection_settings(url: str) -> dict[str, Any]:
    """Return the connection settings of a database URL.

    Raises:
        SettingsError: The URL is invalid; the message does not contain it.
        MissingExtraError: psycopg or pgvector is not installed.
    """
    for module in ("psycopg", "psycopg_pool", "pgvector"):
        require(module)
    import psycopg  # noqa: PLC0415  an extra
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415  as above

    try:
        settings = conninfo_to_dict(url)
    except psycopg.Error:
        raise SettingsError(
            "the database URL: invalid. Expected one such as postgresql://user:password@host/name."
        ) from None
    # A host that no longer responds must fail, too, not only one that refuses.
    defaults = {"application_name": "tastevec", "connect_timeout": _CONNECT_S, "tcp_user_timeout": _SILENT_MS}
    return {**defaults, **settings, "autocommit": True, "client_encoding": "utf8"}


def migrate(connection: psycopg.Connection) -> None:
    """Create the tables, or migrate them from an older version.

    Raises:
        FormatError: The tables are of a later version, or others.
        SettingsError: The database lacks pgvector, or its encoding is not UTF-8.
    """
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (str(_LOCK_MS),))
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        [(encoding,)] = connection.execute("SELECT current_setting('server_encoding')").fetchall()
        if encoding != "UTF8":
            raise SettingsError(
                f"the user database: encoding {encoding}. Expected UTF8. Create another: CREATE DATABASE name ENCODING 'UTF8'."
            )
        version = check_version(connection) if (found := _tables(connection)) else 0
        if not found:
            _create_schema(connection)
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        if version < len(MIGRATIONS):
            connection.execute("UPDATE tastevec.version SET version = %s", (len(MIGRATIONS),))
        found = _tables(connection)
        # A backup that was restored in part, or a foreign table.
        if missing := sorted(_TABLES - found):
            raise not_ours(f"without {missing[0]}")
        ours = tuple({re.split("[.:]", entry)[0] + separator for entry in _TABLES for separator in ".:"})
        if more := sorted(entry for entry in found - _TABLES if entry.startswith(ours)):
            raise not_ours(f"with {more[0]}")
        connection.execute("SELECT FROM tastevec.users, tastevec.spaces LIMIT 0")  # the right to read


def check_version(connection: psycopg.Connection) -> int:
    """Return the version of the tables.

    Raises:
        FormatError: It is later than this tastevec, or no version is found.
    """
    if "version.version int4" not in (found := _tables(connection)):
        raise not_ours(f"with {min(found)}" if found else "without tables")
    versions = connection.execute("SELECT version FROM tastevec.version").fetchall()
    if len(versions) != 1:
        raise not_ours(f"{len(versions)} versions")
    [(version,)] = versions
    if version > len(MIGRATIONS):
        raise FormatError(
            f"the user database: version {version}. Expected {len(MIGRATIONS)} or older. Use a later tastevec."
        )
    return int(version)


def connection_pool(settings: dict[str, Any], connections: int) -> ConnectionPool[psycopg.Connection]:
    """Return a pool of connections for short queries; each is checked before use, so that a restarted database works."""
    from psycopg_pool import ConnectionPool  # noqa: PLC0415  an extra

    return ConnectionPool(
        kwargs=settings,
        min_size=0,
        max_size=connections,
        timeout=_WAIT_S,
        reconnect_timeout=0,  # the next query tries again at once, instead of after a growing pause
        configure=_configure,
        check=ConnectionPool.check_connection,
        open=True,
    )


def _configure(connection: psycopg.Connection) -> None:
    from pgvector.psycopg import register_vector  # noqa: PLC0415  an extra

    connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(_STATEMENT_MS),))
    register_vector(connection)


def _tables(connection: psycopg.Connection) -> set[str]:
    return {entry for (entry,) in connection.execute(_LAYOUT).fetchall()}


def _create_schema(connection: psycopg.Connection) -> None:
    """Create the extension, and the schema with version 0; an empty schema is used."""
    import psycopg  # noqa: PLC0415  an extra

    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.errors.ReadOnlySqlTransaction:
        raise
    except psycopg.Error as error:
        raise SettingsError(
            f"the user database: no extension vector, and it cannot be created ({type(error).__name__}). Expected pgvector. "
            "Install it on the server, and run CREATE EXTENSION vector as owner."
        ) from None
    [facts] = connection.execute("SELECT to_regtype('vector'), to_regnamespace('tastevec')").fetchall()
    if facts[0] is None:
        raise SettingsError(
            "the user database: the extension vector is in a schema that is not in the search path. Expected its schema there. "
            "Run ALTER ROLE name SET search_path = public, SCHEMA."
        )
    if facts[1] is None:
        connection.execute("CREATE SCHEMA tastevec")
    connection.execute("CREATE TABLE tastevec.version (version integer NOT NULL)")
    connection.execute("INSERT INTO tastevec.version VALUES (0)")
