"""Kinds of feedback: which one a table has, what is positive in it, and what stops or warns."""

from __future__ import annotations

import re

import numpy as np
import pytest

import crowds
import tastevec
from crowds import added, changed, crowd, read, real, stars, times
from tastevec.errors import DataError, SettingsError


def zeros(row: int) -> int:
    """Return 0 in 62 % of the rows, and 1 to 10 in the others."""
    return 0 if row % 50 < 31 else 1 + row % 10


# Without a value


@pytest.mark.slow
def test_fit_of_users_and_items_alone_trains_as_implicit(tmp_path):
    """Case 1."""
    newest = []

    tastevec.fit(
        crowds.write(tmp_path / "clicks.csv", crowd()),
        epochs=1,
        hidden_size=8,
        dim=8,
        layers=1,
        heads=1,
        report_to="none",
        progress=lambda _done, _total, text: newest.append(text),
    )

    losses = [float(text.rpartition(" ")[2]) for text in newest if text.startswith("Training: loss")]
    assert losses
    assert min(losses) > 0


def test_users_and_items_alone_are_implicit_and_every_row_is_positive():
    """Case 1: read."""
    found = read(crowd())

    assert found.scale.kind == "implicit"
    assert crowds.positives(found) == 320
    assert crowds.codes(found) == []


def test_one_rating_in_all_rows_counts_as_implicit_with_a_warning():
    """Case 2."""
    found = read(crowd(rating=lambda _row: 1))

    assert found.scale.kind == "implicit"
    assert "rating is 1 in all 320 rows: each counts as one positive" in str(found.report)
    assert crowds.codes(found) == ["constant-rating"]


def test_one_rating_on_a_stated_scale_is_refused_where_it_is_not_positive():
    """Case 3."""
    with pytest.raises(DataError) as caught:
        read(crowd(rating=lambda _row: 1), rating_range="1:5")

    assert (
        "no rating reaches 4, from where 1:5 is positive (highest: 1); state --rating-range, --positive-from or "
        "--feedback implicit" in str(caught.value)
    )


@pytest.mark.parametrize(
    ("values", "scale", "positive_from"),
    [
        (range(1, 11), "1:10", 7.75),
        (range(11), "0:10", 7.5),
        ([0.55, 0.7, 0.76, 0.9, 1.0], "0:1", 0.75),
    ],
)
def test_ratings_have_the_tightest_scale_that_holds_them(values, scale, positive_from):
    """Case 4."""
    found = read(crowd(rating=lambda row: values[row % len(values)]))

    assert f"{found.scale.low:g}:{found.scale.high:g}" == scale
    assert found.scale.positive_from == positive_from
    assert crowds.codes(found) == ["inferred-scale"]
    assert f"scale {scale}, inferred (--rating-range)" in str(found.report)


@pytest.mark.parametrize("bad", [0, -1])
def test_two_ratings_are_a_scale_with_one_positive(bad):
    """Case 5."""
    found = read(crowd(rating=lambda row: 1 if row % 3 else bad))

    assert (found.scale.kind, found.scale.low, found.scale.high) == ("explicit", bad, 1)
    assert found.scale.positive([bad, 1]).tolist() == [False, True]
    assert found.scale.share(np.array([bad]))[0] == 0


def test_a_zero_that_may_mean_not_rated_is_refused(tmp_path):
    """Case 6."""
    path = crowds.write(tmp_path / "books.csv", crowd(15, rating=zeros), delimiter=";")

    with pytest.raises(DataError) as caught:
        read(path)

    assert caught.value.code == "unrated-value"
    assert (
        "rating is 0 in 62.0 % of the rows and 1 to 10 in the others: --unrated 0 if it means not rated, "
        "--rating-range 0:10 if it is the worst" in str(caught.value)
    )


