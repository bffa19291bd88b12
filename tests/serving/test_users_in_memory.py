"""Interactions of lists, dicts and tables: one conversion with one rule for IDs, values, times and repeats."""

import time
import warnings
from datetime import UTC, datetime

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tastevec as tv
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, SettingsError, TastevecWarning, UnknownItemError
from tastevec.serving.interactions import parse
from tastevec.serving.parsed_users import ModelReading

CATALOG = {str(item): item for item in range(100)} | {"007": 100, "A1": 101}
STARS = ModelReading(CATALOG, ValueScale.explicit(1, 5))
TOUCHED = ModelReading(CATALOG, ValueScale.strength("implicit", positive_from=1, top=1), repeats="sum")
HOURS = ModelReading(CATALOG, ValueScale.strength("weighted", positive_from=1, top=50), repeats="sum")
SHOP = ModelReading(
    CATALOG,
    ValueScale.strength("events", positive_from=1, top=3, low=-1),
    repeats="strongest",
    events={"view": 1.0, "purchase": 3.0, "wow": 2.0, "shown": None},
)
START = 1_600_000_000


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


def rows(interactions, model=STARS):
    """Return item index and value of one user, oldest first."""
    histories = parse(interactions, model).histories
    return list(zip(histories.items.tolist(), histories.ratings.tolist(), strict=True))


def test_repeated_item_of_ratings_counts_with_its_latest_value():
    assert rows([(50, 1), (50, 5)]) == [(50, 5)]
    assert rows([(50, 5, START + 9), (7, 2, START + 5), (50, 1, START)]) == [(7, 2), (50, 5)]
    assert rows({"user_id": [1, 1], "item_id": [50, 50.0], "rating": [1, 5]}) == [(50, 5)]


def test_repeats_are_summed_or_the_strongest_as_the_model_was_trained():
    assert rows([(3, 1.5), (4, 1), (3, 0.25)], HOURS) == [(4, 1), (3, 1.75)]
    assert rows([(3, 3), (3, -3)], HOURS) == [(3, 0)]
    assert rows([3, 3, 3], TOUCHED) == [(3, 3)]
    assert rows([(3, "view"), (3, "dislike")], SHOP) == [(3, -1)]
    assert rows([(3, "purchase"), (4, "wow"), (3, "VIEW")], SHOP) == [(4, 2), (3, 3)]


def test_row_that_was_delivered_twice_counts_once():
    assert rows([(3, 2, START), (3, 2, START)], HOURS) == [(3, 2)]
    assert rows([(3, 2, START), (3, 2, START + 1)], HOURS) == [(3, 4)]


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 3),
        st.none() | st.integers(-3, 3),
        st.none() | st.integers(START, START + 3),
    ),
    max_size=12,
)


def expected_history(interactions, repeats):
    """Return what the rules say, row by row: times filled, sorted, one row per item."""
    known = [time for _, _, time in interactions if time is not None]
    filled, last = [], known[0] if known else -1
    for item, value, moment in interactions:
        last = last if moment is None else moment
        filled.append((item, value, last))
    ordered, seen = [], set()
    for item, value, moment in sorted([*reversed(filled)], key=lambda row: row[2], reverse=True):
        if moment < 0 or (item, value, moment) not in seen:
            seen.add((item, value, moment))
            ordered.insert(0, (item, value, moment))
    result = {}
    for item, value, _ in ordered:
        before = result.pop(item, None)
        if before is None or repeats == "latest":
            result[item] = [value]
        else:
            result[item] = [*before, value]
    choose = {
        "latest": lambda values: values[-1],
        "sum": lambda values: (
            sum(one for one in values if one is not None) if any(v is not None for v in values) else None
        ),
        "strongest": lambda values: max(reversed(values), key=lambda one: -1 if one is None else abs(one)),
    }[repeats]
    return [(item, choose(values)) for item, values in result.items()]


@settings(max_examples=150)
@given(made=ROWS, repeats=st.sampled_from(["latest", "sum", "strongest"]))
def test_histories_equal_the_rules_applied_row_by_row(made, repeats):
    model = ModelReading(CATALOG, HOURS.scale, repeats=repeats)
    table = pa.table(
        {
            "user_id": pa.array([row[0] for row in made], pa.int64()),
            "item_id": pa.array([row[1] for row in made], pa.int64()),
            "hours": pa.array([row[2] for row in made], pa.float64()),
            "timestamp": pa.array([row[3] for row in made], pa.int64()),
        }
    )
    users = list(dict.fromkeys(row[0] for row in made))
    parsed = parse(table, model)
    assert parsed.histories.user_ids.tolist() == users
    for number, user in enumerate(users):
        own = parsed.histories.take(np.array([number]))
        found = [
            (item, None if np.isnan(value) else value)
            for item, value in zip(own.items.tolist(), own.ratings.tolist(), strict=True)
        ]
        given_rows = [row[1:] for row in made if row[0] == user]
        assert found == expected_history(given_rows, repeats)
        assert parsed.n_known[number] == parsed.n_interactions[number] == len(given_rows)
        alone = parse(given_rows, model).histories
        np.testing.assert_array_equal(alone.items, own.items)
        np.testing.assert_array_equal(alone.ratings, own.ratings)
        np.testing.assert_array_equal(alone.timestamps, own.timestamps)


