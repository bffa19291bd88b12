import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from tastevec.data.readers import ReadSettings, read_interactions, read_source
from tastevec.data.value_scale import HALF_STARS
from tastevec.errors import BadRowError, SettingsError, SourceError

PLAIN = ReadSettings()
# 2024-01-02 03:04:05 UTC
TIMESTAMP = 1_704_164_645


def rows(table):
    relation = table.get_backend().con.sql(table.order_by("position").compile())
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def items(table):
    return table.get_backend().con.sql(table.compile()).fetchall()


def read(path, connection, settings=PLAIN):
    return read_interactions(path, connection=connection, settings=settings)


def read_text(text, tmp_path, connection, name="mine.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return read(path, connection)


def times(texts, tmp_path, connection):
    lines = "".join(f'{user},1,5,"{text}"\n' for user, text in enumerate(texts))
    table, _ = read_text("user_id,item_id,rating,timestamp\n" + lines, tmp_path, connection)
    return [row["timestamp"] for row in rows(table)]


@pytest.mark.parametrize(
    "header",
    [
        "user_id,item_id,rating,timestamp",
        "userId,movieId,rating,timestamp",
        "User,Movie,Stars,Time",
        "uid,item,score,ts",
        '"User ID","Film",rating,date',
    ],
)
def test_columns_are_found_by_their_aliases(header, tmp_path, connection):
    table, row_report = read_text(f"{header}\n1,2,4.5,10\n", tmp_path, connection)
    assert rows(table) == [{"user_id": 1, "item_id": 2, "rating": 4.5, "timestamp": 10, "position": 0}]
    assert (row_report.file, row_report.rows_read, row_report.rows_kept) == ("mine.csv", 1, 1)


def test_columns_are_read_in_any_order_and_others_ignored(tmp_path, connection):
    text = "price\trating\titem\twhen?\tuser\n9\t3\tb\tx\ta\n"
    table, _ = read_text(text, tmp_path, connection, "mine.tsv")
    assert rows(table) == [{"user_id": "a", "item_id": "b", "rating": 3.0, "timestamp": None, "position": 0}]


def test_exact_name_wins_over_an_alias(tmp_path, connection):
    table, _ = read_text("user,user_id,item,rating\nAnn,7,1,5\n", tmp_path, connection)
    assert rows(table)[0]["user_id"] == 7


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["1", "20", "-3"], [1, 20, -3]),
        (["1", "007"], ["1", "007"]),
        (["1", "two"], ["1", "two"]),
        (["1", " 2"], ["1", " 2"]),
        (["1", "2.0"], ["1", "2.0"]),
        (["1", "+2"], ["1", "+2"]),
        (["0x1", "1_0"], ["0x1", "1_0"]),
        (["9223372036854775807", "9223372036854775808"], ["9223372036854775807", "9223372036854775808"]),
        (["Zoë", "NULL"], ["Zoë", "NULL"]),
    ],
)
def test_ids_are_integers_only_if_every_one_is_spelled_as_one(ids, expected, tmp_path, connection):
    text = "user,item,rating\n" + "".join(f"{value},1,5\n" for value in ids)
    table, _ = read_text(text, tmp_path, connection)
    assert [row["user_id"] for row in rows(table)] == expected
    assert {type(row["item_id"]) for row in rows(table)} == {int}


def test_invalid_rows_do_not_decide_the_id_type(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,1,5\nx,1,bad\n2,1,5\n")
    table, row_report = read(tmp_path / "mine.csv", connection, ReadSettings(skip_bad_rows=True))
    assert [row["user_id"] for row in rows(table)] == [1, 2]
    assert row_report.skipped == {"not a number": 1}


def test_timestamps_are_unix_seconds_or_iso_dates_in_utc(tmp_path, connection):
    connection.raw_sql("SET TimeZone = 'America/New_York'")  # the machine's zone must not matter
    texts = {
        str(TIMESTAMP): TIMESTAMP,
        f"{TIMESTAMP}.0": TIMESTAMP,
        f"{TIMESTAMP}.9": TIMESTAMP,
        "1.704164645e9": TIMESTAMP,
        "2024-01-02 03:04:05": TIMESTAMP,
        "2024-01-02T03:04:05Z": TIMESTAMP,
        "2024-01-02T03:04:05.678": TIMESTAMP,
        "2024-01-02T05:04:05+02:00": TIMESTAMP,
        "2024-01-02 05:04:05+02": TIMESTAMP,
        "2024-01-02T03:04": TIMESTAMP - 5,
        "2024-01-01 22:04:05.5-05:00": TIMESTAMP,
        "2024-01-02": 1_704_153_600,
        "0": 0,
        "": None,
    }
    assert times(texts, tmp_path, connection) == list(texts.values())


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2024-13-02", "02/01/2024", "20240102", "-5", "1704164645000", "nan", "inf", "1969-12-31", "2024-01-02 25:00", "2024-01-02 03+02", "2024-01-02+02"],
)  # fmt: skip
def test_invalid_timestamp_is_refused(text, tmp_path, connection):
    with pytest.raises(
        BadRowError,
        match=r"mine.csv, line 2, column timestamp: .*\. Expected Unix seconds, an ISO 8601 date or an empty field",
    ):
        times([text], tmp_path, connection)


