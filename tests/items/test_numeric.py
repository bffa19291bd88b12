"""Numeric metadata as features: numbers, vectors and text embeddings (tastevec.items.numeric)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.errors import DataError
from tastevec.items.cold_start import ColdStartModel, load_item_features, save_item_features
from tastevec.items.content import ContentFeatures
from tastevec.items.numeric import Reduction

COUNT = 40
RNG = np.random.default_rng(1)
EMBEDDED = RNG.normal(size=(COUNT, 6)).astype(np.float32)
TAGS = pa.table(
    {"item_id": pa.array([], pa.int64()), "tag": pa.array([], pa.string()), "weight": np.zeros(0)}
)


def vectors(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), rows.shape[1])


def catalog(count: int = COUNT, **columns: object) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array(range(count), pa.int64()),
            "title": [""] * count,
            "year": pa.array([None] * count, pa.int32()),
            "genres": pa.array([[]] * count, pa.list_(pa.string())),
            **columns,
        }
    )


ITEMS = catalog(
    **{
        "number:price": np.arange(COUNT) ** 2.0,
        "vector:own": vectors(EMBEDDED),
        "text:plot": vectors(EMBEDDED[::-1]),
    }
)


def fit(items: pa.Table = ITEMS, **settings: object) -> ContentFeatures:
    return ContentFeatures.fit(items, TAGS, text_model="mini 1234", **settings)


def test_each_kind_of_metadata_has_a_block_of_fixed_norm():
    features = fit()

    rows = features.rows(ITEMS, TAGS)

    blocks = features.blocks(features.read(ITEMS, TAGS))
    norms = {
        name: np.unique(np.round(np.sqrt(block.multiply(block).sum(axis=1)), 5))
        for name, block in blocks.items()
    }
    assert [norms[name].tolist() for name in ("number:price", "vector:own", "text:plot")] == [[1.0]] * 3
    assert rows.shape == (COUNT, features.width)
    assert features.text_model == "mini 1234"


def test_numbers_are_compared_by_their_rank_among_the_items():
    rows = (
        fit(ITEMS.select(["item_id", "title", "year", "genres", "number:price"])).rows(ITEMS, TAGS).toarray()
    )
    numbers = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    similarity = numbers @ numbers.T

    assert similarity[0, 1] > similarity[0, 5] > similarity[0, 12]
    assert similarity[38, 39] == pytest.approx(
        similarity[0, 1], abs=0.02
    )  # though the prices differ 77 times as much
    assert similarity[0, 39] < 0.01


def test_unknown_numbers_and_vectors_have_no_features():
    empty = catalog(
        2,
        **{
            "number:price": pa.array([None, np.nan]),
            "vector:own": pa.nulls(2, ITEMS.schema.field("vector:own").type),
        },
    )

    assert fit().rows(empty, TAGS).nnz == 0
    assert fit().rows(catalog(2), TAGS).nnz == 0


def test_same_number_in_every_item_makes_no_difference():
    rows = fit(catalog(**{"number:x": np.full(COUNT, 7.0)})).rows(
        catalog(2, **{"number:x": [7.0, 9.0]}), TAGS
    )

    np.testing.assert_array_equal(rows[0].toarray(), rows[1].toarray())


def test_quantiles_and_reductions_are_those_of_training_items():
    training = np.arange(COUNT) < 20
    changed = ITEMS.set_column(4, "number:price", pa.array(np.where(training, np.arange(COUNT) ** 2.0, 1e9)))
    changed = changed.set_column(5, "vector:own", vectors(np.where(training[:, None], EMBEDDED, 9.0)))

    one, two = (fit(table, training=training).rows(ITEMS, TAGS) for table in (ITEMS, changed))

    np.testing.assert_array_equal(one.toarray(), two.toarray())


def test_reduction_keeps_inner_products_of_few_dimensions():
    reduced = Reduction.fit(EMBEDDED)(EMBEDDED)

    unit = EMBEDDED / np.linalg.norm(EMBEDDED, axis=1, keepdims=True)
    centered = unit - unit.mean(axis=0)
    np.testing.assert_allclose(reduced @ reduced.T, centered @ centered.T, atol=1e-5)


def test_reduction_of_many_dimensions_has_64():
    wide = RNG.normal(size=(200, 100)).astype(np.float32)

    assert Reduction.fit(wide)(wide).shape == (200, 64)
    assert Reduction.fit(wide[:0])(wide).shape == (200, 0)


def test_vectors_of_another_size_are_refused():
    with pytest.raises(DataError, match=r"vector:own: vectors of 3 numbers\. Expected 6, as in the training"):
        fit().rows(catalog(**{"vector:own": vectors(EMBEDDED[:, :3])}), TAGS)


def test_features_of_every_kind_survive_saving(tmp_path):
    items = ITEMS.append_column("text:more", pa.array([f"a word{n % 3}" for n in range(COUNT)]))
    features = fit(items)
    raw = features.read(items, TAGS)

    save_item_features(tmp_path, features, raw)
    loaded, loaded_raw = load_item_features(tmp_path)

    assert loaded.text_model == "mini 1234"
    assert loaded.words == features.words
    np.testing.assert_array_equal(loaded.normalize(loaded_raw).toarray(), features.normalize(raw).toarray())
    np.testing.assert_array_equal(loaded.rows(items, TAGS).toarray(), features.rows(items, TAGS).toarray())


def test_new_items_are_predicted_from_numbers_and_vectors(tmp_path):
    learned = EMBEDDED[:, :3]
    items = ITEMS.select(["item_id", "title", "year", "genres", "vector:own"])
    features = fit(items)
    model = ColdStartModel.fit(
        features, features.rows(items, TAGS), learned, np.full(COUNT, 1000), ridge=0.01
    )

    model.save(tmp_path / "model")
    again = ColdStartModel.load(tmp_path / "model")

    predicted = again.predict(again.features.rows(items, TAGS))
    cosine = (
        (predicted * learned).sum(axis=1)
        / np.linalg.norm(predicted, axis=1)
        / np.linalg.norm(learned, axis=1)
    )
    assert np.median(cosine) > 0.9


def test_words_of_texts_are_read_where_there_is_no_embedding():
    texts = [f"the word{n % 20} word{n}" for n in range(COUNT)]

    features = fit(catalog(**{"text:plot": texts, "text:more": ["the rare"] * 2 + [""] * 38}))

    assert features.words["text"] == ("rare", *sorted(f"word{n}" for n in range(20)))  # "the" is in too many
    assert features.text_model == ""


def test_catalogs_that_know_little_have_features_of_norm_1():
    few, many = (
        catalog(**{"number:x": np.arange(40.0)}),
        catalog(**{"number:x": np.arange(40.0), "genres": [["a"]] * 40}),
    )
    many = many.set_column(2, "year", pa.array([1990] * 40, pa.int32()))

    titled = few.set_column(1, "title", pa.array([f"A word{n % 2}" for n in range(40)]))

    assert fit(few).norms == {"number:x": 1.0}
    assert fit(titled).norms == {"title": pytest.approx((1 - 0.3**2) ** 0.5)}
    assert fit(many).norms == {}  # genres and years have more than 1 together
    rows = fit(titled).rows(titled, TAGS)
    np.testing.assert_allclose(np.sqrt(rows.multiply(rows).sum(axis=1)), 1.0, atol=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_numbers_of_any_size_give_finite_features(values):
    items = catalog(len(values), **{"number:x": values})

    rows = fit(items).rows(items, TAGS)

    assert np.isfinite(rows.data).all()
    np.testing.assert_allclose(np.sqrt(rows.multiply(rows).sum(axis=1)), 1.0, atol=1e-6)
