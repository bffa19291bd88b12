"""People who are kept, where somebody wants that: their vectors in PostgreSQL with pgvector.

Of a person the database holds the id, at most two vectors (``next`` and ``overall``) of each space, and when they came;
never the ratings. Whoever is deleted is in no answer from then on; the database's own vacuum cleans its pages.

Dimensions: B people, M people of a space, D numbers a vector, K nearest.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, cast, get_args

import numpy as np

from tastevec.errors import DataError, SettingsError
from tastevec.schema import Horizon
from tastevec.serving.stored.database import answering, connection_pool, migrated, told_by_url
from tastevec.serving.stored.shelves import (
    build_index,
    drop_index,
    find_shelf,
    made_shelf,
    read,
    search,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psycopg
    from numpy.typing import NDArray

    from tastevec.serving.stored.shelves import Shelf

__all__ = ["PeopleStore", "horizon_of", "id_text"]

_LONGEST = 200  # letters of an id
_UNFIT = re.compile(
    "[\x00\ud800-\udfff\ufffd]"
)  # the last stands where a text was broken, and so for many texts
_LARGEST = 1e6  # of a number in a vector: 32 bits hold no square above 1e38


class PeopleStore:
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
        self._told = told_by_url(url)
        with self._alone() as connection:
            migrated(connection)
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
                shelf = made_shelf(connection, space, horizon_of(horizon), rows.shape[1])
                write(connection, _fitting(shelf, rows, space), ids, rows)

    def delete(self, user_id: int | str) -> bool:
        """Delete one person from every space; whether anything was stored.

        Raises:
            DataError: No such id can have been stored.
            StoreError: The database does not answer.
        """
        asked = (id_text(user_id, "user_id"),)
        with self._pooled() as connection:
            return connection.execute("DELETE FROM tastevec.people WHERE user_id = %s", asked).rowcount > 0

    def delete_space(self, space: str) -> int:
        """Delete everybody in a space, such as that of a model which is no more; how many people there were.

        Raises:
            StoreError: The database does not answer.
        """
        counted = "SELECT count(DISTINCT user_id) FROM tastevec.people JOIN tastevec.spaces USING (number) WHERE space = %s"
        emptied = "DELETE FROM tastevec.spaces WHERE space = %s RETURNING number"
        with self._alone() as connection, connection.transaction():
            [(people,)] = connection.execute(counted, (space,)).fetchall()
            for (number,) in connection.execute(emptied, (space,)).fetchall():
                drop_index(connection, number)
        return int(people)

    def count(self, space: str, horizon: Horizon = "overall") -> int:
        """M, the people of whom a vector of this space and horizon is stored.

        Raises:
            SettingsError: There is no such horizon.
            StoreError: The database does not answer.
        """
        counted = "SELECT count(*) FROM tastevec.people JOIN tastevec.spaces USING (number) WHERE space = %s AND horizon = %s"
        with self._pooled() as connection:
            [(people,)] = connection.execute(counted, (space, horizon_of(horizon))).fetchall()
        return int(people)

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
            shelf = find_shelf(connection, space, horizon_of(horizon))
            if shelf is None:
                return [[] for _ in asked]
            return search(connection, _fitting(shelf, asked, space), asked, k, left_out)

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
            shelf = find_shelf(connection, space, horizon_of(horizon))
            return {} if shelf is None else read(connection, shelf, asked)

    def index(self, space: str, horizon: Horizon = "overall") -> None:
        """Build an HNSW index of these people, by which `nearest` searches from then on; D is 2,000 at most.

        Worth it from about 100,000 people on, of whom looking at all takes a tenth of a second or two. Building takes minutes
        there; the store is read and written meanwhile, and people who come later are in the index at once.

        Raises:
            DataError: Nobody of this space and horizon is stored.
            StoreError: The database does not answer, or D is larger.
        """
        with self._alone() as connection:
            shelf = find_shelf(connection, space, horizon_of(horizon))
            if shelf is None:
                raise DataError(f"nobody of the space {space} is stored; expected people to be indexed")
            build_index(connection, shelf)

    @contextmanager
    def _pooled(self) -> Iterator[psycopg.Connection]:
        """A connection for a short question."""
        with answering(), self._pool.connection() as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[psycopg.Connection]:
        """A connection for work that may take as long as it takes."""
        import psycopg  # noqa: PLC0415  an extra

        with answering(), psycopg.connect(**self._told) as connection:
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


def horizon_of(horizon: str) -> Horizon:
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


def _fitting(shelf: Shelf, rows: NDArray[np.float32], space: str) -> Shelf:
    if rows.shape[1] != shelf.dim:
        raise DataError(
            f"vectors hold {rows.shape[1]} numbers each; expected {shelf.dim}, as those stored of the space {space}"
        )
    return shelf
