"""What places a film that nobody has rated."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, FormatError
from tastevec.items.cold_start import (
    NORM_SCALE,
    ColdStartModel,
    content_regression,
    load_feature_rows,
    load_item_features,
    save_item_features,
)
from tastevec.items.content import ContentFeatures, load_features, reduce_features, save_features
from tastevec.items.genome import Genome
from tastevec.pipelines.prepare import PrepareSettings, write_prepared
from tastevec.schema import FEATURES_FILE
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
    save_features(path, features, {"more": np.arange(3)})
    again, beside = load_features(path, "", {"more": ("M",)})
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


def test_a_genome_may_have_its_tags_in_another_order_and_others_beside():
    more = Genome(GENOME.item_ids, ("tears", "fog", "space"), GENOME.relevance[:, [1, 0, 0]])
    np.testing.assert_array_equal(placed(KNOWN, WORDS, more), placed(KNOWN, WORDS, GENOME))


@pytest.mark.parametrize(
    ("features", "tags", "message"),
    [
        (FEATURES, ("space", "fog"), "the genome lacks 1 of 2 tags of these features"),
        (
            ContentFeatures.fit(KNOWN, WORDS),
            ("space", "tears"),
            "the genome is the first one of these features",
        ),
    ],
)
def test_another_genome_than_the_trainings_is_refused(features, tags, message):
    with pytest.raises(DataError, match=message):
        features.rows(KNOWN, WORDS, Genome(GENOME.item_ids, tags, GENOME.relevance))


def test_feature_rows_of_prepared_dataset_give_its_content_vectors(prepared_folder):
    prepared = Prepared.open(prepared_folder)
    features, rows = load_feature_rows(prepared_folder)
    assert rows.shape == (ITEMS, features.width)
    assert rows.dtype == np.float32
    features, raw = load_item_features(prepared_folder)
    rows = features.normalize(raw)
    np.testing.assert_array_equal(reduce_features(rows, seed=1), prepared.vectors["content"])


def test_prepared_dataset_stores_tag_counts_and_relevances_of_the_source(tmp_path):
    """Tags that several users gave to one item count so many times; nothing is normalized."""
    release = worlds.write_csv_release(tmp_path / "release", genome=True)
    more = [(user, item, "Space", 990_000_000) for user in range(1, 13) for item in (1, 2)]
    with (release / "tags.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{user},{item},{tag},{time}\n" for user, item, tag, time in more)
    folder = write_prepared(release, tmp_path / "data", settings=PrepareSettings(seed=1)).folder
    prepared = Prepared.open(folder)
    features, raw = load_item_features(folder)
    train = set(prepared.histories.user_ids[prepared.users_in("train")].tolist())
    counts = Counter((item, tag.lower()) for user, item, tag, _ in (*worlds.tags(), *more) if user in train)
    space = features.words["tags"].index("space")
    expected = [counts[item, "space"] for item in range(1, ITEMS + 1)]
    assert max(expected) >= 7  # training users
    assert raw.counts["tags"][:, [space]].toarray().ravel().tolist() == expected
    source = np.loadtxt(release / "genome-scores.csv", delimiter=",", skiprows=1)
    items = prepared.items["item_id"].to_numpy()[raw.genome_items]
    of_items = {(int(item), int(tag)): relevance for item, tag, relevance in source}
    assert items.tolist() == sorted({int(item) for item in source[:, 0]})
    assert raw.relevance.shape == (len(items), 12)
    for row, item in enumerate(items.tolist()):
        relevances = np.array([of_items[item, tag] for tag in range(1, 13)], np.float32)
        np.testing.assert_array_equal(raw.relevance[row], relevances)
    action = features.words["genres"].index("Action")
    assert raw.counts["genres"][:, [action]].toarray().ravel().tolist() == [
        float("Action" in item.genres) for item in worlds.items()
    ]


def test_item_features_without_file_are_refused(tmp_path):
    with pytest.raises(FormatError, match="item_features"):
        load_item_features(tmp_path)


@pytest.mark.parametrize("wrong", [[-1, 0], [0, ITEMS], [1, 1]])
def test_item_features_with_invalid_genome_items_are_refused(tmp_path, wrong):
    raw = FEATURES.read(KNOWN, WORDS, GENOME)
    save_item_features(
        tmp_path, FEATURES, replace(raw, genome_items=np.array(wrong), relevance=raw.relevance[:2])
    )
    with pytest.raises(FormatError, match=r"invalid genome\.items"):
        load_item_features(tmp_path)


@pytest.mark.parametrize("wrong", [{"indices": 9}, {"indptr": 99}])
def test_item_features_with_invalid_counts_are_refused(tmp_path, wrong):
    raw = FEATURES.read(KNOWN, WORDS, GENOME)
    tags = raw.counts["tags"].copy()
    for name, value in wrong.items():
        getattr(tags, name)[-1] = value
    save_item_features(tmp_path, FEATURES, replace(raw, counts={**raw.counts, "tags": tags}))
    with pytest.raises(FormatError, match="invalid counts"):
        load_item_features(tmp_path)


def test_fingerprint_does_not_cover_item_features(prepared_folder):
    prepared = Prepared.open(prepared_folder)
    before = prepared.fingerprint
    del prepared.manifest["files"][FEATURES_FILE]
    assert prepared.fingerprint == before
