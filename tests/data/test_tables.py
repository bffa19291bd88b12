import math

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources import Row, source
from tastevec.data import expressions as tables
from tastevec.data.preprocess import find_split_timestamp
from tastevec.data.streaming import materialize, storage_errors
from tastevec.errors import DataError, SettingsError


def known(rows, without_vector=()):
    """The interactions of these rows joined to their catalogue, whose films are numbered by ascending id."""
    told = source(rows)
    catalog = tables.build_catalog(told.interactions, told.items)
    numbered = catalog.mutate(item=catalog.item_id, kept=catalog.item_id.notin([-1, *without_vector]))
    return tables.join_catalog(told.interactions, numbered)


def histories(rows, without_vector=(), order="time"):
    joined = known(rows, without_vector)
    return tables.histories(joined, tables.users(joined), order=order).to_pyarrow().to_pydict()


def test_a_rating_is_set_between_the_person_s_own_worst_and_best():
    told = histories([Row(1, 1, 5), Row(1, 2, 3), Row(1, 3, 2), Row(2, 1, 1), Row(2, 2, 5)])
    assert told["normalized_ratings"] == [1.0, -0.25, -1.0, -1.0, 1.0]


def test_who_always_says_the_same_says_nothing():
    assert histories([Row(1, 1, 5), Row(1, 2, 5)])["normalized_ratings"] == [0, 0]


def test_a_spread_under_the_note_s_threshold_says_nothing():
    """Half a spread of 1.8e-5 is under 1e-5, half of one of 2.2e-5 is over it."""
    assert histories([Row(1, 1, 1.0), Row(1, 2, 1.000018)])["normalized_ratings"] == [0, 0]
    assert histories([Row(1, 1, 1.0), Row(1, 2, 1.000022)])["normalized_ratings"] == [-1, 1]


def test_the_scale_is_of_all_that_was_rated_though_a_film_without_a_vector_is_dropped():
    told = histories([Row(1, 1, 1), Row(1, 2, 3), Row(1, 3, 5)], without_vector=[3])
    assert told["items"] == [1, 2]
    assert told["normalized_ratings"] == [-1, 0]


def test_a_film_that_was_only_tagged_has_no_rating_and_says_nothing():
    told = histories([Row(1, 1, None), Row(1, 2, 1), Row(1, 3, 5)])
    assert told["ratings"] == [None, 1, 5]
    assert told["normalized_ratings"] == [0, -1, 1]


def test_who_only_tagged_has_a_history_without_ratings():
    assert histories([Row(1, 1, None), Row(1, 2, None)])["normalized_ratings"] == [0, 0]


def test_a_history_is_oldest_first_and_within_a_second_in_the_order_of_the_source():
    rows = [Row(1, 4, 3, 20), Row(1, 9, 3, 10), Row(1, 2, 3, 20), Row(1, 7, 3, 10)]
    assert histories(rows)["items"] == [9, 7, 4, 2]


def test_what_has_no_time_comes_first_in_the_order_of_the_source():
    rows = [Row(1, 4, 3, 20), Row(1, 9), Row(1, 2, 3, 10), Row(1, 7)]
    assert histories(rows)["items"] == [9, 7, 2, 4]
    assert histories(rows)["timestamps"] == [-1, -1, 10, 20]


def test_the_note_s_order_is_by_film():
    assert histories([Row(1, 4, 3, 1), Row(1, 9, 3, 2), Row(1, 2, 3, 3)], order="item")["items"] == [2, 4, 9]


def test_a_day_begins_at_midnight_utc():
    rows = [Row(1, 1, 3, 86_399), Row(1, 2, 3, 86_400), Row(2, 1, 3, -1)]
    told = tables.users(known(rows)).order_by("user_id").to_pyarrow().to_pydict()
    assert (told["first_day"], told["last_day"]) == ([0, -1], [1, -1])


def test_a_person_s_row_counts_what_he_touched_and_what_of_it_is_kept():
    rows = [Row(1, 1, 4, 5), Row(1, 2, 2), Row(1, 3, None, 6)]
    (user,) = tables.users(known(rows, without_vector=[2])).to_pyarrow().to_pylist()
    assert {name: user[name] for name in ("interactions", "ratings", "without_timestamp", "kept")} == {
        "interactions": 3,
        "ratings": 2,
        "without_timestamp": 1,
        "kept": 2,
    }
    assert (user["mean"], user["lowest"], user["highest"]) == (3, 2, 4)


def test_the_mean_does_not_depend_on_the_order_of_the_sum():
    """Floats of 0.1 add up to other last digits in another order; decimals do not."""
    ratings = [0.1 * step for step in range(1, 31)] * 40
    rows = [Row(1, item, rating) for item, rating in enumerate(ratings)]
    (forth,) = tables.users(known(rows)).to_pyarrow()["mean"].to_pylist()
    (back,) = tables.users(known(rows[::-1])).to_pyarrow()["mean"].to_pylist()
    assert forth == back


def test_the_catalogue_holds_the_metadata_and_what_only_interactions_name():
    told = source([Row(1, 30), Row(2, 10), Row(3, 30)], [(20, "B", 1990, ["x"]), (10, "A", None, [])])
    catalog = tables.build_catalog(told.interactions, told.items).to_pyarrow().to_pylist()
    assert catalog == [
        {"item_id": 10, "title": "A", "year": None, "genres": [], "described": True},
        {"item_id": 20, "title": "B", "year": 1990, "genres": ["x"], "described": True},
        {"item_id": 30, "title": "", "year": None, "genres": [], "described": False},
    ]


