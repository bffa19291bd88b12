"""What places a film that nobody has rated."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.data.prepared import Prepared
from tastevec.errors import DataError
from tastevec.items.cold_start import NORM_SCALE, ColdStartModel, content_regression, load_item_features
from tastevec.items.content import (
    ContentFeatures,
    content_vectors,
    load_features,
    reduce_features,
    save_features,
)
from tastevec.items.genome import Genome
from worlds import ITEMS, items, tags

USERS = np.full(ITEMS, 50)
# Rockets (films 1 to 10) lie along the first axis, letters along the second.
LEARNED = np.repeat(np.eye(2, dtype=np.float32), ITEMS // 2, axis=0)


def catalog(*told) -> pa.Table:
    """Films as id, title, year and genres."""
    names, types = (
        ("item_id", "title", "year", "genres"),
        (pa.int64(), pa.string(), pa.int32(), pa.list_(pa.string())),
    )
    columns = zip(*told, strict=True) if told else [[]] * len(names)
    return pa.table(
        {name: pa.array(list(column), kind) for name, column, kind in zip(names, columns, types, strict=True)}
    )


def said(*pairs) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array([item for item, _ in pairs], pa.int64()),
            "tag": pa.array([tag for _, tag in pairs], pa.string()),
            "weight": np.ones(len(pairs)),
        }
    )


KNOWN = catalog(*((item.item, item.title, item.year, list(item.genres)) for item in items()))
WORDS = said(*((tag.item, tag.tag.lower()) for tag in tags()), (2, "robots"))
GENOME = Genome(np.arange(1, ITEMS + 1), ("space", "tears"), np.repeat([[0.9, 0.1], [0.1, 0.9]], 10, axis=0))
FEATURES = ContentFeatures.fit(KNOWN, WORDS, GENOME)
ROWS = FEATURES.rows(KNOWN, WORDS, GENOME)
PLACING = ColdStartModel.fit(FEATURES, ROWS, LEARNED, USERS)


def placed(items, words=WORDS, genome=None) -> np.ndarray:
    return PLACING.predict(FEATURES.rows(items, words, genome))


@pytest.mark.parametrize(
    ("item", "words", "genome"),
    [
        ((99, "", None, ["Sci-Fi"]), said(), None),
        ((99, "The ROCKET: again (1990)", None, []), said(), None),
        ((99, "", 1981, []), said(), None),
        ((99, "", None, []), said((99, "robots")), None),
        ((99, "", None, []), said(), Genome(np.array([99]), ("tears", "space"), np.array([[0.2, 0.8]]))),
    ],
    ids=["genres", "title", "year", "tags", "genome"],
)
def test_each_kind_of_information_alone_puts_a_film_among_its_like(item, words, genome):
    [[rocket, letter]] = placed(catalog(item), words, genome)
    assert rocket > letter + 0.03


def test_a_film_of_which_nothing_is_known_has_no_features_and_lies_in_the_middle():
    stranger = catalog((99, "Zzyzx", None, ["Anime"]))
    assert FEATURES.rows(stranger, said((99, "dubbed"))).nnz == 0
    np.testing.assert_allclose(placed(stranger), [NORM_SCALE * PLACING.mean])


def test_known_films_are_met_and_more_information_meets_them_better():
    with_all = PLACING.predict(ROWS) / NORM_SCALE
    genres = placed(KNOWN.set_column(1, "title", pa.array([""] * ITEMS)), said()) / NORM_SCALE
    assert np.abs(with_all - LEARNED).mean() < 0.15
    assert np.abs(with_all - LEARNED).mean() < np.abs(genres - LEARNED).mean()


def test_a_film_that_nobody_has_rated_stands_further_out_than_the_regression_says():
    """Else it would stand behind all films that people have rated, whoever asks."""
    slopes, mean = content_regression(ROWS, LEARNED, USERS)
    np.testing.assert_allclose(
        PLACING.predict(ROWS), NORM_SCALE * (ROWS @ slopes + mean), rtol=1e-5, atol=1e-6
    )
    assert NORM_SCALE > 1


def test_a_dense_table_of_features_teaches_what_a_sparse_one_does():
    dense, sparse = (content_regression(rows, LEARNED, USERS) for rows in (ROWS.toarray(), ROWS))
    for one, other in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_films_without_people_or_without_a_vector_teach_nothing():
    users, learned = USERS.copy(), LEARNED.copy()
    users[3] = 0
    learned[5] = 0
    spoilt = learned.copy()
    spoilt[3] = 1e6
    one, two = (ColdStartModel.fit(FEATURES, ROWS, table, users) for table in (learned, spoilt))
    np.testing.assert_array_equal(one.slopes, two.slopes)
    rest = np.delete(np.arange(ITEMS), [3, 5])
    three = ColdStartModel.fit(FEATURES, ROWS[rest], LEARNED[rest], USERS[rest])
    np.testing.assert_array_equal(one.slopes, three.slopes)


def test_where_no_film_can_teach_every_film_is_at_zero():
    cold_start = ColdStartModel.fit(FEATURES, ROWS, LEARNED, np.zeros(ITEMS, int))
    assert not cold_start.predict(ROWS).any()
    assert cold_start.predict(ROWS).shape == (ITEMS, 2)


@given(st.permutations(range(ITEMS)), st.integers(0, ITEMS))
@settings(max_examples=25)
def test_no_films_place_depends_on_the_others_or_on_their_order(order, cut):
    together = placed(KNOWN, WORDS, GENOME)
    shuffled = KNOWN.take(pa.array(order))
    parts = [placed(part, WORDS, GENOME) for part in (shuffled.slice(0, cut), shuffled.slice(cut))]
    np.testing.assert_array_equal(np.concatenate(parts), together[order])


@given(st.lists(st.text(max_size=6), min_size=1, max_size=8), st.data())
@settings(max_examples=25)
def test_features_are_the_same_after_saving_whatever_the_words(tmp_path_factory, words, data):
    items = catalog(
        *(
            (place, word, data.draw(st.none() | st.integers(0, 9999)), [word])
            for place, word in enumerate(words)
        )
    )
    told = said(*((place, word) for place, word in enumerate(words)), (0, words[-1]))
    features = ContentFeatures.fit(items, told)
    path = tmp_path_factory.mktemp("features") / "features.safetensors"
    save_features(path, features, more=np.arange(3))
    again, beside = load_features(path)
    assert (again.words, again.genome_tags, again.width) == (features.words, (), features.width)
    assert beside["more"].tolist() == [0, 1, 2]
    assert (again.rows(items, told) != features.rows(items, told)).nnz == 0


def test_a_saved_placing_places_the_same_and_is_the_same_bytes(tmp_path):
    paths = tmp_path / "one", tmp_path / "two"
    PLACING.save(paths[0])
    again = ColdStartModel.load(paths[0])
    again.save(paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    np.testing.assert_array_equal(again.predict(ROWS), PLACING.predict(ROWS))


def test_content_vectors_are_the_features_made_short():
    np.testing.assert_array_equal(content_vectors(KNOWN, WORDS, GENOME), reduce_features(ROWS))


def test_a_genome_may_have_its_tags_in_another_order_and_others_beside():
    more = Genome(GENOME.item_ids, ("tears", "fog", "space"), GENOME.relevance[:, [1, 0, 0]])
    np.testing.assert_array_equal(placed(KNOWN, WORDS, more), placed(KNOWN, WORDS, GENOME))


@pytest.mark.parametrize(
    ("features", "tags", "message"),
    [
        (FEATURES, ("space", "fog"), "the genome lacks 1 of 2 tags that films are read by"),
        (
            ContentFeatures.fit(KNOWN, WORDS),
            ("space", "tears"),
            "the genome is the first one that films are read by",
        ),
    ],
)
def test_another_genome_than_the_trainings_is_refused(features, tags, message):
    with pytest.raises(DataError, match=message):
        features.rows(KNOWN, WORDS, Genome(GENOME.item_ids, tags, GENOME.relevance))


def test_a_prepared_folder_keeps_how_its_films_are_read(prepared_folder):
    prepared = Prepared.open(prepared_folder)
    features, rows = load_item_features(prepared_folder)
    assert rows.shape == (ITEMS, features.width)
    assert len(features.genome_tags) == 12
    np.testing.assert_allclose(reduce_features(rows), prepared.vectors["content"], atol=1e-5)
