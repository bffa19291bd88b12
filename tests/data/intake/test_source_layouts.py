"""Public data sets: recognized by their files and first lines, as folder, zip or single file."""

import re

import ibis
import pyarrow as pa
import pytest
from pyarrow import parquet

import worlds
from tastevec.data.intake.layouts import find_source
from tastevec.data.intake.tables import open_table
from tastevec.errors import SourceError

WRITERS = {
    "ml-100k": worlds.write_100k,
    "ml-1m": worlds.write_1m,
    "ml-10m": worlds.write_10m,
    "movielens-csv": worlds.write_csv_release,
    "recbole": worlds.write_recbole,
}
RANGES = {"ml-100k": (1, 5), "ml-1m": (1, 5), "ml-10m": (0.5, 5), "movielens-csv": (0.5, 5), "recbole": None}


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def read(scratch):
    """Return a function that returns a table's rows in order."""
    connection = ibis.duckdb.connect()

    def rows(path):
        table = open_table(path, connection=connection, scratch=scratch)
        columns = ", ".join(f"c{index}" for index in range(len(table.names)))
        query = f"SELECT {columns} FROM ({table.query}) ORDER BY position"  # noqa: S608 -- names made here
        return connection.raw_sql(query).fetchall()

    return rows


def write_movietweetings(folder):
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::0104257::8::1364690142\n2::1074638::5::1365029107\n")
    (folder / "movies.dat").write_text(
        '0104257::A "Few" Men (1992)::Drama\n1074638::Skyfall (2012)::Action|Crime\n'
    )
    (folder / "users.dat").write_text("1::139564917\n")
    return folder


def write_half_stars(folder):
    ratings = worlds.write_10m(folder) / "ratings.dat"
    ratings.write_text(ratings.read_text() + "1::2::3.5::978300760\n")
    return folder


def write_books(folder):
    folder.mkdir()
    ratings = '"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n"276726";"0155061224";"5"\n'
    (folder / "BX-Book-Ratings.csv").write_text(ratings, encoding="iso-8859-1")
    books = '"ISBN";"Book-Title"\n"034545104X";"Café \\"Noir\\"; a novel"\n'
    (folder / "BX-Books.csv").write_text(books, encoding="iso-8859-1")
    return folder


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("packed", [False, True])
def test_release_is_read_as_the_same_data(layout, packed, read, scratch, tmp_path):
    path = WRITERS[layout](tmp_path / "release")
    path = worlds.zip_folder(path, tmp_path / "release.zip") if packed else path
    found = find_source(path, scratch)
    assert (found.layout.format, found.layout.rating_range) == (layout, RANGES[layout])
    rows = [(int(u), int(i), float(r), int(float(t))) for u, i, r, t in read(found.interactions)]
    assert rows == [tuple(row) for row in worlds.ratings()]
    items = read(found.items)
    assert [int(item[0]) for item in items] == [item.item for item in worlds.items()]
    genres = [row[-1] if isinstance(row[-1], list) else re.split(r"[| ]", row[-1] or "") for row in items]
    if layout != "recbole":
        assert [row[1] for row in items] == [item.title for item in worlds.items()]
        known = [[name for name in names if name and "no genres" not in " ".join(names)] for names in genres]
        assert [tuple(names) for names in known] == [item.genres for item in worlds.items()]
    assert (found.tags is not None) == (layout in {"ml-10m", "movielens-csv"})
    if found.tags:
        assert len(read(found.tags)) == len(worlds.tags())


@pytest.mark.parametrize(
    ("write", "main", "layout"),
    [
        (worlds.write_100k, "u.data", "ml-100k"),
        (worlds.write_1m, "ratings.dat", "ml-1m"),
        (write_half_stars, "ratings.dat", "ml-10m"),
        (worlds.write_recbole, "tiny.inter", "recbole"),
        (write_movietweetings, "ratings.dat", "movietweetings"),
        (write_books, "BX-Book-Ratings.csv", "book-crossing"),
    ],
)
def test_single_file_of_a_release_is_recognized(write, main, layout, read, scratch, tmp_path):
    folder = write(tmp_path / "release")
    alone, whole = find_source(folder / main, scratch), find_source(folder, scratch)
    assert alone.layout.format == whole.layout.format == layout
    assert read(alone.interactions) == read(whole.interactions)
    assert (alone.items is None) == (layout != "recbole")