def test_unrated_values_are_touched_and_stay_in_the_history(tmp_path):
    """Case 7."""
    path = crowds.write(tmp_path / "books.csv", crowd(15, rating=zeros), delimiter=";")

    found = read(path, unrated="0")

    assert (found.scale.low, found.scale.high) == (1, 10)
    values = [row["rating"] for row in crowds.rows(found)]
    assert len(values) == 300
    assert values.count(None) == 186
    assert crowds.positives(found) == sum(zeros(row) >= 8 for row in range(300))
    assert "186 rows without a value" in str(found.report)


def test_a_99_above_the_scale_is_refused_and_can_mean_not_rated():
    """Case 8."""
    table = crowd(15, rating=lambda row: 99 if row % 10 < 3 else row % 21 - 10)

    with pytest.raises(DataError, match=r"rating is 99 in 30\.0 % of the rows and -10 to 10 in the others"):
        read(table)

    found = read(table, unrated=99)
    assert (found.scale.low, found.scale.high, found.scale.positive_from) == (-10, 10, 5)


def test_counts_under_the_name_of_ratings_are_refused():
    """Case 9."""
    expected = (
        "rating goes from 1 to 69,319, which is no scale: --feedback weighted if it counts, or --rating-range"
    )
    table = crowd(rating=lambda row: 69_319 if row == 7 else 1 + 200 * row)
    with pytest.raises(DataError, match=expected):
        read(table)

    assert read(table, feedback="weighted").scale.kind == "weighted"


def test_small_counts_of_a_falling_shape_are_refused_and_may_be_accepted():
    """Case 9: within 100."""
    table = crowd(rating=lambda row: 1 if row % 2 else 1 + row % 60)
    with pytest.raises(DataError, match="which is no scale") as caught:
        read(table)
    assert caught.value.code == "no-scale"

    found = read(table, accept="no-scale", positive_from=50)
    assert found.scale.high == 100
    assert "no-scale" in crowds.codes(found)


def test_a_stated_scale_with_an_empty_upper_half_is_refused():
    """Case 10."""
    with pytest.raises(DataError, match=r"no rating lies in the upper half of 0:100 \(highest: 5\)"):
        read(crowd(rating=stars), rating_range="0:100")


def test_ratings_that_are_never_positive_are_refused():
    """Case 11."""
    expected = r"no rating reaches 4, from where 1:5 is positive \(highest: 3\); state --rating-range, --positive-from or"
    with pytest.raises(DataError, match=expected):
        read(crowd(rating=lambda row: 1 + row % 3))


# Weights


def test_hours_are_weights_and_a_threshold_is_stated():
    """Case 12."""
    table = crowd(hours=lambda row: 0.5 * (1 + row % 8))

    found = read(table)

    assert (found.scale.kind, found.scale.positive_from) == ("weighted", 0.5)
    assert crowds.positives(found) == 320
    assert "(--positive-from)" in str(found.report)
    assert crowds.positives(read(table, positive_from=2)) == 200


@pytest.mark.slow
def test_real_hours_are_weights():
    """Case 12: Steam."""
    path = real("steam", "plays.csv")
    for stated, positives in ({}, 70_477), ({"positive_from": 2}, 45_533):
        report = str(tastevec.inspect(path, **stated))
        assert f">= {stated.get('positive_from', 0.1)}: {positives:,}" in report
        assert "12 repeats, summed: 70,477 interactions" in report


def test_a_weight_of_zero_is_touched_and_counted():
    """Case 13."""
    found = read(changed(crowd(hours=lambda row: 1 + row % 8), "hours", {3: 0}))

    assert crowds.positives(found) == 319
    assert found.scale.share(np.array([0.0]))[0] == 0.5
    assert "1 row is 0 or below: touched, not positive" in str(found.report)


def test_quantities_of_a_pair_are_added_and_a_sum_below_zero_is_negative():
    """Case 14."""
    table = crowd(quantity=lambda row: 1 + row % 4)
    user, item = table["user_id"][0], table["item_id"][0]
    first = table["quantity"][0]

    even = read(added(table, (user, item, -first)))
    below = read(added(table, (user, item, -first - 3)))

    assert crowds.value(even, user, item)["rating"] == 0
    assert crowds.value(below, user, item)["rating"] == -3
    assert below.scale.share(np.array([-3.0, 0.0])).tolist() == [0.0, 0.5]


