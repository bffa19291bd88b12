"""Stored user vectors in PostgreSQL with pgvector.

Of a person the database holds the id, at most two vectors (``next`` and ``overall``) of each space, and when they came;
never the ratings. Whoever is deleted is in no answer from then on; the database's own vacuum cleans its pages.

Dimensions: B people, M people of a space, D numbers a vector, K nearest.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast, get_args

import numpy as np
import pyarrow as pa
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
    from psycopg import sql
    from psycopg_pool import ConnectionPool


__all__ = [
    "CONNECTIONS",
    "Collection",
    "StoreError",
    "UserStore",
    "build_index",
    "connection_pool",
    "connection_settings",
    "create_collection",
    "drop_index",
    "find_collection",
    "id_text",
    "load_parquet",
    "migrate",
    "parse_horizon",
    "read",
    "search",
    "store_errors",
    "write",
]

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
    """The database of people does not answer, or not in time; nothing of the attempt was kept."""


@contextmanager
def store_errors() -> Iterator[None]:
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


def connection_settings(url: str) -> dict[str, Any]:
    """How the database is reached.

    Raises:
        SettingsError: That cannot be read from the address, which the message does not repeat.
        MissingExtraError: psycopg or pgvector is not installed.
    """
    for module in ("psycopg", "psycopg_pool", "pgvector"):
        require(module)
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


def migrate(connection: psycopg.Connection) -> None:
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


_CANDIDATES: Final = (
    200,
    1_000,
)  # held in a search by the index: at least, and the most that pgvector allows

# Values are parameters, everywhere; what is put into a statement are whole numbers of our own.
_UPSERT = """
    INSERT INTO tastevec.users (number, user_id, vector, updated_at)
    SELECT %(number)s, told.user_id, told.vector, now()
    FROM unnest(%(ids)s::text[], %(vectors)b::vector[]) AS told (user_id, vector)
    ORDER BY told.user_id COLLATE "C"  -- two who write the same people wait for each other in one order
    ON CONFLICT (number, user_id) DO UPDATE SET vector = excluded.vector, updated_at = excluded.updated_at
"""
# A vector of zeros has no angle, and is near nobody: its cosine counts as 0.
_EXACT = """
    SELECT user_id, 1 - distance FROM (
        SELECT user_id, coalesce(nullif(vector <=> %(asked)b::vector, 'NaN'), 1) AS distance
        FROM tastevec.users WHERE number = %(number)s AND user_id <> ALL(%(exclude)s::text[])
    ) AS told ORDER BY distance, user_id LIMIT %(k)s
"""
# As numbers of SQL's own: what stands for a vector in Python has changed between releases of pgvector.
_READ = """
    SELECT user_id, vector::real[] FROM tastevec.users
    WHERE number = %(number)s AND user_id = ANY(%(ids)s::text[])
"""
# The index serves the distance of vectors of a given length, so that the query above is exact with it and without.
_BY_INDEX = """
    SELECT user_id, 1 - (vector::vector({dim}) <=> %(asked)b::vector)
    FROM tastevec.users WHERE number = {number} AND user_id <> ALL(%(exclude)s::text[])
    ORDER BY vector::vector({dim}) <=> %(asked)b::vector LIMIT %(k)s
"""
_BUILD = """
    CREATE INDEX CONCURRENTLY {name} ON tastevec.users
    USING hnsw ((vector::vector({dim})) vector_cosine_ops) WHERE number = {number}
