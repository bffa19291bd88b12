"""Stored user vectors in PostgreSQL with pgvector.

The database holds the ID of a user, up to two vectors (``next`` and ``overall``) per space, and their timestamp; never the
ratings. A deleted user is in no later result; the vacuum of the database cleans its pages.

Dimensions: B users, M users of a space, D dimensions, K nearest.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, cast, get_args

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.arrays import READ_ERRORS, vector_type
from tastevec.errors import DataError, FormatError, SettingsError, SourceError, TastevecError
from tastevec.extras import require
from tastevec.schema import USER_ID, VECTOR, Horizon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import psycopg
    from numpy.typing import NDArray
    from psycopg_pool import ConnectionPool


SEARCH_CONNECTIONS: Final = 2  # the most at once for searches, which are slow
CONNECTIONS: Final = SEARCH_CONNECTIONS + 4  # the most at once in total, but for migrations and indexes
_WAIT_S, _CONNECT_S, _STATEMENT_MS, _SILENT_MS = 1.0, 2, 5_000, 5_000
_LOCK = 7_461_257  # any number, the same in all processes

# One step per version. A released step never changes; a change is a new step.
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
    CREATE TABLE tastevec.users (
        number integer NOT NULL REFERENCES tastevec.spaces ON DELETE CASCADE,
        user_id text COLLATE "C" NOT NULL,
        vector vector NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (number, user_id)
    );
    CREATE INDEX users_user_id ON tastevec.users (user_id);
    """,
)


class StoreError(TastevecError):
    """The user database is unavailable or too slow; nothing was written.

    Attributes:
        kind: The name of the database's error, which contains no data.
        reachable: Whether the database responded, and other queries may succeed.
    """

    def __init__(self, kind: str, *, reachable: bool = False) -> None:
        super().__init__(
            f"the user database: unavailable ({kind}). Expected a response in time. Try again in a few seconds."
        )
        self.kind, self.reachable = kind, reachable


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
    return {**defaults, **settings, "autocommit": True}


def migrate(connection: psycopg.Connection) -> None:
    """Create the tables, or migrate them from an older version.

    Raises:
        FormatError: The tables are of a later version.
        SettingsError: The database lacks pgvector.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(connection)
        if version > len(_MIGRATIONS):
            raise FormatError(
                f"the user database: version {version}. Expected {len(_MIGRATIONS)} or older. Use a later tastevec."
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


def _version(connection: psycopg.Connection) -> int:
    """Return the version of the tables; 0 without tables."""
    [found] = connection.execute("SELECT to_regclass('tastevec.version')").fetchall()
    if found == (None,):
        return 0
    [(version,)] = connection.execute("SELECT version FROM tastevec.version").fetchall()
    return int(version)


def _extend(connection: psycopg.Connection) -> None:
    import psycopg  # noqa: PLC0415  an extra

    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise SettingsError(
            f"the user database: no extension vector, and it cannot be created ({type(error).__name__}). Expected pgvector. "
            "Install it on the server, and run CREATE EXTENSION vector as owner."
        ) from None


_CANDIDATES: Final = (200, 1_000)  # of an index search: at least, and the most that pgvector allows

# All values are parameters; only integers that this module makes are put into a statement.
_CREATE = "INSERT INTO tastevec.spaces (space, horizon, dim) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_UPSERT = """
    INSERT INTO tastevec.users (number, user_id, vector, updated_at)
    SELECT %(number)s, given.user_id, given.vector, now()
    FROM unnest(%(ids)s::text[], %(vectors)b::vector[]) AS given (user_id, vector)
    ORDER BY given.user_id COLLATE "C"  -- one order of locks for all writers, so that none waits for another forever
    ON CONFLICT (number, user_id) DO UPDATE SET vector = excluded.vector, updated_at = excluded.updated_at
"""
# A vector of zeros has no angle: its cosine counts as 0.
_EXACT = """
    SELECT user_id, 1 - distance FROM (
        SELECT user_id, coalesce(nullif(vector <=> %(query)b::vector, 'NaN'), 1) AS distance
        FROM tastevec.users WHERE number = %(number)s AND user_id <> ALL(%(exclude)s::text[])
    ) AS distances ORDER BY distance, user_id LIMIT %(k)s
"""
# As an SQL array: the Python type of a vector differs between releases of pgvector.
_READ = """
    SELECT user_id, vector::real[] FROM tastevec.users
    WHERE number = %(number)s AND user_id = ANY(%(ids)s::text[])