# Events


def events(row: int) -> str:
    return ("view", "view", "view", "add_to_cart", "purchase")[row % 5]


def sorted_events():
    """Return events of users whose items ascend, as of a file that was sorted."""
    table = crowd(event=events)
    pairs = sorted(zip(*table.values(), strict=True))
    return dict(zip(table, map(list, zip(*pairs, strict=True)), strict=True))


def test_a_file_sorted_by_value_has_no_order():
    """A file whose rows descend by hours inside each user says nothing about time: its last item is the least played."""
    rows = [(user, (7 * user + 23 * place) % 50, 40 - place) for user in range(12) for place in range(10)]
    users, items, hours = zip(*rows, strict=True)
    found = read({"user_id": list(users), "item_id": list(items), "hours": list(hours)})
    assert found.order == "none"
    assert "values descend in 100 % of steps that change them" in str(found.report)


def test_events_of_a_sorted_file_have_weights_and_no_order():
    """Case 15."""
    found = read(sorted_events())

    assert (found.scale.kind, found.order) == ("events", "none")
    assert "view 192 = 1, add_to_cart 64 = 2, purchase 64 = 3 (--event)" in str(found.report)
    assert crowds.codes(found) == ["sorted-file"]
    assert (
        "no times, and ids ascend in 100 % of steps: the file is sorted, its order says nothing (order none)"
        in str(found.report)
    )


@pytest.mark.slow
def test_real_events_have_weights_and_no_order():
    """Cases 15 and 16: Retailrocket."""
    path = real("retailrocket", "events.csv")

    report = str(tastevec.inspect(path))
    assert "12,892 repeats, the strongest event of a pair counts: 79,595 interactions" in report
    assert re.search(r"ids ascend in 97[.]\d % of steps", report)
    assert ">= 3: 5,088 (6.4 %), of 824 of 3,431 users" in str(tastevec.inspect(path, positive_from=3))


def test_a_threshold_makes_purchases_alone_positive():
    """Case 16."""
    found = read(crowd(event=events), positive_from=3)

    assert crowds.positives(found) == 64
    assert "event >= 3: 64 (20.0 %), of 20 of 20 users (--positive-from)" in str(found.report)


def test_an_event_without_a_weight_is_refused_with_all_events():
    """Case 17."""
    table = crowd(event=lambda row: "wow" if row < 12 else events(row))

    with pytest.raises(DataError) as caught:
        read(table)
    assert "event wow (12 rows) has no weight: --event wow=1, or wow=drop" in str(caught.value)
    assert "view 18" in str(caught.value)

    assert crowds.positives(read(table, event=["wow=2"])) == 320
    assert len(crowds.rows(read(table, event={"wow": None}))) == 308


def test_a_dislike_after_a_view_counts_and_is_negative():
    """Case 18."""
    table = crowd(event=events)
    user, item = table["user_id"][0], table["item_id"][0]

    found = read(added(table, (user, item, "dislike")))

    assert crowds.value(found, user, item)["rating"] == -1
    assert found.scale.share(np.array([-1.0]))[0] == 0


def test_impressions_are_dropped_and_counted():
    """Case 19."""
    found = read(crowd(event=lambda row: "impression" if row % 4 == 0 else events(row)))

    assert len(crowds.rows(found)) == 240
    assert found.row_reports[0].skipped == {"dropped event": 80}
    assert "impression 80 dropped" in str(found.report)


# Columns that nobody named


def test_an_unused_column_of_numbers_is_refused():
    """Case 20."""
    table = {
        "reader": crowd()["user_id"],
        "book_id": crowd()["item_id"],
        "points": [1 + row % 10 for row in range(320)],
    }

    with pytest.raises(DataError) as caught:
        read(table)
    assert caught.value.code == "unused-number"
    assert (
        "column points holds 10 numbers from 1 to 10 and is not used: --column rating=points, or --feedback implicit"
        in str(caught.value)
    )

    assert read(table, columns={"rating": "points"}).scale.high == 10
    assert read(table, feedback="implicit").scale.kind == "implicit"