def test_newest_interaction_without_a_time_stays_the_newest(model):
    timed = [(item, 4, START + 1000 * item) for item in range(1, 13)]
    newest = [*timed, (13, 5, None)]
    expected = model.encode([*timed, (13, 5, START + 12_000)], horizon="next")
    table = pa.table(
        {
            "user_id": [7] * 13,
            "item_id": [row[0] for row in newest],
            "rating": [row[1] for row in newest],
            "timestamp": [row[2] for row in newest],
        }
    )
    np.testing.assert_array_equal(model.encode(newest, horizon="next"), expected)
    np.testing.assert_allclose(model.encode(table, horizon="next").of(7), expected, atol=1e-6)
    assert not np.allclose(model.encode([newest[-1], *timed], horizon="next"), expected)


def test_ids_of_any_spelling_are_one_item():
    for item in (50, 50.0, "50", " 50 ", "50.0", np.int32(50), b"50"):
        assert rows([(item, 4)]) == [(50, 4)]
    assert rows([("007", 4), (7, 3)]) == [(100, 4), (7, 3)]
    mixed = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [50, "27", 51.0], "rating": [1, 2, 3]})
    assert rows(mixed) == [(50, 1), (27, 2), (51, 3)]


def test_user_ids_are_numbers_or_texts_in_the_order_of_their_first_row():
    table = {"user": [9, 2, 9, 5.0], "item": [1, 2, 3, 4]}
    assert parse(table, TOUCHED).histories.user_ids.tolist() == [9, 2, 5]
    assert parse(table, TOUCHED).histories.user_ids.dtype == np.int64
    table["user"] = ["9", "anna", "9", "007"]
    assert parse(table, TOUCHED).histories.user_ids.tolist() == ["9", "anna", "007"]
    assert parse({7: [1], "7.0": [2], 3: []}, TOUCHED).histories.user_ids.tolist() == [7, 3]


def test_dict_of_users_and_times_of_any_kind_are_read():
    many = parse({"anna": [50, 27], "boris": [(56, 4)]}, STARS)
    assert many.histories.user_ids.tolist() == ["anna", "boris"]
    assert many.histories.ratings.tolist() == [4, 4, 4]
    assert many.notes == ("no rating is given: each interaction counts as 4, positive",)
    moments = [
        "2024-03-02",
        "2024-03-02T00:00:00Z",
        datetime(2024, 3, 2, tzinfo=UTC),
        1709337600,
        1709337600000,
    ]
    for moment in moments:
        assert parse([(50, 5, moment)], STARS).histories.timestamps.tolist() == [1709337600]


@given(st.lists(st.integers(0, 10**13) | st.integers(10**8, 10**9), min_size=1, max_size=5))
@example([19000101])
def test_plain_seconds_are_read_as_the_rule_reads_them(times):
    def found(made):
        try:
            return parse([(1, 5, made(time)) for time in times], HOURS).histories.timestamps.tolist()
        except DataError as error:
            return str(error)

    assert found(int) == found(np.int64)


def test_user_without_any_value_is_positive_whatever_others_have():
    together = parse({"anna": [50, 27], "boris": [(56, 2), 57]}, STARS).histories.ratings
    np.testing.assert_array_equal(together, [4, 4, 2, np.nan])


SOURCE = {
    "user_id": [9, 2, 9],
    "item_id": [1, 2, 3],
    "rating": [5.0, 4.0, None],
    "rated_at": ["2024-03-02"] * 3,
}


@pytest.mark.parametrize(
    "made",
    [
        pa.table,
        pd.DataFrame,
        pl.DataFrame,
        pl.LazyFrame,
        dict,
        lambda source: pa.table(source).to_batches()[0],
        lambda source: pd.DataFrame(source).set_index("user_id"),
        lambda source: duckdb.from_arrow(pa.table(source)),
    ],
    ids=["arrow", "pandas", "polars", "lazy", "dict", "batch", "pandas index", "duckdb"],
)
def test_tables_of_every_library_are_read_alike(made):
    found = parse(made(SOURCE), STARS).histories
    assert found.user_ids.tolist() == [9, 2]
    assert found.items.tolist() == [1, 3, 2]
    np.testing.assert_array_equal(found.ratings, [5, np.nan, 4])
    assert found.timestamps.tolist() == [1709337600] * 3