"""
# The index is on vectors of a fixed dimension, which the exact query above never uses.
_BY_INDEX = """
    SELECT user_id, 1 - (vector::vector({dim}) <=> %(query)b::vector)
    FROM tastevec.users WHERE number = {number} AND user_id <> ALL(%(exclude)s::text[])
    ORDER BY vector::vector({dim}) <=> %(query)b::vector LIMIT %(k)s
"""
_BUILD = """
    CREATE INDEX CONCURRENTLY users_hnsw_{number} ON tastevec.users
    USING hnsw ((vector::vector({dim})) vector_cosine_ops) WHERE number = {number}
"""


class Collection(NamedTuple):
    """The users of one space and horizon: its number in the database, D, and whether it has an index."""

    number: int
    dim: int
    indexed: bool


def find_collection(connection: psycopg.Connection, space: str, horizon: Horizon) -> Collection | None:
    """Return a collection; None if it does not exist."""
    query = "SELECT number, dim, indexed FROM tastevec.spaces WHERE space = %s AND horizon = %s"
    row = connection.execute(query, (space, horizon)).fetchone()
    return None if row is None else Collection(*row)


def create_collection(connection: psycopg.Connection, space: str, horizon: Horizon, dim: int) -> Collection:
    """Return a collection, and create it if it does not exist."""
    collection = find_collection(connection, space, horizon)
    if collection is None:
        connection.execute(_CREATE, (space, horizon, dim))
        # Another process can have been first, with another dimension.
        collection = find_collection(connection, space, horizon)
    assert collection is not None
    return collection


def search(
    connection: psycopg.Connection,
    collection: Collection,
    vector: NDArray[np.float32],
    k: int,
    exclude: Sequence[str],
) -> list[tuple[str, float]]:
    """Return the IDs and cosines of the K users nearest to a vector (D,), without the excluded ones, nearest first."""
    from psycopg import sql  # noqa: PLC0415  an extra

    query: sql.Composed | str = _EXACT
    if collection.indexed:
        query = sql.SQL(_BY_INDEX).format(number=collection.number, dim=collection.dim)
        least, most = _CANDIDATES
        candidates = str(min(most, max(least, 2 * (k + len(exclude)))))
        connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (candidates,))
    parameters = {"number": collection.number, "k": k, "exclude": list(exclude), "query": vector}
    return connection.execute(query, parameters).fetchall()


def drop_index(connection: psycopg.Connection, number: int) -> None:
    """Remove the index of a collection, if it exists."""
    from psycopg import sql  # noqa: PLC0415  an extra

    connection.execute(sql.SQL("DROP INDEX IF EXISTS tastevec.users_hnsw_{}").format(number))


_MAX_ID_LENGTH = 200
# NUL, surrogates, and the replacement character, which stands for different broken texts.
_INVALID_ID = re.compile("[\x00\ud800-\udfff\ufffd]")
_MAX_VALUE = 1e6  # in a vector: 32 bits hold no square above 1e38


class UserStore:
    """User vectors in a database; a context manager that closes its connections, safe for many threads.

    IDs are strings of 1 to 200 characters; integers are stored as their digits, so that 7 and "7" are one user. Vectors of
    different spaces are never compared.

    Raises:
        StoreError: In each method: the database is unavailable.
        SettingsError: In each method with a horizon: it is unknown.
        DataError: In each method with IDs: one of them is invalid.
    """

    def __init__(self, url: str) -> None:
        """Open the database, and create or migrate its tables in the schema ``tastevec``.

        Args:
            url: Such as ``postgresql://user:password@host/name``; no message contains it.

        Raises:
            SettingsError: The URL is invalid, or the database lacks pgvector.
            StoreError: The database is unavailable.
            FormatError: The tables are of a later version.
            MissingExtraError: psycopg or pgvector is not installed.
        """
        self._settings = connection_settings(url)
        with self._connection("long") as connection:
            migrate(connection)
        self._pools = {
            "search": connection_pool(self._settings, SEARCH_CONNECTIONS),
            "short": connection_pool(self._settings, CONNECTIONS - SEARCH_CONNECTIONS),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.close()

    def check(self) -> None:
        """Raise the errors of this class if the database is unavailable or its tables were removed."""
        with self._connection() as connection:
            _version(connection)

    def upsert(
        self, space: str, user_ids: Sequence[int | str], vectors: Mapping[Horizon, NDArray[np.float32]]
    ) -> None:
        """Store the vectors of B users, all or none; earlier vectors of this space and these horizons are replaced.

        Args:
            space: The space of the vectors.
            user_ids: Each user once.
            vectors: (B, D) per horizon.

        Raises:
            DataError: An ID occurs twice, or the vectors have another dimension than the space.
        """
        from psycopg.errors import CardinalityViolation  # noqa: PLC0415  an extra

        id_text(space, "space")
        ids = _id_texts(user_ids, "user_ids")
        with self._connection() as connection, connection.transaction():
            for horizon, given in sorted(vectors.items()):
                rows = _rows(given)
                if len(rows) != len(ids):
                    raise DataError(f"vectors: {len(rows)} for {len(ids)} user_ids. Expected one per user.")
                collection = create_collection(connection, space, parse_horizon(horizon), rows.shape[1])
                _check_dim(collection, rows, space)
                parameters = {"number": collection.number, "ids": ids, "vectors": list(rows)}
                try:
                    connection.execute(_UPSERT, parameters)
                except CardinalityViolation:
                    raise DataError("user_ids: an ID occurs twice. Expected each user once.") from None

    def delete(self, user_id: int | str) -> bool:
        """Delete a user from all spaces; return whether anything was stored."""
        parameters = (id_text(user_id, "user_id"),)
        statement = "DELETE FROM tastevec.users WHERE user_id = %s"
        with self._connection() as connection:
            return connection.execute(statement, parameters).rowcount > 0

    def delete_space(self, space: str) -> int:
        """Delete all users of a space, such as that of a retired model; return their number."""
        count_users = "SELECT count(DISTINCT user_id) FROM tastevec.users JOIN tastevec.spaces USING (number) WHERE space = %s"
        delete = "DELETE FROM tastevec.spaces WHERE space = %s RETURNING number"
        with self._connection("long") as connection, connection.transaction():
            [(users,)] = connection.execute(count_users, (space,)).fetchall()
            for (number,) in connection.execute(delete, (space,)).fetchall():
                drop_index(connection, number)
        return int(users)

    def count(self, space: str, horizon: Horizon = "overall") -> int:
        """Return M, the number of users with a vector of this space and horizon."""
        count_users = "SELECT count(*) FROM tastevec.users JOIN tastevec.spaces USING (number) WHERE space = %s AND horizon = %s"
        with self._connection() as connection:
            [(users,)] = connection.execute(count_users, (space, parse_horizon(horizon))).fetchall()
        return int(users)

    def nearest(
        self,
        space: str,
        vectors: NDArray[np.float32],
        k: int,
        *,
        horizon: Horizon = "overall",
        exclude: Sequence[int | str] = (),
        time_limit_s: float = inf,
    ) -> list[list[tuple[str, float]]]:
        """Return the IDs of the K nearest users per vector (B, D), and their cosines in [-1, 1], nearest first.

        The search is exact, with equal cosines sorted by ID. After `index` it is approximate, and skips vectors of zeros. A
        space without users has no results.

        Args:
            space: The space of the vectors.
            vectors: (B, D) queries.
            k: Users per query; fewer where fewer are stored.
            horizon: The horizon of the stored vectors.
            exclude: IDs of users to exclude.
            time_limit_s: Seconds after which no further vector is searched: the results are those of the first vectors, at
                least of one.

        Raises:
            DataError: The vectors have another dimension than the space.
            SettingsError: ``k`` is below 1.
        """
        if k < 1:
            raise SettingsError(f"k: {k}. Expected 1 or more.")
        queries = _rows(vectors)
        excluded = _id_texts(exclude, "exclude")
        with self._connection("search") as connection, connection.transaction():
            collection = find_collection(connection, space, parse_horizon(horizon))
            if collection is None:
                return [[] for _ in queries]
            _check_dim(collection, queries, space)
            found, ends = [], time.monotonic() + time_limit_s
            for query in queries:
                found.append(search(connection, collection, query, k, excluded))
                if time.monotonic() >= ends:
                    break
            return found

    def vectors(
        self, space: str, user_ids: Sequence[int | str], *, horizon: Horizon = "overall"
    ) -> dict[str, NDArray[np.float32]]:
        """Return the vectors (D,) by ID, of the users that are stored."""
        ids = _id_texts(user_ids, "user_ids")
        with self._connection("search") as connection:
            collection = find_collection(connection, space, parse_horizon(horizon))
            if collection is None:
                return {}
            parameters = {"number": collection.number, "ids": ids}
            rows = connection.execute(_READ, parameters, binary=True).fetchall()
            return {user_id: np.array(vector, np.float32) for user_id, vector in rows}

    def index(self, space: str, horizon: Horizon = "overall") -> None:
        """Build an HNSW index of a space and horizon, which `nearest` uses from then on; D is 2,000 at most.

        It pays off from about 100,000 users on, where an exact search takes 0.1 to 0.2 seconds. Building then takes minutes;
        reads and writes continue meanwhile, and later users are in the index at once.

        Raises:
            DataError: No user of this space and horizon is stored.
            StoreError: D is larger.
        """
        from psycopg import sql  # noqa: PLC0415  an extra

        with self._connection("long") as connection:
            collection = find_collection(connection, space, parse_horizon(horizon))
            if collection is None:
                raise DataError(f"space {space}: no stored users. Expected users to index. Store them first.")
            number, dim, _ = collection
            drop_index(connection, number)  # an interrupted build leaves an incomplete one
            connection.execute(sql.SQL(_BUILD).format(number=number, dim=dim))
            connection.execute("UPDATE tastevec.spaces SET indexed = true WHERE number = %s", (number,))

    @contextmanager
    def _connection(self, use: Literal["short", "search", "long"] = "short") -> Iterator[psycopg.Connection]:
        """Yield a connection for a short query or a search, or one without a time limit.

        Database errors become `StoreError`, without their text, which can contain an ID.
        """
        import psycopg  # noqa: PLC0415  an extra

        try:
            opened = psycopg.connect(**self._settings) if use == "long" else self._pools[use].connection()
            with opened as connection:
                yield connection
        except psycopg.Error as error:
            # Without a code it is the connection; 57P: the server is shutting down or starting.
            lost = error.sqlstate is None or error.sqlstate.startswith("57P")
            raise StoreError(type(error).__name__, reachable=not lost) from None


def id_text(value: object, where: str) -> str:
    """Return an ID as the database stores it: a string of 1 to 200 characters.

    Raises:
        DataError: The ID is invalid; the message has its location, but not its value.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: a {type(value).__name__}. Expected a string or an integer.")
    if not 1 <= len(value) <= _MAX_ID_LENGTH:
        raise DataError(f"{where}: {len(value)} characters. Expected 1 to {_MAX_ID_LENGTH}.")
    if _INVALID_ID.search(value):
        raise DataError(f"{where}: a NUL, surrogate or replacement character. Expected valid text.")
    return value


