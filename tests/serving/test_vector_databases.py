"""Vector libraries and databases, filled from the exported item file, rank as `recommend` does with each of their metrics.

No library here sends usage reports by itself, so there is none to turn off; LanceDB's OpenTelemetry hook is not configured.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tastevec as tv
import worlds
from databases import emptied_database

Search = Callable[[np.ndarray, list[int]], list[int]]  # vector and seen items to the best ten others

K = 10
SEEN = 6  # of each user, so that ten and more of the 20 items are new
FIELDS = {"user_id": "user", "item_id": "item", "rating": "stars", "timestamp": "time"}
METRICS = ("inner product", "cosine", "Euclidean distance")


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@pytest.fixture(scope="module", name="histories")
def _histories():
    rows = worlds.ratings()
    first = [row for user in range(1, 13) for row in [row for row in rows if row.user == user][:SEEN]]
    return {name: [getattr(row, field) for row in first] for name, field in FIELDS.items()}


@pytest.fixture(scope="module", name="items")
def _items(model, tmp_path_factory):
    return pq.read_table(model.encode_items().save(tmp_path_factory.mktemp("items") / "items.parquet"))


def _matrix(table: pa.Table) -> np.ndarray:
    return np.stack(table["vector"].to_numpy())


@contextmanager
def with_faiss(items: pa.Table, metric: str, _place: object) -> Iterator[Search]:
    """A flat index of unit vectors: the inner product is the cosine. Seen items are removed from a longer list."""
    ids, vectors = items["item_id"].to_numpy(), _matrix(items)
    index = {"Euclidean distance": faiss.IndexFlatL2}.get(metric, faiss.IndexFlatIP)(vectors.shape[1])
    index.add(vectors)

    def search(vector, seen):
        _, [best] = index.search(vector[None], K + len(seen))
        return [item for item in ids[best].tolist() if item not in seen][:K]

    yield search


@contextmanager
def with_pgvector(items: pa.Table, metric: str, server: object) -> Iterator[Search]:
    """A table of a real PostgreSQL, without an index."""
    psycopg = pytest.importorskip("psycopg", reason="the extra pg is not installed")
    operator = dict(zip(METRICS, ("<#>", "<=>", "<->"), strict=True))[metric]
    with psycopg.connect(emptied_database(server, "items"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        pytest.importorskip("pgvector.psycopg", reason="the extra pg is not installed").register_vector(
            connection
        )
        connection.execute(
            f"CREATE TEMPORARY TABLE items (item_id bigint, vector vector({_matrix(items).shape[1]}))"
        )
        rows = zip(items["item_id"].to_pylist(), _matrix(items), strict=True)
        connection.cursor().executemany("INSERT INTO items VALUES (%s, %s)", rows)
        query = f"SELECT item_id FROM items WHERE item_id <> ALL(%s) ORDER BY vector {operator} %s LIMIT {K}"  # noqa: S608  constants
        yield lambda vector, seen: [item for (item,) in connection.execute(query, (seen, vector))]


@contextmanager
def with_qdrant(items: pa.Table, metric: str, _place: object) -> Iterator[Search]:
    """A collection in the memory of this process; Qdrant normalizes vectors itself for its cosine."""
    qdrant = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    models = qdrant.models
    distance = dict(zip(METRICS, ("Dot", "Cosine", "Euclid"), strict=True))[metric]
    client = qdrant.QdrantClient(":memory:")
    vectors = _matrix(items)
    params = models.VectorParams(size=vectors.shape[1], distance=models.Distance(distance))
    client.create_collection("items", vectors_config=params)
    client.upsert("items", models.Batch(ids=items["item_id"].to_pylist(), vectors=vectors.tolist()))

    def search(vector, seen):
        without = models.Filter(must_not=[models.HasIdCondition(has_id=seen)])
        found = client.query_points("items", vector.tolist(), query_filter=without, limit=K)
        return [point.id for point in found.points]

    yield search
    client.close()


@contextmanager
def with_lancedb(items: pa.Table, metric: str, folder: object) -> Iterator[Search]:
    """A table of Lance files, made of the exported table as it is; without an index, so the search is exact."""
    lancedb = pytest.importorskip("lancedb", reason="lancedb is not installed")
    table = lancedb.connect(folder).create_table("items", items)
    distance = dict(zip(METRICS, ("dot", "cosine", "l2"), strict=True))[metric]

    def search(vector, seen):
        new = f"item_id NOT IN ({', '.join(map(str, seen))})"
        found = table.search(vector).distance_type(distance).where(new, prefilter=True).limit(K)
        return found.to_arrow()["item_id"].to_pylist()

    yield search


DATABASES = {"faiss": with_faiss, "pgvector": with_pgvector, "qdrant": with_qdrant, "lancedb": with_lancedb}


@pytest.fixture(
    params=[(database, metric) for database in DATABASES for metric in METRICS], ids=", ".join, name="search"
)
def _search(request, items, tmp_path):
    database, metric = request.param
    place = request.getfixturevalue("server") if database == "pgvector" else tmp_path / "lance"
    with DATABASES[database](items, metric, place) as search:
        yield search


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_ten_best_items_of_a_database_are_those_of_recommend(search, horizon, model, histories):
    users = model.encode(histories, horizon=horizon)
    best = model.recommend(histories, k=K, horizon=horizon)["item_id"].to_numpy().reshape(-1, K)
    pairs = list(zip(histories["user_id"], histories["item_id"], strict=True))
    for (user, vector), expected in zip(users, best.tolist(), strict=True):
        assert search(vector, [item for owner, item in pairs if owner == user]) == expected
