"""Item metadata: tables joined by ID, and the kind of each column."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data.expressions import connect
from tastevec.data.intake.items import ItemTable, read_items
from tastevec.data.intake.metadata import NamedTable, TableContext
from tastevec.data.intake.settings import ItemSettings
from tastevec.errors import BadRowError, DataError, SettingsError

CONTEXT = TableContext(None, Path("unused"))
IDS = [str(item) for item in range(40)]


def read(*tables: dict[str, object], bad_rows: float | None = None, **settings: object) -> ItemTable:
    sources = tuple(pa.table(table) for table in tables)
    context = TableContext(None, Path("unused"), bad_rows=bad_rows)
    return read_items(ItemSettings(items=sources, **settings), (), context)


def lines(items: ItemTable) -> dict[str, tuple[str, str]]:
    """Return the role and the text of every line."""
    return {line.name: (line.role, line.text) for report in items.reports for line in report.lines}


@pytest.mark.parametrize(
    "cells",
    [
        ["Action, Sci-Fi", "Drama ,Action"],
        ["['Action', 'Sci-Fi']", "['Drama', 'Action']"],
        ['["Action", "Sci-Fi"]', '["Drama","Action"]'],
        ["[Action, Sci-Fi]", "[Drama, Action]"],
        ["Action | Sci-Fi", " Drama|Action"],
        ["Action; Sci-Fi", "Drama;Action;"],
        [["Action", "Sci-Fi "], ["Drama", "Action"]],
    ],
)
def test_genres_of_any_spelling_become_two_categories_without_blanks(cells):
    items = read({"item_id": ["a", "b"], "genres": cells})

    assert items.table["genres"].to_pylist() == [["Action", "Sci-Fi"], ["Drama", "Action"]]


def test_genres_with_apostrophes_in_written_lists_stay_whole():
    items = read({"item_id": ["a", "b"], "genres": ["""["Children's", 'Film, Noir']""", "[]"]})

    assert items.table["genres"].to_pylist() == [["Children's", "Film, Noir"], []]


def test_genres_with_separator_none_stay_one_category():
    cells = {"item_id": ["a", "b"], "genres": ["Home, Garden", "Home, Garden"]}

    assert read(cells, separators={"genres": None}).table["genres"].to_pylist() == [["Home, Garden"]] * 2


def test_missing_category_words_of_any_case_are_no_categories():
    genres = ["(no genres listed)", "unknown|Drama", "NaN", None, ""]

    items = read({"item_id": list("abcde"), "genres": genres})

    assert items.table["genres"].to_pylist() == [[], ["Drama"], [], [], []]


def test_several_category_columns_read_column_and_value():
    items = read({"item_id": IDS, "genre": ["Drama", "Comedy"] * 20, "brand": ["Acme"] * 20 + ["Other"] * 20})

    assert items.table["genres"][0].as_py() == ["genre:Drama", "brand:Acme"]
    assert lines(items)["brand"] == ("category", "2, one an item")


def test_separator_that_halves_the_different_values_is_found():
    words = [f"w{n % 4};w{n % 3}" for n in range(12)]

    items = read({"item_id": IDS[:12], "colors": words})

    assert items.table["genres"][5].as_py() == ["w1", "w2"]
    assert lines(items)["colors"] == ("category", "4 between ;, 2.0 an item")


def test_items_without_title_and_with_odd_years_are_accepted_and_counted():
    years = ["unknown", "1995-12-15", "(1995)", "1995.0", None]

    items = read({"item_id": list("abcde"), "title": ["A", None, "", "D (1990)", "E (2001)"], "year": years})

    assert items.table["title"].to_pylist() == ["A", "", "", "D (1990)", "E (2001)"]
    assert items.table["year"].to_pylist() == [None, 1995, 1995, 1995, 2001]
    assert lines(items)["year"] == ("year", "1 unreadable and left empty")


def test_year_of_a_title_is_its_last_one():
    titles = ["2001: A Space Odyssey (1968)", "Up (2006-2007)", "Next (2009- )", "Show (1995) (V)", "1984"]

    years = read({"item_id": list("abcde"), "title": titles}).table["year"]

    assert years.to_pylist() == [1968, 2006, 2009, 1995, None]


def test_averages_and_counts_over_users_are_ignored_unless_named():
    table = {"item_id": IDS, "avg_rating": np.linspace(1, 5, 40), "members": np.arange(40) * 7}

    ignored, named = read(table), read(table, columns={"number": ("members",)})

    assert lines(ignored)["members"] == ("ignored", "made of interactions: --item-column number=members")
    assert lines(ignored)["avg_rating"][0] == "ignored"
    assert ignored.table.column_names == ["item_id", "title", "year", "genres"]
    assert named.table["number:members"][3].as_py() == 21.0


def test_numbers_texts_and_vectors_have_columns_of_their_own():
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(80, dtype=np.float32)), 2)
    texts = [f"a long plot about the number {n} of all" for n in range(40)]
    prices = [f"{n}.5" if n else "free" for n in range(40)]

    items = read({"item_id": IDS, "price": prices, "plot": texts, "embedding": vectors})

    assert items.table["number:price"][:2].to_pylist() == [None, 1.5]
    assert items.table["vector:embedding"][1].as_py() == [2.0, 3.0]
    assert "text:plot" in items.table.column_names
    assert lines(items)["price"] == ("number", "1.5 to 39.5, 1 unreadable and left empty")
    assert lines(items)["plot"] == ("text", "40 texts of 9 words")


def test_vectors_of_a_text_column_are_read_where_stated():
    table = {"item_id": ["a", "b", "c"], "v": ["[0.5, 1]", "2 3", ""]}

    items = read(table, columns={"vector": ("v",)})

    assert items.table["vector:v"].to_pylist() == [[0.5, 1.0], [2.0, 3.0], None]


def test_vectors_with_a_number_that_is_not_finite_are_left_empty():
    items = read({"item_id": ["a", "b"], "v": [[0.5, float("nan")], [1.0, 2.0]]})

    assert items.table["vector:v"].to_pylist() == [None, [1.0, 2.0]]
    assert lines(items)["v"] == ("vector", "2 numbers, 1 unreadable and left empty")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([f"code-{n}" for n in range(40)], "different in nearly every item: --item-column category=x"),
        (["same"] * 40, "the same in every item: --item-column category=x"),
        ([None] * 40, "empty"),
        ([[1.0] * (1 + n % 2) for n in range(40)], "1, 2 numbers an item, not the same in each"),
        ([{"a": 1}] * 40, "struct<a: int64>, which is no kind of metadata"),
    ],
)
def test_other_columns_are_ignored_with_the_reason(values, reason):
    assert lines(read({"item_id": IDS, "x": values}))["x"][1].startswith(reason)


def test_codes_and_few_numbers_are_categories():
    items = read(
        {"item_id": IDS, "brand_id": [n % 13 for n in range(40)], "players": [n % 3 for n in range(40)]}
    )

    assert lines(items)["brand_id"] == ("category", "13, one an item")
    assert lines(items)["players"][0] == "ignored"  # a count over users


def test_stated_kinds_overrule_the_rule():
    table = {"item_id": IDS, "name": [f"n {n}" for n in range(40)], "sku": [f"s{n}" for n in range(40)]}

    items = read(table, columns={"category": ("sku",), "text": ("name",), "ignored": ()})

    assert items.table["genres"][1].as_py() == ["s1"]
    assert items.table["text:name"][1].as_py() == "n 1"


def test_unknown_kind_or_column_is_refused():
    with pytest.raises(SettingsError, match=r"no such kind\. Expected one of item_id, title"):
        read({"item_id": IDS}, columns={"shade": ("x",)})
    with pytest.raises(SettingsError, match=r"no such column\. Expected one of item_id"):
        read({"item_id": IDS}, columns={"category": ("x",)})


def test_tables_are_joined_by_id_and_the_first_column_of_a_name_wins():
    metadata = {"movieId": [1, 2], "title": ["One", "Two"], "genres": ["Drama", "Comedy"]}
    plots = {
        "movieId": ["3", "1.0", "2"],
        "Title": ["x", "y", "z"],
        "plot": ["c d e f g", "h i j k l", "m n o p q"],
    }
    plots["movieId"] = [3.0, 1.0, 2.0]

    items = read(metadata, plots)

    assert items.table["item_id"].to_pylist() == ["1", "2", "3"]
    assert items.table["title"].to_pylist() == ["One", "Two", ""]
    assert items.table["text:plot"].to_pylist() == ["h i j k l", "m n o p q", "c d e f g"]
    assert lines(items)["Title"] == ("ignored", "already in items")


def test_items_without_title_stay_in_the_catalog_where_users_touched_them():
    items = read(
        {"item_id": ["a", "b"], "title": ["A", "B"]}, {"item_id": ["b", "c", "d"], "weight_kg": [1, 2, 3]}
    )
    untitled = read({"item_id": ["c", "d"]})

    assert items.of_catalog(pa.array(["c"]))["item_id"].to_pylist() == ["a", "b", "c"]
    assert untitled.of_catalog(pa.array(["c"]))["item_id"].to_pylist() == ["c", "d"]


def test_items_listed_twice_keep_their_first_row_and_are_counted():
    items = read({"item_id": ["a", "b", "a", "b"], "title": ["A", "B", "A", "other"]})

    assert items.table["title"].to_pylist() == ["A", "B"]
    assert items.differing == 1
    assert lines(items)["listed twice"][1] == "2 rows, the first of an item counts; 1 differ from it"


def test_rows_without_an_id_are_refused_or_counted():
    table = {"item_id": ["a", "NaN", None], "title": ["A", "B", "C"]}

    with pytest.raises(
        BadRowError, match=r"row 2, column item_id: 'NaN' is no id \(2 rows\): --bad-rows drop"
    ):
        read(table)
    assert lines(read(table, bad_rows=0.9))["without an id"] == ("skipped", "2 rows")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("name", "x"), "no item_id among name, x"),
        (("movie", "book"), "movie and book could both be the item"),
    ],
)
def test_tables_without_one_column_of_ids_are_refused(names, expected):
    with pytest.raises(DataError, match=expected):
        read({name: ["a"] for name in names})


def test_column_of_ids_is_the_one_that_ends_with_id():
    assert lines(read({"game": ["g"], "game_id": ["7"]}))["game_id"][0] == "item_id"
    assert lines(read({"id": ["g"], "movie": ["7"]}))["id"][0] == "item_id"


def test_items_of_the_source_stand_behind_stated_ones():
    source = NamedTable.of(
        pa.table({"item_id": ["a", "b"], "title": ["old", "B"], "genres": ["X", "Y"]}), "movies.csv"
    )
    mine = pa.table({"item_id": ["a"], "title": ["new"]})

    items = read_items(ItemSettings(items=(mine,)), (source,), CONTEXT)

    assert items.table.select(["item_id", "title", "genres"]).to_pylist() == [
        {"item_id": "a", "title": "new", "genres": ["X"]},
        {"item_id": "b", "title": "", "genres": ["Y"]},
    ]


@pytest.mark.parametrize(
    ("value", "problem"), [("50.5", "is no id: expected"), ("9.78044E+12", "has lost digits")]
)
def test_damaged_columns_of_ids_are_refused_though_rows_may_be_dropped(value, problem):
    with pytest.raises(BadRowError, match=rf"row 2, column item_id: '{re.escape(value)}' {problem}"):
        read({"item_id": ["", value]}, bad_rows=0.9)


def test_files_of_items_are_read_like_other_tables(tmp_path):
    connection = connect()
    context = TableContext(connection, tmp_path, bad_rows=0.5)
    (tmp_path / "a.item").write_text(
        "item_id:token\tname:token_seq\tclass:token_seq\n"
        + "".join(f"{n}\tT {n}\tx{n % 3} y{n % 2}\n" for n in range(9))
    )
    (tmp_path / "b.csv").write_text("ID;preis\n1;4,5\n2;x;y\n3;7\n")

    one, two = (
        read_items(ItemSettings(items=(tmp_path / name,)), (), context) for name in ("a.item", "b.csv")
    )

    assert one.table.slice(4, 1).to_pylist() == [
        {"item_id": "4", "title": "T 4", "year": None, "genres": ["x1", "y0"]}
    ]
    assert two.table["item_id"].to_pylist() == ["1", "3"]
    assert any(role == "skipped" for role, _ in lines(two).values())
    connection.disconnect()


def test_no_table_is_no_item():
    assert read_items(ItemSettings(), (), CONTEXT).table.num_rows == 0


@given(st.permutations(range(12)))
def test_order_of_rows_changes_no_item(order):
    table = pa.table(
        {
            "item_id": IDS[:12],
            "title": [f"T {n}" for n in range(12)],
            "genres": [f"g{n % 3}|g{n % 4}" for n in range(12)],
            "price": [n * 1.5 for n in range(12)],
        }
    )

    one, two = (
        read_items(ItemSettings(items=(rows,)), (), CONTEXT) for rows in (table, table.take(pa.array(order)))
    )

    assert one.table.sort_by("item_id").equals(two.table.sort_by("item_id"))
