"""Speed of the preparation: seconds and peak memory of ``tastevec prepare`` against plain DuckDB SQL, by the number of ratings.

The SQL does the same work on the same tables with declared types: it checks rows, joins items, adds tag-only interactions, splits
users by a hash, scales ratings, sorts by time and writes flat columns. It reports no row and makes no content vectors.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from experiment import generated
from generate import Sizes
from measure import Run, save, spread
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

Plan = tuple[tuple[Sizes, ...], int, str]
PLAIN, OURS = "plain DuckDB SQL", "tastevec prepare"
FLAT = ("offsets", "items", "ratings", "timestamps", "normalized_ratings")
TOLERANCE = 1e-5  # of a normalized rating, whose mean is a sum of floats in any order


# The generated datasets, the smallest first; rounds, one system after the other, so that other load meets both; and the DuckDB
# memory limit of one more run on the largest dataset.
USERS = (25_000, 50_000, 100_000, 200_000)
FULL: Plan = (tuple(Sizes(160 * users, users, seed=1) for users in USERS), 3, "1GB")
SMALL: Plan = (
    tuple(Sizes(100 * users, users, 3_000, 60, 1_128, 3_000, 1) for users in (300, 600)),
    1,
    "300MB",
)


def measured(run: Run) -> dict[str, Any]:
    """Return one row for each size, system and round."""
    datasets, rounds, little = FULL if run.full else SMALL
    rows: list[dict[str, Any]] = []
    for sizes in datasets:
        release = run.work / f"release-{sizes.users}"
        run.call(f"generate {sizes.users}", generated, out=release, sizes=vars(sizes))
        for turn in range(1, rounds + 1):
            rows += [_plain(run, release, sizes, turn), _ours(run, release, sizes, turn)]
        _require_same_result(run.work, release)
    rows.append(_ours(run, run.work / f"release-{datasets[-1].users}", datasets[-1], 1, "--memory", little))
    largest = datasets[-1]
    counts = {"ratings": largest.ratings, "films": largest.items, "genome_films": largest.genome_items}
    return {
        "data": {
            "people": [sizes.users for sizes in datasets],
            **counts,
            "tags": largest.tags,
            "megabytes": [_megabytes(run.work / f"release-{sizes.users}") for sizes in datasets],
        },
        "preparations": rows,
        "times_plain": [_multiples(rows, sizes.users) for sizes in datasets],
    }


def prepare_plainly(release: str, out: str) -> dict[str, Any]:
    """Prepare a release by SQL and return the seconds of each part; called in a process of its own."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    words = {"source": release, "out": out, "year": _YEAR, "split": _SPLIT}
    seconds, began = {}, time.perf_counter()
    with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": f"{out}/spill"}) as database:
        database.execute(_READ.format(**words))
        _check(database, _CHECKS)
        seconds["read"] = time.perf_counter() - began
        if Path(release, "genome-scores.csv").exists():
            database.execute(_GENOME.format(**words))
            _check(database, _GENOME_CHECKS)
            assert np.isfinite(database.execute(_MATRIX).fetchnumpy()["relevance"]).all()
            database.execute("DROP TABLE genome")
        seconds["genome"] = time.perf_counter() - began - sum(seconds.values())
        database.execute(_ARRANGE.format(**words))
        _write_flat(folder)
        seconds["preprocess"] = time.perf_counter() - began - sum(seconds.values())
    return {"parts": {part: round(took, 2) for part, took in seconds.items()}}


def _plain(run: Run, release: Path, sizes: Sizes, turn: int) -> dict[str, Any]:
    found = run.call(f"plain {sizes.users} {turn}", prepare_plainly, release=release, out=run.work / "plain")
    return _row(PLAIN, sizes, turn, run.steps[-1], found["parts"])


def _ours(run: Run, release: Path, sizes: Sizes, turn: int, *flags: str) -> dict[str, Any]:
    name, out = " ".join((f"prepare {sizes.users} {turn}", *flags)), run.work / "ours"
    record = run.tastevec(name.replace("--", ""), "prepare", release, "--out", out, *flags)
    timings = (
        run.work / "timings" / f"{name.replace(' ', '-')}.json"
    )  # the next round writes to the same folder
    if not timings.exists():
        save(timings, json.loads((out / "manifest.json").read_text())["timings"])
    return _row(" ".join((OURS, *flags)), sizes, turn, record, json.loads(timings.read_text()))


def _row(
    system: str, sizes: Sizes, turn: int, record: dict[str, Any], parts: dict[str, float]
) -> dict[str, Any]:
    measures = {name: record[name] for name in ("seconds", "peak_memory_mb", "busy")}
    return {
        "system": system,
        "people": sizes.users,
        "ratings": sizes.ratings,
        "turn": turn,
        **measures,
        "parts": parts,
    }


def _in_one_order(folder: Path) -> dict[str, np.ndarray]:
    """Return the histories with the items of equal times by ID: whose order `prepare` draws where the file was sorted."""
    flat = {name: np.load(folder / f"{name}.npy") for name in FLAT}
    owners = np.repeat(np.arange(len(flat["offsets"]) - 1), np.diff(flat["offsets"]))
    order = np.lexsort((flat["items"], flat["timestamps"], owners))
    return {name: values if name == "offsets" else values[order] for name, values in flat.items()}


