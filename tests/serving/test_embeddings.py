"""Embeddings of users, and what takes them: recommend, similar users, explain and steer."""

from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tastevec as tv
import worlds
from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.serving.bundle import Bundle
from tastevec.serving.recommender import Recommender

ROCKETS = [(1, 5), (3, 4), (12, 1), (5, 5)]


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@pytest.fixture(scope="module", name="table")
def _table():
    rows = worlds.ratings()
    names = ("user_id", "item_id", "rating", "timestamp")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(name="users")
def _users(model, table):
    return model.encode(table)


def test_embeddings_are_one_row_per_user(model, users, table):
    assert len(users) == len(users.ids) == 12
    assert users.ids.dtype == np.int64
    assert users.matrix.dtype == np.float32
    assert users.matrix.flags.c_contiguous
    assert users.n_known.dtype == users.n_interactions.dtype == np.int64
    assert users.n_interactions.sum() == users.n_known.sum() == len(table)
    assert (users.horizon, users.space) == ("overall", model.bundle.space)
    for (user, vector), row in zip(users, users.to_arrow().to_pylist(), strict=True):
        assert row["user_id"] == user
        assert row["vector"] == vector.tolist() == users.of(user).tolist() == users.of(str(user)).tolist()


def test_embeddings_are_read_by_numpy_arrow_polars_pandas_and_duckdb(users):
    np.testing.assert_array_equal(np.asarray(users), users.matrix)
    assert np.asarray(users, np.float64).dtype == np.float64
    table = users.to_arrow()
    assert pa.table(users).equals(table)
    assert pl.DataFrame(users).to_arrow()["vector"].to_pylist() == table["vector"].to_pylist()
    assert duckdb.sql("SELECT count(*), min(user_id) FROM users").fetchall() == [(12, 1)]
    assert pd.Series(users["user_id"].to_pandas()).tolist() == users.ids.tolist()
    assert users["vector"].type == pa.list_(pa.float32(), 8)


def test_saved_embeddings_are_the_file_that_similar_users_reads(model, users, tmp_path):
    path = users.save(tmp_path / "vectors.parquet")
    assert pq.read_table(path).equals(users.to_arrow())
    assert pq.read_schema(path).metadata == users.to_arrow().schema.metadata
    found = [model.similar_users(ROCKETS, known, k=3) for known in (path, users, users.to_arrow())]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match="not written by this command"):
        users.save(tmp_path / "notes.txt")


def test_vectors_have_length_1_and_norms(users):
    np.testing.assert_allclose(np.linalg.norm(users.matrix, axis=1), 1, rtol=1e-6)
    assert users.norms.dtype == np.float32
    assert (users.norms > 0).all()
    assert users["norm"].to_pylist() == users.norms.tolist()
    assert users.with_matrix(-users.matrix).norms is users.norms


def test_embeddings_and_models_print_what_they_are(model, users):
    space = model.bundle.space[:8]
    assert repr(model.bundle) == f"Bundle(20 films, OnnxEncoder, space {space})"
    assert repr(users) == f"Embeddings(12 users x 8, overall, space {space})"
    unknown = tv.Embeddings(
        *(np.array([5]), users.matrix[:1], users.norms[:1], np.array([3]), np.array([0])), "next", users.space
    )
    assert repr(unknown) == f"Embeddings(1 user x 8, next, space {space}, 1 without a known item)"
    assert repr(model).startswith(
        "Recommender(20 films, 8 dimensions, explicit 0.5:5, positive from 3.875, 7 users"
    )
    assert f" users of {model.bundle.facts['data']['name']}, space {space})" in repr(model)


def test_of_an_unknown_user_is_refused(users):
    with pytest.raises(DataError, match=r"user_id: 'anna' is not among the 12 users. Expected .*such as 1"):
        users.of("anna")


