"""The tag genome: the relevance of each of 1,128 tags to an item, and the research note's item vectors computed from it.

Dimensions: G items with a genome row, R allocated rows, T tags, M rows of the file, N items.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.errors import BadRowError, DataError, SourceError
from tastevec.items.linalg import reduce_rank
from tastevec.schema import ITEM_ID, RELEVANCE, TAG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.data.intake.tags import RelevanceTable

GENOME_SCORES_FILE: Final = "genome-scores.csv"
GENOME_TAGS_FILE: Final = "genome-tags.csv"
_NOTE_GENOME_DIM, _NOTE_ITERATIONS, _NOTE_SEED = 80, 7, 42
_BATCH_ROWS = 1_000_000  # 20 MB of Arrow
_DIALECT = "header = true, auto_detect = false, delim = ',', quote = '\"'"
_NUMBERS = f"""
SELECT coalesce(movieId, -1) AS item, coalesce(tagId, -1) AS tag, coalesce(relevance, -1) AS score
FROM read_csv(?, {_DIALECT}, columns = {{'movieId': 'BIGINT', 'tagId': 'BIGINT', 'relevance': 'FLOAT'}})
"""  # noqa: S608 - no value of a user is in it
_TEXTS = f"""
SELECT coalesce(TRY_CAST(movieId AS BIGINT), -1) AS item, coalesce(TRY_CAST(tagId AS BIGINT), -1) AS tag,
    coalesce(TRY_CAST(relevance AS FLOAT), -1) AS score
FROM read_csv(?, {_DIALECT}, columns = {{'movieId': 'VARCHAR', 'tagId': 'VARCHAR', 'relevance': 'VARCHAR'}})
"""  # noqa: S608 - as above
_OPEN = f"""
SELECT coalesce(i.code, -1) AS item, coalesce(TRY_CAST(s.tagId AS BIGINT), -1) AS tag,
    coalesce(TRY_CAST(s.relevance AS FLOAT), -1) AS score
FROM (SELECT *, row_number() OVER () AS line
    FROM read_csv(?, {_DIALECT}, columns = {{'movieId': 'VARCHAR', 'tagId': 'VARCHAR', 'relevance': 'VARCHAR'}})) AS s
