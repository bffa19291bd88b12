"""New items: added to a trained model."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import worlds
from tastevec.cli.app import app
from tastevec.data.prepared import Prepared
from tastevec.errors import BadRowError, DataError, SettingsError, TastevecWarning
from tastevec.items.genome import Genome
from tastevec.items.numeric import Reduction
from tastevec.items.text import find_encoder
from tastevec.pipelines.evaluate import model_runs
from tastevec.pipelines.train import add_items
from tastevec.serving.bundle import Bundle
from tastevec.serving.new_items import NewItems, with_new_items
from tastevec.serving.recommender import Recommender, load
from users import world

HORIZONS = pytest.mark.parametrize("horizon", ["next", "overall"])
ROCKETS = [(1, 5), (3, 4), (12, 1), (5, 5)]
# One ID before all known ones, two after them; the genome contains only the last one.
NEW = {
    "item_id": [0, 40, 31],
    "title": ["Rocket 0 (1978)", "Letter to nobody", "Zzyzx"],
    "year": [1978, None, None],
    "genres": ["Action|Sci-Fi", "Drama|Romance", ""],
}
TAGS = pa.table({"item_id": [31, 31, 7], "tag": ["space", " SPACE ", "space"]})
TAGS_AS_READ = pa.table({"item_id": [31, 31], "tag": ["space", "space"], "weight": [1.0, 1.0]})
GENOME = Genome(
    np.array([31]),
    tuple(f"tag {tag}" for tag in range(1, 13)),
    np.tile([[0.9, 0.2]], (1, 6)).astype(np.float32),
)


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder) -> Recommender:
    return load(bundle_folder)


@pytest.fixture(scope="module", name="genome_folder")
def _genome_folder(tmp_path_factory):
    """Return the folder of a genome with item 31 only."""
    folder = worlds.write_genome(tmp_path_factory.mktemp("genome"))
    rows = (f"31,{tag},{GENOME.relevance[0, tag - 1]}" for tag in range(1, 13))
    (folder / "genome-scores.csv").write_text("\n".join(["movieId,tagId,relevance", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module", name="grown")
def _grown(model, genome_folder) -> Recommender:
    return model.with_items(pa.table(NEW), tags=TAGS, genome=genome_folder)


def new_items(rows=(0, 1, 2)) -> NewItems:
    """Return these rows of the new items, in this order."""
    items = pa.table(NEW).take(pa.array(list(rows), pa.int64()))
    genres = pa.array([text.split("|") if text else [] for text in items["genres"].to_pylist()])
    items = items.set_column(3, "genres", genres.cast(pa.list_(pa.string())))
    items = items.set_column(2, "year", items["year"].cast(pa.int32()))
    return NewItems(items, TAGS_AS_READ, GENOME)


def table_of(bundle):
    return bundle.model.table


def same(one: Bundle, two: Bundle) -> None:
    """Assert that all parts of two bundles are bit-equal."""
    assert one.items.equals(two.items)
    assert one.space == two.space
    assert one.facts["added"] == two.facts["added"]
    assert one.model.added_items == two.model.added_items
    np.testing.assert_array_equal(table_of(one), table_of(two))


def test_new_items_are_in_the_catalog_with_their_vector_source(model, grown):
    items = grown.bundle.items
    assert items.schema.equals(model.bundle.items.schema)
    assert items["item_id"].to_pylist() == [0, *range(1, 21), 31, 40]
    assert items["vector_source"].to_pylist() == ["content, added", *["both"] * 20, *["content, added"] * 2]
    assert items["train_users"].to_pylist()[0] == 0
    assert items["genres"].to_pylist()[0] == ["Action", "Sci-Fi"]
    assert grown.bundle.facts["added"] == {
        "items": 3,
        "known_by": {"tags": 0, "genome": 1, "genres": 2, "year": 1, "title": 2},
    }
    assert grown.bundle.facts["data"]["items"] == 20


def test_vectors_of_old_items_stay_bit_equal(model, grown):
    np.testing.assert_array_equal(grown.item_vectors[1:21], model.item_vectors)
    assert len(grown.item_vectors) == 23
    assert grown.bundle.space == model.bundle.space


def test_with_items_does_not_change_the_original_model(bundle_folder, model, grown):
    assert len(model.item_vectors) == 20
    assert len(grown.item_vectors) == 23
    same_again = load(bundle_folder)
    np.testing.assert_array_equal(model.item_vectors, same_again.item_vectors)
    assert len(model.bundle.model.table) == 20
    assert "added" not in model.bundle.facts


@HORIZONS
def test_predictions_for_old_users_and_items_do_not_change(model, grown, horizon):
    histories, shifted = world(), world()
    shifted = dataclasses.replace(shifted, items=shifted.items + 1)  # item 0 is inserted in front
    before, after = model.vectors(histories, horizon), grown.vectors(shifted, horizon)
    np.testing.assert_array_equal(after, before)
    old = model.recommend(ROCKETS, k=20, horizon=horizon)
    new = grown.recommend(ROCKETS, k=23, horizon=horizon).to_pylist()
    kept = [row for row in new if row["item_id"] not in NEW["item_id"]]
    assert [row["item_id"] for row in kept] == old["item_id"].to_pylist()
    np.testing.assert_allclose([row["score"] for row in kept], old["score"].to_numpy(), rtol=1e-6)


@HORIZONS
def test_new_items_can_be_rated_and_recommended(model, grown, horizon):
    offered = grown.recommend(ROCKETS, k=23, horizon=horizon)["item_id"].to_pylist()
    assert set(NEW["item_id"]) <= set(offered)
    vector = grown.encode([*ROCKETS, (0, 5)], horizon=horizon)
    assert not np.allclose(vector, model.encode(ROCKETS, horizon=horizon))
    assert 0 not in grown.recommend([*ROCKETS, (0, 5)], k=23, horizon=horizon)["item_id"].to_pylist()
    users = pa.table({"user_id": [1, 1, 2], "item_id": [0, 3, 40], "rating": [5, 4, 2]})
    assert grown.encode(users, horizon=horizon)["user_id"].to_pylist() == [1, 2]


def test_vector_of_a_new_item_is_close_to_similar_items(model):
    learned = np.repeat(np.eye(2, 8, dtype=np.float32), 10, axis=0)
    cold_start = model.bundle.cold_start
    features = cold_start.features
    items = model.bundle.items
    rows = features.rows(items, TAGS.slice(0, 0).append_column("weight", pa.array([], pa.float64())))
    fitted = dataclasses.replace(
        model.bundle,
        model=model.bundle.model.with_items(learned, []),
        cold_start=type(cold_start).fit(features, rows, learned, np.full(20, 50)),
    )
    vectors = table_of(with_new_items(fitted, new_items()))
    assert vectors[0, 0] > vectors[0, 1] + 0.5  # Rocket 0
    assert vectors[22, 1] > vectors[22, 0] + 0.5  # Letter to nobody


@given(st.permutations([0, 1, 2]), st.integers(1, 2))
@settings(max_examples=12)
def test_with_items_in_steps_and_any_order_is_equal(model, order, cut):
    at_once = with_new_items(model.bundle, new_items())
    first = with_new_items(model.bundle, new_items(order[:cut]))
    same(with_new_items(first, new_items(order[cut:])), at_once)
    same(with_new_items(model.bundle, new_items(order)), at_once)


def test_model_with_new_items_loads_equal(model, grown, tmp_path):
    again = load(grown.bundle.save(tmp_path / "grown"))
    same(again.bundle, grown.bundle)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            again.encode([*ROCKETS, (0, 5)], horizon=horizon),
            grown.encode([*ROCKETS, (0, 5)], horizon=horizon),
        )
    assert again.bundle.space == model.bundle.space
    assert "3 films more were added after training" in (tmp_path / "grown" / "README.md").read_text()
    more = _renumbered(new_items([0, 1]).items, 100)
    assert with_new_items(again.bundle, NewItems(more, TAGS_AS_READ, None)).facts["added"]["items"] == 5


def _renumbered(items, by):
    return items.set_column(0, "item_id", pa.array([item + by for item in items["item_id"].to_pylist()]))


def test_with_items_from_each_kind_of_source_is_equal(grown, model, genome_folder, tmp_path):
    pl.DataFrame(NEW).write_csv(tmp_path / "new.csv")
    lists = {**NEW, "genres": [text.split("|") if text else [] for text in NEW["genres"]]}
    pq.write_table(pa.table(lists), tmp_path / "new.parquet")
    (tmp_path / "tags.csv").write_text(
        "userId,movieId,tag,timestamp\n1,31,Space,5\n2,31,space,6\n2,7,space,7\n"
    )
    tags = tmp_path / "tags.csv"
    for items, words in [
        (tmp_path / "new.csv", [tags]),
        (str(tmp_path / "new.parquet"), str(tags)),
        (pl.DataFrame(lists), pl.from_arrow(TAGS)),
        (
            pd.DataFrame({**NEW, "year": pd.array(NEW["year"], "Int64")}),
            TAGS.append_column("weight", [[1, 1, 1]]),
        ),
    ]:
        same(model.with_items(items, tags=words, genome=genome_folder).bundle, grown.bundle)


def test_metadata_of_a_new_item_changes_its_vector(model):
    bare = model.with_items(pa.table({"item_id": [0], "title": ["A Rocket"]}))
    more = model.with_items(pa.table({"item_id": [0], "title": ["A Rocket"], "genres": ["Action"]}))
    assert not np.allclose(table_of(bare.bundle)[0], table_of(more.bundle)[0])


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        (
            {"item_id": [31, 7], "title": ["New", "Rocket 7"]},
            DataError,
            r"1 of 2 items \(7 'Rocket 7'\) known to the model",
        ),
        (
            {"item_id": [31, 32], "title": ["Rocket", "Zzyzx"]},
            DataError,
            r"1 of 2 items \(32 'Zzyzx'\) without metadata",
        ),
        (
            {"item_id": ["new"], "title": ["Rocket"]},
            DataError,
            "an item_id is no integer",
        ),
        ({"item_id": [31, None], "title": ["Rocket", "Rocket"]}, BadRowError, "row 2, column item_id"),
        ({"title": ["Rocket"]}, DataError, "no item_id among"),
        ({"item_id": [], "title": []}, DataError, "no row with an item. Expected items"),
    ],
)
def test_invalid_new_items_are_refused(model, items, error, message):
    with pytest.raises(error, match=message):
        model.with_items(pa.table(items))


def test_with_items_of_no_table_is_refused(model):
    with pytest.raises(DataError, match=r"items: rows without names\. Expected a table"):
        model.with_items([(31, "Rocket")])
    with pytest.raises(DataError, match="no tag among item_id, word"):
        model.with_items(pa.table(NEW), tags=pa.table({"item_id": [31], "word": ["space"]}))
    with pytest.raises(
        DataError, match=r"tags: none of 1 tags is of these items: item ids 'x' here, '0' there"
    ):
        model.with_items(pa.table(NEW), tags=pa.table({"item_id": ["x"], "tag": ["space"]}))


def test_with_items_of_another_genome_is_refused(model, tmp_path):
    worlds.write_genome(tmp_path, tags=3)
    items = tmp_path / "genome-scores.csv"
    items.write_text("movieId,tagId,relevance\n" + "".join(f"31,{tag},0.5\n" for tag in (1, 2, 3)))
    with pytest.raises(DataError, match="the genome lacks 9 of 12 tags"):
        model.with_items(pa.table(NEW), genome=tmp_path)


def test_new_items_with_text_ids_join_a_catalog_of_texts(model):
    texts = pa.array([f"film-{item:02}" for item in range(1, 21)])
    worded = dataclasses.replace(model.bundle, items=model.bundle.items.set_column(0, "item_id", texts))
    grown = Recommender(worded).with_items(pa.table({"item_id": ["film-005"], "title": ["Rocket"]}))
    assert grown.bundle.items["item_id"].to_pylist()[:2] == ["film-005", "film-01"]
    np.testing.assert_array_equal(grown.item_vectors[1:], model.item_vectors)


def test_evaluate_of_a_model_with_new_items_is_refused(grown, prepared_folder, tmp_path):
    folder = grown.bundle.save(tmp_path / "grown")
    with pytest.raises(DataError, match="model grown has 3 items added after training"):
        model_runs(folder, Prepared.open(prepared_folder))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(name="files")
def _files(tmp_path):
    pl.DataFrame(NEW).write_csv(tmp_path / "new.csv")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,31,space,5\n")
    return tmp_path


def test_add_items_writes_a_model_and_prints_its_items(bundle_folder, genome_folder, files, grown):
    arguments = [
        "add-items",
        bundle_folder,
        files / "new.csv",
        "--tags",
        files / "tags.csv",
        "--genome",
        genome_folder,
    ]
    result = run(*arguments, "--out", files / "model2", "--json")
    assert result.exit_code == 0, result.stderr
    output = json.loads(result.stdout)
    assert output["items"] == 23
    assert output["added"] == grown.bundle.facts["added"]
    assert output["space"] == grown.bundle.space
    np.testing.assert_array_equal(load(files / "model2").item_vectors, grown.item_vectors)
    spoken = run(*arguments, "--out", files / "model2")
    assert ": 23 films, 3 of them new" in spoken.stdout
    assert "genres 2" in spoken.stdout


def test_add_items_can_replace_the_model(model, files):
    folder = model.bundle.save(files / "model")
    assert run("add-items", folder, files / "new.csv", "--genome", files, "--out", folder).exit_code == 1
    assert len(load(folder).item_vectors) == 20
    add_items(folder, _without_the_last(files), folder)
    assert len(load(folder).item_vectors) == 22


def _without_the_last(files):
    path = files / "two.csv"
    path.write_text("".join((files / "new.csv").read_text().splitlines(keepends=True)[:3]))
    return path


def test_add_items_of_invalid_items_fails_with_one_line_and_no_output(bundle_folder, files):
    for folder, items, message in [
        (bundle_folder, "none.csv", "none.csv"),
        (files, "new.csv", "no bundle.json"),
    ]:
        result = run("add-items", folder, files / items, "--out", files / "model2", "--json")
        assert result.exit_code == 1
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not (files / "model2").exists()


def test_add_items_help_contains_an_example():
    assert "tastevec add-items model new-items.csv" in run("add-items", "--help").stdout


def plotted(model, checkpoint) -> Recommender:
    """Return the model as if it was trained with embeddings of plots, and with categories of two columns."""
    features = model.bundle.cold_start.features
    encoder = find_encoder(checkpoint)
    reduction = Reduction(np.zeros(384, np.float32), np.eye(384, 4, dtype=np.float32))
    genres = tuple(f"genres:{word}" for word in features.words["genres"])
    features = dataclasses.replace(
        features,
        words={**features.words, "genres": genres},
        reductions={"text:plot": reduction},
        text_model=encoder.label,
    )
    slopes = np.concatenate(
        [model.bundle.cold_start.slopes, np.ones((4, model.item_vectors.shape[1]), np.float32)]
    )
    cold_start = dataclasses.replace(model.bundle.cold_start, features=features, slopes=slopes)
    return Recommender(dataclasses.replace(model.bundle, cold_start=cold_start))


def test_texts_of_new_items_are_read_with_the_sentence_encoder_of_the_model(
    model, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    texts = {
        "item_id": [31],
        "title": [""],
        "genres": ["Action"],
        "plot": ["A rocket flies to the moon at night."],
    }
    trained = plotted(model, checkpoint)

    read = trained.with_items(pa.table(texts), text_model=checkpoint)
    with pytest.warns(TastevecWarning, match="plot: not read. The model reads texts with model 53aa5117"):
        bare = trained.with_items(pa.table(texts), text_model="none")

    assert read.bundle.facts["added"]["known_by"]["text:plot"] == 1
    assert (
        read.bundle.facts["added"]["known_by"]["genres"] == 1
    )  # one column of categories, named as in the training
    assert bare.bundle.facts["added"]["known_by"]["text:plot"] == 0
    assert bare.bundle.facts["added"]["notes"]
    assert read.bundle.items["title"].to_pylist()[-1] == "31"  # the ID is shown in place of a title
    assert not np.allclose(read.item_vectors[-1], bare.item_vectors[-1])


def test_texts_of_new_items_with_another_encoder_are_refused(model, checkpoint, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    (other / "model.safetensors").write_bytes(b"other weights")
    table = pa.table({"item_id": [31], "plot": ["A rocket flies to the moon at night."]})

    with pytest.raises(SettingsError, match=r"--text-model .*other [0-9a-f]{8}\. Expected model 53aa5117"):
        plotted(model, checkpoint).with_items(table, text_model=str(other))


def test_new_items_of_several_tables_are_joined(model):
    titles, genres = (
        pa.table({"item_id": [31], "title": ["Rocket"]}),
        pa.table({"id": [31.0], "genres": [["Action"]]}),
    )

    grown = model.with_items([titles, genres])

    assert grown.bundle.facts["added"]["known_by"] == {
        "tags": 0,
        "genome": 0,
        "genres": 1,
        "year": 0,
        "title": 1,
    }
