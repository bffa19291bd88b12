import math

import duckdb
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
    """Return the interactions of these rows, joined with their catalog."""
    raw = source(rows)
    catalog = tables.build_catalog(raw.interactions, raw.items)
    numbered = catalog.mutate(item=catalog.item_id, kept=catalog.item_id.notin([-1, *without_vector]))
    return tables.join_catalog(raw.interactions, numbered)


def histories(rows, without_vector=(), order="time"):
    joined = known(rows, without_vector)
    return tables.histories(joined, tables.users(joined), order=order).to_pyarrow().to_pydict()


def test_ratings_are_normalized_between_lowest_and_highest():
    found = histories([Row(1, 1, 5), Row(1, 2, 3), Row(1, 3, 2), Row(2, 1, 1), Row(2, 2, 5)])
    assert found["normalized_ratings"] == [1.0, -0.25, -1.0, -1.0, 1.0]


def test_equal_ratings_are_normalized_to_zero():
    assert histories([Row(1, 1, 5), Row(1, 2, 5)])["normalized_ratings"] == [0, 0]


def test_deviations_below_threshold_are_normalized_to_zero():
    """Half a spread of 1.8e-5 is under 1e-5, half of one of 2.2e-5 is over it."""
    assert histories([Row(1, 1, 1.0), Row(1, 2, 1.000018)])["normalized_ratings"] == [0, 0]
    assert histories([Row(1, 1, 1.0), Row(1, 2, 1.000022)])["normalized_ratings"] == [-1, 1]


def test_normalization_includes_dropped_items():
    found = histories([Row(1, 1, 1), Row(1, 2, 3), Row(1, 3, 5)], without_vector=[3])
    assert found["items"] == [1, 2]
    assert found["normalized_ratings"] == [-1, 0]


def test_tag_only_interaction_has_no_rating_and_is_zero():
    found = histories([Row(1, 1, None), Row(1, 2, 1), Row(1, 3, 5)])
    assert found["ratings"] == [None, 1, 5]
    assert found["normalized_ratings"] == [0, -1, 1]


def test_user_with_tag_only_interactions_has_history():
    assert histories([Row(1, 1, None), Row(1, 2, None)])["normalized_ratings"] == [0, 0]


def test_histories_are_sorted_by_time_then_source_order():
    rows = [Row(1, 4, 3, 20), Row(1, 9, 3, 10), Row(1, 2, 3, 20), Row(1, 7, 3, 10)]
    assert histories(rows)["items"] == [9, 7, 4, 2]


def test_interactions_without_timestamp_come_first_in_source_order():
    rows = [Row(1, 4, 3, 20), Row(1, 9), Row(1, 2, 3, 10), Row(1, 7)]
    assert histories(rows)["items"] == [9, 7, 2, 4]
    assert histories(rows)["timestamps"] == [-1, -1, 10, 20]


def test_order_item_sorts_by_item_id():
    assert histories([Row(1, 4, 3, 1), Row(1, 9, 3, 2), Row(1, 2, 3, 3)], order="item")["items"] == [2, 4, 9]


def test_days_start_at_midnight_utc():
    rows = [Row(1, 1, 3, 86_399), Row(1, 2, 3, 86_400), Row(2, 1, 3, -1)]
    row = tables.users(known(rows)).order_by("user_id").to_pyarrow().to_pydict()
    assert (row["first_day"], row["last_day"]) == ([0, -1], [1, -1])


def test_users_table_counts_all_and_kept_interactions():
    rows = [Row(1, 1, 4, 5), Row(1, 2, 2), Row(1, 3, None, 6)]
    (user,) = tables.users(known(rows, without_vector=[2])).to_pyarrow().to_pylist()
    assert {name: user[name] for name in ("interactions", "ratings", "without_timestamp", "kept")} == {
        "interactions": 3,
        "ratings": 2,
        "without_timestamp": 1,
        "kept": 2,
    }
    assert (user["mean"], user["lowest"], user["highest"]) == (3, 2, 4)


def test_mean_does_not_depend_on_row_order():
    """Floats of 0.1 add up to other last digits in another order; decimals do not."""
    ratings = [0.1 * step for step in range(1, 31)] * 40
    rows = [Row(1, item, rating) for item, rating in enumerate(ratings)]
    (forth,) = tables.users(known(rows)).to_pyarrow()["mean"].to_pylist()
    (back,) = tables.users(known(rows[::-1])).to_pyarrow()["mean"].to_pylist()
    assert forth == back


def test_catalog_has_items_of_metadata_and_of_interactions():
    raw = source([Row(1, 30), Row(2, 10), Row(3, 30)], [(20, "B", 1990, ["x"]), (10, "A", None, [])])
    catalog = tables.build_catalog(raw.interactions, raw.items).to_pyarrow().to_pylist()
    assert catalog == [
        {"item_id": 10, "title": "A", "year": None, "genres": [], "described": True},
        {"item_id": 20, "title": "B", "year": 1990, "genres": ["x"], "described": True},
        {"item_id": 30, "title": "", "year": None, "genres": [], "described": False},
    ]


def test_connect_sets_memory_and_threads(tmp_path):
    connection = tables.connect("100MB", spill=tmp_path, threads=1)
    query = "SELECT current_setting('memory_limit'), current_setting('threads')"
    assert connection.raw_sql(query).fetchone() == ("95.3 MiB", 1)


