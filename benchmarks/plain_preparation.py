"""The preparation of a release as plain DuckDB SQL: what `tastevec prepare` does to tables, and nothing beside it.

``python benchmarks/plain_preparation.py RELEASE OUT`` reads the files with their types told in advance, checks that ratings are in
range, that nobody rates a film twice and that the genome is whole, joins films, adds what people only tagged, divides people by a
hash, scales everybody's ratings, sorts them by time and writes flat columns; and says in ``OUT/parts.json`` what each step took.
It names no bad row, reads no format but this one, and makes no film vectors, for which SQL has no words.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prepare_plainly"]

_ROWS = 131_072
_SPLIT = """CASE WHEN md5('42:' || userId) < 'b3333333' THEN 0 WHEN md5('42:' || userId) < 'd999999a' THEN 1 ELSE 2 END"""
_YEAR = r"TRY_CAST(regexp_extract_all(title, '\(([0-9]{4})(?:\s*[^\w\s)][^)]*)?\)', 1)[-1] AS INTEGER)"

# Each step: what it is part of, its SQL, and whether it counts what must not be there.
_READ = """
CREATE TABLE ratings AS FROM read_csv('{source}/ratings.csv', header = true,
    columns = {{userId: 'BIGINT', movieId: 'BIGINT', rating: 'DOUBLE', timestamp: 'BIGINT'}});
CREATE TABLE films AS SELECT movieId, title, {year} AS year, list_filter(string_split(genres, '|'), lambda g: g <> '(no genres listed)') AS genres
    FROM read_csv('{source}/movies.csv', header = true, columns = {{movieId: 'BIGINT', title: 'VARCHAR', genres: 'VARCHAR'}});
CREATE TABLE tags AS SELECT userId, movieId, lower(trim(tag)) AS tag, timestamp FROM read_csv('{source}/tags.csv', header = true,
    columns = {{userId: 'BIGINT', movieId: 'BIGINT', tag: 'VARCHAR', timestamp: 'BIGINT'}})
"""
_CHECKS = (
    "SELECT count(*) FROM ratings WHERE coalesce(rating NOT BETWEEN 0.5 AND 5 OR timestamp < 0 OR userId IS NULL OR movieId IS NULL, true)",
    "SELECT count(*) FROM (SELECT 1 FROM ratings GROUP BY userId, movieId HAVING count(*) > 1)",
    "SELECT count(*) FROM tags WHERE userId IS NULL OR movieId IS NULL OR timestamp IS NULL OR timestamp < 0",
    "SELECT count(*) FROM (SELECT 1 FROM films GROUP BY movieId HAVING count(*) > 1 OR movieId IS NULL)",
)
_GENOME = """
CREATE TABLE genome_tags AS FROM read_csv('{source}/genome-tags.csv', header = true, columns = {{tagId: 'BIGINT', tag: 'VARCHAR'}});
CREATE TABLE genome AS FROM read_csv('{source}/genome-scores.csv', header = true,
    columns = {{movieId: 'BIGINT', tagId: 'BIGINT', relevance: 'FLOAT'}})
"""
_GENOME_CHECKS = (
    "SELECT count(*) FROM genome WHERE coalesce(relevance NOT BETWEEN 0 AND 1, true) OR tagId NOT IN (SELECT tagId FROM genome_tags)",
    """SELECT count(*) FROM (SELECT 1 FROM genome GROUP BY movieId HAVING count(DISTINCT tagId) <> (SELECT count(*) FROM genome_tags)
        OR count(*) <> (SELECT count(*) FROM genome_tags))""",
)
_MATRIX = "SELECT relevance FROM genome ORDER BY movieId, tagId"
_ARRANGE = """
INSERT INTO ratings SELECT userId, movieId, NULL, min(timestamp) FROM tags
    WHERE NOT EXISTS (SELECT 1 FROM ratings WHERE ratings.userId = tags.userId AND ratings.movieId = tags.movieId)
    GROUP BY userId, movieId ORDER BY min(tags.rowid);