def test_order_of_the_file_is_preserved(tmp_path, connection):
    order = [5, 3, 9, 1, 4]
    table, _ = read_text(
        "user,item,rating\n" + "".join(f"1,{item},5\n" for item in order), tmp_path, connection
    )
    assert [(row["item_id"], row["position"]) for row in rows(table)] == list(
        zip(order, range(5), strict=True)
    )


def test_table_is_read_with_the_metadata_of_its_items(tmp_path, connection):
    path = worlds.write_own_csv(tmp_path / "own")
    source = read_source(
        path, connection=connection, settings=ReadSettings(items=path.with_name("items.csv"))
    )
    assert (source.name, source.format, source.scale) == ("interactions", "table", HALF_STARS)
    assert items(source.items) == [
        (f"film-{f.item}", f.title, f.year, list(f.genres)) for f in worlds.items()
    ]
    assert [(row["user_id"], row["item_id"], row["rating"]) for row in rows(source.interactions)] == [
        (f"person-{r.user}", f"film-{r.item}", r.stars) for r in worlds.ratings()
    ]


def test_table_without_metadata_has_no_items_and_no_tags(tmp_path, connection):
    source = read_source(worlds.write_own_csv(tmp_path), connection=connection, settings=PLAIN)
    assert items(source.items) == items(source.tags) == []
    assert source.items.schema()["item_id"] == source.interactions.schema()["item_id"]
    assert source.genome_folder is None