LEFT JOIN genome_items AS i ON i.id = trim(s.movieId) ORDER BY s.line
"""  # noqa: S608 - as above
_IDS = f"""
SELECT DISTINCT trim(movieId) AS id, TRY_CAST(id AS BIGINT) IS NULL AS is_text
FROM read_csv(?, {_DIALECT}, columns = {{'movieId': 'VARCHAR', 'tagId': 'VARCHAR', 'relevance': 'VARCHAR'}})
WHERE trim(movieId) <> '' ORDER BY id
"""  # noqa: S608 - as above
_TAGS = f"""
SELECT coalesce(TRY_CAST(tagId AS BIGINT), -1) AS tag_id, tag
FROM read_csv(?, {_DIALECT}, columns = {{'tagId': 'VARCHAR', 'tag': 'VARCHAR'}}) ORDER BY tag_id
"""  # noqa: S608 - as above
_ERRORS = (
    "",
    "movieId is not an integer",
    f"tagId is not in {GENOME_TAGS_FILE}",
    "relevance is not a number from 0 to 1",
)
_WHOLE = r"^(0|[1-9][0-9]{0,17})$"
_REPEATED = "item and tag are in more than one row"


@dataclass(frozen=True, eq=False)
class Genome:
    """Relevance of T tags to G items.

    Attributes:
        item_ids: (G,) int64, or objects of str where an ID is a text; ascending.
        tags: The T tags, in the order of their ids.
        relevance: (G, T) float32 in [0, 1]; sparse where an absent relevance is unknown, as in the five strongest tags of an
            item.
        incomplete_items: Skipped items, with the ids of the tags that they lack.
        skipped_rows: Counts of skipped rows by reason.
    """

    item_ids: NDArray[Any]
    tags: tuple[str, ...]
    relevance: NDArray[np.float32] | csr_matrix
    incomplete_items: Mapping[Any, tuple[int, ...]] = field(default_factory=dict)
    skipped_rows: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, relevances: RelevanceTable) -> Genome:
        """Return a table of relevances as a genome; sparse, if it does not have every tag of every item."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        columns = [relevances.table[name].combine_chunks().dictionary_encode() for name in (ITEM_ID, TAG)]
        ids, names = (_ascending(column.dictionary) for column in columns)
        rows, tags = (
            np.argsort(order)[column.indices.to_numpy()]
            for column, (_, order) in zip(columns, (ids, names), strict=True)
        )
        values = relevances.table[RELEVANCE].to_numpy().astype(np.float32)
        shape = (len(ids[0]), len(names[0]))
        matrix = sparse.csr_matrix((values, (rows, tags)), shape=shape)
        relevance = matrix.toarray() if relevances.is_dense else matrix
        return cls(ids[0], tuple(map(str, names[0])), relevance)

    @property
    def is_complete(self) -> bool:
        """Whether every relevance is known."""
        return isinstance(self.relevance, np.ndarray)

    def ids_of(self, kind: pa.DataType) -> list[Any]:
        """Return the IDs that a catalog with IDs of this type can have."""
        ids = pa.array(self.item_ids)
        if pa.types.is_integer(kind) and not pa.types.is_integer(ids.type):
            ids = ids.filter(pc.match_substring_regex(ids, _WHOLE))
        listed: list[Any] = ids.cast(kind).to_pylist()
        return listed

    def rows_of(self, item_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the row of each of these items, (N,); -1 for an item without one. IDs are compared as texts."""
        known, wanted = pa.array(self.item_ids), item_ids
        if known.type != wanted.type:
            known, wanted = known.cast(pa.string()), wanted.cast(pa.string())
        rows: NDArray[Any] = pc.fill_null(pc.index_in(wanted, known), -1).to_numpy()
        return rows.astype(np.int64)


def _ascending(values: pa.StringArray) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return texts in ascending order, as integers if all are, and their places before."""
    whole = pc.match_substring_regex(values, _WHOLE)
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    if len(values) and pc.all(whole).as_py():
        found = found.astype(np.int64)
    order = np.argsort(found, kind="stable")
    return found[order], order


def read_genome(folder: Path, connection: Any, *, skip_bad_rows: bool = False) -> Genome:  # noqa: ANN401 - Ibis ships no types
    """Read the genome of ``folder``: every item with every tag.

    The missing tags of an item are never filled with zeros: the item is refused, or skipped and reported.

    Args:
        folder: Has ``genome-scores.csv`` and ``genome-tags.csv`` of a MovieLens release.
        connection: An Ibis DuckDB backend.
        skip_bad_rows: Skip invalid rows, and items that are then incomplete, instead of refusing the file.

    Raises:
        SourceError: One of the two files is missing.
        BadRowError: A row is invalid, or repeats an item and a tag.
        DataError: An item lacks tags.
    """
    import duckdb  # noqa: PLC0415 - an extra, needed for its errors alone

    scores, tags = folder / GENOME_SCORES_FILE, folder / GENOME_TAGS_FILE
    _check_header(tags, "tagId,tag")
    _check_header(scores, "movieId,tagId,relevance")
    try:
        tag_ids, names = _read_tags(connection.con, tags)
        grid, texts = _read_scores(connection.con, scores, tag_ids, skip_bad_rows=skip_bad_rows)
    except (duckdb.InvalidInputException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        # Arrow wraps DuckDB's InvalidInputException in an OSError.
        if isinstance(error, OSError) and "Invalid Input" not in first_line:
            raise
        raise BadRowError(
            f"{folder}: a genome file is no valid CSV ({first_line}). Expected the files of the release. "
            "Download the release again"
        ) from error
    if not skip_bad_rows:
        _check_complete(scores, grid, tag_ids, texts)
    genome = _complete_items(grid, tag_ids, names)
    if texts is None:
        return genome
    incomplete = {texts[code]: tags for code, tags in genome.incomplete_items.items()}
    return replace(genome, item_ids=texts[genome.item_ids], incomplete_items=incomplete)


def genome_svd_vectors(
    relevance: NDArray[np.float32] | csr_matrix, genres: NDArray[np.float32], dim: int = 64
) -> NDArray[np.float32]:
    """Return the research note's item vectors: SVD of the relevance to 80 dimensions, then of that and genres to ``dim``.

    With fewer items or tags than dimensions, the other columns are zero.

    Args:
        relevance: (G, T) in [0, 1], items in ascending order of their ids as in the note. Of a sparse one, the SVD reads inner
            products of tags that both items have: an unknown relevance adds nothing, because nothing is centered.
        genres: (G, 20) of 0 and 1, from ``genre_matrix``.
        dim: Dimensions of a vector.

    Returns:
        (G, dim) float32. Both SVDs are uncentered, so all vectors share one direction.

    Source: the research note, sections 4 and 5 of its notebook.
    """
    tags = reduce_rank(relevance, _NOTE_GENOME_DIM, n_iter=_NOTE_ITERATIONS, seed=_NOTE_SEED)  # (G, 80)
    both = np.hstack([tags, genres])  # (G, 100)
    return reduce_rank(both, dim, n_iter=_NOTE_ITERATIONS, seed=_NOTE_SEED).astype(np.float32)


def _check_header(path: Path, expected: str) -> None:
    if not path.is_file():
        raise SourceError(
            f"{path}: no such file. Expected a folder with {GENOME_SCORES_FILE} and {GENOME_TAGS_FILE}, "
            "as in ml-25m. Set it with --genome"
        )
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        header = handle.readline().strip()
    if header != expected:
        raise BadRowError(f"{path}, line 1: the header is {header[:80]!r}. Expected {expected!r}")


@dataclass(eq=False)
class _Grid:
    """Relevances that were read, in the order of their items in the file, with allocated rows for more.

    Attributes:
        items: (G,) int64.
        relevance: (R, T) float32 in R >= G rows.
        counts: (R, T) int32, rows of the file for each relevance.
        skipped_rows: Counts of invalid rows by reason.
    """

    items: NDArray[np.int64]
    relevance: NDArray[np.float32]
    counts: NDArray[np.int32]
    skipped_rows: dict[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, tags: int) -> _Grid:
        """Return a grid without items."""
        return cls(np.zeros(0, np.int64), np.zeros((0, tags), np.float32), np.zeros((0, tags), np.int32))

    def rows_of(self, item: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each of these items, (M,); new items are added below."""
        begins = np.flatnonzero(np.diff(item, prepend=item[:1] - 1))  # a file has one item's tags together
        named, run = np.unique(item[begins], return_inverse=True)
        self._add(named[~np.isin(named, self.items)])
        order = np.argsort(self.items)
        rows = order[np.searchsorted(self.items, named, sorter=order)]
        return np.repeat(rows[run], np.diff(begins, append=len(item)))

    def _add(self, items: NDArray[np.int64]) -> None:
        self.items = np.concatenate([self.items, items])
        if len(self.items) > len(self.relevance):
            size = max(len(self.items), 2 * len(self.relevance))
            for name in ("relevance", "counts"):
                old = getattr(self, name)
                new = np.zeros((size, old.shape[1]), old.dtype)  # takes no memory before it is written
                new[: len(old)] = old
                setattr(self, name, new)

    def sorted(self) -> _Grid:
        """Return the items by ascending id, without the allocated rows."""
        order = np.argsort(self.items)
        if (order == np.arange(len(order))).all():  # as in every release: nothing has to be copied
            count = len(order)
            return _Grid(self.items, self.relevance[:count], self.counts[:count], self.skipped_rows)
        return _Grid(self.items[order], self.relevance[order], self.counts[order], self.skipped_rows)


def _read_tags(database: Any, path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:  # noqa: ANN401 - untyped
    table = database.sql(_TAGS, params=[str(path)]).to_arrow_table()
    ids = table["tag_id"].to_numpy()
    if not len(ids) or ids[0] < 0 or table["tag"].null_count or (np.diff(ids) == 0).any():
        raise BadRowError(
            f"{path}: tagId is missing or repeated, or a tag is empty. Expected one row per tag, with an integer of its own"
        )
    return ids, tuple(table["tag"].to_pylist())


def _read_scores(
    database: Any,  # noqa: ANN401 - untyped
    path: Path,
    tag_ids: NDArray[np.int64],
    *,
    skip_bad_rows: bool,
) -> tuple[_Grid, NDArray[Any] | None]:
    """Return the relevances, and the IDs of which the items are the indices; None if they are integers."""
    import duckdb  # noqa: PLC0415 - as above

    try:
        return _read_grid(database, _NUMBERS, path, tag_ids, skip_bad_rows=skip_bad_rows), None
    except (
        duckdb.Error,
        OSError,
    ):  # a field is no number, or a row is malformed: read as text to find its line
        ids = database.execute(_IDS, [str(path)]).to_arrow_table()
        if 2 * (pc.sum(ids["is_text"]).as_py() or 0) <= len(ids):  # such an ID is an error
            return _read_grid(database, _TEXTS, path, tag_ids, skip_bad_rows=skip_bad_rows), None
        texts: NDArray[Any] = ids["id"].to_numpy()
        genome_items = pa.table({"id": ids["id"], "code": np.arange(len(texts))})
        database.register("genome_items", genome_items)
        try:
            return _read_grid(database, _OPEN, path, tag_ids, skip_bad_rows=skip_bad_rows), texts
        finally:
            database.unregister("genome_items")


def _read_grid(
    database: Any,  # noqa: ANN401 - untyped
    query: str,
    path: Path,
    tag_ids: NDArray[np.int64],
    *,
    skip_bad_rows: bool,
) -> _Grid:
    grid, line, first_error = _Grid.empty(len(tag_ids)), 2, ""
    for batch in database.execute(query, [str(path)]).to_arrow_reader(_BATCH_ROWS):
        item, tag, score = (column.to_numpy() for column in batch.columns)
        columns = np.minimum(np.searchsorted(tag_ids, tag), len(tag_ids) - 1)
        errors = np.select([item < 0, tag_ids[columns] != tag, ~((score >= 0) & (score <= 1))], [1, 2, 3], 0)
        invalid = np.flatnonzero(errors)
        if len(invalid) and not first_error:
            first_error = f"{path}, line {line + invalid[0]}: {_ERRORS[errors[invalid[0]]]}"
        line += len(item)
        for code, count in zip(*np.unique(errors[invalid], return_counts=True), strict=True):
            grid.skipped_rows[_ERRORS[code]] = grid.skipped_rows.get(_ERRORS[code], 0) + int(count)
        named = item >= 0
        valid = errors[named] == 0
        cells = (grid.rows_of(item[named]) * len(tag_ids) + columns[named])[valid]
        grid.relevance.reshape(-1)[cells] = score[named][valid]
        if (np.diff(cells) > 0).all():  # as in every release, and ten times as fast
            grid.counts.reshape(-1)[cells] += 1
        else:
            np.add.at(grid.counts.reshape(-1), cells, 1)
    if first_error and not skip_bad_rows:  # only now, because a malformed line is reported first
        raise BadRowError(f"{first_error}. Fix the row, or skip it and its item with --bad-rows drop")
    return grid.sorted()


def _complete_items(grid: _Grid, tag_ids: NDArray[np.int64], names: tuple[str, ...]) -> Genome:
    """Return the items that have every tag once; the others are skipped with the tags that they lack."""
    complete = (grid.counts == 1).all(axis=1)  # (G,)
    if complete.all():
        return Genome(grid.items, names, grid.relevance, {}, grid.skipped_rows)
    incomplete = {
        int(grid.items[row]): tuple(tag_ids[grid.counts[row] != 1].tolist())
        for row in np.flatnonzero(~complete)
    }
    repeated = int(grid.counts[grid.counts > 1].sum())
    skipped_rows = grid.skipped_rows | ({_REPEATED: repeated} if repeated else {})
    return Genome(grid.items[complete], names, grid.relevance[complete], incomplete, skipped_rows)


def _check_complete(path: Path, grid: _Grid, tag_ids: NDArray[np.int64], texts: NDArray[Any] | None) -> None:
    names = grid.items if texts is None else texts[grid.items]
    advice = "Download the release again, or skip such items with --bad-rows drop"
    for row, column in np.argwhere(grid.counts > 1)[:1]:
        raise BadRowError(
            f"{path}: movieId {names[row]} and tagId {tag_ids[column]} are in {grid.counts[row, column]} rows. "
            f"Expected one. {advice}"
        )
    lacking = np.flatnonzero((grid.counts == 0).any(axis=1))
    if len(lacking):
        tags = tag_ids[grid.counts[lacking[0]] == 0].tolist()
        raise DataError(
            f"{path}: {len(lacking)} of {len(grid.items)} items lack tags; movieId {names[lacking[0]]} lacks "
            f"{len(tags)} of {len(tag_ids)} (tagId {', '.join(map(str, tags[:5]))}{', …' * (len(tags) > 5)}). "  # noqa: PLR2004 - a glance
            f"Expected a row for every tag. {advice}"
        )