INSERT INTO films SELECT DISTINCT movieId, '', NULL, [] FROM ratings WHERE movieId NOT IN (SELECT movieId FROM films);
CREATE TABLE catalogue AS SELECT *, row_number() OVER (ORDER BY movieId) - 1 AS item FROM films;
COPY (SELECT movieId AS item_id, title, year, genres FROM catalogue ORDER BY item) TO '{out}/items.parquet';
CREATE TABLE people AS SELECT userId, count(*) AS interactions, avg(rating) AS mean, max(rating) AS highest, min(rating) AS lowest,
    min(timestamp) // 86400 AS first_day, max(timestamp) // 86400 AS last_day, {split} AS split
    FROM ratings GROUP BY userId HAVING count(*) >= 2;
COPY (SELECT userId AS user_id, split, interactions, first_day, last_day FROM people ORDER BY userId) TO '{out}/users.parquet';
COPY (
    SELECT item::INTEGER AS items, rating::FLOAT AS ratings, coalesce(timestamp, -1) AS times, coalesce(CASE
        WHEN rating > mean AND highest - mean >= 1e-5 THEN (rating - mean) / (highest - mean)
        WHEN rating <= mean AND mean - lowest >= 1e-5 THEN (rating - mean) / (mean - lowest) ELSE 0 END, 0)::FLOAT AS normalised
    FROM (SELECT *, rowid AS position FROM ratings) JOIN people USING (userId) JOIN catalogue USING (movieId)
    ORDER BY userId, times, position
) TO '{out}/histories.parquet'
"""


def prepare_plainly(source: Path, out: Path, *, memory: str = "2GB") -> dict[str, float]:
    """Write what is prepared of the release ``source`` into ``out``, and say how many seconds each part took."""
    out.mkdir(parents=True, exist_ok=True)
    database = duckdb.connect(config={"memory_limit": memory, "temp_directory": str(out / "spill")})
    words = {"source": source, "out": out, "year": _YEAR, "split": _SPLIT}
    clock = _Clock()
    database.execute(_READ.format(**words))
    _check(database, _CHECKS)
    clock.told("read")
    if (source / "genome-scores.csv").exists():
        database.execute(_GENOME.format(**words))
        _check(database, _GENOME_CHECKS)
        ((tags,),) = database.execute("SELECT count(*) FROM genome_tags").fetchall()
        matrix = database.execute(_MATRIX).fetchnumpy()["relevance"].reshape(-1, tags)
        assert np.isfinite(matrix).all()
        database.execute("DROP TABLE genome")
    clock.told("genome")
    database.execute(_ARRANGE.format(**words))
    _write_flat(out)
    clock.told("arrange")
    database.close()
    return clock.seconds


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.perf_counter()

    def told(self, part: str) -> None:
        """What has passed since the last part is this one's."""
        now = time.perf_counter()
        self.seconds[part], self._begun = round(now - self._begun, 2), now


def _check(database: duckdb.DuckDBPyConnection, counts: tuple[str, ...]) -> None:
    for count in counts:
        ((found,),) = database.execute(count).fetchall()
        if found:
            raise SystemExit(f"{found} rows are not what they should be: {count}")


def _write_flat(out: Path) -> None:
    """The columns of the sorted rows as ``.npy``, and where each person's begin."""
    lengths = parquet.read_table(out / "users.parquet", columns=["interactions"])["interactions"].to_numpy()
    np.save(out / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
    with parquet.ParquetFile(out / "histories.parquet", pre_buffer=False) as rows:
        names = rows.schema_arrow.names
        handles = {name: (out / f"{name}.npy").open("wb") for name in names}
        for field in rows.schema_arrow:
            described = np.lib.format.dtype_to_descr(np.dtype(field.type.to_pandas_dtype()))
            shape = (rows.metadata.num_rows,)
            header = {"descr": described, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(handles[field.name], header)
        for name, column in _columns(rows):
            handles[name].write(column)
        for handle in handles.values():
            handle.close()
    (out / "histories.parquet").unlink()


def _columns(rows: parquet.ParquetFile) -> Iterator[tuple[str, memoryview]]:
    for batch in rows.iter_batches(batch_size=_ROWS):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            yield name, column.to_numpy(zero_copy_only=False).data


def main() -> None:
    """Prepare what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path, help="a folder with ratings.csv, movies.csv and tags.csv")
    parser.add_argument("out", type=Path, help="where the result shall be")
    parser.add_argument("--memory", default="2GB", help="what DuckDB may hold")
    asked = parser.parse_args()
    parts = prepare_plainly(asked.release, asked.out, memory=asked.memory)
    (asked.out / "parts.json").write_text(json.dumps(parts))


if __name__ == "__main__":
    main()
