import shutil
import subprocess
import sys

import pytest

import worlds
from tastevec.data.readers import ReadSettings, read_source
from tastevec.data.value_scale import ValueScale
from tastevec.errors import SourceError

PLAIN = ReadSettings()
WRITERS = {
    "ml-100k": worlds.write_100k,
    "ml-1m": worlds.write_1m,
    "ml-10m": worlds.write_10m,
    "movielens-csv": worlds.write_csv_release,
    "recbole": worlds.write_recbole,
}


def rows(table):
    relation = table.get_backend().con.sql(table.compile())
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def rated(source):
    found = source.interactions.filter(source.interactions.rating.notnull()).order_by("position")
    return [tuple(row.values())[:4] for row in rows(found)]


@pytest.mark.parametrize("layout", WRITERS)
def test_every_format_is_read_as_the_same_data(layout, tmp_path, connection):
    source = read_source(WRITERS[layout](tmp_path / "release"), connection=connection, settings=PLAIN)
    assert source.format == layout
    assert rated(source) == worlds.ratings()
    items = rows(source.items)
    assert [(row["item_id"], row["year"], tuple(row["genres"])) for row in items] == [
        (item.item, item.year, item.genres) for item in worlds.items()
    ]
    titles = [item.title[:-7] if layout == "recbole" else item.title for item in worlds.items()]
    assert [row["title"] for row in items] == titles
    assert all(row_report.rows_read == row_report.rows_kept for row_report in source.row_reports)


@pytest.mark.parametrize("layout", WRITERS)
def test_zip_is_read_as_its_folder(layout, tmp_path, connection):
    folder = WRITERS[layout](tmp_path / "release")
    packed = worlds.zip_folder(folder, tmp_path / "release.zip")
    first = read_source(folder, connection=connection, settings=PLAIN)
    second = read_source(packed, connection=connection, settings=PLAIN)
    assert second.name == first.name
    assert second.row_reports == first.row_reports
    for name in ("interactions", "items", "tags"):
        assert rows(getattr(second, name)) == rows(getattr(first, name))


@pytest.mark.parametrize("layout", WRITERS)
def test_columns_have_the_documented_types(layout, tmp_path, connection):
    source = read_source(WRITERS[layout](tmp_path / "x"), connection=connection, settings=PLAIN)
    types = {
        "interactions": "user_id int64, item_id int64, rating float64, timestamp int64, position int64",
        "items": "item_id int64, title string, year int32, genres array<string>",
        "tags": "user_id int64, item_id int64, tag string, weight float64, timestamp int64",
    }
    for name, expected in types.items():
        schema = getattr(source, name).schema()
        assert ", ".join(f"{column} {dtype}" for column, dtype in schema.items()) == expected


@pytest.mark.parametrize("layout", ["ml-10m", "movielens-csv"])
def test_tag_only_interaction_has_the_time_of_its_first_tag(layout, tmp_path, connection):
    source = read_source(WRITERS[layout](tmp_path / "x"), connection=connection, settings=PLAIN)
    only = rows(source.interactions.filter(source.interactions.rating.isnull()).order_by("position"))
    assert [(row["user_id"], row["item_id"], row["timestamp"], row["position"]) for row in only] == [
        (1, 4, 979_500_002, 192),
        (7, 13, 985_500_002, 193),
    ]
    tags = [tuple(row.values()) for row in rows(source.tags)]
    assert tags == [(tag.user, tag.item, tag.tag.lower(), 1.0, tag.time) for tag in worlds.tags()]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("ml-100k", (1, 5)), ("ml-1m", (1, 5)), ("ml-10m", (0.5, 5)), ("recbole", (0.5, 5))],
)
def test_each_release_has_its_own_rating_range(layout, expected, tmp_path, connection):
    source = read_source(WRITERS[layout](tmp_path / "x"), connection=connection, settings=PLAIN)
    assert (source.scale.low, source.scale.high) == expected


def test_recbole_copy_of_ml_100k_keeps_its_rating_range(tmp_path, connection):
    folder = worlds.write_recbole(tmp_path / "x", name="ml-100k")
    source = read_source(folder / "ml-100k.inter", connection=connection, settings=PLAIN)
    assert (source.name, source.format, source.scale) == ("ml-100k", "recbole", ValueScale.explicit(1, 5))


