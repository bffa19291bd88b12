"""IDs: one ID in every spelling of a number, and what is none, with the line and the way out."""

from __future__ import annotations

import uuid

import pandas as pd
import pyarrow as pa
import pytest

import crowds
import tastevec
from crowds import added, changed, crowd, read, stars
from tastevec.errors import BadRowError, DataError


def users(source):
    return {row["user_id"] for row in crowds.rows(source)}


def named(table):
    """Return the table with users called u1 to u20."""
    return {**table, "user_id": [f"u{user}" for user in table["user_id"]]}


def test_ids_that_differ_by_leading_zeros_are_two_texts_and_warned_of():
    """Case 31."""
    table = crowd(rating=stars)

    found = read(added(table, ("007", 1, 5), ("007", 2, 4)), rating_range="1:5")

    assert {"7", "007"} < users(found)
    assert crowds.codes(found) == ["similar-ids"]
    assert "1 id differs from another by leading zeros alone" in str(found.report)


def test_ids_that_differ_by_case_are_two_texts_and_warned_of():
    """Case 31: case."""
    found = read(added(named(crowd(rating=stars)), ("U7", 1, 5), ("U8", 2, 4)), rating_range="1:5")

    assert {"u7", "U7", "u8", "U8"} < users(found)
    assert crowds.codes(found) == ["similar-ids"]
    assert "2 ids differ from another by case alone" in str(found.report)


@pytest.mark.parametrize("word", ["nan", "<NA>", ""])
def test_words_for_a_missing_value_are_no_ids(tmp_path, word):
    """Case 32."""
    table = changed(crowd(), "user_id", {1: word, 9: word})
    path = crowds.write(tmp_path / "ratings.csv", table)

    with pytest.raises(BadRowError) as caught:
        read(path)

    found = f"'{word}' is no id" if word else "no id"
    assert f"ratings.csv, line 3, column user_id: {found} (2 rows): --bad-rows drop, or --missing ''" in str(
        caught.value
    )


def test_rows_without_an_id_are_dropped_and_ids_stay_whole_numbers(tmp_path):
    """Case 33."""
    path = crowds.write(tmp_path / "ratings.csv", changed(crowd(), "user_id", {1: "nan", 9: "None"}))

    found = read(path, bad_rows="drop")

    assert found.row_reports[0].skipped == {"without an id": 2}
    assert "2 rows: without an id" in crowds.lines(found)["dropped"]
    assert found.interactions.user_id.type().is_integer()


def test_a_user_called_nan_is_a_user_where_nothing_is_missing(tmp_path):
    """Case 34."""
    path = crowds.write(tmp_path / "ratings.csv", changed(crowd(), "user_id", {1: "nan", 9: "nan"}))

    assert "nan" in users(read(path, missing=""))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("50.5", "'50.5' is no id: expected a whole number or a text; export the column as text"),
        ("9.78044E+12", "'9.78044E+12' has lost digits; export the column as text"),
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_damaged_ids_are_refused_though_bad_rows_may_be_dropped(tmp_path, value, problem, in_file):
    """Cases 35 and 36."""
    table = changed(crowd(), "item_id", {1: value})
    if not in_file:
        table["item_id"] = [str(item) for item in table["item_id"]]

    with pytest.raises(BadRowError) as caught:
        read(crowds.write(tmp_path / "rows.csv", table) if in_file else table, bad_rows="drop")

    assert problem in str(caught.value)
    assert ("rows.csv, line 3" if in_file else "interactions, row 2") in str(caught.value)


def test_a_float_that_is_no_whole_number_is_refused():
    """Case 35: a typed column."""
    table = changed(crowd(), "item_id", {1: 50.5})

    with pytest.raises(BadRowError, match=r"'50\.5' is no id"):
        read(pd.DataFrame(table))


def test_uuids_are_their_text_in_lower_case():
    """Case 37."""
    known = {user: uuid.UUID(int=user << 64) for user in range(1, 21)}
    table = crowd()
    ids = [known[user] for user in table["user_id"]]
    typed = pa.array([one.bytes for one in ids], pa.uuid())

    from_types = read(pa.table({"user_id": typed, "item_id": table["item_id"]}))
    from_texts = read({"user_id": [str(one) for one in ids], "item_id": table["item_id"]})

    assert crowds.rows(from_types) == crowds.rows(from_texts)


def test_objects_of_several_types_are_one_id():
    """Case 38."""
    table = crowd()
    mixed = [(user, str(user), float(user))[row % 3] for row, user in enumerate(table["user_id"])]

    found = read(pd.DataFrame({"user_id": pd.Series(mixed, dtype=object), "item_id": table["item_id"]}))

    assert users(found) == set(range(1, 21))


def test_whole_numbers_are_one_id_in_every_spelling(tmp_path):
    """Case 30: files and tables."""
    table = crowd()
    decimal = changed(table, "item_id", {row: f" {item}.0" for row, item in enumerate(table["item_id"])})
    floats = pa.table({**table, "item_id": pa.array(map(float, table["item_id"]))})

    expected = crowds.rows(read(table))
    assert crowds.rows(read(crowds.write(tmp_path / "rows.csv", decimal))) == expected
    assert crowds.rows(read(floats)) == expected


def test_booleans_and_long_texts_are_no_ids_each_in_its_own_words(tmp_path):
    """Case 39."""
    with pytest.raises(BadRowError, match="'false' is no id: expected a whole number or a text"):
        read({**crowd(), "user_id": [user > 10 for user in crowd()["user_id"]]})

    path = crowds.write(tmp_path / "rows.csv", changed(crowd(), "user_id", {1: "x" * 1001}))
    with pytest.raises(BadRowError, match=r"line 3, column user_id: .* is too long: over 1,000 letters"):
        read(path)


def test_a_control_character_is_no_part_of_an_id(tmp_path):
    """Case 39: control characters."""
    path = crowds.write(tmp_path / "rows.csv", changed(crowd(), "user_id", {1: "a\x07b"}))

    with pytest.raises(BadRowError, match=r"has a control character .1 row, 0.3 %.: --bad-rows drop"):
        read(path)


def test_messages_name_the_choice_of_python_where_python_called():
    table = changed(crowd(), "user_id", {1: None})

    with pytest.raises(
        DataError, match=r'row 2, column user_id: no id .1 row.: bad_rows="drop", or missing=""'
    ):
        tastevec.inspect(table)
