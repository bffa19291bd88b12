"""The people of one space and horizon in the database: found, written, searched.

Dimensions: B people, D numbers a vector, K nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tastevec.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg
    from numpy.typing import NDArray
    from psycopg import sql

    from tastevec.schema import Horizon

__all__ = ["Shelf", "build_index", "drop_index", "find_shelf", "made_shelf", "read", "search", "write"]

_CANDIDATES: Final = (
    200,
    1_000,
)  # held in a search by the index: at least, and the most that pgvector allows

# Values are parameters, everywhere; what is put into a statement are whole numbers of our own.
_UPSERT = """
    INSERT INTO tastevec.people (number, user_id, vector, updated_at)
    SELECT %(number)s, told.user_id, told.vector, now()
    FROM unnest(%(ids)s::text[], %(vectors)b::vector[]) AS told (user_id, vector)
    ORDER BY told.user_id COLLATE "C"  -- two who write the same people wait for each other in one order
    ON CONFLICT (number, user_id) DO UPDATE SET vector = excluded.vector, updated_at = excluded.updated_at
"""
# A vector of zeros has no angle, and is near nobody: its cosine counts as 0.
_EXACT = """
    SELECT user_id, 1 - distance FROM (
        SELECT user_id, coalesce(nullif(vector <=> %(asked)b::vector, 'NaN'), 1) AS distance
        FROM tastevec.people WHERE number = %(number)s AND user_id <> ALL(%(exclude)s::text[])
    ) AS told ORDER BY distance, user_id LIMIT %(k)s
"""
# As numbers of SQL's own: what stands for a vector in Python has changed between releases of pgvector.
_READ = """
    SELECT user_id, vector::real[] FROM tastevec.people
    WHERE number = %(number)s AND user_id = ANY(%(ids)s::text[])
"""
# The index serves the distance of vectors of a given length, so that the query above is exact with it and without.
_BY_INDEX = """
    SELECT user_id, 1 - (vector::vector({dim}) <=> %(asked)b::vector)
    FROM tastevec.people WHERE number = {number} AND user_id <> ALL(%(exclude)s::text[])
    ORDER BY vector::vector({dim}) <=> %(asked)b::vector LIMIT %(k)s
"""
_BUILD = """
    CREATE INDEX CONCURRENTLY {name} ON tastevec.people
    USING hnsw ((vector::vector({dim})) vector_cosine_ops) WHERE number = {number}
"""


class Shelf(NamedTuple):
    """Where the people of one space and horizon stand.

    Attributes:
        number: The database's own for it.
        dim: D, of every vector there.
        indexed: Whether it is searched by an index.
    """

    number: int
    dim: int
    indexed: bool


def find_shelf(connection: psycopg.Connection, space: str, horizon: Horizon) -> Shelf | None:
    """Where these people stand; None where nobody ever did."""
    asked = "SELECT number, dim, indexed FROM tastevec.spaces WHERE space = %s AND horizon = %s"
    row = connection.execute(asked, (space, horizon)).fetchone()
    return None if row is None else Shelf(*row)


def made_shelf(connection: psycopg.Connection, space: str, horizon: Horizon, dim: int) -> Shelf:
    """Where these people stand from now on."""
    shelf = find_shelf(connection, space, horizon)
    if shelf is None:
        made = "INSERT INTO tastevec.spaces (space, horizon, dim) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        connection.execute(made, (space, horizon, dim))
        shelf = find_shelf(
            connection, space, horizon
        )  # somebody else may have been first, with another length
    assert shelf is not None
    return shelf


def write(
    connection: psycopg.Connection, shelf: Shelf, ids: Sequence[str], rows: NDArray[np.float32]
) -> None:
    """Put B people there, instead of what was there of them.

    Raises:
        DataError: Somebody stands twice among them.
    """
    from psycopg.errors import CardinalityViolation  # noqa: PLC0415  an extra

    try:
        connection.execute(_UPSERT, {"number": shelf.number, "ids": list(ids), "vectors": list(rows)})
    except CardinalityViolation:
        raise DataError("somebody stands twice among the people to be stored; expected each once") from None


def read(connection: psycopg.Connection, shelf: Shelf, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors (D,), by their ids, of those of these people who are there."""
    rows = connection.execute(_READ, {"number": shelf.number, "ids": list(ids)}, binary=True).fetchall()
    return {user_id: np.array(vector, np.float32) for user_id, vector in rows}


def search(
    connection: psycopg.Connection, shelf: Shelf, vectors: NDArray[np.float32], k: int, exclude: Sequence[str]
) -> list[list[tuple[str, float]]]:
    """For each of B vectors the ids of the K nearest who are not left out, and their cosines, nearest first."""
    from psycopg import sql  # noqa: PLC0415  an extra

    query: sql.Composed | str = _EXACT
    if shelf.indexed:
        query = sql.SQL(_BY_INDEX).format(**_literals(shelf))
        least, most = _CANDIDATES
        held = str(min(most, max(least, 2 * (k + len(exclude)))))
        connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (held,))
    told = {"number": shelf.number, "k": k, "exclude": list(exclude)}
    return [connection.execute(query, {**told, "asked": row}).fetchall() for row in vectors]


def build_index(connection: psycopg.Connection, shelf: Shelf) -> None:
    """Index these people, anew if they were; they are read and written meanwhile."""
    from psycopg import sql  # noqa: PLC0415  an extra

    drop_index(connection, shelf.number)  # one whose building broke off would be taken for whole
    connection.execute(sql.SQL(_BUILD).format(name=sql.Identifier(_name(shelf.number)), **_literals(shelf)))
    connection.execute("UPDATE tastevec.spaces SET indexed = true WHERE number = %s", (shelf.number,))


def drop_index(connection: psycopg.Connection, number: int) -> None:
    """Remove the index of these people, if there is one."""
    from psycopg import sql  # noqa: PLC0415  an extra

    connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier("tastevec", _name(number))))


def _name(number: int) -> str:
    return f"people_hnsw_{number}"


def _literals(shelf: Shelf) -> dict[str, sql.Literal]:
    from psycopg import sql  # noqa: PLC0415  an extra

    return {"number": sql.Literal(shelf.number), "dim": sql.Literal(shelf.dim)}