def test_unread_column_of_mixed_objects_is_ignored():
    frame = pd.DataFrame({**SOURCE, "note": [object(), 1, "x"]})
    assert len(parse(frame, STARS)) == 2


def test_column_with_the_name_of_a_time_and_small_numbers_is_no_time():
    table = {"user_id": [1, 1], "item_id": [1, 2], "rating": [5, 4], "watch_time": [300.0, 20.0]}
    assert parse(table, STARS).histories.items.tolist() == [1, 2]
    both = {**SOURCE, "updated_at": SOURCE["rated_at"]}
    with pytest.raises(
        DataError, match=r"rated_at and updated_at could both be the time: columns=.*rated_at"
    ):
        parse(both, STARS)
    assert len(parse(both, STARS, how={"columns": {"timestamp": "rated_at"}})) == 2


ODD = {
    "reader": [1, 1, 1, None, 2],
    "book": ["3", "4", "nan", "5", "6"],
    "points": ["5", "x", "4", "9", "2"],
    "then": ["02.03.2024", None, "x", "04.03.2024", None],
}
ROLES = {"user_id": "reader", "item_id": 2, "rating": "points", "timestamp": "then"}


def test_table_is_read_as_stated():
    how = {"columns": ROLES, "bad_rows": "drop:60%", "out_of_range": "drop", "bad_times": "none"}
    found = parse(ODD, STARS, how=how)
    assert found.histories.user_ids.tolist() == [1, 2]
    assert (found.histories.items.tolist(), found.n_interactions.tolist()) == ([3, 6], [1, 1])
    assert found.notes == (
        "2 rows with another value than the model has are dropped",
        "2 rows without an id are dropped",
    )
    kept = parse(ODD, STARS, how={**how, "missing": "", "missing_times": "drop"})
    assert kept.histories.items.tolist() == [3]
    named = parse({"user": [1], "item": ["nan"], "rating": [4]}, STARS, how={"missing": ""})
    assert named.unknown == [["nan"]]
    years = {"user": [1, 1], "item": [4, 3], "date": [2015, 2014]}
    assert parse(years, TOUCHED, how={"time_format": "%Y"}).histories.items.tolist() == [3, 4]
    zeros = {"user": [1, 1], "item": [4, 3], "rating": [0, 4]}
    np.testing.assert_array_equal(parse(zeros, STARS, how={"unrated": 0}).histories.ratings, [np.nan, 4])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"columns": {"user_id": "reader", "item_id": "book"}}, r"row 4, column reader: None is no id"),
        (
            {"columns": ROLES, "bad_rows": "drop", "out_of_range": "drop"},
            r"40.0 % of rows are bad, more than 5 %",
        ),
        ({"columns": {"user_id": "nobody"}}, r"columns=.*nobody.*: no such column among reader, book"),
        ({"column": {}}, r"column: unknown setting. Expected columns"),
        ({"bad_rows": "skip"}, r"bad_rows: 'skip'. Expected drop"),
    ],
)
def test_table_that_is_not_as_stated_is_refused(how, message):
    with pytest.raises((DataError, SettingsError), match=message):
        parse(ODD, STARS, how=how)


def test_settings_of_a_table_without_a_table_are_refused():
    for one in ([(1, 5)], {"anna": [1]}):
        with pytest.raises(SettingsError, match=r"time_format: interactions are no table"):
            parse(one, STARS, how={"time_format": "%Y"})


def test_years_are_refused_with_the_setting_that_reads_them():
    with pytest.raises(DataError, match=r'read as 1970. Expected .*State time_format="%Y", or convert'):
        parse({"user": [1, 1], "item": [4, 3], "timestamp": [2015, 2014]}, TOUCHED)


def test_values_are_read_as_the_model_was_trained():
    assert parse([(3, 5), 4], TOUCHED).notes == (
        "values are ignored: the model was trained on implicit feedback",
    )
    assert rows([(3, 5), 4], TOUCHED) == [(3, 1), (4, 1)]
    assert rows([(3, None), (4, "view"), (5, "shown"), (6, 2.5)], SHOP)[1:] == [(4, 1), (6, 2.5)]
    hidden = parse([(5, "shown"), (6, "view")], SHOP)
    assert (hidden.n_interactions.tolist(), hidden.histories.items.tolist()) == ([1], [6])
    events = {"user_id": [1, 1, 1], "item_id": [3, 4, 5], "event": ["purchase", None, "wow"]}
    np.testing.assert_array_equal(parse(events, SHOP).histories.ratings, [3, np.nan, 2])
    with pytest.raises(
        DataError, match=r"interactions\[1\]: event 'sniff' has no weight. Expected one of view, purchase"
    ):
        parse([(3, "view"), (4, "sniff")], SHOP)
    unrated = ModelReading(CATALOG, ValueScale.explicit(1, 10), unrated=("0",))
    np.testing.assert_array_equal(parse([(3, 0), (4, 9)], unrated).histories.ratings, [np.nan, 9])


