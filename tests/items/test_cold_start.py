"""Cold start: item features, their regression and initial vectors (tastevec.items.cold_start)."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

import worlds
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, FormatError
from tastevec.items.cold_start import (
    NORM_SCALE,
    ColdStartModel,
    content_regression,
    initial_vectors,
    load_feature_rows,
    load_item_features,
    save_item_features,
)
from tastevec.items.content import (
    ContentFeatures,
    load_features,
    reduce_features,
    save_features,
    word_entries,
)
from tastevec.items.genome import Genome
from tastevec.pipelines.prepare import PrepareSettings, write_prepared
from tastevec.schema import FEATURES_FILE
from worlds import ITEMS, items, tags

USERS = np.full(ITEMS, 50)
# Rockets (items 1 to 10) lie on the first axis, letters on the second.
LEARNED = np.repeat(np.eye(2, dtype=np.float32), ITEMS // 2, axis=0)


def catalog(*rows) -> pa.Table:
    """Return items from rows of id, title, year and genres."""
    names, types = (
        ("item_id", "title", "year", "genres"),
        (pa.int64(), pa.string(), pa.int32(), pa.list_(pa.string())),
    )
    columns = zip(*rows, strict=True) if rows else [[]] * len(names)
    return pa.table(
        {name: pa.array(list(column), kind) for name, column, kind in zip(names, columns, types, strict=True)}
    )


def tag_table(*pairs) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array([item for item, _ in pairs], pa.int64()),
            "tag": pa.array([tag for _, tag in pairs], pa.string()),
            "weight": np.ones(len(pairs)),
        }
    )


KNOWN = catalog(*((item.item, item.title, item.year, list(item.genres)) for item in items()))
TAGS = tag_table(*((tag.item, tag.tag.lower()) for tag in tags()), (2, "robots"))
GENOME = Genome(np.arange(1, ITEMS + 1), ("space", "tears"), np.repeat([[0.9, 0.1], [0.1, 0.9]], 10, axis=0))
FEATURES = ContentFeatures.fit(KNOWN, TAGS, GENOME)
ROWS = FEATURES.rows(KNOWN, TAGS, GENOME)
MODEL = ColdStartModel.fit(FEATURES, ROWS, LEARNED, USERS)


def predicted(items, words=TAGS, genome=None) -> np.ndarray:
    return MODEL.predict(FEATURES.rows(items, words, genome))


@pytest.mark.parametrize(
    ("item", "words", "genome"),
    [
        ((99, "", None, ["Sci-Fi"]), tag_table(), None),
        ((99, "The ROCKET: again (1990)", None, []), tag_table(), None),
        ((99, "", 1981, []), tag_table(), None),
        ((99, "", None, []), tag_table((99, "robots")), None),
        ((99, "", None, []), tag_table(), Genome(np.array([99]), ("tears", "space"), np.array([[0.2, 0.8]]))),
    ],
    ids=["genres", "title", "year", "tags", "genome"],
)
def test_cold_start_predicts_kind_of_item_from_one_feature(item, words, genome):
    [[rocket, letter]] = predicted(catalog(item), words, genome)
    assert rocket > letter + 0.03


def test_cold_start_of_item_without_features_is_mean():
    unknown = catalog((99, "Zzyzx", None, ["Anime"]))
    assert FEATURES.rows(unknown, tag_table((99, "dubbed"))).nnz == 0
    np.testing.assert_allclose(predicted(unknown), [NORM_SCALE * MODEL.mean])


def test_cold_start_approximates_learned_vectors_better_with_more_features():
    with_all = MODEL.predict(ROWS) / NORM_SCALE
    genres = predicted(KNOWN.set_column(1, "title", pa.array([""] * ITEMS)), tag_table()) / NORM_SCALE
    assert np.abs(with_all - LEARNED).mean() < 0.15
    assert np.abs(with_all - LEARNED).mean() < np.abs(genres - LEARNED).mean()


def test_cold_start_scales_prediction_of_regression():
    """Otherwise new items would rank below all rated items for every user."""
    slopes, mean = content_regression(ROWS, LEARNED, USERS)
    np.testing.assert_allclose(MODEL.predict(ROWS), NORM_SCALE * (ROWS @ slopes + mean), rtol=1e-5, atol=1e-6)
    assert NORM_SCALE > 1


def test_content_regression_of_dense_features_equals_sparse():
    dense, sparse = (content_regression(rows, LEARNED, USERS) for rows in (ROWS.toarray(), ROWS))
    for one, other in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_cold_start_ignores_items_without_users_or_vector():
    users, learned = USERS.copy(), LEARNED.copy()
    users[3] = 0
    learned[5] = 0
    changed = learned.copy()
    changed[3] = 1e6
    one, two = (ColdStartModel.fit(FEATURES, ROWS, table, users) for table in (learned, changed))
    np.testing.assert_array_equal(one.slopes, two.slopes)
    rest = np.delete(np.arange(ITEMS), [3, 5])
    three = ColdStartModel.fit(FEATURES, ROWS[rest], LEARNED[rest], USERS[rest])
    np.testing.assert_array_equal(one.slopes, three.slopes)


def test_cold_start_without_users_predicts_zero():
    cold_start = ColdStartModel.fit(FEATURES, ROWS, LEARNED, np.zeros(ITEMS, int))
    assert not cold_start.predict(ROWS).any()
    assert cold_start.predict(ROWS).shape == (ITEMS, 2)


def test_words_of_the_last_title_are_always_the_same():
    """Arrow's split by white space reads the end of a column wrongly, in about every third attempt."""
    titles = pa.chunked_array([[item.title for item in items()]])
    last = pa.array([*range(5), ITEMS - 1])
    for _ in range(100):
        words = word_entries(titles.take(last)).words.to_pylist()
        assert words[-3:] == ["café", "the", "letter"]