def _require_same_result(work: Path, release: Path) -> None:
    """Stop if the two systems do not prepare the same histories, users and items."""
    record = work / "same" / f"{release.name}.json"
    if record.exists():
        return
    plain, ours = work / "plain", work / "ours"
    first, second = (_in_one_order(folder) for folder in (plain, ours / "histories"))
    off = {name: float(np.nanmax(abs(first[name] - second[name]), initial=0)) for name in FLAT}
    users, items = (
        [parquet.read_table(folder / name)[column].to_pylist() for folder in (plain, ours)]
        for name, column in (("users.parquet", "split"), ("items.parquet", "item_id"))
    )
    equal = users[0] == users[1] and items[0] == items[1]
    if not equal or any(
        difference > TOLERANCE * (name == "normalized_ratings") for name, difference in off.items()
    ):
        sys.exit(f"SQL and tastevec prepared different data of {release.name}: {off}. Expected the same.")
    save(record, off)


def _multiples(rows: list[dict[str, Any]], users: int) -> dict[str, Any]:
    """Return the seconds of tastevec as multiples of SQL's, round by round: without content vectors, and with them."""
    plain, ours = (
        [row for row in rows if (row["system"], row["people"]) == (system, users)] for system in (PLAIN, OURS)
    )
    pairs = list(zip(ours, plain, strict=True))
    same = [(one["seconds"] - one["parts"]["vectors"]) / other["seconds"] for one, other in pairs]
    return {
        "people": users,
        "ratings": plain[0]["ratings"],
        "same_work": spread(same, 3),
        "whole": spread([one["seconds"] / other["seconds"] for one, other in pairs], 3),
    }


def _megabytes(release: Path) -> int:
    return round(sum(file.stat().st_size for file in release.iterdir()) / 1e6)


# ---- the SQL ----

_ROWS = 131_072
_SPLIT = """CASE WHEN md5('42:' || userId) < 'b3333333' THEN 0 WHEN md5('42:' || userId) < 'd999999a' THEN 1 ELSE 2 END"""
_YEAR = r"TRY_CAST(regexp_extract_all(title, '\(([0-9]{4})(?:\s*[^\w\s)][^)]*)?\)', 1)[-1] AS INTEGER)"

_READ = """
CREATE TABLE ratings AS FROM read_csv('{source}/ratings.csv', header = true,
    columns = {{userId: 'BIGINT', movieId: 'BIGINT', rating: 'DOUBLE', timestamp: 'BIGINT'}});
CREATE TABLE items AS SELECT movieId, title, {year} AS year, list_filter(string_split(genres, '|'), lambda g: g <> '(no genres listed)') AS genres
    FROM read_csv('{source}/movies.csv', header = true, columns = {{movieId: 'BIGINT', title: 'VARCHAR', genres: 'VARCHAR'}});
CREATE TABLE tags AS SELECT userId, movieId, lower(trim(tag)) AS tag, timestamp FROM read_csv('{source}/tags.csv', header = true,
    columns = {{userId: 'BIGINT', movieId: 'BIGINT', tag: 'VARCHAR', timestamp: 'BIGINT'}})
"""
_CHECKS = (
    "SELECT count(*) FROM ratings WHERE coalesce(rating NOT BETWEEN 0.5 AND 5 OR timestamp < 0 OR userId IS NULL OR movieId IS NULL, true)",
    "SELECT count(*) FROM (SELECT 1 FROM ratings GROUP BY userId, movieId HAVING count(*) > 1)",
    "SELECT count(*) FROM tags WHERE userId IS NULL OR movieId IS NULL OR timestamp IS NULL OR timestamp < 0",
    "SELECT count(*) FROM (SELECT 1 FROM items GROUP BY movieId HAVING count(*) > 1 OR movieId IS NULL)",
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
INSERT INTO items SELECT DISTINCT movieId, '', NULL, [] FROM ratings WHERE movieId NOT IN (SELECT movieId FROM items);
CREATE TABLE item_catalog AS SELECT *, row_number() OVER (ORDER BY movieId) - 1 AS item FROM items;
COPY (SELECT movieId AS item_id, title, year, genres FROM item_catalog ORDER BY item) TO '{out}/items.parquet';
CREATE TABLE users AS SELECT userId, count(*) AS interactions, avg(rating) AS mean, max(rating) AS highest, min(rating) AS lowest,
    min(timestamp) // 86400 AS first_day, max(timestamp) // 86400 AS last_day, {split} AS split
    FROM ratings GROUP BY userId HAVING count(*) >= 2;
COPY (SELECT userId AS user_id, split, interactions, first_day, last_day FROM users ORDER BY userId) TO '{out}/users.parquet';
COPY (
    SELECT item::INTEGER AS items, rating::FLOAT AS ratings, coalesce(timestamp, -1) AS timestamps, coalesce(CASE
        WHEN rating > mean AND highest - mean >= 1e-5 THEN (rating - mean) / (highest - mean)
        WHEN rating <= mean AND mean - lowest >= 1e-5 THEN (rating - mean) / (mean - lowest) ELSE 0 END, 0)::FLOAT AS normalized_ratings
    FROM (SELECT *, rowid AS position FROM ratings) JOIN users USING (userId) JOIN item_catalog USING (movieId)
    ORDER BY userId, timestamps, position
) TO '{out}/histories.parquet'
"""


def _check(database: duckdb.DuckDBPyConnection, counts: tuple[str, ...]) -> None:
    for count in counts:
        ((found,),) = database.execute(count).fetchall()
        if found:
            raise SystemExit(f"{found} rows fail: {count}. Expected none.")


def _write_flat(out: Path) -> None:
    """Write the columns of the sorted rows as ``.npy``, and the offsets of the users."""
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
