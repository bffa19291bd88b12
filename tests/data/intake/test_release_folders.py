"""Releases and one's own tables, from files to interactions, items and tags."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import worlds
from tastevec.data.expressions import connect
from tastevec.data.intake.source import Source, read_source
from tastevec.data.intake.stated import intake_settings, item_settings
from tastevec.data.value_scale import ValueScale
from tastevec.errors import BadRowError, DataError, SourceError

REAL = Path(__file__).parents[4] / "shared" / "data"
WRITERS = {
    "ml-100k": worlds.write_100k,
    "ml-1m": worlds.write_1m,
    "ml-10m": worlds.write_10m,
    "movielens-csv": worlds.write_csv_release,
    "recbole": worlds.write_recbole,
}


class Read(NamedTuple):
    """A source, and its tables as rows."""

    source: Source
    interactions: list[dict[str, Any]]
    items: list[dict[str, Any]]
    tags: list[dict[str, Any]]

    @property
    def rated(self):
        """The rated interactions, in the order of the file."""
        rows = sorted(self.interactions, key=lambda row: row["position"])
        names = ("user_id", "item_id", "rating", "timestamp")
        return [tuple(row[name] for name in names) for row in rows if row["rating"] is not None]


@pytest.fixture
def connection():
    backend = connect("500MB", threads=1)
    yield backend
    backend.disconnect()


@pytest.fixture
def read(connection):
    def read(path, **stated):
        settings = {"settings": intake_settings(stated), "items": item_settings(stated)}
        source = read_source(path, connection=connection, **settings)
        tables = (source.interactions, source.items, source.tags)
        return Read(source, *(connection.to_pyarrow(table).to_pylist() for table in tables))

    return read


def replace_line(path, line, text):
    """Replace one line, counted from 1, of a file by these bytes."""
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = text
    path.write_bytes(b"\n".join(lines))


def write_hetrec(folder, *, header=False):
    folder.mkdir()
    first = ("movieID\ttagID\ttagWeight\r\n", "id\tvalue\r\n") if header else ("", "")
    (folder / "movie_tags.dat").write_bytes(f"{first[0]}1\t7\t3\r\n1\t8\t1\r\n19\t7\t2\r\n".encode())
    (folder / "tags.dat").write_bytes(
        f"{first[1]}7\tEarth \r\n8\tcafé\r\n9\tl\xc3\xa9on\r\n".encode("iso-8859-1")
    )
    return folder / "movie_tags.dat"


@pytest.mark.parametrize("layout", WRITERS)
def test_every_format_is_read_as_the_same_data(layout, tmp_path, read):
    folder = WRITERS[layout](tmp_path / "release")
    found = read(folder)
    assert found.source.format == layout
    assert found.rated == worlds.ratings()
    assert [(row["item_id"], row["year"], tuple(row["genres"])) for row in found.items] == [
        (item.item, item.year, item.genres) for item in worlds.items()
    ]
    titles = [item.title[:-7] if layout == "recbole" else item.title for item in worlds.items()]
    assert [row["title"] for row in found.items] == titles
    [row_report] = found.source.row_reports
    assert row_report.rows_read == row_report.rows_kept == len(worlds.ratings())
    zipped = read(worlds.zip_folder(folder, tmp_path / "release.zip"))
    assert zipped[1:] == found[1:]
    assert (zipped.source.name, zipped.source.row_reports) == (found.source.name, found.source.row_reports)


@pytest.mark.parametrize("layout", WRITERS)
def test_columns_have_the_documented_types(layout, tmp_path, read):
    source = read(WRITERS[layout](tmp_path / "x")).source
    types = {
        "interactions": "user_id int64, item_id int64, rating float64, timestamp int64, position int64",
        "items": "item_id int64, title string, year int32, genres array<string>",
        "tags": "user_id int64, item_id int64, tag string, weight float64, timestamp int64",
    }
    for name, expected in types.items():
        schema = getattr(source, name).schema()
        assert ", ".join(f"{column} {dtype}" for column, dtype in schema.items()) == expected


@pytest.mark.parametrize("layout", ["ml-10m", "movielens-csv"])
def test_tag_only_interaction_has_the_time_of_its_first_tag(layout, tmp_path, read):
    found = read(WRITERS[layout](tmp_path / "x"))
    rows = sorted(found.interactions, key=lambda row: row["position"])[len(worlds.ratings()) :]
    assert [(row["user_id"], row["item_id"], row["rating"], row["timestamp"]) for row in rows] == [
        (1, 4, None, 979_500_002),
        (7, 13, None, 985_500_002),
    ]
    tags = [tuple(row.values()) for row in found.tags]
    assert tags == [(tag.user, tag.item, tag.tag.lower(), 1.0, tag.time) for tag in worlds.tags()]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("ml-100k", (1, 5)), ("ml-1m", (1, 5)), ("ml-10m", (0.5, 5)), ("recbole", (1, 5))],
)
def test_each_release_has_its_own_rating_range(layout, expected, tmp_path, read):
    assert read(WRITERS[layout](tmp_path / "x")).source.scale == ValueScale.explicit(*expected)


def test_genome_of_a_zip_is_removed_with_its_source(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release", genome=True)
    assert read_source(folder, connection=connection).genome_folder == folder
    source = read_source(worlds.zip_folder(folder, tmp_path / "release.zip"), connection=connection)
    unpacked = source.genome_folder
    for name in ("genome-scores.csv", "genome-tags.csv"):
        assert (unpacked / name).read_bytes() == (folder / name).read_bytes()
    del source
    assert not unpacked.exists()


def test_genre_names_come_from_u_genre_or_the_release(tmp_path, read):
    folder = worlds.write_100k(tmp_path / "release")
    names = (folder / "u.genre").read_text().replace("Drama", "Tears")
    (folder / "u.genre").write_text(names + "\n")  # GroupLens's own ends with a blank line
    assert read(folder).items[10]["genres"] == ["Tears", "Romance"]
    (folder / "u.genre").unlink()
    assert read(folder).items[10]["genres"] == ["Drama", "Romance"]


def test_items_of_another_table_replace_missing_ones(tmp_path, read):
    folder = worlds.write_1m(tmp_path / "release")
    (folder / "movies.dat").unlink()
    with pytest.raises(SourceError, match=r"release: no movies\.dat.*--items"):
        read(folder)
    items = worlds.write_csv_release(tmp_path / "other") / "movies.csv"
    assert [row["title"] for row in read(folder, items=items).items] == [
        item.title for item in worlds.items()
    ]


def test_release_without_tags_has_an_empty_tag_table(tmp_path, read):
    folder = worlds.write_csv_release(tmp_path / "release")
    (folder / "tags.csv").unlink()
    found = read(folder)
    assert found.tags == []
    assert len(found.interactions) == len(worlds.ratings())


def test_tables_do_not_need_their_files_and_any_folder_name_is_read(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "it's [a]*? k=3")
    source = read_source(folder, connection=connection)
    shutil.rmtree(folder)
    assert len(connection.to_pyarrow(source.interactions)) == len(worlds.ratings()) + 2


def test_own_table_is_read_with_the_metadata_of_its_items(tmp_path, read):
    path = worlds.write_own_csv(tmp_path / "own")
    found = read(path, items=path.with_name("items.csv"))
    assert (found.source.name, found.source.format) == ("interactions", "table")
    assert [tuple(row.values()) for row in found.items] == [
        (f"film-{f.item}", f.title, f.year, list(f.genres))
        for f in sorted(worlds.items(), key=lambda f: f.item)
    ]
    expected = [(f"person-{r.user}", f"film-{r.item}", r.stars) for r in worlds.ratings()]
    assert [row[:3] for row in found.rated] == expected
    bare = read(path)
    assert bare.items == bare.tags == []


def test_item_ids_are_texts_in_both_tables_if_they_are_in_one(tmp_path, read):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,1,5\n1,2,5\n2,1,1\n2,2,4\n")
    (tmp_path / "items.csv").write_text("item,title\n1,One (1999)\nx,Other\n")
    found = read(tmp_path / "mine.csv", items=tmp_path / "items.csv")
    assert {row["item_id"] for row in found.interactions} == {"1", "2"}
    assert [row["item_id"] for row in found.items] == ["1", "x"]


def test_tags_of_another_release_have_no_user_and_join_no_history(tmp_path, read):
    other = worlds.write_csv_release(tmp_path / "other") / "tags.csv"
    found = read(worlds.write_1m(tmp_path / "release"), tags=other)
    assert [tuple(row.values()) for row in found.tags] == [
        (None, tag.item, tag.tag.lower(), 1.0, tag.time) for tag in worlds.tags()
    ]
    assert len(found.interactions) == len(worlds.ratings())
    own = read(worlds.write_csv_release(tmp_path / "csv"), tags=other)
    assert [row["user_id"] for row in own.tags] == [1, 1, 1, 7, 7, 2, *[None] * 6]


@pytest.mark.parametrize("header", [False, True])
def test_hetrec_tags_have_weights_and_a_file_of_texts(header, tmp_path, read):
    found = read(worlds.write_1m(tmp_path / "release"), tags=write_hetrec(tmp_path / "hetrec", header=header))
    assert [tuple(row.values()) for row in found.tags] == [
        (None, 1, "earth", 3.0, None),
        (None, 1, "café", 1.0, None),
        (None, 19, "earth", 2.0, None),
    ]


# Line 17 of ratings.csv is the last rating of user 1, for item 6.
INVALID = {
    "text in a rating": (b"1,6,five,980650000", "column rating: 'five' is no number (1 row, 0.5 %): --bad-rows drop"),
    "infinite": (b"1,6,-inf,980650000", "column rating: '-inf' is no number"),
    "no user": (b",6,5,980650000", "column userId: no id (1 row): --bad-rows drop, or --missing ''"),
    "no id": (b"nan,6,5,980650000", "column userId: 'nan' is no id (1 row): --bad-rows drop, or --missing ''"),
    "control character": (b"1,6\x1b[0m,5,980650000", "column movieId: '6\\x1b[0m' has a control character"),
    "too few columns": (b"1,6,5", "'1,6,5' has a wrong number of columns"),
    "undecodable byte": (b"1,6,5,98065\xff0000", "bytes that are no text"),
    "stray quote": (b'1,6,"5,980650000', "opens a quote that takes in"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), INVALID.values(), ids=INVALID)
def test_invalid_row_is_located_or_dropped_and_counted(text, message, tmp_path, read):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "ratings.csv", 17, text)
    with pytest.raises(BadRowError) as caught:
        read(folder)
    assert "ratings.csv" in str(caught.value)
    assert "line 17" in str(caught.value)
    assert message in str(caught.value)
    if "quote" in message:
        return
    found = read(folder, bad_rows="drop")
    [row_report] = found.source.row_reports
    assert (row_report.rows_read, row_report.rows_kept) == (192, 191)
    assert sum(row_report.skipped.values()) == len(row_report.examples) == 1
    assert found.rated == worlds.ratings()[:15] + worlds.ratings()[16:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1,6,5.5,980650000", "0.5 % of ratings are above the scale 0.5:5 (highest: 5.5): --rating-range"),
        (b"1,6,0,980650000", "0.5 % of ratings are below the scale 0.5:5 (lowest: 0)"),
        (
            b"1,6.5,5,980650000",
            "'6.5' is no id: expected a whole number or a text; export the column as text",
        ),
        (b"1,6,5,980650000000", "timestamp mixes seconds and milliseconds (line 17)"),
        (
            b"1,6,5,yesterday",
            "'yesterday' is no time (1 row, 0.5 %): --time-format FORMAT, or --bad-times none",
        ),
    ],
)
def test_invalid_row_that_bad_rows_does_not_drop_is_refused(text, message, tmp_path, read):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "ratings.csv", 17, text)
    for stated in ({}, {"bad_rows": "drop"}):
        with pytest.raises(DataError) as caught:
            read(folder, **stated)
        assert message in str(caught.value)


def test_many_invalid_rows_name_the_first_and_their_share(tmp_path, read):
    folder = worlds.write_csv_release(tmp_path / "release")
    for line in range(30, 50):
        replace_line(folder / "ratings.csv", line, b"bad")
    with pytest.raises(BadRowError, match=r"ratings.csv, line 30: "):
        read(folder)
    with pytest.raises(DataError, match=r"10.4 % of rows are bad, more than 5 %: --bad-rows drop:15%"):
        read(folder, bad_rows="drop")
    [row_report] = read(folder, bad_rows="drop:11%").source.row_reports
    assert row_report.skipped == {"a wrong number of columns": 20}
    assert [example.split(":")[0] for example in row_report.examples] == [
        f"ratings.csv, line {line}" for line in range(30, 35)
    ]


def test_repeat_counts_with_its_latest_rating(tmp_path, read):
    folder = worlds.write_csv_release(tmp_path / "release")
    user, item, stars, time = worlds.ratings()[0]
    with (folder / "ratings.csv").open("a") as file:
        file.write(f"{user},{item},{stars},{time}\n{user},{item},0.5,{time + 1}\n")
    found = read(folder)
    of_pair = [row for row in found.rated if row[:2] == (user, item)]
    assert of_pair == [(user, item, 0.5, time + 1)]
    assert len(found.rated) == len(worlds.ratings())
    assert "1 identical row, 1 repeat, the latest counts" in str(found.source.report)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real releases are missing")
def test_ml_latest_small_is_read_completely(connection):
    folder, more = REAL / "ml-latest-small", REAL / "ml-10m-tags" / "tags.csv"
    source = read_source(folder, connection=connection, items=item_settings({"tags": more}))
    found = connection.to_pyarrow(source.interactions.filter(source.interactions.rating.notnull()))
    expected = np.loadtxt(folder / "ratings.csv", delimiter=",", skiprows=1)
    expected = expected[np.lexsort((expected[:, 1], expected[:, 0]))]
    found = found.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    for column, name in enumerate(("user_id", "item_id", "rating", "timestamp")):
        assert np.array_equal(found[name].to_numpy(), expected[:, column])
    assert len(connection.to_pyarrow(source.interactions)) == len(expected) + 140  # tag-only ones
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as handle:
        titles = {int(row["movieId"]): row["title"].strip() for row in csv.DictReader(handle)}
    items = connection.to_pyarrow(source.items)
    assert dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True)) == titles
    tags = []
    for path in (folder / "tags.csv", more):
        with path.open(encoding="utf-8", newline="") as handle:
            tags += [(int(row["movieId"]), row["tag"].strip().lower()) for row in csv.DictReader(handle)]
    read = connection.to_pyarrow(source.tags).select(["item_id", "tag"]).to_pylist()
    assert sorted(tuple(row.values()) for row in read) == sorted(pair for pair in tags if pair[1])


@pytest.mark.skipif(not REAL.is_dir(), reason="the real releases are missing")
def test_ml_1m_is_read_completely_in_the_order_of_its_file(connection):
    folder = REAL / "ml-1m-5k"
    source = read_source(folder, connection=connection)
    found = connection.to_pyarrow(source.interactions.order_by("position"))
    expected = np.loadtxt(folder / "ratings.dat", dtype=np.int64, delimiter=":", usecols=(0, 2, 4, 6))
    for column, name in enumerate(("user_id", "item_id", "rating", "timestamp")):
        assert np.array_equal(found[name].to_numpy(), expected[:, column])
    items = connection.to_pyarrow(source.items)
    assert "Misérables, Les (1995)" in items["title"].to_pylist()
    assert items["year"].null_count == 0


def test_missing_and_unknown_sources_are_named(tmp_path, read):
    with pytest.raises(SourceError, match="nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(SourceError, match=r"photo\.jpg"):
        read(tmp_path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(SourceError, match=r"empty\.csv"):
        read(tmp_path / "empty.csv")