@given(st.permutations(range(ITEMS)), st.integers(0, ITEMS))
@settings(max_examples=25)
def test_cold_start_prediction_does_not_depend_on_other_items(order, cut):
    together = predicted(KNOWN, TAGS, GENOME)
    shuffled = KNOWN.take(pa.array(order))
    parts = [predicted(part, TAGS, GENOME) for part in (shuffled.slice(0, cut), shuffled.slice(cut))]
    np.testing.assert_array_equal(np.concatenate(parts), together[order])


@given(st.lists(st.text(max_size=6), min_size=1, max_size=8), st.data())
@settings(max_examples=25)
def test_features_survive_saving_with_any_words(tmp_path_factory, words, data):
    items = catalog(
        *(
            (item, word, data.draw(st.none() | st.integers(0, 9999)), [word])
            for item, word in enumerate(words)
        )
    )
    tags = tag_table(*((item, word) for item, word in enumerate(words)), (0, words[-1]))
    features = ContentFeatures.fit(items, tags)
    path = tmp_path_factory.mktemp("features") / "features.safetensors"
    save_features(path, features, {"more": np.arange(3)})
    again, arrays = load_features(path, "", lambda _: {"more": ("M",)})
    assert (again.words, again.genome_tags, again.width) == (features.words, (), features.width)
    assert arrays["more"].tolist() == [0, 1, 2]
    assert (again.rows(items, tags) != features.rows(items, tags)).nnz == 0


