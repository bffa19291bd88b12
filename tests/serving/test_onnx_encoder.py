"""The ONNX encoder equals the trained network."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import KINDS, SCALE, encoder
from tastevec.data.inputs import InputConfig
from tastevec.errors import FormatError
from tastevec.model.export import export_onnx
from tastevec.serving.bundle import Bundle
from tastevec.serving.encoder import OnnxEncoder
from users import users, world

LENGTHS = (0, 1, 2, 3, 7, 11, 12, 13, 20)  # items per history; the newest 12 are read in order
HORIZONS = ("next", "overall")


def _served(model, folder):
    model.save_pretrained(folder)
    export_onnx(model, folder / "encoder.onnx")
    return OnnxEncoder.load(folder)


@pytest.fixture(scope="module", params=KINDS.args[1], ids=KINDS.kwargs["ids"])
def both(request, tmp_path_factory):
    """Return a network, its ONNX encoder and the input configuration of both."""
    shape, layout = request.param
    model = encoder(**shape)
    return model, _served(model, tmp_path_factory.mktemp("served")), InputConfig(SCALE, 12, **layout)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_onnx_encoder_of_each_length_equals_the_network(both, horizon):
    model, served, reading = both
    for count in LENGTHS:
        arrays = reading.arrays(users([(item, 1 + item % 5) for item in range(count)]))
        found, expected = served.encode(horizon, **arrays), model.encode(horizon, **arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert found.dtype == np.float32


@pytest.mark.parametrize("horizon", HORIZONS)
def test_onnx_encoder_of_a_batch_equals_single_users(both, horizon):
    model, served, reading = both
    arrays = reading.arrays(world())
    together = served.encode(horizon, **arrays)
    np.testing.assert_allclose(together, model.encode(horizon, **arrays), rtol=1e-5, atol=1e-5)
    for user, own in enumerate(world().chunks(1)):
        alone = served.encode(horizon, **reading.arrays(own))[0]
        np.testing.assert_allclose(alone, together[user], rtol=1e-5, atol=1e-5)


def test_new_items_do_not_change_vectors_and_are_read_as_by_the_network(both):
    model, served, reading = both
    arrays = reading.arrays(world())
    table = np.vstack([model.table, np.ones((2, 8), np.float32)])
    grown, expected = served.with_items(table, [20, 21]), model.with_items(table, [20, 21])
    later = reading.arrays(users([(20, 5), (3, 2), (21, 1)]))
    for horizon in HORIZONS:
        np.testing.assert_array_equal(grown.encode(horizon, **arrays), served.encode(horizon, **arrays))
        found, wanted = grown.encode(horizon, **later), expected.encode(horizon, **later)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert grown.added_items == [20, 21]
    assert served.added_items == []
    np.testing.assert_array_equal(grown.item_vectors, expected.item_vectors)


def test_onnx_encoder_loads_equal_after_save(both, tmp_path):
    _, served, reading = both
    served.save_pretrained(tmp_path)
    again, arrays = OnnxEncoder.load(tmp_path), reading.arrays(world())
    assert again.config == served.config
    for horizon in HORIZONS:
        np.testing.assert_array_equal(again.encode(horizon, **arrays), served.encode(horizon, **arrays))


@settings(max_examples=30)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.integers(0, 19), st.integers(1, 5)), max_size=15, unique_by=lambda r: r[0]),
        min_size=1,
        max_size=4,
    )
)
def test_onnx_encoder_of_random_users_equals_the_network(both_taste, rows):
    model, served, reading = both_taste
    arrays = reading.arrays(users(*rows))
    for horizon in HORIZONS:
        found, expected = served.encode(horizon, **arrays), model.encode(horizon, **arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def both_taste(tmp_path_factory):
    shape, layout = KINDS.args[1][0]
    model = encoder(**shape)
    return model, _served(model, tmp_path_factory.mktemp("taste")), InputConfig(SCALE, 12, **layout)


def test_bundle_with_and_without_torch_is_equal(bundle_folder):
    one, two = Bundle.load(bundle_folder, "onnx"), Bundle.load(bundle_folder, "torch")
    assert isinstance(one.model, OnnxEncoder)
    assert not isinstance(two.model, OnnxEncoder)
    np.testing.assert_array_equal(one.model.item_vectors, two.model.item_vectors)
    arrays = one.reading.arrays(world())
    for horizon in HORIZONS:
        np.testing.assert_allclose(
            one.model.encode(horizon, **arrays), two.model.encode(horizon, **arrays), rtol=1e-5, atol=1e-5
        )


def test_bundle_without_a_graph_needs_torch(bundle_folder, tmp_path):
    Bundle.load(bundle_folder, "torch").save(tmp_path / "no-graph")  # no graph: see conftest
    assert not isinstance(Bundle.load(tmp_path / "no-graph").model, OnnxEncoder)
    with pytest.raises(FormatError, match=r"no encoder\.onnx"):
        Bundle.load(tmp_path / "no-graph", "onnx")


def test_bundle_without_torch_encodes_and_recommends(bundle_folder):
    code = f"""
import json, sys
for name in ("torch", "transformers", "duckdb", "ibis", "sklearn", "scipy", "implicit"):
    sys.modules[name] = None
import tastevec as tv
model = tv.load({str(bundle_folder)!r})
assert len(model.encode({{"user_id": [1, 2], "item_id": [1, 2], "rating": [5, 1], "rated_at": ["2024-03-02"] * 2}})) == 2
print(json.dumps([model.encode([(1, 5.0), (2, 1.0)]).tolist(), model.recommend([(1, 5.0)], k=3).to_pylist()]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    vector, items = json.loads(result.stdout)
    expected = Bundle.load(bundle_folder, "torch")
    arrays = expected.reading.arrays(users([(0, 5), (1, 1)]))
    [[unit], _] = expected.model.geometry.of_users(expected.model.encode("overall", **arrays))
    np.testing.assert_allclose(vector, unit, rtol=1e-4, atol=1e-5)
    assert len(items) == 3
