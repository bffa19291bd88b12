"""Properties: held-out users change no item vector by their tags, or by items that they alone touched."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.items.content import ContentFeatures, reduce_features
from tastevec.pipelines.prepare import training_tags
from tastevec.schema import SPLITS, USERS_FILE

COUNT = 12
HELD_OUT = ("validation", "test")
WORDS = st.sampled_from(["dark", "slow", "robots", "space", "tears"])
given_tags = st.lists(st.tuples(st.integers(0, 3), st.integers(0, COUNT - 1), WORDS), max_size=20)
more_tags = st.lists(st.tuples(st.integers(4, 7), st.integers(0, COUNT + 2), WORDS), min_size=1, max_size=10)


def catalog(count: int) -> pa.Table:
    """Return items, of which those beyond `COUNT` have no metadata."""
    known = [item < COUNT for item in range(count)]
    return pa.table(
        {
            "item_id": [f"i{item:02}" for item in range(count)],
            "title": [
                f"A {item % 5} B {item % 3}" if is_known else "" for item, is_known in enumerate(known)
            ],
            "year": pa.array(
                [1990 + item if is_known else None for item, is_known in enumerate(known)], pa.int32()
            ),
            "genres": pa.array([[f"g{item % 4}"] if is_known else [] for item, is_known in enumerate(known)]),
            "text:plot": pa.array(
                [f"word{item % 4} of" if is_known else None for item, is_known in enumerate(known)]
            ),
            "number:price": pa.array(
                [item * 1.5 if is_known else None for item, is_known in enumerate(known)]
            ),
        }
    )


def tag_table(rows: list[tuple[int, int, str]]) -> pa.Table:
    users, items, tags = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "user_id": pa.array([f"u{user}" for user in users], pa.string()),
            "item_id": pa.array([f"i{item:02}" for item in items], pa.string()),
            "tag": pa.array(list(tags), pa.string()),
            "weight": np.ones(len(rows)),
        }
    )


def vectors_of(rows: list[tuple[int, int, str]], count: int) -> np.ndarray:
    """Return the content vectors of the items with metadata, of which training users interacted with the first eight."""
    with TemporaryDirectory() as folder:
        codes = [SPLITS.index("train")] * 4 + [SPLITS.index(HELD_OUT[user % 2]) for user in range(4)]
        users = pa.table({"user_id": [f"u{user}" for user in range(8)], "split": pa.array(codes, pa.uint8())})
        pq.write_table(users, Path(folder) / USERS_FILE)
        tags = training_tags(tag_table(rows), Path(folder))
    features = ContentFeatures.fit(catalog(count), tags, training=np.arange(count) < 8)
    return reduce_features(features.rows(catalog(count), tags), dim=8)[:COUNT]


@settings(max_examples=30)
@given(given_tags, more_tags)
def test_tags_of_held_out_users_change_no_byte_of_an_item_vector(rows, more):
    touched = max([COUNT, *(item + 1 for _, item, _ in more)])

    assert vectors_of(rows, COUNT).tobytes() == vectors_of([*more, *rows], touched).tobytes()


def test_tags_of_training_users_change_item_vectors():
    """The property above would hold of tags that are never read."""
    rows = [(user, item, "dark") for user in range(3) for item in range(4)]

    assert vectors_of(rows, COUNT).tobytes() != vectors_of([], COUNT).tobytes()