def test_normalized_ratings_depend_on_unknown_items():
    known = parse([(1, 5), (2, 3)], STARS).histories.normalized_ratings
    more = parse([(1, 5), (2, 3), ("new", 1)], STARS)
    assert more.histories.items.tolist() == [1, 2]
    assert not np.array_equal(more.histories.normalized_ratings, known)
    assert (more.n_interactions.tolist(), more.n_known.tolist(), more.unknown) == ([3], [2], [["new"]])


# ---- through the model ----


def test_unknown_items_are_counted_and_warned_of_or_refused(model):
    table = {"user_id": [1] * 5 + [2], "item_id": [1, 2, 901, 902, 903, 904], "rating": [5.0] * 6}
    with pytest.warns(
        TastevecWarning, match="interactions: 4 of 6 interactions are with an item that is not in"
    ):
        users = model.encode(table)
    assert (users.n_interactions.tolist(), users.n_known.tolist()) == ([5, 1], [2, 0])
    assert repr(users).endswith(", 1 without a known item)")
    np.testing.assert_allclose(users.of(2), model.encode([]), atol=1e-5)
    with pytest.warns(TastevecWarning, match="1 of 2 interactions are with an item"):
        listed = model.encode([(1, 5), (999, 1)])
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(model.encode([(1, 5), (999, 1)], unknown="ignore"), listed)
    for source, item in (([(1, 5), (999, 1)], "999"), (table, "'901'")):
        with pytest.raises(UnknownItemError, match=f"item {item} is not in the catalog"):
            model.recommend(source, unknown="raise")
    with pytest.raises(SettingsError, match=r"unknown: 'drop'. Expected warn, ignore, raise"):
        model.encode([1], unknown="drop")


def test_warning_names_the_line_of_the_caller(model):
    for ask in (model.encode, model.explain):
        with pytest.warns(TastevecWarning) as caught:
            ask([(1, 5), (999, 1)])
        assert [one.filename for one in caught] == [__file__]


def test_interactions_with_hardly_a_known_item_are_refused(model):
    nothing = {"user_id": [1] * 20, "item_id": [f"B{item}" for item in range(20)], "rating": [5.0] * 20}
    message = "none of the 20 interactions is with an item of the model. .* such as 'B0'.* unknown='ignore'"
    for ask in (model.encode, model.recommend, model.explain):
        with pytest.raises(DataError, match=message):
            ask(nothing)
    assert model.encode(nothing, unknown="ignore").n_known.tolist() == [0]
    with pytest.raises(DataError, match=r"4.0 % of the 25 interactions are with an item of the model"):
        model.encode([(item, 5) for item in (1, *range(900, 924))])


def test_nothing_is_a_user_without_a_history_or_no_user(model):
    assert model.encode([]).shape == (8,)
    empty = pa.table({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())})
    with warnings.catch_warnings(action="ignore"):
        for nothing in ({}, empty, {"user_id": [], "item_id": []}):
            users = model.encode(nothing)
            assert users.matrix.shape == (0, 8)
            assert users.to_arrow().num_rows == 0
            assert model.recommend(nothing).num_rows == 0
    assert len(model.encode({"anna": []})) == 1


def test_table_that_is_off_the_scale_is_refused_once(model):
    ratings = [5.0] * 23 + [9.0, 10.0]
    table = {"user_id": [1] * 25, "item_id": list(range(1, 26)), "rating": ratings}
    with pytest.raises(
        DataError, match=r"8.0 % of ratings are above the model's scale 0.5:5 \(highest: 10\)"
    ):
        model.encode(table)


def test_one_user_is_read_in_a_millisecond_and_a_table_in_five():
    """Measured: 0.2 and 1.5 ms; the limits here are for busy machines."""
    listed = [(item, 4, START + item) for item in range(50)]
    table = pa.table(
        dict(
            zip(
                ("user_id", "item_id", "rating", "timestamp"),
                zip(*[(1, *row) for row in listed], strict=True),
                strict=True,
            )
        )
    )

    def fastest(source):
        found = []
        for _ in range(20):
            began = time.perf_counter()
            parse(source, STARS)
            found.append(time.perf_counter() - began)
        return min(found)

    assert fastest(listed) < 0.005
    assert fastest(table) < 0.02
