from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import worlds
from tastevec.items.content import ContentFeatures, reduce_features
from tastevec.items.genome import Genome
from worlds import ITEMS, tags


def world() -> tuple[pa.Table, pa.Table]:
    """The films and tags of the tiny world: 1 to 10 are rockets, 11 to 20 letters."""
    items = pa.table(
        {
            "item_id": pa.array([item.item for item in worlds.items()]),
            "title": [item.title for item in worlds.items()],
            "year": pa.array([item.year for item in worlds.items()], pa.int32()),
            "genres": pa.array([list(item.genres) for item in worlds.items()], pa.list_(pa.string())),
        }
    )
    return items, said((tag.item, tag.tag.lower()) for tag in tags())


def said(pairs) -> pa.Table:
    rows = list(pairs)
    return pa.table(
        {
            "item_id": pa.array([item for item, _ in rows], pa.int64()),
            "tag": pa.array([tag for _, tag in rows], pa.string()),
            "weight": np.ones(len(rows)),
        }
    )


def bare(**columns) -> pa.Table:
    """Films with nothing but what is given."""
    count = len(next(iter(columns.values())))
    empty = {
        "item_id": pa.array(range(count)),
        "title": pa.array([""] * count),
        "year": pa.array([None] * count, pa.int32()),
        "genres": pa.array([[]] * count, pa.list_(pa.string())),
    }
    return pa.table(empty | columns)


NOTHING_SAID = said([])


def content_vectors(items, tags, genome=None, dim=64):
    rows = ContentFeatures.fit(items, tags, genome).rows(items, tags, genome)
    return reduce_features(rows, dim=dim)


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_films_of_a_kind_are_nearer_to_each_other_than_to_the_other_kind():
    vectors = content_vectors(*world())
    assert vectors.shape == (ITEMS, 64)
    assert vectors.dtype == np.float32
    near = cosines(vectors)
    rockets, letters = slice(0, 8), slice(11, 20)  # away from the year in which the kinds meet
    assert near[rockets, rockets].min() > near[rockets, letters].max()
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-6)


def test_a_film_of_which_nothing_is_known_has_zeros():
    titles = ["Red Sun (1999)", "Red Sea", "Blue Sea", "", "!?", None, "Alone"]
    vectors = content_vectors(bare(title=titles), NOTHING_SAID)
    assert vectors.any(axis=1).tolist() == [True, True, True, False, False, False, False]


def test_a_world_of_which_nothing_is_known_has_zeros():
    assert not content_vectors(bare(title=["", ""]), NOTHING_SAID).any()


def test_childrens_and_children_are_one_genre():
    lists = pa.array([["Children's"], ["Children"], ["Drama"]])
    vectors = content_vectors(bare(genres=lists), NOTHING_SAID)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[2])


def test_years_near_each_other_make_films_near():
    vectors = content_vectors(bare(year=pa.array([1989, 1990, 1950, 2015], pa.int32())), NOTHING_SAID)
    near = cosines(vectors)
    assert near[0, 1] > 0.9
    assert near[0, 2] < 0.5
    assert near[0, 3] < 0.5


def test_title_words_count_without_case_marks_and_the_year():
    titles = ["Star TREK: First (1996)", "star trek", "Sunset, Blvd. (1950)", "Sunset Blvd", "1996 (1996)"]
    vectors = content_vectors(bare(title=titles), NOTHING_SAID)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-6)
    assert not vectors[4].any()


def test_a_tag_that_a_single_film_has_says_nothing():
    items = bare(year=pa.array([1990, 1990, 1990], pa.int32()))
    shared = said([(0, "space"), (1, "space")])
    alone = said([(0, "space"), (1, "space"), (2, "my dvd shelf")])
    np.testing.assert_array_equal(content_vectors(items, shared), content_vectors(items, alone))


def test_tags_of_films_elsewhere_empty_tags_and_the_order_of_tags_change_nothing():
    items, told = world()
    more = pa.concat_tables([told, said([(999, "space"), (2, "")])])
    expected = content_vectors(items, told)
    np.testing.assert_array_equal(content_vectors(items, more), expected)
    turned = told.take(pa.array(range(len(told) - 1, -1, -1)))
    np.testing.assert_array_equal(content_vectors(items, turned), expected)


def test_the_genome_tells_films_apart_where_there_is_a_row():
    relevance = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]], np.float32)
    genome = Genome(np.array([0, 1, 2, 3]), ("space", "tears"), relevance)
    items = bare(title=[""] * 5)
    vectors = content_vectors(items, NOTHING_SAID, genome)
    near = cosines(vectors[:4])
    assert near[0, 1] > 0.99
    assert near[0, 2] < -0.99
    assert not vectors[4].any()


def test_a_genome_of_other_films_changes_nothing():
    items, told = world()
    genome = Genome(np.array([900]), ("space", "tears"), np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(content_vectors(items, told, genome), content_vectors(items, told))


def test_film_ids_may_be_text():
    items, told = world()
    texts = [pa.array([f"film-{item}" for item in table["item_id"].to_pylist()]) for table in (items, told)]
    as_text = content_vectors(
        items.set_column(0, "item_id", texts[0]), told.set_column(0, "item_id", texts[1])
    )
    np.testing.assert_array_equal(as_text, content_vectors(items, told))


@pytest.mark.parametrize("dim", [1, 7, 100])
def test_the_length_of_a_vector_is_the_callers_choice(dim):
    assert content_vectors(*world(), dim=dim).shape == (ITEMS, dim)
