"""Encoding in batches equals encoding of single users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import NOTE, encoder, reading
from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.value_scale import normalize_ratings
from tastevec.pipelines.batch import load_for_batch
from tastevec.serving import encoder as bulk
from tastevec.serving.bundle import Bundle
from tastevec.serving.encoder import OnnxEncoder, batches_by_length, encode_histories, gpu_available
from users import of_every_length, together, world

HORIZONS = pytest.mark.parametrize("horizon", ["next", "overall"])


@pytest.fixture(scope="module", params=["onnx", "torch"], name="bundle")
def _bundle(request, bundle_folder):
    return Bundle.load(bundle_folder, request.param)


@given(widths=st.lists(st.integers(1, 30), max_size=40), most=st.integers(1, 60))
def test_batches_contain_each_user_once_by_ascending_width_within_the_limit(widths, most):
    batches = batches_by_length(np.array(widths, np.int64), most)
    order = [user for batch in batches for user in batch.tolist()]
    assert sorted(order) == list(range(len(widths)))
    assert [widths[user] for user in order] == sorted(widths)
    for batch in batches:
        assert len(batch) * max(widths[user] for user in batch) <= most or len(batch) == 1


@HORIZONS
@pytest.mark.parametrize("items", [1, 30, 10_000])
def test_vector_of_a_user_does_not_depend_on_the_batch(bundle, horizon, items, monkeypatch):
    monkeypatch.setattr(bulk, "_BATCH_ITEMS", items)
    crowd = together(world(), of_every_length(), world())
    found = encode_histories(bundle.model, bundle.reading, crowd, horizon)
    assert found.vectors.dtype == found.norms.dtype == np.float32
    for user, alone in enumerate(crowd.chunks(1)):
        embedding = bundle.model.encode(horizon, **bundle.reading.arrays(alone))
        [expected], [norm] = bundle.model.geometry.of_users(embedding)
        np.testing.assert_allclose(found.vectors[user], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.norms[user], norm, rtol=1e-5)


def test_encoder_with_fixed_padding_gets_it_for_each_length():
    model, how = encoder(**NOTE), reading(pad="full")
    crowd = of_every_length()
    found = encode_histories(model, how, crowd, "next")
    for user, alone in enumerate(crowd.chunks(1)):
        [expected] = model.encode("next", **how.arrays(alone))
        np.testing.assert_allclose(found.vectors[user] * found.norms[user], expected, rtol=1e-5, atol=1e-5)


def test_encode_of_no_users_returns_an_empty_matrix(bundle):
    empty = world().take(np.zeros(0, np.int64))
    assert encode_histories(bundle.model, bundle.reading, empty, "next").vectors.shape == (
        0,
        bundle.model.table.shape[1],
    )


@HORIZONS
def test_encode_of_500_000_ratings_reads_the_newest(bundle, horizon):
    count = 500_000
    rng = np.random.default_rng(3)
    ratings, offsets = rng.integers(1, 6, count).astype(np.float32), np.array([0, count])
    items = rng.integers(0, 20, count).astype(np.int32)
    one = Histories(
        np.array([7]),
        offsets,
        items,
        ratings,
        normalize_ratings(ratings, offsets),
        np.full(count, NO_TIMESTAMP),
    )
    newest = max(bundle.reading.max_history, bundle.reading.max_history_overall)
    found, _ = encode_histories(bundle.model, bundle.reading, one, horizon)
    expected, _ = encode_histories(bundle.model, bundle.reading, one.last(newest), horizon)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(found).all()


def test_onnx_encoder_uses_the_given_number_of_cores(bundle_folder):
    all_cores = OnnxEncoder.load(bundle_folder)
    one = OnnxEncoder(*all_cores.parts, cores=1)
    assert (one.cores, all_cores.cores >= 1) == (1, True)
    how, crowd = Bundle.load(bundle_folder).reading, together(world(), of_every_length())
    np.testing.assert_allclose(
        encode_histories(one, how, crowd, "next").vectors,
        encode_histories(all_cores, how, crowd, "next").vectors,
        rtol=1e-5,
        atol=1e-5,
    )


def test_single_threaded_encoder_returns_equal_vectors_with_and_without_new_items(bundle_folder):
    bundle = Bundle.load(bundle_folder, "onnx")
    all_cores, arrays = bundle.model, bundle.reading.arrays(world())
    alone = all_cores.single_threaded()
    assert alone.cores == 1
    assert all_cores.single_threaded()._graph is alone._graph  # whose session is opened once
    np.testing.assert_allclose(
        alone.encode("next", **arrays), all_cores.encode("next", **arrays), rtol=1e-5, atol=1e-5
    )
    table = np.vstack([all_cores.table, np.ones_like(all_cores.table[:1])])
    grown = all_cores.with_items(table, [len(table) - 1]).single_threaded()
    assert len(grown.table) == len(table)
    np.testing.assert_array_equal(grown.encode("next", **arrays), alone.encode("next", **arrays))


def test_torch_is_the_batch_runtime_only_with_a_gpu(bundle_folder, monkeypatch):
    """PyTorch finds no GPU here, whatever the driver reports."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for there in (False, True):
        monkeypatch.setattr("tastevec.serving.encoder.gpu_available", lambda there=there: there)
        assert isinstance(load_for_batch(bundle_folder).bundle.model, OnnxEncoder)


def test_gpu_count_without_a_driver_is_zero(monkeypatch):
    def no_driver(_name):
        raise OSError

    monkeypatch.setattr("ctypes.CDLL", no_driver)
    assert not gpu_available()


@pytest.mark.parametrize(("count", "error", "expected"), [(1, 0, True), (0, 0, False), (1, 100, False)])
def test_gpu_count_is_read_from_the_driver(monkeypatch, count, error, expected):
    class Driver:
        def cuInit(self, _flags):  # noqa: N802  the driver's own name
            return error

        def cuDeviceGetCount(self, found):  # noqa: N802  as above
            found._obj.value = count
            return 0

    monkeypatch.setattr("ctypes.CDLL", lambda _name: Driver())
    assert gpu_available() is expected
