"""A model of preset direction: trained, saved and loaded without torch, and the same at every door."""

import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

import tastevec as tv
import worlds
from tastevec.data.files import manifest_text, sha256_of
from tastevec.errors import FormatError, SettingsError, TrainingError
from tastevec.model.direction import DirectionEncoder
from tastevec.pipelines.batch import _Model
from tastevec.pipelines.train import train
from tastevec.serving.bundle import Bundle
from users import world

USER = [(1, 5.0), (2, 1.0), (3, 4.0)]


@pytest.fixture(scope="module", name="model")
def _model(direction_folder):
    return tv.load(direction_folder)


def resealed(folder):
    """Return the folder with the checksums of its files as they are."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["checksums"] = {name: sha256_of(folder / name) for name in manifest["checksums"]}
    (folder / "bundle.json").write_text(manifest_text(manifest))
    return folder


def test_model_folder_has_neither_a_graph_nor_code(direction_folder):
    assert {path.name for path in direction_folder.iterdir()} == {
        *("README.md", "bundle.json", "config.json", "items.parquet"),
        *("item_cold_start.safetensors", "model.safetensors", "tags.safetensors"),
    }
    manifest = json.loads((direction_folder / "bundle.json").read_text())
    assert manifest["settings"]["preset"] == "direction"
    assert set(manifest["closed_form"]["ridges"]) == {"means", "items"}
    assert manifest["validation"]["eval_validation_score"] == -manifest["validation"]["eval_cosine_distance"]


@pytest.mark.parametrize("runtime", ["auto", "onnx", "torch"])
def test_every_runtime_is_numpy(direction_folder, model, runtime):
    loaded = tv.load(direction_folder, runtime=runtime)
    assert isinstance(loaded.bundle.model, DirectionEncoder)
    np.testing.assert_array_equal(loaded.encode(USER), model.encode(USER))


def test_every_door_has_the_vector_of_the_encoder(model):
    histories = world()
    expected = model.bundle.model.encode("overall", **model.bundle.reading.arrays(histories))
    expected, _ = model.bundle.model.geometry.of_users(expected)
    table = {
        "user_id": histories.user_ids[histories.owners],
        "item_id": histories.items + 1,
        "rating": histories.ratings,
    }
    found = model.encode(pa.table(table))
    np.testing.assert_allclose(found.matrix, expected, atol=1e-6)
    shipped = pickle.loads(  # noqa: S301  what Spark does with its workers
        pickle.dumps(_Model(model.bundle.model, model.bundle.reading, model.bundle.item_ids, "", None))
    )
    again = shipped.encoder.encode("next", **model.bundle.reading.arrays(histories))
    np.testing.assert_allclose(model.bundle.model.geometry.of_users(again)[0], expected, atol=1e-6)


def test_horizons_and_orders_of_a_history_are_one_vector(model):
    np.testing.assert_array_equal(model.encode(USER), model.encode(USER, horizon="next"))
    np.testing.assert_array_equal(model.encode(USER), model.encode(USER[::-1]))


def test_model_saved_again_has_equal_bytes(direction_folder, tmp_path):
    again = Bundle.load(direction_folder).save(tmp_path / "again")
    for name in ("model.safetensors", "config.json", "items.parquet", "item_cold_start.safetensors"):
        assert (again / name).read_bytes() == (direction_folder / name).read_bytes()


def test_added_item_changes_no_vector_and_can_be_recommended(model, tmp_path):
    new = {"item_id": [900], "title": ["New"], "genres": [["Drama"]]}
    grown = model.with_items(pa.table(new))
    np.testing.assert_array_equal(grown.encode(USER), model.encode(USER))
    grown.save(tmp_path / "grown")
    loaded = tv.load(tmp_path / "grown")
    assert loaded.bundle.space == model.bundle.space
    assert 900 in loaded.similar_items(1, k=worlds.ITEMS)["item_id"].to_pylist()
    np.testing.assert_allclose(np.linalg.norm(loaded.item_vectors[-1]), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["from_means", "from_items", "from_grades", "grades", "items.weight"])
def test_array_of_another_shape_is_refused(direction_folder, tmp_path, name):
    folder = shutil.copytree(direction_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, name: weights[name][:-1]}, folder / "model.safetensors")
    with pytest.raises(FormatError, match=rf"array {name}: .* of shape"):
        Bundle.load(resealed(folder))


def test_resumed_training_and_settings_of_a_network_are_refused(prepared_folder, tmp_path):
    with pytest.raises(TrainingError, match="no run to resume"):
        train(prepared_folder, tmp_path / "model", preset="direction", resume=True)
    with pytest.raises(SettingsError, match="epochs: not a setting of preset direction"):
        train(prepared_folder, tmp_path / "model", preset="direction", epochs=3)
    assert not list(tmp_path.iterdir())
