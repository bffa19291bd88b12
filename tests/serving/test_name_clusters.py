"""Clusters of users, named by the tags that set them apart."""

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tastevec as tv
import worlds
from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.serving.explain import Cluster, TagExplanation, explain_clusters
from tastevec.serving.recommender import Recommender

FIELDS = {"user_id": "user", "item_id": "item", "rating": "stars", "timestamp": "time"}
TABLE = {name: [getattr(row, field) for row in worlds.ratings()] for name, field in FIELDS.items()}


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@pytest.fixture(scope="module", name="users")
def _users(model):
    return model.encode(TABLE)


def crowd(model, size, *, shift=0.0):
    """Return users of random directions; the first third is shifted along the first tag."""
    rows = np.random.default_rng(3).normal(size=(size, model.item_vectors.shape[1]))
    rows[: size // 3] += shift * model.tags.directions[0] / np.linalg.norm(model.tags.directions[0])
    ones = np.ones(size, np.int64)
    matrix = rows.astype(np.float32)
    return tv.Embeddings(np.arange(size), matrix, ones, ones, ones, "overall", model.bundle.space)


def test_cluster_prints_as_one_line():
    more, less = (
        TagExplanation(tag, strength, 0.5, ()) for tag, strength in (("Drama", 1.12), ("War", -0.4))
    )
    assert str(Cluster("a", 1020, (more,), (less,))) == "cluster a, 1,020 users: Drama +1.1; War -0.4"
    assert str(Cluster(3, 7, (), ())) == "cluster 3, 7 users: nothing more; nothing less"


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_strength_of_a_cluster_is_the_difference_of_the_mean_strengths(model, horizon):
    users = model.encode(TABLE, horizon=horizon)
    labels = np.where(users.ids <= 6, "rockets", "letters")
    strengths = model.tags.strengths(users.matrix, horizon)
    clusters = {cluster.label: cluster for cluster in model.name_clusters(labels, users, k=20)}
    assert {label: cluster.n_users for label, cluster in clusters.items()} == {"rockets": 6, "letters": 6}
    for label, cluster in clusters.items():
        expected = strengths[labels == label].mean(axis=0) - strengths[labels != label].mean(axis=0)
        assert cluster.up or horizon == "next"  # in which the tiny model tells hardly anyone apart
        for tag in (*cluster.up, *cluster.down):
            index = model.tags.names.index(tag.tag)
            assert tag.strength == pytest.approx(expected[index], abs=1e-5)
            assert tag.reliability == model.tags.reliability[index]
            assert (tag.strength > 0) == (tag in cluster.up)
    for one, other in (("rockets", "letters"), ("letters", "rockets")):
        assert [tag.tag for tag in clusters[one].up] == [tag.tag for tag in clusters[other].down]
    shifted = [[abs(tag.strength) * tag.reliability for tag in cluster.up] for cluster in clusters.values()]
    assert all(weights == sorted(weights, reverse=True) for weights in shifted)


def test_shifted_cluster_is_named_by_its_tag_and_random_ones_by_none(model):
    users = crowd(model, 300, shift=3.0)
    labels = np.repeat(["shifted", "other", "third"], 100)
    [shifted] = [cluster for cluster in model.name_clusters(labels, users, k=1) if cluster.label == "shifted"]
    along = model.tags.directions @ model.tags.directions[0]
    assert along[model.tags.names.index(shifted.up[0].tag)] > 0
    rng = np.random.default_rng(0)
    drawn = [model.name_clusters(rng.integers(0, 4, 300), users) for _ in range(20)]
    assert sum(bool(cluster.up or cluster.down) for clusters in drawn for cluster in clusters) <= 8


def test_equal_users_and_pairs_of_users_have_no_name(model, users):
    equal = replace(users, matrix=np.repeat(users.matrix[:1], 12, axis=0))
    for labels in (np.arange(12) % 3, np.arange(12)):
        assert not any(cluster.up or cluster.down for cluster in model.name_clusters(labels, equal))
    two = replace(users, ids=users.ids[[0, 11]], matrix=users.matrix[[0, 11]])
    assert not any(cluster.up or cluster.down for cluster in model.name_clusters([0, 1], two))


@given(
    st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(lambda labels: len(set(labels)) > 1),
    st.randoms(),
)
@settings(max_examples=25)
def test_order_of_users_and_names_of_labels_change_nothing(model, users, labels, random):
    order = random.sample(range(12), 12)
    moved = replace(users, ids=users.ids[order], matrix=users.matrix[order])
    renamed = [(labels[row], "x") for row in order]
    one, two = explain_clusters(model.tags, labels, users), explain_clusters(model.tags, renamed, moved)
    assert [cluster.n_users for cluster in one] == sorted(
        (labels.count(x) for x in set(labels)), reverse=True
    )
    names = {cluster.label: cluster for cluster in one}
    for cluster in two:
        same = names.pop(cluster.label[0])
        for found, expected in ((cluster.up, same.up), (cluster.down, same.down)):
            assert {tag.tag for tag in found} == {tag.tag for tag in expected}
            strengths = [tag.strength for tag in expected]
            np.testing.assert_allclose([tag.strength for tag in found], strengths, rtol=1e-6)
    assert not names


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pl.Series, pa.array])
def test_labels_of_any_kind_give_the_same_clusters(model, users, kind):
    labels = [2] * 7 + [1] * 5
    assert model.name_clusters(kind(labels), users) == model.name_clusters(labels, users)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0] * 6 + [1] * 5, r"labels: 11 labels\. Expected 12, one per user"),
        ([0] * 6 + [float("nan")] * 6, r"labels, row 6: nan \(6 of 12 labels are missing\)"),
        ([0] * 11 + [None], r"labels, row 11: None \(1 of 12 labels are missing\)"),
        (pd.Series([0] * 11 + [None], dtype="Int64"), r"labels, row 11: <NA> \(1 of 12"),
        (
            np.zeros(12),
            r"labels: one cluster of all 12 users\. Expected 2 or more: nothing sets all users apart",
        ),
        (np.zeros((12, 2)), r"labels: unhashable type: 'list'\. Expected one hashable label per user"),
    ],
)
def test_labels_that_are_no_clustering_are_refused(model, users, labels, message):
    with pytest.raises(DataError, match=message):
        model.name_clusters(labels, users)


def test_users_of_another_space_without_tags_or_as_a_matrix_are_refused(model, users):
    labels = [0, 1] * 6
    with pytest.raises(DataError, match=r"users: vectors have space elsewhere\. Expected"):
        model.name_clusters(labels, replace(users, space="elsewhere"))
    with pytest.raises(DataError, match=r"users: ndarray\. Expected Embeddings"):
        model.name_clusters(labels, users.matrix)
    with pytest.raises(SettingsError, match=r"k: 0\. Expected 1 or more"):
        model.name_clusters(labels, users, k=0)
    with pytest.raises(FormatError, match=r"the model: no tags\. Expected a dataset with tags"):
        Recommender(replace(model.bundle, tags=None)).name_clusters(labels, users)