"""


class Collection(NamedTuple):
    """Where the people of one space and horizon stand.

    Attributes:
        number: The database's own for it.
        dim: D, of every vector there.
        indexed: Whether it is searched by an index.
    """

    number: int
    dim: int
    indexed: bool


def find_collection(connection: psycopg.Connection, space: str, horizon: Horizon) -> Collection | None:
    """Where these people stand; None where nobody ever did."""
    asked = "SELECT number, dim, indexed FROM tastevec.spaces WHERE space = %s AND horizon = %s"
    row = connection.execute(asked, (space, horizon)).fetchone()
    return None if row is None else Collection(*row)


def create_collection(connection: psycopg.Connection, space: str, horizon: Horizon, dim: int) -> Collection:
    """Where these people stand from now on."""
    collection = find_collection(connection, space, horizon)
    if collection is None:
        made = "INSERT INTO tastevec.spaces (space, horizon, dim) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        connection.execute(made, (space, horizon, dim))
        collection = find_collection(
            connection, space, horizon
        )  # somebody else may have been first, with another length
    assert collection is not None
    return collection


def write(
    connection: psycopg.Connection, collection: Collection, ids: Sequence[str], rows: NDArray[np.float32]
) -> None:
    """Put B people there, instead of what was there of them.

    Raises:
        DataError: Somebody stands twice among them.
    """
    from psycopg.errors import CardinalityViolation  # noqa: PLC0415  an extra

    try:
        connection.execute(_UPSERT, {"number": collection.number, "ids": list(ids), "vectors": list(rows)})
    except CardinalityViolation:
        raise DataError("somebody stands twice among the people to be stored; expected each once") from None


def read(
    connection: psycopg.Connection, collection: Collection, ids: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """The vectors (D,), by their ids, of those of these people who are there."""
    rows = connection.execute(_READ, {"number": collection.number, "ids": list(ids)}, binary=True).fetchall()
    return {user_id: np.array(vector, np.float32) for user_id, vector in rows}


def search(
    connection: psycopg.Connection,
    collection: Collection,
    vectors: NDArray[np.float32],
    k: int,
    exclude: Sequence[str],
) -> list[list[tuple[str, float]]]:
    """For each of B vectors the ids of the K nearest who are not left out, and their cosines, nearest first."""
    from psycopg import sql  # noqa: PLC0415  an extra

    query: sql.Composed | str = _EXACT
    if collection.indexed:
        query = sql.SQL(_BY_INDEX).format(**_literals(collection))
        least, most = _CANDIDATES
        held = str(min(most, max(least, 2 * (k + len(exclude)))))
        connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (held,))
    told = {"number": collection.number, "k": k, "exclude": list(exclude)}
    return [connection.execute(query, {**told, "asked": row}).fetchall() for row in vectors]


def build_index(connection: psycopg.Connection, collection: Collection) -> None:
    """Index these people, anew if they were; they are read and written meanwhile."""
    from psycopg import sql  # noqa: PLC0415  an extra

    drop_index(connection, collection.number)  # one whose building broke off would be taken for whole
    connection.execute(
        sql.SQL(_BUILD).format(name=sql.Identifier(_name(collection.number)), **_literals(collection))
    )
    connection.execute("UPDATE tastevec.spaces SET indexed = true WHERE number = %s", (collection.number,))


def drop_index(connection: psycopg.Connection, number: int) -> None:
    """Remove the index of these people, if there is one."""
    from psycopg import sql  # noqa: PLC0415  an extra

    connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier("tastevec", _name(number))))


def _name(number: int) -> str:
    return f"users_hnsw_{number}"


def _literals(collection: Collection) -> dict[str, sql.Literal]:
    from psycopg import sql  # noqa: PLC0415  an extra

    return {"number": sql.Literal(collection.number), "dim": sql.Literal(collection.dim)}


_LONGEST = 200  # letters of an id
_UNFIT = re.compile(
    "[\x00\ud800-\udfff\ufffd]"
)  # the last stands where a text was broken, and so for many texts
_LARGEST = 1e6  # of a number in a vector: 32 bits hold no square above 1e38


class UserStore:
    """People's vectors in a database; a context manager that lets its connections go, safe to be asked by many threads.

    Ids are texts of 1 to 200 letters; whole numbers are stored as their digits, so that 7 and "7" are one person. What is
    in one space is never compared with what is in another.
    """

    def __init__(self, url: str) -> None:
        """Open the database, and make its tables, in the schema ``tastevec``, where they are not there or older.

        Args:
            url: As ``postgresql://user:password@host/name``; no message repeats it.

        Raises:
            SettingsError: It is no such address, or the database lacks pgvector.
            StoreError: The database does not answer.
            FormatError: The tables were made by a later version.
            MissingExtraError: psycopg or pgvector is not installed.
        """
        self._told = connection_settings(url)
        with self._alone() as connection:
            migrate(connection)
        self._pool = connection_pool(self._told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._pool.close()

    def upsert(
        self, space: str, user_ids: Sequence[int | str], vectors: Mapping[Horizon, NDArray[np.float32]]
    ) -> None:
        """Store B people, all or none; what was stored of them for these horizons of this space is replaced.

        Args:
            space: That of the model that made the vectors.
            user_ids: Each person once.
            vectors: (B, D) of each horizon.

        Raises:
            DataError: An id cannot be stored or stands twice, or the vectors are not of the space's length.
            SettingsError: There is no such horizon.
            StoreError: The database does not answer.
        """
        id_text(space, "space")
        ids = [id_text(user_id, f"user_ids[{number}]") for number, user_id in enumerate(user_ids)]
        with self._pooled() as connection, connection.transaction():
            for horizon, told in sorted(vectors.items()):
                rows = _rows(told)
                if len(rows) != len(ids):
                    raise DataError(f"{len(ids)} user_ids came with {len(rows)} vectors; expected one each")
                collection = create_collection(connection, space, parse_horizon(horizon), rows.shape[1])
                write(connection, _fitting(collection, rows, space), ids, rows)

    def delete(self, user_id: int | str) -> bool:
        """Delete one person from every space; whether anything was stored.

        Raises:
            DataError: No such id can have been stored.
            StoreError: The database does not answer.
        """
        asked = (id_text(user_id, "user_id"),)
        with self._pooled() as connection:
            return connection.execute("DELETE FROM tastevec.users WHERE user_id = %s", asked).rowcount > 0

    def delete_space(self, space: str) -> int:
        """Delete everybody in a space, such as that of a model which is no more; how many people there were.

        Raises:
            StoreError: The database does not answer.
        """
        counted = "SELECT count(DISTINCT user_id) FROM tastevec.users JOIN tastevec.spaces USING (number) WHERE space = %s"
        emptied = "DELETE FROM tastevec.spaces WHERE space = %s RETURNING number"
        with self._alone() as connection, connection.transaction():
            [(users,)] = connection.execute(counted, (space,)).fetchall()
            for (number,) in connection.execute(emptied, (space,)).fetchall():
                drop_index(connection, number)
        return int(users)

    def count(self, space: str, horizon: Horizon = "overall") -> int:
        """M, the people of whom a vector of this space and horizon is stored.

        Raises:
            SettingsError: There is no such horizon.
            StoreError: The database does not answer.
        """
        counted = "SELECT count(*) FROM tastevec.users JOIN tastevec.spaces USING (number) WHERE space = %s AND horizon = %s"
        with self._pooled() as connection:
            [(users,)] = connection.execute(counted, (space, parse_horizon(horizon))).fetchall()
        return int(users)

    def nearest(
        self,
        space: str,
        vectors: NDArray[np.float32],
        k: int,
        *,
        horizon: Horizon = "overall",
        exclude: Sequence[int | str] = (),
    ) -> list[list[tuple[str, float]]]:
        """For each of B vectors the ids of the K nearest people and their cosines in [-1, 1], nearest first.

        Exact, and by their ids among equals; approximate once `index` was called for these people, and then without those
        whose vectors are zeros. Nobody is found in a space in which nobody is stored.

        Args:
            space: That of the vectors.
            vectors: (B, D).
            k: How many at most; fewer where fewer are stored.
            horizon: Which of the people's vectors are meant.
            exclude: Ids of people who are left out.

        Raises:
            DataError: The vectors are not of the space's length.
            SettingsError: ``k`` is below 1, or there is no such horizon.
            StoreError: The database does not answer.
        """
        if k < 1:
            raise SettingsError(f"k is {k}; expected 1 or more")
        asked = _rows(vectors)
        left_out = [id_text(user_id, f"exclude[{number}]") for number, user_id in enumerate(exclude)]
        with self._pooled() as connection, connection.transaction():
            collection = find_collection(connection, space, parse_horizon(horizon))
            if collection is None:
                return [[] for _ in asked]
            return search(connection, _fitting(collection, asked, space), asked, k, left_out)

    def vectors(
        self, space: str, user_ids: Sequence[int | str], *, horizon: Horizon = "overall"
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors (D,), by their ids, of those of these people of whom one is stored.

        Raises:
            SettingsError: There is no such horizon.
            StoreError: The database does not answer.
        """
        asked = [id_text(user_id, f"user_ids[{number}]") for number, user_id in enumerate(user_ids)]
        with self._pooled() as connection:
            collection = find_collection(connection, space, parse_horizon(horizon))
            return {} if collection is None else read(connection, collection, asked)

    def index(self, space: str, horizon: Horizon = "overall") -> None:
        """Build an HNSW index of these people, by which `nearest` searches from then on; D is 2,000 at most.

        Worth it from about 100,000 people on, of whom looking at all takes a tenth of a second or two. Building takes minutes
        there; the store is read and written meanwhile, and people who come later are in the index at once.

        Raises:
            DataError: Nobody of this space and horizon is stored.
            StoreError: The database does not answer, or D is larger.
        """
        with self._alone() as connection:
            collection = find_collection(connection, space, parse_horizon(horizon))
            if collection is None:
                raise DataError(f"nobody of the space {space} is stored; expected people to be indexed")
            build_index(connection, collection)

    @contextmanager
    def _pooled(self) -> Iterator[psycopg.Connection]:
        """A connection for a short question."""
        with store_errors(), self._pool.connection() as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[psycopg.Connection]:
        """A connection for work that may take as long as it takes."""
        import psycopg  # noqa: PLC0415  an extra

        with store_errors(), psycopg.connect(**self._told) as connection:
            yield connection