def test_a_connection_keeps_to_its_memory_and_its_threads(tmp_path):
    connection = tables.connect("100MB", spill=tmp_path, threads=1)
    query = "SELECT current_setting('memory_limit'), current_setting('threads')"
    assert connection.raw_sql(query).fetchone() == ("95.3 MiB", 1)


def test_a_memory_that_is_no_size_is_refused():
    with pytest.raises(SettingsError, match=r"memory: 'plenty'\. Expected a size such as"):
        tables.connect("plenty")


def big(connection):
    """A connection with three million rows in no order: about 60 MB to sort."""
    connection.raw_sql("CREATE VIEW big AS SELECT hash(i) AS a, hash(i + 1) AS b FROM range(3000000) t(i)")
    return connection, ibis.table({"a": "uint64", "b": "uint64"}, name="big").order_by("a")


def test_what_does_not_fit_is_put_on_disk_and_taken_away_again(tmp_path):
    connection, table = big(tables.connect("50MB", spill=tmp_path, threads=1))
    connection.to_parquet(table, tmp_path / "sorted.parquet")
    assert any(tmp_path.glob(".tastevec-spill-*"))  # made when the first rows do not fit
    connection.disconnect()
    assert [file.name for file in tmp_path.iterdir()] == ["sorted.parquet"]


def test_a_full_disk_is_one_sentence(tmp_path):
    """A spill folder that cannot be made stands for a disk that is full."""
    (tmp_path / "file").touch()
    connection, table = big(tables.connect("50MB", spill=tmp_path / "file", threads=1))
    with (
        pytest.raises(SettingsError, match=r"no space left while sorting .*Raise --memory") as told,
        storage_errors("sorting"),
    ):
        connection.to_parquet(table, tmp_path / "sorted.parquet")
    assert "\n" not in str(told.value)


def test_a_file_system_without_room_is_the_same_sentence():
    with (
        pytest.raises(SettingsError, match=r"No space left on device.*free disk space"),
        storage_errors("writing"),
    ):
        raise OSError(28, "No space left on device")


def test_other_errors_of_the_file_system_stay_what_they_are():
    with pytest.raises(PermissionError), storage_errors("writing"):
        raise PermissionError(13, "Permission denied")


def test_spooled_rows_keep_their_order_over_many_batches(tmp_path):
    rows = [Row(user, item, 3, 7) for user in range(400) for item in range(400)]
    table = source(rows).interactions
    batches = list(materialize(table.order_by(table.position.desc()), folder=tmp_path))
    assert len(batches) == 2
    positions = np.concatenate([batch["position"].to_numpy() for batch in batches])
    assert np.array_equal(positions, np.arange(160_000)[::-1])
    assert not any(tmp_path.iterdir())


def numbers(expression):
    return ibis.duckdb.connect().to_pyarrow(expression)


def test_the_cut_leaves_a_share_of_the_ratings_at_or_after_it_and_tags_do_not_move_it():
    rows = [Row(1, item, 3.0, 10 * item) for item in range(10)]
    rows += [Row(2, item, None, 1_000) for item in range(10)]
    assert 80 < find_split_timestamp(source(rows), ibis.duckdb.connect(), later_share=0.1) <= 90
    with pytest.raises(DataError, match="told: no rating has a timestamp"):
        find_split_timestamp(source(rows[10:]), ibis.duckdb.connect(), later_share=0.1)


@settings(max_examples=30)
@given(
    st.lists(st.integers(-200_000, 200_000) | st.integers(0, 4_000_000_000), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_the_cut_is_the_quantile_of_all_times_though_only_one_day_is_ever_looked_at_closely(
    timestamps, later
):
    rows = [Row(1, item, 3.0, time) for item, time in enumerate(timestamps)]
    told = source(rows)
    quantile = numbers(told.interactions["timestamp"].quantile(1 - later)).as_py()
    found = find_split_timestamp(told, ibis.duckdb.connect(), later_share=later)
    # The rounding error of a double may move an integer quantile to the next second.
    nearest = round(quantile)
    expected = {nearest, nearest + 1} if abs(quantile - nearest) < 1e-6 else {math.ceil(quantile)}
    assert found in expected


def test_until_the_cut_there_is_what_came_before_it_and_all_of_the_spared():
    rows = [Row(user, item, 3.0, 10 * item or None) for user in (1, 2) for item in range(4)]
    told = source(rows).interactions
    left = numbers(tables.before_split(told, 20, test=told.user_id == 2).order_by("position"))
    pairs = zip(left["user_id"].to_pylist(), left["item_id"].to_pylist(), strict=True)
    assert list(pairs) == [(1, 1), (2, 1), (2, 2), (2, 3)]
    assert numbers(tables.totals(told)).to_pylist() == [
        {"interactions": 8, "ratings": 8, "without_timestamp": 2, "users": 2}
    ]


def test_likes_are_counted_from_the_rating_given_as_the_histories_will_show_them():
    low = float(np.float32(0.1))  # a little more than 0.1 in 64 bits
    rows = [Row(1, 1, 4.0), Row(1, 2, 3.5), Row(1, 3, None), Row(2, 1, low)]
    told = tables.join_catalog(
        source(rows).interactions,
        ibis.memtable(pa.table({"item_id": [1, 2, 3], "item": [0, 1, 2], "kept": [True] * 3})),
    )
    for positive_from, positives in ((3.875, [1, 0]), (0.1, [2, 1])):
        counted = numbers(tables.users(told, positive_from=positive_from).order_by("user_id"))
        assert counted["positives"].to_pylist() == positives
    assert "positives" not in tables.users(told).columns
