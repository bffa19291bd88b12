"""The tag genome: how well each of 1,128 tags fits a film, and the research note's vectors made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.errors import BadRowError, DataError, SourceError
from tastevec.items.linalg import reduce_rank

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["GENOME_SCORES_FILE", "GENOME_TAGS_FILE", "Genome", "genome_svd_vectors", "read_genome"]

GENOME_SCORES_FILE: Final = "genome-scores.csv"
GENOME_TAGS_FILE: Final = "genome-tags.csv"
_NOTE_GENOME_DIM, _NOTE_ITERATIONS, _NOTE_SEED = 80, 7, 42
_BATCH_ROWS = 1_000_000  # 20 MB of Arrow
_DIALECT = "header = true, auto_detect = false, delim = ',', quote = '\"'"
_NUMBERS = f"""
SELECT coalesce(movieId, -1) AS film, coalesce(tagId, -1) AS tag, coalesce(relevance, -1) AS score
FROM read_csv(?, {_DIALECT}, columns = {{'movieId': 'BIGINT', 'tagId': 'BIGINT', 'relevance': 'FLOAT'}})
"""  # noqa: S608 - no value of a user is in it
_TEXTS = f"""
SELECT coalesce(TRY_CAST(movieId AS BIGINT), -1) AS film, coalesce(TRY_CAST(tagId AS BIGINT), -1) AS tag,
    coalesce(TRY_CAST(relevance AS FLOAT), -1) AS score