def id_text(value: object, where: str) -> str:
    """An id as the store holds it: a text of 1 to 200 letters.

    Raises:
        DataError: It cannot be stored; the message says where it stands, and does not repeat it.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where} is a {type(value).__name__}; expected a text or a whole number")
    if not 1 <= len(value) <= _LONGEST:
        raise DataError(f"{where} is a text of {len(value)} letters; expected 1 to {_LONGEST}")
    if _UNFIT.search(value):
        raise DataError(f"{where} holds NUL or half a character; expected a text that can be stored")
    return value


def parse_horizon(horizon: str) -> Horizon:
    """The horizon of this name.

    Raises:
        SettingsError: There is none.
    """
    if horizon not in get_args(Horizon):
        raise SettingsError(f"horizon is {horizon!r}; expected one of {', '.join(get_args(Horizon))}")
    return cast("Horizon", horizon)


def _rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, D) float32, of numbers whose squares 32 bits can hold."""
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or not rows.shape[1]:  # noqa: PLR2004  B and D
        raise DataError(f"vectors have the shape {rows.shape}; expected (B, D)")
    if not (np.abs(rows) <= _LARGEST).all():
        raise DataError(
            f"a vector holds a number that is none, or above {_LARGEST:g}; expected vectors as encode gives them"
        )
    return rows


