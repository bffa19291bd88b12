"""Stored user vectors in PostgreSQL with pgvector.

The database holds the ID of a user, up to two vectors (``next`` and ``overall``) with their norms per space, and their
timestamp; never the ratings. A deleted user is in no later result; the vacuum of the database cleans its pages.

Dimensions: B users, M users of a space, D dimensions, K nearest.
"""

from __future__ import annotations

import re
import time
import warnings
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, cast, get_args

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.arrays import READ_ERRORS, vector_type
from tastevec.errors import DataError, SettingsError, SourceError
from tastevec.schema import ALIGNED_FROM, CONTROL_CHARACTERS, NORM, USER_ID, VECTOR, Horizon
from tastevec.serving.user_tables import (
    CONNECTIONS,
    MIGRATIONS,
    SEARCH_CONNECTIONS,
    check_version,
    connection_pool,
    connection_settings,
    migrate,
    not_ours,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import psycopg
    import pyarrow as pa
    from numpy.typing import NDArray


_CANDIDATES: Final = (200, 1_000)  # of an index search: at least, and the most that pgvector allows
_INDEX_DIM: Final = 2_000  # the most that pgvector allows

# All values are parameters; only integers that this module makes are put into a statement.
_CREATE = "INSERT INTO tastevec.spaces (space, horizon, dim) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_UPSERT = """
    INSERT INTO tastevec.users (number, user_id, vector, norm, updated_at)
    SELECT %(number)s, given.user_id, given.vector, given.norm, now()
    FROM unnest(%(ids)s::text[], %(vectors)b::vector[], %(norms)s::real[]) AS given (user_id, vector, norm)
    ORDER BY given.user_id COLLATE "C"  -- one order of locks for all writers, so that none waits for another forever
    ON CONFLICT (number, user_id) DO UPDATE
        SET vector = excluded.vector, norm = excluded.norm, updated_at = excluded.updated_at
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
    SELECT user_id, 1 - distance FROM (
        SELECT user_id, vector::vector({dim}) <=> %(query)b::vector AS distance
        FROM tastevec.users WHERE number = {number} AND user_id <> ALL(%(exclude)s::text[])
        ORDER BY vector::vector({dim}) <=> %(query)b::vector LIMIT %(k)s
    ) AS found WHERE distance <> 'NaN'
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

    parameters = {"number": collection.number, "k": k, "exclude": list(exclude), "query": vector}
    least, most = _CANDIDATES
    if collection.indexed and (wanted := k + len(exclude)) <= most:
        query = sql.SQL(_BY_INDEX).format(number=collection.number, dim=collection.dim)
        candidates = str(min(most, max(least, 2 * wanted)))
        connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (candidates,))
        found = connection.execute(query, parameters).fetchall()
        if len(found) == k:
            return found
        # The index lacks vectors of zeros, and deleted users are among its candidates until a vacuum.
    return connection.execute(_EXACT, parameters).fetchall()


def drop_index(connection: psycopg.Connection, number: int) -> None:
    """Remove the index of a collection, if it exists."""
    from psycopg import sql  # noqa: PLC0415  an extra

    connection.execute(sql.SQL("DROP INDEX IF EXISTS tastevec.users_hnsw_{}").format(number))


_MAX_ID_LENGTH = 200
# NUL, surrogates, and the replacement character, which stands for different broken texts.
_INVALID_ID = re.compile("[\x00\ud800-\udfff\ufffd]")
_CONTROL = re.compile(CONTROL_CHARACTERS)
_MAX_VALUE = 1e6  # in a vector: 32 bits hold no square above 1e38


