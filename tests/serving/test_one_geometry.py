"""A vector database ranks the vectors of a model as `recommend` does, whatever its metric."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

import tastevec as tv
import worlds
from encoders import TINY_NOTE
from tastevec.serving.bundle import Bundle
from tastevec.serving.recommender import Recommender

METRICS = {
    "inner product": lambda users, items: users @ items.T,
    "cosine": lambda users, items: _unit(users) @ _unit(items).T,
    "Euclidean distance": lambda users, items: -np.linalg.norm(users[:, None] - items, axis=2),
}
TABLE = {
    name: [getattr(row, field) for row in worlds.ratings()]
    for name, field in {
        "user_id": "user",
        "item_id": "item",
        "rating": "stars",
        "timestamp": "time",
    }.items()
}


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["taste", "bert-cosine", "direction"], name="model")
def _model(request, bundle_folder, direction_folder, prepared_folder, tmp_path_factory):
    if request.param == "taste":
        return tv.load(bundle_folder)
    if request.param == "direction":
        return tv.load(direction_folder)
    return tv.train(
        prepared_folder, tmp_path_factory.mktemp("note") / "model", preset="bert-cosine", **TINY_NOTE
    )


@pytest.mark.parametrize("horizon", ["next", "overall"])
@pytest.mark.parametrize("door", ["Python", "file"])
def test_best_items_are_equal_by_inner_product_cosine_and_euclidean_distance(model, horizon, door, tmp_path):
    embeddings = model.encode(TABLE, horizon=horizon)
    users, norms = embeddings.matrix, embeddings.norms
    if door == "file":
        table = pq.read_table(embeddings.save(tmp_path / "vectors.parquet"))
        users = np.stack(table["vector"].to_numpy())
        np.testing.assert_array_equal(table["norm"].to_numpy(), norms)
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, rtol=1e-6)
    known = model.item_vectors.any(axis=1)
    items, ids = model.item_vectors[known], model.bundle.item_ids[known]
    found = model.recommend(embeddings, k=10, horizon=horizon)
    expected = np.reshape(found["item_id"].to_numpy(), (len(users), 10))
    for name, metric in METRICS.items():
        best = np.argsort(-metric(users.astype(np.float64), items.astype(np.float64)), axis=1)[:, :10]
        np.testing.assert_array_equal(ids[best], expected, err_msg=name)
    assert abs(found["score"].to_numpy()).max() <= 1 + 1e-6


def test_exported_items_have_unit_length_and_say_how_items_are_compared(model):
    items = model.encode_items()
    for rows in (items.matrix, items.directions):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    compared = items.to_arrow().schema.metadata[b"items_with_items"]
    if model.bundle.model.geometry.folds:
        assert compared.startswith(b"without the last coordinate")
        assert not items.directions[:, -1].any()
    else:
        assert compared == b"by any of these"
        np.testing.assert_allclose(items.directions, items.matrix, atol=1e-6)


def test_similar_items_do_not_depend_on_the_length_of_an_item(bundle_folder):
    """Shorter items have another fold, and the same neighbors."""
    bundle = Bundle.load(bundle_folder)
    lengths = np.linspace(0.1, 1, len(bundle.model.table), dtype=np.float32)
    scaled = bundle.model.with_items(bundle.model.table * lengths[:, None], [])
    model, shorter = Recommender(bundle), Recommender(replace(bundle, model=scaled))
    assert abs(shorter.item_vectors - model.item_vectors)[:, -1].max() > 0.1
    for item in range(1, 21):
        one, two = model.similar_items(item, k=5), shorter.similar_items(item, k=5)
        assert one["item_id"].equals(two["item_id"])
        np.testing.assert_allclose(one["similarity"].to_numpy(), two["similarity"].to_numpy(), atol=1e-5)


def test_user_vectors_tags_and_directions_have_no_fold(bundle_folder):
    model = tv.load(bundle_folder)
    users = model.encode(TABLE)
    assert not users.matrix[:, -1].any()
    assert not model.tags.directions[:, -1].any()
    assert not model.item_directions[:, -1].any()
    assert not model.steer(users, {model.tags.names[0]: 2.0}).matrix[:, -1].any()


def test_steered_vectors_have_unit_length_and_the_ranking_of_the_move(bundle_folder):
    model = tv.load(bundle_folder)
    users, tag = model.encode(TABLE), {model.tags.names[0]: -1.5}
    steered = model.steer(users, tag)
    np.testing.assert_allclose(np.linalg.norm(steered.matrix, axis=1), 1, rtol=1e-6)
    moved = np.stack([model.tags.steer(vector, tag) for vector in users.matrix])
    lengths = np.linalg.norm(moved, axis=1)
    np.testing.assert_allclose(steered.matrix * lengths[:, None], moved, atol=1e-6)
    np.testing.assert_allclose(steered.norms, users.norms * lengths, rtol=1e-5)
    np.testing.assert_allclose(model.steer(users.matrix[0], tag), steered.matrix[0], atol=1e-6)
