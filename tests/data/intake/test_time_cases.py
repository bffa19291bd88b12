"""Times: which column has them, in which unit or format, and what orders the interactions of a user."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

import crowds
import tastevec
from crowds import changed, crowd, read, real, stars, times
from tastevec.data.intake.columns import names_time
from tastevec.errors import BadRowError, DataError

START = 1_600_000_000


def timed(values, name="timestamp"):
    return crowd(**{name: values})


def test_times_are_found_by_name_and_values():
    """Case 40."""
    names = ["rated_at", "date_added", "event_time", "unixReviewTime", "t_dat"]
    assert all(map(names_time, names))

    found = read(timed(times, "unixReviewTime"))

    assert found.order == "timestamp"
    assert crowds.lines(found)["unixReviewTime"].startswith(
        "time 2020-09-13 to 2020-09-13, seconds since 1970, resolution"
    )


def test_durations_under_a_name_of_times_are_none():
    """Case 40: seconds of watching."""
    found = read(timed(lambda row: 30 + 37 * row % 100, "watch_time"))

    assert (found.scale.kind, found.order) == ("weighted", "file")


def test_without_times_the_order_of_the_file_counts():
    """Case 41."""
    found = read(crowd(rating=stars))

    assert found.order == "file"
    assert "none: the file's order counts" in crowds.lines(found)["times"]


def test_two_columns_of_times_are_refused():
    """Case 42."""
    table = crowd(created_at=times, updated_at=times)

    with pytest.raises(DataError) as caught:
        read(table)
    assert caught.value.code == "two-columns"
    assert "created_at and updated_at could both be the time: --column timestamp=created_at" in str(
        caught.value
    )

    found = read(table, columns={"timestamp": "updated_at"})
    assert crowds.lines(found)["created_at"].startswith("ignored")
    assert crowds.codes(found) == []


def test_two_columns_of_one_name_are_chosen_by_number():
    """Case 42: of one name."""
    table = crowd()
    frame = pd.DataFrame(
        [table["user_id"], table["item_id"], table["item_id"]], ["user_id", "item_id", "item_id"]
    ).T

    with pytest.raises(DataError, match="item_id and item_id could both be the item: --column item_id=2"):
        read(frame)
    assert crowds.rows(read(frame, columns={"item_id": 3}, feedback="implicit")) == crowds.rows(read(table))


@pytest.mark.parametrize("name", ["created_at", "when"])
def test_a_column_of_times_that_is_not_used_is_warned_of(name):
    """Case 42: one of them has the name of the time."""
    found = read(crowd(**{name: times} | ({"timestamp": times} if name == "created_at" else {})))

    assert crowds.codes(found) == ["unused-time"]
    assert f"column {name} holds times and is not used: --column timestamp={name}" in str(found.report)


def test_two_columns_of_users_are_refused():
    """Case 42: another role."""
    table = crowd(rating=stars)
    with pytest.raises(DataError, match="uid and customer could both be the user: --column user_id=uid"):
        read({"uid": table["user_id"], "customer": table["user_id"], "item_id": table["item_id"]})


def test_numbers_of_another_unit_are_the_same_seconds_and_said():
    """Case 43; other units are tested with the rules."""
    found = read(timed(lambda row: times(row) * 1000))

    assert crowds.value(found, 1, crowd()["item_id"][0])["timestamp"] == times(0)
    assert ", milliseconds since 1970, resolution " in crowds.lines(found)["timestamp"]


def test_mixed_units_are_refused(tmp_path):
    """Case 44."""
    path = crowds.write(tmp_path / "rows.csv", changed(timed(times), "timestamp", {3: times(3) * 1000}))

    with pytest.raises(DataError, match=r"timestamp mixes seconds and milliseconds \(line 5\)"):
        read(path)


def test_dates_with_offsets_are_utc_seconds():
    """Case 45."""
    texts = [
        "2019-10-01 00:00:00 UTC",
        "2019-10-01 03:00:00+0300",
        "2019-10-01T00:00:00.25Z",
        "2019/10/01",
        "01.10.2019",
    ]

    found = read(timed(lambda row: texts[row % 5]))

    assert {row["timestamp"] for row in crowds.rows(found)} == {1_569_888_000}
    assert ", dates, resolution days" in crowds.lines(found)["timestamp"]


def test_a_column_of_digits_may_be_dates():
    """Case 45: 20191001."""
    found = read(timed(lambda _row: 20_191_001))

    assert {row["timestamp"] for row in crowds.rows(found)} == {1_569_888_000}


@pytest.mark.parametrize(("unit", "zone"), [("ns", "Europe/Berlin"), ("ms", None)])
def test_typed_times_are_utc_seconds_without_another_library(unit, zone):
    """Case 45: pandas and Arrow."""
    typed = pa.array(timed(times)["timestamp"], pa.timestamp("s")).cast(pa.timestamp(unit, zone))
    found = read(pa.table({**crowd(), "timestamp": typed}))

    assert crowds.value(found, 1, crowd()["item_id"][0])["timestamp"] == times(0)
    assert ", timestamps, resolution " in crowds.lines(found)["timestamp"]


def test_months_come_first_where_a_day_says_so():
    """Case 46."""
    table = timed(lambda row: "11/15/2019 8:55:22 AM" if row % 2 else "03/04/2019")

    found = read(table)

    assert {row["timestamp"] for row in crowds.rows(found)} == {1_573_808_122, 1_551_657_600}


def test_days_and_months_that_nothing_tells_apart_are_refused():
    """Case 46: undecided."""
    table = timed(lambda _row: "03/04/2019")

    with pytest.raises(DataError, match="--time-format %m/%d/%Y or %d/%m/%Y"):
        read(table)

    assert {row["timestamp"] for row in crowds.rows(read(table, time_format="%d/%m/%Y"))} == {1_554_249_600}


@pytest.mark.parametrize(
    ("value", "stated", "day"),
    [(2015, "%Y", "2015-01-01"), (201512, "%Y%m", "2015-12-01"), (45353.84, "excel", "2024-03-02")],
)
def test_years_and_days_of_a_spreadsheet_are_refused_and_can_be_stated(value, stated, day):
    """Case 47."""
    table = timed(lambda _row: value)

    with pytest.raises(DataError, match=f"these times read as 1970: --time-format {stated}") as caught:
        read(table)
    assert caught.value.code == "times-1970"

    assert f"{day} to {day}" in str(read(table, time_format=stated).report)


def test_a_text_that_is_no_time_is_refused_or_means_no_time(tmp_path):
    path = crowds.write(tmp_path / "rows.csv", changed(timed(times), "timestamp", {1: "soon"}))

    with pytest.raises(
        BadRowError, match=r"line 3, column timestamp: 'soon' is no time .1 row, 0.3 %.: --time-format"
    ):
        read(path, bad_rows="drop")
    found = read(path, bad_times="none")
    assert "1 row without a time keeps its place" in str(found.report)


@pytest.mark.parametrize("in_file", [True, False])
def test_an_untimed_row_keeps_its_place(tmp_path, in_file):
    """Case 48: the newest row of a user; lists and requests are tested with the model."""
    table = timed(times)
    table = changed(table, "timestamp", {15: "" if in_file else None})

    found = read(crowds.write(tmp_path / "rows.csv", table) if in_file else table)

    assert crowds.history(found, 1) == table["item_id"][:16]
    assert crowds.value(found, 1, table["item_id"][15])["timestamp"] == times(14)
    assert "1 row without a time keeps its place" in crowds.lines(found)["timestamp"]


def test_the_first_row_without_a_time_takes_that_of_the_row_after_it():
    """Case 48: the first."""
    table = changed(timed(times), "timestamp", {0: None})
    assert crowds.history(read(table), 1) == table["item_id"][:16]


def test_many_rows_without_a_time_need_a_choice():
    """Case 49."""
    table = timed(lambda row: None if row % 10 < 3 else times(row))

    with pytest.raises(DataError, match=r"30.0 % of rows have no time: --missing-times order or drop"):
        read(table)

    assert len(crowds.rows(read(table, missing_times="order"))) == 320
    dropped = read(table, missing_times="drop")
    assert len(crowds.rows(dropped)) == 224
    assert dropped.row_reports[0].skipped == {"without a time": 96}


def of_days(*, descending: bool):
    """Return interactions in whole days, in which IDs go one way in the order of the rows."""
    table = timed(lambda row: START // 86_400 * 86_400 + row % 16 // 4 * 86_400)
    rows = sorted(
        zip(*table.values(), strict=True), key=lambda row: (row[0], row[2], -row[1] if descending else row[1])
    )
    return dict(zip(table, map(list, zip(*rows, strict=True)), strict=True))


def test_a_file_sorted_inside_days_has_the_same_bytes_in_both_directions(tmp_path):
    """Case 50."""
    up, down = (
        tastevec.prepare(of_days(descending=descending), tmp_path / str(descending))
        for descending in (False, True)
    )

    assert up.fingerprint == down.fingerprint
    assert (
        "80.0 % of steps are inside one day, where ids ascend in 100 %: their order is drawn by a hash"
        in str(up.report)
    )


def test_the_order_line_says_where_few_ties_are_drawn_by_a_hash():
    """Case 50: ties under 20 %."""
    table = timed(lambda row: START + row)
    ties = {
        row + 1: START + row for row in range(0, 320, 8) if table["item_id"][row] < table["item_id"][row + 1]
    }

    found = read(changed(table, "timestamp", ties))

    assert crowds.codes(found) == []
    assert "equal times are drawn by a hash: ids ascend in 100 % of them" in crowds.lines(found)["timestamp"]


@pytest.mark.slow
def test_real_days_have_the_same_order_in_both_directions(tmp_path):
    """Case 50: amazon-grocery."""
    table = read_columns(real("amazon-grocery", "interactions.csv"))
    turned = sorted(zip(*table.values(), strict=True), key=lambda row: (row[0], row[2], -int(row[1])))
    turned = dict(zip(table, map(list, zip(*turned, strict=True)), strict=True))

    one, other = (tastevec.prepare(rows, tmp_path / name) for name, rows in (("a", table), ("b", turned)))

    assert one.fingerprint == other.fingerprint
    assert "29.0 % of steps are inside one day, where ids ascend in 100 %" in str(one.report)


def read_columns(path):
    import csv  # noqa: PLC0415  used here only

    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_times_before_1990_are_warned_of():
    assert "old-times" in crowds.codes(read(timed(lambda row: 500_000_000 + row * 86_400)))