def _fitting(collection: Collection, rows: NDArray[np.float32], space: str) -> Collection:
    if rows.shape[1] != collection.dim:
        raise DataError(
            f"vectors hold {rows.shape[1]} numbers each; expected {collection.dim}, as those stored of the space {space}"
        )
    return collection


_ROWS = 2_000  # of a file that are written together


def load_parquet(store: UserStore, path: Path | str) -> int:
    """Store the people of a file that ``encode`` wrote, group by group; how many they are.

    A load that breaks off leaves those stored who came before; loading again completes it.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is no such file, or somebody stands in it twice.
        StoreError: The database does not answer.
    """
    try:
        with pq.ParquetFile(path) as file:
            space, horizon = _told_by(file.schema_arrow, path)
            ids = file.read([USER_ID])[USER_ID]
            if pc.count_distinct(ids).as_py() < len(ids):
                raise DataError(
                    f"somebody stands twice in {path}; expected each person once: encode them again"
                )
            for batch in file.iter_batches(_ROWS, columns=[USER_ID, VECTOR]):
                if batch[USER_ID].null_count or batch[VECTOR].null_count:
                    raise DataError(
                        f"{path} holds somebody without an id or a vector; expected both of everybody: encode them again"
                    )
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                store.upsert(space, batch[USER_ID].to_pylist(), {horizon: flat.reshape(len(batch), -1)})
            return len(ids)
    except READ_ERRORS as error:
        raise SourceError(
            f"{path} cannot be read ({error}); expected a Parquet file that tastevec encode wrote"
        ) from error


def _told_by(schema: pa.Schema, path: Path | str) -> tuple[str, Horizon]:
    """The space and the horizon of a file of vectors."""
    facts = schema.metadata or {}
    if vector_type(schema) is None or not {b"space", b"horizon"} <= set(facts):
        raise DataError(
            f"{path} does not say whose vectors of which space it holds; expected user_id, vector, space and horizon, as "
            "tastevec encode writes them"
        )
    return facts[b"space"].decode(), parse_horizon(facts[b"horizon"].decode())
