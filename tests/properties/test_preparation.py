import hashlib
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sources import Row, interactions, prepare, source
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.preprocess import PreprocessSettings
from tastevec.data.streaming import iter_histories
from tastevec.data.value_scale import normalize_ratings
from tastevec.errors import DataError

STARS = st.sampled_from([step / 2 for step in range(1, 11)]) | st.none()
ANY_RATING = st.floats(0.5, 5, width=32) | st.none()
TIMES = st.integers(0, 40) | st.none()


@st.composite
def tables(draw, ratings=STARS, timestamps=TIMES, most=40):
    """Return rows, one per user and item; user ids are all numbers or all texts."""
    ids = draw(
        st.sampled_from([st.integers(-3, 12), st.sampled_from(["", "Ann", "ann", "b 7", "é", "12", "9"])])
    )
    pairs = draw(st.lists(st.tuples(ids, st.integers(1, 8)), unique=True, min_size=1, max_size=most))
    return [Row(user, item, draw(ratings), draw(timestamps)) for user, item in pairs]


def expected(rows, keep, minimum):
    """What the preparation must give, said in plain Python."""
    catalog = sorted({row.item for row in rows})
    users = defaultdict(list)
    for row in rows:
        users[row.user].append(row)
    histories_ = {}
    for user in sorted(users):
        of_all = np.array([np.nan if row.rating is None else row.rating for row in users[user]], np.float32)
        scaled = normalize_ratings(of_all, np.array([0, len(of_all)]))
        kept = [
            (NO_TIMESTAMP if row.timestamp is None else row.timestamp, catalog.index(row.item), rating, scale)
            for row, rating, scale in zip(users[user], of_all, scaled, strict=True)
            if keep is None or row.item in keep
        ]
        if len(kept) >= minimum:
            histories_[user] = sorted(kept, key=lambda row: row[0])  # stable, as in the source
    return histories_


@given(tables(ratings=ANY_RATING), st.none() | st.frozensets(st.integers(1, 8)), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_prepared_histories_equal_plain_python(rows, keep, minimum):
    expected_ = expected(rows, keep, minimum)
    with tempfile.TemporaryDirectory() as root:
        try:
            prepared = prepare(
                source(rows),
                Path(root) / "p",
                PreprocessSettings(keep_items=keep, minimum_interactions=minimum),
            )
        except DataError:
            assert expected_ == {}
            return
        assert prepared.user_ids.tolist() == list(expected_)
        flat = [row for history in expected_.values() for row in history]
        assert prepared.histories.timestamps.tolist() == [row[0] for row in flat]
        assert prepared.histories.items.tolist() == [row[1] for row in flat]
        np.testing.assert_array_equal(
            prepared.histories.ratings, np.array([row[2] for row in flat], np.float32)
        )
        np.testing.assert_allclose(prepared.histories.normalized_ratings, [row[3] for row in flat], atol=1e-6)
        counts = prepared.manifest["counts"]
        assert counts["interactions"]["read"] == len(rows)
        assert counts["interactions"]["read"] == counts["interactions"]["kept"] + sum(
            counts["interactions"]["dropped"].values()
        )
        assert counts["interactions"]["kept"] == len(flat)
        assert counts["users"]["read"] == counts["users"]["kept"] + sum(counts["users"]["dropped"].values())


@given(tables(), st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_hash_split_of_all_users_equals_plain_python(rows, seed):
    def code(user) -> int:
        share = int(hashlib.md5(f"{seed}:{user}".encode(), usedforsecurity=False).hexdigest()[:8], 16) / 16**8
        return 0 if share < 0.7 else 1 if share < 0.85 else 2

    with tempfile.TemporaryDirectory() as root:
        prepared = prepare(
            source(rows), Path(root) / "p", PreprocessSettings(minimum_interactions=1, seed=seed)
        )
        assert prepared.splits.tolist() == [code(user) for user in prepared.user_ids]
        parts = [prepared.users_in(split) for split in ("train", "validation", "test")]
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(prepared.user_ids)))


@given(tables(timestamps=TIMES), st.randoms(use_true_random=False), st.sampled_from(["hash", "bert-cosine"]))
@settings(max_examples=12, deadline=None)
def test_row_order_changes_no_split_and_no_item_set(rows, random, split):
    shuffled = random.sample(rows, len(rows))
    chosen = PreprocessSettings(split_strategy=split, minimum_interactions=1)
    with tempfile.TemporaryDirectory() as root:
        one = prepare(source(rows), Path(root) / "one", chosen)
        two = prepare(source(shuffled), Path(root) / "two", chosen)
        for name in ("users.parquet", "items.parquet", "histories/offsets.npy"):
            assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
        for start, end in zip(one.histories.offsets[:-1], one.histories.offsets[1:], strict=True):
            assert sorted(one.histories.items[start:end]) == sorted(two.histories.items[start:end])


@given(tables(ratings=ANY_RATING, timestamps=st.none()), st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_row_order_with_distinct_timestamps_changes_no_byte(rows, random):
    timed = [row._replace(timestamp=1000 - root) for root, row in enumerate(rows)]
    shuffled = random.sample(timed, len(timed))
    chosen = PreprocessSettings(minimum_interactions=1)
    with tempfile.TemporaryDirectory() as root:
        one = prepare(source(timed), Path(root) / "one", chosen)
        two = prepare(source(shuffled), Path(root) / "two", chosen)
        assert one.manifest["files"] == two.manifest["files"]


@given(tables(ratings=ANY_RATING), st.integers(1, 5), st.integers(1, 30))
@settings(max_examples=15, deadline=None)
def test_iter_histories_equals_preparation_for_any_batch_size(rows, size, batch):
    with tempfile.TemporaryDirectory() as root:
        prepared = prepare(source(rows), Path(root) / "p", PreprocessSettings(minimum_interactions=1))
        with patch("tastevec.data.streaming._ROWS", batch):
            groups = list(
                iter_histories(interactions(rows), prepared.item_ids, prepared.scale, users_per_batch=size)
            )
        assert all(len(group) == size for group in groups[:-1])
        assert np.concatenate([group.user_ids for group in groups]).tolist() == prepared.user_ids.tolist()
        for name in ("items", "ratings", "timestamps"):
            streamed = np.concatenate([getattr(group, name) for group in groups])
            np.testing.assert_array_equal(streamed, getattr(prepared.histories, name))
        streamed = np.concatenate([group.normalized_ratings for group in groups])
        np.testing.assert_allclose(streamed, prepared.histories.normalized_ratings, atol=1e-6)
