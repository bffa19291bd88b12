"""Similar users and items of a batch equal those of single queries."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tastevec as tv
from tastevec.errors import DataError
from tastevec.pipelines import batch as module
from tastevec.pipelines.batch import similar_among, similar_items, similar_users, write_similar
from tastevec.serving.neighbors import Neighbors
from users import world


@pytest.fixture(name="model", scope="module")
def _model(bundle_folder):
    return tv.load(bundle_folder)


def unit(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


@given(
    vectors=hnp.arrays(np.float32, st.tuples(st.integers(1, 14), st.just(3)), elements=st.integers(-9, 9)),
    k=st.integers(1, 16),
    words=st.booleans(),
)
def test_similar_returns_the_nearest_others_without_the_query(vectors, k, words):
    """The drawn vectors include zeros and duplicates."""
    ids = np.arange(100, 100 + len(vectors))
    known = Neighbors(ids.astype(str).astype(object) if words else ids, vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_QUERIES", 4)
        table = pa.Table.from_batches(similar_among(known, "user_id", k=k))
    assert table.column_names == ["user_id", "similar_user_id", "rank", "similarity"]
    nearest = min(k, len(vectors) - 1)
    assert table["rank"].to_pylist() == list(range(1, nearest + 1)) * len(vectors)
    assert [int(one) for one in table["user_id"].to_pylist()] == np.repeat(ids, nearest).tolist()
    others = np.array([int(one) for one in table["similar_user_id"].to_pylist()], np.int64)
    others = others.reshape(len(vectors), nearest) - 100
    cosines = unit(vectors) @ unit(vectors).T
    for one in range(len(vectors)):
        assert one not in others[one]
        assert len(set(others[one])) == nearest
    scores = table["similarity"].to_numpy().reshape(len(vectors), nearest)
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, others, 1), atol=1e-5)
    np.fill_diagonal(cosines, -2)
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :nearest], atol=1e-5)


def test_similar_of_all_items_equals_single_queries(model):
    rows = pa.Table.from_batches(similar_items(model, k=4)).to_pylist()
    for item in range(1, 21):
        alone = model.similar_items(item, k=4).to_pylist()
        together = [row for row in rows if row["item_id"] == item]
        assert [row["similar_item_id"] for row in together] == [row["item_id"] for row in alone]
        assert [row["similarity"] for row in together] == pytest.approx(
            [row["similarity"] for row in alone], abs=1e-6
        )


def test_items_without_a_vector_have_no_neighbors(bundle_folder):
    model = tv.load(bundle_folder)
    model.item_vectors = model.item_vectors.copy()
    model.item_vectors[3] = 0
    rows = pa.Table.from_batches(similar_items(model, k=100)).to_pylist()
    assert len(rows) == 19 * 18
    assert 4 not in {row["item_id"] for row in rows} | {row["similar_item_id"] for row in rows}


def test_similar_users_of_ratings_are_stored_users(model):
    known = Neighbors(world().user_ids, model.vectors(world(), "overall"))
    groups = world().chunks(5)
    table = pa.Table.from_batches(similar_users(model, groups, known, k=2, horizon="overall"))
    first = [row for row in table.to_pylist() if row["rank"] == 1]
    assert [row["user_id"] for row in first] == list(range(1, 13))
    assert [row["similarity"] for row in first] == pytest.approx(
        [1] * 12, abs=1e-5
    )  # the same user, or one with an equal vector


def test_similar_file_names_the_space(model, tmp_path):
    seen = []
    out = tmp_path / "near" / "films.parquet"
    rows = write_similar(similar_items(model, k=3), out, {"space": model.bundle.space}, seen.append)
    table = pq.read_table(out)
    assert rows == len(table) == 60
    assert seen[-1] == 60
    assert table.schema.metadata[b"space"].decode() == model.bundle.space
    assert [file.name for file in out.parent.iterdir()] == ["films.parquet"]


def test_similar_of_no_users_writes_no_file(tmp_path):
    empty = Neighbors(np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    with pytest.raises(DataError, match="Expected at least one user or item to compare"):
        write_similar(similar_among(empty, "user_id", k=3), tmp_path / "near.parquet", {}, print)
    assert list(tmp_path.iterdir()) == []