def test_a_column_whose_name_has_blanks_is_stated_by_its_number():
    """Case 20: a name that a shell divides."""
    table = {**crowd(), "Points (of 10)": [1 + row % 10 for row in range(320)]}

    with pytest.raises(DataError, match=r"column Points [(]of 10[)] holds .*: --column rating=3, or"):
        read(table)
    assert read(table, column="rating=3").scale.high == 10


def test_an_unused_column_of_events_is_refused():
    """Case 20: events."""
    with pytest.raises(DataError, match=r"column what holds events .* and is not used: --column event=what"):
        read(crowd(what=events))


def test_an_unused_column_of_true_and_false_is_refused():
    """Case 20: booleans."""
    with pytest.raises(
        DataError, match="column seen holds true and false and is not used: export it as 1 and 0"
    ):
        read(crowd(seen=lambda row: row % 3 == 0))


def test_a_rating_counts_where_an_event_is_there_too():
    """Case 21."""
    found = read(crowd(rating=stars, event=events))

    assert found.scale.kind == "explicit"
    assert crowds.lines(found)["event"] == "ignored a rating is there (--feedback events)"
    assert read(crowd(rating=stars, event=events), feedback="events").scale.kind == "events"


def test_users_of_one_row_each_are_refused():
    """Case 22."""
    with pytest.raises(DataError, match="0 users have 2 interactions; expected 2 users or more"):
        read(crowd(1))


def test_many_users_of_one_row_are_warned_of():
    """Case 22: some."""
    found = read(added(crowd(2), *((user, 1) for user in range(100, 115))))

    assert crowds.codes(found) == ["users-lost"]
    assert "15 of 35 users (42.9 %) have 1 interaction and are dropped; 20 stay" in str(found.report)


# Repeats


@pytest.mark.parametrize("timed", [True, False])
def test_the_latest_rating_of_a_pair_counts(timed):
    """Cases 23 and 24."""
    table = crowd(rating=stars, **({"timestamp": times} if timed else {}))
    table = changed(table, "rating", {0: 1})
    user, item = table["user_id"][0], table["item_id"][0]

    found = read(added(table, (user, item, 5, 1_700_000_000)[: len(table)]))

    assert crowds.value(found, user, item) == {"rating": 5, "timestamp": 1_700_000_000 if timed else None}
    assert "1 repeat, the latest counts" in str(found.report)


def test_an_earlier_row_at_the_end_of_the_file_does_not_count():
    """Case 23: by time, not by row."""
    table = changed(crowd(rating=stars, timestamp=times), "rating", {0: 1})
    user, item = table["user_id"][0], table["item_id"][0]

    assert crowds.value(read(added(table, (user, item, 5, 1_500_000_000))), user, item)["rating"] == 1


def test_an_implicit_pair_counts_each_time_and_is_one_row_at_its_latest_time():
    """Case 25."""
    table = crowd(timestamp=times)
    user, item = table["user_id"][0], table["item_id"][0]

    found = read(added(table, (user, item, 1_700_000_050), (user, item, 1_700_000_000)))

    assert crowds.value(found, user, item) == {"rating": 3, "timestamp": 1_700_000_050}
    assert len(crowds.rows(found)) == 320


def test_a_row_delivered_twice_counts_once():
    """Case 26."""
    table = crowd(hours=lambda row: 1 + row % 8, timestamp=times)
    first = tuple(column[0] for column in table.values())

    found = read(added(table, first))

    assert crowds.value(found, first[0], first[1])["rating"] == first[2]
    assert "1 identical row" in crowds.lines(found)["repeats"]


def test_hours_of_a_pair_are_added():
    """Case 27."""
    table = changed(crowd(hours=lambda row: 1 + row % 8), "hours", {0: 1.9})
    user, item = table["user_id"][0], table["item_id"][0]

    assert crowds.value(read(added(table, (user, item, 0.2))), user, item)["rating"] == pytest.approx(2.1)