def test_movietweetings_has_text_ids_and_no_range(read, scratch, tmp_path):
    found = find_source(write_movietweetings(tmp_path / "tweets"), scratch)
    assert (found.layout.rating_range, found.layout.item_noun["many"]) == (None, "films")
    assert read(found.interactions)[0] == ("1", "0104257", "8", "1364690142")
    assert read(found.items)[0] == ("0104257", 'A "Few" Men (1992)', "Drama")


def test_book_crossing_has_escaped_quotes_and_latin_titles(read, scratch, tmp_path):
    found = find_source(write_books(tmp_path / "books"), scratch)
    assert (found.layout.rating_range, found.layout.item_noun) == (None, None)
    assert read(found.interactions)[0] == ("276725", "034545104X", "0")
    assert read(found.items) == [("034545104X", 'Café "Noir"; a novel')]


def test_recbole_copy_of_a_release_keeps_its_range_and_noun(scratch, tmp_path):
    found = find_source(worlds.write_recbole(tmp_path / "copy", name="ml-100k"), scratch)
    assert (found.name, found.layout.rating_range, found.layout.item_noun["one"]) == (
        "ml-100k",
        (1, 5),
        "film",
    )


def test_files_of_other_content_under_known_names_are_tables(scratch, tmp_path):
    (tmp_path / "u.data").write_text("user,item\n1,2\n")
    (tmp_path / "ratings.csv").write_text("reader,book\n1,2\n")
    (tmp_path / "movies.csv").write_text("book\n1\n")
    assert find_source(tmp_path / "u.data", scratch).layout.format == "table"
    assert find_source(tmp_path / "ratings.csv", scratch).layout.format == "table"
    (tmp_path / "u.data").unlink()
    with pytest.raises(
        SourceError, match=r"contains movies.csv, ratings.csv, scratch. Expected the files of a release"
    ):
        find_source(tmp_path, scratch)


def test_zip_of_a_table_and_a_folder_of_parts_are_tables(read, scratch, tmp_path):
    own = worlds.write_own_csv(tmp_path / "own")
    table = own if own.is_file() else next(own.glob("*.csv"))
    packed = (
        worlds.zip_folder(table.parent, tmp_path / "own.zip")
        if len(list(table.parent.iterdir())) == 1
        else table
    )
    assert find_source(packed, scratch).layout.format == "table"
    (tmp_path / "parts").mkdir()
    parquet.write_table(pa.table({"user_id": [1]}), tmp_path / "parts" / "0.parquet")
    found = find_source(tmp_path / "parts", scratch)
    assert (found.layout.format, found.name, read(found.interactions)) == ("table", "parts", [(1,)])


def test_genome_and_missing_parts_of_a_release(scratch, tmp_path):
    folder = worlds.write_csv_release(tmp_path / "release", genome=True)
    assert find_source(folder, scratch).genome_folder == folder
    plain = worlds.write_1m(tmp_path / "plain")
    (plain / "movies.dat").unlink()
    with pytest.raises(SourceError, match=r"no movies.dat. Expected the items of ml-1m"):
        find_source(plain, scratch).check_items()
    find_source(plain / "ratings.dat", scratch).check_items()  # a file that is named alone has no metadata


def test_genre_names_come_from_u_genre(read, tmp_path):
    folder = worlds.write_100k(tmp_path / "release")
    before = [row[2] for row in read(folder / "u.item")]
    (folder / "u.genre").unlink(missing_ok=True)
    assert [row[2] for row in read(folder / "u.item")] == before
    width = len((folder / "u.item").read_text(encoding="iso-8859-1").split("\n")[0].split("|")) - 5
    (folder / "u.genre").write_text("".join(f"genre {n}|{n}\n" for n in range(width)))
    assert {name[:6] for row in read(folder / "u.item") for name in row[2]} == {"genre "}
    (folder / "u.genre").write_text("Action|0\nAction|1\n")
    with pytest.raises(SourceError, match=r"u.genre: not one genre per line"):
        read(folder / "u.item")


def test_missing_path_is_named(scratch, tmp_path):
    with pytest.raises(SourceError, match=r"nowhere: not found. Expected a release or a table"):
        find_source(tmp_path / "nowhere", scratch)