def test_connection_installs_no_extension_from_the_network(tmp_path):
    connection = tables.connect(spill=tmp_path)
    with pytest.raises(duckdb.Error, match="httpfs"):
        connection.raw_sql("SELECT * FROM 'https://127.0.0.1:1/ratings.csv'")
    [value] = connection.raw_sql("SELECT current_setting('autoinstall_known_extensions')").fetchone()
    assert value is False


def test_connect_with_invalid_memory_is_refused():
    with pytest.raises(SettingsError, match=r"memory: 'plenty'\. Expected a size such as"):
        tables.connect("plenty")


def big(connection):
    """A connection with three million rows in no order: about 60 MB to sort."""
    connection.raw_sql("CREATE VIEW big AS SELECT hash(i) AS a, hash(i + 1) AS b FROM range(3000000) t(i)")
    return connection, ibis.table({"a": "uint64", "b": "uint64"}, name="big").order_by("a")


def test_large_data_spill_to_disk_and_are_removed(tmp_path):
    connection, table = big(tables.connect("50MB", spill=tmp_path, threads=1))
    connection.to_parquet(table, tmp_path / "sorted.parquet")
    assert any(tmp_path.glob(".tastevec-spill-*"))  # made when the first rows do not fit
    connection.disconnect()
    assert [file.name for file in tmp_path.iterdir()] == ["sorted.parquet"]


def test_full_disk_of_duckdb_is_a_settings_error(tmp_path):
    """A spill folder that cannot be made stands for a disk that is full."""
    (tmp_path / "file").touch()
    connection, table = big(tables.connect("50MB", spill=tmp_path / "file", threads=1))
    with (
        pytest.raises(SettingsError, match=r"no space left while sorting .*Raise --memory") as error,
        storage_errors("sorting"),
    ):
        connection.to_parquet(table, tmp_path / "sorted.parquet")
    assert "\n" not in str(error.value)


def test_full_file_system_is_a_settings_error():
    with (
        pytest.raises(SettingsError, match=r"No space left on device.*free disk space"),
        storage_errors("writing"),
    ):
        raise OSError(28, "No space left on device")


def test_other_os_errors_are_unchanged():
    with pytest.raises(PermissionError), storage_errors("writing"):
        raise PermissionError(13, "Permission denied")


def test_materialize_keeps_row_order_over_many_batches(tmp_path):
    rows = [Row(user, item, 3, 7) for user in range(400) for item in range(400)]
    table = source(rows).interactions
    batches = list(materialize(table.order_by(table.position.desc()), folder=tmp_path))
    assert len(batches) == 2
    positions = np.concatenate([batch["position"].to_numpy() for batch in batches])
    assert np.array_equal(positions, np.arange(160_000)[::-1])
    assert not any(tmp_path.iterdir())


def numbers(expression):
    return ibis.duckdb.connect().to_pyarrow(expression)


def test_split_timestamp_leaves_share_of_ratings_and_ignores_tags():
    rows = [Row(1, item, 3.0, 10 * item) for item in range(10)]
    rows += [Row(2, item, None, 1_000) for item in range(10)]
    assert 80 < find_split_timestamp(source(rows), ibis.duckdb.connect(), later_share=0.1) <= 90
    with pytest.raises(DataError, match="world: no rating has a timestamp"):
        find_split_timestamp(source(rows[10:]), ibis.duckdb.connect(), later_share=0.1)


@settings(max_examples=30)
@given(
    st.lists(st.integers(-200_000, 200_000) | st.integers(0, 4_000_000_000), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_split_timestamp_equals_quantile_of_all_timestamps(timestamps, later):
    rows = [Row(1, item, 3.0, time) for item, time in enumerate(timestamps)]
    raw = source(rows)
    quantile = numbers(raw.interactions["timestamp"].quantile(1 - later)).as_py()
    found = find_split_timestamp(raw, ibis.duckdb.connect(), later_share=later)
    # The rounding error of a double may move an integer quantile to the next second.
    nearest = round(quantile)
    expected = {nearest, nearest + 1} if abs(quantile - nearest) < 1e-6 else {math.ceil(quantile)}
    assert found in expected


def test_before_split_keeps_earlier_interactions_and_test_users():
    rows = [Row(user, item, 3.0, 10 * item or None) for user in (1, 2) for item in range(4)]
    raw = source(rows).interactions
    left = numbers(tables.before_split(raw, 20, test=raw.user_id == 2).order_by("position"))
    pairs = zip(left["user_id"].to_pylist(), left["item_id"].to_pylist(), strict=True)
    assert list(pairs) == [(1, 1), (2, 1), (2, 2), (2, 3)]
    assert numbers(tables.totals(raw)).to_pylist() == [
        {"interactions": 8, "ratings": 8, "without_timestamp": 2, "users": 2}
    ]


def test_positives_are_counted_as_float32():
    low = float(np.float32(0.1))  # a little more than 0.1 in 64 bits
    rows = [Row(1, 1, 4.0), Row(1, 2, 3.5), Row(1, 3, None), Row(2, 1, low)]
    rows = tables.join_catalog(
        source(rows).interactions,
        ibis.memtable(pa.table({"item_id": [1, 2, 3], "item": [0, 1, 2], "kept": [True] * 3})),
    )
    for positive_from, positives in ((3.875, [1, 0]), (0.1, [2, 1])):
        counted = numbers(tables.users(rows, positive_from=positive_from).order_by("user_id"))
        assert counted["positives"].to_pylist() == positives
    assert "positives" not in tables.users(rows).columns