def test_item_ids_are_texts_in_both_tables_if_they_are_in_one(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,1,5\n")
    (tmp_path / "items.csv").write_text("id,item,title\n7,1,One (1999)\n8,x,Other\n")
    settings = ReadSettings(items=tmp_path / "items.csv")
    source = read_source(tmp_path / "mine.csv", connection=connection, settings=settings)
    assert rows(source.interactions)[0]["item_id"] == "1"
    assert items(source.items) == [("1", "One (1999)", 1999, []), ("x", "Other", None, [])]


def test_year_column_wins_over_the_year_in_the_title(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,1,5\n")
    (tmp_path / "items.csv").write_text("item,title,year\n1,One (1999),2001.0\n2,Two (1999),\n")
    settings = ReadSettings(items=tmp_path / "items.csv")
    source = read_source(tmp_path / "mine.csv", connection=connection, settings=settings)
    assert [row[2] for row in items(source.items)] == [2001, 1999]
    (tmp_path / "items.csv").write_text("item,title,year\n1,One (1999),soon\n")
    with pytest.raises(BadRowError, match=r"items.csv, line 2, column year: 'soon' .*\. Expected a year"):
        read_source(tmp_path / "mine.csv", connection=connection, settings=settings)


def test_parquet_keeps_the_types_of_its_ids(tmp_path, connection):
    table = pa.table(
        {
            "user": pa.array(["007", "1"]),
            "item": pa.array([1, 2], pa.int32()),
            "rating": pa.array([4.1, 3], pa.float32()),
            "time": pa.array([TIMESTAMP * 1_000_000_000 + 123, None], pa.timestamp("ns")),
        }
    )
    pq.write_table(table, tmp_path / "mine.parquet")
    read_table, row_report = read(tmp_path / "mine.parquet", connection)
    assert rows(read_table) == [
        {"user_id": "007", "item_id": 1, "rating": 4.1, "timestamp": TIMESTAMP, "position": 0},
        {"user_id": "1", "item_id": 2, "rating": 3.0, "timestamp": None, "position": 1},
    ]
    assert row_report.encoding == "parquet"


def test_text_ids_of_a_parquet_stay_texts(tmp_path, connection):
    pq.write_table(pa.table({"user": ["1"], "item": ["2"], "rating": [5]}), tmp_path / "mine.parquet")
    table, _ = read(tmp_path / "mine.parquet", connection)
    assert (rows(table)[0]["user_id"], rows(table)[0]["item_id"]) == ("1", "2")


def test_parquet_items_may_have_lists_of_genres(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,1,5\n")
    table = pa.table({"item_id": [1, 2], "title": ["One", "Two"], "genres": [["Drama", "War"], None]})
    pq.write_table(table, tmp_path / "items.parquet")
    settings = ReadSettings(items=tmp_path / "items.parquet")
    source = read_source(tmp_path / "mine.csv", connection=connection, settings=settings)
    assert items(source.items) == [(1, "One", None, ["Drama", "War"]), (2, "Two", None, [])]


@pytest.mark.parametrize(
    ("user", "rating", "message"),
    [
        ("a", None, r"mine.parquet, row 2, column rating: empty"),
        ("a", 9.0, r"mine.parquet, row 2, column rating: '9.0'"),
        ("a\0b", 5.0, r"mine.parquet, row 2, column user: 'a\\x00b' contains a NUL byte"),
        (None, 5.0, r"mine.parquet, row 2, column user: empty"),
    ],
)
def test_invalid_row_of_a_parquet_is_located_by_its_number(user, rating, message, tmp_path, connection):
    table = pa.table({"user": ["z", user], "item": [1, 1], "rating": pa.array([5.0, rating])})
    pq.write_table(table, tmp_path / "mine.parquet")
    with pytest.raises(BadRowError, match=message):
        read(tmp_path / "mine.parquet", connection)


CONTROL = [chr(code) for code in (*range(1, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)]


@pytest.mark.parametrize("role", ["user", "item"])
def test_id_with_a_control_character_is_an_invalid_row(role, tmp_path, connection):
    ids = ["a", *(f"a{character}b" for character in CONTROL), "Zoë\u00a0👍"]
    table = pa.table({"user": ids, "item": ids, "rating": [5] * len(ids)})
    other = "item" if role == "user" else "user"
    table = table.set_column(table.column_names.index(other), other, [[*map(str, range(len(ids)))]])
    pq.write_table(table, tmp_path / "mine.parquet")
    expected = rf"row 2, column {role}: 'a\\x01b' contains a control character \(66 of 68 rows are invalid, 97 %\)\. Expected a"
    with pytest.raises(BadRowError, match=expected):
        read(tmp_path / "mine.parquet", connection)
    kept, row_report = read(tmp_path / "mine.parquet", connection, ReadSettings(skip_bad_rows=True))
    assert row_report.skipped == {"control character": 66}
    assert [row[f"{role}_id"] for row in rows(kept)] == [ids[0], ids[-1]]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("mine.csv", 'user,item,rating\nAnn,1,5\n"Bob\n",1,5\n', 3),
        ("mine.csv", "user,item,rating\nAnn,1,5\nBo\tb,1,5\n", 3),
        ("mine.tsv", "user\titem\trating\nBo\x7fb\t1\t5\n", 2),
        ("mine.inter", "user_id:token\titem_id:token\trating:float\n1\tBo\x85b\t5\n", 2),
    ],
)
def test_text_id_with_a_control_character_is_an_invalid_row(name, text, line, tmp_path, connection):
    (tmp_path / name).write_text(text, encoding="utf-8")
    expected = rf"{name}, line {line}, column \w+: 'Bo.* contains a control character"
    with pytest.raises(BadRowError, match=expected):
        read_source(tmp_path / name, connection=connection, settings=ReadSettings())


def test_item_metadata_with_a_control_character_in_an_id_are_invalid(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,a,5\n")
    (tmp_path / "items.csv").write_text("item,title\na,A\nb\x1b[0m,B\n")
    with pytest.raises(BadRowError, match=r"items.csv, line 3, column item: 'b\\x1b\[0m' contains a control"):
        read_source(
            tmp_path / "mine.csv",
            connection=connection,
            settings=ReadSettings(items=tmp_path / "items.csv"),
        )


def test_float_ids_of_a_parquet_are_refused(tmp_path, connection):
    pq.write_table(pa.table({"user": [1.0], "item": [1], "rating": [5]}), tmp_path / "mine.parquet")
    with pytest.raises(BadRowError, match=r"column user: '1.0' .*\. Expected an integer"):
        read(tmp_path / "mine.parquet", connection)


def test_file_that_is_no_parquet_is_refused(tmp_path, connection):
    (tmp_path / "mine.parquet").write_text("user,item,rating\n")
    with pytest.raises(SourceError, match=r"mine.parquet: not readable as Parquet"):
        read(tmp_path / "mine.parquet", connection)


def test_dash_reads_a_csv_from_standard_input(monkeypatch, connection):
    class Piped:
        buffer = io.BytesIO(b"user,item,rating\n1,2,bad\n")

    monkeypatch.setattr(sys, "stdin", Piped)
    with pytest.raises(BadRowError, match=r"^standard input, line 2, column rating"):
        read("-", connection)
    Piped.buffer = io.BytesIO(b"user,item,rating\n1,2,5\n")
    table, row_report = read("-", connection)
    assert (rows(table)[0]["item_id"], row_report.file) == (2, "standard input")


def test_rating_range_sets_the_valid_ratings(tmp_path, connection):
    (tmp_path / "mine.csv").write_text("user,item,rating\n1,2,-3\n")
    table, _ = read(tmp_path / "mine.csv", connection, ReadSettings(rating_range=(-10, 10)))
    assert rows(table)[0]["rating"] == -3
    with pytest.raises(SettingsError, match=r"rating range 5:1\. Expected LOW:HIGH"):
        ReadSettings(rating_range=(5, 1))


def test_missing_table_is_named(tmp_path, connection):
    with pytest.raises(SourceError, match=r"missing\.csv: not readable \(No such file"):
        read(tmp_path / "missing.csv", connection)
