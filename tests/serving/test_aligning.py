"""Two trained models, one space: by which films, written how, and read how."""

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


def turned(bundle, turn, *, ids=range(1, 21)):
    """The model as another training would leave it: its film table turned, its films by these ids."""
    model = bundle.model.with_items(np.asarray(bundle.model.table @ turn, np.float32), [])
    items = bundle.items.set_column(0, "item_id", pa.array(ids, bundle.items.schema.field("item_id").type))
    facts = {**bundle.facts, "space": "turned"}
    return Recommender(dataclasses.replace(bundle, model=model, items=items, facts=facts))


@pytest.fixture(scope="module", name="old")
def _old(bundle_folder):
    return load(bundle_folder)


@pytest.fixture(scope="module", name="turn")
def _turn():
    return np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]


@pytest.fixture(name="new")
def _new(old, turn):
    return turned(old.bundle, turn)


def test_a_turned_model_is_turned_back_and_the_spaces_are_named(new, old):
    found = tv.align(new, old)
    np.testing.assert_allclose(found.apply(new.item_vectors), old.item_vectors, atol=1e-3)
    assert (found.new, found.old, found.items) == (new.bundle.space, old.bundle.space, worlds.ITEMS)
    assert found.held_out.residual < 1e-4
    assert found.unaligned.residual > 0.5


def test_films_are_paired_by_their_id_and_those_of_one_model_alone_have_no_say(old, turn):
    found = tv.align(turned(old.bundle, turn, ids=[0, *range(2, 21)]), old)
    assert found.items == worlds.ITEMS - 1
    assert found.held_out.residual < 1e-4


def test_films_that_nobody_rated_have_no_say(new, old):
    counts = old.bundle.items["train_users"].to_numpy().copy()
    counts[[2, 3]] = 0
    place = old.bundle.items.column_names.index("train_users")
    items = old.bundle.items.set_column(place, "train_users", pa.array(counts))
    assert tv.align(new, Recommender(dataclasses.replace(old.bundle, items=items))).items == worlds.ITEMS - 2


def test_two_models_of_one_space_need_no_map(old, bundle_folder):
    with pytest.raises(DataError, match="may be compared as they are"):
        tv.align(bundle_folder, old)


def test_it_is_saved_and_read_as_it_was(new, old, tmp_path):
    found = tv.align(new, old)
    again = Alignment.load(found.save(tmp_path / "aligned"))
    assert again.facts == found.facts
    np.testing.assert_array_equal(again.rotation, found.rotation)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            "rotation.safetensors",
            r"rotation\.safetensors.* Run tastevec align again",
        ),
        ("alignment.json", "alignment.json.* Run tastevec align again"),
        ("format", "format 3. Expected format 2. Run: tastevec align"),
    ],
)
def test_a_damaged_alignment_is_refused(new, old, tmp_path, harm, said):
    folder = tv.align(new, old).save(tmp_path / "aligned")
    if harm == "format":
        told = json.loads((folder / "alignment.json").read_text())
        (folder / "alignment.json").write_text(json.dumps({**told, "format": 3}))
    else:
        content = (folder / harm).read_bytes()
        (folder / harm).write_bytes(content[:-9] + content[-8:])
    with pytest.raises(FormatError, match=said):
        Alignment.load(folder)
    with pytest.raises(
        FormatError, match=r"no alignment\.json\. Expected an alignment\. Run: tastevec align NEW OLD"
    ):
        Alignment.load(tmp_path)


def people_of(model, path):
    """A file as `encode` writes it."""
    vectors = np.stack([model.encode(RATINGS[:count], horizon="overall") for count in (1, 2, 3)])
    schema = pa.schema(
        {"user_id": pa.int64(), "vector": pa.list_(pa.float32(), 8)},
        metadata={"space": model.bundle.space, "horizon": "overall"},
    )
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    pq.write_table(pa.Table.from_arrays([pa.array([1, 2, 3]), lists], schema=schema), path)
    return vectors


def test_people_are_turned_and_their_file_says_so(new, old, tmp_path):
    found = tv.align(new, old)
    vectors = people_of(new, tmp_path / "new.parquet")
    assert rotate_users(found, tmp_path / "new.parquet", tmp_path / "old.parquet") == 3
    table = pq.read_table(tmp_path / "old.parquet")
    np.testing.assert_allclose(np.stack(table["vector"].to_numpy()), found.apply(vectors), atol=1e-6)
    told = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert told["space"] == old.bundle.space
    assert told["aligned_from"] == new.bundle.space
    assert told["aligned_cosine"] == f"{found.held_out.cosine:.4f}"
    assert told["horizon"] == "overall"


def test_the_old_model_takes_them_and_warns_and_the_new_one_refuses(new, old, tmp_path):
    people_of(new, tmp_path / "new.parquet")
    with pytest.raises(DataError, match="of the space turned"):
        old.similar_users(RATINGS, tmp_path / "new.parquet")
    rotate_users(tv.align(new, old), tmp_path / "new.parquet", tmp_path / "old.parquet")
    with pytest.warns(UserWarning, match=r"were turned into this space from turned: near is approximate"):
        near = old.similar_users(RATINGS, tmp_path / "old.parquet")
    assert set(near["user_id"].to_pylist()) == {1, 2, 3}
    with pytest.raises(DataError, match="people's vectors are of the space"):
        new.similar_users(RATINGS, tmp_path / "old.parquet")


def test_vectors_of_another_space_or_turned_already_are_refused(new, old, tmp_path):
    found = tv.align(new, old)
    people_of(old, tmp_path / "theirs.parquet")
    with pytest.raises(DataError, match=f"expected vectors of the space {new.bundle.space}"):
        rotate_users(found, tmp_path / "theirs.parquet", tmp_path / "out.parquet")
    people_of(new, tmp_path / "new.parquet")
    rotate_users(found, tmp_path / "new.parquet", tmp_path / "once.parquet")
    with pytest.raises(DataError):
        rotate_users(found, tmp_path / "once.parquet", tmp_path / "twice.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(SourceError, match="expected a Parquet file that tastevec encode wrote"):
        rotate_users(found, tmp_path / "text.parquet", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_command_aligns_two_folders_and_shows_what_chance_would_give(new, bundle_folder, tmp_path):
    new.save(tmp_path / "new")
    space = Bundle.load(tmp_path / "new").space
    people_of(load(tmp_path / "new"), tmp_path / "people.parquet")
    where = ["--vectors", str(tmp_path / "people.parquet"), "--out", str(tmp_path / "aligned")]
    done = CliRunner().invoke(app, ["align", str(tmp_path / "new"), str(bundle_folder), *where])
    assert done.exit_code == 0, done.output
    assert f"The rotation from space {space} to" in done.stdout
    assert "3 people were turned." in done.stdout
    assert "that fifth, films paired by chance" in done.stdout
    assert {file.name for file in (tmp_path / "aligned").iterdir()} == {
        "alignment.json",
        "rotation.safetensors",
        "vectors.parquet",
    }
    shutil.rmtree(tmp_path / "aligned")
    told = CliRunner().invoke(app, ["align", str(tmp_path / "new"), str(bundle_folder), *where[2:], "--json"])
    assert json.loads(told.stdout)["items"] == worlds.ITEMS