def _id_texts(values: Sequence[int | str], where: str) -> list[str]:
    return [id_text(value, f"{where}[{number}]") for number, value in enumerate(values)]


def parse_horizon(horizon: str) -> Horizon:
    """Return the horizon of this name; refuse another name."""
    if horizon not in get_args(Horizon):
        raise SettingsError(f"horizon: {horizon!r}. Expected {' or '.join(get_args(Horizon))}.")
    return cast("Horizon", horizon)


def _rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors (B, D) as float32, whose squares 32 bits can hold."""
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or not rows.shape[1]:  # noqa: PLR2004  B and D
        raise DataError(f"vectors: shape {rows.shape}. Expected (B, D).")
    if not (np.abs(rows) <= _MAX_VALUE).all():
        raise DataError(
            f"vectors: NaN, or a value above {_MAX_VALUE:g}. Expected vectors as encode returns them."
        )
    return rows


def _check_dim(collection: Collection, rows: NDArray[np.float32], space: str) -> None:
    if rows.shape[1] != collection.dim:
        raise DataError(
            f"vectors: {rows.shape[1]} dimensions. Expected {collection.dim}, as stored in space {space}."
        )


_ROWS = 2_000  # of a file per write


def load_parquet(store: UserStore, path: Path | str) -> int:
    """Store the users of a file that ``encode`` wrote, in batches; return their number.

    After an interruption the earlier batches stay stored; loading again completes the rest.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is another file, or a user occurs twice.
        StoreError: The database is unavailable.
    """
    try:
        with pq.ParquetFile(path) as file:
            facts = file.schema_arrow.metadata or {}
            if vector_type(file.schema_arrow) is None or not {b"space", b"horizon"} <= set(facts):
                raise DataError(
                    f"{path}: no user_id, vector, space or horizon. Expected all four, as from tastevec encode."
                )
            space, horizon = facts[b"space"].decode(), parse_horizon(facts[b"horizon"].decode())
            ids = file.read([USER_ID])[USER_ID]
            if pc.count_distinct(ids).as_py() < len(ids):
                raise DataError(
                    f"{path}: a user_id occurs twice. Expected each user once. Encode these users again."
                )
            for batch in file.iter_batches(_ROWS, columns=[USER_ID, VECTOR]):
                if batch[USER_ID].null_count or batch[VECTOR].null_count:
                    raise DataError(
                        f"{path}: a user_id or vector is NULL. Expected both for each user. Encode these users again."
                    )
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                store.upsert(space, batch[USER_ID].to_pylist(), {horizon: flat.reshape(len(batch), -1)})
            return len(ids)
    except READ_ERRORS as error:
        raise SourceError(
            f"{path}: cannot be read ({error}). Expected a Parquet file from tastevec encode."
        ) from error
