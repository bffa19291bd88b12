"""Files, folders and tables in memory as one query with numbered rows."""

import ibis
import pytest

from tastevec.data.intake.tables import open_table
from tastevec.errors import BadRowError

HEADER = "user_id,item_id,rating\n"


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens a table and returns it with its rows in order."""
    connection = ibis.duckdb.connect()

    def open_rows(source, **settings):
        table = open_table(source, connection=connection, scratch=tmp_path, **settings)
        columns = ", ".join(f"c{index}" for index in range(len(table.names)))
        query = f"SELECT {columns} FROM ({table.query}) ORDER BY position"  # noqa: S608 -- names made here
        return table, connection.raw_sql(query).fetchall()

    return open_rows


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="ratings.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def test_csv_with_header_has_rows_in_order(opened, write):
    table, rows = opened(write(HEADER + "1,50,4\n1,127,\n"))
    assert (table.names, rows) == (("user_id", "item_id", "rating"), [("1", "50", "4"), ("1", "127", None)])
    assert (table.format, table.rows, table.delimiter, table.encoding) == ("csv", 2, ",", "utf-8")


def test_open_quote_over_lines_is_refused_even_if_bad_rows_are_dropped(opened, write):
    content = HEADER + '1,2,3\n5,"x,3\n' + "1,2,3\n" * 997
    with pytest.raises(BadRowError, match="line 3 opens a quote that takes in 997 more lines"):
        opened(write(content), bad_rows=0.05)


def test_short_rows_within_the_share_are_dropped_and_counted(opened, write):
    table, rows = opened(write(HEADER + "1,2,3\n" * 997 + "1,2\n" * 3), bad_rows=0.05)
    assert (table.rows, table.broken.count, len(rows)) == (997, 3, 997)


def test_short_rows_over_the_share_are_refused_with_a_share_that_suffices(opened, write):
    path = write(HEADER + "1,2,3\n" * 920 + "1,2\n" * 80)
    message = "8.0 % of rows are bad, more than 5 %: --bad-rows drop:10%"
    with pytest.raises(BadRowError, match=message):
        opened(path, bad_rows=0.05)
    assert opened(path, bad_rows=0.1)[0].broken.count == 80
