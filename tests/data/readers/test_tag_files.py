import pytest

import worlds
from tastevec.data.readers import ReadSettings, read_source
from tastevec.errors import BadRowError, SourceError


def tags(source):
    return source.tags.get_backend().con.sql(source.tags.compile()).fetchall()


def write_hetrec(folder, *, header=False):
    folder.mkdir()
    first = ("movieID\ttagID\ttagWeight\r\n", "id\tvalue\r\n") if header else ("", "")
    (folder / "movie_tags.dat").write_bytes(f"{first[0]}1\t7\t3\r\n1\t8\t1\r\n99\t7\t2\r\n".encode())
    (folder / "tags.dat").write_bytes(
        f"{first[1]}7\tEarth \r\n8\tcafé\r\n9\tl\xc3\xa9on\r\n".encode("iso-8859-1")
    )
    return folder / "movie_tags.dat"


def read_with_tags(tmp_path, connection, *files, skip=False):
    folder = worlds.write_1m(tmp_path / "release")
    return read_source(folder, connection=connection, settings=ReadSettings(tags=files, skip_bad_rows=skip))


def test_tags_of_another_release_have_no_user(tmp_path, connection):
    other = worlds.write_csv_release(tmp_path / "other") / "tags.csv"
    source = read_with_tags(tmp_path, connection, other)
    assert tags(source) == [(None, tag.item, tag.tag.lower(), 1.0, tag.time) for tag in worlds.tags()]
    assert source.row_reports[-1].file == "other/tags.csv"
    counted = source.interactions.count().as_table()
    assert counted.get_backend().con.sql(counted.compile()).fetchall() == [
        (192,)
    ]  # they belong to no history


def test_tags_dat_of_ml_10m_is_read_as_another_release(tmp_path, connection):
    other = worlds.write_10m(tmp_path / "other") / "tags.dat"
    assert len(tags(read_with_tags(tmp_path, connection, other))) == len(worlds.tags())


def test_own_tags_keep_their_users(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    other = worlds.write_csv_release(tmp_path / "other") / "tags.csv"
    source = read_source(folder, connection=connection, settings=ReadSettings(tags=(other,)))
    assert [row[0] for row in tags(source)] == [1, 1, 1, 7, 7, 2, *[None] * 6]


@pytest.mark.parametrize("header", [False, True])
def test_hetrec_tags_have_weights_and_a_file_of_texts(header, tmp_path, connection):
    source = read_with_tags(tmp_path, connection, write_hetrec(tmp_path / "hetrec", header=header))
    assert tags(source) == [
        (None, 1, "earth", 3.0, None),
        (None, 1, "café", 1.0, None),
        (None, 99, "earth", 2.0, None),
    ]
    read = {row_report.file: (row_report.rows_kept, row_report.encoding) for row_report in source.row_reports}
    assert read["hetrec/movie_tags.dat"] == (3, "utf-8")
    assert read["hetrec/tags.dat"] == (3, "iso-8859-1")


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("movie_tags.dat", "1\t70\t3", "hetrec/movie_tags.dat, line 4, column tagID: '70'"),
        ("movie_tags.dat", "1\t7\t5", "hetrec/movie_tags.dat, line 4: 1, 7 repeats line 1"),
        (
            "movie_tags.dat",
            "2\t7\t0",
            "column tagWeight: '0' (1 of 4 rows is invalid, 25 %). Expected a weight above 0",
        ),
        ("movie_tags.dat", "2\t7\tmuch", "column tagWeight: 'much'"),
        (
            "movie_tags.dat",
            "2\t7",
            "has too few columns (1 of 4 rows is invalid, 25 %). Expected 3 columns: movieID, tagID, tagWeight",
        ),
        ("tags.dat", "7\tagain", "hetrec/tags.dat, line 4: 7 repeats line 1"),
    ],
)
def test_invalid_row_of_hetrec_is_located(file, row, message, tmp_path, connection):
    path = write_hetrec(tmp_path / "hetrec")
    with path.with_name(file).open("a") as handle:
        handle.write(f"{row}\r\n")
    with pytest.raises(BadRowError) as caught:
        read_with_tags(tmp_path, connection, path)
    assert message in str(caught.value)
    source = read_with_tags(tmp_path, connection, path, skip=True)
    assert len(tags(source)) == 3


def test_missing_file_of_tag_texts_is_named(tmp_path, connection):
    path = write_hetrec(tmp_path / "hetrec")
    path.with_name("tags.dat").unlink()
    with pytest.raises(
        SourceError, match=r"hetrec/tags\.dat: not found\. Expected the texts of the tags in movie_tags\.dat"
    ):
        read_with_tags(tmp_path, connection, path)


def test_file_without_tags_is_refused(tmp_path, connection):
    other = worlds.write_csv_release(tmp_path / "other") / "movies.csv"
    with pytest.raises(SourceError, match=r"other/movies\.csv, line 1: no user_id or tag or timestamp among"):
        read_with_tags(tmp_path, connection, other)


def test_text_ids_match_tags_of_another_release_by_text(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,tt1,5\n")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n5,tt1,Fine,3\n")
    settings = ReadSettings(tags=(tmp_path / "tags.csv",))
    source = read_source(tmp_path / "mine.csv", connection=connection, settings=settings)
    assert tags(source) == [(None, "tt1", "fine", 1.0, 3)]
