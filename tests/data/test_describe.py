"""A prepared folder described: the numbers are those that the eye counts, the page stands alone."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data import describe as summary
from tastevec.data.describe import describe, summarize
from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.html import Chart
from tastevec.data.prepared import Prepared
from tastevec.data.value_scale import HALF_STARS, ValueScale
from tastevec.errors import FormatError, MissingExtraError
from tastevec.schema import DESCRIPTION_FILE, PAGE_FILE

DAY = 86_400
FULL_STARS = ValueScale.explicit(1.0, 5.0)
NAN = float("nan")


def _prepared(ratings, timestamps=None, *, items=None, genres=None, vectors=None, scale=FULL_STARS):
    """Return a dataset of one list of (item, rating) per user; item i of 4 has the genres of row i."""
    rows = [row for user in ratings for row in user]
    offsets = np.concatenate([[0], np.cumsum([len(user) for user in ratings])]).astype(np.int64)
    genres = [["Drama"], ["Drama", "War"], ["Comedy"], []] if genres is None else genres
    histories = Histories(
        user_ids=np.arange(len(ratings)),
        offsets=offsets,
        items=np.array([item for item, _ in rows], np.int32),
        ratings=np.array([rating for _, rating in rows], np.float32),
        normalized_ratings=np.zeros(len(rows), np.float32),
        timestamps=np.array([NO_TIMESTAMP] * len(rows) if timestamps is None else timestamps, np.int64),
    )
    return Prepared(
        folder=Path("nowhere"),
        manifest={"source": {"name": "tiny <world>"}},
        items=pa.table(
            {
                "item_id": items or list(range(len(genres))),
                "genres": pa.array(genres, pa.list_(pa.string())),
            }
        ),
        user_ids=histories.user_ids,
        splits=np.zeros(len(ratings), np.uint8),
        histories=histories,
        vectors=vectors or {},
        scale=scale,
    )


# Ann means 4, Bob 2, and Cid only tagged.
RATINGS = [[(0, 5), (1, 4), (2, 3)], [(0, 2), (1, NAN)], [(2, NAN)]]
TIMES = [0, DAY, 2 * DAY, 10 * DAY, NO_TIMESTAMP, 60 * DAY - 1]


def test_totals_tell_ratings_from_mere_tags():
    totals = summarize(_prepared(RATINGS))["totals"]
    assert totals == {
        "users": 3,
        "items": 4,
        "items_with_interactions": 3,
        "interactions": 6,
        "ratings": 4,
        "tag_only": 2,
        "density": 0.5,
    }


def test_user_means_weigh_users_not_ratings():
    means = summarize(_prepared(RATINGS))["user_means"]
    assert (means["users"], means["mean_of_means"], means["deviation"], means["share_above"]) == (
        2,
        3.0,
        1.0,
        0.5,
    )
    assert (means["quantiles"][0], means["quantiles"][-1]) == (2.0, 4.0)


def test_ratings_are_counted_by_value_and_positive_from_four_stars():
    ratings = summarize(_prepared(RATINGS))["ratings"]
    assert (ratings["values"], ratings["counts"]) == ([2, 3, 4, 5], [1, 1, 1, 1])
    assert (ratings["mean"], ratings["positive_from"], ratings["share_positive"]) == (3.5, 4.0, 0.5)


def test_half_star_ratings_have_exact_values():
    halves = [0.5 + 0.5 * step for step in range(10)]
    world = _prepared([[(0, value) for value in halves]], scale=HALF_STARS)
    assert summarize(world)["ratings"]["values"] == halves


def test_continuous_scale_has_twenty_bars():
    values = np.linspace(0, 100, 500)
    ratings = summarize(_prepared([[(0, value) for value in values]], scale=ValueScale.explicit(0, 100)))[
        "ratings"
    ]
    assert len(ratings["values"]) == 20
    assert sum(ratings["counts"]) == 500
    assert min(ratings["counts"]) > 20


def test_history_lengths_count_users():
    lengths = summarize(_prepared(RATINGS))["history_lengths"]
    assert (lengths["mean"], lengths["median"], lengths["longest"]) == (2.0, 2.0, 3)
    assert sum(lengths["counts"]) == 3


def test_genres_count_an_item_for_each_of_its_genres():
    genres = {genre.pop("genre"): genre for genre in summarize(_prepared(RATINGS))["genres"]}
    assert list(genres) == ["Drama", "Comedy", "War"]
    assert genres["Drama"] == {
        "items": 2,
        "share_of_items": 0.5,
        "share_of_interactions": 4 / 6,
        "mean_rating": pytest.approx(11 / 3),
    }
    assert genres["War"]["share_of_interactions"] == pytest.approx(2 / 6)


def test_activity_counts_timestamps_in_equal_periods():
    activity = summarize(_prepared(RATINGS, TIMES))["activity"]
    assert (activity["first"], activity["last"], activity["known"]) == ("1970-01-01", "1970-03-01", 5)
    assert activity["period_days"] == pytest.approx(1)
    assert (activity["counts"][:3], activity["counts"][10], activity["counts"][-1]) == ([1, 1, 1], 1, 1)


def test_activity_of_a_single_timestamp_has_a_period():
    activity = summarize(_prepared([[(0, 3)]], [100]))["activity"]
    assert sum(activity["counts"]) == 1


def test_coverage_counts_items_and_interactions():
    with_vector = np.zeros((4, 64), np.float32)
    with_vector[0] = 1
    vectors = {"content": np.ones((4, 64), np.float32), "genome-svd": with_vector}
    svd, content = summarize(_prepared(RATINGS, vectors=vectors))["coverage"]
    assert svd == {
        "vectors": "genome-svd",
        "items": 1,
        "share_of_items": 0.25,
        "share_of_interactions": pytest.approx(2 / 6),
    }
    assert content["share_of_interactions"] == 1


@given(
    users=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1.0, 2.5, 5.0, NAN])), max_size=6), max_size=6
    ),
    rows=st.integers(1, 5),
)
def test_summarize_does_not_depend_on_block_size(users, rows):
    timestamps = [7 * step for step in range(sum(map(len, users)))]
    world = _prepared(users, timestamps)
    expected = summarize(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "_ROWS", rows)
        assert summarize(world) == expected


def test_page_is_self_contained_and_each_chart_has_a_caption(tmp_path):
    vectors = {"genome-svd": np.eye(4, 64, dtype=np.float32), "content": np.ones((4, 64), np.float32)}
    description = describe(_prepared(RATINGS, TIMES, vectors=vectors), tmp_path / "out")
    page = (tmp_path / "out" / PAGE_FILE).read_text()
    assert list(description["captions"]) == [
        "user-means",
        "ratings",
        "history-lengths",
        "genres",
        "activity",
        "coverage",
    ]
    assert page.count("<figure") == page.count("data:image/svg+xml") == page.count("<figcaption>") == 6
    assert "http" not in page
    assert "Dataset tiny &lt;world&gt;" in page
    assert "mean of the means is 3.00" in description["captions"]["user-means"]
    assert "50% are positive, 4 or more" in description["captions"]["ratings"]
    assert "no tag genome" not in description["captions"]["coverage"]


def test_describe_returns_content_of_json_file(tmp_path):
    description = describe(_prepared(RATINGS, TIMES), tmp_path / "out")
    assert json.loads((tmp_path / "out" / DESCRIPTION_FILE).read_text()) == description
    assert description["format"] == 1


def test_describe_twice_replaces_page_with_equal_bytes(tmp_path):
    describe(_prepared(RATINGS, TIMES), tmp_path / "one")
    first = (tmp_path / "one" / PAGE_FILE).read_bytes()
    describe(_prepared(RATINGS, TIMES), tmp_path / "one")
    assert (tmp_path / "one" / PAGE_FILE).read_bytes() == first


def test_charts_without_data_are_omitted(tmp_path):
    bare = describe(_prepared(RATINGS, genres=[[], [], [], []]), tmp_path / "bare")
    assert list(bare["captions"]) == ["user-means", "ratings", "history-lengths"]


def test_users_with_tag_only_interactions_have_no_mean(tmp_path):
    description = describe(_prepared([[(0, NAN)], [(1, NAN)]]), tmp_path / "tags")
    assert list(description["captions"]) == ["history-lengths", "genres"]
    assert description["user_means"]["mean_of_means"] is None


def test_describe_dataset_without_users_succeeds(tmp_path):
    description = describe(_prepared([]), tmp_path / "empty")
    assert description["totals"]["users"] == 0
    assert list(description["captions"]) == ["genres"]


def test_coverage_caption_without_genome_says_so(tmp_path):
    description = describe(
        _prepared(RATINGS, vectors={"content": np.ones((4, 8), np.float32)}), tmp_path / "out"
    )
    assert "no tag genome" in description["captions"]["coverage"]


def test_describe_into_other_folder_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FormatError, match=r"no description\.json"):
        describe(_prepared(RATINGS), tmp_path)


def test_describe_without_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[describe\]'"):
        describe(_prepared(RATINGS), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_chart_in_notebook_has_caption():
    shown = Chart("stars", "Stars", "Most give <four>.", b"<svg/>")._repr_mimebundle_(
        include=None, exclude=None
    )
    assert shown["image/svg+xml"] == "<svg/>"
    assert shown["text/plain"] == "Most give <four>."
    assert "<figcaption>Most give &lt;four&gt;.</figcaption>" in shown["text/html"]
