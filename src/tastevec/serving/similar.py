"""Who is like whom, and which films lie near which, for all of them at once, as a table in a file.

Dimensions: B asked, M known, D numbers a vector, K nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import new_file
from tastevec.errors import DataError
from tastevec.schema import ITEM_ID, RANK, SCORE, USER_ID
from tastevec.serving.neighbours import Neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender

__all__ = ["similar_among", "similar_films", "similar_people", "write_similar"]

_ASKED = 4096  # at once: faiss multiplies matrices, six times as fast, from 128,000 numbers on


def similar_films(recommender: Recommender, *, k: int) -> Iterator[pa.RecordBatch]:
    """``item_id, similar_item_id, rank, score`` of all films that have a vector, among themselves, a group at a time."""
    there = recommender.item_vectors.any(axis=1)
    films = Neighbours(recommender.bundle.item_ids[there], recommender.item_vectors[there])
    return similar_among(films, ITEM_ID, k=k)


def similar_people(
    recommender: Recommender, people: Iterable[Histories], known: Neighbours, *, k: int, horizon: Horizon
) -> Iterator[pa.RecordBatch]:
    """``user_id, similar_user_id, rank, score`` of people who are told as histories, a group at a time.

    Args:
        recommender: The model.
        people: Groups of them.
        known: Among whom; one of them is found too where he asks for himself.
        k: How many; fewer where fewer are known.
        horizon: That of the vectors of those who are known.
    """
    for group in people:
        nearest = known.nearest(recommender.vectors(group, horizon), k)
        yield _batch(USER_ID, group.user_ids, known.ids, *nearest)


def similar_among(known: Neighbours, name: str, *, k: int) -> Iterator[pa.RecordBatch]:
    """Each one's nearest others, a group at a time: its id, ``similar_`` and the other's id, rank from 1, score (the cosine).

    Memory is that of the vectors, twice, and of one group, however many there are.

    Args:
        known: Whose neighbours among each other are wanted.
        name: What their ids are called: ``user_id`` or ``item_id``.
        k: How many; fewer where there are fewer others.
    """
    for start in range(0, len(known), _ASKED):
        asked = np.arange(start, min(start + _ASKED, len(known)))
        places, scores = known.nearest(known.vectors[asked], k + 1)
        # Itself stands anywhere among its equals, or behind them all; false sorts before true, and else nothing moves.
        others = np.argsort(places == asked[:, None], axis=1, kind="stable")[:, : min(k, len(known) - 1)]
        yield _batch(
            name,
            known.ids[asked],
            known.ids,
            np.take_along_axis(places, others, 1),
            np.take_along_axis(scores, others, 1),
        )


def write_similar(
    batches: Iterable[pa.RecordBatch], out: Path, told: dict[str, str], tell: Callable[[int], None]
) -> int:
    """Write the table to ``out``, whole or not at all; the number of rows.

    Args:
        batches: Groups of the rows.
        out: A Parquet file; an earlier one is replaced.
        told: What the file says of its numbers: their space and horizon.
        tell: Called with the number of rows so far.

    Raises:
        DataError: There is nobody.
    """
    rows, groups = 0, iter(batches)
    if (first := next(groups, None)) is None:
        raise DataError(
            "nobody is asked, and no film has a vector; expected at least one whose neighbours are wanted"
        )
    schema = first.schema.with_metadata(told)
    with new_file(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in (first, *groups):
            writer.write_batch(batch.cast(schema))
            rows += len(batch)
            tell(rows)
    return rows


def _batch(
    name: str,
    asked: NDArray[Any],
    known: NDArray[Any],
    places: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> pa.RecordBatch:
    nearest = places.shape[1]
    ranks = np.tile(np.arange(1, nearest + 1, dtype=np.int32), len(asked))
    columns = {
        name: pa.array(np.repeat(asked, nearest)),
        f"similar_{name}": pa.array(known[places.ravel()]),
        RANK: pa.array(ranks),
        SCORE: pa.array(scores.ravel()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
