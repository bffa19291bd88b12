"""Alignment of two models: items of the fit, files and the command."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tastevec as tv
import worlds
from tastevec.cli.app import app
from tastevec.errors import DataError, FormatError, SourceError
from tastevec.serving.align import Alignment, rotate_users
from tastevec.serving.bundle import Bundle
from tastevec.serving.recommender import Recommender, load

RATINGS = [(1, 5.0), (7, 2.0), (3, 4.5)]


def with_rotation(bundle, rotation, *, ids=range(1, 21)):
    """Return the model with rotated vectors, which leaves the fold, and these item IDs, as after another training."""
    model, geometry = bundle.model.with_items(bundle.model.table, []), bundle.model.geometry
    for name in ("user_basis", "item_basis"):
        model._weights[name] = (getattr(geometry, name) @ rotation[:-1, :-1]).astype(np.float32)
    items = bundle.items.set_column(0, "item_id", pa.array(ids, bundle.items.schema.field("item_id").type))
    facts = {**bundle.facts, "space": "rotated"}
    return Recommender(dataclasses.replace(bundle, model=model, items=items, facts=facts))


@pytest.fixture(scope="module", name="old")
def _old(bundle_folder):
    return load(bundle_folder)


@pytest.fixture(scope="module", name="rotation")
def _rotation():
    rotation = np.eye(8)
    rotation[:-1, :-1] = np.linalg.qr(np.random.default_rng(3).normal(size=(7, 7)))[0]
    return rotation


@pytest.fixture(name="new")
def _new(old, rotation):
    return with_rotation(old.bundle, rotation)


def test_align_rotated_model_recovers_the_rotation(new, old):
    found = tv.align(new, old)
    np.testing.assert_allclose(found.apply(new.item_vectors), old.item_vectors, atol=1e-3)
    assert (found.new, found.old, found.items) == (new.bundle.space, old.bundle.space, worlds.ITEMS)
    spaces = f"space rotated to {old.bundle.space[:8]}"
    assert repr(found) == f"Alignment({spaces}, 20 items, held-out mean cosine 1.000)"
    assert found.held_out.residual < 1e-4
    assert found.unaligned.residual > 0.5


def test_align_pairs_items_by_id(old, rotation):
    found = tv.align(with_rotation(old.bundle, rotation, ids=[0, *range(2, 21)]), old)
    assert found.items == worlds.ITEMS - 1
    assert found.held_out.residual < 1e-4


def test_align_ignores_unrated_items(new, old):
    counts = old.bundle.items["train_users"].to_numpy().copy()
    counts[[2, 3]] = 0
    place = old.bundle.items.column_names.index("train_users")
    items = old.bundle.items.set_column(place, "train_users", pa.array(counts))
    assert tv.align(new, Recommender(dataclasses.replace(old.bundle, items=items))).items == worlds.ITEMS - 2


def test_align_models_of_one_space_is_refused(old, bundle_folder):
    with pytest.raises(DataError, match="so their vectors are comparable"):
        tv.align(bundle_folder, old)


def test_load_equals_what_was_saved(new, old, tmp_path):
    found = tv.align(new, old)
    again = Alignment.load(found.save(tmp_path / "aligned"))
    assert again.facts == found.facts
    np.testing.assert_array_equal(again.rotation, found.rotation)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            "rotation.safetensors",
            r"rotation\.safetensors.* Run tastevec align again",
        ),
        ("alignment.json", "alignment.json.* Run tastevec align again"),
        ("format", "format 3. Expected format 2. Run: tastevec align"),
    ],
)
def test_load_damaged_alignment_is_refused(new, old, tmp_path, harm, message):
    folder = tv.align(new, old).save(tmp_path / "aligned")
    if harm == "format":
        metadata = json.loads((folder / "alignment.json").read_text())
        (folder / "alignment.json").write_text(json.dumps({**metadata, "format": 3}))
    else:
        content = (folder / harm).read_bytes()
        (folder / harm).write_bytes(content[:-9] + content[-8:])
    with pytest.raises(FormatError, match=message):
        Alignment.load(folder)
    with pytest.raises(
        FormatError, match=r"no alignment\.json\. Expected an alignment\. Run: tastevec align NEW OLD"
    ):
        Alignment.load(tmp_path)


def write_user_vectors(model, path):
    """Write user vectors as `encode` does; return them."""
    vectors = np.stack([model.encode(RATINGS[:count], horizon="overall") for count in (1, 2, 3)])
    schema = pa.schema(
        {"user_id": pa.int64(), "vector": pa.list_(pa.float32(), 8)},
        metadata={"space": model.bundle.space, "horizon": "overall"},
    )
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    pq.write_table(pa.Table.from_arrays([pa.array([1, 2, 3]), lists], schema=schema), path)
    return vectors


def test_rotate_users_writes_vectors_and_metadata(new, old, tmp_path):
    found = tv.align(new, old)
    vectors = write_user_vectors(new, tmp_path / "new.parquet")
    assert rotate_users(found, tmp_path / "new.parquet", tmp_path / "old.parquet") == 3
    table = pq.read_table(tmp_path / "old.parquet")
    np.testing.assert_allclose(np.stack(table["vector"].to_numpy()), found.apply(vectors), atol=1e-6)
    metadata = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert metadata["space"] == old.bundle.space
    assert metadata["aligned_from"] == new.bundle.space
    assert metadata["aligned_cosine"] == f"{found.held_out.cosine:.4f}"
    assert metadata["horizon"] == "overall"


def test_similar_users_with_aligned_vectors_warns(new, old, tmp_path):
    write_user_vectors(new, tmp_path / "new.parquet")
    with pytest.raises(DataError, match="vectors have space rotated"):
        old.similar_users(RATINGS, tmp_path / "new.parquet")
    rotate_users(tv.align(new, old), tmp_path / "new.parquet", tmp_path / "old.parquet")
    with pytest.warns(
        UserWarning, match=r"vectors were aligned from space rotated, so similarities are approximate"
    ):
        near = old.similar_users(RATINGS, tmp_path / "old.parquet")
    assert set(near["user_id"].to_pylist()) == {1, 2, 3}
    with pytest.raises(DataError, match="vectors have space"):
        new.similar_users(RATINGS, tmp_path / "old.parquet")


def test_rotate_users_of_another_space_is_refused(new, old, tmp_path):
    found = tv.align(new, old)
    write_user_vectors(old, tmp_path / "other.parquet")
    with pytest.raises(DataError, match=f"Expected {new.bundle.space}"):
        rotate_users(found, tmp_path / "other.parquet", tmp_path / "out.parquet")
    write_user_vectors(new, tmp_path / "new.parquet")
    rotate_users(found, tmp_path / "new.parquet", tmp_path / "once.parquet")
    with pytest.raises(DataError):
        rotate_users(found, tmp_path / "once.parquet", tmp_path / "twice.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(SourceError, match="Expected a Parquet file from tastevec encode"):
        rotate_users(found, tmp_path / "text.parquet", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_align_command_writes_rotation_and_vectors(new, bundle_folder, tmp_path):
    new.save(tmp_path / "new")
    space = Bundle.load(tmp_path / "new").space
    write_user_vectors(load(tmp_path / "new"), tmp_path / "users.parquet")
    where = ["--vectors", str(tmp_path / "users.parquet"), "--out", str(tmp_path / "aligned")]
    done = CliRunner().invoke(app, ["align", str(tmp_path / "new"), str(bundle_folder), *where])
    assert done.exit_code == 0, done.output
    assert f"rotation from space {space} to" in done.stdout
    assert "Aligned 3 user vectors" in done.stdout
    assert "held-out fifth, items paired at random" in done.stdout
    assert {file.name for file in (tmp_path / "aligned").iterdir()} == {
        "alignment.json",
        "rotation.safetensors",
        "vectors.parquet",
    }
    shutil.rmtree(tmp_path / "aligned")
    metadata = CliRunner().invoke(
        app, ["align", str(tmp_path / "new"), str(bundle_folder), *where[2:], "--json"]
    )
    assert json.loads(metadata.stdout)["items"] == worlds.ITEMS