class UserStore:
    """User vectors in a database; a context manager that closes its connections, safe for many threads.

    IDs are strings of 1 to 200 characters; integers are stored as their digits, so that 7 and "7" are one user. Vectors of
    different spaces are never compared.

    Raises:
        StoreError: In each method: the database is unavailable, or too slow.
        SettingsError: In each method: the database is read-only, or the role lacks a right; the horizon is unknown.
        FormatError: In each method: the tables were removed or changed.
        DataError: In each method with IDs: one of them is invalid.
    """

    def __init__(self, url: str) -> None:
        """Open the database, and create or migrate its tables in the schema ``tastevec``.

        Args:
            url: Such as ``postgresql://user:password@host/name``; no message contains it.

        Raises:
            SettingsError: The URL is invalid, or the database lacks pgvector, UTF-8 or a right.
            StoreError: The database is unavailable.
            FormatError: The tables are of a later version, or the schema is another one.
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
        """Check that the database responds, and has the tables of this version.

        Raises:
            FormatError: It has others.
        """
        with self._connection() as connection:
            if check_version(connection) < len(MIGRATIONS):
                raise not_ours("of an earlier version")

    def upsert(
        self,
        space: str,
        user_ids: Sequence[int | str],
        vectors: Mapping[Horizon, NDArray[np.float32]],
        norms: Mapping[Horizon, NDArray[np.float32]] | None = None,
    ) -> None:
        """Store the vectors of B users, all or none; earlier vectors of this space and these horizons are replaced.

        Args:
            space: The space of the vectors.
            user_ids: Each user once.
            vectors: (B, D) per horizon.
            norms: (B,) per horizon, stored next to the vectors for other readers; NULL without them.

        Raises:
            DataError: An ID occurs twice, or the vectors have another dimension than the space.
        """
        from psycopg.errors import CardinalityViolation  # noqa: PLC0415  an extra

        id_text(space, "space")
        ids = _id_texts(user_ids, "user_ids")
        if not vectors:
            raise DataError("vectors: none. Expected those of a horizon.")
        with self._connection() as connection, connection.transaction():
            for horizon, given in sorted(vectors.items()):
                rows = _rows(given)
                if len(rows) != len(ids):
                    raise DataError(f"vectors: {len(rows)} for {len(ids)} user_ids. Expected one per user.")
                collection = create_collection(connection, space, parse_horizon(horizon), rows.shape[1])
                _check_dim(collection, rows, space)
                parameters = {"number": collection.number, "ids": ids, "vectors": list(rows)}
                lengths = (norms or {}).get(horizon)
                parameters["norms"] = [None] * len(ids) if lengths is None else np.asarray(lengths).tolist()
                try:
                    connection.execute(_UPSERT, parameters)
                except CardinalityViolation:
                    raise DataError("user_ids: an ID occurs twice. Expected each user once.") from None

    def delete(self, user_id: int | str) -> bool:
        """Delete a user from all spaces; return whether anything was stored under exactly this ID.

        An ID with a control character, which earlier versions stored, is deleted, too.
        """
        parameters = (id_text(user_id, "user_id", stored=True),)
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

        The search is exact, with equal cosines sorted by ID; a vector of zeros has cosine 0. After `index` it is approximate,
        where the index finds K users. A space without users has no results.

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
        if isinstance(k, bool) or k != int(k) or k < 1:
            raise SettingsError(f"k: {k}. Expected 1 or more.")
        queries = _rows(vectors)
        excluded = _id_texts(exclude, "exclude", stored=True)
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
        ids = _id_texts(user_ids, "user_ids", stored=True)
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
            DataError: No user of this space and horizon is stored, or D is larger.
        """
        from psycopg import sql  # noqa: PLC0415  an extra

        with self._connection("long") as connection:
            collection = find_collection(connection, space, parse_horizon(horizon))
            if collection is None:
                raise DataError(f"space {space}: no stored users. Expected users to index. Store them first.")
            number, dim, _ = collection
            if dim > _INDEX_DIM:
                raise DataError(
                    f"space {space}: {dim} dimensions. Expected {_INDEX_DIM} at most for an index."
                )
            drop_index(connection, number)  # an interrupted build leaves an incomplete one
            connection.execute(sql.SQL(_BUILD).format(number=number, dim=dim))
            connection.execute("UPDATE tastevec.spaces SET indexed = true WHERE number = %s", (number,))

    @contextmanager
    def _connection(self, use: Literal["short", "search", "long"] = "short") -> Iterator[psycopg.Connection]:
        """Yield a connection for a short query or a search, or one without a time limit.

        Database errors become errors of tastevec.
        """
        import psycopg  # noqa: PLC0415  an extra

        try:
            opened = psycopg.connect(**self._settings) if use == "long" else self._pools[use].connection()
            with opened as connection:
                if use == "long":  # a role may have a limit, which would end the build of an index
                    connection.execute("SELECT set_config('statement_timeout', '0', false)")
                yield connection
        except psycopg.Error as error:
            raise translated(error) from None