FROM read_csv(?, {_DIALECT}, columns = {{'movieId': 'VARCHAR', 'tagId': 'VARCHAR', 'relevance': 'VARCHAR'}})
"""  # noqa: S608 - as above
_TAGS = f"""
SELECT coalesce(TRY_CAST(tagId AS BIGINT), -1) AS tag_id, tag
FROM read_csv(?, {_DIALECT}, columns = {{'tagId': 'VARCHAR', 'tag': 'VARCHAR'}}) ORDER BY tag_id
"""  # noqa: S608 - as above
_FAULTS = (
    "",
    "movieId is not a whole number",
    f"tagId is not in {GENOME_TAGS_FILE}",
    "relevance is not a number from 0 to 1",
)
_REPEATED = "film and tag are given more than once"


@dataclass(frozen=True, eq=False)
class Genome:
    """How well T tags fit each of F films.

    Attributes:
        item_ids: (F,) int64, ascending.
        tags: The T tags, in the order of their ids.
        relevance: (F, T) float32 in [0, 1].
        missing: Films that were set aside, with the ids of the tags that they lack.
        bad_rows: Rows that were set aside, counted by what is wrong with them.
    """

    item_ids: NDArray[np.int64]
    tags: tuple[str, ...]
    relevance: NDArray[np.float32]
    missing: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    bad_rows: Mapping[str, int] = field(default_factory=dict)

    def rows_of(self, item_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """(N,) the row of each of these films, -1 for a film without a genome."""
        known = pa.array(self.item_ids).cast(item_ids.type)
        found: NDArray[Any] = pc.fill_null(pc.index_in(item_ids, known), -1).to_numpy()
        return found.astype(np.int64)


def read_genome(folder: Path, connection: Any, *, skip_bad_rows: bool = False) -> Genome:  # noqa: ANN401 - Ibis ships no types
    """The genome of ``folder``, every film with every tag.

    A film that lacks a tag is never filled with zeros: it is refused, or set aside and reported.

    Args:
        folder: Holds ``genome-scores.csv`` and ``genome-tags.csv`` of a MovieLens release.
        connection: An Ibis DuckDB backend.
        skip_bad_rows: Set bad rows aside, and the films that are then not whole, instead of refusing the file.

    Raises:
        SourceError: One of the two files is missing.
        BadRowError: A row is wrong, or names a film and a tag for the second time.
        DataError: A film lacks tags.
    """
    import duckdb  # noqa: PLC0415 - an extra, needed for its errors alone

    scores, tags = folder / GENOME_SCORES_FILE, folder / GENOME_TAGS_FILE
    _check_header(tags, "tagId,tag")
    _check_header(scores, "movieId,tagId,relevance")
    try:
        tag_ids, names = _read_tags(connection.con, tags)
        grid = _fill(connection.con, scores, tag_ids, skip_bad_rows=skip_bad_rows)
    except (duckdb.InvalidInputException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        if (
            isinstance(error, OSError) and "Invalid Input" not in first_line
        ):  # else Arrow's wrapping of the former
            raise
        raise BadRowError(
            f"{folder}: a genome file is not the CSV it should be ({first_line}); fetch the release again"
        ) from error
    if not skip_bad_rows:
        _refuse_gaps(scores, grid, tag_ids)
    return _whole_films(grid, tag_ids, names)


def genome_svd_vectors(
    relevance: NDArray[np.float32], genres: NDArray[np.float32], dim: int = 64
) -> NDArray[np.float32]:
    """The note's film vectors: SVD of the relevance to 80, the genres beside it, SVD of both to ``dim``.

    With fewer films or tags than that, as many columns as there are carry something and the others are zero.

    Args:
        relevance: (F, T) in [0, 1], films in ascending order of their ids as in the note.
        genres: (F, 20) of 0 and 1, as ``genre_matrix`` makes them.
        dim: Numbers a film.

    Returns:
        (F, dim) float32. Both SVDs are uncentred, so all vectors share one direction.

    Source: the research note, sections 4 and 5 of its notebook.
    """
    tags = reduce_rank(relevance, _NOTE_GENOME_DIM, n_iter=_NOTE_ITERATIONS, seed=_NOTE_SEED)  # (F, 80)
    both = np.hstack([tags, genres])  # (F, 100)
    return reduce_rank(both, dim, n_iter=_NOTE_ITERATIONS, seed=_NOTE_SEED).astype(np.float32)


def _check_header(path: Path, expected: str) -> None:
    if not path.is_file():
        raise SourceError(
            f"{path} is not there; expected a folder with {GENOME_SCORES_FILE} and {GENOME_TAGS_FILE}, "
            "as in ml-25m; name one with --genome"
        )
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        header = handle.readline().strip()
    if header != expected:
        raise BadRowError(f"{path}:1: the header is {header[:80]!r}; expected {expected!r}")


@dataclass(eq=False)
class _Grid:
    """What was read so far, in the order in which films first came, with room for more.

    Attributes:
        items: (F,) int64.
        relevance: (R, T) float32 in R >= F rows.
        counts: (R, T) int32, the rows of the file that gave each number.
        bad_rows: Counted by what is wrong with them.
    """

    items: NDArray[np.int64]
    relevance: NDArray[np.float32]
    counts: NDArray[np.int32]
    bad_rows: dict[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, tags: int) -> _Grid:
        """Of no film."""
        return cls(np.zeros(0, np.int64), np.zeros((0, tags), np.float32), np.zeros((0, tags), np.int32))

    def rows_of(self, item: NDArray[np.int64]) -> NDArray[np.int64]:
        """(M,) the row of each of these films, new ones added below."""
        begins = np.flatnonzero(np.diff(item, prepend=item[:1] - 1))  # a file has one film's tags together
        named, run = np.unique(item[begins], return_inverse=True)
        self._add(named[~np.isin(named, self.items)])
        order = np.argsort(self.items)
        rows = order[np.searchsorted(self.items, named, sorter=order)]
        return np.repeat(rows[run], np.diff(begins, append=len(item)))

    def _add(self, items: NDArray[np.int64]) -> None:
        self.items = np.concatenate([self.items, items])
        if len(self.items) > len(self.relevance):
            room = max(len(self.items), 2 * len(self.relevance))
            for name in ("relevance", "counts"):
                old = getattr(self, name)
                new = np.zeros(
                    (room, old.shape[1]), old.dtype
                )  # takes no memory where nothing is written yet
                new[: len(old)] = old
                setattr(self, name, new)

    def sorted(self) -> _Grid:
        """The films by ascending id, and no room for more."""
        order = np.argsort(self.items)
        if (order == np.arange(len(order))).all():  # as in every release: nothing has to be copied
            count = len(order)
            return _Grid(self.items, self.relevance[:count], self.counts[:count], self.bad_rows)
        return _Grid(self.items[order], self.relevance[order], self.counts[order], self.bad_rows)


def _read_tags(database: Any, path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:  # noqa: ANN401 - untyped
    table = database.sql(_TAGS, params=[str(path)]).to_arrow_table()
    ids = table["tag_id"].to_numpy()
    if not len(ids) or ids[0] < 0 or table["tag"].null_count or (np.diff(ids) == 0).any():
        raise BadRowError(f"{path}: expected one row a tag, each with a whole number of its own and a name")
    return ids, tuple(table["tag"].to_pylist())


def _fill(database: Any, path: Path, tag_ids: NDArray[np.int64], *, skip_bad_rows: bool) -> _Grid:  # noqa: ANN401 - untyped
    import duckdb  # noqa: PLC0415 - as above

    try:
        return _filled(database, _NUMBERS, path, tag_ids, skip_bad_rows=skip_bad_rows)
    except (
        duckdb.Error,
        OSError,
    ):  # a field is no number, or a row no row: read as text, which one it is can be told
        return _filled(database, _TEXTS, path, tag_ids, skip_bad_rows=skip_bad_rows)


def _filled(
    database: Any,  # noqa: ANN401 - untyped
    query: str,
    path: Path,
    tag_ids: NDArray[np.int64],
    *,
    skip_bad_rows: bool,
) -> _Grid:
    grid, line, refused = _Grid.empty(len(tag_ids)), 2, ""
    for batch in database.execute(query, [str(path)]).to_arrow_reader(_BATCH_ROWS):
        item, tag, score = (column.to_numpy() for column in batch.columns)
        columns = np.minimum(np.searchsorted(tag_ids, tag), len(tag_ids) - 1)
        faults = np.select([item < 0, tag_ids[columns] != tag, ~((score >= 0) & (score <= 1))], [1, 2, 3], 0)
        wrong = np.flatnonzero(faults)
        if len(wrong) and not refused:
            refused = f"{path}:{line + wrong[0]}: {_FAULTS[faults[wrong[0]]]}"
        line += len(item)
        for code, count in zip(*np.unique(faults[wrong], return_counts=True), strict=True):
            grid.bad_rows[_FAULTS[code]] = grid.bad_rows.get(_FAULTS[code], 0) + int(count)
        named = item >= 0
        good = faults[named] == 0
        place = (grid.rows_of(item[named]) * len(tag_ids) + columns[named])[good]
        grid.relevance.reshape(-1)[place] = score[named][good]
        if (np.diff(place) > 0).all():  # as in every release, and ten times as fast
            grid.counts.reshape(-1)[place] += 1
        else:
            np.add.at(grid.counts.reshape(-1), place, 1)
    if refused and not skip_bad_rows:  # now, since a line that is no row at all is told of first
        raise BadRowError(f"{refused}; mend the row, or set it and its film aside with --skip-bad-rows")
    return grid.sorted()


def _whole_films(grid: _Grid, tag_ids: NDArray[np.int64], names: tuple[str, ...]) -> Genome:
    """The films that have every tag once; the others are named with what they lack."""
    whole = (grid.counts == 1).all(axis=1)  # (F,)
    if whole.all():
        return Genome(grid.items, names, grid.relevance, {}, grid.bad_rows)
    missing = {
        int(grid.items[row]): tuple(tag_ids[grid.counts[row] != 1].tolist()) for row in np.flatnonzero(~whole)
    }
    repeated = int(grid.counts[grid.counts > 1].sum())
    bad_rows = grid.bad_rows | ({_REPEATED: repeated} if repeated else {})
    return Genome(grid.items[whole], names, grid.relevance[whole], missing, bad_rows)


def _refuse_gaps(path: Path, grid: _Grid, tag_ids: NDArray[np.int64]) -> None:
    way_out = "fetch the release again, or set such films aside with --skip-bad-rows"
    for row, column in np.argwhere(grid.counts > 1)[:1]:
        raise BadRowError(
            f"{path}: film {grid.items[row]} and tag {tag_ids[column]} are given {grid.counts[row, column]} times; "
            f"expected once; {way_out}"
        )
    lacking = np.flatnonzero((grid.counts == 0).any(axis=1))
    if len(lacking):
        tags = tag_ids[grid.counts[lacking[0]] == 0].tolist()
        raise DataError(
            f"{path}: {len(lacking)} films lack tags, the first of them film {grid.items[lacking[0]]}, which lacks "
            f"{len(tags)} of {len(tag_ids)} (ids {', '.join(map(str, tags[:5]))}{', …' * (len(tags) > 5)}); "  # noqa: PLR2004 - a glance
            f"expected a row for every tag; {way_out}"
        )
