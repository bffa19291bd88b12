"""Routes for items, the model and the page."""

import gzip
import json

import numpy as np
import pytest

import worlds
from tastevec.data.value_scale import HALF_STARS, ValueScale
from tastevec.serving.service.catalog import example_user


def get(client, path, **query):
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def test_items_by_title_are_best_match_first(client):
    content = get(client, "/v1/items", query="cafe the letter")
    assert content == {
        "items": [
            {
                "item_id": 20,
                "title": 'Café, "The" Letter (1999)',
                "year": 1999,
                "genres": ["Drama", "Romance"],
            }
        ]
    }
    assert [item["item_id"] for item in get(client, "/v1/items", query="rocket 1", limit=2)["items"]] == [
        1,
        10,
    ]
    assert get(client, "/v1/items", query="nothing of the kind") == {"items": []}


def test_similar_items_have_the_order_of_the_request(client):
    response = client.post("/v1/similar-items", json={"item_ids": [3, "1"], "k": 2})
    assert response.status_code == 200, response.text
    items = response.json()["items"]
    assert [item["item_id"] for item in items] == [3, 1]
    assert [near["rank"] for near in items[0]["similar"]] == [1, 2]
    assert all(-1 <= near["similarity"] <= 1 for near in items[0]["similar"])
    assert 3 not in [near["item_id"] for near in items[0]["similar"]]


def test_similar_items_of_an_unknown_item_are_refused_with_its_location(client):
    response = client.post("/v1/similar-items", json={"item_ids": [3, "no such item"]})
    assert response.status_code == 404
    assert response.json()["error"] == {
        "code": "unknown_item",
        "message": "item_ids[1]: 'no such item' is not in the catalog (20 items). Expected an item_id from /v1/items.",
        "where": "item_ids[1]",
    }


def test_map_has_a_row_per_item_and_is_cached(client):
    response = client.get("/v1/map", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    content = response.json()
    assert {len(column) for column in content.values()} == {worlds.ITEMS}
    assert (content["x"][0], content["y"][0]) == (0.0, 1.0)
    assert content["genres"][:2] == ["Action", "Action"]
    assert content["genres"][9] is None
    plain = client.get("/v1/map", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == content
    cached = client.get("/v1/map", headers={"If-None-Match": response.headers["etag"]})
    assert cached.status_code == 304
    assert cached.content == b""


def test_model_without_a_map_returns_no_map(start_client, make, bundle_of):
    bare = make(type(make().model)(bundle_of(mapped=False)))
    client = start_client(lambda: bare)
    response = client.get("/v1/map")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "no_map"
    assert get(client, "/v1/model")["map"] is False
    user = {"interactions": [{"item_id": 1, "value": 5}]}
    assert client.post("/v1/explain", json={"users": [user]}).json()["users"][0]["map_position"] is None


def test_model_route_describes_the_model(client):
    content = get(client, "/v1/model")
    assert content == {
        "name": "tiny",
        "space": "space-0",
        "n_items": 20,
        "item_noun": {"one": "item", "many": "items"},
        "dim": 8,
        "data": "tiny",
        "version": "0.1.0",
        "horizons": ["next", "overall"],
        "feedback": "explicit",
        "rating_range": [1.0, 5.0],
        "positive_from": 4.0,
        "rating_step": 1.0,
        "dislike_weight": 0.4,
        "rating_control": "numbers",
        "tags": [
            {"tag": "space", "reliability": 0.9},
            {"tag": "tears", "reliability": 0.8},
            {"tag": "robots", "reliability": 0.7},
        ],
        "n_users": 3,
        "map": True,
    }


def test_example_is_a_valid_request(client):
    content = get(client, "/v1/example")
    ratings = [{name: row[name] for name in ("item_id", "value")} for row in content["interactions"]]
    response = client.post("/v1/recommend", json={"users": [{"interactions": ratings}]})
    assert response.status_code == 200
    assert content == get(client, "/v1/example")


def test_example_likes_one_genre_and_dislikes_the_least_similar():
    genres = (
        [["Action"]] * 8 + [["Action", "Comedy"]] * 4 + [["Comedy"]] * 6 + [["Romance"]] * 6 + [["Noir"]] * 3
    )
    vectors = np.array([[1, 0]] * 8 + [[1, 1]] * 4 + [[0, 1]] * 6 + [[-1, 0]] * 6 + [[-1, 0]] * 3, np.float32)
    popularity = np.arange(len(genres), 0, -1)
    name, rated = example_user(genres, popularity, vectors, HALF_STARS)
    assert name == "likes Action, dislikes Romance"
    high = {item for item, rating in rated if rating >= 3.5}
    low = {item for item, rating in rated if rating <= 2}
    assert len(high) == 7
    assert len(low) == 4
    assert all("Action" in genres[item] for item in high)
    assert all(genres[item] == ["Romance"] for item in low)
    assert all((rating * 2).is_integer() and 0.5 <= rating <= 5 for _, rating in rated)


@pytest.mark.parametrize("genres", [[[]] * 9, [["Action"]] * 9])
def test_example_without_two_genres_has_popular_items(genres):
    name, rated = example_user(genres, np.arange(9), np.ones((9, 2), np.float32), ValueScale.explicit(1, 5))
    assert name == "likes popular titles"
    assert [item for item, _ in rated] == [8, 7, 6, 5, 4, 3, 2]


def test_page_is_served_only_from_its_folder(start_client, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Page</title>")
    (tmp_path / "assets" / "app.js").write_text("export {};")
    (tmp_path / ".secret").write_text("no")
    (tmp_path.parent / "outside.txt").write_text("no")
    client = start_client(web=tmp_path)
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert client.head("/").status_code == 200
    assert client.get("/assets/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for path in (
        "/.secret",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/assets",
        "/index.html",
        "//etc/passwd",
    ):
        response = client.get(path)
        assert response.status_code == 404, path
        assert response.json()["error"]["code"] == "not_found"


def test_service_without_a_page_serves_its_routes(start_client, tmp_path):
    client = start_client(web=tmp_path / "none")
    assert client.get("/").status_code == 404
    assert client.get("/healthz").status_code == 200


def test_map_gzip_contains_the_same_json(tiny):
    body, packed, _ = tiny.map_body
    assert json.loads(gzip.decompress(packed)) == json.loads(body)