def test_recommend_of_embeddings_equals_that_of_histories_without_exclusion(model, users, table):
    found = model.recommend(users, k=20)
    assert found.column_names == ["user_id", "item_id", "title", "rank", "score", "percentile"]
    known = set(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    left = [row for row in found.to_pylist() if (row["user_id"], row["item_id"]) not in known]
    expected = model.recommend(table, k=20).to_pylist()
    pairs = [[(row["user_id"], row["item_id"]) for row in rows] for rows in (left, expected)]
    assert pairs[0] == pairs[1]


def test_recommend_of_a_vector_leaves_out_what_was_seen(model):
    vector = model.encode(ROCKETS)
    assert model.recommend(vector, k=5, seen=ROCKETS).equals(model.recommend(ROCKETS, k=5))
    assert len(model.recommend(vector, k=50)) == 20
    with pytest.raises(DataError, match=r"vector: shape \(3,\). Expected \(8,\)"):
        model.recommend(vector[:3])


def test_similar_users_of_embeddings_have_a_row_per_pair(model, users, table):
    found = model.similar_users(users, users, k=1)
    assert found.column_names == ["user_id", "similar_user_id", "rank", "similarity"]
    np.testing.assert_allclose(found["similarity"].to_numpy(), 1, atol=1e-5)
    assert found.equals(model.similar_users(table, users, k=1))
    one = model.similar_users(users.of(3), users, k=2)
    assert one.column_names == ["user_id", "rank", "similarity"]
    assert one["similarity"][0].as_py() == pytest.approx(1, abs=1e-5)


def test_explain_of_embeddings_has_tags_without_contributions(model, users, table):
    expected = model.explain(table, contributions=0)
    assert model.explain(users) == expected
    assert model.explain(users.of(3)) == expected[3]
    assert list(expected) == users.ids.tolist()


def test_steer_of_embeddings_equals_that_of_each_vector(model, users):
    steered = model.steer(users, {"Drama": 1.0})
    for user, vector in steered:
        np.testing.assert_allclose(vector, model.steer(users.of(user), {"Drama": 1.0}), atol=1e-5)
    assert (steered.ids == users.ids).all()


def test_vectors_of_two_horizons_are_not_compared(model, users, table):
    following = model.encode(table, horizon="next")
    both = r"users: vectors have horizon overall, the call has horizon next. Expected one horizon"
    for call in (
        lambda: model.similar_users(ROCKETS, users, horizon="next"),
        lambda: model.similar_users(users, following, horizon="next"),
        lambda: model.recommend(users, horizon="next"),
        lambda: model.explain(users, horizon="next"),
        lambda: model.steer(users, {"Drama": 1.0}, horizon="next"),
    ):
        with pytest.raises(SettingsError, match=both):
            call()
    assert len(model.similar_users(ROCKETS, following, k=1, horizon="next")) == 1


def test_embeddings_of_another_space_are_refused(model, users):
    other = tv.Embeddings(
        users.ids, users.matrix, users.norms, users.n_interactions, users.n_known, "overall", "elsewhere"
    )
    for call in (model.recommend, lambda given: model.similar_users(ROCKETS, given)):
        with pytest.raises(DataError, match=r"users: vectors have space elsewhere\. Expected"):
            call(other)


def test_item_embeddings_are_the_items_with_a_vector_in_order_of_the_catalog(bundle_folder, tmp_path):
    bundle = Bundle.load(bundle_folder)
    table = bundle.model.table.copy()
    table[[0, 7]] = 0
    model = Recommender(replace(bundle, model=bundle.model.with_items(table, [])))
    items = model.encode_items()
    known = np.delete(np.arange(20), [0, 7])
    assert items.ids.tolist() == bundle.item_ids[known].tolist() == sorted(items.ids.tolist())
    assert items.titles.to_pylist() == bundle.items["title"].take(known).to_pylist()
    np.testing.assert_array_equal(items.matrix, model.item_vectors[known])
    np.testing.assert_array_equal(items.of("2"), model.item_vectors[1])
    assert items.matrix.flags.c_contiguous
    assert items.matrix.dtype == items.directions.dtype == np.float32
    for rows in (items.matrix, items.directions):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert len(items) == 18
    assert repr(items) == f"ItemEmbeddings(18 items x 8, space {bundle.space[:8]})"
    with pytest.raises(DataError, match=r"item_id: 1 is not among the 18 items. Expected .*such as 2"):
        items.of(1)
    saved = pq.read_table(items.save(tmp_path / "items.parquet"))
    assert saved.equals(items.to_arrow())
    assert saved.schema.metadata == items.to_arrow().schema.metadata
    assert items.to_arrow().column_names == ["item_id", "title", "vector"]
    assert pl.DataFrame(items)["item_id"].to_list() == items.ids.tolist()


def test_files_of_vectors_name_the_metrics_that_rank_alike(model, users):
    found = [given.to_arrow().schema.metadata for given in (users, model.encode_items())]
    assert found[0][b"metric"] == found[1][b"metric"]
    assert found[0][b"metric"].startswith(b"inner product, cosine and Euclidean distance rank")
    assert found[1][b"space"] == found[0][b"space"]
    assert found[1][b"items_with_items"].startswith(b"without the last coordinate")


@pytest.mark.parametrize("metric", ["inner product", "Euclidean distance"])
def test_directions_of_items_find_similar_items_by_any_metric(model, metric):
    items = model.encode_items()
    for row, item in enumerate(items.ids.tolist()):
        one, every = items.directions[row], items.directions
        near = every @ one if metric == "inner product" else -np.linalg.norm(every - one, axis=1)
        near[row] = -np.inf
        expected = model.similar_items(item, k=5)["item_id"].to_pylist()
        assert items.ids[np.argsort(-near)[:5]].tolist() == expected


def test_item_ids_of_text_are_text_in_the_file(model):
    items = model.encode_items()
    named = replace(items, ids=np.array([f"B{item:02}" for item in items.ids], object))
    table = named.to_arrow()
    assert table.schema.field("item_id").type == pa.string()
    assert table["item_id"].to_pylist()[:2] == ["B01", "B02"]
    np.testing.assert_array_equal(named.of("B02"), items.of(2))