def test_cold_start_model_survives_saving_with_same_bytes(tmp_path):
    paths = tmp_path / "one", tmp_path / "two"
    MODEL.save(paths[0])
    again = ColdStartModel.load(paths[0])
    again.save(paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    np.testing.assert_array_equal(again.predict(ROWS), MODEL.predict(ROWS))


def test_cold_start_accepts_genome_with_other_tags_and_order():
    more = Genome(GENOME.item_ids, ("tears", "fog", "space"), GENOME.relevance[:, [1, 0, 0]])
    np.testing.assert_array_equal(predicted(KNOWN, TAGS, more), predicted(KNOWN, TAGS, GENOME))


@pytest.mark.parametrize(
    ("features", "tags", "message"),
    [
        (FEATURES, ("space", "fog"), "the genome lacks 1 of 2 tags of these features"),
        (
            ContentFeatures.fit(KNOWN, TAGS),
            ("space", "tears"),
            "the genome is the first one of these features",
        ),
    ],
)
def test_features_refuse_genome_without_their_tags(features, tags, message):
    with pytest.raises(DataError, match=message):
        features.rows(KNOWN, TAGS, Genome(GENOME.item_ids, tags, GENOME.relevance))


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
    raw = FEATURES.read(KNOWN, TAGS, GENOME)
    save_item_features(
        tmp_path, FEATURES, replace(raw, genome_items=np.array(wrong), relevance=raw.relevance[:2])
    )
    with pytest.raises(FormatError, match=r"invalid genome\.items"):
        load_item_features(tmp_path)


@pytest.mark.parametrize("wrong", [{"indices": 9}, {"indptr": 99}])
def test_item_features_with_invalid_counts_are_refused(tmp_path, wrong):
    raw = FEATURES.read(KNOWN, TAGS, GENOME)
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


def factors_and_content() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 30 popular items with factors of twice their content, then a cold, a rare, a featureless and an empty one."""
    content = np.random.default_rng(0).normal(size=(34, 3)).astype(np.float32)
    collaborative = 2 * content + 1
    counts = np.full(34, 1000)
    counts[30:] = [0, 10, 10, 0]
    collaborative[30] = 0
    collaborative[31] = 0.25
    content[32:] = 0
    return collaborative, content, counts


@pytest.mark.parametrize("sparse", [False, True])
def test_initial_vectors_of_cold_item_are_scaled_prediction(sparse):
    collaborative, content, counts = factors_and_content()
    features = csr_matrix(content) if sparse else content
    initial = initial_vectors(collaborative, features, counts, ridge=1e-6)
    assert initial.vectors.dtype == np.float32
    np.testing.assert_allclose(initial.vectors[30], NORM_SCALE * (2 * content[30] + 1), atol=0.1)


def test_initial_vectors_of_popular_item_are_its_factors():
    collaborative, content, counts = factors_and_content()
    initial = initial_vectors(collaborative + 0.0, content, counts, shrinkage=1e-9)
    np.testing.assert_allclose(initial.vectors[:30], collaborative[:30], atol=1e-6)


def test_initial_vectors_mix_factors_and_prediction_by_users():
    collaborative, content, counts = factors_and_content()
    initial = initial_vectors(collaborative, content, counts, shrinkage=30, ridge=1e-6)
    predicted = NORM_SCALE * (2 * content[31] + 1)
    # Not closer, because the prediction is fitted to the item itself, too.
    np.testing.assert_allclose(initial.vectors[31], 0.25 * collaborative[31] + 0.75 * predicted, atol=0.3)


def test_initial_vectors_without_content_are_factors_and_without_both_zero():
    collaborative, content, counts = factors_and_content()
    initial = initial_vectors(collaborative, content, counts)
    np.testing.assert_array_equal(initial.vectors[32], collaborative[32])
    assert not initial.vectors[33].any()
    assert initial.origins[29:].tolist() == ["both", "content", "both", "collaborative", "none"]


def test_initial_vectors_without_users_are_zero():
    collaborative, content, counts = factors_and_content()
    initial = initial_vectors(collaborative, content, np.zeros_like(counts))
    assert not initial.vectors.any()
    assert set(initial.origins) == {"none"}


def test_initial_vectors_do_not_change_their_arguments():
    arguments = factors_and_content()
    initial_vectors(*arguments)
    for before, after in zip(factors_and_content(), arguments, strict=True):
        np.testing.assert_array_equal(before, after)
