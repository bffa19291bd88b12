"""Exact nearest neighbors: similar items and similar users."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tastevec as tv
from tastevec.errors import DataError, SettingsError, SourceError, UnknownItemError
from tastevec.serving.neighbors import Neighbors, read_user_vectors
from users import world

NUMBERS = st.integers(-9, 9)  # no vector is so short that its square is none


@pytest.fixture(name="model", scope="module")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@given(
    known=hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=NUMBERS),
    queries=hnp.arrays(np.float32, (3, 4), elements=NUMBERS),
    k=st.integers(1, 15),
)
def test_nearest_have_the_highest_cosines(known, queries, k):
    indices, scores = Neighbors(np.arange(len(known)), known).nearest(queries, k)
    assert indices.shape == scores.shape == (3, min(k, len(known)))
    cosines = _cosines(queries, known)
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, indices, 1), atol=1e-5)
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, : scores.shape[1]], atol=1e-5)
    assert all(len(set(row)) == len(row) for row in indices.tolist())


def _cosines(one, other):
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.divide(one @ other.T, lengths, out=np.zeros((len(one), len(other))), where=lengths > 1e-9)


def test_similar_items_are_other_items_nearest_first(model):
    found = model.similar_items(3, k=5)
    assert found.column_names == ["item_id", "title", "rank", "similarity"]
    assert found["rank"].to_pylist() == [1, 2, 3, 4, 5]
    assert 3 not in found["item_id"].to_pylist()
    scores = found["similarity"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    vectors = model.item_directions
    best = np.argsort(-_cosines(vectors[[2]], vectors)[0])
    assert found["item_id"].to_pylist() == [index + 1 for index in best if index != 2][:5]


def test_similar_items_with_a_large_k_returns_all(model):
    assert len(model.similar_items(3, k=500)) == 19


@pytest.mark.parametrize("item", [0, 21, "x", None, 2.5, "1; drop table items"])
def test_similar_items_of_an_unknown_item_is_refused(model, item):
    with pytest.raises(UnknownItemError, match=r"is not in the catalog \(20 films\)"):
        model.similar_items(item)


@pytest.mark.parametrize("k", [0, -1])
def test_similar_with_k_below_1_is_refused(model, k):
    with pytest.raises(SettingsError, match="Expected 1 or more"):
        model.similar_items(3, k=k)
    with pytest.raises(SettingsError, match="Expected 1 or more"):
        model.similar_users([(3, 5.0)], _table(model), k=k)


def _table(model, space=None):
    vectors = model.vectors(world(), "overall")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"user_id": pa.array(world().user_ids), "vector": flat})
    return table.replace_schema_metadata({"space": space or model.bundle.space})


def test_similar_users_of_a_new_user_have_similar_ratings(model, tmp_path):
    own = world().take(np.array([4]))
    rated = [(int(item) + 1, float(stars)) for item, stars in zip(own.items, own.ratings, strict=True)]
    pq.write_table(_table(model), tmp_path / "people.parquet")
    for users in (_table(model), tmp_path / "people.parquet", str(tmp_path / "people.parquet")):
        found = model.similar_users(rated, users, k=3)
        assert found.column_names == ["user_id", "rank", "similarity"]
        assert found["user_id"][0].as_py() == 5
        assert found["similarity"][0].as_py() == pytest.approx(1, abs=1e-5)
        assert found["rank"].to_pylist() == [1, 2, 3]


def test_similar_users_of_another_space_is_refused(model):
    with pytest.raises(DataError, match=r"vectors have space other. Expected "):
        model.similar_users([(3, 5.0)], _table(model, "other"))


def test_read_user_vectors_of_another_table_is_refused(model, tmp_path):
    with pytest.raises(DataError, match=r"columns user_id. Expected user_id and vector"):
        read_user_vectors(pa.table({"user_id": [1]}), model.bundle.space)
    with pytest.raises(DataError, match="fixed-size list"):
        read_user_vectors(pa.table({"user_id": [1], "vector": [[1.0, 2.0]]}), model.bundle.space)
    with pytest.raises(DataError, match=r"no users. Expected at least one"):
        read_user_vectors(_table(model).slice(0, 0), model.bundle.space)
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(SourceError, match="Expected a Parquet file from tastevec encode"):
        read_user_vectors(tmp_path / "no.parquet", model.bundle.space)
    with pytest.raises(SourceError, match="Expected a Parquet file"):
        read_user_vectors(tmp_path / "missing.parquet", model.bundle.space)


def test_user_vectors_with_a_control_character_in_an_id_are_refused(model, tmp_path):
    vectors = pa.array([[0.0] * 8] * 2, pa.list_(pa.float32(), 8))
    pq.write_table(pa.table({"user_id": ["ann", "bob\n"], "vector": vectors}), tmp_path / "v.parquet")
    with pytest.raises(DataError, match=r"v.parquet, column user_id: 'bob\\n' contains a control character"):
        read_user_vectors(tmp_path / "v.parquet", model.bundle.space)
