import re

import pytest

import worlds
from tastevec.data.readers import ReadSettings, read_source
from tastevec.errors import BadRowError, SourceError

PLAIN, SKIP = ReadSettings(), ReadSettings(skip_bad_rows=True)
TAG_HEADER = "userId,movieId,tag,timestamp"


def rows(table):
    relation = table.get_backend().con.sql(table.compile())
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def replace_line(path, line, text):
    """Replace one line, counted from 1, of a file by these bytes."""
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = text
    path.write_bytes(b"\n".join(lines))


# Line 17 of ratings.csv is the last rating of user 1, for item 6.
INVALID = {
    "text in a rating": (b"1,6,five,980650000", "not a number", "line 17, column rating: 'five'. Expected a number from 0.5 to 5"),
    "underscore in a rating": (b"1,6,1_0,980650000", "not a number", "column rating: '1_0'"),
    "no rating": (b"1,6,,980650000", "not a number", "column rating: empty"),
    "rating too high": (b"1,6,5.5,980650000", "out of range", "line 17, column rating: '5.5'. Expected a number from 0.5 to 5"),
    "rating too low": (b"1,6,0,980650000", "out of range", "column rating: '0'"),
    "rating nan": (b"1,6,nan,980650000", "not finite", "column rating: 'nan'"),
    "rating infinite": (b"1,6,-inf,980650000", "not finite", "column rating: '-inf'"),
    "text in a user": (b"one,6,5,980650000", "not an integer", "line 17, column userId: 'one'. Expected an integer"),
    "fraction in an item": (b"1,6.5,5,980650000", "not an integer", "column movieId: '6.5'. Expected an integer"),
    "leading zero": (b"1,06,5,980650000", "not an integer", "column movieId: '06'"),
    "too large for an ID": (b"1,99999999999999999999,5,980650000", "not an integer", "column movieId: '99999999999999999999'"),
    "no user": (b",6,5,980650000", "empty", "column userId: empty. Expected an integer"),
    "text in a timestamp": (b"1,6,5,yesterday", "not an integer", "column timestamp: 'yesterday'. Expected Unix seconds"),
    "milliseconds": (b"1,6,5,980650000000", "not a timestamp", "column timestamp: '980650000000'. Expected Unix seconds"),
    "negative timestamp": (b"1,6,5,-1", "not a timestamp", "column timestamp: '-1'"),
    "too few columns": (b"1,6,5", "too few columns", "line 17: '1,6,5' has too few columns. Expected 4 columns: userId, movieId, rating, timestamp"),
    "too many columns": (b"1,6,5,980650000,", "too many columns", "line 17: '1,6,5,980650000,' has too many columns"),
    "duplicate": (b"1,16,5,980650000", "duplicate", "line 17: 1, 16 repeats line 2. Expected one such row"),
    "NUL byte": (b"1,6,5\0,980650000", "NUL byte", r"line 17, column rating: '5\x00' contains a NUL byte"),
    "undecodable byte": (b"1,6,5,98065\xff0000", "undecodable byte", r"column timestamp: '98065\xff0000' contains an undecodable byte"),
    "carriage return": (b"1,6,5\r,980650000", "stray carriage return", r"column rating: '5\x0d' contains a stray carriage return"),
    "noncharacter": ("1,6,5\U0010ffff,980650000".encode(), "undecodable byte", "column rating:"),
    "stray quote": (b'1,6,"5,980650000', "broken quotes", "line 17: '1,6,\"5,980650000' has broken quotes"),
    "quote inside a field": (b'1,6,5",980"650000', "broken quotes", "has broken quotes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "message"), INVALID.values(), ids=INVALID)
def test_invalid_row_is_located_or_skipped_and_counted(text, reason, message, tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "ratings.csv", 17, text)
    with pytest.raises(BadRowError) as caught:
        read_source(folder, connection=connection, settings=PLAIN)
    share = " (1 of 192 rows is invalid, 0.5 %)"
    assert str(caught.value).startswith("ratings.csv, line 17")
    assert share in str(caught.value)
    assert message in str(caught.value).replace(share, "")
    assert str(caught.value).endswith(". Fix the row, or skip it with --skip-bad-rows.")
    source = read_source(folder, connection=connection, settings=SKIP)
    row_report = source.row_reports[0]
    assert (row_report.rows_read, row_report.rows_kept, row_report.skipped) == (192, 191, {reason: 1})
    assert [message in example for example in row_report.examples] == [True]
    valid = rows(source.interactions.filter(source.interactions.rating.notnull()))
    assert [tuple(row.values())[:4] for row in valid] == worlds.ratings()[:15] + worlds.ratings()[16:]


def test_tagged_item_with_skipped_rating_is_a_tag_only_interaction(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,9,5\n2,1,5,5\n")
    source = read_source(folder, connection=connection, settings=SKIP)
    first = rows(source.interactions.order_by("position"))
    assert [(row["user_id"], row["item_id"], row["rating"]) for row in first[:2]] == [
        (2, 1, 5.0),
        (1, 1, None),
    ]


def test_many_invalid_rows_name_the_first_and_their_share(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    for line in range(30, 50):
        replace_line(folder / "ratings.csv", line, b"bad")
    with pytest.raises(BadRowError, match=r"^ratings.csv, line 30: .* \(20 of 192 rows are invalid, 10 %\)"):
        read_source(folder, connection=connection, settings=PLAIN)
    source = read_source(folder, connection=connection, settings=SKIP)
    assert source.row_reports[0].skipped == {"too few columns": 20}
    assert [example.split(":")[0] for example in source.row_reports[0].examples] == [
        f"ratings.csv, line {line}" for line in range(30, 35)
    ]


def test_long_text_is_shortened_in_the_message(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "ratings.csv", 17, b"x" * 5000)
    with pytest.raises(BadRowError) as caught:
        read_source(folder, connection=connection, settings=PLAIN)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("write", "location", "text", "message"),
    [
        (worlds.write_100k, ("u.data", 3), b"1\t13\t6\t979480000", "u.data, line 3, column rating: '6'. Expected a number from 1 to 5"),
        (worlds.write_100k, ("u.item", 4), b"4|Rocket|1|2|3|" + b"0|" * 18 + b"x", "u.item, line 4, column genres: "),
        (worlds.write_100k, ("u.item", 4), b"4|Rocket", "u.item, line 4: '4|Rocket' has too few columns. Expected 24 columns"),
        (worlds.write_1m, ("ratings.dat", 3), b"1::13::0.5::979480000", "ratings.dat, line 3, column rating: '0.5'. Expected a number from 1 to 5"),
        (worlds.write_1m, ("movies.dat", 3), b"3::Rocket::a::b", "movies.dat, line 3: '3::Rocket::a::b' has too many columns"),
        (worlds.write_10m, ("movies.dat", 3), b"3::Rock\xe9t::a", r"movies.dat, line 3, column title: 'Rock\xe9t' contains an undecodable byte"),
        (worlds.write_10m, ("movies.dat", 3), b"2::Rocket::a", "movies.dat, line 3: 2 repeats line 2. Expected one such row"),
        (worlds.write_10m, ("tags.dat", 2), b"1::4::robots", "tags.dat, line 2: '1::4::robots' has too few columns"),
        (worlds.write_csv_release, ("movies.csv", 3), b"x,Rocket,a", "movies.csv, line 3, column movieId: 'x'. Expected an integer"),
        (worlds.write_csv_release, ("tags.csv", 3), b"1,4,robots,now", "tags.csv, line 3, column timestamp: 'now'. Expected Unix seconds"),
        (worlds.write_recbole, ("tiny.inter", 3), b"1\t3\tfour\t9", "tiny.inter, line 3, column rating: 'four'. Expected a number from 0.5 to 5"),
        (worlds.write_recbole, ("tiny.item", 3), b"\tx\t1\ty", "tiny.item, line 3, column item_id: empty. Expected an ID"),
    ],
)  # fmt: skip
def test_invalid_row_of_every_file_is_located(write, location, text, message, tmp_path, connection):
    file, line = location
    folder = write(tmp_path / "release")
    replace_line(folder / file, line, text)
    with pytest.raises(BadRowError) as caught:
        read_source(folder, connection=connection, settings=PLAIN)
    assert message in re.sub(r" \(1 of \d+ rows is invalid, [\d.]+ %\)", "", str(caught.value))
    source = read_source(folder, connection=connection, settings=SKIP)
    (row_report,) = (row_report for row_report in source.row_reports if row_report.skipped)
    assert row_report.file == file
    assert row_report.rows_read == row_report.rows_kept + 1


def test_blank_tag_is_skipped_without_an_error(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "tags.csv", 3, b"1,4,  ,979500003")
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert source.row_reports[2].skipped == {"blank": 1}
    assert [row["tag"] for row in rows(source.tags)] == ["space", "space", "tears", "love, lost", "space"]


def test_invalid_row_after_a_blank_tag_is_the_one_named(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "tags.csv", 3, b"1,4,,979500003")
    replace_line(folder / "tags.csv", 5, b"bad")
    with pytest.raises(
        BadRowError,
        match=r"^tags.csv, line 5: 'bad' has too few columns \(1 of 6 rows is invalid, 17 %\)\. Expected 4 columns: ",
    ):
        read_source(folder, connection=connection, settings=PLAIN)


@pytest.mark.parametrize(
    "write", [worlds.write_1m, worlds.write_csv_release, worlds.write_recbole, worlds.write_100k]
)
def test_byte_order_mark_and_windows_line_ends_change_nothing(write, tmp_path, connection):
    plain = read_source(write(tmp_path / "a"), connection=connection, settings=PLAIN)
    folder = write(tmp_path / "b")
    for file in folder.iterdir():
        mark = b"" if file.name in {"movies.dat", "u.item"} else b"\xef\xbb\xbf"
        file.write_bytes(mark + file.read_bytes().replace(b"\n", b"\r\n"))
    windows = read_source(folder, connection=connection, settings=PLAIN)
    for name in ("interactions", "items", "tags"):
        assert rows(getattr(windows, name)) == rows(getattr(plain, name))


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_mixed_line_ends_blank_lines_and_no_last_newline_change_nothing(
    block, tmp_path, connection, monkeypatch
):
    monkeypatch.setattr(
        "tastevec.data.readers.text._BLOCK", block
    )  # blocks that end between the two of a line end
    folder = worlds.write_1m(tmp_path / "release")
    lines = (folder / "ratings.dat").read_bytes().rstrip(b"\n").split(b"\n")
    (folder / "ratings.dat").write_bytes(b"\r\n".join(lines[:50]) + b"\n\n" + b"\n".join(lines[50:]))
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert [tuple(row.values())[:4] for row in rows(source.interactions)] == worlds.ratings()
    assert source.row_reports[0].rows_read == 192


def test_line_numbers_count_blank_lines_and_quoted_newlines(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    text = f'{TAG_HEADER}\n1,1,"two\nlines, ""quoted""",5\n\n1,2,fine,6\n1,3,bad,x\n'
    (folder / "tags.csv").write_text(text)
    with pytest.raises(BadRowError, match=r"^tags.csv, line 6, column timestamp: 'x'"):
        read_source(folder, connection=connection, settings=PLAIN)
    source = read_source(folder, connection=connection, settings=SKIP)
    assert [row["tag"] for row in rows(source.tags)] == ['two\nlines, "quoted"', "fine"]


def test_open_quote_invalidates_only_lines_near_it(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    good = [f"1,{item},tag {item},5" for item in range(1, 301)]
    good[10] = '1,11,"open,5'
    good[200:202] = ['1,201,"two', 'lines",5']
    (folder / "tags.csv").write_text("\n".join([TAG_HEADER, *good, ""]))
    source = read_source(folder, connection=connection, settings=SKIP)
    # The open quote shifts which quotes open and which close, so that the valid pair of lines becomes invalid, too.
    assert source.row_reports[2].skipped == {"broken quotes": 3}
    assert len(rows(source.tags)) == 297


def test_open_quote_near_the_end_keeps_the_lines_after_it(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    (folder / "tags.csv").write_text(f'{TAG_HEADER}\n1,1,"open,5\n1,2,fine,6\n1,3,fine,7\n')
    source = read_source(folder, connection=connection, settings=SKIP)
    assert source.row_reports[2].skipped == {"broken quotes": 1}
    assert [row["item_id"] for row in rows(source.tags)] == [2, 3]


def test_quotes_are_text_in_a_format_without_quotes(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    replace_line(folder / "movies.dat", 3, b'3::"Rocket, the 3" "again (1982)::Action')
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert rows(source.items)[2]["title"] == '"Rocket, the 3" "again (1982)'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"ratings\.csv: empty \(0 bytes\)\. Expected rows of text"),
        (b"userId,movieId,rating,timestamp\n", r"ratings\.csv: 0 rows, none of them valid\. Expected interactions"),
        (b"1,2,3,4\n1,3,3,4\n", r"ratings\.csv, line 1: no user_id or item_id or rating or timestamp among 1, 2, 3, 4\. Expected user_id \(or user, uid\)"),
        (b"userId,movieId,stars\n1,2,3\n", r"ratings\.csv, line 1: no timestamp among userId, movieId, stars \(user_id: userId, item_id: movieId, rating: stars\)\. Expected timestamp"),
        (b"user,uid,movieId,rating,timestamp\n", r"user and uid both match user_id"),
        (b"\xff\xfeu\0s\0e\0r\0\n", r"line 1: no user_id or .* among \\xff\\xfeu\\x00"),
    ],
)  # fmt: skip
def test_empty_file_or_wrong_header_is_refused(content, message, tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    (folder / "ratings.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_source(folder, connection=connection, settings=PLAIN)


def test_file_without_a_valid_row_is_refused_even_with_skipping(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    (folder / "ratings.dat").write_text("1,2,3,4\n")
    with pytest.raises(SourceError, match=r"ratings\.dat: 1 rows, none of them valid.*too few columns"):
        read_source(folder, connection=connection, settings=SKIP)


def test_line_of_millions_of_characters_is_a_source_error(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    (folder / "ratings.dat").write_text("1" * 5_000_000)
    with pytest.raises(SourceError, match=r"ratings\.dat: not readable"):
        read_source(folder, connection=connection, settings=PLAIN)


def test_failed_reading_leaves_no_table(tmp_path, connection):
    folder = worlds.write_csv_release(tmp_path / "release")
    replace_line(folder / "tags.csv", 3, b"bad")
    with pytest.raises(BadRowError):
        read_source(folder, connection=connection, settings=PLAIN)
    assert connection.raw_sql("SELECT table_name FROM duckdb_tables()").fetchall() == []


def test_ratings_on_another_scale_suggest_the_range_of_their_values(tmp_path, connection):
    path = tmp_path / "ten.csv"
    rows = "".join(f"{user},1,{1 + user % 10}\n" for user in range(480))
    path.write_text(f"user,item,rating\n{rows}")
    with pytest.raises(BadRowError) as caught:
        read_source(path, connection=connection, settings=PLAIN)
    assert str(caught.value) == (
        "ten.csv, column rating: 240 of 480 ratings (50 %) exceed 5; values go from 1 to 10. Expected 0.5 to 5. "
        f"Run: tastevec prepare {path} --out prepared --rating-range 1:10"
    )
    of_model = ReadSettings(rating_range=(3, 7.5), model_scale=True)
    with pytest.raises(
        BadRowError, match=r"are out of range; .* Convert the ratings to the scale of the model\.$"
    ):
        read_source(path, connection=connection, settings=of_model)
