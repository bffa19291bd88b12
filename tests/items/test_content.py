"""Content vectors (tastevec.items.content)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import worlds
from tastevec.items.content import ContentFeatures, reduce_features
from tastevec.items.genome import Genome
from worlds import ITEMS


def world() -> tuple[pa.Table, pa.Table]:
    """Return the items and tags of the tiny world: 1 to 10 are rockets, 11 to 20 letters."""
    items = pa.table(
        {
            "item_id": pa.array([item.item for item in worlds.items()]),
            "title": [item.title for item in worlds.items()],
            "year": pa.array([item.year for item in worlds.items()], pa.int32()),
            "genres": pa.array([list(item.genres) for item in worlds.items()], pa.list_(pa.string())),
        }
    )
    return items, tag_table((tag.item, tag.tag.lower()) for tag in worlds.tags())


def tag_table(pairs) -> pa.Table:
    rows = list(pairs)
    return pa.table(
        {
            "item_id": pa.array([item for item, _ in rows], pa.int64()),
            "tag": pa.array([tag for _, tag in rows], pa.string()),
            "weight": np.ones(len(rows)),
        }
    )


def bare(**columns) -> pa.Table:
    """Return items with these columns alone."""
    count = len(next(iter(columns.values())))
    empty = {
        "item_id": pa.array(range(count)),
        "title": pa.array([""] * count),
        "year": pa.array([None] * count, pa.int32()),
        "genres": pa.array([[]] * count, pa.list_(pa.string())),
    }
    return pa.table(empty | columns)


NO_TAGS = tag_table([])


def content_vectors(items, tags, genome=None, dim=64):
    rows = ContentFeatures.fit(items, tags, genome).rows(items, tags, genome)
    return reduce_features(rows, dim=dim)


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_content_vectors_of_one_kind_are_more_similar_than_of_two():
    vectors = content_vectors(*world())
    assert vectors.shape == (ITEMS, 64)
    assert vectors.dtype == np.float32
    similarity = cosines(vectors)
    rockets, letters = slice(0, 8), slice(11, 20)  # without the years in which the kinds meet
    assert similarity[rockets, rockets].min() > similarity[rockets, letters].max()
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-6)


def test_content_vector_of_item_without_features_is_zero():
    titles = ["Red Sun (1999)", "Red Sea", "Blue Sea", "", "!?", None, "Alone"]
    vectors = content_vectors(bare(title=titles), NO_TAGS)
    assert vectors.any(axis=1).tolist() == [True, True, True, False, False, False, False]


def test_content_vectors_without_any_features_are_zero():
    assert not content_vectors(bare(title=["", ""]), NO_TAGS).any()


def test_content_vectors_merge_childrens_and_children():
    lists = pa.array([["Children's"], ["Children"], ["Drama"]])
    vectors = content_vectors(bare(genres=lists), NO_TAGS)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[2])


def test_content_vectors_of_close_years_are_similar():
    vectors = content_vectors(bare(year=pa.array([1989, 1990, 1950, 2015], pa.int32())), NO_TAGS)
    similarity = cosines(vectors)
    assert similarity[0, 1] > 0.9
    assert similarity[0, 2] < 0.5
    assert similarity[0, 3] < 0.5


def test_content_vectors_ignore_case_punctuation_and_year_of_titles():
    titles = ["Star TREK: First (1996)", "star trek", "Sunset, Blvd. (1950)", "Sunset Blvd", "1996 (1996)"]
    vectors = content_vectors(bare(title=titles), NO_TAGS)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-6)
    assert not vectors[4].any()


def test_content_vectors_ignore_tag_of_one_item():
    items = bare(year=pa.array([1990, 1990, 1990], pa.int32()))
    shared = tag_table([(0, "space"), (1, "space")])
    alone = tag_table([(0, "space"), (1, "space"), (2, "my dvd shelf")])
    np.testing.assert_array_equal(content_vectors(items, shared), content_vectors(items, alone))


def test_content_vectors_ignore_tags_of_unknown_items_empty_tags_and_order():
    items, tags = world()
    more = pa.concat_tables([tags, tag_table([(999, "space"), (2, "")])])
    expected = content_vectors(items, tags)
    np.testing.assert_array_equal(content_vectors(items, more), expected)
    reverse = tags.take(pa.array(range(len(tags) - 1, -1, -1)))
    np.testing.assert_array_equal(content_vectors(items, reverse), expected)


def test_content_vectors_use_genome_rows():
    relevance = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]], np.float32)
    genome = Genome(np.array([0, 1, 2, 3]), ("space", "tears"), relevance)
    items = bare(title=[""] * 5)
    vectors = content_vectors(items, NO_TAGS, genome)
    similarity = cosines(vectors[:4])
    assert similarity[0, 1] > 0.99
    assert similarity[0, 2] < -0.99
    assert not vectors[4].any()


def test_content_vectors_ignore_genome_of_unknown_items():
    items, tags = world()
    genome = Genome(np.array([900]), ("space", "tears"), np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(content_vectors(items, tags, genome), content_vectors(items, tags))


def test_content_vectors_accept_text_ids():
    items, tags = world()
    texts = [pa.array([f"item-{item}" for item in table["item_id"].to_pylist()]) for table in (items, tags)]
    as_text = content_vectors(
        items.set_column(0, "item_id", texts[0]), tags.set_column(0, "item_id", texts[1])
    )
    np.testing.assert_array_equal(as_text, content_vectors(items, tags))


@pytest.mark.parametrize("dim", [1, 7, 100])
def test_content_vectors_have_requested_dimension(dim):
    assert content_vectors(*world(), dim=dim).shape == (ITEMS, dim)