def test_kept_repeats_stay_in_their_order():
    """Case 28: read."""
    table = crowd(hours=lambda row: 1 + row % 8, timestamp=times)
    user, item, hours, time = (column[0] for column in table.values())
    before = crowds.history(read(table), user)

    found = read(
        added(table, (user, item, 3, time + 100), (user, item, 3, time + 200), (user, item, hours, time)),
        repeats="keep",
    )

    assert crowds.history(found, user) == [item, before[1], item, before[2], item, *before[3:]]
    assert found.feedback["repeats"] == "keep"
    assert (
        crowds.lines(found)["repeats"].strip()
        == "1 identical row, 2 repeats, all stay in the history, overall reads each item once: 322 interactions"
    )


def test_kept_rows_of_a_sorted_day_are_drawn_by_a_hash_and_stay_in_the_order_of_the_file():
    """Cases 28 and 50."""
    table = crowd(hours=lambda row: 1 + row % 8, timestamp=lambda _row: 1_600_000_000)
    pairs = sorted(zip(*table.values(), strict=True))
    rows = [(user, item, hours + step, time) for user, item, hours, time in pairs for step in (0, 20, 10)]

    found = read(dict(zip(table, map(list, zip(*rows, strict=True)), strict=True)), repeats="keep")

    own = found.interactions.filter(found.interactions.user_id == 3).order_by("position")
    drawn = [(row["item_id"], row["rating"]) for row in own.to_pyarrow().to_pylist()]
    assert "are drawn by a hash" in str(found.report)
    assert [item for item, _ in drawn] != sorted(item for item, _ in drawn)
    for item in {item for item, _ in drawn}:
        assert [one for one in drawn if one[0] == item] == [row[1:3] for row in rows if row[:2] == (3, item)]


def test_ratings_are_not_added_up():
    with pytest.raises(SettingsError, match=r"cannot be added up\. Expected latest, strongest or keep"):
        read(crowd(rating=stars), repeats="sum")


# Warnings and stops


def test_strict_makes_a_warning_a_stop_and_accept_lets_it_pass():
    table = crowd(rating=stars)

    with pytest.raises(DataError, match="inferred") as caught:
        read(table, strict=True)
    assert caught.value.code == "inferred-scale"

    assert crowds.codes(read(table, strict=True, accept="inferred-scale")) == ["inferred-scale"]


def test_an_accepted_stop_is_a_warning():
    found = read(crowd(points=lambda row: 1 + row % 10), accept=["unused-number"])

    assert crowds.codes(found) == ["unused-number"]
    assert found.scale.kind == "implicit"


def test_few_positives_are_refused_and_may_be_accepted():
    table = crowd(rating=lambda row: 5 if row in {3, 90} else 1 + row % 3)

    with pytest.raises(DataError, match=r"0\.6 % of ratings reach 4") as caught:
        read(table)
    assert caught.value.code == "few-positives"
    assert "few-positives" in crowds.codes(read(table, accept="few-positives"))


def test_ratings_that_are_nearly_all_positive_are_warned_of():
    assert "all-positive" in crowds.codes(read(crowd(rating=lambda row: 2 if row == 3 else 5)))


def test_ratings_outside_a_stated_scale_are_refused_or_dropped():
    table = changed(crowd(rating=stars), "rating", {3: 9, 5: 7})

    with pytest.raises(DataError, match=r"0.6 % of ratings are above the scale 1:5 \(highest: 9\)"):
        read(table, rating_range="1:5", bad_rows="drop")

    found = read(table, rating_range="1:5", out_of_range="drop")
    assert found.row_reports[0].skipped == {"out of range": 2}


def test_unknown_settings_name_the_nearest():
    with pytest.raises(SettingsError, match=r"positive_fron: unknown setting\. Expected positive_from"):
        tastevec.inspect(crowd(), positive_fron=3)