def id_text(value: object, where: str, *, stored: bool = False) -> str:
    """Return an ID as the database stores it: a string of 1 to 200 characters without control characters.

    Args:
        value: The ID.
        where: Its location, for the message.
        stored: Whether it is only compared with stored IDs: these may contain control characters, which earlier versions
            accepted.

    Raises:
        DataError: The ID is invalid; the message has its location, but not its value.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: a {type(value).__name__}. Expected a string or an integer.")
    if not 1 <= len(value) <= _MAX_ID_LENGTH:
        raise DataError(f"{where}: {len(value)} characters. Expected 1 to {_MAX_ID_LENGTH}.")
    if _INVALID_ID.search(value):
        raise DataError(f"{where}: a NUL, surrogate or replacement character. Expected valid text.")
    if not stored and _CONTROL.search(value):
        raise DataError(f"{where}: a control character. Expected an ID on one line, without tabs.")
    return value


def _id_texts(values: Sequence[int | str], where: str, *, stored: bool = False) -> list[str]:
    if isinstance(values, str):  # else each of its characters would be an ID
        raise DataError(f"{where}: a string. Expected a list of IDs.")
    return [id_text(value, f"{where}[{number}]", stored=stored) for number, value in enumerate(values)]


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
        DataError: It is another file, an ID is invalid, or a user occurs twice: nothing is stored. A vector contains NaN:
            earlier batches are stored.
        StoreError: The database is unavailable.

    Warns:
        UserWarning: The vectors were aligned from another space.
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
            _check_file_ids(ids, path)
            if ALIGNED_FROM.encode() in facts:
                warnings.warn(
                    f"{path}: vectors were aligned from another space, so similarities are approximate",
                    stacklevel=2,
                )
            row, columns = 0, [name for name in (USER_ID, VECTOR, NORM) if name in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, columns=columns):
                if batch[VECTOR].null_count:
                    raise DataError(
                        f"{path}: a vector is NULL. Expected one per user. Encode these users again."
                    )
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                try:
                    norms = {horizon: batch[NORM].to_numpy()} if NORM in columns else None
                    vectors = {horizon: flat.reshape(len(batch), -1)}
                    store.upsert(space, batch[USER_ID].to_pylist(), vectors, norms)
                except DataError as error:
                    raise DataError(f"{path}, rows {row} to {row + len(batch) - 1}: {error}") from None
                row += len(batch)
            return row
    except READ_ERRORS as error:
        raise SourceError(
            f"{path}: cannot be read ({error}). Expected a Parquet file from tastevec encode."
        ) from error


def _check_file_ids(ids: pa.ChunkedArray, path: Path | str) -> None:
    """Check all IDs of a file before the first is stored."""
    if ids.null_count:
        raise DataError(f"{path}: a user_id is NULL. Expected one per user. Encode these users again.")
    if pc.count_distinct(ids).as_py() < len(ids):
        raise DataError(f"{path}: a user_id occurs twice. Expected each user once. Encode these users again.")
    row = 0
    for chunk in ids.chunks:
        for user_id in chunk.to_pylist():
            id_text(user_id, f"{path}, row {row}")
            row += 1