def test_items_of_ml_1m_are_latin_1_and_those_of_ml_10m_utf_8(tmp_path, connection):
    old = read_source(worlds.write_1m(tmp_path / "a"), connection=connection, settings=PLAIN)
    new = read_source(worlds.write_10m(tmp_path / "b"), connection=connection, settings=PLAIN)
    assert {a.file: a.encoding for a in old.row_reports}["movies.dat"] == "iso-8859-1"
    assert {a.file: a.encoding for a in new.row_reports}["movies.dat"] == "utf-8"


def test_genome_folder_is_found(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release", genome=True)
    assert read_source(folder, connection=connection, settings=PLAIN).genome_folder == folder


def test_genome_of_a_zip_is_removed_with_its_source(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release", genome=True)
    packed = worlds.zip_folder(folder, tmp_path / "release.zip")
    source = read_source(packed, connection=connection, settings=PLAIN)
    unpacked = source.genome_folder
    for name in ("genome-scores.csv", "genome-tags.csv"):
        assert (unpacked / name).read_bytes() == (folder / name).read_bytes()
    del source
    assert not unpacked.exists()


def test_missing_u_genre_falls_back_to_the_genres_of_the_release(tmp_path, connection):
    folder = worlds.write_100k(tmp_path / "release")
    (folder / "u.genre").unlink()
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert rows(source.items)[10]["genres"] == ["Drama", "Romance"]


def test_genre_names_come_from_u_genre(tmp_path, connection):
    folder = worlds.write_100k(tmp_path / "release")
    names = (folder / "u.genre").read_text().replace("Drama", "Tears")
    (folder / "u.genre").write_text(names + "\n")  # GroupLens's own ends with a blank line
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert rows(source.items)[10]["genres"] == ["Tears", "Romance"]


def test_u_genre_without_names_is_refused(tmp_path, connection):
    folder = worlds.write_100k(tmp_path / "release")
    (folder / "u.genre").write_text("Action\n")
    with pytest.raises(SourceError, match=r"u\.genre: not one genre per line"):
        read_source(folder, connection=connection, settings=PLAIN)


@pytest.mark.parametrize(
    ("layout", "name"), [("ml-100k", "u.item"), ("ml-1m", "movies.dat"), ("movielens-csv", "movies.csv")]
)
def test_release_without_items_names_the_missing_file(layout, name, tmp_path, connection):
    folder = WRITERS[layout](tmp_path / "release")
    (folder / name).unlink()
    with pytest.raises(SourceError, match=f"release: no {name}.*--items"):
        read_source(folder, connection=connection, settings=PLAIN)


def test_items_of_another_table_replace_missing_ones(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    (folder / "movies.dat").unlink()
    items = worlds.write_csv_release(tmp_path / "other") / "movies.csv"
    source = read_source(folder, connection=connection, settings=ReadSettings(items=items))
    assert [row["title"] for row in rows(source.items)] == [item.title for item in worlds.items()]


def test_release_without_tags_has_an_empty_tag_table(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    (folder / "tags.csv").unlink()
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert rows(source.tags) == []
    assert len(rows(source.interactions)) == len(worlds.ratings())


def test_year_is_the_last_one_in_parentheses_of_the_title(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    titles = {
        "Babylon 5": None,
        "Death Note (2006\N{EN DASH}2007)": 2006,
        "Land Before Time III (1995) (V)": 1995,
        "2001 (Space Odyssey) (1968) ": 1968,
        "Show (2015- )": 2015,
        "Made in (1000 miles)": None,
    }
    text = "movieId,title,genres\n" + "".join(f"{n},{title},Drama\n" for n, title in enumerate(titles))
    (folder / "movies.csv").write_text(text)
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert {row["title"]: row["year"] for row in rows(source.items)} == titles


def test_reading_leaves_only_three_tables_in_the_database(tmp_path, connection):
    read_source(worlds.write_csv_release(tmp_path / "x"), connection=connection, settings=PLAIN)
    names = connection.raw_sql(
        "SELECT split_part(table_name, '_', 1) FROM duckdb_tables() ORDER BY 1"
    ).fetchall()
    assert names == [("interactions",), ("items",), ("tags",)]


def test_folder_names_with_quotes_and_globs_are_read(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "it's [a]*? k=3")
    source = read_source(folder, connection=connection, settings=PLAIN)
    shutil.rmtree(folder)
    assert rated(source) == worlds.ratings()  # the tables do not need the files


def test_importing_the_readers_imports_neither_duckdb_nor_ibis():
    code = "import sys, tastevec.data.readers; print({'duckdb', 'ibis', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
