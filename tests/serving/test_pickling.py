"""Models and embeddings in other processes: pickle, copies, joblib, and pools that fork or spawn."""

import copy
import multiprocessing
import pickle

import joblib
import numpy as np
import pytest

import tastevec as tv
from tastevec.serving.recommender import Recommender

ANNA = [(1, 5), (3, 4), (12, 1), (5, 5)]
MANY = {user: ANNA[: user % 4 + 1] for user in range(40)}


@pytest.fixture(scope="module", name="model", params=["onnx", "torch"])
def _model(request, bundle_folder) -> Recommender:
    return tv.load(bundle_folder, runtime=request.param)


@pytest.fixture(scope="module", name="light")
def _light(bundle_folder) -> Recommender:
    return tv.load(bundle_folder, runtime="onnx")


def encoded(model, histories=ANNA):
    return np.asarray(model.encode(histories, horizon="next"))


def unpickled(model):
    return pickle.loads(pickle.dumps(model))  # noqa: S301  our own bytes


def without_copying(model):
    """Return the model with arrays in memory that is read-only, as Ray and Dask share it."""
    buffers = []
    pickled = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(pickled, buffers=[bytes(buffer.raw()) for buffer in buffers])  # noqa: S301  our own bytes


@pytest.mark.parametrize("copied", [unpickled, without_copying, copy.deepcopy, copy.copy])
def test_copy_of_model_returns_the_same_vectors_and_items(model, copied):
    model.similar_items(1)  # with an index for them
    other = copied(model)
    np.testing.assert_array_equal(encoded(other), encoded(model))
    np.testing.assert_array_equal(encoded(other, MANY), encoded(model, MANY))
    assert other.recommend(ANNA).equals(model.recommend(ANNA))
    assert other.similar_items(1).equals(model.similar_items(1))
    assert repr(other) == repr(model)


@pytest.mark.parametrize("copied", [unpickled, without_copying, copy.deepcopy, copy.copy])
def test_copy_of_embeddings_is_equal(light, copied):
    for vectors in (light.encode(MANY), light.encode_items()):
        other = copied(vectors)
        assert other.to_arrow().equals(vectors.to_arrow(), check_metadata=True)
        assert (repr(other), other.space) == (repr(vectors), vectors.space)


def test_model_dumped_by_joblib_returns_the_same_vectors(light, tmp_path):
    joblib.dump(light, tmp_path / "model.joblib")
    np.testing.assert_array_equal(encoded(joblib.load(tmp_path / "model.joblib")), encoded(light))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_pool_of_processes_returns_the_same_vectors(light, start):
    expected = encoded(light)  # opens a session here, which a fork has no threads of
    with multiprocessing.get_context(start).Pool(1) as pool:
        one, many = (pool.apply_async(light.encode, [each], {"horizon": "next"}) for each in (ANNA, MANY))
        np.testing.assert_array_equal(one.get(60), expected)
        np.testing.assert_array_equal(many.get(60), encoded(light, MANY))
